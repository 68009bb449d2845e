/*
 * script_kinds: the kinds are pure data written as Lua tables (contract 11); this evaluates them and hands
 * them out as JSON. A file returns one definition or an array of definitions; those that only declare named
 * types come first in the result.
 */
#include <string.h>

#include "script/script_private.h"

/* What was found: definitions that only declare named types, and kinds. */
struct found {
    cJSON *types, *kinds;
};

static void add_definition(struct found *found, cJSON *definition)
{
    bool only_types = json_get(definition, "types") && !json_get(definition, "kind");
    json_push(only_types ? found->types : found->kinds, definition);
}

static int add_definitions(struct found *all, cJSON *value, const char *path, struct err **err)
{
    if (cJSON_IsArray(value)) {
        while (value->child)
            add_definition(all, cJSON_DetachItemFromArray(value, 0));
        cJSON_Delete(value);
        return 0;
    }
    if (cJSON_IsObject(value)) {
        add_definition(all, value);
        return 0;
    }
    cJSON_Delete(value);
    return err_set(err, ERR_INVALID, "%s: must return a table", path);
}

static int load_directory(lua_State *L, const char *directory, struct found *all, struct err **err)
{
    auto_free char *folder = file_join(directory, "kinds");
    size_t count = 0;
    if (!file_exists(folder))
        return 0;
    auto_free char **names = file_list(folder, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!str_ends(names[i], ".lua") || names[i][0] == '.')
            continue;
        auto_free char *path = file_join(folder, names[i]);
        if (state_run_file(L, path, err) < 0)
            return err_wrap(err, "kinds");
        cJSON *value = value_take_safe(L, -1, VALUE_MAX_NODES, err);
        lua_pop(L, 1);
        if (!value || add_definitions(all, value, path, err) < 0)
            return err_wrap(err, "%s", path);
    }
    return 0;
}

cJSON *script_load_kinds(const char *const *lua_directories, struct err **err)
{
    lua_State *L = state_new(lua_directories);
    struct found found = {cJSON_CreateArray(), cJSON_CreateArray()};
    int rc = 0;
    for (size_t i = 0; rc == 0 && lua_directories[i]; i++)
        rc = load_directory(L, lua_directories[i], &found, err);
    lua_close(L);
    while (rc == 0 && found.kinds->child)
        json_push(found.types, cJSON_DetachItemFromArray(found.kinds, 0));
    cJSON_Delete(found.kinds);
    if (rc == 0)
        return found.types;
    cJSON_Delete(found.types);
    return NULL;
}

int kinds_names(const char *const *lua_directories, struct map *names, struct err **err)
{
    auto_json kinds = script_load_kinds(lua_directories, err);
    if (!kinds)
        return -1;
    json_each (kind, kinds) {
        auto_free char *name =
            mem_printf("%s/%s", json_string_or(kind, "group", ""), json_string_or(kind, "kind", ""));
        map_set(names, name, names);
    }
    return 0;
}
