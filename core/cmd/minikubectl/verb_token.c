/* token: join tokens, which the server keeps as Secrets bootstrap-token-ID in kube-system, as Kubernetes
 * does. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

#define TARGET "/apis/minik8s.io/v1/jointokens"
#define NAMESPACE "kube-system"
#define TYPE "bootstrap.kubernetes.io/token"
#define DAY_SECONDS 86400

/* The token as it is to be typed, once; caller frees. */
static char *make(struct kubectl *k, const char *node, struct err **err)
{
    auto_json request = cJSON_CreateObject();
    json_set_int(request, "ttlSeconds", k->flags.timeout_s > 0 ? k->flags.timeout_s : DAY_SECONDS);
    json_set_string(request, "node", node);
    if (k->flags.reusable)
        json_set_bool(request, "reusable", true);
    auto_json answer = kubectl_request(k, "POST", TARGET, NULL, NULL, request, err);
    return answer ? mem_strdup(json_string_or(answer, "token", "")) : NULL;
}

int kubectl_token_create(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free char *token = make(k, k->flags.name, &err);
    if (!token)
        return kubectl_fail(err, NULL);
    printf("%s\n", token);
    return 0;
}

int kubectl_tell_join(struct kubectl *k, const cJSON *object, const char *source)
{
    auto_err err = NULL;
    if (k->flags.dry_run || !str_eq(json_string(object, "kind"), "Node") ||
        json_at(object, "status.nodeInfo"))
        return 0;
    const char *name = json_string_or(object, "metadata.name", "");
    auto_free char *token = make(k, name, &err);
    if (!token)
        return kubectl_fail(err, "join token");
    FILE *out = k->flags.output ? stderr : stdout;
    auto_free char *how = str_empty(source) || str_eq(source, "STDIN")
                              ? mem_printf("--name %s --server URL", name)
                              : mem_printf("--config %s", source);
    fprintf(out, "To join the machine, type there (the token serves once, within a day):\n");
    fprintf(out, "  minik8s node %s --token %s\n", how, token);
    return 0;
}

static char *value_of(const cJSON *secret, const char *key)
{
    const char *text = cJSON_GetStringValue(json_get(json_get(secret, "data"), key));
    unsigned char *data = NULL;
    size_t len = 0;
    if (!text || str_unbase64(text, strlen(text), &data, &len) < 0)
        return mem_strdup("");
    char *value = mem_strndup((const char *)data, len);
    free(data);
    return value;
}

static const char *state_of(const cJSON *secret, int64_t expires)
{
    auto_free char *used = value_of(secret, "used");
    if (str_eq(used, "true"))
        return "used";
    return expires && expires <= clock_wall_ns(&clock_system) ? "expired" : "good";
}

static int list(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json secrets =
        kubectl_request(k, "GET", "/api/v1/namespaces/" NAMESPACE "/secrets", NULL, NULL, NULL, &err);
    if (!secrets)
        return kubectl_fail(err, NULL);
    static const char *const header[] = {"ID", "NODE", "STATE", "EXPIRES"};
    struct kubectl_grid grid = {.columns = COUNT_OF(header)};
    kubectl_grid_row(&grid, header);
    json_each (secret, json_get(secrets, "items")) {
        int64_t expires = 0;
        if (!str_eq(json_string(secret, "type"), TYPE))
            continue;
        auto_free char *id = value_of(secret, "token-id"), *node = value_of(secret, "node"),
                       *until = value_of(secret, "expiration");
        time_parse(until, &expires, NULL);
        const char *const row[] = {id, *node ? node : "<any>", state_of(secret, expires), until};
        kubectl_grid_row(&grid, row);
    }
    kubectl_grid_print(&grid, NULL, NULL);
    return 0;
}

static int delete_one(struct kubectl *k, const char *word)
{
    auto_err err = NULL;
    auto_free char *id = mem_strndup(word, strcspn(word, ".")); /* the whole token will do */
    auto_free char *target = mem_printf("/api/v1/namespaces/" NAMESPACE "/secrets/bootstrap-token-%s", id);
    auto_json gone = kubectl_request(k, "DELETE", target, NULL, NULL, NULL, &err);
    if (!gone)
        return err_code(err) == ERR_NOT_FOUND ? kubectl_refuse_text("there is no join token \"%s\"", id)
                                              : kubectl_fail(err, NULL);
    printf("token \"%s\" deleted\n", id);
    return 0;
}

int verb_token(struct kubectl *k)
{
    static const char *const words[] = {"create", "list", "delete"};
    const char *what = k->n_args ? k->args[0] : "";
    if (str_eq(what, "create") && k->n_args == 1)
        return kubectl_token_create(k);
    if (str_eq(what, "list") && k->n_args == 1)
        return list(k);
    int code = 0;
    if (str_eq(what, "delete") && k->n_args > 1) {
        for (int i = 1; i < k->n_args; i++)
            code |= delete_one(k, k->args[i]);
        return code;
    }
    const char *nearest = str_nearest(what, words, COUNT_OF(words));
    return kubectl_refuse_text("usage: token (create | list | delete ID…)%s%s",
                               nearest ? "; did you mean " : "", nearest ? nearest : "");
}
