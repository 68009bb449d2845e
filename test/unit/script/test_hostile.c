/*
 * Hostile policies: each is cut off within its budget and nothing it did reaches the next one (requirement
 * L2, contracts 17 and 19). Every script is a whole policy file or the body of a run function.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "script/script_policies.h"

#define BODY(code)                                                                                           \
    "local function run(ctx, node) " code " end\n"                                                           \
    "return { api = 1, point = 'test.score', name = 'evil', run = function(ctx, node)"                       \
    " if ctx.calm then return 1 end return run(ctx, node) end,"                                              \
    " examples = { { ctx = { calm = true }, candidate = {}, expect = 1 } } }"

static const struct hostile {
    const char *name, *source;
} bodies[] = {
    {"endless while", BODY("while true do end")},
    {"endless repeat", BODY("repeat until false")},
    {"endless goto", BODY("::again:: goto again")},
    {"endless numeric for", BODY("for i = 1, 1e18 do end")},
    {"endless for over a huge step", BODY("local n = 0 for i = 1, math.huge do n = n + i end")},
    {"endless recursion", BODY("local function f() return 1 + f() end return f()")},
    {"endless tail calls", BODY("local function f() return f() end return f()")},
    {"endless iterator", BODY("for _ in function() return 1 end do end")},
    {"endless gsub callback", BODY("return (('a'):rep(60000):gsub('a', function() while true do end end))")},
    {"endless comparator", BODY("table.sort({3, 2, 1}, function() while true do end end)")},
    {"inconsistent comparator", BODY("local t = {} for i = 1, 30000 do t[i] = i % 7 end"
                                     " while true do table.sort(t, function() return true end) end")},
    {"sort of equal long strings", BODY("local s, t = ('x'):rep(65536), {} for i = 1, 5 do s = s .. i end"
                                        " for i = 1, 20000 do t[i] = s end while true do table.sort(t) end")},
    {"pattern that back-tracks", BODY("return ('a'):rep(120):find('a-a-a-a-a-b')")},
    {"pattern that back-tracks, many times", BODY("while true do ('a'):rep(5000):find('.-.-b') end")},
    {"pattern with many captures", BODY("return ('a'):rep(1000):match(('(a*)'):rep(12) .. 'b')")},
    {"balanced pattern", BODY("while true do ('('):rep(60000):find('%b()') end")},
    {"frontier pattern", BODY("while true do ('a'):rep(60000):find('%f[b]x') end")},
    {"deep pattern", BODY("return ('a'):rep(5000):find(('a?'):rep(5000))")},
    {"growing string", BODY("local s = 'x' while true do s = s .. s end")},
    {"concatenation of large strings", BODY("local s = ('x'):rep(60000) s = s .. s .. s .. s"
                                            " while true do local t = s .. 'y' end")},
    {"upper of large strings",
     BODY("local s = ('x'):rep(65536) s = s .. s .. s .. s while true do local t = s:upper() end")},
    {"comparison of large strings",
     BODY("local s = ('x'):rep(65536) s = s .. s .. s .. s local a, b = s .. '1', s .. '2'"
          " while true do local t = a < b end")},
    {"repeated string", BODY("return ('x'):rep(1e9)")},
    {"table.concat of much", BODY("local t = {} for i = 1, 30000 do t[i] = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxx' end"
                                  " while true do local s = table.concat(t) end")},
    {"growing table", BODY("local t = {} for i = 1, 1e9 do t[i] = i end")},
    {"many tables", BODY("local t = {} for i = 1, 1e9 do t = { t, {}, {} } end")},
    {"many closures", BODY("local f for i = 1, 1e9 do local g = f f = function() return g, i end end")},
    {"large hash", BODY("local t = {} for i = 1, 1e9 do t['k' .. i] = true end")},
    {"insertion at the front", BODY("local t = {} for i = 1, 1e9 do table.insert(t, 1, i) end")},
    {"removal at the front", BODY("local t = {} for i = 1, 32000 do t[i] = i end"
                                  " while true do t[#t + 1] = table.remove(t, 1) end")},
    {"format width", BODY("while true do local s = string.format('%99.99f', 1e308) end")},
    {"split of much", BODY("local s = (',x'):rep(30000) while true do local t = s:split(',') end")},
    {"ordered pairs of much", BODY("local t = {} for i = 1, 20000 do t['k' .. i] = i end"
                                   " while true do for k in pairs(t) do break end end")},
    {"next over much", BODY("local t = {} for i = 1, 20000 do t['k' .. i] = i end"
                            " local k repeat k = next(t, k) until not k")},
    {"unpack of much", BODY("local t = {} for i = 1, 30000 do t[i] = i end return unpack(t)")},
    {"select of much",
     BODY("local function f(...) return select(-1, ...) end local t = {} for i = 1, 7000 do t[i] = i end"
          " while true do f(unpack(t)) end")},
    {"raises a table", BODY("error({ 'x' })")},
    {"raises nil", BODY("error(nil)")},
    {"raises a huge text", BODY("error(('x'):rep(65536))")},
    {"returns NaN", BODY("return 0 / 0")},
    {"returns infinity", BODY("return 1 / 0")},
    {"returns a negative score", BODY("return -1")},
    {"returns a string", BODY("return '50'")},
    {"returns a function", BODY("return run")},
    {"calls nothing", BODY("return ctx.nothing.at.all")},
    {"writes to a library's global",
     BODY("string.format = nil table.insert = nil math.floor = nil return pcall(1)")},
    {"takes the string metatable", BODY("return getmetatable('').__index.find")},
    {"sets a metatable", BODY("setmetatable(ctx, {})")},
    {"loads code", BODY("return load('while true do end')()")},
    {"loads a string", BODY("return loadstring('return 1')()")},
    {"swallows errors", BODY("while true do pcall(function() while true do end end) end")},
    {"hides in a coroutine", BODY("coroutine.wrap(function() while true do end end)()")},
    {"opens a file", BODY("return io.open('/etc/passwd')")},
    {"runs a program", BODY("os.execute('true')")},
    {"reads the clock", BODY("return os.time()")},
    {"reads another environment", BODY("return getfenv(0).string")},
    {"replaces its environment", BODY("setfenv(1, {}) while true do end")},
    {"turns the hook off", BODY("debug.sethook() while true do end")},
    {"compiles natively", BODY("jit.on() while true do end")},
    {"calls into C", BODY("return require('ffi').C.exit(1)")},
    {"requires", BODY("return require('m8')")},
    {"collects for ever", BODY("while true do collectgarbage() end")},
    {"remembers a function", BODY("ctx.state.f = run return 1")},
    {"remembers too much", BODY("for i = 1, 1000 do ctx.state[i] = 'xxxxxxxxxx' end return 1")},
    {"remembers a very large text", BODY("ctx.state.s = ('x'):rep(65536) return 1")},
    {"remembers itself", BODY("ctx.state.me = ctx.state return 1")},
    {"remembers a text instead of a table", BODY("ctx.state = 'x' return 1")},
    {"remembers NaN", BODY("ctx.state.n = 0 / 0 return 1")},
    {"remembers a deep table", BODY("local t = ctx.state for i = 1, 5000 do t.t = {} t = t.t end return 1")},
    {"loops over what it remembers", BODY("while true do ctx.state.n = (ctx.state.n or 0) + 1 end")},
    {"prints an address", BODY("return #string.format('%p', {})")},
};

static struct policies policies;
static int troubles;

static void on_trouble(void *arg, const struct policy_version *version, bool rolled_back, const char *reason)
{
    (void)arg;
    (void)version;
    (void)rolled_back;
    assert_true(strlen(reason) < 2000);
    troubles++;
}

static const char good[] =
    "return { api = 1, point = 'test.score', name = 'good', run = function(ctx, node)"
    " local t = {} for part in ('b,a'):gmatch('[^,]+') do table.insert(t, part) end table.sort(t)"
    " return string.format('%s%s', t[1], t[2]) == 'ab' and math.floor(7.5) or 0 end,"
    " examples = { { candidate = {}, expect = 7 } } }";

static int setup(void **state UNUSED)
{
    struct policies_hooks hooks = {.on_trouble = on_trouble};
    struct err *err = NULL;
    json_init();
    log_set_silent(1);
    policies_init(&policies, false, 1, &hooks);
    assert_int_equal(policies_add_point(&policies, "test.score", "score", NULL, "good", &err), 0);
    assert_int_equal(policies_add_point(&policies, "test.one", "one", NULL, "plan", &err), 0);
    assert_int_equal(policies_apply(&policies, "good", good, strlen(good), true, NULL, &err), 0);
    return 0;
}

static int teardown(void **state UNUSED)
{
    policies_fini(&policies);
    return 0;
}

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void use(const char *name)
{
    auto_json points = cJSON_CreateObject();
    cJSON *list =
        json_set(json_set(points, "test.score", cJSON_CreateObject()), "policies", cJSON_CreateArray());
    json_set_string(json_push(list, cJSON_CreateObject()), "name", name);
    struct err *err = NULL;
    policies_use(&policies, points, &err);
    err_free(err);
}

static double ask_score(bool *fallback)
{
    auto_json ctx = cJSON_CreateObject();
    auto_json candidates = cJSON_Parse("[{\"name\":\"n\"}]");
    cJSON *record = NULL;
    struct err *err = NULL;
    auto_json result = policies_ask(&policies, "test.score", ctx, candidates, 0, &record, &err);
    assert_null(err);
    *fallback = json_bool(record, "fallback", false);
    cJSON_Delete(record);
    return result && result->child ? result->child->valuedouble : -1;
}

/* What the default's decision takes in a state that was just made. */
static double default_ms(void)
{
    bool fallback;
    double least = 1e9;
    use("good");
    for (int i = 0; i < 20; i++) {
        sandbox_rebuild(&policies.sandbox);
        double begin = cpu_ms();
        assert_true(ask_score(&fallback) == 7);
        least = cpu_ms() - begin < least ? cpu_ms() - begin : least;
    }
    return least;
}

