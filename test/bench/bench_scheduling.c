/*
 * How fast pods get their nodes: 5,000 pending pods, 1,000 nodes, the shipped policies, through the real API,
 * store (own writer thread) and stream, in one process without sockets. Arguments: pods, nodes, and plain,
 * anti-affinity (one pod of a kind per node, 50 kinds), spread (evenly over 50 zones), or shadow (binpack
 * decides beside the active score policies).
 */
#include "../unit/api/api_test.h"

#include "script/script.h"

static int64_t now_ms(void)
{
    return clock_monotonic_ms(&clock_system);
}

static void count_answer(void *arg, const struct http_response *response, struct err *err)
{
    if (err || response->status != 200)
        fail_msg("%s", err ? err_message(err) : response->body);
    ++*(int *)arg;
}

/* Batches of 250 steps, one after the other. format: a step with up to three numbers. */
static void send_all(struct world *w, const char *format, int count)
{
    for (int from = 0; from < count; from += 250) {
        auto_str body = {0};
        str_add(&body, "{\"steps\":[");
        for (int i = from; i < from + 250 && i < count; i++) {
            auto_free char *step = mem_printf(format, i, i % 50, i % 50);
            auto_free char *text = quoted(step);
            str_addf(&body, "%s%s", i > from ? "," : "", text);
        }
        str_add(&body, "]}");
        int answers = 0;
        const struct http_call call = {.method = "POST",
                                       .target = "/apis/minik8s.io/v1/batches",
                                       .body = str_c(&body),
                                       .body_len = body.len,
                                       .on_response = count_answer,
                                       .arg = &answers};
        w->client->ops->call(w->client, &call);
        while (!answers)
            turn(w);
    }
}

/* The part of a pod's spec that concerns its neighbours; %2$d: its kind, one of 50. */
static const char *terms_of(const char *kind)
{
    if (str_eq(kind, "anti-affinity"))
        return "'affinity':{'podAntiAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':[{'"
               "topologyKey':"
               "'host','labelSelector':{'matchLabels':{'app':'a%2$d'}}}]}},";
    if (str_eq(kind, "spread"))
        return "'topologySpreadConstraints':[{'maxSkew':1,'topologyKey':'zone','whenUnsatisfiable':'"
               "DoNotSchedule',"
               "'labelSelector':{'matchLabels':{'app':'a%2$d'}}}],";
    return "";
}

static void set_shadow(struct world *w)
{
    send_all(
        w,
        "{'verb':'create','resource':'policyprofiles.minik8s.io','object':{'apiVersion':'minik8s.io/"
        "v1','kind':"
        "'PolicyProfile','metadata':{'name':'cluster'},'spec':{'points':[{'point':'scheduler.score','shadow':"
        "'binpack'}]}}}",
        1);
}

int main(int argc, char **argv)
{
    const char *kind = argc > 3 ? argv[3] : "plain";
    int pods = argc > 1 ? atoi(argv[1]) : 5000, nodes = argc > 2 ? atoi(argv[2]) : 1000;
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    static const char *const policies[] = {MINIK8S_SOURCE_DIR "/policies", NULL};
    static const char *const controllers[] = {"scheduler", NULL};
    struct world *w = world_new(true, true);
    send_all(w,
             "{'verb':'create','resource':'nodes','object':{'apiVersion':'v1','kind':'Node','metadata':{'"
             "name':'node-%1$d',"
             "'labels':{'zone':'z%2$d','host':'node-%1$d'}}}}",
             nodes);
    send_all(w,
             "{'verb':'status','resource':'nodes','name':'node-%d','merge':true,'object':{'status':{'"
             "allocatable':{"
             "'cpu':'16','memory':'64Gi','pods':'110'},'conditions':[{'type':'Ready','status':'True'}]}}}",
             nodes);
    auto_str pod = {0};
    str_add(
        &pod,
        "{'verb':'create','resource':'pods','object':{'apiVersion':'v1','kind':'Pod','metadata':{'name':"
        "'pod-%1$d','namespace':'default','labels':{'app':'a%2$d'},'ownerReferences':[{'apiVersion':'apps/"
        "v1','kind':'ReplicaSet','name':'r','uid':'u%2$d','controller':true}]},'spec':{");
    str_add(&pod, terms_of(kind));
    str_add(
        &pod,
        "'containers':[{'name':'c','image':'i','resources':{'requests':{'cpu':'100m','memory':'64Mi'}}}]}}}");
    send_all(w, str_c(&pod), pods);
    if (str_eq(kind, "shadow"))
        set_shadow(w);
    const struct http_local_identity identity = {.user = "system:minik8s-manager", .groups = masters};
    struct http_client *http = http_local_client_new(w->loop, api_handle, w->api, &identity);
    struct script_manager_options options = {.loop = w->loop,
                                             .http = http,
                                             .random = &w->random,
                                             .lua_directories = lua,
                                             .shipped_policies = policies,
                                             .controllers = controllers,
                                             .host = "bench",
                                             .quiet = argc > 4};
    auto_err err = NULL;
    int64_t begin = now_ms(), first = 0;
    struct script_manager *manager = script_manager_new(&options, &err);
    if (!manager)
        fail_msg("%s", err_message(err));
    int64_t bound = 0;
    while (bound < pods) {
        turn(w);
        auto_json statistics = script_manager_statistics(manager);
        bound = json_int(statistics, "steps", 0);
        if (!first && json_bool(statistics, "ready", false))
            first = now_ms();
        if (now_ms() - begin > 60000)
            break;
    }
    int64_t end = now_ms();
    auto_json statistics = script_manager_statistics(manager);
    auto_free char *text = json_print(statistics);
    printf("%lld of %d pods bound on %d nodes: list read in %lld ms, bound in %lld ms: %.0f pods/s\n%s\n",
           (long long)bound, pods, nodes, (long long)(first - begin), (long long)(end - first),
           1000.0 * (double)bound / (double)(end - first), text);
    printf("sample decisions_%s_%d_per_s %.0f\n", kind, nodes,
           1000.0 * (double)bound / (double)(end - first));
    script_manager_free(manager);
    http->ops->free(http);
    world_free(w);
    return bound < pods;
}
