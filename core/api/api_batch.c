/*
 * Batches (contract 3): up to 256 steps, each with its own permission, precondition and result, given to the
 * store as one unit, not atomic across steps. The JSON is described in client/client.h. More precisely, a
 * step has:
 *
 * - verb: create, update, patch, status, delete or bind
 * - resource ("pods", "deployments.apps"), namespace, name
 * - object: the object; for patch the patch; for status {"status": {…}}; for bind a Binding, or {"node":
 * NAME}
 * - subresource of update and patch, e.g. "status"
 * - type of patch: "merge" (default), "strategic", "json", "apply" (with fieldManager, force)
 * - merge, of status: true merges .status instead of replacing it
 * - uid, resourceVersion: preconditions
 * - propagationPolicy, gracePeriodSeconds, disruption {reason, message}: of delete
 * - annotations, reason: of bind, kept on the pod (reason as minik8s.io/scheduling-reason)
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

#define MAX_STEPS 256

struct batch {
    struct call *call;
    size_t count;
    struct op **ops;  /* NULL where the step itself was wrong */
    cJSON **failures; /* Status of such a step */
    atomic_size_t pending;
};

static void add_result(struct str *out, const struct op *op, cJSON *failure)
{
    if (failure) {
        str_addf(out, "{\"code\":%" PRId64 ",\"status\":", json_int(failure, "code", 500));
        json_print_to(out, failure);
        str_add_char(out, '}');
        return;
    }
    if (op->error) {
        auto_json status = status_failure(op->error, op->info, op->name);
        str_addf(out, "{\"code\":%d,\"status\":", op->code);
        json_print_to(out, status);
        str_add_char(out, '}');
        return;
    }
    str_addf(out, "{\"code\":%d,\"revision\":%" PRIu64 ",\"uid\":\"%s\",\"name\":\"%s\"}", op->code,
             op->revision, op->uid, op->name);
}

static void batch_free(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->ops[i])
            op_free(batch->ops[i]);
        cJSON_Delete(batch->failures[i]);
    }
    free(batch->ops);
    free(batch->failures);
    free(batch);
}

static void batch_done(struct batch *batch)
{
    if (atomic_fetch_sub(&batch->pending, 1) > 1)
        return;
    struct str out = {0};
    str_add(&out, "{\"results\":[");
    for (size_t i = 0; i < batch->count; i++) {
        if (i)
            str_add_char(&out, ',');
        add_result(&out, batch->ops[i], batch->failures[i]);
    }
    str_add(&out, "]}");
    struct call *call = batch->call;
    batch_free(batch);
    call_answer_text(call, 200, NULL, &out);
}

static void on_finished(struct op *op)
{
    batch_done(op->arg);
}

/* ---- steps ---- */

struct verb_entry {
    const char *name, *access, *subresource;
    enum op_verb verb;
};

static const struct verb_entry *find_verb(const char *name)
{
    static const struct verb_entry verbs[] = {
        {"create", "create", NULL, OP_CREATE}, {"update", "update", NULL, OP_UPDATE},
        {"patch", "patch", NULL, OP_PATCH},    {"status", "update", "status", OP_UPDATE},
        {"delete", "delete", NULL, OP_DELETE}, {"bind", "create", "binding", OP_BIND}};
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (str_eq(verbs[i].name, name))
            return &verbs[i];
    }
    return NULL;
}

static int read_patch_type(struct op *op, const cJSON *step, struct err **err)
{
    const char *type = json_string_or(step, "type", "merge");
    op->patch_type = str_eq(type, "merge")       ? BODY_MERGE
                     : str_eq(type, "strategic") ? BODY_STRATEGIC
                     : str_eq(type, "json")      ? BODY_JSON_PATCH
                     : str_eq(type, "apply")     ? BODY_APPLY
                                                 : BODY_OTHER;
    if (op->patch_type == BODY_OTHER)
        return err_set(err, ERR_BAD_REQUEST, "type: \"%.32s\" is no type of patch", type);
    if (op->patch_type == BODY_JSON_PATCH ? !cJSON_IsArray(op->body) : !cJSON_IsObject(op->body))
        return err_set(err, ERR_BAD_REQUEST, "object: is no patch of this type");
    return 0;
}

