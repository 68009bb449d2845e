/*
 * bind_repl: what the files of lua/repl can ask of the host: the table `host` of their environment.
 *
 * An object of the cluster is a userdata that refers to the cache's text and is parsed when a field is read:
 * `#k.pods{}` costs a reference each. Errors of the cluster raise, as text: there is no pcall for users. A
 * function that may raise keeps what it must free in a holder, which the collector frees.
 */
#include <string.h>

#include "base/yaml.h"
#include "script/script_repl.h"

#define MAX_NODES 200000
#define OBJECT "m8.object"
#define HOLDER "m8.holder"
#define WATCH "m8.watch"

struct object {
    struct bytes *text;
    bool parsed; /* its environment is the table */
};

struct holder { /* frees what a raise would leak */
    struct bytes *bytes;
    cJSON *json;
    char *text;
    struct selector *selector;
    struct repl_objects objects;
    struct repl_given given;
    struct err *err;
};

static struct repl_lua *lua_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int holder_gc(lua_State *L)
{
    struct holder *holder = lua_touserdata(L, 1);
    bytes_unref(steal(&holder->bytes));
    cJSON_Delete(steal(&holder->json));
    free(steal(&holder->text));
    selector_free(steal(&holder->selector));
    err_free(steal(&holder->err));
    repl_objects_fini(&holder->objects);
    for (size_t i = 0; i < holder->given.count; i++)
        bytes_unref(holder->given.objects[i]);
    free(steal(&holder->given.objects));
    free(steal(&holder->given.resources));
    holder->given.count = 0;
    return 0;
}

static struct holder *push_holder(lua_State *L)
{
    struct holder *holder = lua_newuserdata(L, sizeof(*holder));
    memset(holder, 0, sizeof(*holder));
    luaL_getmetatable(L, HOLDER);
    lua_setmetatable(L, -2);
    return holder;
}

/* "stdin:3: " of the user's line that is being run, or nothing. */
static void push_where(lua_State *L)
{
    lua_Debug at;
    for (int level = 0; lua_getstack(L, level, &at); level++) {
        lua_getinfo(L, "Sl", &at);
        if (at.currentline > 0 && !str_starts(at.source, "=repl/")) {
            lua_pushfstring(L, "%s:%d: ", at.short_src, at.currentline);
            return;
        }
    }
    lua_pushliteral(L, "");
}

static int raise(lua_State *L, struct holder *holder)
{
    push_where(L);
    lua_pushstring(L, err_message(holder->err));
    lua_concat(L, 2);
    return lua_error(L);
}

/* host.fail(message): raises it at the user's line */
static int host_fail(lua_State *L)
{
    luaL_checkstring(L, 1);
    push_where(L);
    lua_pushvalue(L, 1);
    lua_concat(L, 2);
    return lua_error(L);
}

/* ---- objects ---- */

static void push_object(lua_State *L, struct bytes *text)
{
    struct object *object = lua_newuserdata(L, sizeof(*object));
    *object = (struct object){0};
    luaL_getmetatable(L, OBJECT);
    lua_setmetatable(L, -2);
    object->text = bytes_ref(text);
}

static struct object *to_object(lua_State *L, int index)
{
    if (!lua_isuserdata(L, index) || lua_islightuserdata(L, index) || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, OBJECT);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? lua_touserdata(L, index) : NULL;
}

/* Pushes the table of the object at index. */
static void push_table(lua_State *L, int index, struct object *object)
{
    if (!object->parsed) {
        struct holder *holder = push_holder(L);
        holder->json = json_parse_trusted(object->text->data, object->text->len);
        value_push(L, holder->json);
        cJSON_Delete(steal(&holder->json));
        lua_pushvalue(L, -1);
        lua_setfenv(L, index);
        object->parsed = true;
        bytes_unref(steal(&object->text));
        lua_remove(L, -2);
    } else {
        lua_getfenv(L, index);
    }
}

static int object_gc(lua_State *L)
{
    struct object *object = lua_touserdata(L, 1);
    bytes_unref(steal(&object->text));
    return 0;
}

