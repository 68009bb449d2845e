/*
 * script_world: see the header. Does not: change the cache; decide what is queued (script_manager.c).
 */
#include <string.h>

#include "script/script_world.h"

#define FORGET_AFTER_NS (3600 * 1000000000LL)

struct sighting {
    char *value;
    int64_t since_ns, asked_ns;
};

static void sighting_free(void *value)
{
    struct sighting *sighting = value;
    free(sighting->value);
    free(sighting);
}

static void kind_free(void *value)
{
    struct world_kind *kind = value;
    free(kind->api_version);
    free(kind->kind);
    free(kind);
}

void world_init(struct world *world, lua_State *L, struct cache *cache, struct policies *policies,
                const struct random *random)
{
    *world = (struct world){
        .L = L, .cache = cache, .policies = policies, .random = random, .points_ref = LUA_NOREF};
    map_init(&world->kinds, kind_free);
    map_init(&world->seen, sighting_free);
}

void world_fini(struct world *world)
{
    if (world->L)
        luaL_unref(world->L, LUA_REGISTRYINDEX, world->points_ref);
    map_fini(&world->kinds);
    map_fini(&world->seen);
}

void world_set_time(struct world *world, const struct clock *clock)
{
    world->wall_ns = clock_wall_ns(clock);
    world->monotonic_ns = clock->monotonic_ns(clock->arg);
}

/* ---- points ---- */

static char *take_text(lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    char *text = mem_strdup(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL);
    lua_pop(L, 1);
    return text;
}

/* Name and entry are on the top of the stack. */
static int add_point(struct world *world, lua_State *L, struct err **err)
{
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1))
        return err_set(err, ERR_INVALID,
                       "framework.points: each entry must be NAME = { shape = …, default = … }");
    auto_free char *shape = take_text(L, "shape"), *about = take_text(L, "about"),
                   *fallback = take_text(L, "default");
    return policies_add_point(world->policies, lua_tostring(L, -2), shape, about, fallback, err);
}

/* The points of the table on the top of the stack, which is replaced by nothing; into: the table of all. */
static int add_points(struct world *world, lua_State *L, int into, const char *where, struct err **err)
{
    int rc = 0, table = lua_gettop(L);
    if (!lua_istable(L, table) || lua_objlen(L, table)) {
        lua_pop(L, 1);
        return err_set(err, ERR_INVALID, "%s must return a table of points by name", where);
    }
    lua_pushcfunction(L, base_pairs); /* in key order: the points' order must repeat */
    lua_pushvalue(L, table);
    lua_call(L, 1, 1);
    for (;; lua_pop(L, 2)) {
        lua_pushvalue(L, table + 1);
        lua_call(L, 0, 2);
        if (rc < 0 || lua_isnil(L, -2))
            break;
        rc = add_point(world, L, err) < 0 ? err_wrap(err, "%s", where) : 0;
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, into);
    }
    lua_settop(L, table - 1);
    return rc;
}

int world_load_points(struct world *world, const char *const *lua_directories, struct err **err)
{
    lua_State *L = world->L;
    lua_newtable(L);
    int rc = 0, all = lua_gettop(L);
    if (state_require(L, "framework.points", err) < 0 ||
        add_points(world, L, all, "framework.points", err) < 0)
        rc = -1;
    for (; rc == 0 && *lua_directories; lua_directories++) {
        auto_free char *path = file_join(*lua_directories, "points.lua"); /* of a bundle */
        if (file_exists(path) &&
            (state_run_file(L, path, err) < 0 || add_points(world, L, all, path, err) < 0))
            rc = -1;
    }
    if (rc < 0)
        lua_settop(L, all - 1);
    else
        world->points_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return rc;
}

struct checking {
    struct world *world;
    const char *point;
    const cJSON *result, *ctx;
};

