/*
 * bind_repl: what the files of lua/repl can ask of the host: the table `host` of their environment.
 * Errors of the cluster raise, as text: there is no pcall for users.
 */
#include <string.h>

#include "base/yaml.h"
#include "script/bind_repl.h"

#define WATCH "m8.watch"

/* ---- requests ---- */

/* The value at index as text for a body: a string as it is, a table as JSON; NULL: none. Kept by the holder.
 */
static const char *take_body(lua_State *L, int index, struct repl_holder *holder, size_t *len)
{
    if (lua_isnoneornil(L, index))
        return NULL;
    if (lua_type(L, index) == LUA_TSTRING)
        return lua_tolstring(L, index, len);
    struct repl_object *object = repl_to_object(L, index);
    if (object)
        repl_push_table(L, index, object);
    else
        lua_pushvalue(L, index);
    auto_json json = value_take_safe(L, -1, REPL_MAX_NODES, &holder->err);
    if (!json)
        return NULL;
    holder->text = json_print(json);
    *len = strlen(holder->text);
    return holder->text;
}

/* Sets lua->written from an answer's resourceVersion. */
static void note_revision(struct repl_lua *lua, const char *method, const cJSON *answer)
{
    int64_t revision = 0;
    const char *text = json_string(answer, "metadata.resourceVersion");
    if (!str_eq(method, "GET") && text && str_to_int64(text, (long long *)&revision) == 0 &&
        (uint64_t)revision > lua->written)
        lua->written = (uint64_t)revision;
}

/* host.request(method, target, content type | nil, body | nil) → the answer, or nil and its Status */
static int host_request(lua_State *L)
{
    struct repl_lua *lua = repl_lua_of(L);
    struct repl_call call = {.method = luaL_checkstring(L, 1),
                             .target = luaL_checkstring(L, 2),
                             .content_type = luaL_optstring(L, 3, NULL)};
    lua_settop(L, 4);
    struct repl_holder *holder = repl_push_holder(L);
    int status = 0;
    call.body = take_body(L, 4, holder, &call.body_len);
    if (holder->err || repl_request(lua->session, &call, &status, &holder->bytes, &holder->err) < 0)
        return repl_raise(L, holder);
    holder->json = json_parse_trusted(holder->bytes->data, holder->bytes->len);
    if (!holder->json) {
        lua_pushlstring(L, holder->bytes->data, holder->bytes->len);
        return 1;
    }
    bytes_unref(steal(&holder->bytes));
    if (status >= 400) {
        lua_pushnil(L);
        value_push(L, holder->json);
        return 2;
    }
    note_revision(lua, call.method, holder->json);
    value_push(L, holder->json);
    cJSON_Delete(steal(&holder->json));
    return 1;
}

static int watch_gc(lua_State *L)
{
    struct repl_watch **watch = lua_touserdata(L, 1);
    repl_watch_close(steal(watch));
    return 0;
}

/* host.watch(target) → watch */
static int host_watch(lua_State *L)
{
    struct repl_lua *lua = repl_lua_of(L);
    const char *target = luaL_checkstring(L, 1);
    struct repl_watch **watch = lua_newuserdata(L, sizeof(struct repl_watch *));
    *watch = NULL;
    luaL_getmetatable(L, WATCH);
    lua_setmetatable(L, -2);
    *watch = repl_watch_open(lua->session, target);
    return 1;
}

/* host.next(watch, seconds | nil) → event; false: nothing yet; nil: it has ended */
static int host_next(lua_State *L)
{
    struct repl_watch **watch = luaL_checkudata(L, 1, WATCH);
    lua_Number seconds = luaL_optnumber(L, 2, -1);
    struct repl_holder *holder = repl_push_holder(L);
    int rc = *watch ? repl_watch_next(*watch, seconds < 0 ? -1 : (int64_t)(seconds * 1000), &holder->text,
                                      &holder->err)
                    : -1;
    if (holder->err)
        return repl_raise(L, holder);
    if (rc < 0)
        lua_pushnil(L);
    else if (rc == 0)
        lua_pushboolean(L, false);
    else {
        holder->json = json_parse_trusted(holder->text, strlen(holder->text));
        value_push(L, holder->json);
    }
    return 1;
}

static int host_stop(lua_State *L)
{
    struct repl_watch **watch = luaL_checkudata(L, 1, WATCH);
    repl_watch_close(steal(watch));
    return 0;
}

/* ---- the rest ---- */

static int host_say(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    repl_print(repl_lua_of(L), text, len);
    return 0;
}

