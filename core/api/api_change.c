/*
 * Read-modify-write of an object: PUT, the four kinds of PATCH, and the subresources that change it (status,
 * scale, finalize, binding). What the server owns (uid, creation, deletion, the other side of spec/status)
 * comes from the stored object, whatever the client sent. A change that changes nothing is not written.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"

cJSON *op_read(struct op *op, struct store_object *old, struct err **err)
{
    struct store *store = op->api->store;
    auto_free char *key = store_key(op->info->resource, op->namespace, op->name);
    auto_err failure = NULL;
    if (store->ops->get(store, key, old, &failure) < 0) {
        if (err_code(failure) == ERR_NOT_FOUND)
            fail_not_found(err, op->info, op->name);
        else
            err_move(err, &failure);
        return NULL;
    }
    cJSON *object = json_parse_trusted(old->bytes->data, old->bytes->len);
    if (!object)
        err_set(err, ERR_INTERNAL, "%s \"%s\" cannot be read from the store", op->info->resource, op->name);
    else if (op->info->custom) /* versions differ in that alone: it is changed as what the client sees */
        json_set_string(object, "apiVersion", op->info->api_version);
    return object;
}

/* ---- what the new object is ---- */

static cJSON *change_patch(struct op *op, const cJSON *old, struct err **err)
{
    cJSON *target = json_copy(old);
    switch (op->patch_type) {
    case BODY_MERGE:
        return json_merge_patch(target, op->body);
    case BODY_JSON_PATCH:
        if (json_apply_patch(&target, op->body, err) == 0)
            return target;
        cJSON_Delete(target);
        return NULL;
    case BODY_APPLY:
        cJSON_Delete(target);
        return managers_apply(op, old, err);
    default:
        return schema_strategic_merge(op->kind, target, op->body, err);
    }
}

static cJSON *change_finalize(struct op *op, const cJSON *old)
{
    cJSON *object = json_copy(old);
    const cJSON *finalizers = json_at(op->body, "spec.finalizers");
    json_set(json_ensure_object(object, "spec"), "finalizers",
             cJSON_IsArray(finalizers) ? json_copy(finalizers) : cJSON_CreateArray());
    return object;
}

