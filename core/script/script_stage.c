/*
 * script_stage: see the header.
 *
 * Does not: decide which version is used (script_policies.c). Invariants: a version's settings are data taken
 * out of the sandbox, so that they survive its rebuild; run_ref is valid only while `generation` is the
 * sandbox's.
 */
#include <math.h>
#include <string.h>

#include "script/script_stage.h"

#define RESULT_MAX_NODES 20000
#define RESULT_MAX_TEXT (256u << 10)

void stage_version_free(struct policy_version *version)
{
    if (!version)
        return;
    free(version->name);
    free(version->point);
    free(version->source);
    free(version->reason);
    cJSON_Delete(version->settings);
    cJSON_Delete(version->before);
    cJSON_Delete(version->after);
    cJSON_Delete(version->uses);
    record_source_unref(version->text);
    free(version);
}

/* ---- running ---- */

int policies_push_run(struct policies *policies, struct policy_version *version, struct err **err)
{
    struct sandbox *sandbox = &policies->sandbox;
    lua_State *L = sandbox->L;
    int top = lua_gettop(L);
    if (version->generation == sandbox->generation) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, version->run_ref);
        return 0;
    }
    if (sandbox_evaluate(sandbox, version->name, version->source, version->len, err) < 0)
        return -1;
    if (lua_istable(L, -1)) {
        lua_pushliteral(L, "run");
        lua_rawget(L, -2);
    }
    if (!lua_isfunction(L, -1)) {
        lua_settop(L, top);
        return err_set(err, ERR_INVALID, "%s: returned no run function this time", version->name);
    }
    lua_pushvalue(L, -1);
    version->run_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    version->generation = sandbox->generation;
    lua_remove(L, -2);
    return 0;
}

static void push_ctx(lua_State *L, const struct stage_call *call)
{
    if (cJSON_IsObject(call->ctx))
        value_push(L, call->ctx);
    else
        lua_createtable(L, 0, 4);
    value_push(L, call->settings);
    lua_setfield(L, -2, "settings");
    lua_pushnumber(L, (lua_Number)(call->seed >> 12));
    lua_setfield(L, -2, "seed");
    if (call->state_after) {
        lua_pushnil(L);
        lua_setfield(L, -2, "states");
        if (call->state)
            value_push(L, call->state);
        else
            lua_createtable(L, 0, 0);
        lua_setfield(L, -2, "state");
    }
    if (!json_get(call->ctx, "now")) {
        lua_pushnumber(L, call->now);
        lua_setfield(L, -2, "now");
    }
}

int stage_run(struct policies *policies, struct policy_version *version, const struct stage_call *call,
              struct err **err)
{
    lua_State *L = policies->sandbox.L;
    int top = lua_gettop(L);
    push_ctx(L, call);
    int rc = policies_push_run(policies, version, err);
    if (rc == 0) {
        lua_pushvalue(L, top + 1);
        if (call->candidate)
            value_push(L, call->candidate);
        rc = sandbox_call(&policies->sandbox, call->candidate ? 2 : 1, 2, err);
    }
    if (rc < 0)
        lua_settop(L, top);
    return rc;
}

static int filter_result(lua_State *L, cJSON **result, struct err **err)
{
    if (lua_isboolean(L, -2) && lua_toboolean(L, -2)) {
        *result = cJSON_CreateTrue();
        return 0;
    }
    bool refused = lua_isnil(L, -2) || (lua_isboolean(L, -2) && !lua_toboolean(L, -2));
    size_t len = 0;
    const char *reason = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (!refused || !reason || !len || len > 1024)
        return err_set(err, ERR_INVALID,
                       "a filter must return true, or nil and a reason of up to 1,024 characters");
    *result = cJSON_CreateString(reason);
    return 0;
}

static int score_result(lua_State *L, cJSON **result, struct err **err)
{
    double score = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : NAN;
    if (!(score >= 0 && score <= 100))
        return err_set(err, ERR_INVALID, "a score must be a number from 0 to 100");
    *result = cJSON_CreateNumber(score);
    return 0;
}

