/*
 * sim_workloads: users of StatefulSets, DaemonSets, Jobs, CronJobs, quotas, budgets and taints in a simulated
 * cluster, and the laws of these: never two pods with one identity, never more active pods of a Job than its
 * parallelism, no success counted that was none, never above a quota, never below a budget through evictions,
 * no second run of a CronJob that forbids it, no eviction before its tolerationSeconds. Judged at every
 * commit.
 */
#include <stdio.h>
#include <string.h>

#include "sim.h"
#include "sim_objects.h"

#define CORE "/api/v1/namespaces/default"
#define APPS "/apis/apps/v1/namespaces/default"
#define BATCH "/apis/batch/v1/namespaces/default"
#define OUT_OF_SERVICE "node.kubernetes.io/out-of-service"
#define GUARDED 4
#define TOLERATED_MS 4000

static const char *const kept[] = {"pods/",  "jobs.batch/",    "statefulsets.apps/", "daemonsets.apps/",
                                   "nodes/", "cronjobs.batch/"};

static uint64_t dice(struct sim_world *w, uint64_t sides)
{
    return random_below(&w->story, sides);
}

/* ---- laws at every commit ---- */

static void free_json(void *json)
{
    cJSON_Delete(json);
}

static const cJSON *taint_of(const cJSON *node, const char *key)
{
    json_each (taint, json_at(node, "spec.taints"))
        if (str_eq(json_string(taint, "key"), key))
            return taint;
    return NULL;
}

#define HEARD_MS 1000 /* the manager may hear that a taint is gone so much later */

static unsigned number_of(const char *node)
{
    return (unsigned)(node[0] == 'n' ? node[1] - '1' : SIM_MAX_NODES);
}

static void note_taint(struct sim_world *w, const cJSON *node, const cJSON *before)
{
    unsigned i = number_of(name_of(node));
    if (i < w->n_nodes && before && taint_of(before, "mood") && !taint_of(node, "mood"))
        w->untainted_ms[i] = loop_now_ms(w->loop);
}

/* A tolerating pod on a tainted node may be ended by nobody but the taint, and not too early. */
static void check_toleration(struct sim_world *w, const cJSON *pod, const cJSON *before)
{
    const char *node = json_string_or(pod, "spec.nodeName", "");
    auto_free char *key = mem_printf("nodes//%s", node);
    const cJSON *tainted = map_get(&w->objects, key);
    if (!str_starts(name_of(pod), "patient") || !before || is_deleting(before) || !is_deleting(pod))
        return;
    unsigned i = number_of(node);
    int64_t now = loop_now_ms(w->loop);
    bool just_gone = i < w->n_nodes && w->untainted_ms[i] && now - w->untainted_ms[i] <= HEARD_MS;
    if (i >= w->n_nodes || (!taint_of(tainted, "mood") && !just_gone))
        sim_fail(w, "%s is ended on %s, which has no taint", name_of(pod), node);
    else if (now - w->tainted_ms[i] < TOLERATED_MS)
        sim_fail(w, "%s is ended %lld ms after the taint, it tolerates it for %d", name_of(pod),
                 (long long)(now - w->tainted_ms[i]), TOLERATED_MS);
}

void sim_objects_on_event(struct sim_world *w, const struct store_event *event)
{
    bool wanted = false;
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        wanted |= str_starts(event->key, kept[i]);
    if (!wanted)
        return;
    if (!w->objects.free_value)
        map_init(&w->objects, free_json);
    w->objects_changed = true;
    if (event->type == STORE_DELETED) {
        map_remove(&w->objects, event->key);
        return;
    }
    cJSON *object = json_parse_trusted(event->bytes->data, event->bytes->len);
    if (str_starts(event->key, "nodes/"))
        note_taint(w, object, map_get(&w->objects, event->key));
    if (str_starts(event->key, "pods/")) {
        check_toleration(w, object, map_get(&w->objects, event->key));
        if (str_eq(json_string(object, "status.phase"), "Succeeded"))
            map_set(&w->succeeded, json_string_or(object, "metadata.uid", ""),
                    mem_strdup(json_string_or(object, "metadata.ownerReferences[0].uid", "")));
    }
    map_set(&w->objects, event->key, object);
}

