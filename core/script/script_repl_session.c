/*
 * script_repl_session: the thread of one session: messages → Lua → answers.
 *
 * The session's state is a policy sandbox in which the files of lua/repl were loaded first, in an environment
 * that the user's code cannot name; what they export is all that he gets beside the environment of a policy.
 * Does not: know what k can do.
 */
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "script/script_repl.h"

#define NICE 10
#define MAX_BLOCK (16u << 20) /* no other work waits for this thread */
#define TEXT_OUT 65536

static const char privileged_key, user_key; /* registry: the two environments */

static void push_registered(lua_State *L, const char *key)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

void repl_print(struct repl_lua *lua, const char *text, size_t len)
{
    for (size_t at = 0; at < len; at += TEXT_OUT)
        repl_say(lua->session, 'o', text + at, len - at < TEXT_OUT ? len - at : TEXT_OUT);
}

static void say_done(struct repl_lua *lua, cJSON *done)
{
    auto_free char *text = json_print(done);
    repl_say(lua->session, 'd', text, strlen(text));
    cJSON_Delete(done);
}

/* ---- loading lua/repl ---- */

static char *find_file(const struct repl_lua *lua, const char *name)
{
    for (const char *const *directory = lua->lua_directories; *directory; directory++) {
        char *path = mem_printf("%s/repl/%s.lua", *directory, name);
        if (file_exists(path))
            return path;
        free(path);
    }
    return NULL;
}

static int load_file(struct repl_lua *lua, const char *name, struct err **err)
{
    lua_State *L = lua->sandbox.L;
    auto_free char *path = find_file(lua, name);
    if (!path)
        return err_set(err, ERR_NOT_FOUND, "lua/repl/%s.lua is missing", name);
    auto_free char *chunk = mem_printf("=repl/%s", name);
    auto_free char *text = NULL;
    size_t len = 0;
    if (file_read(path, SCRIPT_MAX_SOURCE, &text, &len, err) < 0)
        return -1;
    if (luaL_loadbufferx(L, text, len, chunk, "t") == 0) {
        push_registered(L, &privileged_key);
        lua_setfenv(L, -2);
        if (lua_pcall(L, 0, 0, 0) == 0)
            return 0;
    }
    err_set(err, ERR_INVALID, "%s", lua_tostring(L, -1) ? lua_tostring(L, -1) : "?");
    lua_pop(L, 1);
    return -1;
}