static int order_result(lua_State *L, cJSON **result, struct err **err)
{
    double number = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : NAN;
    if (!isfinite(number))
        return err_set(err, ERR_INVALID, "must return a finite number");
    *result = cJSON_CreateNumber(number);
    return 0;
}

static int data_result(lua_State *L, cJSON **result, struct err **err)
{
    *result = value_take_safe(L, -2, RESULT_MAX_NODES, err);
    if (!*result)
        return err_wrap(err, "the result holds what is not data");
    auto_free char *text = json_print(*result);
    if (strlen(text) > RESULT_MAX_TEXT) {
        cJSON_Delete(steal(result));
        return err_set(err, ERR_TOO_LARGE, "the result is larger than %u bytes", RESULT_MAX_TEXT);
    }
    return 0;
}

int stage_result(struct policies *policies, const struct policy_point *point, const cJSON *ctx,
                 cJSON **result, struct err **err)
{
    lua_State *L = policies->sandbox.L;
    int rc = 0;
    *result = NULL;
    if (point->shape == SHAPE_FILTER)
        rc = filter_result(L, result, err);
    else if (point->shape == SHAPE_SCORE)
        rc = score_result(L, result, err);
    else if (point->shape == SHAPE_ORDER)
        rc = order_result(L, result, err);
    else if (!lua_isnil(L, -2))
        rc = data_result(L, result, err);
    lua_pop(L, 3);
    if (rc == 0 && point->shape == SHAPE_ONE && !cJSON_IsObject(*result))
        rc = err_set(err, ERR_INVALID, "the policy of point %s must return a table", point->name);
    if (rc == 0 && *result && point->shape <= SHAPE_FIRST && policies->hooks.check)
        rc = policies->hooks.check(policies->hooks.arg, point->name, *result, ctx, err);
    if (rc < 0)
        cJSON_Delete(steal(result));
    return rc;
}

/* ctx lies below the two results. */
static int state_result(lua_State *L, cJSON **state, struct err **err)
{
    *state = NULL;
    lua_pushliteral(L, "state");
    lua_rawget(L, -4);
    bool none = lua_isnil(L, -1), table = lua_istable(L, -1);
    if (table)
        *state = value_take_safe(L, -1, RESULT_MAX_NODES, err);
    lua_pop(L, 1);
    if (none)
        return 0;
    if (!table)
        return err_set(err, ERR_INVALID, "ctx.state must be a table");
    if (!*state)
        return err_wrap(err, "ctx.state holds what is not data");
    if (!(*state)->child) {
        cJSON_Delete(steal(state));
        return 0;
    }
    auto_free char *text = json_print(*state);
    return strlen(text) <= POLICIES_STATE_MAX
               ? 0
               : err_set(err, ERR_TOO_LARGE, "ctx.state is larger than %d bytes", POLICIES_STATE_MAX);
}

int stage_ask(struct policies *policies, const struct policy_point *point, struct policy_version *version,
              const struct stage_call *call, cJSON **result, struct err **err)
{
    if (stage_run(policies, version, call, err) < 0)
        return -1;
    cJSON *state = NULL;
    if (call->state_after && state_result(policies->sandbox.L, &state, err) < 0) {
        lua_pop(policies->sandbox.L, 3);
        cJSON_Delete(state);
        return -1;
    }
    if (stage_result(policies, point, call->ctx, result, err) < 0) {
        cJSON_Delete(state);
        return -1;
    }
    if (call->state_after)
        *call->state_after = state;
    return 0;
}

/* ---- examples ---- */

/* Keys that the example names must be there and equal; nested tables likewise, arrays as a whole. */
static bool agrees(const cJSON *wanted, const cJSON *got)
{
    if (!cJSON_IsObject(wanted))
        return json_equal(wanted, got) ||
               (cJSON_IsArray(got) && !got->child && cJSON_IsObject(wanted) && !wanted->child);
    json_each (field, wanted) {
        if (!agrees(field, json_get(got, field->string)))
            return false;
    }
    return cJSON_IsObject(got) || !wanted->child;
}