static int64_t active_pods(struct sim_world *w, const cJSON *owner)
{
    int64_t active = 0;
    map_each (entry, &w->objects)
        active += str_starts(entry->key, "pods/") && owned_by(entry->value, owner) &&
                  !is_terminal(entry->value) && !is_deleting(entry->value);
    return active;
}

static void check_job(struct sim_world *w, const cJSON *job)
{
    int64_t active = active_pods(w, job), parallelism = json_int(job, "spec.parallelism", 1);
    int64_t succeeded = json_int(job, "status.succeeded", 0), seen = 0;
    map_each (entry, &w->succeeded)
        seen += str_eq(entry->value, json_string(job, "metadata.uid"));
    if (active > parallelism)
        sim_fail(w, "Job %s has %lld active pods at once, %lld are allowed", name_of(job), (long long)active,
                 (long long)parallelism);
    if (succeeded > seen)
        sim_fail(w, "Job %s counts %lld successes, there were %lld", name_of(job), (long long)succeeded,
                 (long long)seen);
    if (condition_holds(job, "Complete") && succeeded != json_int(job, "spec.completions", 1))
        sim_fail(w, "Job %s is complete with %lld of %lld", name_of(job), (long long)succeeded,
                 (long long)json_int(job, "spec.completions", 1));
    if (condition_holds(job, "Complete") && condition_holds(job, "Failed"))
        sim_fail(w, "Job %s is complete and has failed", name_of(job));
}

static void check_cron(struct sim_world *w, const cJSON *cron)
{
    int running = 0;
    map_each (entry, &w->objects)
        running += str_starts(entry->key, "jobs.batch/") && owned_by(entry->value, cron) &&
                   !is_deleting(entry->value) && !condition_holds(entry->value, "Complete") &&
                   !condition_holds(entry->value, "Failed");
    if (running > 1)
        sim_fail(w, "CronJob %s runs %d Jobs at once", name_of(cron), running);
}

/* Should have ended long ago: a quota does not count it any more. */
static bool is_overdue(const struct sim_world *w, const cJSON *pod)
{
    int64_t at = 0;
    const char *text = json_string(pod, "metadata.deletionTimestamp");
    return text && time_parse(text, &at, NULL) == 0 &&
           at + json_int(pod, "metadata.deletionGracePeriodSeconds", 0) * 1000000000 <=
               clock_wall_ns(loop_clock(w->loop));
}

void sim_objects_check(struct sim_world *w)
{
    int64_t pods = 0, guarded = 0;
    if (!w->objects_changed)
        return;
    w->objects_changed = false;
    map_each (entry, &w->objects) {
        const cJSON *object = entry->value;
        if (str_starts(entry->key, "pods/")) {
            pods += !is_terminal(object) && !is_overdue(w, object);
            guarded += str_starts(name_of(object), "guard-") && !is_deleting(object) &&
                       condition_holds(object, "Ready");
        } else if (str_starts(entry->key, "jobs.batch/")) {
            check_job(w, object);
        } else if (str_starts(entry->key, "cronjobs.batch/")) {
            check_cron(w, object);
        }
    }
    if (w->quota && pods > w->quota)
        sim_fail(w, "%lld pods under a quota of %lld", (long long)pods, (long long)w->quota);
    if (w->guard && guarded < w->guard)
        sim_fail(w, "%lld guarded pods are ready, the budget wants %lld", (long long)guarded,
                 (long long)w->guard);
}

/* ---- what users do ---- */

static const cJSON *find(struct sim_world *w, const char *key)
{
    return map_get(&w->objects, key);
}

