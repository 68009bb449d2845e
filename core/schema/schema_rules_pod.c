/*
 * schema_rules_pod: checks that need the whole pod: names across containers, mounts against volumes, host
 * ports, DNS, and what an update may change. Wording after Kubernetes' core validation.
 */
#include <string.h>

#include "schema/schema_private.h"

static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};

static void check_mounts(struct validation *v, const cJSON *spec, const cJSON *container,
                         const struct schema_path *path)
{
    const struct schema_path mounts = {.up = path, .key = "volumeMounts"};
    int i = 0;
    json_each (mount, json_get(container, "volumeMounts")) {
        const struct schema_path here = {.up = &mounts, .index = i++};
        const cJSON *name = json_get(mount, "name");
        bool found = false;
        json_each (volume, json_get(spec, "volumes"))
            found |= json_equal(json_get(volume, "name"), name);
        json_each (claim, json_at(v->root, "spec.volumeClaimTemplates")) /* a StatefulSet's */
            found |= json_equal(json_at(claim, "metadata.name"), name);
        if (name && !found)
            invalid_not_found(v, SCHEMA_FIELD(&here, "name"), name);
    }
}

static void check_init(struct validation *v, const cJSON *container, const struct schema_path *path)
{
    static const char *const fields[] = {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"};
    if (str_eq(json_string(container, "restartPolicy"), "Always"))
        return;
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        if (json_get(container, fields[i]))
            invalid_forbidden(v, SCHEMA_FIELD(path, fields[i]),
                              "may not be set for init containers without restartPolicy=Always");
    }
}

static bool name_used_before(const cJSON *spec, size_t list, const cJSON *name)
{
    for (size_t l = 0; l < list; l++) {
        json_each (container, json_get(spec, lists[l])) {
            if (json_equal(json_get(container, "name"), name))
                return true;
        }
    }
    return false;
}

static void check_containers(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    for (size_t l = 0; l < COUNT_OF(lists); l++) {
        const struct schema_path list = {.up = path, .key = lists[l]};
        int i = 0;
        json_each (container, json_get(spec, lists[l])) {
            const struct schema_path here = {.up = &list, .index = i++};
            const cJSON *name = json_get(container, "name");
            if (name && name_used_before(spec, l, name))
                invalid_duplicate(v, SCHEMA_FIELD(&here, "name"), name);
            check_mounts(v, spec, container, &here);
            if (l == 0)
                check_init(v, container, &here);
            else if (json_get(container, "restartPolicy"))
                invalid_forbidden(v, SCHEMA_FIELD(&here, "restartPolicy"),
                                  "may not be set for non-init containers");
        }
    }
}

/* One host port can be taken once per protocol and host address. */
static bool host_port_taken(struct map *taken, const cJSON *port)
{
    auto_free char *key =
        mem_printf("%lld/%s/%s", (long long)json_int(port, "hostPort", 0),
                   json_string_or(port, "protocol", "TCP"), json_string_or(port, "hostIP", ""));
    bool is_taken = map_has(taken, key);
    map_set(taken, key, (void *)port);
    return is_taken;
}

static void check_host_port(struct validation *v, const cJSON *port, bool host_network, struct map *taken,
                            const struct schema_path *here)
{
    int64_t number = json_int(port, "hostPort", 0);
    if (number && host_port_taken(taken, port))
        invalid_duplicate(v, SCHEMA_FIELD(here, "hostPort"), json_get(port, "hostPort"));
    if (host_network && number && number != json_int(port, "containerPort", 0))
        invalid_value(v, SCHEMA_FIELD(here, "containerPort"), json_get(port, "containerPort"),
                      "must match `hostPort` when `hostNetwork` is true");
    if (number && !host_network && str_eq(json_string(port, "protocol"), "SCTP"))
        invalid_forbidden(v, SCHEMA_FIELD(here, "hostPort"), "may not be used with the protocol SCTP");
}

static void check_host_ports(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    bool host_network = json_bool(spec, "hostNetwork", false);
    const struct schema_path list = {.up = path, .key = "containers"};
    auto_map taken = {0};
    int i = 0;
    json_each (container, json_get(spec, "containers")) {
        const struct schema_path at_container = {.up = &list, .index = i++};
        const struct schema_path ports = {.up = &at_container, .key = "ports"};
        int p = 0;
        json_each (port, json_get(container, "ports")) {
            const struct schema_path here = {.up = &ports, .index = p++};
            check_host_port(v, port, host_network, &taken, &here);
        }
    }
}