static int judge(const struct policy_point *point, const cJSON *example, const cJSON *result,
                 struct err **err)
{
    const cJSON *expect = json_get(example, "expect"), *min = json_get(example, "min"),
                *max = json_get(example, "max");
    const char *refuse = json_string(example, "refuse");
    auto_free char *got = result ? json_print(result) : mem_strdup("nil");
    bool fine;
    if (point->shape == SHAPE_FILTER)
        fine = refuse ? cJSON_IsString(result) && strstr(result->valuestring, refuse) : cJSON_IsTrue(result);
    else if (point->shape >= SHAPE_SCORE)
        fine = (!cJSON_IsNumber(min) || result->valuedouble >= min->valuedouble) &&
               (!cJSON_IsNumber(max) || result->valuedouble <= max->valuedouble) &&
               (!cJSON_IsNumber(expect) || result->valuedouble == expect->valuedouble);
    else
        fine = expect ? agrees(expect, result) : !json_get(example, "none") || !result;
    return fine ? 0 : err_set(err, ERR_INVALID, "got %.300s", got);
}

static int run_example(struct policies *policies, const struct policy_point *point,
                       struct policy_version *version, const cJSON *example, struct err **err)
{
    auto_json none = cJSON_CreateObject();
    const cJSON *ctx = json_get(example, "ctx"), *candidate = json_get(example, "candidate");
    auto_json settings = json_copy(version->settings);
    if (json_get(example, "settings"))
        settings = json_merge_patch(steal(&settings), json_get(example, "settings"));
    struct stage_call call = {
        .ctx = cJSON_IsObject(ctx) ? ctx : none, .settings = settings, .seed = policies->seed};
    if (point->shape >= SHAPE_FILTER)
        call.candidate = candidate ? candidate : none;
    auto_json result = NULL;
    auto_json after = NULL;
    call.state = json_get(ctx, "state");
    call.state_after = &after;
    sandbox_begin(&policies->sandbox, SANDBOX_BUDGET_MS);
    if (stage_ask(policies, point, version, &call, &result, err) < 0)
        return -1;
    const cJSON *state = json_get(example, "state"); /* as it must be afterwards */
    if (state && !agrees(state, after)) {
        auto_free char *got = after ? json_print(after) : mem_strdup("{}");
        return err_set(err, ERR_INVALID, "ctx.state is %.300s", got);
    }
    return judge(point, example, result, err);
}

static int run_examples(struct policies *policies, struct policy_version *version, const cJSON *examples,
                        struct err **err)
{
    const struct policy_point *point = policies_point(policies, version->point);
    int number = 0;
    json_each (example, examples) {
        number++;
        if (run_example(policies, point, version, example, err) == 0)
            continue;
        return err_wrap(err, "%s: example %d (%s)", version->name, number,
                        json_string_or(example, "name", "no name"));
    }
    if (!number)
        return err_set(err, ERR_INVALID, "%s: has no examples: at least one is run before it is accepted",
                       version->name);
    return 0;
}

/* Runs the examples unless they are known to pass. */
static int prove(struct policies *policies, struct policy_version *version, const cJSON *examples,
                 struct err **err)
{
    if (policies->proven && map_has(policies->proven, version->hash))
        return 0;
    int rc = run_examples(policies, version, examples, err);
    if (rc == 0 && policies->proven)
        map_set(policies->proven, version->hash, policies->proven);
    return rc;
}

/* ---- from the table that the file returned ---- */

static cJSON *take_field(lua_State *L, const char *field, struct err **err)
{
    lua_pushstring(L, field);
    lua_rawget(L, -2);
    cJSON *value = value_take_safe(L, -1, RESULT_MAX_NODES, err);
    lua_pop(L, 1);
    if (!value)
        err_wrap(err, "field %s", field);
    return value;
}