/* Each: accepted (it is calm in its example), cut off or refused in its decision, within 50 ms of this thread
 * besides what the default needs, the new state included; the next decision by the good policy is untouched.
 */
static void test_bodies(void **state UNUSED)
{
    double worst = 0, own = default_ms();
    const char *slowest = "";
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        struct err *err = NULL;
        bool fallback = false;
        if (policies_apply(&policies, "evil", bodies[i].source, strlen(bodies[i].source), false, NULL, &err) <
            0)
            fail_msg("%s: was not even accepted: %s", bodies[i].name, err_message(err));
        use("evil");
        double begin = cpu_ms();
        double score = ask_score(&fallback);
        double took = cpu_ms() - begin - own;
        if (took > worst) {
            worst = took;
            slowest = bodies[i].name;
        }
        if (!fallback)
            fail_msg("%s: was not stopped", bodies[i].name);
        if (score != -1 && score != 7) /* no standard list here: the shipped list may be empty */
            fail_msg("%s: the decision was %g", bodies[i].name, score);
        if (took > 50)
            fail_msg("%s: took %.0f ms of CPU", bodies[i].name, took);
        use("good");
        if (ask_score(&fallback) != 7 || fallback)
            fail_msg("%s: the next policy was affected", bodies[i].name);
        policies_remove(&policies, "evil");
    }
    print_message("%zu hostile scripts, the slowest took %.1f ms (%s); the default %.1f ms\n",
                  COUNT_OF(bodies), worst, slowest, own);
    assert_true(troubles >= (int)COUNT_OF(bodies));
}

