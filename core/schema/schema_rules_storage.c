/*
 * schema_rules_storage: cross-field checks of PersistentVolumes, PersistentVolumeClaims and StorageClasses.
 * Wording after Kubernetes' core and storage validation. Which claim gets which volume is decided by
 * controllers, not here.
 */
#include <ctype.h>
#include <string.h>

#include "base/quantity.h"
#include "schema/schema_private.h"

#define SSHFS_PROVISIONER "minik8s.io/sshfs"
#define LOCAL_PROVISIONER "minik8s.io/local-path"
#define SECRET_NAME "csi.storage.k8s.io/node-stage-secret-name"
#define SECRET_NAMESPACE "csi.storage.k8s.io/node-stage-secret-namespace"

static int64_t amount_of(const cJSON *json)
{
    int64_t amount = 0;
    if (cJSON_IsString(json))
        quantity_value(json->valuestring, &amount, NULL); /* a malformed one has been told of already */
    return amount;
}

static void check_storage(struct validation *v, const cJSON *amounts, const struct schema_path *path)
{
    const cJSON *storage = json_get(amounts, "storage");
    const struct schema_path here = {.up = path, .key = "storage", .in_map = true};
    if (!storage)
        invalid_required(v, &here, NULL);
    else if (cJSON_IsString(storage) && quantity_value(storage->valuestring, &(int64_t){0}, NULL) == 0 &&
             amount_of(storage) <= 0)
        invalid_value(v, &here, storage, "must be greater than zero");
}

static void check_modes(struct validation *v, const cJSON *modes, const struct schema_path *path)
{
    bool pod = false;
    int64_t n = 0;
    json_each (mode, modes) {
        pod |= cJSON_IsString(mode) && strcmp(mode->valuestring, "ReadWriteOncePod") == 0;
        n++;
    }
    if (modes && n == 0)
        invalid_required(v, path, "at least 1 access mode is required");
    if (pod && n > 1)
        invalid_forbidden(v, path, "may not use ReadWriteOncePod with other access modes");
}

/* --- claims --- */

static void rule_claim_spec(struct validation *v, const cJSON *spec, UNUSED const cJSON *old,
                            const struct schema_path *path)
{
    const struct schema_path resources = {.up = path, .key = "resources"};
    check_modes(v, json_get(spec, "accessModes"), SCHEMA_FIELD(path, "accessModes"));
    if (json_at(spec, "resources.requests"))
        check_storage(v, json_at(spec, "resources.requests"), SCHEMA_FIELD(&resources, "requests"));
    const cJSON *class = json_get(spec, "storageClassName");
    if (cJSON_IsString(class) && *class->valuestring) {
        const char *fault = schema_format_check(FORMAT_DNS_SUBDOMAIN, class);
        if (fault)
            invalid_value(v, SCHEMA_FIELD(path, "storageClassName"), class, "%s", fault);
    }
}

/* What may change: the volume once, the class while there is none, the size of what is bound. */
static cJSON *claim_fixed(const cJSON *spec, const cJSON *old_spec)
{
    cJSON *copy = json_copy(spec);
    if (!json_get(old_spec, "volumeName"))
        json_remove(copy, "volumeName");
    if (!json_get(old_spec, "storageClassName"))
        json_remove(copy, "storageClassName");
    json_remove(json_at(copy, "resources.requests"), "storage");
    return copy;
}

static void rule_claim(struct validation *v, const cJSON *claim, const cJSON *old,
                       const struct schema_path *path)
{
    const cJSON *spec = json_get(claim, "spec"), *old_spec = json_get(old, "spec");
    const struct schema_path here = {.up = path, .key = "spec"};
    if (!old_spec || !spec)
        return;
    auto_json before = claim_fixed(old_spec, old_spec);
    auto_json after = claim_fixed(spec, old_spec);
    if (!json_equal(before, after))
        invalid_forbidden(v, &here,
                          "spec is immutable after creation except resources.requests of a bound claim");
    const cJSON *size = json_at(spec, "resources.requests.storage"),
                *old_size = json_at(old_spec, "resources.requests.storage");
    const struct schema_path resources = {.up = &here, .key = "resources"};
    const struct schema_path requests = {.up = &resources, .key = "requests"};
    const struct schema_path storage = {.up = &requests, .key = "storage", .in_map = true};
    if (amount_of(size) < amount_of(old_size))
        invalid_forbidden(v, &storage, "field can not be less than previous value");
    else if (amount_of(size) > amount_of(old_size) && !str_eq(json_string(old, "status.phase"), "Bound"))
        invalid_forbidden(v, &storage, "only bound claims can be expanded");
}

