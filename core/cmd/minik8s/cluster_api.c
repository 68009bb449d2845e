/* What the cluster commands ask the server, with the admin's kubeconfig. */
#include <string.h>
#include <time.h>

#include "cluster.h"

cJSON *cluster_request(const struct cluster *cluster, const char *method, const char *target,
                       const cJSON *body, struct err **err)
{
    auto_free char *path = cluster_path(cluster, "kubeconfig");
    struct kubeconfig config;
    if (kubeconfig_load(path, &config, err) < 0)
        return NULL;
    const struct http_client_options options = {
        .base_url = config.server, .ca_pem = config.ca_pem, .bearer_token = config.token};
    auto_free char *text = body ? json_print(body) : NULL;
    const struct http_call call = {.method = method,
                                   .target = target,
                                   .content_type = body ? "application/json" : NULL,
                                   .body = text,
                                   .body_len = text ? strlen(text) : 0,
                                   .timeout_ms = 10000};
    struct http_response *response = http_client_call_blocking(&options, &call, err);
    kubeconfig_fini(&config);
    if (!response)
        return NULL;
    cJSON *answer = json_parse_trusted(response->body, response->len);
    if (response->status >= 400 || (!answer && response->len && strncmp(response->body, "ok", 2) != 0)) {
        err_set(err, err_code_from_status(response->status, json_string(answer, "reason")), "%s",
                json_string_or(answer, "message", "the server's answer is no JSON"));
        cJSON_Delete(answer);
        answer = NULL;
    } else if (!answer) {
        answer = cJSON_CreateObject();
    }
    http_response_free(response);
    return answer;
}

char *cluster_join_token(const struct cluster *cluster, struct err **err)
{
    auto_json request = cJSON_CreateObject();
    json_set_int(request, "ttlSeconds", 600);
    auto_json answer = cluster_request(cluster, "POST", "/apis/minik8s.io/v1/jointokens", request, err);
    const char *token = json_string(answer, "token");
    if (answer && !token)
        err_set(err, ERR_INTERNAL, "the server gave no join token");
    return mem_strdup(token);
}

static bool node_is_ready(const cJSON *node)
{
    json_each (condition, json_at(node, "status.conditions")) {
        if (str_eq(json_string(condition, "type"), "Ready"))
            return str_eq(json_string(condition, "status"), "True");
    }
    return false;
}

static bool is_ready(const struct cluster *cluster, const char *node, struct err **err)
{
    auto_free char *path = node ? client_path("nodes", "v1", NULL, node, NULL) : mem_strdup("/readyz");
    auto_json answer = cluster_request(cluster, "GET", path, NULL, err);
    if (!answer)
        return false;
    if (!node || node_is_ready(answer))
        return true;
    err_set(err, ERR_UNAVAILABLE, "it is registered, but not Ready");
    return false;
}

/* Another process's start has no event that a command could wait for: ask again every 20 ms. */
int cluster_wait_ready(const struct cluster *cluster, const char *node, int64_t timeout_ms, struct err **err)
{
    int64_t until = clock_monotonic_ms(&clock_system) + timeout_ms;
    for (;;) {
        auto_err why = NULL;
        if (is_ready(cluster, node, &why))
            return 0;
        if (clock_monotonic_ms(&clock_system) > until)
            return err_set(err, ERR_TIMEOUT, "%s did not become ready within %lld s: %s",
                           node ? node : "the server", (long long)(timeout_ms / 1000), err_message(why));
        const struct timespec pause = {.tv_nsec = 20000000};
        nanosleep(&pause, NULL);
    }
}
