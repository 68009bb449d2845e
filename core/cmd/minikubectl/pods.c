/* Which pod and container logs and exec mean: "POD", "pod/POD", "deployment/web" (its first pod). */
#include <stdio.h>
#include <string.h>

#include "base/selector.h"
#include "kubectl.h"

static bool is_running(const cJSON *pod)
{
    return str_eq(json_string(pod, "status.phase"), "Running") && !json_at(pod, "metadata.deletionTimestamp");
}

/* The first running pod of what `object` selects, else the first. */
static cJSON *pod_of(struct kubectl *k, const cJSON *object, struct err **err)
{
    const cJSON *labels = json_at(object, "spec.selector");
    auto_selector selector = json_get(labels, "matchLabels") || json_get(labels, "matchExpressions")
                                 ? selector_from_json(labels, err)
                                 : selector_from_map(labels);
    if (!labels || !labels->child || !selector) {
        err_set(err, ERR_BAD_REQUEST, "%s \"%s\" selects no pods", json_string_or(object, "kind", "object"),
                json_string_or(object, "metadata.name", ""));
        return NULL;
    }
    auto_free char *text = selector_print(selector);
    auto_free char *path = client_path("pods", "v1", json_string(object, "metadata.namespace"), NULL, NULL);
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "labelSelector", text);
    auto_json list = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, err);
    cJSON *items = json_get(list, "items");
    int count = cJSON_GetArraySize(items), chosen = 0, at = 0;
    if (list && !count)
        err_set(err, ERR_NOT_FOUND, "%s \"%s\" has no pods", json_string_or(object, "kind", "object"),
                json_string_or(object, "metadata.name", ""));
    if (!count)
        return NULL;
    for (const cJSON *pod = items->child; pod; pod = pod->next, at++) {
        if (is_running(pod)) {
            chosen = at;
            break;
        }
    }
    cJSON *pod = cJSON_DetachItemFromArray(items, chosen);
    if (count > 1)
        fprintf(stderr, "Found %d pods, using pod/%s\n", count, json_string_or(pod, "metadata.name", ""));
    return pod;
}

int kubectl_find_pod(struct kubectl *k, const char *word, cJSON **pod)
{
    auto_err err = NULL;
    const char *slash = strchr(word, '/');
    auto_free char *kind = slash ? mem_strndup(word, (size_t)(slash - word)) : mem_strdup("pods");
    struct kubectl_reference ref = {kubectl_find_resource(k, kind, &err), slash ? slash + 1 : word, NULL};
    if (!ref.resource)
        return kubectl_refuse(err);
    if (!*ref.name)
        return kubectl_refuse_text("\"%s\": a name is wanted", word);
    auto_free char *target = kubectl_target(k, ref.resource, NULL, ref.name, NULL);
    auto_json object = kubectl_request(k, "GET", target, NULL, NULL, NULL, &err);
    if (!object)
        return kubectl_fail_named(k, err, NULL, &ref);
    if (str_eq(ref.resource->kind, "GPUJob")) /* the pod that follows it prints what it prints */
        json_set_at(object, "spec.selector['minik8s.io/gpujob']", cJSON_CreateString(ref.name));
    *pod = str_eq(ref.resource->name, "pods") ? steal(&object) : pod_of(k, object, &err);
    return *pod ? 0 : kubectl_refuse(err);
}

char *kubectl_choose_container(struct kubectl *k, const cJSON *pod)
{
    if (k->flags.container)
        return mem_strdup(k->flags.container);
    const cJSON *containers = json_at(pod, "spec.containers");
    const char *wanted = cJSON_GetStringValue(
        json_get(json_at(pod, "metadata.annotations"), "kubectl.kubernetes.io/default-container"));
    if (wanted)
        return mem_strdup(wanted);
    const char *first = json_string_or(containers, "[0].name", "");
    auto_str names = {0};
    json_each (container, containers)
        str_addf(&names, "%s%s", names.len ? ", " : "", json_string_or(container, "name", ""));
    if (containers && containers->child && containers->child->next)
        fprintf(stderr, "Defaulted container \"%s\" out of: %s\n", first, str_c(&names));
    return mem_strdup(first);
}