static const struct hostile files[] = {
    {"loops on load", "while true do end return {}"},
    {"eats memory on load", "local t = {} for i = 1, 1e9 do t[i] = {} end return {}"},
    {"is no Lua", "return {"},
    {"is bytecode", "\x1bLJ\x02\x02"},
    {"returns nothing", "local x = 1"},
    {"returns a number", "return 1"},
    {"is of another api",
     "return { api = 2, point = 'test.score', name = 'evil', run = function() end, examples = {} }"},
    {"is of no point",
     "return { api = 1, point = 'test.scor', name = 'evil', run = function() end, examples = {} }"},
    {"has another name",
     "return { api = 1, point = 'test.score', name = 'x', run = function() end, examples = {} }"},
    {"has no run", "return { api = 1, point = 'test.score', name = 'evil', run = 1, examples = { {} } }"},
    {"has no examples",
     "return { api = 1, point = 'test.score', name = 'evil', run = function() return 1 end }"},
    {"fails its example",
     "return { api = 1, point = 'test.score', name = 'evil', run = function() return 1 end,"
     " examples = { { name = 'two', expect = 2 } } }"},
    {"loops in its example",
     "return { api = 1, point = 'test.score', name = 'evil', run = function() while true do end end,"
     " examples = { {} } }"},
    {"has settings that are no data",
     "return { api = 1, point = 'test.score', name = 'evil', settings = { f = error },"
     " run = function() return 1 end, examples = { {} } }"},
    {"has settings in a circle",
     "local t = {} t.t = t return { api = 1, point = 'test.score', name = 'evil', settings = t,"
     " run = function() return 1 end, examples = { {} } }"},
    {"returns a plan in a circle",
     "return { api = 1, point = 'test.one', name = 'evil',"
     " run = function() local t = {} t.t = t return t end, examples = { {} } }"},
    {"returns a huge plan",
     "return { api = 1, point = 'test.one', name = 'evil',"
     " run = function() local t = {} for i = 1, 30000 do t[i] = i end return { t = t } end,"
     " examples = { {} } }"},
    {"returns a huge text",
     "return { api = 1, point = 'test.one', name = 'evil', run = function() local s = ('x'):rep(65536)"
     " return { s .. s, s .. s, s .. s } end, examples = { {} } }"},
    {"nests for ever",
     "return { api = 1, point = 'test.one', name = 'evil', run = function() local t = {} for i = 1, 1000 do"
     " t = { t } end return t end, examples = { {} } }"},
};