static int object_index(lua_State *L)
{
    struct object *object = to_object(L, 1);
    if (!object)
        return luaL_error(L, "not an object");
    push_table(L, 1, object);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static int object_newindex(lua_State *L)
{
    struct object *object = to_object(L, 1);
    if (!object)
        return luaL_error(L, "not an object");
    push_table(L, 1, object);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
    return 0;
}

/* host.table(value): the table of an object; anything else as it is. */
static int host_table(lua_State *L)
{
    struct object *object = to_object(L, 1);
    lua_settop(L, 1);
    if (object)
        push_table(L, 1, object);
    return 1;
}

/* host.object(value): whether it is one */
static int host_is_object(lua_State *L)
{
    lua_pushboolean(L, to_object(L, 1) != NULL);
    return 1;
}

static void push_list(lua_State *L, struct repl_objects *objects)
{
    lua_createtable(L, (int)objects->count, 0);
    for (size_t i = 0; i < objects->count; i++) {
        if (i % 256 == 0)
            sandbox_check(L);
        push_object(L, objects->items[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    value_mark_array(L, lua_gettop(L));
}

/* host.objects(resource, namespace | nil, name | nil) → array of objects, revision */
static int host_objects(lua_State *L)
{
    struct repl_lua *lua = lua_of(L);
    const char *resource = luaL_checkstring(L, 1), *namespace = luaL_optstring(L, 2, NULL),
               *name = luaL_optstring(L, 3, NULL);
    struct holder *holder = push_holder(L);
    if (repl_snapshot(lua->session, resource, namespace, name, lua->written, &holder->objects, &holder->err) <
        0)
        return raise(L, holder);
    push_list(L, &holder->objects);
    lua_pushnumber(L, (lua_Number)holder->objects.revision);
    repl_objects_fini(&holder->objects);
    return 2;
}

static const char *look_up_label(void *labels, const char *key)
{
    const cJSON *value = json_get(labels, key);
    return cJSON_IsString(value) ? value->valuestring : NULL;
}

static const char *look_up_field(void *object, const char *key)
{
    static _Thread_local char number[32];
    const cJSON *value = json_at(object, key);
    if (cJSON_IsString(value))
        return value->valuestring;
    if (cJSON_IsBool(value))
        return cJSON_IsTrue(value) ? "true" : "false";
    if (cJSON_IsNumber(value)) {
        snprintf(number, sizeof(number), "%.15g", value->valuedouble);
        return number;
    }
    return NULL;
}

/* Whether the object at index fits; labels: a label selector, else one of fields. */
static bool fits(lua_State *L, int index, const struct selector *selector, bool labels, struct holder *holder)
{
    struct object *object = to_object(L, index);
    if (object && !object->parsed) {
        holder->json = json_parse_trusted(object->text->data, object->text->len);
    } else {
        lua_pushvalue(L, index);
        if (object)
            lua_getfenv(L, index);
        holder->json = value_take_safe(L, -1, MAX_NODES, NULL);
        lua_pop(L, object ? 2 : 1);
    }
    bool result = labels ? selector_matches(selector, look_up_label, json_at(holder->json, "metadata.labels"))
                         : selector_matches(selector, look_up_field, holder->json);
    cJSON_Delete(steal(&holder->json));
    return result;
}

/* host.select(array, selector text, "labels" | "fields") → array */
static int host_select(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *text = luaL_checkstring(L, 2);
    bool labels = str_eq(luaL_checkstring(L, 3), "labels");
    struct holder *holder = push_holder(L);
    holder->selector =
        labels ? selector_parse(text, &holder->err) : selector_parse_fields(text, &holder->err);
    if (!holder->selector)
        return raise(L, holder);
    lua_createtable(L, 0, 0);
    int result = lua_gettop(L), n = 0;
    for (int i = 1;; i++) {
        sandbox_check(L);
        lua_rawgeti(L, 1, i);
        if (lua_isnil(L, -1))
            break;
        if (fits(L, lua_gettop(L), holder->selector, labels, holder))
            lua_rawseti(L, result, ++n);
        else
            lua_pop(L, 1);
    }
    lua_settop(L, result);
    value_mark_array(L, result);
    return 1;
}

/* ---- requests ---- */

/* The value at index as text for a body: a string as it is, a table as JSON; NULL: none. Kept by the holder.
 */
static const char *take_body(lua_State *L, int index, struct holder *holder, size_t *len)
{
    if (lua_isnoneornil(L, index))
        return NULL;
    if (lua_type(L, index) == LUA_TSTRING)
        return lua_tolstring(L, index, len);
    struct object *object = to_object(L, index);
    if (object)
        push_table(L, index, object);
    else
        lua_pushvalue(L, index);
    auto_json json = value_take_safe(L, -1, MAX_NODES, &holder->err);
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
    struct repl_lua *lua = lua_of(L);
    struct repl_call call = {.method = luaL_checkstring(L, 1),
                             .target = luaL_checkstring(L, 2),
                             .content_type = luaL_optstring(L, 3, NULL)};
    lua_settop(L, 4);
    struct holder *holder = push_holder(L);
    int status = 0;
    call.body = take_body(L, 4, holder, &call.body_len);
    if (holder->err || repl_request(lua->session, &call, &status, &holder->bytes, &holder->err) < 0)
        return raise(L, holder);
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
    struct repl_lua *lua = lua_of(L);
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
    struct holder *holder = push_holder(L);
    int rc = *watch ? repl_watch_next(*watch, seconds < 0 ? -1 : (int64_t)(seconds * 1000), &holder->text,
                                      &holder->err)
                    : -1;
    if (holder->err)
        return raise(L, holder);
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
    repl_print(lua_of(L), text, len);
    return 0;
}

/* host.policies(namespace | nil) */
static int host_policies(lua_State *L)
{
    const char *namespace = luaL_optstring(L, 1, NULL);
    struct holder *holder = push_holder(L);
    holder->json = repl_policies(lua_of(L)->session, namespace, &holder->err);
    if (!holder->json)
        return raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* host.decisions{object=, point=, sinceSeconds=, limit=, inputs=} → {decisions=, record=} */
static int host_decisions(lua_State *L)
{
    struct holder *holder = push_holder(L);
    cJSON *spec = value_take_safe(L, 1, 100, &holder->err);
    holder->json = spec ? repl_decisions(lua_of(L)->session, spec, &holder->err) : NULL;
    if (!holder->json)
        return raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* ---- what if ---- */

/* The object at index as text, with a reference. */
static struct bytes *object_text(lua_State *L, int index, struct holder *holder)
{
    struct object *object = to_object(L, index);
    if (object && !object->parsed)
        return bytes_ref(object->text);
    lua_pushvalue(L, index);
    if (object)
        lua_getfenv(L, index);
    auto_json json = value_take_safe(L, -1, MAX_NODES, &holder->err);
    lua_pop(L, object ? 2 : 1);
    if (!json)
        return NULL;
    auto_free char *text = json_print(json);
    return bytes_from(text, strlen(text));
}

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
static int give_list(lua_State *L, const char *resource, struct holder *holder)
{
    int list = lua_gettop(L);
    for (int i = 1;; i++) {
        sandbox_check(L);
        lua_rawgeti(L, list, i);
        if (lua_isnil(L, -1))
            break;
        struct bytes *text = object_text(L, lua_gettop(L), holder);
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
    struct holder *holder = push_holder(L);
    for (lua_pushnil(L); lua_next(L, 2); lua_settop(L, 4)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
            return luaL_error(L, "whatif: lists by resource are wanted");
        if (give_list(L, lua_tostring(L, -2), holder) < 0)
            return raise(L, holder);
    }
    auto_json wish = value_take_safe(L, 1, MAX_NODES, &holder->err);
    if (wish)
        holder->json = repl_whatif(lua_of(L)->session, wish, &holder->given, &holder->err);
    cJSON_Delete(steal(&wish));
    if (!holder->json)
        return raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* host.try(wish) → {point, result, reasons, failure} */
static int host_try(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct holder *holder = push_holder(L);
    cJSON *wish = value_take_safe(L, 1, MAX_NODES, &holder->err);
    if (wish)
        holder->json = repl_try(lua_of(L)->session, wish, &holder->err);
    cJSON_Delete(wish);
    if (!holder->json)
        return raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* host.resources_for(resource) → array */
static int host_resources_for(lua_State *L)
{
    const char *resource = luaL_checkstring(L, 1);
    struct holder *holder = push_holder(L);
    holder->json = repl_whatif_resources(lua_of(L)->session, resource, &holder->err);
    if (!holder->json)
        return raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

static int host_sleep(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    struct holder *holder = push_holder(L);
    if (!(seconds >= 0 && seconds <= 86400))
        return luaL_error(L, "sleep: seconds from 0 to 86400");
    return repl_sleep(lua_of(L)->session, (int64_t)(seconds * 1000), &holder->err) < 0 ? raise(L, holder) : 0;
}

static int host_json(lua_State *L)
{
    size_t len = 0;
    bool pretty = lua_toboolean(L, 2);
    struct holder *holder = push_holder(L);
    holder->json = value_take_safe(L, 1, MAX_NODES, &holder->err);
    if (!holder->json)
        return raise(L, holder);
    holder->text = pretty ? json_print_pretty(holder->json) : json_print(holder->json);
    len = strlen(holder->text);
    lua_pushlstring(L, holder->text, len);
    return 1;
}

/* host.yaml(value) → YAML text, or nil: it is no plain data */
static int host_yaml(lua_State *L)
{
    lua_settop(L, 1);
    struct holder *holder = push_holder(L);
    holder->json = value_take_safe(L, 1, MAX_NODES, &holder->err);
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
    struct holder *holder = push_holder(L);
    holder->json = yaml_parse_all(text, len, &holder->err);
    if (!holder->json)
        return raise(L, holder);
    value_push(L, holder->json);
    return 1;
}

/* host.mode() → columns, json?, namespace */
static int host_mode(lua_State *L)
{
    struct repl_lua *lua = lua_of(L);
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
    struct holder *holder = push_holder(L);
    uint64_t revision = 0;
    if (!(seconds >= 0 && seconds < 1e11))
        return luaL_error(L, "k.at: not a time");
    if (repl_revision_at(lua_of(L)->session, (int64_t)seconds, &revision, &holder->err) < 0)
        return raise(L, holder);
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

static void new_metatable(lua_State *L, const char *name, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    if (str_eq(name, OBJECT)) {
        lua_pushcfunction(L, object_index);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, object_newindex);
        lua_setfield(L, -2, "__newindex");
    }
    lua_pop(L, 1);
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
    new_metatable(L, HOLDER, holder_gc);
    new_metatable(L, OBJECT, object_gc);
    new_metatable(L, WATCH, watch_gc);
    lua_createtable(L, 0, (int)COUNT_OF(functions));
    for (const luaL_Reg *function = functions; function->name; function++) {
        lua_pushlightuserdata(L, lua);
        lua_pushcclosure(L, function->func, 1);
        lua_setfield(L, -2, function->name);
    }
}