static void read_bind(struct op *op, const cJSON *step)
{
    const char *node = json_string(op->body, "node");
    if (!node)
        node = json_string(step, "node");
    if (node)
        json_set_string(json_ensure_object(op->body, "target"), "name", node);
    cJSON *annotations = json_ensure_object(json_ensure_object(op->body, "metadata"), "annotations");
    const cJSON *given = json_get(step, "annotations");
    json_set_strings(annotations, given);
    if (json_string(step, "reason"))
        json_set_string(annotations, "minik8s.io/scheduling-reason", json_string(step, "reason"));
}

static int read_preconditions(struct op *op, const cJSON *step, struct err **err)
{
    const char *revision = json_string(step, "resourceVersion");
    op->expect_uid = mem_strdup(json_string(step, "uid"));
    if (!str_empty(revision) && revision_parse(revision, &op->expect_revision) < 0)
        return err_set(err, ERR_BAD_REQUEST, "resourceVersion: must be a number");
    op->propagation = mem_strdup(json_string(step, "propagationPolicy"));
    op->disruption = mem_strdup(json_string(step, "disruption.reason"));
    op->disruption_text = mem_strdup(json_string_or(step, "disruption.message", ""));
    op->grace = json_int(step, "gracePeriodSeconds", -1);
    return 0;
}

/* As find_subresource for requests: what the kind does not have would pass for the object itself. */
static bool can_write(const struct op *op, const char *subresource)
{
    if (str_eq(subresource, "status"))
        return op->info->has_status;
    if (str_eq(subresource, "scale"))
        return op->info->has_scale;
    return schema_has_subresource(op->kind, subresource);
}

static int read_subresource(struct op *op, const cJSON *step, const struct verb_entry *entry,
                            struct err **err)
{
    static const char *const known[] = {"status", "scale", "finalize"};
    const char *subresource = json_string(step, "subresource");
    bool changes = entry->verb == OP_UPDATE || entry->verb == OP_PATCH;
    if (entry->verb == OP_UPDATE && entry->subresource)
        op->subresource = entry->subresource;
    for (size_t i = 0; changes && subresource && i < COUNT_OF(known); i++) {
        if (str_eq(subresource, known[i]))
            op->subresource = known[i];
    }
    bool unknown = !str_empty(subresource) && !str_eq(subresource, op->subresource);
    if (unknown || (op->subresource && !can_write(op, op->subresource)))
        return err_set(err, ERR_BAD_REQUEST, "subresource: \"%.32s\" cannot be written in a batch",
                       unknown ? subresource : op->subresource);
    return 0;
}

static int fill_op(struct op *op, cJSON *step, const struct verb_entry *entry, struct err **err)
{
    op->body = cJSON_DetachItemFromObjectCaseSensitive(step, "object");
    op->strictness = SCHEMA_IGNORE;
    if (!op->body)
        op->body = cJSON_CreateObject();
    if (entry->verb == OP_PATCH && read_patch_type(op, step, err) < 0)
        return -1;
    if (entry->verb != OP_PATCH && !cJSON_IsObject(op->body))
        return err_set(err, ERR_BAD_REQUEST, "object: must be an object");
    if (read_subresource(op, step, entry, err) < 0)
        return -1;
    if (str_eq(op->subresource, "status") && json_bool(step, "merge", false)) {
        op->verb = OP_PATCH;
        op->patch_type = BODY_MERGE;
    }
    if (entry->verb == OP_BIND)
        read_bind(op, step);
    return read_preconditions(op, step, err);
}