static int check_call(lua_State *L)
{
    const struct checking *checking = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, checking->world->points_ref);
    lua_getfield(L, -1, checking->point);
    lua_getfield(L, -1, "check");
    if (lua_isnil(L, -1))
        return 0;
    value_push(L, checking->result);
    value_push(L, checking->ctx);
    lua_call(L, 2, 1);
    return 1;
}

int world_check_result(void *arg, const char *point, const cJSON *result, const cJSON *ctx, struct err **err)
{
    struct world *world = arg;
    struct checking checking = {.world = world, .point = point, .result = result, .ctx = ctx};
    lua_State *L = world->L;
    if (world->points_ref == LUA_NOREF)
        return 0;
    lua_pushcfunction(L, check_call);
    lua_pushlightuserdata(L, &checking);
    if (state_call(L, 1, 1, err) < 0)
        return err_wrap(err, "nonsense for point %s", point);
    int rc = 0;
    if (!lua_isnil(L, -1))
        rc = err_set(err, ERR_INVALID, "point %s: %s", point,
                     lua_tostring(L, -1) ? lua_tostring(L, -1) : "refused");
    lua_pop(L, 1);
    return rc;
}

/* ---- changes ---- */

static void learn_kind(struct world *world, const char *resource, const struct cache_item *item)
{
    auto_json object = json_parse_trusted(item->bytes->data, item->bytes->len);
    if (!json_string(object, "kind"))
        return;
    struct world_kind *kind = NEW(struct world_kind);
    kind->api_version = mem_strdup(json_string_or(object, "apiVersion", "v1"));
    kind->kind = mem_strdup(json_string(object, "kind"));
    map_set(&world->kinds, resource, kind);
}

void world_on_change(struct world *world, const char *resource, const struct cache_item *previous,
                     const struct cache_item *item)
{
    bind_world_forget_shown(world);
    if (item && !map_has(&world->kinds, resource))
        learn_kind(world, resource, item);
    if (world->placement)
        placement_on_change(world->placement, resource, previous, item);
}

const struct world_kind *world_kind_of(const struct world *world, const char *resource)
{
    return map_get(&world->kinds, resource);
}

static char *group_and_kind(const char *api_version, const char *kind)
{
    const char *slash = strchr(api_version, '/');
    return mem_printf("%.*s/%s", slash ? (int)(slash - api_version) : 0, api_version, kind);
}

const char *world_knows(const struct world *world, const char *api_version, const char *kind)
{
    auto_free char *wanted = group_and_kind(api_version, kind);
    if (world->shipped && map_has(world->shipped, wanted))
        return "shipped";
    map_each (entry, &world->kinds) {
        const struct world_kind *seen = entry->value;
        auto_free char *name = group_and_kind(seen->api_version, seen->kind);
        if (str_eq(name, wanted))
            return "seen";
    }
    return NULL;
}

/* ---- heart-beats, judged by the observer's clock (contract 10) ---- */

static void sweep(struct world *world)
{
    if (world->monotonic_ns - world->seen_swept_ns < FORGET_AFTER_NS)
        return;
    world->seen_swept_ns = world->monotonic_ns;
    map_each (entry, &world->seen) {
        if (world->monotonic_ns - ((struct sighting *)entry->value)->asked_ns > FORGET_AFTER_NS)
            map_remove(&world->seen, entry->key);
    }
}

double world_seen(struct world *world, const char *key, const char *value)
{
    struct sighting *sighting = map_get(&world->seen, key);
    if (!sighting) {
        sweep(world);
        sighting = NEW(struct sighting);
        sighting->since_ns = world->monotonic_ns;
        sighting->value = mem_strdup(value);
        map_set(&world->seen, key, sighting);
    } else if (value && !str_eq(sighting->value, value)) {
        free(sighting->value);
        sighting->value = mem_strdup(value);
        sighting->since_ns = world->monotonic_ns;
    }
    sighting->asked_ns = world->monotonic_ns;
    return (double)(world->monotonic_ns - sighting->since_ns) / 1e9;
}
