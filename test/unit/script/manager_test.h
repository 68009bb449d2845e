/* What the tests of the manager share: the manager with the real API server on a real store, in one process
 * under a virtual clock. */
#ifndef M8_TEST_UNIT_MANAGER_H
#define M8_TEST_UNIT_MANAGER_H

#include "../api/api_test.h"

#include "script/script.h"

struct cluster {
    struct world *api;
    struct http_client *http;
    struct script_manager *manager;
    const char *const *controllers;
    const char *record; /* folder, or NULL */
};

static const char *const only_scheduler[] = {"scheduler", NULL};

static inline void manager_start(struct cluster *cluster)
{
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    static const char *const policies[] = {MINIK8S_SOURCE_DIR "/policies", NULL};
    const struct http_local_identity identity = {.user = "system:minik8s-manager", .groups = masters};
    cluster->http = http_local_client_new(cluster->api->loop, api_handle, cluster->api->api, &identity);
    struct script_manager_options options = {.loop = cluster->api->loop,
                                             .http = cluster->http,
                                             .random = &cluster->api->random,
                                             .lua_directories = lua,
                                             .shipped_policies = policies,
                                             .controllers = cluster->controllers,
                                             .record_directory = cluster->record,
                                             .host = "test",
                                             .simulated = true};
    auto_err err = NULL;
    cluster->manager = script_manager_new(&options, &err);
    if (!cluster->manager)
        fail_msg("%s", err_message(err));
}

static inline void manager_stop(struct cluster *cluster)
{
    script_manager_free(cluster->manager);
    cluster->http->ops->free(cluster->http);
}

/* Virtual seconds pass. */
static inline void pass(struct cluster *cluster, double seconds)
{
    loop_run_until(cluster->api->loop, loop_now_ms(cluster->api->loop) + (int64_t)(seconds * 1000));
}

static inline struct cluster *cluster_new(const char *const *controllers)
{
    struct cluster *cluster = NEW(struct cluster);
    cluster->api = world_new(false, false);
    cluster->controllers = controllers;
    manager_start(cluster);
    pass(cluster, 1);
    return cluster;
}

static inline void cluster_free(struct cluster *cluster)
{
    manager_stop(cluster);
    world_free(cluster->api);
    free(cluster);
}

static inline void add_node(struct cluster *cluster, const char *name, const char *cpu)
{
    auto_free char *body = mem_printf("{'apiVersion':'v1','kind':'Node','metadata':{'name':'%s'}}", name);
    auto_free char *target = mem_printf("/api/v1/nodes/%s/status", name);
    auto_free char *status = mem_printf("{'status':{'allocatable':{'cpu':'%s','memory':'4Pi','pods':'110'},"
                                        "'conditions':[{'type':'Ready','status':'True'}]}}",
                                        cpu);
    expect(cluster->api, 201, "POST", "/api/v1/nodes", body);
    auto_reply reply = ask_type(cluster->api, "PATCH", target, "application/merge-patch+json", status);
    if (reply.status != 200)
        fail_msg("%d %s", reply.status, reply.text);
}

static inline void add_pod(struct cluster *cluster, const char *name, const char *cpu)
{
    auto_free char *body = mem_printf("{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s'},'spec':{'"
                                      "containers':[{'name':'c','image':'i',"
                                      "'resources':{'requests':{'cpu':'%s'}}}]}}",
                                      name, cpu);
    expect(cluster->api, 201, "POST", "/api/v1/namespaces/default/pods", body);
}

static inline char *policy_body(const char *name, const char *run)
{
    auto_json object = cJSON_CreateObject();
    json_set_string(object, "apiVersion", "minik8s.io/v1");
    json_set_string(object, "kind", "Policy");
    json_set_string(json_ensure_object(object, "metadata"), "name", name);
    auto_free char *source =
        mem_printf("return { api = 1, point = \"scheduler.score\", name = \"%s\",\n  run = function(ctx, "
                   "node)\n    %s\n  end,\n"
                   "  examples = { { ctx = { calm = true }, candidate = { name = \"n\" }, min = 0 } } }",
                   name, run);
    json_set_string(json_ensure_object(object, "spec"), "point", "scheduler.score");
    json_set_string(json_ensure_object(object, "spec"), "source", source);
    return json_print(object);
}

/* Sends JSON as it is: the texts of policies hold quotes of both kinds. */
static inline int post_raw(struct cluster *cluster, const char *target, const char *body)
{
    struct reply reply = {0};
    const struct http_call call = {.method = "POST",
                                   .target = target,
                                   .body = body,
                                   .body_len = strlen(body),
                                   .on_response = on_reply,
                                   .arg = &reply};
    cluster->api->client->ops->call(cluster->api->client, &call);
    while (!reply.done)
        assert_true(loop_step(cluster->api->loop));
    int status = reply.status;
    reply_fini(&reply);
    return status;
}

#define POLICIES "/apis/minik8s.io/v1/policies"
#define PROFILE "/apis/minik8s.io/v1/policyprofiles/cluster"

static inline void add_policy(struct cluster *cluster, const char *name, const char *run)
{
    auto_free char *body = policy_body(name, run);
    assert_int_equal(post_raw(cluster, POLICIES, body), 201);
    pass(cluster, 1);
}

static inline void use_policy(struct cluster *cluster, const char *name)
{
    auto_free char *patch =
        mem_printf("{'spec':{'points':[{'point':'scheduler.score','policies':[{'name':'%s'}]}]}}", name);
    auto_reply reply = ask_type(cluster->api, "PATCH", PROFILE, "application/merge-patch+json", patch);
    if (reply.status != 200)
        fail_msg("%d %s", reply.status, reply.text);
    pass(cluster, 1);
}

static inline void expect_policy(struct cluster *cluster, const char *name, const char *state,
                                 const char *message)
{
    auto_free char *target = mem_printf(POLICIES "/%s", name);
    auto_reply policy = ask(cluster->api, "GET", target, NULL);
    assert_at(policy, "status.state", state);
    if (!strstr(text_at(&policy, "status.message"), message))
        fail_msg("%s", policy.text);
    assert_int_equal(json_int(policy.json, "status.observedGeneration", -1),
                     json_int(policy.json, "metadata.generation", -2));
}

static inline void expect_node(struct cluster *cluster, const char *pod, const char *node, const char *by)
{
    auto_free char *target = mem_printf("/api/v1/namespaces/default/pods/%s", pod);
    auto_reply reply = ask(cluster->api, "GET", target, NULL);
    assert_at(reply, "spec.nodeName", node);
    if (!strstr(text_at(&reply, "metadata.annotations['minik8s.io/scheduled-by']"), by))
        fail_msg("%s", reply.text);
}

#endif
