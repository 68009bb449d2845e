/*
 * script_controller: see the header. Does not: remember events; retry; write.
 */
#include <string.h>

#include "script/script_controller.h"

static void watch_fini(struct controller_watch *watch)
{
    for (size_t i = 0; watch->on && watch->on[i]; i++)
        free(watch->on[i]);
    free(watch->on);
    free(watch->resource);
    free(watch->owner);
}

void controllers_fini(struct controllers *controllers)
{
    for (size_t i = 0; i < controllers->count; i++) {
        struct controller *controller = &controllers->items[i];
        for (size_t w = 0; w < controller->n_watches; w++)
            watch_fini(&controller->watches[w]);
        free(controller->watches);
        free(controller->name);
        cJSON_Delete(controller->project);
        cJSON_Delete(controller->index);
    }
    free(controllers->items);
    *controllers = (struct controllers){0};
}

struct controller *controllers_find(struct controllers *controllers, const char *name)
{
    for (size_t i = 0; i < controllers->count; i++)
        if (str_eq(controllers->items[i].name, name))
            return &controllers->items[i];
    return NULL;
}

/* ---- loading ---- */

static char *take_string(lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    char *text = mem_strdup(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL);
    lua_pop(L, 1);
    return text;
}

static char **take_strings(lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    size_t count = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    char **texts = lua_istable(L, -1) ? mem_array(count + 1, sizeof(*texts)) : NULL;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        texts[i] = mem_strdup(lua_tostring(L, -1) ? lua_tostring(L, -1) : "?");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return texts;
}

static int take_function(lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    if (lua_isfunction(L, -1))
        return luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return LUA_NOREF;
}

/* The watch's table is on the top of the stack. */
static int read_watch(lua_State *L, struct controller_watch *watch, struct err **err)
{
    if (!lua_istable(L, -1))
        return err_set(err, ERR_INVALID, "watches: each must be a table");
    auto_free char *key = take_string(L, "key");
    watch->resource = take_string(L, "resource");
    watch->owner = take_string(L, "owner");
    watch->on = take_strings(L, "on");
    watch->map_ref = take_function(L, "map");
    if (!watch->resource)
        return err_set(err, ERR_INVALID, "watches: a resource is needed");
    if (watch->map_ref != LUA_NOREF)
        watch->key = WATCH_MAP;
    else if (str_eq(key, "self"))
        watch->key = WATCH_SELF;
    else if (str_eq(key, "owner") && watch->owner)
        watch->key = WATCH_OWNER;
    else
        return err_set(err, ERR_INVALID,
                       "watches: %s: needs map, key = \"self\", or key = \"owner\" with owner",
                       watch->resource);
    return 0;
}

static cJSON *take_columns(lua_State *L, const char *field, struct err **err)
{
    lua_getfield(L, -1, field);
    cJSON *columns = value_take_safe(L, -1, 10000, err);
    lua_pop(L, 1);
    json_each (paths, columns) {
        if (cJSON_IsArray(paths))
            continue;
        err_set(err, ERR_INVALID, "%s: %s must be an array of paths", field,
                paths->string ? paths->string : "?");
        cJSON_Delete(columns);
        return NULL;
    }
    return columns;
}

/* The controller's table is on the top of the stack. */
static int read_controller(lua_State *L, struct controller *controller, struct err **err)
{
    if (!lua_istable(L, -1))
        return err_set(err, ERR_INVALID, "must return a table");
    controller->name = take_string(L, "name");
    controller->reconcile_ref = take_function(L, "reconcile");
    if (!controller->name || controller->reconcile_ref == LUA_NOREF)
        return err_set(err, ERR_INVALID, "needs name and reconcile");
    controller->project = take_columns(L, "project", err);
    controller->index = take_columns(L, "index", err);
    if (!controller->project || !controller->index)
        return -1;
    lua_getfield(L, -1, "watches");
    size_t count = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    controller->watches = mem_array(count + 1, sizeof(*controller->watches));
    int rc = count ? 0 : err_set(err, ERR_INVALID, "needs watches");
    for (size_t i = 0; i < count && rc == 0; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        rc = read_watch(L, &controller->watches[controller->n_watches++], err);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return rc;
}

static bool selected(const char *const *names, const char *file)
{
    if (!names)
        return true;
    for (; *names; names++)
        if (strlen(file) == strlen(*names) + 4 && str_starts(file, *names))
            return true;
    return false;
}

static int load_directory(struct controllers *controllers, lua_State *L, const char *directory,
                          const char *const *names, struct err **err)
{
    auto_free char *folder = file_join(directory, "controllers");
    size_t count = 0;
    if (!file_exists(folder))
        return 0;
    auto_free char **files = file_list(folder, &count, err);
    if (!files)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!str_ends(files[i], ".lua") || files[i][0] == '.' || !selected(names, files[i]))
            continue;
        auto_free char *path = file_join(folder, files[i]);
        if (state_run_file(L, path, err) < 0)
            return -1;
        controllers->items =
            mem_resize(controllers->items, controllers->count + 1, sizeof(*controllers->items));
        struct controller *controller = &controllers->items[controllers->count++];
        *controller = (struct controller){.reconcile_ref = LUA_NOREF};
        int rc = read_controller(L, controller, err);
        lua_pop(L, 1);
        if (rc < 0)
            return err_wrap(err, "%s", path);
    }
    return 0;
}

