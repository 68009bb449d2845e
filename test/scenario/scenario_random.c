/*
 * scenario_random: per seed a random story of 60 virtual seconds on a whole simulated cluster: users create,
 * scale, update and delete (even seeds: Deployments and Services; 1, 5 of 8: StatefulSets, DaemonSets, Jobs;
 * 3: under a quota, with taints; 7: evictions under a budget), while parts are killed at any callback, lines
 * are cut and lose answers, runtimes fail and machines lose power. Then all is well again, and after a while
 * every law of a quiet cluster must hold (sim.h).
 *
 *   scenario_random SEED                      replays one story, telling what happens
 *   scenario_random --seeds N [--first S]     TAP, one line per story; default 25 from 1
 *   … --seconds T                             stories of T seconds: more seeds in the same time
 *
 * The first story of a run is told twice and must give the same hash of all steps.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/str.h"
#include "support/sim.h"

#define STORY_MS 60000
#define SETTLE_MS 150000
#define NAMES 4
#define MINUTE_ENDS_S 17 /* three seconds before it */
#define DEPLOYMENTS "/apis/apps/v1/namespaces/default/deployments"
#define PODS "/api/v1/namespaces/default/pods"
#define SERVICES "/api/v1/namespaces/default/services"
#define CONFIGMAPS "/api/v1/namespaces/default/configmaps"

/* What the user was told last about an object. */
struct belief {
    bool sure; /* false: an answer got lost */
    bool exists;
    int64_t value; /* replicas, or data.value */
};

enum sort { WEB, WORKLOADS, LIMITS, BUDGET };

struct story {
    struct sim_world *world;
    enum sort sort;
    struct belief deployments[NAMES], maps[NAMES], pods[NAMES], services[NAMES];
    int64_t back_ms[2 + SIM_MAX_NODES]; /* when a killed part returns; 0: it runs */
    int64_t heal_ms[SIM_MAX_NODES], calm_ms;
};

static uint64_t dice(struct story *s, uint64_t sides)
{
    return random_below(&s->world->story, sides);
}

static int64_t now(const struct story *s)
{
    return loop_now_ms(s->world->loop);
}

static void believe(struct belief *belief, int status, bool exists, int64_t value)
{
    if (status >= 200 && status < 300)
        *belief = (struct belief){true, exists, value};
    else if (status == 0 || status >= 500)
        belief->sure = false;
}

/* ---- what users do ---- */

static void put_deployment(struct story *s, unsigned i)
{
    struct belief *belief = &s->deployments[i];
    int64_t replicas = (int64_t)dice(s, 5);
    auto_free char *target = mem_printf(DEPLOYMENTS "/web%u", i);
    auto_free char *body = NULL;
    if (!belief->exists) {
        body = mem_printf(
            "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'web%u'},'spec':{'replicas':%lld,"
            "'selector':{'matchLabels':{'app':'web%u'}},'template':{'metadata':{'labels':{'app':'web%u'}},"
            "'spec':{'terminationGracePeriodSeconds':%u,'containers':[{'name':'c','image':'web:1','command':["
            "'%s']}]}}}}",
            i, (long long)replicas, i, i, 1 + (unsigned)dice(s, 4), dice(s, 4) ? "serve" : "stubborn");
        believe(belief, sim_request(s->world, "POST", DEPLOYMENTS, body, NULL), true, replicas);
    } else if (dice(s, 3)) {
        body = mem_printf("{'spec':{'replicas':%lld}}", (long long)replicas);
        believe(belief, sim_request(s->world, "PATCH", target, body, NULL), true, replicas);
    } else {
        body = mem_printf(
            "{'spec':{'replicas':%lld,'template':{'spec':{'containers':[{'name':'c','image':'web:%u'}]}}}}",
            (long long)replicas, 1 + (unsigned)dice(s, 4));
        believe(belief, sim_request(s->world, "PATCH", target, body, NULL), true, replicas);
    }
}

static void put_map(struct story *s, unsigned i)
{
    struct belief *belief = &s->maps[i];
    int64_t value = (int64_t)dice(s, 1000000);
    auto_free char *target = mem_printf(CONFIGMAPS "/map%u", i);
    auto_free char *body = mem_printf(
        "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'map%u'},'data':{'value':'%lld'}}", i,
        (long long)value);
    believe(belief,
            sim_request(s->world, belief->exists ? "PUT" : "POST", belief->exists ? target : CONFIGMAPS, body,
                        NULL),
            true, value);
}

