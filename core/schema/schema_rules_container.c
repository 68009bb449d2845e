/*
 * schema_rules_container: checks on containers, their environment, probes, ports and mounts. Wording after
 * Kubernetes' core validation. What needs the whole pod (volumes, names across containers) is in
 * schema_rules_pod.c.
 */
#include <string.h>

#include "schema/schema_private.h"

static size_t count_present(const cJSON *object, const char *const *names, size_t n)
{
    size_t present = 0;
    for (size_t i = 0; i < n; i++)
        present += json_get(object, names[i]) != NULL;
    return present;
}

static void rule_env(struct validation *v, const cJSON *env, UNUSED const cJSON *old,
                     const struct schema_path *path)
{
    static const char *const sources[] = {"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"};
    const cJSON *from = json_get(env, "valueFrom");
    if (!from)
        return;
    const struct schema_path here = {.up = path, .key = "valueFrom"};
    size_t n = count_present(from, sources, COUNT_OF(sources));
    if (n == 0)
        invalid_value(
            v, &here, from,
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`");
    else if (n > 1)
        invalid_value(v, &here, from, "may not have more than one field specified at a time");
    if (!str_empty(json_string(env, "value")))
        invalid_value(v, &here, from, "may not be specified when `value` is not empty");
}

static void rule_env_from(struct validation *v, const cJSON *from, UNUSED const cJSON *old,
                          const struct schema_path *path)
{
    static const char *const sources[] = {"configMapRef", "secretRef"};
    size_t n = count_present(from, sources, COUNT_OF(sources));
    if (n == 0)
        invalid_value(v, path, from, "must specify one of: `configMapRef` or `secretRef`");
    else if (n > 1)
        invalid_value(v, path, from, "may not have more than one field specified at a time");
}

/* Probe or lifecycle handler: exactly one way. */
static void rule_handler(struct validation *v, const cJSON *handler, UNUSED const cJSON *old,
                         const struct schema_path *path)
{
    static const char *const ways[] = {"exec", "httpGet", "tcpSocket", "grpc", "sleep"};
    size_t n = count_present(handler, ways, COUNT_OF(ways));
    if (n == 0)
        invalid_required(v, path, "must specify a handler type");
    else if (n > 1)
        invalid_forbidden(v, path, "may not specify more than 1 handler type");
}

static void rule_ports(struct validation *v, const cJSON *ports, UNUSED const cJSON *old,
                       const struct schema_path *path)
{
    int i = 0;
    json_each (port, ports) {
        const struct schema_path here = {.up = path, .index = i++};
        const cJSON *name = json_get(port, "name");
        for (const cJSON *before = ports->child; name && before != port; before = before->next) {
            if (json_equal(json_get(before, "name"), name)) {
                invalid_duplicate(v, SCHEMA_FIELD(&here, "name"), name);
                break;
            }
        }
    }
}

static void rule_mount(struct validation *v, const cJSON *mount, UNUSED const cJSON *old,
                       const struct schema_path *path)
{
    const cJSON *sub = json_get(mount, "subPath");
    const char *text = cJSON_IsString(sub) ? sub->valuestring : "";
    if (*text == '/')
        invalid_value(v, SCHEMA_FIELD(path, "subPath"), sub, "must be a relative path");
    size_t n;
    auto_free char **parts = str_split(text, '/', &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(parts[i], "..") == 0) {
            invalid_value(v, SCHEMA_FIELD(path, "subPath"), sub, "must not contain '..'");
            break;
        }
    }
    if (sub && json_get(mount, "subPathExpr"))
        invalid_value(v, SCHEMA_FIELD(path, "subPathExpr"), json_get(mount, "subPathExpr"),
                      "subPathExpr and subPath are mutually exclusive");
}

/* Paths inside a volume: relative, staying inside. */
static void rule_volume_path(struct validation *v, const cJSON *target, UNUSED const cJSON *old,
                             const struct schema_path *path)
{
    if (!cJSON_IsString(target))
        return;
    const char *text = target->valuestring;
    if (*text == '/')
        invalid_value(v, path, target, "must be a relative path");
    else if (strcmp(text, "..") == 0 || str_starts(text, "../") || strstr(text, "/../") ||
             str_ends(text, "/.."))
        invalid_value(v, path, target, "must not contain '..'");
}

static void rule_key_to_path(struct validation *v, const cJSON *item, const cJSON *old,
                             const struct schema_path *path)
{
    rule_volume_path(v, json_get(item, "path"), old, SCHEMA_FIELD(path, "path"));
}

static void probe_success_once(struct validation *v, const cJSON *container, const char *probe,
                               const struct schema_path *path)
{
    const cJSON *threshold = json_get(json_get(container, probe), "successThreshold");
    const struct schema_path here = {.up = path, .key = probe};
    if (threshold && json_int(threshold, "", 1) != 1)
        invalid_value(v, SCHEMA_FIELD(&here, "successThreshold"), threshold, "must be 1");
}

static void rule_container(struct validation *v, const cJSON *container, UNUSED const cJSON *old,
                           const struct schema_path *path)
{
    probe_success_once(v, container, "livenessProbe", path);
    probe_success_once(v, container, "startupProbe", path);
    const cJSON *mounts = json_get(container, "volumeMounts");
    const struct schema_path at_mounts = {.up = path, .key = "volumeMounts"};
    int i = 0;
    json_each (mount, mounts) {
        const struct schema_path here = {.up = &at_mounts, .index = i++};
        const cJSON *target = json_get(mount, "mountPath");
        for (const cJSON *before = mounts->child; target && before != mount; before = before->next) {
            if (json_equal(json_get(before, "mountPath"), target)) {
                invalid_value(v, SCHEMA_FIELD(&here, "mountPath"), target, "must be unique");
                break;
            }
        }
    }
    i = 0;
    json_each (mount, mounts) {
        const struct schema_path here = {.up = &at_mounts, .index = i++};
        if (str_eq(json_string(mount, "mountPropagation"), "Bidirectional") &&
            !json_bool(json_get(container, "securityContext"), "privileged", false))
            invalid_forbidden(v, SCHEMA_FIELD(&here, "mountPropagation"),
                              "Bidirectional mount propagation is available only to privileged containers");
    }
    const cJSON *image = json_get(container, "image");
    if (cJSON_IsString(image) && image->valuestring[strcspn(image->valuestring, " \t\r\n")])
        invalid_value(v, SCHEMA_FIELD(path, "image"), image, "must not have leading or trailing whitespace");
    const cJSON *security = json_get(container, "securityContext");
    const struct schema_path at_security = {.up = path, .key = "securityContext"};
    if (json_bool(security, "privileged", false) &&
        cJSON_IsFalse(json_get(security, "allowPrivilegeEscalation")))
        invalid_value(v, &at_security, security,
                      "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
}

const struct schema_named_rule schema_rules_container[] = {
    {"container", rule_container},
    {"env", rule_env},
    {"envFrom", rule_env_from},
    {"handler", rule_handler},
    {"ports", rule_ports},
    {"volumeMount", rule_mount},
    {"keyToPath", rule_key_to_path},
    {"volumePath", rule_volume_path},
    {NULL, NULL},
};