/* --- volumes --- */

static const char *const sources[] = {"hostPath", "local", "nfs", "csi"};

static void check_source(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    size_t found = 0;
    for (size_t i = 0; i < COUNT_OF(sources); i++) {
        const cJSON *source = json_get(spec, sources[i]), *folder = json_get(source, "path");
        const struct schema_path here = {.up = path, .key = sources[i]};
        if (source && ++found > 1)
            invalid_forbidden(v, &here, "may not specify more than 1 volume type");
        if (cJSON_IsString(folder) && strstr(folder->valuestring, ".."))
            invalid_value(v, SCHEMA_FIELD(&here, "path"), folder, "must not contain '..'");
        if (source && json_get(spec, "mountOptions") && strcmp(sources[i], "nfs") != 0)
            invalid_forbidden(v, SCHEMA_FIELD(path, "mountOptions"),
                              "may not specify mount options for this volume type");
    }
    if (!found)
        invalid_required(v, path, "must specify a volume type");
    const struct schema_path affinity = {.up = path, .key = "nodeAffinity"};
    if (json_get(spec, "local") && !json_get(spec, "nodeAffinity"))
        invalid_required(v, &affinity, "Local volume requires node affinity");
}

static void check_volume_change(struct validation *v, const cJSON *spec, const cJSON *old,
                                const struct schema_path *path)
{
    for (size_t i = 0; i < COUNT_OF(sources); i++) {
        if (json_equal(json_get(spec, sources[i]), json_get(old, sources[i])))
            continue;
        invalid_forbidden(v, path, "spec.persistentvolumesource is immutable after creation");
        break;
    }
    const cJSON *affinity = json_get(old, "nodeAffinity");
    if (affinity && !json_equal(affinity, json_get(spec, "nodeAffinity")))
        invalid_immutable(v, SCHEMA_FIELD(path, "nodeAffinity"), json_get(spec, "nodeAffinity"));
}

static void rule_volume_object(struct validation *v, const cJSON *volume, const cJSON *old,
                               const struct schema_path *path)
{
    const cJSON *spec = json_get(volume, "spec"), *claim = json_get(spec, "claimRef");
    const struct schema_path here = {.up = path, .key = "spec"};
    const struct schema_path reference = {.up = &here, .key = "claimRef"};
    if (!spec)
        return;
    if (json_get(spec, "capacity"))
        check_storage(v, json_get(spec, "capacity"), SCHEMA_FIELD(&here, "capacity"));
    check_modes(v, json_get(spec, "accessModes"), SCHEMA_FIELD(&here, "accessModes"));
    check_source(v, spec, &here);
    if (claim && str_empty(json_string(claim, "name")))
        invalid_required(v, SCHEMA_FIELD(&reference, "name"), NULL);
    if (claim && str_empty(json_string(claim, "namespace")))
        invalid_required(v, SCHEMA_FIELD(&reference, "namespace"), NULL);
    const cJSON *kind = json_get(claim, "kind");
    if (cJSON_IsString(kind) && strcmp(kind->valuestring, "PersistentVolumeClaim") != 0)
        invalid_value(v, SCHEMA_FIELD(&reference, "kind"), kind, "must be PersistentVolumeClaim");
    if (old)
        check_volume_change(v, spec, json_get(old, "spec"), &here);
}

/* --- sshfs --- */

/* Whatever of these reaches a command line or a known_hosts file is one plain word. */
static bool is_plain(const char *text, const char *also)
{
    if (!*text || *text == '-')
        return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(also, *text))
            return false;
    return true;
}