static struct op *read_step(struct call *call, cJSON *step, struct err **err)
{
    const char *resource = json_string_or(step, "resource", "");
    const struct verb_entry *entry = find_verb(json_string(step, "verb"));
    const struct schema_kind *kind = schema_find_resource(call->api->schema, resource);
    if (!entry || !kind) {
        err_set(err, ERR_BAD_REQUEST, "%s \"%.253s\" is not known", entry ? "resource" : "verb",
                entry ? resource : json_string_or(step, "verb", ""));
        return NULL;
    }
    const struct schema_kind_info *info = schema_kind_info(kind);
    const char *name = json_string(step, "name"), *namespace = json_string(step, "namespace");
    if (!name)
        name = json_string(step, "object.metadata.name");
    if (!namespace)
    namespace = json_string(step, "object.metadata.namespace");
    if (entry->verb != OP_CREATE && str_empty(name)) {
        err_set(err, ERR_BAD_REQUEST, "the step has no name");
        return NULL;
    }
    if (info->namespaced && str_empty(namespace)) {
        err_set(err, ERR_BAD_REQUEST, "the step has no namespace");
        return NULL;
    }
    if (entry->verb == OP_BIND && !str_eq(resource, "pods")) {
        err_set(err, ERR_BAD_REQUEST, "only pods can be bound");
        return NULL;
    }
    bool unnamed = entry->verb == OP_CREATE && json_string(step, "object.metadata.generateName");
    struct op *op =
        op_new(call->api, entry->verb, kind, info->namespaced ? namespace : NULL, unnamed ? NULL : name);
    struct access access = {.verb = entry->access,
                            .group = info->group,
                            .resource = info->plural,
                            .subresource = entry->subresource,
                            .namespace = op->namespace,
                            .name = op->name};
    op_set_writer(op, &call->identity);
    if (fill_op(op, step, entry, err) == 0 && op_set_manager(call, op, json_string(step, "fieldManager"),
                                                             json_bool(step, "force", false), err) == 0) {
        if (op->subresource)
            access.subresource = op->subresource;
        const char *node = call->identity.node;
        if (identity_allows(call->api, &call->identity, &access, err) == 0 &&
            (!node || scope_allows_create(op, node, err) == 0))
            return op;
    }
    op_free(op);
    return NULL;
}

static cJSON *read_steps(const struct call *call, struct err **err)
{
    cJSON *body = body_object(call, err);
    const cJSON *steps = json_get(body, "steps");
    if (body && (!cJSON_IsArray(steps) || cJSON_GetArraySize(steps) > MAX_STEPS))
        err_set(err, ERR_BAD_REQUEST, "steps: must be an array of at most %d steps", MAX_STEPS);
    else if (body)
        return body;
    cJSON_Delete(body);
    return NULL;
}

void handle_batch(struct call *call)
{
    struct err *err = NULL;
    auto_json body = read_steps(call, &err);
    if (!body) {
        call_fail(call, err);
        return;
    }
    struct batch *batch = NEW(struct batch);
    cJSON *steps = json_get(body, "steps");
    batch->call = call;
    batch->count = (size_t)cJSON_GetArraySize(steps);
    batch->ops = mem_array(batch->count + 1, sizeof(*batch->ops));
    batch->failures = mem_array(batch->count + 1, sizeof(*batch->failures));
    auto_free struct op **ready = mem_array(batch->count + 1, sizeof(*ready));
    size_t n = 0, i = 0;
    json_each (step, steps) {
        auto_err wrong = NULL;
        batch->ops[i] = read_step(call, step, &wrong);
        if (batch->ops[i]) {
            batch->ops[i]->finished = on_finished;
            batch->ops[i]->arg = batch;
            ready[n++] = batch->ops[i];
        } else {
            batch->failures[i] = status_failure(wrong, NULL, NULL);
        }
        i++;
    }
    atomic_store(&batch->pending, n + 1);
    if (n)
        op_run_all(ready, n);
    batch_done(batch);
}