int controllers_load(struct controllers *controllers, lua_State *L, const char *const *lua_directories,
                     const char *const *names, struct err **err)
{
    *controllers = (struct controllers){0};
    for (size_t i = 0; lua_directories[i]; i++)
        if (load_directory(controllers, L, lua_directories[i], names, err) < 0)
            return -1;
    return 0;
}

void controllers_project(const struct controllers *controllers, struct cache *cache)
{
    for (size_t i = 0; i < controllers->count; i++) {
        const struct controller *controller = &controllers->items[i];
        json_each (paths, controller->project) {
            json_each (path, paths) {
                const char *one[] = {cJSON_IsString(path) ? path->valuestring : NULL, NULL};
                cache_project(cache, paths->string, one);
            }
        }
        json_each (paths, controller->index) {
            json_each (path, paths) {
                if (cJSON_IsString(path))
                    cache_index(cache, paths->string, path->valuestring);
            }
        }
        for (size_t w = 0; w < controller->n_watches; w++)
            if (controller->watches[w].on)
                cache_project(cache, controller->watches[w].resource,
                              (const char *const *)controller->watches[w].on);
    }
}

/* ---- from changes to keys ---- */

static bool concerns(const struct controller_watch *watch, const struct cache_item *previous,
                     const struct cache_item *item)
{
    if (!watch->on || !previous || !item || previous->deleting != item->deleting)
        return true;
    for (char **path = watch->on; *path; path++) {
        const cJSON *before = json_get(previous->columns, *path), *after = json_get(item->columns, *path);
        if (!before != !after || (before && !json_equal(before, after)))
            return true;
    }
    return false;
}

static const char *owner_key(const struct controller_watch *watch, const struct world *world,
                             const struct cache_item *item)
{
    const struct cache_item *owner =
        item && item->owner_uid ? cache_get_uid(world->cache, item->owner_uid) : NULL;
    return owner && str_eq(owner->resource, watch->owner) ? owner->key : NULL;
}

struct mapping {
    struct controller *controller;
    struct world *world;
    int ref;
    const struct cache_item *previous, *item;
    controller_add_key *add;
    void *arg;
};

static int map_call(lua_State *L)
{
    const struct mapping *mapping = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, mapping->ref);
    bind_world_push(L, mapping->world);
    bind_world_push_shown(L, mapping->world, mapping->item);
    bind_world_push_shown(L, mapping->world, mapping->previous);
    lua_call(L, 3, 1);
    for (int i = 1; lua_istable(L, 2); i++) {
        lua_rawgeti(L, 2, i);
        if (lua_isnil(L, -1))
            break;
        mapping->add(mapping->arg, mapping->controller, luaL_checkstring(L, -1));
        lua_pop(L, 1);
    }
    return 0;
}

static void call_map(const struct mapping *mapping)
{
    lua_State *L = mapping->world->L;
    auto_err err = NULL;
    lua_pushcfunction(L, map_call);
    lua_pushlightuserdata(L, (void *)mapping);
    if (state_call(L, 1, 0, &err) < 0)
        log_error("script", "controller %s: map: %s", mapping->controller->name, err_message(err));
}

void controller_keys(struct controller *controller, struct world *world, const char *resource,
                     const struct cache_item *previous, const struct cache_item *item,
                     controller_add_key *add, void *arg)
{
    for (size_t i = 0; i < controller->n_watches; i++) {
        const struct controller_watch *watch = &controller->watches[i];
        bool everything = str_eq(watch->resource, "*");
        if ((!everything && !str_eq(watch->resource, resource)) || !concerns(watch, previous, item))
            continue;
        if (watch->key == WATCH_SELF) {
            add(arg, controller, item ? item->key : previous->key);
        } else if (watch->key == WATCH_OWNER) {
            const char *now = owner_key(watch, world, item), *before = owner_key(watch, world, previous);
            if (now)
                add(arg, controller, now);
            if (before && !str_eq(now, before))
                add(arg, controller, before);
        } else {
            struct mapping mapping = {.controller = controller,
                                      .world = world,
                                      .ref = watch->map_ref,
                                      .previous = previous,
                                      .item = item,
                                      .add = add,
                                      .arg = arg};
            call_map(&mapping);
        }
    }
}

/* ---- reconcile ---- */

int controller_reconcile(struct controller *controller, struct world *world, const char *key, cJSON **plan,
                         struct err **err)
{
    lua_State *L = world->L;
    *plan = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, controller->reconcile_ref);
    bind_world_push(L, world);
    lua_pushstring(L, key);
    if (state_call(L, 2, 1, err) < 0)
        return -1;
    int rc = 0;
    if (!lua_isnil(L, -1)) {
        *plan = value_take_safe(L, -1, VALUE_MAX_NODES, err);
        if (!*plan)
            rc = err_wrap(err, "the plan holds what is not data");
    }
    lua_pop(L, 1);
    return rc;
}