/* host.policies(namespace | nil) */
static int host_policies(lua_State *L)
{
    const char *namespace = luaL_optstring(L, 1, NULL);
    struct repl_holder *holder = repl_push_holder(L);
    holder->json = repl_policies(repl_lua_of(L)->session, namespace, &holder->err);
    if (!holder->json)
        return repl_raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* host.decisions{object=, point=, sinceSeconds=, limit=, inputs=} → {decisions=, record=} */
static int host_decisions(lua_State *L)
{
    struct repl_holder *holder = repl_push_holder(L);
    cJSON *spec = value_take_safe(L, 1, 100, &holder->err);
    holder->json = spec ? repl_decisions(repl_lua_of(L)->session, spec, &holder->err) : NULL;
    if (!holder->json)
        return repl_raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* ---- what if ---- */

static void give(struct repl_given *given, const char *resource, struct bytes *text)
{
    if (given->count == given->capacity) {
        given->capacity = given->capacity ? given->capacity * 2 : 256;
        given->objects = mem_resize(given->objects, given->capacity, sizeof(*given->objects));
        given->resources = mem_resize(given->resources, given->capacity, sizeof(*given->resources));
    }
    given->resources[given->count] = resource;
    given->objects[given->count++] = text;
}

/* The list on the top of the stack; the resource's name is kept alive by the table that holds it. */
static int give_list(lua_State *L, const char *resource, struct repl_holder *holder)
{
    int list = lua_gettop(L);
    for (int i = 1;; i++) {
        sandbox_check(L);
        lua_rawgeti(L, list, i);
        if (lua_isnil(L, -1))
            break;
        struct bytes *text = repl_object_text(L, lua_gettop(L), holder);
        lua_settop(L, list);
        if (!text)
            return -1;
        give(&holder->given, resource, text);
        if (holder->given.count > REPL_GIVEN_MAX)
            return err_set(&holder->err, ERR_TOO_LARGE,
                           "k.whatif: more than %d objects would have to be looked at", REPL_GIVEN_MAX);
    }
    lua_settop(L, list);
    return 0;
}

/* host.whatif(wish, {resource = list}) → what would be decided */
static int host_whatif(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    struct repl_holder *holder = repl_push_holder(L);
    for (lua_pushnil(L); lua_next(L, 2); lua_settop(L, 4)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
            return luaL_error(L, "whatif: lists by resource are wanted");
        if (give_list(L, lua_tostring(L, -2), holder) < 0)
            return repl_raise(L, holder);
    }
    auto_json wish = value_take_safe(L, 1, REPL_MAX_NODES, &holder->err);
    if (wish)
        holder->json = repl_whatif(repl_lua_of(L)->session, wish, &holder->given, &holder->err);
    cJSON_Delete(steal(&wish));
    if (!holder->json)
        return repl_raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* host.try(wish) → {point, result, reasons, failure} */
static int host_try(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct repl_holder *holder = repl_push_holder(L);
    cJSON *wish = value_take_safe(L, 1, REPL_MAX_NODES, &holder->err);
    if (wish)
        holder->json = repl_try(repl_lua_of(L)->session, wish, &holder->err);
    cJSON_Delete(wish);
    if (!holder->json)
        return repl_raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* host.resources_for(resource) → array */
static int host_resources_for(lua_State *L)
{
    const char *resource = luaL_checkstring(L, 1);
    struct repl_holder *holder = repl_push_holder(L);
    holder->json = repl_whatif_resources(repl_lua_of(L)->session, resource, &holder->err);
    if (!holder->json)
        return repl_raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

static int host_sleep(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    struct repl_holder *holder = repl_push_holder(L);
    if (!(seconds >= 0 && seconds <= 86400))
        return luaL_error(L, "sleep: seconds from 0 to 86400");
    return repl_sleep(repl_lua_of(L)->session, (int64_t)(seconds * 1000), &holder->err) < 0
               ? repl_raise(L, holder)
               : 0;
}

static int host_json(lua_State *L)
{
    size_t len = 0;
    bool pretty = lua_toboolean(L, 2);
    struct repl_holder *holder = repl_push_holder(L);
    holder->json = value_take_safe(L, 1, REPL_MAX_NODES, &holder->err);
    if (!holder->json)
        return repl_raise(L, holder);
    holder->text = pretty ? json_print_pretty(holder->json) : json_print(holder->json);
    len = strlen(holder->text);
    lua_pushlstring(L, holder->text, len);
    return 1;
}

/* host.yaml(value) → YAML text, or nil: it is no plain data */
static int host_yaml(lua_State *L)
{
    lua_settop(L, 1);
    struct repl_holder *holder = repl_push_holder(L);
    holder->json = value_take_safe(L, 1, REPL_MAX_NODES, &holder->err);
    if (!holder->json)
        return 0;
    holder->text = yaml_print(holder->json);
    size_t len = strlen(holder->text);
    while (len && holder->text[len - 1] == '\n')
        len--;
    lua_pushlstring(L, holder->text, len);
    return 1;
}

/* host.parse(text) → value; YAML or JSON; several documents: an array with `many` */
static int host_parse(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct repl_holder *holder = repl_push_holder(L);
    holder->json = yaml_parse_all(text, len, &holder->err);
    if (!holder->json)
        return repl_raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* host.mode() → columns, json?, namespace */
static int host_mode(lua_State *L)
{
    struct repl_lua *lua = repl_lua_of(L);
    lua_pushinteger(L, lua->columns);
    lua_pushboolean(L, lua->json);
    lua_pushstring(L, lua->namespace);
    return 3;
}

static int host_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)clock_wall_ns(&clock_system) / 1e9);
    return 1;
}

/* host.revision_at(seconds since the epoch) → revision */
static int host_revision_at(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    struct repl_holder *holder = repl_push_holder(L);
    uint64_t revision = 0;
    if (!(seconds >= 0 && seconds < 1e11))
        return luaL_error(L, "k.at: not a time");
    if (repl_revision_at(repl_lua_of(L)->session, (int64_t)seconds, &revision, &holder->err) < 0)
        return repl_raise(L, holder);
    lua_pushnumber(L, (lua_Number)revision);
    return 1;
}

/* host.duration("10m") → seconds, or nil */
static int host_duration(lua_State *L)
{
    int64_t ns;
    if (time_parse_duration(luaL_checkstring(L, 1), &ns, NULL) < 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)ns / 1e9);
    return 1;
}

/* host.time(RFC 3339) → seconds since the epoch, or nil */
static int host_time(lua_State *L)
{
    int64_t ns;
    if (time_parse(luaL_checkstring(L, 1), &ns, NULL) < 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)ns / 1e9);
    return 1;
}

static int host_age(lua_State *L)
{
    char age[TIME_TEXT];
    lua_Number seconds = luaL_checknumber(L, 1);
    time_print_age((int64_t)((seconds > 0 && seconds < 1e9 ? seconds : 0) * 1e9), age);
    lua_pushstring(L, age);
    return 1;
}

/* host.escape(segment) → for a path or a query */
static int host_escape(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._~", c)) {
            luaL_addchar(&out, (char)c);
        } else {
            char escaped[4];
            snprintf(escaped, sizeof(escaped), "%%%02X", c);
            luaL_addstring(&out, escaped);
        }
    }
    luaL_pushresult(&out);
    return 1;
}