static void check_namespaces(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    if (json_bool(spec, "hostPID", false) && json_bool(spec, "shareProcessNamespace", false))
        invalid_value(v, SCHEMA_FIELD(path, "shareProcessNamespace"), json_get(spec, "shareProcessNamespace"),
                      "ShareProcessNamespace and HostPID cannot both be enabled");
    const struct schema_path security = {.up = path, .key = "securityContext"},
                             sysctls = {.up = &security, .key = "sysctls"};
    int i = 0;
    json_each (sysctl, json_at(spec, "securityContext.sysctls")) {
        const struct schema_path here = {.up = &sysctls, .index = i++};
        const char *name = json_string_or(sysctl, "name", "");
        if (json_bool(spec, "hostNetwork", false) && str_starts(name, "net."))
            invalid_value(v, SCHEMA_FIELD(&here, "name"), json_get(sysctl, "name"),
                          "may not be specified when 'hostNetwork' is true");
        if (json_bool(spec, "hostIPC", false) && str_starts(name, "kernel."))
            invalid_value(v, SCHEMA_FIELD(&here, "name"), json_get(sysctl, "name"),
                          "may not be specified when 'hostIPC' is true");
    }
}

/* Parameters of a namespace that bind nobody outside it. Source: Kubernetes' list of safe sysctls. */
static void rule_sysctls(struct validation *v, const cJSON *sysctls, UNUSED const cJSON *old,
                         const struct schema_path *path)
{
    static const char *const safe[] = {
        "kernel.shm_rmid_forced",           "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",     "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",      "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",          "net.ipv4.tcp_wmem"};
    int i = 0;
    json_each (sysctl, sysctls) {
        const struct schema_path here = {.up = path, .index = i++};
        const cJSON *name = json_get(sysctl, "name");
        bool known = false;
        for (size_t k = 0; k < COUNT_OF(safe); k++)
            known |= cJSON_IsString(name) && str_eq(name->valuestring, safe[k]);
        if (name && !known)
            invalid_value(v, SCHEMA_FIELD(&here, "name"), name,
                          "is not a sysctl that a pod may set; allowed are kernel.shm_rmid_forced and, in "
                          "net.ipv4: ip_local_port_range, ip_local_reserved_ports, "
                          "ip_unprivileged_port_start, ping_group_range, tcp_fin_timeout, "
                          "tcp_keepalive_{intvl,probes,time}, tcp_rmem, tcp_wmem, tcp_syncookies");
    }
}