static void put_pod(struct story *s, unsigned i)
{
    auto_free char *body = mem_printf(
        "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'bare%u','labels':{'app':'web%u'}},'spec':{"
        "'terminationGracePeriodSeconds':2,'containers':[{'name':'c','image':'web:1','command':['serve']},{"
        "'name':'d','image':'side:1'}]}}",
        i, (unsigned)dice(s, NAMES));
    if (!s->pods[i].exists)
        believe(&s->pods[i], sim_request(s->world, "POST", PODS, body, NULL), true, 0);
}

static void put_service(struct story *s, unsigned i)
{
    auto_free char *body = mem_printf(
        "{'apiVersion':'v1','kind':'Service','metadata':{'name':'web%u'},'spec':{'selector':{'app':"
        "'web%u'},'ports':[{'port':80,'targetPort':8080}]}}",
        i, i);
    if (!s->services[i].exists)
        believe(&s->services[i], sim_request(s->world, "POST", SERVICES, body, NULL), true, 0);
}

static void drop(struct story *s, struct belief *belief, const char *collection, const char *name, unsigned i)
{
    auto_free char *target = mem_printf("%s/%s%u", collection, name, i);
    int status = sim_request(s->world, "DELETE", target, NULL, NULL);
    believe(belief, status == 404 ? 200 : status, false, 0);
}

/* A pod of a Deployment goes: another must come. */
static void drop_any_pod(struct story *s)
{
    if (!s->world->store)
        return;
    auto_json pods = sim_list(s->world, "pods");
    int count = cJSON_GetArraySize(pods);
    const cJSON *pod = count ? cJSON_GetArrayItem(pods, (int)dice(s, (uint64_t)count)) : NULL;
    const char *name = json_string_or(pod, "metadata.name", "");
    if (!str_starts(name, "web"))
        return;
    auto_free char *target = mem_printf(PODS "/%s?gracePeriodSeconds=%u", name, 1 + (unsigned)dice(s, 3));
    sim_request(s->world, "DELETE", target, NULL, NULL);
}

static void act(struct story *s)
{
    if (s->sort == WORKLOADS) {
        sim_workloads_act(s->world);
        return;
    }
    if (s->sort == BUDGET) {
        sim_budget_act(s->world);
        return;
    }
    if (s->sort == LIMITS && sim_limits_act(s->world))
        return;
    unsigned i = (unsigned)dice(s, NAMES);
    switch (dice(s, 12)) {
    case 0:
        drop(s, &s->deployments[i], DEPLOYMENTS, "web", i);
        break;
    case 1:
        put_pod(s, i);
        break;
    case 2:
        drop(s, &s->pods[i], PODS, "bare", i);
        break;
    case 3:
    case 4:
        put_service(s, i);
        break;
    case 5:
        drop(s, &s->services[i], SERVICES, "web", i);
        break;
    case 6:
        put_map(s, i);
        break;
    case 7:
        drop(s, &s->maps[i], CONFIGMAPS, "map", i);
        break;
    case 8:
        drop_any_pod(s);
        break;
    default:
        put_deployment(s, i);
        break;
    }
}

/* ---- what goes wrong ---- */

struct pick {
    unsigned left;
    char *name;
};

static void pick_container(void *arg, const struct runtime_container *c)
{
    struct pick *pick = arg;
    if (c->state == RUNTIME_RUNNING && pick->left-- == 0)
        pick->name = mem_strdup(c->name);
}

static void kill_process(struct story *s, struct sim_node *n)
{
    struct pick pick = {.left = (unsigned)dice(s, 1 + fake_machine_count(n->machine, true))};
    fake_machine_each(n->machine, pick_container, &pick);
    if (pick.name) {
        sim_note(s->world, "%s: the process of %s is killed", n->name, pick.name);
        fake_machine_kill(n->machine, pick.name, 137, dice(s, 2));
    }
    free(pick.name);
}