static void put_stateful_set(struct sim_world *w)
{
    auto_free char *body = NULL;
    const cJSON *present = find(w, "statefulsets.apps/default/db");
    if (!present) {
        body = mem_printf(
            "{'metadata':{'name':'db'},'spec':{'replicas':%u,'serviceName':'db','podManagementPolicy':'%s',"
            "'selector':{'matchLabels':{'app':'db'}},'template':{'metadata':{'labels':{'app':'db'}},'spec':{"
            "'terminationGracePeriodSeconds':%u,'containers':[{'name':'c','image':'web:1','command':['%s']}]}"
            "}}}",
            1 + (unsigned)dice(w, 3), dice(w, 2) ? "Parallel" : "OrderedReady", 1 + (unsigned)dice(w, 3),
            dice(w, 4) ? "serve" : "stubborn");
        sim_request(w, "POST", APPS "/statefulsets", body, NULL);
    } else if (dice(w, 2)) {
        body = mem_printf("{'spec':{'replicas':%u}}", (unsigned)dice(w, 5));
        sim_request(w, "PATCH", APPS "/statefulsets/db", body, NULL);
    } else {
        body = mem_printf("{'spec':{'template':{'spec':{'containers':[{'name':'c','image':'web:%u'}]}}}}",
                          1 + (unsigned)dice(w, 3));
        sim_request(w, "PATCH", APPS "/statefulsets/db", body, NULL);
    }
}

static void put_daemon_set(struct sim_world *w)
{
    if (find(w, "daemonsets.apps/default/each")) {
        auto_free char *body =
            mem_printf("{'spec':{'template':{'spec':{'containers':[{'name':'c','image':'web:%u'}]}}}}",
                       1 + (unsigned)dice(w, 3));
        sim_request(w, "PATCH", APPS "/daemonsets/each", body, NULL);
        return;
    }
    auto_free char *body = mem_printf(
        "{'metadata':{'name':'each'},'spec':{'updateStrategy':{'rollingUpdate':{'maxSurge':%u,"
        "'maxUnavailable':%u}},'selector':{'matchLabels':{'app':'each'}},'template':{'metadata':{'labels':{"
        "'app':'each'}},'spec':{'terminationGracePeriodSeconds':1,'containers':[{'name':'c','image':'web:1',"
        "'command':['serve']}]}}}}",
        w->seed % 16 < 8, w->seed % 16 >= 8);
    sim_request(w, "POST", APPS "/daemonsets", body, NULL);
}

static void put_job(struct sim_world *w)
{
    unsigned i = (unsigned)dice(w, 3);
    auto_free char *key = mem_printf("jobs.batch/default/job%u", i);
    auto_free char *target = mem_printf(BATCH "/jobs/job%u", i);
    const cJSON *present = find(w, key);
    if (present && dice(w, 3) == 0) {
        sim_request(w, "DELETE", target, "{'propagationPolicy':'Background'}", NULL);
    } else if (present && !condition_holds(present, "Complete") && !condition_holds(present, "Failed")) {
        bool suspend = json_bool(present, "spec.suspend", false);
        sim_request(w, "PATCH", target, suspend ? "{'spec':{'suspend':false}}" : "{'spec':{'suspend':true}}",
                    NULL);
    } else if (!present) {
        unsigned completions = 1 + (unsigned)dice(w, 4);
        auto_free char *body = mem_printf(
            "{'metadata':{'name':'job%u'},'spec':{'completions':%u,'parallelism':%u,'backoffLimit':%u,"
            "'completionMode':'%s','template':{'spec':{'restartPolicy':'%s','terminationGracePeriodSeconds':"
            "1,"
            "'containers':[{'name':'c','image':'web:1','command':['exit','%u','%u']}]}}}}",
            i, completions, 1 + (unsigned)dice(w, completions), (unsigned)dice(w, 3),
            dice(w, 2) ? "Indexed" : "NonIndexed", dice(w, 2) ? "Never" : "OnFailure", dice(w, 5) == 0,
            100 + (unsigned)dice(w, 3000));
        sim_request(w, "POST", BATCH "/jobs", body, NULL);
    }
}

static void put_cron_job(struct sim_world *w)
{
    if (find(w, "cronjobs.batch/default/tick"))
        return;
    sim_request(
        w, "POST", BATCH "/cronjobs",
        "{'metadata':{'name':'tick'},'spec':{'schedule':'* * * * *','concurrencyPolicy':'Forbid',"
        "'jobTemplate':{'spec':{'template':{'spec':{'restartPolicy':'Never','containers':[{'name':'c',"
        "'image':'web:1','command':['exit','0','500']}]}}}}}}",
        NULL);
}