static int check_fields(const struct policies *policies, const char *expected, const cJSON *api,
                        const cJSON *name, const cJSON *point, struct err **err)
{
    if (!cJSON_IsNumber(api) || api->valuedouble != 1)
        return err_set(err, ERR_INVALID, "api: must be 1");
    if (!cJSON_IsString(name) || str_check_dns_subdomain(name->valuestring))
        return err_set(err, ERR_INVALID, "name: must be a lower-case DNS name");
    if (expected && !str_eq(expected, name->valuestring))
        return err_set(err, ERR_INVALID,
                       "name: is \"%s\" but must be \"%s\", as the file or object is called",
                       name->valuestring, expected);
    if (cJSON_IsString(point) && policies_point(policies, point->valuestring))
        return 0;
    auto_free const char **known = map_sorted_keys(&policies->points);
    const char *near =
        cJSON_IsString(point) ? str_nearest(point->valuestring, known, policies->points.count) : NULL;
    return err_set(err, ERR_INVALID, "point: there is no point \"%s\"%s%s%s",
                   cJSON_IsString(point) ? point->valuestring : "?", near ? " (did you mean \"" : "",
                   near ? near : "", near ? "\"?)" : "");
}

/* The table is on the top of the stack and stays. */
static int read_table(struct policies *policies, const char *expected, struct policy_version *version,
                      cJSON **examples, struct err **err)
{
    lua_State *L = policies->sandbox.L;
    if (!lua_istable(L, -1))
        return err_set(err, ERR_INVALID, "must return a table, not %s", luaL_typename(L, -1));
    auto_json api = take_field(L, "api", err);
    auto_json name = take_field(L, "name", err);
    auto_json point = take_field(L, "point", err);
    version->settings = take_field(L, "settings", err);
    version->before = take_field(L, "before", err);
    version->after = take_field(L, "after", err);
    version->uses = take_field(L, "uses", err);
    *examples = take_field(L, "examples", err);
    if (!api || !name || !point || !version->settings || !version->before || !version->after ||
        !version->uses || !*examples)
        return -1;
    if (check_fields(policies, expected, api, name, point, err) < 0)
        return -1;
    if (!cJSON_IsObject(version->settings)) {
        cJSON_Delete(version->settings);
        version->settings = cJSON_CreateObject();
    }
    version->name = mem_strdup(name->valuestring);
    version->point = mem_strdup(point->valuestring);
    lua_pushliteral(L, "run");
    lua_rawget(L, -2);
    bool function = lua_isfunction(L, -1);
    lua_pop(L, 1);
    return function ? 0 : err_set(err, ERR_INVALID, "run: must be a function");
}

struct policy_version *stage_version(struct policies *policies, const char *name, const char *source,
                                     size_t len, struct err **err)
{
    struct sandbox *sandbox = &policies->sandbox;
    struct policy_version *version = NEW(struct policy_version);
    auto_json examples = NULL;
    version->source = mem_strndup(source, len);
    version->len = len;
    snprintf(version->hash, sizeof(version->hash), "%016llx", str_hash(source, len));
    sandbox_begin(sandbox, SANDBOX_BUDGET_MS);
    int top = lua_gettop(sandbox->L);
    const char *chunk = name ? name : "policy";
    int rc = sandbox_evaluate(sandbox, chunk, source, len, err);
    if (rc == 0)
        rc = read_table(policies, name, version, &examples, err);
    if (rc == 0) {
        lua_settop(sandbox->L, top);
        rc = prove(policies, version, examples, err);
    } else if (err && *err && !strstr(err_message(*err), chunk)) {
        err_wrap(err, "%s", chunk);
    }
    lua_settop(sandbox->L, top);
    policies_recover(policies);
    if (rc == 0) {
        version->text = record_source_new(version->name, version->hash, source, len);
        return version;
    }
    stage_version_free(version);
    return NULL;
}