static void trouble(struct story *s)
{
    struct sim_world *w = s->world;
    unsigned i = (unsigned)dice(s, w->n_nodes), part = (unsigned)dice(s, 2 + w->n_nodes);
    if (s->sort == BUDGET) /* nothing that a budget cannot prevent */
        part = (unsigned)dice(s, 2);
    switch (s->sort == BUDGET ? 0 : dice(s, 8)) {
    case 0:
    case 1:
        sim_crash_after(w, part, 1 + dice(s, 400));
        s->back_ms[part] = now(s) + 100 + (int64_t)dice(s, 6000);
        break;
    case 2:
        sim_cut(w, i, true);
        s->heal_ms[i] = now(s) + 200 + (int64_t)dice(s, 8000);
        break;
    case 3:
        sim_power(w, i, false);
        s->heal_ms[i] = now(s) + 500 + (int64_t)dice(s, 8000);
        break;
    case 4: {
        const struct fake_runtime_faults faults = {.delay_ms_min = 1,
                                                   .delay_ms_max = 1 + (int64_t)dice(s, 800),
                                                   .answer_ms_max = (int64_t)dice(s, 800),
                                                   .error_permille = (unsigned)dice(s, 200),
                                                   .half_permille = (unsigned)dice(s, 200),
                                                   .lose_event_permille = (unsigned)dice(s, 300),
                                                   .repeat_event_permille = (unsigned)dice(s, 300)};
        fake_machine_set_faults(w->nodes[i].machine, &faults);
        sim_note(w, "%s: the runtime is unwell", w->nodes[i].name);
        break;
    }
    case 5:
        w->line = (struct sim_line){(unsigned)dice(s, 100), (unsigned)dice(s, 100), (unsigned)dice(s, 300)};
        s->calm_ms = now(s) + (int64_t)dice(s, 10000);
        sim_note(w, "the lines are bad");
        break;
    case 6:
        if (w->nodes[i].net)
            fake_world_fail(w->net, w->nodes[i].name, (unsigned)dice(s, 4));
        break;
    default:
        kill_process(s, &w->nodes[i]);
        break;
    }
}

static void recover(struct story *s)
{
    struct sim_world *w = s->world;
    for (unsigned part = 0; part < 2 + w->n_nodes; part++) {
        if (s->back_ms[part] && now(s) >= s->back_ms[part] && !(w->crash_at && w->crash_part == part)) {
            s->back_ms[part] = 0;
            sim_start(w, part);
        }
    }
    for (unsigned i = 0; i < w->n_nodes; i++) {
        if (s->heal_ms[i] && now(s) >= s->heal_ms[i]) {
            s->heal_ms[i] = 0;
            sim_cut(w, i, false);
            sim_power(w, i, true);
            if (!s->back_ms[SIM_AGENT + i])
                sim_start(w, SIM_AGENT + i);
        }
    }
    if (s->calm_ms && now(s) >= s->calm_ms)
        w->line = (struct sim_line){0};
}

/* ---- the end ---- */

static void check_belief(struct story *s, const struct belief *belief, const char *collection,
                         const char *name, unsigned i, const char *path)
{
    if (!belief->sure)
        return;
    auto_free char *target = mem_printf("%s/%s%u", collection, name, i);
    auto_json object = NULL;
    int status = sim_request(s->world, "GET", target, NULL, &object);
    if (status != (belief->exists ? 200 : 404))
        sim_fail(s->world, "%s: %d, though the last change was acknowledged", target, status);
    const char *text = path ? json_string(object, path) : NULL;
    int64_t value = text ? strtoll(text, NULL, 10) : path ? json_int(object, path, -1) : 0;
    if (belief->exists && value != belief->value)
        sim_fail(s->world, "%s: %s is %lld, %lld was acknowledged", target, path, (long long)value,
                 (long long)belief->value);
}

static void check_beliefs(struct story *s)
{
    for (unsigned i = 0; i < NAMES; i++) {
        check_belief(s, &s->deployments[i], DEPLOYMENTS, "web", i, "spec.replicas");
        check_belief(s, &s->maps[i], CONFIGMAPS, "map", i, "data.value");
        if (s->sort == WEB) /* taints end them */
            check_belief(s, &s->pods[i], PODS, "bare", i, NULL);
        check_belief(s, &s->services[i], SERVICES, "web", i, NULL);
    }
}

static void settle(struct story *s)
{
    int64_t until = now(s) + SETTLE_MS;
    char *problem = NULL;
    do {
        free(problem);
        if (!sim_run_for(s->world, 1000))
            return;
        problem = sim_unsettled(s->world);
    } while (problem && now(s) < until);
    if (problem)
        sim_fail(s->world, "not settled after %d s: %s", SETTLE_MS / 1000, problem);
    free(problem);
}

