/*
 * fieldset: which fields of an object somebody owns, in the form that Kubernetes keeps in
 * metadata.managedFields[].fieldsV1, and what server-side apply does with them.
 *
 * A set is a JSON object, a tree with one key per step: f:NAME a field or a key of a map, k:{"name":"x"} an
 * element of a list by its keys, v:VALUE an element of a set. A step is in the set when nothing is below it,
 * or "." is. Keys are sorted, so all operations take one walk. What ends a path: scalars, atomic lists and
 * maps (a list without keys; x-kubernetes-map-type), and depth FIELDSET_DEPTH. Not in any set: apiVersion,
 * kind, and the metadata that the server writes.
 *
 * Sets handed in must be sorted (those made here are; fieldset_accept for those of others). The caller owns
 * the results. No locks: see schema.h. Source: Kubernetes "Server-Side Apply", structured merge and diff.
 */
#ifndef M8_SCHEMA_FIELDSET_H
#define M8_SCHEMA_FIELDSET_H

#include "schema/schema.h"

#define FIELDSET_DEPTH 40 /* steps of a path; the set must fit into JSON_MAX_DEPTH beside the object */

/* Every field of the object. Elements of keyed lists that lack their key are left out. */
cJSON *fieldset_of(const struct schema_kind *kind, const cJSON *object);
/* changed: added or with another value; removed: no longer there. Sorted sets; old may be NULL. */
void fieldset_compare(const struct schema_kind *kind, const cJSON *old, const cJSON *object, cJSON **changed,
                      cJSON **removed);
cJSON *fieldset_union(const cJSON *a, const cJSON *b);
cJSON *fieldset_intersection(const cJSON *a, const cJSON *b);
cJSON *fieldset_difference(const cJSON *a, const cJSON *b);
bool fieldset_is_empty(const cJSON *set);
/* A set that a client sent, made usable: sorted, without what is no step, leaves are empty objects. */
cJSON *fieldset_accept(const cJSON *set);
/* Paths in the words of Kubernetes' messages: .spec.containers[name="x"].image */
void fieldset_each(const cJSON *set, void (*visit)(void *arg, const char *path), void *arg);

/* ERR_INVALID with the path of each element of a keyed list that lacks its keys or has those of another. */
int fieldset_check(const struct schema_kind *kind, const cJSON *config, struct err **err);
/* What an apply makes of the object: config is laid over it (lists by their keys, in config's order), then
 * what is in `dropped` and not in `owned` goes, with all that is below. config has passed fieldset_check. */
void fieldset_apply(const struct schema_kind *kind, cJSON *object, const cJSON *config, const cJSON *dropped,
                    const cJSON *owned);

#endif
