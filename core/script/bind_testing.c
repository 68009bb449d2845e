/*
 * bind_testing: what lua/framework/testing.lua needs from C: worlds of their own (a real cache, the real
 * policies), and calling controllers in them. Used by the runner of Lua tests only.
 */
#include <string.h>

#include "script/script_controller.h"
#include "script/script_journal.h"
#include "script/script_replay.h"

#define TEST_WORLD_SEED 42

struct test_world {
    struct world world;
    struct policies policies;
    struct record record;
    struct cache *cache;
    struct random random;
    struct random_seeded seeded;
    uint64_t revision;
    struct test_world *next;
};

struct testing {
    lua_State *L;
    struct map *proven;
    const char *const *lua_directories, *const *policy_directories;
    struct controllers controllers;
    struct map shipped_kinds;
    struct test_world *worlds;
};

static struct testing *testing_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static void on_change(void *arg, const char *resource, const struct cache_item *previous,
                      const struct cache_item *item)
{
    world_on_change(&((struct test_world *)arg)->world, resource, previous, item);
}

static int load_world(struct testing *testing, struct test_world *test, struct err **err)
{
    if (world_load_points(&test->world, testing->lua_directories, err) < 0)
        return -1;
    for (size_t i = 0; testing->policy_directories[i]; i++)
        if (policies_load_directory(&test->policies, testing->policy_directories[i], err) < 0)
            return -1;
    return 0;
}

static int raise_error(lua_State *L, struct err *err)
{
    lua_pushstring(L, err_message(err));
    err_free(err);
    return luaL_error(L, "%s", lua_tostring(L, -1));
}

/* new() → world userdata; time 0 */
static int testing_new(lua_State *L)
{
    struct testing *testing = testing_of(L);
    struct test_world *test = NEW(struct test_world);
    struct policies_hooks hooks = {.check = world_check_result, .arg = &test->world};
    test->next = testing->worlds;
    testing->worlds = test;
    random_seeded_init(&test->seeded, TEST_WORLD_SEED, &test->random);
    test->cache = cache_new();
    placement_project(test->cache);
    controllers_project(&testing->controllers, test->cache);
    policies_init(&test->policies, true, TEST_WORLD_SEED, &hooks);
    test->policies.proven = testing->proven;
    world_init(&test->world, testing->L, test->cache, &test->policies, &test->random);
    test->world.placement = placement_new(test->cache, &test->policies, TEST_WORLD_SEED);
    test->world.ready = true;
    test->world.shipped = &testing->shipped_kinds;
    cache_set_on_change(test->cache, on_change, test);
    struct err *err = NULL;
    if (load_world(testing, test, &err) < 0)
        return raise_error(L, err);
    bind_world_push(L, &test->world);
    return 1;
}

static struct test_world *check_world(lua_State *L)
{
    return CONTAINER_OF(bind_world_check(L, 1), struct test_world, world);
}

/* put(world, resource, object): fills in uid and resourceVersion */
static int testing_put(lua_State *L)
{
    struct test_world *test = check_world(L);
    const char *resource = luaL_checkstring(L, 2);
    struct err *err = NULL;
    auto_json object = value_take_safe(L, 3, VALUE_MAX_NODES, &err);
    if (!object)
        return raise_error(L, err);
    cJSON *metadata = json_ensure_object(object, "metadata");
    auto_free char *revision = mem_printf("%llu", (unsigned long long)++test->revision);
    json_set_string(metadata, "resourceVersion", revision);
    if (!json_get(metadata, "uid")) {
        auto_free char *uid = mem_printf("uid-%s-%s", resource, json_string_or(metadata, "name", "?"));
        json_set_string(metadata, "uid", uid);
    }
    auto_free char *text = json_print(object);
    struct client_event event = {.type = CLIENT_MODIFIED,
                                 .revision = test->revision,
                                 .resource = resource,
                                 .object = text,
                                 .len = strlen(text)};
    cache_apply(test->cache, &event);
    return 0;
}

