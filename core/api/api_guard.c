/*
 * What must be so of other objects in the moment of a write (store.h, guards).
 *
 * A pod that is being deleted must not come into a slice any more: its node stops it once the slices have let
 * go of it and every node has followed (contract 14), and a pod that stands in no slice may be stopped at
 * once. The controller that writes slices sees the pods as they were some time ago, so the store has the last
 * word.
 */
#include <string.h>

#include "api/api_internal.h"

#define MANAGED_LABEL "endpointslice.kubernetes.io/managed-by"
#define MANAGER "endpointslice-controller.minik8s.io"

void guards_free(struct op *op)
{
    for (size_t i = 0; i < op->n_guards; i++) {
        free((char *)op->guards[i].key);
        free((char *)op->guards[i].has);
    }
    free(steal(&op->guards));
    op->n_guards = 0;
}

static bool names(const cJSON *slice, const char *uid)
{
    json_each (endpoint, json_get(slice, "endpoints")) {
        if (str_eq(json_string(endpoint, "targetRef.uid"), uid))
            return true;
    }
    return false;
}

void guard_endpoints(struct op *op, const cJSON *old, const cJSON *slice)
{
    const cJSON *manager = json_get(json_get(json_get(slice, "metadata"), "labels"), MANAGED_LABEL);
    const cJSON *endpoints = json_get(slice, "endpoints");
    if (!cJSON_IsString(manager) ||
        !str_eq(manager->valuestring, MANAGER)) /* others may name whom they like */
        return;
    guards_free(op);
    op->guards = mem_array((size_t)cJSON_GetArraySize(endpoints) + 1, sizeof(*op->guards));
    json_each (endpoint, endpoints) {
        const char *uid = json_string(endpoint, "targetRef.uid"),
                   *name = json_string(endpoint, "targetRef.name");
        if (!uid || !name || !str_eq(json_string(endpoint, "targetRef.kind"), "Pod") || names(old, uid))
            continue;
        op->guards[op->n_guards++] = (struct store_guard){
            .key = store_key("pods", op->namespace, name), .has = mem_printf("u:=%s", uid), .lacks = "d:="};
    }
}

int guard_failed(const struct op *op, struct err **err)
{
    return err_set(
        err, ERR_CONFLICT,
        "Operation cannot be fulfilled on %s \"%s\": it refers to %s, which is gone or is being deleted",
        op->info->resource, op->name, op->write.failed->key);
}