static uint64_t tell(struct sim_shared *shared, uint64_t seed, int64_t end, char **failure, bool print)
{
    static const enum sort sorts[] = {WEB, WORKLOADS, WEB, LIMITS, WEB, WORKLOADS, WEB, BUDGET};
    static const int64_t percent[] = {
        [WEB] = 100, [WORKLOADS] = 45, [LIMITS] = 70, [BUDGET] = 25}; /* equal work */
    struct story s = {.sort = sorts[seed % COUNT_OF(sorts)]};
    end = end * percent[s.sort] / 100;
    /* A minute ends in the middle of each second story of workloads, however short: CronJobs. */
    bool cron = s.sort == WORKLOADS && seed / COUNT_OF(sorts) % 2;
    const struct sim_options options = {.objects = s.sort != WEB, .later_s = cron ? MINUTE_ENDS_S : 0};
    s.world = sim_world_new(shared, seed, &options);
    if (s.sort != WEB)
        sim_run_for(s.world, 1000);
    if (cron)
        sim_cron_begin(s.world);
    if (s.sort == LIMITS)
        sim_limits_begin(s.world);
    if (s.sort == BUDGET)
        sim_budget_begin(s.world);
    while (now(&s) < end && sim_run_for(s.world, 50 + (int64_t)dice(&s, 1500))) {
        recover(&s);
        if (now(&s) > 2000 && dice(&s, 3) == 0)
            trouble(&s);
        else
            act(&s);
    }
    if (!s.world->failure) {
        sim_all_well(s.world);
        if (s.sort != WEB && sim_run_for(s.world, 2000)) {
            s.world->guard = 0;
            sim_objects_end(s.world);
        }
        settle(&s);
    }
    if (!s.world->failure)
        check_beliefs(&s);
    if (s.world->failure && print)
        sim_print_trace(s.world);
    *failure = mem_strdup(s.world->failure);
    uint64_t hash = sim_hash(s.world) ^ s.world->steps;
    if (print && getenv("SIM_VERBOSE"))
        fprintf(stderr, "# %llu steps\n", (unsigned long long)s.world->steps);
    sim_world_free(s.world);
    return hash;
}

static int run(struct sim_shared *shared, uint64_t first, uint64_t count, int64_t story_ms)
{
    uint64_t failed = 0, hash = 0;
    printf("1..%llu\n", (unsigned long long)count + 1);
    for (uint64_t i = 0; i < count; i++) {
        auto_free char *failure = NULL;
        uint64_t told = tell(shared, first + i, story_ms, &failure, true);
        if (i == 0)
            hash = told;
        failed += failure != NULL;
        printf("%sok %llu - story %llu%s%s\n", failure ? "not " : "", (unsigned long long)i + 1,
               (unsigned long long)(first + i), failure ? ": " : "", failure ? failure : "");
        fflush(stdout);
    }
    auto_free char *failure = NULL;
    bool same = tell(shared, first, story_ms, &failure, false) == hash;
    failed += !same;
    printf("%sok %llu - story %llu told twice has the same hash\n", same ? "" : "not ",
           (unsigned long long)count + 1, (unsigned long long)first);
    printf("# %llu of %llu stories failed\n", (unsigned long long)failed, (unsigned long long)count);
    return failed != 0;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, count = 25;
    int64_t story_ms = STORY_MS;
    for (int i = 1; i < argc; i++) {
        if (str_eq(argv[i], "--seeds") && i + 1 < argc)
            count = strtoull(argv[++i], NULL, 10);
        else if (str_eq(argv[i], "--seconds") && i + 1 < argc)
            story_ms = strtoll(argv[++i], NULL, 10) * 1000;
        else if (str_eq(argv[i], "--first") && i + 1 < argc)
            first = strtoull(argv[++i], NULL, 10);
        else {
            first = strtoull(argv[i], NULL, 10);
            count = 1;
        }
    }
    mallopt(M_TRIM_THRESHOLD, 256 << 20); /* worlds come and go: keep their pages */
    mallopt(M_TOP_PAD, 16 << 20);
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    log_set_silent(getenv("SIM_LOG") == NULL);
    auto_err err = NULL;
    struct sim_shared *shared = sim_shared_new(&err);
    if (!shared) {
        fprintf(stderr, "%s\n", err_message(err));
        return 1;
    }
    int code = run(shared, first, count, story_ms);
    sim_shared_free(shared);
    return code;
}