static int testing_drop(lua_State *L)
{
    struct test_world *test = check_world(L);
    const struct cache_item *item = cache_get(test->cache, luaL_checkstring(L, 2), luaL_checkstring(L, 3));
    if (!item)
        return lua_pushboolean(L, false), 1;
    struct bytes *bytes = bytes_ref(item->bytes);
    struct client_event event = {.type = CLIENT_DELETED,
                                 .revision = ++test->revision,
                                 .resource = lua_tostring(L, 2),
                                 .object = bytes->data,
                                 .len = bytes->len};
    cache_apply(test->cache, &event);
    bytes_unref(bytes);
    lua_pushboolean(L, true);
    return 1;
}

/* set_time(world, wall seconds, monotonic seconds) */
static int testing_set_time(lua_State *L)
{
    struct test_world *test = check_world(L);
    test->world.wall_ns = (int64_t)(luaL_checknumber(L, 2) * 1e6) * 1000;
    test->world.monotonic_ns = (int64_t)(luaL_checknumber(L, 3) * 1e6) * 1000;
    return 0;
}

/* refuse(world, message): as if the server had refused the last plan; nil: no more */
static int testing_refuse(lua_State *L)
{
    check_world(L)->world.refused = luaL_optstring(L, 2, NULL);
    lua_pushvalue(L, 2); /* keeps the text */
    lua_setfield(L, LUA_REGISTRYINDEX, "m8.refused");
    return 0;
}

/* reconcile(world, controller, key) → the plan as the controller returned it */
static int testing_reconcile(lua_State *L)
{
    struct testing *testing = testing_of(L);
    const char *name = luaL_checkstring(L, 2), *key = luaL_checkstring(L, 3);
    struct controller *controller = controllers_find(&testing->controllers, name);
    if (!controller)
        return luaL_error(L, "there is no controller \"%s\"", name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, controller->reconcile_ref);
    lua_pushvalue(L, 1);
    lua_pushstring(L, key);
    lua_call(L, 2, 1);
    return 1;
}

/* policy(world, source) → hash, or nil, err: as a Policy object would be applied */
static int testing_policy(lua_State *L)
{
    struct test_world *test = check_world(L);
    size_t len;
    const char *source = luaL_checklstring(L, 2, &len);
    char hash[17];
    struct err *err = NULL;
    if (policies_apply(&test->policies, NULL, source, len, false, hash, &err) < 0)
        return value_push_error(L, err);
    lua_pushstring(L, hash);
    return 1;
}

/* use(world, points) → true, or nil, err */
static int testing_use(lua_State *L)
{
    struct test_world *test = check_world(L);
    struct err *err = NULL;
    auto_json points = value_take_safe(L, 2, VALUE_MAX_NODES, &err);
    if (!points || policies_use(&test->policies, points, &err) < 0)
        return value_push_error(L, err);
    lua_pushboolean(L, true);
    return 1;
}

/* record(world [, most]): decisions are recorded from now on */
static int testing_record(lua_State *L)
{
    struct test_world *test = check_world(L);
    record_init(&test->record, (size_t)luaL_optinteger(L, 2, RECORD_DECISIONS), RECORD_BYTES);
    placement_record(test->world.placement, &test->record);
    test->policies.record = &test->record;
    return 0;
}

/* replay(world [, source]) → report of replay_report, or nil, err */
static int testing_replay(lua_State *L)
{
    struct test_world *test = check_world(L);
    struct replay_options options = {.source = luaL_optlstring(L, 2, NULL, NULL)};
    struct err *err = NULL;
    options.len = options.source ? strlen(options.source) : 0;
    struct replay *replay = replay_new(&test->policies, test->world.placement, &options, &err);
    if (!replay)
        return value_push_error(L, err);
    while (!replay_step(replay, 1000))
        continue;
    auto_json report = replay_report(replay);
    replay_free(replay);
    value_push(L, report);
    return 1;
}