static void test_files(void **state UNUSED)
{
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        struct err *err = NULL;
        double begin = cpu_ms();
        if (policies_apply(&policies, "evil", files[i].source, strlen(files[i].source), false, NULL, &err) ==
            0)
            fail_msg("%s: was accepted", files[i].name);
        if (cpu_ms() - begin > 150)
            fail_msg("%s: took %.0f ms", files[i].name, cpu_ms() - begin);
        assert_non_null(err);
        assert_true(strlen(err_message(err)) > 5 && strlen(err_message(err)) < 2000);
        err_free(err);
        assert_null(policies_find(&policies, "evil"));
    }
}

static void test_error_tells_the_line(void **state UNUSED)
{
    static const char source[] = "return {\n  api = 1,\n  point = = 2,\n}";
    struct err *err = NULL;
    assert_int_equal(policies_apply(&policies, "typo", source, strlen(source), false, NULL, &err), -1);
    assert_non_null(strstr(err_message(err), "typo:3:"));
    err_free(err);
    err = NULL;
    static const char far[] =
        "return { api = 1, point = 'test.scores', name = 'typo', run = error, examples = { {} } }";
    assert_int_equal(policies_apply(&policies, "typo", far, strlen(far), false, NULL, &err), -1);
    assert_non_null(strstr(err_message(err), "did you mean \"test.score\""));
    err_free(err);
}

/* What one policy leaves behind in its own upvalues is its own: memory that piles up makes the state new. */
static void test_hoarder(void **state UNUSED)
{
    static const char source[] =
        "local kept = {} return { api = 1, point = 'test.score', name = 'hoarder', run = function()"
        " for i = 1, 5 do kept[#kept + 1] = ('x'):rep(60000) .. #kept end return 5 end,"
        " examples = { { expect = 5 } } }";
    struct err *err = NULL;
    if (policies_apply(&policies, "hoarder", source, strlen(source), false, NULL, &err) < 0)
        fail_msg("%s", err_message(err));
    uint64_t first = policies.sandbox.generation;
    for (int i = 0; i < 500; i++) {
        bool fallback = false;
        use("hoarder");
        ask_score(&fallback);
        use("good");
        assert_true(ask_score(&fallback) == 7 && !fallback);
        assert_true(policies.sandbox.used <= SANDBOX_MEMORY + (1u << 20));
    }
    assert_true(policies.sandbox.generation > first);
    policies_remove(&policies, "hoarder");
}

static void test_many_calls_leak_nothing(void **state UNUSED)
{
    bool fallback;
    use("good");
    for (int i = 0; i < 2000; i++)
        ask_score(&fallback);
    lua_gc(policies.sandbox.L, LUA_GCCOLLECT, 0);
    size_t before = policies.sandbox.used;
    for (int i = 0; i < 2000; i++)
        ask_score(&fallback);
    lua_gc(policies.sandbox.L, LUA_GCCOLLECT, 0);
    assert_true(policies.sandbox.used <= before + 4096);
    assert_int_equal(lua_gettop(policies.sandbox.L), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_error_tells_the_line),
        cmocka_unit_test(test_hoarder),
        cmocka_unit_test(test_many_calls_leak_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
