/*
 * pod_token: the tokens of a pod's service account that its projected volumes hold. Asked of the API server
 * (TokenRequest, bound to the pod: they end with it) before the volumes are made, kept in memory only, and
 * asked for anew when four fifths of their life are over; a file follows like any other change of a volume.
 * While the server is away the old token stays; an agent that begins meanwhile leaves what an earlier one has
 * written, or makes the volume without the token, which comes as soon as the server can be asked.
 */
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

#define DEFAULT_SECONDS 3600
#define RETRY_MS 5000
#define AWAY_MS 5000 /* a server that begins with its nodes is waited for */

static int64_t seconds_of(const cJSON *source)
{
    return json_int(source, "serviceAccountToken.expirationSeconds", DEFAULT_SECONDS);
}

static char *key_of(const cJSON *source) /* caller frees */
{
    return mem_printf("%lld %s", (long long)seconds_of(source),
                      json_string_or(source, "serviceAccountToken.audience", ""));
}

/* Calls visit for each projected token until it says false; that is returned. */
static bool all_sources(const struct pod *pod, bool (*visit)(const struct pod *pod, const cJSON *source))
{
    json_each (volume, json_at(pod->object, "spec.volumes"))
        json_each (source, json_at(volume, "projected.sources"))
            if (json_get(source, "serviceAccountToken") && !visit(pod, source))
                return false;
    return true;
}

const char *pod_token(const struct pod *pod, const cJSON *source)
{
    auto_free char *key = key_of(source);
    return json_string(json_get(pod->tokens, key), "token");
}

static bool is_there(const struct pod *pod, const cJSON *source)
{
    return pod_token(pod, source) != NULL;
}

static int64_t due_of(const struct pod *pod, const cJSON *source)
{
    auto_free char *key = key_of(source);
    return json_int(json_get(pod->tokens, key), "renew", 0);
}

static bool is_fresh(const struct pod *pod, const cJSON *source)
{
    return is_there(pod, source) && due_of(pod, source) > node_now(pod->node);
}

/* The timer of the token that has to be renewed first. */
static void arm(struct pod *pod)
{
    int64_t first = INT64_MAX;
    json_each (token, pod->tokens) {
        int64_t due = json_int(token, "renew", 0);
        first = due < first ? due : first;
    }
    if (first != INT64_MAX)
        loop_timer_start_at(pod->renewal, first);
}

struct token_call {
    struct pod_call *call;
    char *key;
    int64_t seconds;
};

static void keep(struct pod *pod, const char *key, int64_t seconds, const char *token)
{
    cJSON *kept = json_set(pod->tokens, key, cJSON_CreateObject());
    json_set_string(kept, "token", token);
    json_set_int(kept, "renew", node_now(pod->node) + seconds * 1000 * 4 / 5);
    pod->volumes_stale = true;
    pod->volumes_retry_at = 0;
}

static void on_token(void *arg, cJSON *answer, struct err *err)
{
    struct token_call *call = arg;
    int64_t seconds = call->seconds;
    auto_free char *key = call->key;
    auto_json json = answer;
    struct pod *pod = pod_call_end(call->call);
    free(call);
    if (!pod)
        return;
    const char *token = json_string(json, "status.token");
    pod->token_busy = false;
    bool away = err_code(err) == ERR_UNAVAILABLE || err_code(err) == ERR_TIMEOUT;
    pod->token_missed_at = !away ? 0 : pod->token_missed_at ? pod->token_missed_at : node_now(pod->node);
    if (!err && token) {
        keep(pod, key, seconds, token);
        free(steal(&pod->token_problem));
    } else if (err_code(err) != ERR_CANCELLED) {
        free(pod->token_problem);
        pod->token_problem = mem_printf("the token of service account \"%s\": %s",
                                        json_string_or(pod->object, "spec.serviceAccountName", "default"),
                                        err ? err_message(err) : "the server's answer has none");
        log_warn("node", "pod %s/%s: %s", pod->namespace, pod->name, pod->token_problem);
        loop_timer_start(pod->renewal, RETRY_MS);
        pod_look(pod);
        return;
    }
    if (pod_tokens_ready(pod))
        arm(pod);
    pod_look(pod);
}

/* Asks for the first one that is missing or due; its answer asks for the next. */
static bool ask(const struct pod *constant, const cJSON *source)
{
    struct pod *pod = constant->node ? map_get(&constant->node->pods, constant->uid) : NULL;
    if (!pod || is_fresh(pod, source))
        return true;
    struct token_call *call = NEW(struct token_call);
    *call = (struct token_call){pod_call_new(pod, PLAN_VOLUMES_MAKE, 0), key_of(source), seconds_of(source)};
    auto_free char *target =
        client_path("serviceaccounts", "v1", pod->namespace,
                    json_string_or(pod->object, "spec.serviceAccountName", "default"), "token");
    auto_json request = cJSON_CreateObject();
    json_set_string(request, "apiVersion", "authentication.k8s.io/v1");
    json_set_string(request, "kind", "TokenRequest");
    json_set_int(json_ensure_object(request, "spec"), "expirationSeconds", call->seconds);
    const char *audience = json_string(source, "serviceAccountToken.audience");
    if (!str_empty(audience))
        json_push_string(json_ensure_array(json_get(request, "spec"), "audiences"), audience);
    cJSON *bound = json_ensure_object(json_get(request, "spec"), "boundObjectRef");
    json_set_string(bound, "apiVersion", "v1");
    json_set_string(bound, "kind", "Pod");
    json_set_string(bound, "name", pod->name);
    json_set_string(bound, "uid", pod->uid);
    pod->token_busy = true;
    client_request(pod->node->client, "POST", target, NULL, request, on_token, call);
    return false;
}

bool pod_tokens_ready(struct pod *pod)
{
    if (!pod->token_busy)
        all_sources(pod, ask);
    return all_sources(pod, is_there);
}

bool pod_tokens_out_of_reach(const struct pod *pod)
{
    return pod->token_missed_at && !pod->node->connected &&
           node_now(pod->node) >= pod->token_missed_at + AWAY_MS;
}
