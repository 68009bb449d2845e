/*
 * script_sandbox: see the header. What it deliberately does not: pcall, coroutines, metatables, load, I/O for
 * policies (each could swallow the deadline's error, escape its hook, or reach shared tables).
 *
 * How a policy is stopped: a count hook looks at the thread's CPU time; large allocations look too, because a
 * single C call (concatenation, lower) runs no hook; blocks are capped so that no single C call takes long;
 * own functions replace those of the library whose work is not linear.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "script/script_sandbox.h"

#define CLOSE_BESIDE (1u << 20)
#define CLOSING_MAX 2 /* states of SANDBOX_MEMORY that wait to be given back */

static int64_t thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int64_t sandbox_cpu_ns(const struct sandbox *sandbox)
{
    return sandbox->simulated ? 0 : thread_cpu_ns();
}

static bool past_deadline(struct sandbox *sandbox)
{
    if (sandbox->cut)
        return true;
    if (sandbox->stop && atomic_load_explicit(sandbox->stop, memory_order_relaxed))
        sandbox->cut = true;
    else if (sandbox->simulated)
        sandbox->cut = --sandbox->deadline_ns < 0;
    else
        sandbox->cut = thread_cpu_ns() > sandbox->deadline_ns;
    return sandbox->cut;
}

static void *allocate(void *arg, void *block, size_t old_size, size_t new_size)
{
    struct sandbox *sandbox = arg;
    if (!block)
        old_size = 0;
    if (!new_size) {
        free(block);
        sandbox->used -= old_size;
        return NULL;
    }
    if (sandbox->in_call && new_size > old_size) {
        if (new_size > sandbox->max_block || sandbox->used - old_size + new_size > sandbox->memory) {
            sandbox->starved = true;
            return NULL;
        }
        if (new_size >= 16384 && past_deadline(sandbox))
            return NULL;
    }
    void *result = mem_resize(block, 1, new_size);
    sandbox->used += new_size - old_size;
    return result;
}

static struct sandbox *sandbox_of(lua_State *L)
{
    void *arg;
    lua_getallocf(L, &arg);
    return arg;
}

void sandbox_check(lua_State *L)
{
    struct sandbox *sandbox = sandbox_of(L);
    if (sandbox->in_call && past_deadline(sandbox))
        luaL_error(L, "cut off");
}

static void hook(lua_State *L, lua_Debug *activation UNUSED)
{
    sandbox_check(L);
}

static int panic(lua_State *L)
{
    log_error("script", "panic in the policy state: %s", lua_tostring(L, -1));
    must(!"the policy state was used without protection");
    return 0;
}

static int open_libraries(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction open;
    } libraries[] = {{"", luaopen_base},
                     {LUA_TABLIBNAME, luaopen_table},
                     {LUA_STRLIBNAME, luaopen_string},
                     {LUA_MATHLIBNAME, luaopen_math},
                     {LUA_BITLIBNAME, luaopen_bit},
                     {LUA_JITLIBNAME, luaopen_jit}};
    for (size_t i = 0; i < COUNT_OF(libraries); i++) {
        lua_pushcfunction(L, libraries[i].open);
        lua_pushstring(L, libraries[i].name);
        lua_call(L, 1, 0);
    }
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    /* ("x"):find needs no global: the string metatable gets the bounded functions */
    lua_pushliteral(L, "");
    must(lua_getmetatable(L, -1));
    sandbox_push_string(L);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "string");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
    return 0;
}

static void open_state(struct sandbox *sandbox)
{
    sandbox->used = 0;
    sandbox->cut = sandbox->starved = sandbox->in_call = false;
    sandbox->L = lua_newstate(allocate, sandbox);
    must(sandbox->L);
    lua_atpanic(sandbox->L, panic);
    must(lua_cpcall(sandbox->L, open_libraries, NULL) == 0);
    lua_sethook(sandbox->L, hook, LUA_MASKCOUNT, SANDBOX_HOOK_EVERY);
}

void sandbox_init(struct sandbox *sandbox, bool simulated)
{
    *sandbox = (struct sandbox){
        .simulated = simulated, .generation = 1, .memory = SANDBOX_MEMORY, .max_block = SANDBOX_MAX_BLOCK};
    open_state(sandbox);
}

void sandbox_fini(struct sandbox *sandbox)
{
    if (sandbox->L)
        lua_close(sandbox->L);
    sandbox->L = NULL;
}

/* ---- giving a state back ---- */

static atomic_int closing; /* threads under way */

static void *allocate_plainly(void *arg UNUSED, void *block, size_t old_size UNUSED, size_t new_size)
{
    if (new_size)
        return mem_resize(block, 1, new_size);
    free(block);
    return NULL;
}

static void *close_state(void *arg)
{
    lua_close(arg);
    atomic_fetch_sub(&closing, 1);
    return NULL;
}