/* What lua/repl may name beside a policy's environment. */
static void make_privileged(struct repl_lua *lua)
{
    static const char *const more[] = {"pcall",  "rawequal",     "rawget",
                                       "rawset", "setmetatable", "getmetatable"};
    lua_State *L = lua->sandbox.L;
    lua_pushlightuserdata(L, (void *)(uintptr_t)&privileged_key);
    sandbox_push_environment(L);
    for (size_t i = 0; i < COUNT_OF(more); i++) {
        lua_getglobal(L, more[i]);
        lua_setfield(L, -2, more[i]);
    }
    bind_repl_open(lua);
    lua_setfield(L, -2, "host");
    lua_createtable(L, 0, 8);
    lua_setfield(L, -2, "exports");
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static void make_user(struct repl_lua *lua)
{
    lua_State *L = lua->sandbox.L;
    lua_pushlightuserdata(L, (void *)(uintptr_t)&user_key);
    sandbox_push_environment(L);
    push_registered(L, &privileged_key);
    lua_getfield(L, -1, "exports");
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -6);
    }
    lua_pushvalue(L, -3);
    lua_setfield(L, -3, "user"); /* completion looks at the user's names */
    lua_pop(L, 2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static int open_lua(struct repl_lua *lua, struct err **err)
{
    static const char *const files[] = {"show", "kinds", "k", "past", "why", "whatif", "help", "complete"};
    sandbox_init(&lua->sandbox, false);
    lua->sandbox.stop = &lua->session->stop;
    lua->sandbox.max_block = MAX_BLOCK;
    make_privileged(lua);
    for (size_t i = 0; i < COUNT_OF(files); i++)
        if (load_file(lua, files[i], err) < 0)
            return -1;
    make_user(lua);
    return 0;
}

/* ---- running ---- */

static cJSON *failure(struct repl_lua *lua, const struct err *err)
{
    cJSON *done = cJSON_CreateObject();
    struct sandbox *sandbox = &lua->sandbox;
    bool stopped = atomic_load(&lua->session->stop) != REPL_GO || err_code(err) == ERR_CANCELLED;
    if (sandbox->starved && !stopped) {
        json_set_string(done, "error", "out of memory: a session may hold 64 MiB");
    } else if (sandbox->cut && !stopped) {
        auto_free char *text =
            mem_printf("stopped after %lld ms of CPU time (--timeout gives more)", (long long)lua->budget_ms);
        json_set_string(done, "error", text);
    } else {
        json_set_string(done, "error", stopped ? "interrupted" : err_message(err));
    }
    return done;
}

/* The statement's message says "near 'TOKEN'" of the very first token: it was meant as an expression. */
static bool fails_at_once(const char *message, const char *source)
{
    const char *near = strstr(message, "unexpected symbol near '");
    if (!near)
        return false;
    near += strlen("unexpected symbol near '");
    source += strspn(source, " \t\n");
    size_t len = strcspn(near, "'");
    return len && strncmp(near, source, len) == 0;
}

static const char *message_at(lua_State *L, int index)
{
    const char *message = lua_tostring(L, index);
    return message ? message : "cannot be compiled";
}

/* An expression, or else statements. *incomplete: more lines may make it one. */
static int compile(struct repl_lua *lua, const char *source, const char *name, bool *incomplete,
                   struct err **err)
{
    struct sandbox *sandbox = &lua->sandbox;
    lua_State *L = sandbox->L;
    auto_free char *chunk = mem_printf("=%s", name);
    auto_free char *expression = mem_printf("return %s", source);
    size_t len = strlen(source);
    int base = lua_gettop(L);
    if (len > SCRIPT_MAX_SOURCE / 2)
        return err_set(err, ERR_TOO_LARGE, "the source is larger than %u bytes", SCRIPT_MAX_SOURCE / 2);
    sandbox->in_call = true;
    int rc = luaL_loadbufferx(L, expression, len + strlen("return "), chunk, "t");
    if (rc)
        rc = luaL_loadbufferx(L, source, len, chunk, "t");
    sandbox->in_call = false;
    if (rc) {
        const char *first = message_at(L, base + 1), *second = message_at(L, base + 2);
        *incomplete = str_ends(first, "near '<eof>'") || str_ends(second, "near '<eof>'");
        err_set(err, ERR_INVALID, "%s", fails_at_once(second, source) ? first : second);
        lua_settop(L, base);
        return -1;
    }
    if (lua_gettop(L) > base + 1)
        lua_remove(L, base + 1); /* why it is no expression */
    push_registered(L, &user_key);
    lua_setfenv(L, -2);
    return 0;
}

/* Shows the values above `base`, by lua/repl/show.lua. */
static int show(struct repl_lua *lua, int base, struct err **err)
{
    lua_State *L = lua->sandbox.L;
    int count = lua_gettop(L) - base;
    push_registered(L, &privileged_key);
    lua_getfield(L, -1, "show");
    lua_remove(L, -2);
    lua_insert(L, base + 1);
    return sandbox_call(&lua->sandbox, count, 0, err);
}

/* A session that holds too much begins anew. */
static void recover(struct repl_lua *lua, cJSON *done)
{
    struct sandbox *sandbox = &lua->sandbox;
    lua_settop(sandbox->L, 0);
    if (sandbox->used < sandbox->memory / 2)
        return;
    lua_gc(sandbox->L, LUA_GCCOLLECT, 0);
    if (sandbox->used < sandbox->memory / 4 * 3)
        return;
    auto_err err = NULL;
    sandbox_fini(sandbox);
    if (open_lua(lua, &err) < 0)
        log_error("script", "repl: %s", err_message(err));
    json_set_string(done, "note", "the session's variables held too much and are gone");
}

static void run(struct repl_lua *lua, const cJSON *message)
{
    struct sandbox *sandbox = &lua->sandbox;
    auto_err err = NULL;
    bool incomplete = false;
    cJSON *done;
    int base = lua_gettop(sandbox->L);
    sandbox_begin(sandbox, lua->budget_ms);
    if (compile(lua, json_string_or(message, "run", ""), json_string_or(message, "name", "stdin"),
                &incomplete, &err) == 0 &&
        sandbox_call(sandbox, 0, LUA_MULTRET, &err) == 0 && show(lua, base, &err) == 0) {
        done = cJSON_CreateObject();
    } else {
        done = failure(lua, err);
        if (incomplete)
            json_set_bool(done, "incomplete", true);
    }
    recover(lua, done);
    say_done(lua, done);
}

static void complete(struct repl_lua *lua, const cJSON *message)
{
    lua_State *L = lua->sandbox.L;
    auto_err err = NULL;
    cJSON *done = NULL;
    sandbox_begin(&lua->sandbox, lua->budget_ms);
    push_registered(L, &privileged_key);
    lua_getfield(L, -1, "complete");
    lua_remove(L, -2);
    lua_pushstring(L, json_string_or(message, "complete", ""));
    if (sandbox_call(&lua->sandbox, 1, 1, &err) == 0)
        done = value_take_safe(L, -1, 10000, &err);
    if (!done)
        done = failure(lua, err);
    recover(lua, done);
    say_done(lua, done);
}

static void begin(struct repl_lua *lua, const cJSON *options)
{
    int64_t budget = json_int(options, "budget", REPL_BUDGET_MS);
    lua->budget_ms = budget < 1 ? 1 : budget > REPL_BUDGET_MAX_MS ? REPL_BUDGET_MAX_MS : budget;
    int64_t columns = json_int(options, "columns", lua->columns);
    lua->columns = (int)(columns <= 0 ? 0 : columns < 40 ? 40 : columns > 1000 ? 1000 : columns);
    lua->json = json_bool(options, "json", lua->json);
    if (json_string(options, "namespace")) {
        free(lua->namespace);
        lua->namespace = mem_strdup(json_string(options, "namespace"));
    }
}

static void serve(struct repl_lua *lua)
{
    for (cJSON *message; (message = repl_take_message(lua->session)); cJSON_Delete(message)) {
        if (json_string(message, "complete"))
            complete(lua, message);
        else if (json_string(message, "run"))
            run(lua, message);
        else {
            begin(lua, json_get(message, "begin"));
            say_done(lua, cJSON_CreateObject());
        }
    }
}

void *repl_session_main(void *arg)
{
    struct repl_session *session = arg;
    struct repl_lua lua = {.session = session,
                           .lua_directories = repl_directories(session),
                           .budget_ms = REPL_BUDGET_MS,

                           .namespace = mem_strdup("default")};
    auto_err err = NULL;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE); /* of this thread only */
    if (open_lua(&lua, &err) == 0) {
        serve(&lua);
    } else {
        cJSON *done = cJSON_CreateObject();
        json_set_string(done, "error", err_message(err));
        json_set_bool(done, "fatal", true);
        say_done(&lua, done);
    }
    sandbox_fini(&lua.sandbox);
    free(lua.namespace);
    malloc_trim(0); /* a session may have held much */
    return NULL;
}