static cJSON *change_update(struct op *op, const cJSON *old, struct err **err)
{
    if (str_eq(op->subresource, "finalize"))
        return change_finalize(op, old);
    cJSON *object = json_copy(op->body);
    if (object_check_kind(op->info, object, err) < 0 ||
        object_check_place(op, object_meta(object), err) < 0) {
        cJSON_Delete(object);
        return NULL;
    }
    const char *uid = json_string(object_meta(object), "uid"),
               *old_uid = json_string(object_meta(old), "uid");
    if (!str_empty(uid) && !str_eq(uid, old_uid)) {
        err_set(err, ERR_CONFLICT,
                "Operation cannot be fulfilled on %s \"%s\": Precondition failed: UID in precondition: "
                "%.64s, UID in object "
                "meta: %s",
                op->info->resource, op->name, uid, old_uid ? old_uid : "");
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static void set_scheduled(const struct op *op, cJSON *object)
{
    char now[TIME_TEXT];
    time_print(api_wall(op->api), now);
    cJSON *conditions = json_ensure_array(json_ensure_object(object, "status"), "conditions");
    cJSON *condition = NULL, *nodes = NULL;
    json_each (each, conditions) {
        if (str_eq(json_string(each, "type"), "PodScheduled"))
            condition = each;
        else if (str_eq(json_string(each, "type"), "minik8s.io/Nodes")) /* why no node was fit */
            nodes = each;
    }
    if (nodes)
        cJSON_Delete(cJSON_DetachItemViaPointer(conditions, nodes));
    if (!condition)
        condition = json_push(conditions, cJSON_CreateObject());
    json_set_string(condition, "type", "PodScheduled");
    json_set_string(condition, "status", "True");
    json_set_string(condition, "lastTransitionTime", now);
    json_remove(condition, "reason");
    json_remove(condition, "message");
}

/* Binding: {target: {name}, metadata: {annotations}}. Only once per pod. */
static cJSON *change_bind(struct op *op, const cJSON *old, struct err **err)
{
    const char *node = json_string(op->body, "target.name");
    const char *bound = json_string(old, "spec.nodeName");
    if (str_empty(node)) {
        err_add_cause(err, "FieldValueRequired", "target.name", "Required value");
        return NULL;
    }
    if (!str_empty(bound)) {
        err_set(
            err, ERR_CONFLICT,
            "Operation cannot be fulfilled on pods/binding \"%s\": pod %s is already assigned to node \"%s\"",
            op->name, op->name, bound);
        return NULL;
    }
    if (json_string(old, "metadata.deletionTimestamp")) {
        err_set(err, ERR_CONFLICT,
                "Operation cannot be fulfilled on pods/binding \"%s\": pod %s is being deleted, cannot be "
                "assigned to a host",
                op->name, op->name);
        return NULL;
    }
    if (json_at(old, "spec.schedulingGates[0]")) {
        err_set(err, ERR_CONFLICT,
                "Operation cannot be fulfilled on pods/binding \"%s\": pod %s has non-empty "
                ".spec.schedulingGates",
                op->name, op->name);
        return NULL;
    }
    cJSON *object = json_copy(old);
    json_set_string(json_ensure_object(object, "spec"), "nodeName", node);
    const cJSON *annotations = json_at(op->body, "metadata.annotations");
    if (annotations && annotations->child)
        json_set_strings(json_ensure_object(object_meta(object), "annotations"), annotations);
    set_scheduled(op, object);
    return object;
}

/* ---- scale ---- */

static char *scale_selector(const cJSON *object)
{
    const cJSON *given = json_at(object, "status.selector");
    if (cJSON_IsString(given))
        return mem_strdup(given->valuestring);
    auto_selector selector = selector_from_json(json_at(object, "spec.selector"), NULL);
    return selector ? selector_print(selector) : mem_strdup("");
}

cJSON *scale_from(const struct schema_kind_info *info UNUSED, const cJSON *object, uint64_t revision)
{
    cJSON *scale = cJSON_CreateObject();
    json_set_string(scale, "kind", "Scale");
    json_set_string(scale, "apiVersion", "autoscaling/v1");
    cJSON *meta = json_set(scale, "metadata", cJSON_CreateObject());
    static const char *const kept[] = {"name", "namespace", "uid", "creationTimestamp"};
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        json_set_string(meta, kept[i], json_string(object_meta(object), kept[i]));
    auto_free char *text = mem_printf("%" PRIu64, revision);
    json_set_string(meta, "resourceVersion", text);
    json_set_int(json_ensure_object(scale, "spec"), "replicas", json_int(object, "spec.replicas", 0));
    cJSON *status = json_ensure_object(scale, "status");
    json_set_int(status, "replicas", json_int(object, "status.replicas", 0));
    auto_free char *selector = scale_selector(object);
    json_set_string(status, "selector", selector);
    return scale;
}

/* The Scale that the client sent or patched → spec.replicas of the object, with its precondition. */
static cJSON *change_scale(struct op *op, const cJSON *old, uint64_t revision, struct err **err)
{
    auto_json scale = NULL;
    if (op->verb == OP_UPDATE) {
        scale = json_copy(op->body);
    } else {
        scale = scale_from(op->info, old, revision);
        if (op->patch_type == BODY_APPLY)
            managers_scale(op);
        if (op->patch_type == BODY_JSON_PATCH) {
            if (json_apply_patch(&scale, op->body, err) < 0)
                return NULL;
        } else {
            scale = json_merge_patch(scale, op->body);
        }
    }
    const cJSON *replicas = json_at(scale, "spec.replicas"); /* Go clients leave a 0 out */
    if (replicas && !cJSON_IsNull(replicas) && !json_is_integer(replicas)) {
        err_add_cause(err, "FieldValueInvalid", "spec.replicas", "Invalid value: must be an integer");
        return NULL;
    }
    int64_t count = json_int(scale, "spec.replicas", 0);
    if (count < 0 || count > INT32_MAX) {
        err_add_cause(err, "FieldValueInvalid", "spec.replicas",
                      "Invalid value: %" PRId64 ": must be greater than or equal to 0", count);
        return NULL;
    }
    cJSON *object = json_copy(old);
    json_set_int(json_ensure_object(object, "spec"), "replicas", count);
    json_set_string(object_meta(object), "resourceVersion", json_string(scale, "metadata.resourceVersion"));
    return object;
}

static cJSON *change_make(struct op *op, const cJSON *old, uint64_t revision, struct err **err)
{
    if (op->verb == OP_BIND)
        return change_bind(op, old, err);
    if (str_eq(op->subresource, "scale"))
        return change_scale(op, old, revision, err);
    return op->verb == OP_UPDATE ? change_update(op, old, err) : change_patch(op, old, err);
}

/* ---- what the server keeps ---- */

static void keep(cJSON *to, const cJSON *from, const char *key)
{
    const cJSON *value = json_get(from, key);
    if (value)
        json_set(to, key, json_copy(value));
    else
        json_remove(to, key);
}

/* The revision that the client named must be the present one; then it is taken out for the comparison. */
static int check_named_revision(const struct op *op, cJSON *meta, uint64_t present, bool *named,
                                struct err **err)
{
    const char *text = json_string(meta, "resourceVersion");
    uint64_t revision = 0;
    *named = !str_empty(text) && !str_eq(text, "0");
    if (*named && revision_parse(text, &revision) < 0)
        return err_add_cause(err, "FieldValueInvalid", "metadata.resourceVersion",
                             "Invalid value: \"%.64s\": must be a number", text);
    if (*named && revision != present)
        return op_conflict(op, err);
    return 0;
}

static void keep_meta(cJSON *meta, const cJSON *old)
{
    static const char *const kept[] = {"name",
                                       "namespace",
                                       "uid",
                                       "creationTimestamp",
                                       "deletionTimestamp",
                                       "deletionGracePeriodSeconds",
                                       "generation",
                                       "generateName"};
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        keep(meta, old, kept[i]);
    json_remove(meta, "resourceVersion");
    json_remove(meta, "selfLink");
}

/* /ephemeralcontainers of a pod changes nothing else. */
static cJSON *keep_but_ephemeral(cJSON *object, const cJSON *old)
{
    cJSON *whole = json_copy(old);
    keep(json_get(whole, "spec"), json_get(object, "spec"), "ephemeralContainers");
    json_remove(object_meta(whole), "resourceVersion");
    cJSON_Delete(object);
    return whole;
}

/* Main resource: status from the store. /status: everything else from the store. */
static cJSON *keep_other_side(const struct op *op, cJSON *object, const cJSON *old)
{
    if (op->verb == OP_BIND || !op->info->has_status)
        return object;
    if (str_eq(op->subresource, "ephemeralcontainers"))
        return keep_but_ephemeral(object, old);
    if (!str_eq(op->subresource, "status")) {
        keep(object, old, "status");
        if (str_eq(op->info->resource, "pods") && cJSON_IsObject(json_get(object, "spec")))
            keep(json_get(object, "spec"), json_get(old, "spec"), "ephemeralContainers");
        return object;
    }
    cJSON *whole = json_copy(old);
    keep(whole, object, "status");
    json_remove(object_meta(whole), "resourceVersion");
    cJSON_Delete(object);
    return whole;
}

static bool has_string(const cJSON *array, const char *text)
{
    json_each (item, array) {
        if (cJSON_IsString(item) && str_eq(item->valuestring, text))
            return true;
    }
    return false;
}

static int check_finalizers(const cJSON *old, const cJSON *object, struct err **err)
{
    if (!json_get(old, "deletionTimestamp"))
        return 0;
    const cJSON *added = json_get(object, "finalizers"), *present = json_get(old, "finalizers");
    json_each (item, added) {
        if (cJSON_IsString(item) && !has_string(present, item->valuestring))
            return err_add_cause(err, "FieldValueForbidden", "metadata.finalizers",
                                 "Forbidden: no new finalizers can be added if the object is being deleted");
    }
    return 0;
}

bool object_finalized(const struct op *op, const cJSON *object)
{
    const cJSON *meta = object_meta(object);
    if (!json_string(meta, "deletionTimestamp") || meta_has_finalizers(object))
        return false;
    if (str_eq(op->info->resource, "namespaces")) {
        const cJSON *finalizers = json_at(object, "spec.finalizers");
        return !finalizers || !finalizers->child;
    }
    return !str_eq(op->info->resource, "pods") || json_int(meta, "deletionGracePeriodSeconds", 0) == 0;
}

/* ---- the write ---- */

static int check_change(struct op *op, cJSON *object, const cJSON *old, struct err **err)
{
    bool status = str_eq(op->subresource, "status");
    bool told = op->attempts == 1 && !op->applied && !op->subresource && op->verb != OP_BIND;
    if (schema_check(op->kind, object, op->strictness, told ? op->warnings : NULL, err) < 0)
        return -1;
    admission_normalize(op, object);
    schema_default(op->kind, object);
    if (managers_follow(op, old, object, err) < 0)
        return -1;
    if (check_finalizers(object_meta(old), object_meta(object), err) < 0)
        return -1;
    if (!status && op->verb != OP_BIND && admission_change(op, old, object, err) < 0)
        return -1;
    if (schema_spec_changed(op->kind, old, object) && json_get(object_meta(old), "generation") &&
        op->verb != OP_BIND)
        json_set_int(object_meta(object), "generation", json_int(object_meta(old), "generation", 0) + 1);
    if (op->verb == OP_BIND || str_eq(op->subresource, "finalize"))
        return 0;
    return schema_validate(op->kind, object, old, status, err);
}

static enum op_next write_change(struct op *op, const struct store_object *stored, cJSON *old, cJSON *object,
                                 struct err **err)
{
    json_remove(object_meta(old), "resourceVersion");
    bool last = object_finalized(op, object);
    if (!last && json_equal(old, object))
        return op_answer(op, stored->bytes, stored->revision, object);
    if (!last && object_check_depth(object, old, err) < 0)
        return OP_FAILED;
    if (!last && quota_admit(op, false, object, err) < 0)
        return OP_FAILED;
    if (op->dry_run)
        return op_answer_dry(op, object, stored->revision);
    if (last)
        ranges_held(op->api->ranges, op->info->resource, old, NULL, &op->dropped);
    op_put(op, last ? STORE_DELETE : STORE_PUT, object, stored->revision);
    return OP_WRITE;
}

static enum op_next change(struct op *op, const struct store_object *stored, cJSON *old, struct err **err)
{
    if (op_check_preconditions(op, stored, json_string(object_meta(old), "uid"), err) < 0)
        return OP_FAILED;
    auto_json object = change_make(op, old, stored->revision, err);
    if (!object)
        return OP_FAILED;
    cJSON *meta = json_ensure_object(object, "metadata");
    bool named = false;
    if (check_named_revision(op, meta, stored->revision, &named, err) < 0)
        return OP_FAILED;
    /* a merge of the stored object always carries its revision: only a PUT's own, or a patch's, forbids
     * trying again */
    bool own = op->verb == OP_UPDATE ? named : json_at(op->body, "metadata.resourceVersion") != NULL;
    op->retryable = !own && op->expect_revision == 0;
    if (object_check_place(op, meta, err) < 0 || object_check_kind(op->info, object, err) < 0)
        return OP_FAILED;
    keep_meta(meta, object_meta(old));
    managers_keep(op, meta, object_meta(old));
    object = keep_other_side(op, steal(&object), old);
    if (check_change(op, object, old, err) < 0)
        return OP_FAILED;
    return write_change(op, stored, old, object, err);
}

static bool apply_creates(const struct op *op, const struct err *error)
{
    return op->verb == OP_PATCH && op->patch_type == BODY_APPLY && !op->subresource &&
           err_code(error) == ERR_NOT_FOUND;
}

enum op_next op_prepare_change(struct op *op, struct err **err)
{
    struct store_object stored = {0};
    auto_err missing = NULL;
    op->code = op->verb == OP_BIND ? 201 : 200;
    auto_json old = op_read(op, &stored, &missing);
    enum op_next next = OP_FAILED;
    if (old) {
        next = change(op, &stored, old, err);
    } else if (apply_creates(op, missing)) {
        cJSON *config = managers_create(op, err);
        next = config ? op_prepare_create(op, config, err) : OP_FAILED;
        op->retryable = true; /* somebody else may create it first */
    } else {
        err_move(err, &missing);
    }
    store_object_fini(&stored);
    return next;
}