/* Millions of small objects take longer to give back than the policy had to make them. */
static bool close_beside(lua_State *L)
{
    pthread_attr_t attributes;
    pthread_t thread;
    if (atomic_fetch_add(&closing, 1) >= CLOSING_MAX || pthread_attr_init(&attributes) != 0) {
        atomic_fetch_sub(&closing, 1);
        return false;
    }
    lua_setallocf(L, allocate_plainly, NULL);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool runs = pthread_create(&thread, &attributes, close_state, L) == 0;
    pthread_attr_destroy(&attributes);
    if (!runs)
        atomic_fetch_sub(&closing, 1);
    return runs;
}

void sandbox_rebuild(struct sandbox *sandbox)
{
    bool large = sandbox->used > CLOSE_BESIDE && !sandbox->simulated;
    if (!large || !close_beside(sandbox->L))
        lua_close(sandbox->L);
    sandbox->generation++;
    open_state(sandbox);
}

bool sandbox_spoiled(const struct sandbox *sandbox)
{
    return sandbox->cut || sandbox->starved || sandbox->used > sandbox->memory / 4 * 3;
}

void sandbox_begin(struct sandbox *sandbox, int64_t budget_ms)
{
    sandbox->cut = sandbox->starved = false;
    if (sandbox->simulated)
        sandbox->deadline_ns = budget_ms * SANDBOX_HOOKS_PER_MS;
    else
        sandbox->deadline_ns = thread_cpu_ns() + budget_ms * 1000000;
}

static int explain_failure(struct sandbox *sandbox, struct err **err)
{
    lua_State *L = sandbox->L;
    if (sandbox->cut)
        err_set(err, ERR_TIMEOUT, "cut off after %d ms of CPU time", SANDBOX_BUDGET_MS);
    else if (sandbox->starved)
        err_set(err, ERR_TOO_LARGE, "cut off: more memory than a policy may use");
    else if (lua_type(L, -1) == LUA_TSTRING)
        err_set(err, ERR_INVALID, "%.500s", lua_tostring(L, -1));
    else
        err_set(err, ERR_INVALID, "raised a value of type %s", luaL_typename(L, -1));
    lua_pop(L, 1);
    return -1;
}

int sandbox_call(struct sandbox *sandbox, int arguments, int results, struct err **err)
{
    sandbox->in_call = true;
    int rc = lua_pcall(sandbox->L, arguments, results, 0);
    sandbox->in_call = false;
    return rc ? explain_failure(sandbox, err) : 0;
}

/* ---- environment ---- */

static void copy_library(lua_State *L, const char *name, const char *const *removed)
{
    lua_getglobal(L, name);
    lua_createtable(L, 0, 32);
    for (lua_pushnil(L); lua_next(L, -3);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    for (; removed && *removed; removed++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *removed);
    }
    lua_remove(L, -2);
}

void sandbox_push_environment(lua_State *L)
{
    static const char *const kept[] = {"assert", "error", "select", "tonumber", "type", "unpack", NULL};
    static const char *const removed_math[] = {"random", "randomseed", NULL};
    lua_createtable(L, 0, 24);
    for (const char *const *name = kept; *name; name++) {
        lua_getglobal(L, *name);
        lua_setfield(L, -2, *name);
    }
    static const luaL_Reg own[] = {{"pairs", base_pairs},
                                   {"next", base_next},
                                   {"ipairs", base_ipairs},
                                   {"tostring", base_tostring},
                                   {NULL, NULL}};
    for (const luaL_Reg *function = own; function->name; function++) {
        lua_pushcfunction(L, function->func);
        lua_setfield(L, -2, function->name);
    }
    copy_library(L, "math", removed_math);
    lua_setfield(L, -2, "math");
    copy_library(L, "bit", NULL);
    lua_setfield(L, -2, "bit");
    sandbox_push_table(L);
    lua_setfield(L, -2, "table");
    sandbox_push_string(L);
    lua_setfield(L, -2, "string");
}

int sandbox_evaluate(struct sandbox *sandbox, const char *name, const char *source, size_t len,
                     struct err **err)
{
    lua_State *L = sandbox->L;
    auto_free char *chunk = mem_printf("=%s", name);
    if (len > SCRIPT_MAX_SOURCE / 2)
        return err_set(err, ERR_TOO_LARGE, "the source is larger than %u bytes", SCRIPT_MAX_SOURCE / 2);
    sandbox->in_call = true;
    int rc = luaL_loadbufferx(L, source, len, chunk, "t");
    sandbox->in_call = false;
    if (rc)
        return explain_failure(sandbox, err);
    sandbox_push_environment(L);
    lua_setfenv(L, -2);
    return sandbox_call(sandbox, 0, 1, err);
}