void sim_cron_begin(struct sim_world *w)
{
    put_cron_job(w);
}

static void drop_any_pod(struct sim_world *w)
{
    uint64_t count = 0;
    map_each (entry, &w->objects)
        count += str_starts(entry->key, "pods/");
    uint64_t left = count ? dice(w, count) : 0;
    auto_free char *name = NULL;
    map_each (entry, &w->objects)
        if (str_starts(entry->key, "pods/") && left-- == 0)
            name = mem_strdup(name_of(entry->value));
    if (!name)
        return;
    auto_free char *target =
        mem_printf(CORE "/pods/%s?gracePeriodSeconds=%u", name, 1 + (unsigned)dice(w, 3));
    sim_request(w, "DELETE", target, NULL, NULL);
}

/* Beside the taints that are there; key NULL: only those are left that are the system's. */
static void set_taint(struct sim_world *w, unsigned i, const char *key)
{
    auto_free char *at = mem_printf("nodes//n%u", i + 1), *target = mem_printf("/api/v1/nodes/n%u", i + 1);
    auto_json patch = cJSON_CreateObject();
    cJSON *taints = json_ensure_array(json_ensure_object(patch, "spec"), "taints");
    json_each (taint, json_at(find(w, at), "spec.taints"))
        if (!str_eq(json_string(taint, "key"), OUT_OF_SERVICE) && !str_eq(json_string(taint, "key"), "mood"))
            json_push(taints, json_copy(taint));
    if (key) {
        cJSON *taint = json_push(taints, cJSON_CreateObject());
        json_set_string(taint, "key", key);
        json_set_string(taint, "value", "bad");
        json_set_string(taint, "effect", "NoExecute");
    }
    auto_free char *text = json_print(patch);
    sim_request(w, "PATCH", target, text, NULL);
}

/* Only for a machine that is off, as the taint promises; it goes when the machine is back. */
static void tend_taints(struct sim_world *w)
{
    for (unsigned i = 0; i < w->n_nodes; i++) {
        if (w->nodes[i].off && !w->out_of_service[i] && dice(w, 3) == 0) {
            w->out_of_service[i] = true;
            set_taint(w, i, OUT_OF_SERVICE);
        } else if (!w->nodes[i].off && w->out_of_service[i] && w->store) {
            w->out_of_service[i] = false;
            set_taint(w, i, NULL);
        }
    }
}

void sim_workloads_act(struct sim_world *w)
{
    tend_taints(w);
    switch (dice(w, 10)) {
    case 0:
    case 1:
        put_stateful_set(w);
        break;
    case 2:
        if (dice(w, 3) == 0)
            sim_request(w, "DELETE", APPS "/statefulsets/db", "{'propagationPolicy':'Background'}", NULL);
        else
            put_stateful_set(w);
        break;
    case 3:
        put_daemon_set(w);
        break;
    case 4:
        if (dice(w, 3) == 0)
            sim_request(w, "DELETE", APPS "/daemonsets/each", "{'propagationPolicy':'Background'}", NULL);
        break;
    case 5:
    case 6:
    case 7:
        put_job(w);
        break;
    case 8:
        put_cron_job(w);
        break;
    default:
        drop_any_pod(w);
        break;
    }
}

/* ---- limits ---- */

void sim_limits_begin(struct sim_world *w)
{
    w->quota = 3 + (int64_t)dice(w, 5);
    auto_free char *body =
        mem_printf("{'metadata':{'name':'q'},'spec':{'hard':{'pods':'%lld'}}}", (long long)w->quota);
    if (sim_request(w, "POST", CORE "/resourcequotas", body, NULL) != 201)
        sim_fail(w, "the quota was not made");
}