static int host_array(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    value_mark_array(L, 1);
    return 1;
}

static int host_is_array(lua_State *L)
{
    lua_pushboolean(L, lua_istable(L, 1) && value_is_array(L, 1));
    return 1;
}

void bind_repl_open(struct repl_lua *lua)
{
    static const luaL_Reg functions[] = {{"age", host_age},
                                         {"array", host_array},
                                         {"escape", host_escape},
                                         {"fail", host_fail},
                                         {"is_array", host_is_array},
                                         {"is_object", host_is_object},
                                         {"json", host_json},
                                         {"mode", host_mode},
                                         {"next", host_next},
                                         {"now", host_now},
                                         {"objects", host_objects},
                                         {"parse", host_parse},
                                         {"policies", host_policies},
                                         {"request", host_request},
                                         {"say", host_say},
                                         {"select", host_select},
                                         {"sleep", host_sleep},
                                         {"stop", host_stop},
                                         {"table", host_table},
                                         {"resources_for", host_resources_for},
                                         {"time", host_time},
                                         {"watch", host_watch},
                                         {"whatif", host_whatif},
                                         {"yaml", host_yaml},
                                         {"decisions", host_decisions},
                                         {"revision_at", host_revision_at},
                                         {"duration", host_duration},
                                         {"try", host_try},
                                         {NULL, NULL}};
    lua_State *L = lua->sandbox.L;
    repl_objects_open(L);
    repl_new_metatable(L, WATCH, watch_gc);
    lua_createtable(L, 0, (int)COUNT_OF(functions));
    for (const luaL_Reg *function = functions; function->name; function++) {
        lua_pushlightuserdata(L, lua);
        lua_pushcclosure(L, function->func, 1);
        lua_setfield(L, -2, function->name);
    }
}
