/*
 * bind_repl_objects: objects of the cluster as userdata: each refers to the cache's text and is parsed when a
 * field is read: `#k.pods{}` costs a reference each; lists of them, and selecting from a list.
 */
#include <string.h>

#include "script/bind_repl.h"

static int repl_holder_gc(lua_State *L)
{
    struct repl_holder *holder = lua_touserdata(L, 1);
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

struct repl_holder *repl_push_holder(lua_State *L)
{
    struct repl_holder *holder = lua_newuserdata(L, sizeof(*holder));
    memset(holder, 0, sizeof(*holder));
    luaL_getmetatable(L, REPL_HOLDER);
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

int repl_raise(lua_State *L, struct repl_holder *holder)
{
    push_where(L);
    lua_pushstring(L, err_message(holder->err));
    lua_concat(L, 2);
    return lua_error(L);
}

/* host.fail(message): raises it at the user's line */
int host_fail(lua_State *L)
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
    struct repl_object *object = lua_newuserdata(L, sizeof(*object));
    *object = (struct repl_object){0};
    luaL_getmetatable(L, REPL_OBJECT);
    lua_setmetatable(L, -2);
    object->text = bytes_ref(text);
}

struct repl_object *repl_to_object(lua_State *L, int index)
{
    if (!lua_isuserdata(L, index) || lua_islightuserdata(L, index) || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, REPL_OBJECT);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? lua_touserdata(L, index) : NULL;
}

/* Pushes the table of the object at index. */
void repl_push_table(lua_State *L, int index, struct repl_object *object)
{
    if (!object->parsed) {
        struct repl_holder *holder = repl_push_holder(L);
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
    struct repl_object *object = lua_touserdata(L, 1);
    bytes_unref(steal(&object->text));
    return 0;
}

static int object_index(lua_State *L)
{
    struct repl_object *object = repl_to_object(L, 1);
    if (!object)
        return luaL_error(L, "not an object");
    repl_push_table(L, 1, object);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static int object_newindex(lua_State *L)
{
    struct repl_object *object = repl_to_object(L, 1);
    if (!object)
        return luaL_error(L, "not an object");
    repl_push_table(L, 1, object);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
    return 0;
}

/* host.table(value): the table of an object; anything else as it is. */
int host_table(lua_State *L)
{
    struct repl_object *object = repl_to_object(L, 1);
    lua_settop(L, 1);
    if (object)
        repl_push_table(L, 1, object);
    return 1;
}

/* host.object(value): whether it is one */
int host_is_object(lua_State *L)
{
    lua_pushboolean(L, repl_to_object(L, 1) != NULL);
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
int host_objects(lua_State *L)
{
    struct repl_lua *lua = repl_lua_of(L);
    const char *resource = luaL_checkstring(L, 1), *namespace = luaL_optstring(L, 2, NULL),
               *name = luaL_optstring(L, 3, NULL);
    struct repl_holder *holder = repl_push_holder(L);
    if (repl_snapshot(lua->session, resource, namespace, name, lua->written, &holder->objects, &holder->err) <
        0)
        return repl_raise(L, holder);
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
static bool fits(lua_State *L, int index, const struct selector *selector, bool labels,
                 struct repl_holder *holder)
{
    struct repl_object *object = repl_to_object(L, index);
    if (object && !object->parsed) {
        holder->json = json_parse_trusted(object->text->data, object->text->len);
    } else {
        lua_pushvalue(L, index);
        if (object)
            lua_getfenv(L, index);
        holder->json = value_take_safe(L, -1, REPL_MAX_NODES, NULL);
        lua_pop(L, object ? 2 : 1);
    }
    bool result = labels ? selector_matches(selector, look_up_label, json_at(holder->json, "metadata.labels"))
                         : selector_matches(selector, look_up_field, holder->json);
    cJSON_Delete(steal(&holder->json));
    return result;
}

/* host.select(array, selector text, "labels" | "fields") → array */
int host_select(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *text = luaL_checkstring(L, 2);
    bool labels = str_eq(luaL_checkstring(L, 3), "labels");
    struct repl_holder *holder = repl_push_holder(L);
    holder->selector =
        labels ? selector_parse(text, &holder->err) : selector_parse_fields(text, &holder->err);
    if (!holder->selector)
        return repl_raise(L, holder);
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

/* The object at index as text, with a reference. */
struct bytes *repl_object_text(lua_State *L, int index, struct repl_holder *holder)
{
    struct repl_object *object = repl_to_object(L, index);
    if (object && !object->parsed)
        return bytes_ref(object->text);
    lua_pushvalue(L, index);
    if (object)
        lua_getfenv(L, index);
    auto_json json = value_take_safe(L, -1, REPL_MAX_NODES, &holder->err);
    lua_pop(L, object ? 2 : 1);
    if (!json)
        return NULL;
    auto_free char *text = json_print(json);
    return bytes_from(text, strlen(text));
}

void repl_new_metatable(lua_State *L, const char *name, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    if (str_eq(name, REPL_OBJECT)) {
        lua_pushcfunction(L, object_index);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, object_newindex);
        lua_setfield(L, -2, "__newindex");
    }
    lua_pop(L, 1);
}

void repl_objects_open(lua_State *L)
{
    repl_new_metatable(L, REPL_HOLDER, repl_holder_gc);
    repl_new_metatable(L, REPL_OBJECT, object_gc);
}