static void put_patient_pod(struct sim_world *w)
{
    unsigned i = (unsigned)dice(w, 3);
    auto_free char *body = mem_printf("{'metadata':{'name':'patient%u'},'spec':{'"
                                      "terminationGracePeriodSeconds':1,'tolerations':[{'key':'mood',"
                                      "'operator':'Exists','effect':'NoExecute','tolerationSeconds':%d},{'"
                                      "key':'node.kubernetes.io/not-ready',"
                                      "'operator':'Exists'},{'key':'node.kubernetes.io/"
                                      "unreachable','operator':'Exists'}],'containers':[{'name':"
                                      "'c','image':'web:1','command':['serve']}]}}",
                                      i, TOLERATED_MS / 1000);
    sim_request(w, "POST", CORE "/pods", body, NULL);
}

/* True if something was done. */
bool sim_limits_act(struct sim_world *w)
{
    unsigned i = (unsigned)dice(w, w->n_nodes);
    switch (dice(w, 6)) {
    case 0:
        put_patient_pod(w);
        return true;
    case 1:
        if (!w->tainted_ms[i])
            w->tainted_ms[i] = loop_now_ms(w->loop); /* not later than the commit */
        set_taint(w, i, "mood");
        return true;
    case 2: {
        w->quota += 1;
        auto_free char *body = mem_printf("{'spec':{'hard':{'pods':'%lld'}}}", (long long)w->quota);
        sim_request(w, "PATCH", CORE "/resourcequotas/q", body, NULL);
        return true;
    }
    default:
        return false;
    }
}

/* ---- budgets: evictions while server and manager die, and nothing else does ---- */

static int64_t guarded_ready(struct sim_world *w)
{
    int64_t ready = 0;
    map_each (entry, &w->objects)
        ready += str_starts(entry->key, "pods/") && condition_holds(entry->value, "Ready") &&
                 !is_deleting(entry->value);
    return ready;
}

static bool all_guarded(struct sim_world *w)
{
    return guarded_ready(w) == GUARDED;
}

void sim_budget_begin(struct sim_world *w)
{
    int64_t least = 1 + (int64_t)dice(w, GUARDED - 1);
    auto_free char *body = mem_printf("{'metadata':{'name':'b'},'spec':{'minAvailable':%lld,'selector':{"
                                      "'matchLabels':{'app':'guard'}}}}",
                                      (long long)least);
    auto_free char *deployment = mem_printf("{'metadata':{'name':'guard'},'spec':{'replicas':%d,'selector':{'"
                                            "matchLabels':{'app':'guard'}},'template':"
                                            "{'metadata':{'labels':{'app':'guard'}},'spec':{'"
                                            "terminationGracePeriodSeconds':1,'containers':[{'name':"
                                            "'c','image':'web:1','command':['serve']}]}}}}",
                                            GUARDED);
    sim_request(w, "POST", APPS "/deployments", deployment, NULL);
    sim_request(w, "POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", body, NULL);
    if (sim_run_until(w, 20000, all_guarded) < 0)
        sim_fail(w, "the guarded pods do not come");
    w->guard = least;
}

struct eviction {
    unsigned *left;
    char *name;
};

static void on_evicted(void *arg, const struct http_response *response, struct err *err UNUSED)
{
    struct eviction *eviction = arg;
    (void)response;
    --*eviction->left;
    free(eviction->name);
    free(eviction);
}

/* All guarded pods at the same moment. */
void sim_budget_act(struct sim_world *w)
{
    unsigned left = 0;
    auto_json names = cJSON_CreateArray();
    map_each (entry, &w->objects)
        if (str_starts(entry->key, "pods/"))
            json_push_string(names, name_of(entry->value));
    json_each (name, names) {
        if (dice(w, 3) == 0)
            continue;
        auto_free char *target = mem_printf(CORE "/pods/%s/eviction", name->valuestring);
        static const char body[] = "{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\"}";
        struct eviction *eviction = NEW(struct eviction);
        *eviction = (struct eviction){&left, mem_strdup(name->valuestring)};
        const struct http_call call = {.method = "POST",
                                       .target = target,
                                       .content_type = "application/json",
                                       .body = body,
                                       .body_len = sizeof(body) - 1,
                                       .timeout_ms = 2000,
                                       .on_response = on_evicted,
                                       .arg = eviction};
        left++;
        w->user->ops->call(w->user, &call);
    }
    while (left && !w->failure)
        sim_step(w);
    if (w->failure && left)
        sim_run_for(w, 3000); /* the answers point into this call */
}