static void rule_pod_spec(struct validation *v, const cJSON *spec, UNUSED const cJSON *old,
                          const struct schema_path *path)
{
    check_containers(v, spec, path);
    check_host_ports(v, spec, path);
    check_namespaces(v, spec, path);
    if (str_eq(json_string(spec, "dnsPolicy"), "None") && !json_at(spec, "dnsConfig.nameservers[0]")) {
        const struct schema_path config = {.up = path, .key = "dnsConfig"};
        invalid_required(v, SCHEMA_FIELD(&config, "nameservers"),
                         "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
}

static void rule_volume(struct validation *v, const cJSON *volume, UNUSED const cJSON *old,
                        const struct schema_path *path)
{
    size_t sources = 0;
    json_each (child, volume) {
        if (strcmp(child->string, "name") == 0)
            continue;
        if (++sources > 1)
            invalid_forbidden(v, SCHEMA_FIELD(path, child->string),
                              "may not specify more than 1 volume type");
    }
    if (!sources)
        invalid_required(v, path, "must specify a volume type");
}

/* --- updates --- */

static void drop_images(cJSON *spec, const char *list)
{
    json_each (container, json_get(spec, list))
        json_remove(container, "image");
}

/* What an update of a pod may change is taken out on both sides; the rest must be equal. */
static cJSON *fixed_part(const cJSON *spec, bool bound_now)
{
    cJSON *copy = json_copy(spec);
    drop_images(copy, "containers");
    drop_images(copy, "initContainers");
    json_remove(copy, "activeDeadlineSeconds");
    json_remove(copy, "tolerations");
    json_remove(copy, "terminationGracePeriodSeconds");
    json_remove(copy, "ephemeralContainers");
    json_remove(copy, "schedulingGates");
    if (bound_now)
        json_remove(copy, "nodeName");
    return copy;
}

static bool tolerations_only_grow(const cJSON *old_spec, const cJSON *spec)
{
    json_each (old, json_get(old_spec, "tolerations")) {
        bool found = false;
        json_each (toleration, json_get(spec, "tolerations"))
            found |= json_equal(old, toleration);
        if (!found)
            return false;
    }
    return true;
}

static const cJSON *by_name(const cJSON *list, const cJSON *name)
{
    json_each (item, list)
        if (json_equal(json_get(item, "name"), name))
            return item;
    return NULL;
}

/* Ephemeral containers come to a pod that exists, and then stay as they are. */
static void check_ephemeral(struct validation *v, const cJSON *spec, const cJSON *old_spec,
                            const struct schema_path *path)
{
    const struct schema_path list = {.up = path, .key = "ephemeralContainers"};
    const cJSON *now = json_get(spec, "ephemeralContainers"),
                *then = json_get(old_spec, "ephemeralContainers");
    if (!old_spec && now && now->child)
        invalid_forbidden(v, &list, "cannot be set on create");
    json_each (old, then) {
        const cJSON *kept = by_name(now, json_get(old, "name"));
        if (!kept || !json_equal(kept, old))
            invalid_forbidden(v, &list, "existing ephemeral containers \"%s\" may not be %s",
                              json_string_or(old, "name", ""), kept ? "changed" : "removed");
    }
    int i = 0;
    json_each (container, now) {
        const struct schema_path here = {.up = &list, .index = i++};
        const cJSON *target = json_get(container, "targetContainerName");
        if (!str_empty(json_string(container, "targetContainerName")) &&
            !by_name(json_get(spec, "containers"), target) &&
            !by_name(json_get(spec, "initContainers"), target))
            invalid_not_found(v, SCHEMA_FIELD(&here, "targetContainerName"), target);
    }
}

static bool has_gate(const cJSON *spec, const cJSON *gate)
{
    json_each (each, json_get(spec, "schedulingGates"))
        if (str_eq(json_string(each, "name"), json_string(gate, "name")))
            return true;
    return false;
}

static void check_gates(struct validation *v, const cJSON *spec, const cJSON *old_spec,
                        const struct schema_path *path)
{
    json_each (gate, json_get(spec, "schedulingGates")) {
        if (old_spec && !has_gate(old_spec, gate)) {
            invalid_forbidden(v, SCHEMA_FIELD(path, "schedulingGates"), "only deletion is allowed");
            return;
        }
    }
    if (json_at(spec, "schedulingGates[0]") && !str_empty(json_string(spec, "nodeName")))
        invalid_forbidden(v, SCHEMA_FIELD(path, "nodeName"),
                          "cannot be set until all schedulingGates have been cleared");
}

static void rule_pod(struct validation *v, const cJSON *pod, const cJSON *old, const struct schema_path *path)
{
    const cJSON *spec = json_get(pod, "spec"), *old_spec = json_get(old, "spec");
    const struct schema_path here = {.up = path, .key = "spec"};
    if (spec)
        check_ephemeral(v, spec, old_spec, &here);
    check_gates(v, spec, old_spec, &here);
    if (!old_spec || !spec)
        return;
    bool bound_now = str_empty(json_string(old_spec, "nodeName")); /* binding: from nothing to a node, once */
    auto_json before = fixed_part(old_spec, bound_now);
    auto_json after = fixed_part(spec, bound_now);
    if (!json_equal(before, after))
        invalid_forbidden(
            v, &here,
            "pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
            "to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
            "was previously negative)");
    if (!tolerations_only_grow(old_spec, spec))
        invalid_forbidden(v, SCHEMA_FIELD(&here, "tolerations"),
                          "existing toleration can not be modified except its tolerationSeconds");
    if (!json_equal(json_get(old_spec, "terminationGracePeriodSeconds"),
                    json_get(spec, "terminationGracePeriodSeconds")))
        invalid_immutable(v, SCHEMA_FIELD(&here, "terminationGracePeriodSeconds"),
                          json_get(spec, "terminationGracePeriodSeconds"));
    const cJSON *old_deadline = json_get(old_spec, "activeDeadlineSeconds");
    const cJSON *deadline = json_get(spec, "activeDeadlineSeconds");
    if (old_deadline && (!deadline || json_int(deadline, "", 0) > json_int(old_deadline, "", 0)))
        invalid_value(v, SCHEMA_FIELD(&here, "activeDeadlineSeconds"), deadline,
                      "must be less than or equal to previous value");
}

const struct schema_named_rule schema_rules_pod[] = {
    {"podSpec", rule_pod_spec},
    {"sysctls", rule_sysctls},
    {"volume", rule_volume},
    {"pod", rule_pod},
    {NULL, NULL},
};
