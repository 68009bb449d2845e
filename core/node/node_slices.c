/*
 * node_slices: in how many EndpointSlices each pod of this node stands. When the last one lets go of a pod,
 * the revision of that change is what all nodes must have applied before the pod may be stopped (contract
 * 14).
 */
#include <stdint.h>

#include "node/node_internal.h"

/* Of Endpoints that somebody writes by hand: he takes a pod out when he likes, and none waits for that. */
static bool is_mirror(const cJSON *slice)
{
    const cJSON *maker =
        json_get(json_at(slice, "metadata.labels"), "endpointslice.kubernetes.io/managed-by");
    return str_eq(cJSON_GetStringValue(maker), "endpointslicemirroring-controller.k8s.io");
}

static void count_slice(struct node *node, const struct cache_item *item, int by)
{
    if (!item)
        return;
    auto_json slice = json_parse_trusted(item->bytes->data, item->bytes->len);
    if (is_mirror(slice))
        return;
    json_each (endpoint, json_get(slice, "endpoints")) {
        const char *uid = json_string(endpoint, "targetRef.uid");
        if (!uid || !str_eq(json_string(endpoint, "nodeName"), node->options.name))
            continue;
        uintptr_t count = (uintptr_t)map_get(&node->in_slices, uid);
        count = by > 0 ? count + 1 : count > 0 ? count - 1 : 0;
        if (count)
            map_set(&node->in_slices, uid, (void *)count);
        else
            map_remove(&node->in_slices, uid);
    }
}

static void tell_leavers(struct node *node, const struct cache_item *previous, uint64_t revision)
{
    if (!previous)
        return;
    auto_json slice = json_parse_trusted(previous->bytes->data, previous->bytes->len);
    json_each (endpoint, json_get(slice, "endpoints")) {
        const char *uid = json_string(endpoint, "targetRef.uid");
        struct pod *pod = uid ? map_get(&node->pods, uid) : NULL;
        if (!pod || map_has(&node->in_slices, uid))
            continue;
        if (revision > pod->left_slices_at)
            pod->left_slices_at = revision;
        pod_look(pod);
    }
}

void node_slices_changed(struct node *node, const struct cache_item *previous, const struct cache_item *item)
{
    count_slice(node, item, 1); /* first, so that a pod that stays is never counted as gone */
    count_slice(node, previous, -1);
    tell_leavers(node, previous, node->event_revision);
}

bool node_slices_hold(const struct node *node, const struct pod *pod)
{
    return map_has(&node->in_slices, pod->uid);
}