/* ---- the end ---- */

void sim_objects_end(struct sim_world *w)
{
    for (unsigned i = 0; i < w->n_nodes; i++) {
        w->out_of_service[i] = false;
        auto_free char *key = mem_printf("nodes//n%u", i + 1);
        if (taint_of(find(w, key), OUT_OF_SERVICE) || taint_of(find(w, key), "mood"))
            set_taint(w, i, NULL);
    }
    if (find(w, "cronjobs.batch/default/tick"))
        sim_request(w, "DELETE", BATCH "/cronjobs/tick", "{'propagationPolicy':'Background'}", NULL);
    for (unsigned i = 0; i < 3; i++) {
        auto_free char *key = mem_printf("jobs.batch/default/job%u", i);
        auto_free char *target = mem_printf(BATCH "/jobs/job%u", i);
        if (json_bool(find(w, key), "spec.suspend", false))
            sim_request(w, "PATCH", target, "{'spec':{'suspend':false}}", NULL);
    }
    if (!w->quota)
        return;
    w->quota = 1000;
    sim_request(w, "PATCH", CORE "/resourcequotas/q", "{'spec':{'hard':{'pods':'1000'}}}", NULL);
}

static char *stateful_set_unsettled(struct sim_world *w, const cJSON *set)
{
    int64_t wanted = json_int(set, "spec.replicas", 1), have = 0;
    map_each (entry, &w->objects)
        have += str_starts(entry->key, "pods/") && owned_by(entry->value, set);
    if (have != wanted || json_int(set, "status.readyReplicas", 0) != wanted)
        return mem_printf("StatefulSet wants %lld, has %lld, says %lld are ready", (long long)wanted,
                          (long long)have, (long long)json_int(set, "status.readyReplicas", 0));
    for (int64_t i = 0; i < wanted; i++) {
        auto_free char *key = mem_printf("pods/default/db-%lld", (long long)i);
        const cJSON *pod = find(w, key);
        if (!pod || !str_eq(json_string(pod, "spec.containers[0].image"),
                            json_string(set, "spec.template.spec.containers[0].image")))
            return mem_printf("%s is missing or old", key);
    }
    return NULL;
}

static char *daemon_set_unsettled(struct sim_world *w, const cJSON *set)
{
    for (unsigned i = 0; i < w->n_nodes; i++) {
        int count = 0;
        map_each (entry, &w->objects)
            count += str_starts(entry->key, "pods/") && owned_by(entry->value, set) &&
                     str_eq(json_string(entry->value, "spec.nodeName"), w->nodes[i].name) &&
                     condition_holds(entry->value, "Ready");
        if (count != 1)
            return mem_printf("DaemonSet has %d ready pods on %s", count, w->nodes[i].name);
    }
    return NULL;
}

char *sim_objects_unsettled(struct sim_world *w)
{
    char *problem = NULL;
    map_each (entry, &w->objects) {
        const cJSON *object = entry->value;
        if (problem)
            return problem;
        if (str_starts(entry->key, "statefulsets.apps/"))
            problem = stateful_set_unsettled(w, object);
        else if (str_starts(entry->key, "daemonsets.apps/"))
            problem = daemon_set_unsettled(w, object);
        else if (str_starts(entry->key, "jobs.batch/") && !condition_holds(object, "Complete") &&
                 !condition_holds(object, "Failed"))
            problem = mem_printf("Job %s has not ended", name_of(object));
    }
    if (problem || !w->quota)
        return problem;
    int64_t pods = 0;
    map_each (entry, &w->objects)
        pods += str_starts(entry->key, "pods/") && !is_terminal(entry->value);
    auto_json quotas = sim_list(w, "resourcequotas");
    auto_free char *text = mem_printf("%lld", (long long)pods);
    if (!str_eq(json_string(quotas, "[0].status.used.pods"), text))
        return mem_printf("the quota says %s, there are %s",
                          json_string_or(quotas, "[0].status.used.pods", "?"), text);
    return NULL;
}

void sim_objects_free(struct sim_world *w)
{
    map_fini(&w->objects);
    map_fini(&w->succeeded);
}
