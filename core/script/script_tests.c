/*
 * script_tests: runs the Lua tests: each *_test.lua returns a table of functions; each function runs in the
 * file's own state, in name order, on worlds of its own.
 */
#include <string.h>
#include <sys/stat.h>

#include "script/script_world.h"

struct run {
    const char *const *lua_directories, *const *policy_directories;
    struct map proven;
    const char *filter;
    script_on_test *on_result;
    void *arg;
    int failures, count;
};

static void report(struct run *run, const char *file, const char *test, const char *error)
{
    run->count++;
    run->failures += error != NULL;
    run->on_result(run->arg, file, test, error);
}

static void forget_answers(lua_State *L)
{
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "m8.answers");
}

/* The table of tests is on the top of the stack. */
static void run_tests(struct run *run, lua_State *L, const char *file)
{
    lua_pushcfunction(L, base_pairs);
    lua_pushvalue(L, -2);
    lua_call(L, 1, LUA_MULTRET); /* one closure that walks in order */
    for (;;) {
        lua_pushvalue(L, -1);
        lua_call(L, 0, 2);
        if (lua_isnil(L, -2))
            break;
        auto_free char *name = mem_strdup(lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?");
        auto_err err = NULL;
        if (!lua_isfunction(L, -1)) {
            report(run, file, name, "is not a function");
            lua_pop(L, 1);
        } else {
            forget_answers(L);
            int rc = state_call(L, 0, 0, &err);
            report(run, file, name, rc < 0 ? err_message(err) : NULL);
        }
        lua_pop(L, 1);
    }
    lua_settop(L, 0);
}

static void run_file(struct run *run, const char *path)
{
    lua_State *L = state_new(run->lua_directories);
    auto_err err = NULL;
    bind_world_open(L);
    struct testing *testing =
        bind_testing_open(L, &run->proven, run->lua_directories, run->policy_directories, &err);
    if (!testing || state_run_file(L, path, &err) < 0)
        report(run, path, "load", err_message(err));
    else if (!lua_istable(L, -1) || lua_objlen(L, -1))
        report(run, path, "load", "must return a table of functions by name");
    else
        run_tests(run, L, path);
    if (testing)
        bind_testing_close(testing);
    lua_close(L);
}

static int walk(struct run *run, const char *directory, struct err **err)
{
    size_t count = 0;
    auto_free char **names = file_list(directory, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        auto_free char *path = file_join(directory, names[i]);
        struct stat stat_buffer;
        if (names[i][0] == '.' || stat(path, &stat_buffer) < 0)
            continue;
        if (S_ISDIR(stat_buffer.st_mode)) {
            if (walk(run, path, err) < 0)
                return -1;
        } else if (str_ends(names[i], "_test.lua") && (!run->filter || strstr(path, run->filter))) {
            run_file(run, path);
        }
    }
    return 0;
}

int script_run_tests(const char *const *lua_directories, const char *const *policy_directories,
                     const char *const *test_directories, const char *filter, script_on_test *on_result,
                     void *arg, struct err **err)
{
    struct run run = {.lua_directories = lua_directories,
                      .policy_directories = policy_directories,
                      .filter = filter,
                      .on_result = on_result,
                      .arg = arg};
    int rc = 0;
    for (; *test_directories && rc == 0; test_directories++)
        rc = walk(&run, *test_directories, err);
    map_fini(&run.proven);
    if (rc < 0)
        return rc;
    if (!run.count)
        return err_set(err, ERR_NOT_FOUND, "no test whose file name contains \"%s\"", filter ? filter : "");
    return run.failures;
}
