/*
 * What a pod gets from its service account when it is created, as Kubernetes' admission does it: the
 * account's imagePullSecrets, if the pod names none, and a volume with a token, the API server's certificate
 * and the namespace in every container that has nothing at that path. A pod whose account does not exist is
 * refused: whoever makes pods for others tells so and tries again when the account appears.
 */
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"

#define TOKEN_FOLDER "/var/run/secrets/kubernetes.io/serviceaccount"

static const char volume_text[] =
    "{\"projected\":{\"defaultMode\":420,\"sources\":["
    "{\"serviceAccountToken\":{\"expirationSeconds\":3607,\"path\":\"token\"}},"
    "{\"clusterTrustBundle\":{\"signerName\":\"kubernetes.io/kube-apiserver-serving\",\"path\":\"ca.crt\"}},"
    "{\"downwardAPI\":{\"items\":[{\"path\":\"namespace\",\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":"
    "\"metadata.namespace\"}}]}}]}}";

static cJSON *read_account(const struct op *op, const cJSON *pod, struct err **err)
{
    struct store *store = op->api->store;
    const char *name = json_string_or(pod, "spec.serviceAccountName", "default");
    auto_free char *key = store_key("serviceaccounts", op->namespace, name);
    struct store_object object = {0};
    if (store->ops->get(store, key, &object, NULL) < 0) {
        err_set(err, ERR_FORBIDDEN,
                "pods \"%s\" is forbidden: error looking up service account %s/%.253s: serviceaccount "
                "\"%.253s\" not found",
                op->name, op->namespace, name, name);
        return NULL;
    }
    cJSON *account = json_parse_trusted(object.bytes->data, object.bytes->len);
    store_object_fini(&object);
    return account;
}

static bool mounts_at(const cJSON *container, const char *path)
{
    json_each (mount, json_get(container, "volumeMounts"))
        if (str_eq(json_string(mount, "mountPath"), path))
            return true;
    return false;
}

static bool mount_in(cJSON *spec, const char *list, const char *volume)
{
    bool any = false;
    json_each (container, json_get(spec, list)) {
        if (mounts_at(container, TOKEN_FOLDER))
            continue;
        cJSON *mount = json_push(json_ensure_array(container, "volumeMounts"), cJSON_CreateObject());
        json_set_string(mount, "name", volume);
        json_set_bool(mount, "readOnly", true);
        json_set_string(mount, "mountPath", TOKEN_FOLDER);
        any = true;
    }
    return any;
}

static void add_token(cJSON *pod)
{
    cJSON *spec = json_get(pod, "spec");
    auto_free char *name = mem_printf("kube-api-access-%.5s", json_string_or(pod, "metadata.uid", "00000"));
    bool any = mount_in(spec, "initContainers", name);
    any |= mount_in(spec, "containers", name);
    if (!any)
        return;
    cJSON *volume = json_parse_trusted(volume_text, sizeof(volume_text) - 1);
    json_set_string(volume, "name", name);
    json_push(json_ensure_array(spec, "volumes"), volume);
}

int account_admit(const struct op *op, cJSON *pod, struct err **err)
{
    cJSON *spec = json_get(pod, "spec");
    if (!spec || !schema_find_resource(op->api->schema, "serviceaccounts")) /* a small registry (tests) */
        return 0;
    auto_json account = read_account(op, pod, err);
    if (!account)
        return -1;
    const cJSON *secrets = json_get(account, "imagePullSecrets");
    if (secrets && !json_at(spec, "imagePullSecrets[0]"))
        json_set(spec, "imagePullSecrets", json_copy(secrets));
    bool wanted = json_bool(account, "automountServiceAccountToken", true);
    if (json_bool(spec, "automountServiceAccountToken", wanted))
        add_token(pod);
    return 0;
}