/* shadow(world, point, name, …) → true, or nil, err */
static int testing_shadow(lua_State *L)
{
    struct test_world *test = check_world(L);
    struct err *err = NULL;
    const char *point = luaL_checkstring(L, 2);
    for (int i = 3; i <= lua_gettop(L); i++)
        luaL_checkstring(L, i);
    auto_json names = cJSON_CreateArray(); /* nothing raises from here on */
    for (int i = 3; i <= lua_gettop(L); i++)
        json_push_string(names, lua_tostring(L, i));
    if (shadow_set(&test->policies, test->world.placement, point, names, &err) < 0)
        return value_push_error(L, err);
    lua_pushboolean(L, true);
    return 1;
}

/* log(world) → array of decision_json with inputs, oldest first */
static int testing_log(lua_State *L)
{
    struct test_world *test = check_world(L);
    lua_createtable(L, (int)test->record.count, 0);
    for (size_t i = 0; i < test->record.count; i++) {
        auto_json decision = decision_json(record_at(&test->record, i), true);
        value_push(L, decision);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* answer(point, function): what ask gives at that point in this test */
static int testing_answer(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_getfield(L, LUA_REGISTRYINDEX, "m8.answers");
    if (!lua_istable(L, -1)) {
        lua_createtable(L, 0, 1);
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, "m8.answers");
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_settable(L, -3);
    return 0;
}

static void add_key(void *arg, struct controller *controller UNUSED, const char *key)
{
    json_push(arg, cJSON_CreateString(key));
}

/* keys(world, controller, resource, key) → the keys that an addition of that object queues */
static int testing_keys(lua_State *L)
{
    struct testing *testing = testing_of(L);
    struct test_world *test = check_world(L);
    struct controller *controller = controllers_find(&testing->controllers, luaL_checkstring(L, 2));
    const char *resource = luaL_checkstring(L, 3);
    const struct cache_item *item = cache_get(test->cache, resource, luaL_checkstring(L, 4));
    if (!controller || !item)
        return luaL_error(L, "there is no such controller or object");
    cJSON *keys = cJSON_CreateArray(); /* nothing raises before value_push */
    controller_keys(controller, &test->world, resource, NULL, item, add_key, keys);
    value_push(L, keys);
    cJSON_Delete(keys);
    return 1;
}

struct testing *bind_testing_open(lua_State *L, struct map *proven, const char *const *lua_directories,
                                  const char *const *policy_directories, struct err **err)
{
    static const luaL_Reg functions[] = {
        {"new", testing_new},           {"put", testing_put},       {"drop", testing_drop},
        {"set_time", testing_set_time}, {"refuse", testing_refuse}, {"reconcile", testing_reconcile},
        {"policy", testing_policy},     {"use", testing_use},       {"record", testing_record},
        {"replay", testing_replay},     {"shadow", testing_shadow}, {"log", testing_log},
        {"keys", testing_keys},         {"answer", testing_answer}, {NULL, NULL}};
    struct testing *testing = NEW(struct testing);
    testing->L = L;
    testing->proven = proven;
    testing->lua_directories = lua_directories;
    testing->policy_directories = policy_directories;
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_createtable(L, 0, COUNT_OF(functions));
    for (const luaL_Reg *function = functions; function->name; function++) {
        lua_pushlightuserdata(L, testing);
        lua_pushcclosure(L, function->func, 1);
        lua_setfield(L, -2, function->name);
    }
    lua_setfield(L, -2, "m8.testing");
    lua_pop(L, 1);
    if (kinds_names(lua_directories, &testing->shipped_kinds, err) == 0 &&
        controllers_load(&testing->controllers, L, lua_directories, NULL, err) == 0)
        return testing;
    bind_testing_close(testing);
    return NULL;
}

void bind_testing_close(struct testing *testing)
{
    while (testing->worlds) {
        struct test_world *test = testing->worlds;
        testing->worlds = test->next;
        record_fini(&test->record);
        placement_free(test->world.placement);
        world_fini(&test->world);
        policies_fini(&test->policies);
        cache_free(test->cache);
        free(test);
    }
    controllers_fini(&testing->controllers);
    map_fini(&testing->shipped_kinds);
    free(testing);
}