static const char *ssh_fault(const char *key, const char *value)
{
    if (strcmp(key, "host") == 0)
        return is_plain(value, ".-:") ? NULL : "must be a host name or an address";
    if (strcmp(key, "user") == 0)
        return is_plain(value, "._-") ? NULL : "must be a user name";
    if (strcmp(key, "port") == 0)
        return strspn(value, "0123456789") == strlen(value) && atoi(value) >= 1 && atoi(value) <= 65535 &&
                       strlen(value) <= 5
                   ? NULL
                   : "must be between 1 and 65535, inclusive";
    if (strcmp(key, "path") == 0)
        return *value == '/' && !strstr(value, "..") && is_plain(value, "/._- +@=")
                   ? NULL
                   : "must be an absolute path of plain characters, without '..'";
    if (strcmp(key, "folder") == 0)
        return is_plain(value, "._-") && *value != '.' ? NULL : "must be the name of one folder";
    size_t type = strcspn(value, " ");
    auto_free char *word = mem_strndup(value, type);
    bool good = value[type] == ' ' && is_plain(word, "-.@") && is_plain(value + type + 1, "+/=");
    return good ? NULL : "must be a type and a public key in base64, as in known_hosts";
}

/* `more`: what a class has besides; attributes of a volume have folder instead. */
static void check_ssh(struct validation *v, const cJSON *map, const char *const *more,
                      const struct schema_path *path)
{
    static const char *const needed[] = {"host", "path", "hostKey"}, *const optional[] = {"port", "user"};
    for (size_t i = 0; i < COUNT_OF(needed); i++) {
        const struct schema_path here = {.up = path, .key = needed[i], .in_map = true};
        if (!json_get(map, needed[i]))
            invalid_required(v, &here, NULL);
    }
    json_each (item, map) {
        const struct schema_path here = {.up = path, .key = item->string, .in_map = true};
        bool known = false, other = false;
        for (size_t i = 0; i < COUNT_OF(needed); i++)
            known |= strcmp(item->string, needed[i]) == 0;
        for (size_t i = 0; i < COUNT_OF(optional); i++)
            known |= strcmp(item->string, optional[i]) == 0;
        for (const char *const *word = more; *word && !other; word++)
            other = strcmp(item->string, *word) == 0;
        bool folder = other && strcmp(item->string, "folder") == 0;
        const char *fault =
            (known || folder) && cJSON_IsString(item) ? ssh_fault(item->string, item->valuestring) : NULL;
        if (!known && !other)
            invalid_forbidden(v, &here, "unknown to sshfs.minik8s.io");
        else if (fault)
            invalid_value(v, &here, item, "%s", fault);
    }
}

static void rule_csi(struct validation *v, const cJSON *csi, UNUSED const cJSON *old,
                     const struct schema_path *path)
{
    static const char *const more[] = {"folder", NULL};
    if (!str_eq(json_string(csi, "driver"), "sshfs.minik8s.io"))
        return; /* not among the supported ones */
    check_ssh(v, json_get(csi, "volumeAttributes"), more, SCHEMA_FIELD(path, "volumeAttributes"));
    if (!json_get(csi, "nodeStageSecretRef"))
        invalid_required(v, SCHEMA_FIELD(path, "nodeStageSecretRef"), "the Secret with ssh-privatekey");
}

/* --- classes --- */

static void rule_storage_class(struct validation *v, const cJSON *class, UNUSED const cJSON *old,
                               const struct schema_path *path)
{
    static const char *const more[] = {SECRET_NAME, SECRET_NAMESPACE, NULL};
    const char *provisioner = json_string_or(class, "provisioner", "");
    const cJSON *parameters = json_get(class, "parameters");
    const struct schema_path here = {.up = path, .key = "parameters"};
    if (strcmp(provisioner, LOCAL_PROVISIONER) == 0) {
        json_each (parameter, parameters) {
            const struct schema_path at = {.up = &here, .key = parameter->string, .in_map = true};
            invalid_forbidden(v, &at, "unknown to " LOCAL_PROVISIONER);
        }
    } else if (strcmp(provisioner, SSHFS_PROVISIONER) == 0) {
        check_ssh(v, parameters, more, &here);
        for (size_t i = 0; more[i]; i++) {
            const struct schema_path at = {.up = &here, .key = more[i], .in_map = true};
            if (!json_get(parameters, more[i]))
                invalid_required(v, &at, "the Secret with ssh-privatekey");
        }
    }
}

const struct schema_named_rule schema_rules_storage[] = {
    {"claimSpec", rule_claim_spec},       {"claim", rule_claim},
    {"volumeObject", rule_volume_object}, {"csiSource", rule_csi},
    {"storageClass", rule_storage_class}, {NULL, NULL},
};
