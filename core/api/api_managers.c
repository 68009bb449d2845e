/*
 * Who owns which field: server-side apply. metadata.managedFields of an object has an entry for each manager:
 * what he applied (operation Apply), or what he changed by other writes (Update).
 *
 * An object is tracked from its first apply on. One that was there before begins with what its
 * last-applied-configuration names as kubectl's (client-side apply) and all else as that of
 * "before-first-apply"; objects that nobody applies cost nothing. Source: Kubernetes "Server-Side Apply".
 */
#include <string.h>

#include "api/api_internal.h"
#include "schema/fieldset.h"

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define CLIENT_SIDE "kubectl-client-side-apply"
#define NOTED "{\"f:metadata\":{\"f:annotations\":{\"f:" LAST_APPLIED "\":{}}}}"
#define UNKNOWN "before-first-apply"
#define ANCIENT "ancient-changes"
#define MAX_ENTRIES 64   /* of one object */
#define MAX_UPDATES 10   /* of other writes; the oldest become those of ANCIENT */
#define MAX_CONFLICTS 64 /* that are named in an answer */
#define MAX_SHOWN 1000   /* of a path */
#define NOBODY "minik8s" /* writes of the server itself, and of those who do not say who they are */

static bool applies(const struct op *op)
{
    return op->verb == OP_PATCH && op->patch_type == BODY_APPLY;
}

/* ---- entries ---- */

static cJSON *entry_add(const struct op *op, cJSON *entries, const char *manager, const char *operation,
                        const char *subresource, cJSON *fields)
{
    cJSON *entry = json_push(entries, cJSON_CreateObject());
    json_set_string(entry, "manager", manager);
    json_set_string(entry, "operation", operation);
    json_set_string(entry, "apiVersion", op->info->api_version);
    json_set_string(entry, "fieldsType", "FieldsV1");
    json_set(entry, "fieldsV1", fields);
    if (subresource)
        json_set_string(entry, "subresource", subresource);
    return entry;
}

static cJSON *entry_find(const cJSON *entries, const char *manager, const char *operation,
                         const char *subresource)
{
    json_each (entry, entries) {
        if (str_eq(json_string(entry, "manager"), manager) &&
            str_eq(json_string(entry, "operation"), operation) &&
            str_eq(json_string(entry, "subresource"), subresource))
            return entry;
    }
    return NULL;
}

static const cJSON *fields_of(const cJSON *entry)
{
    return json_get(entry, "fieldsV1");
}

static cJSON *own_entry(const struct op *op, const cJSON *entries)
{
    return entry_find(entries, op->manager ? op->manager : NOBODY, applies(op) ? "Apply" : "Update",
                      op->subresource);
}

/* In the form in which the server keeps it, without its defaults: those are nobody's. */
static void as_kept(const struct op *op, cJSON *config)
{
    schema_drop_nulls(op->kind, config);
    admission_normalize(op, config);
}

/* What the last client-side apply named and nobody has changed since. */
static cJSON *last_applied(const struct op *op, const cJSON *object)
{
    const cJSON *annotation = json_get(json_at(object, "metadata.annotations"), LAST_APPLIED);
    const char *text = cJSON_GetStringValue(annotation);
    auto_json applied = text ? json_parse(text, strlen(text), NULL) : NULL;
    if (!cJSON_IsObject(applied) || schema_check(op->kind, applied, SCHEMA_IGNORE, NULL, NULL) < 0)
        return NULL;
    json_remove(applied, "status");
    json_set(json_ensure_object(json_ensure_object(applied, "metadata"), "annotations"), LAST_APPLIED,
             json_copy(annotation));
    as_kept(op, applied);
    auto_json named = fieldset_of(op->kind, applied), *changed = NULL, *removed = NULL;
    schema_default(op->kind, applied);
    fieldset_compare(op->kind, applied, object, &changed, &removed);
    auto_json present = fieldset_difference(named, removed);
    return fieldset_difference(present, changed);
}

static cJSON *entries_before_first(const struct op *op, const cJSON *object)
{
    cJSON *entries = cJSON_CreateArray();
    auto_json all = fieldset_of(op->kind, object), *named = last_applied(op, object);
    if (!fieldset_is_empty(named))
        entry_add(op, entries, CLIENT_SIDE, "Update", NULL, json_copy(named));
    cJSON *rest = fieldset_difference(all, named);
    if (fieldset_is_empty(rest))
        cJSON_Delete(rest);
    else
        entry_add(op, entries, UNKNOWN, "Update", NULL, rest);
    return entries;
}

/* ---- entries that a client sends ---- */

static bool is_short(const cJSON *entry, const char *key)
{
    const char *text = json_string(entry, key);
    return !text || manager_is_valid(text);
}

static bool is_entry(const cJSON *entry)
{
    const char *operation = json_string(entry, "operation"), *time = json_string(entry, "time");
    int64_t wall;
    return json_string(entry, "manager") && is_short(entry, "manager") && is_short(entry, "subresource") &&
           is_short(entry, "apiVersion") && (!time || time_parse(time, &wall, NULL) == 0) &&
           (str_eq(operation, "Apply") || str_eq(operation, "Update")) && cJSON_IsObject(fields_of(entry));
}

static cJSON *accept_entry(const struct op *op, const cJSON *sent)
{
    static const char *const kept[] = {"apiVersion", "time"};
    auto_json entries = cJSON_CreateArray();
    cJSON *entry = entry_add(op, entries, json_string(sent, "manager"), json_string(sent, "operation"),
                             json_string(sent, "subresource"), fieldset_accept(fields_of(sent)));
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        if (json_string(sent, kept[i]))
            json_set_string(entry, kept[i], json_string(sent, kept[i]));
    }
    return cJSON_DetachItemViaPointer(entries, entry);
}

void managers_keep(const struct op *op, cJSON *meta, const cJSON *old_meta)
{
    auto_json sent = cJSON_DetachItemFromObjectCaseSensitive(meta, "managedFields");
    const cJSON *old = json_get(old_meta, "managedFields");
    const cJSON *first = cJSON_IsArray(sent) ? sent->child : NULL;
    if (cJSON_IsObject(first) && !first->child && !first->next) /* [{}]: forget everything */
        return;
    bool usable = first != NULL && cJSON_GetArraySize(sent) <= MAX_ENTRIES;
    json_each (entry, first ? sent : NULL)
        usable = usable && is_entry(entry);
    if (!usable || json_equal(sent, old)) {
        if (old)
            json_set(meta, "managedFields", json_copy(old));
        return;
    }
    cJSON *entries = json_set(meta, "managedFields", cJSON_CreateArray());
    json_each (entry, sent)
        json_push(entries, accept_entry(op, entry));
}

/* ---- apply ---- */

static void keep_only(cJSON *object, const char *key)
{
    for (cJSON *child = object ? object->child : NULL, *next; child; child = next) {
        next = child->next;
        if (!str_eq(child->string, key))
            cJSON_Delete(cJSON_DetachItemViaPointer(object, child));
    }
}

/* What is applied: without what this side of the object does not have, in the form in which it is kept. */
static cJSON *read_config(struct op *op, struct err **err)
{
    auto_json config = json_copy(op->body);
    if (object_check_kind(op->info, config, err) < 0)
        return NULL;
    cJSON *meta = object_meta(config);
    const cJSON *managed = json_get(meta, "managedFields");
    if (managed && managed->child) {
        err_set(err, ERR_BAD_REQUEST, "metadata.managedFields must be nil");
        return NULL;
    }
    if (object_check_place(op, meta, err) < 0 ||
        schema_check(op->kind, config, op->strictness, op->attempts == 1 ? op->warnings : NULL, err) < 0)
        return NULL;
    as_kept(op, config);
    if (fieldset_check(op->kind, config, err) < 0)
        return NULL;
    if (str_eq(op->subresource, "status")) {
        keep_only(config, "status");
    } else if (str_eq(op->subresource, "ephemeralcontainers")) {
        keep_only(config, "spec");
        keep_only(json_get(config, "spec"), "ephemeralContainers");
    } else if (op->info->has_status) {
        json_remove(config, "status");
    }
    return steal(&config);
}

static cJSON *owned_by_others(const cJSON *entries, const cJSON *own)
{
    cJSON *owned = cJSON_CreateObject();
    json_each (entry, entries) {
        if (entry == own)
            continue;
        auto_json before = owned;
        owned = fieldset_union(before, fields_of(entry));
    }
    return owned;
}

/* What kubectl wrote by client-side apply is what it applied: it may change it, and what it now leaves out
 * goes. Without the note of it, which kubectl keeps for the way back. */
static void take_client_side(const struct op *op, cJSON *entries)
{
    cJSON *before = entry_find(entries, CLIENT_SIDE, "Update", NULL);
    if (!before || !applies(op) || op->subresource || !str_eq(op->manager, "kubectl"))
        return;
    auto_json noted = json_parse_trusted(NOTED, strlen(NOTED));
    auto_json taken = fieldset_difference(fields_of(before), noted);
    if (fieldset_is_empty(taken))
        return;
    json_set(before, "fieldsV1", fieldset_intersection(fields_of(before), noted));
    cJSON *own = own_entry(op, entries);
    if (own)
        json_set(own, "fieldsV1", fieldset_union(fields_of(own), taken));
    else
        entry_add(op, entries, op->manager, "Apply", NULL, steal(&taken));
}

/* Of an object that is about to be written; NULL: it is not tracked. old NULL: it is new. */
static cJSON *entries_of(const struct op *op, const cJSON *old, const cJSON *object)
{
    const cJSON *kept = json_at(object, "metadata.managedFields");
    cJSON *entries = NULL;
    if (cJSON_IsArray(kept) && kept->child)
        entries = json_copy(kept);
    else if (applies(op))
        entries = old ? entries_before_first(op, old) : cJSON_CreateArray();
    take_client_side(op, entries);
    return entries;
}

static cJSON *note_config(struct op *op, struct err **err)
{
    cJSON *config = read_config(op, err);
    cJSON_Delete(steal(&op->applied));
    if (config)
        op->applied = fieldset_of(op->kind, config);
    return config;
}

static int wrong_uid(const struct op *op, const char *uid, const char *present, struct err **err)
{
    return err_set(
        err, ERR_CONFLICT,
        "Operation cannot be fulfilled on %s \"%s\": uid mismatch: the provided object specified uid "
        "%.64s, and %s%s",
        op->info->resource, op->name, uid,
        present ? "that of the object is " : "no existing object was found", present ? present : "");
}

cJSON *managers_create(struct op *op, struct err **err)
{
    const char *uid = json_string(op->body, "metadata.uid");
    if (op->create_refused) { /* kept: the write may be prepared again */
        struct err *refused = err_copy(op->create_refused);
        err_move(err, &refused);
        return NULL;
    }
    if (!str_empty(uid)) {
        wrong_uid(op, uid, NULL, err);
        return NULL;
    }
    return note_config(op, err);
}

cJSON *managers_apply(struct op *op, const cJSON *old, struct err **err)
{
    const char *uid = json_string(op->body, "metadata.uid"), *present = json_string(old, "metadata.uid");
    if (!str_empty(uid) && !str_eq(uid, present)) {
        wrong_uid(op, uid, present ? present : "", err);
        return NULL;
    }
    auto_json config = note_config(op, err);
    if (!config)
        return NULL;
    auto_json entries = entries_of(op, old, old);
    const cJSON *own = own_entry(op, entries);
    auto_json others = owned_by_others(entries, own), *owned = fieldset_union(others, op->applied);
    cJSON *object = json_copy(old);
    fieldset_apply(op->kind, object, config, fields_of(own), owned);
    const char *revision = json_string(op->body, "metadata.resourceVersion"); /* a precondition */
    if (!str_empty(revision))
        json_set_string(object_meta(object), "resourceVersion", revision);
    return object;
}

void managers_scale(struct op *op)
{
    static const char replicas[] = "{\"f:spec\":{\"f:replicas\":{}}}";
    cJSON_Delete(steal(&op->applied));
    op->applied = json_at(op->body, "spec.replicas") ? json_parse_trusted(replicas, strlen(replicas))
                                                     : cJSON_CreateObject();
}

/* ---- conflicts ---- */

struct conflicts {
    struct err *err; /* the causes */
    struct str text; /* the message, after its head */
    const char *manager;
    size_t count; /* more than there are causes, if there are very many */
};

/* `"NAME"`, and for writes that were no apply how and when. */
static char *manager_text(const cJSON *entry)
{
    const char *name = json_string(entry, "manager"), *time = json_string(entry, "time");
    const char *subresource = json_string(entry, "subresource");
    if (str_eq(json_string(entry, "operation"), "Apply"))
        return mem_printf("\"%s\"", name);
    return mem_printf("\"%s\"%s%s%s using %s%s%s", name, subresource ? " with subresource \"" : "",
                      subresource ? subresource : "", subresource ? "\"" : "",
                      json_string_or(entry, "apiVersion", ""), time ? " at " : "", time ? time : "");
}

static void add_conflict(void *arg, const char *path)
{
    struct conflicts *conflicts = arg;
    if (++conflicts->count > MAX_CONFLICTS)
        return;
    auto_free char *shown = mem_printf("%.*s", MAX_SHOWN, path);
    err_add_cause(&conflicts->err, "FieldManagerConflict", shown, "conflict with %s", conflicts->manager);
    str_addf(&conflicts->text, "\n- %s", shown);
}

static void find_conflicts(const cJSON *entry, const cJSON *changed, struct conflicts *conflicts)
{
    auto_json shared = fieldset_intersection(fields_of(entry), changed);
    if (fieldset_is_empty(shared))
        return;
    auto_free char *manager = manager_text(entry);
    conflicts->manager = manager;
    if (conflicts->count < MAX_CONFLICTS)
        str_addf(&conflicts->text, "%sconflicts with %s:", conflicts->text.len ? "\n" : "", manager);
    fieldset_each(shared, add_conflict, conflicts);
}

static int refuse_conflicts(const cJSON *entries, const cJSON *own, const cJSON *changed, struct err **err)
{
    struct conflicts conflicts = {0};
    json_each (entry, entries) {
        if (entry != own)
            find_conflicts(entry, changed, &conflicts);
    }
    if (!conflicts.err)
        return 0;
    struct err *found = conflicts.err;
    if (conflicts.count > MAX_CONFLICTS)
        str_addf(&conflicts.text, "\n- and %zu more", conflicts.count - MAX_CONFLICTS);
    free(found->message);
    found->code = ERR_CONFLICT;
    found->message = conflicts.count == 1 ? mem_printf("Apply failed with 1 conflict: %s: %s",
                                                       found->causes[0].message, found->causes[0].field)
                                          : mem_printf("Apply failed with %zu conflicts: %s", conflicts.count,
                                                       str_c(&conflicts.text));
    str_free(&conflicts.text);
    return err_move(err, &conflicts.err);
}

/* ---- after a write ---- */

/* Takes from the others what they no longer own, and all entries that own nothing. */
static void take_from_others(cJSON *entries, const cJSON *own, const cJSON *changed, const cJSON *removed)
{
    for (cJSON *entry = entries->child, *next; entry; entry = next) {
        next = entry->next;
        if (entry != own) {
            auto_json left = fieldset_difference(fields_of(entry), changed);
            json_set(entry, "fieldsV1", fieldset_difference(left, removed));
        }
        if (fieldset_is_empty(fields_of(entry)))
            cJSON_Delete(cJSON_DetachItemViaPointer(entries, entry));
    }
}

static cJSON *own_fields(const struct op *op, const cJSON *own, const cJSON *changed, const cJSON *removed)
{
    if (applies(op))
        return json_copy(op->applied);
    auto_json more = fieldset_union(fields_of(own), changed);
    return fieldset_difference(more, removed);
}

static bool touches(const cJSON *fields, const cJSON *set)
{
    auto_json shared = fieldset_intersection(fields, set);
    return !fieldset_is_empty(shared);
}

/* The own entry as it is after the write; its time moves when anything of it did. */
static void set_own(const struct op *op, cJSON *entries, cJSON **own, const cJSON *changed,
                    const cJSON *removed)
{
    cJSON *fields = own_fields(op, *own, changed, removed);
    bool same = *own && json_equal(fields, fields_of(*own)) && !touches(fields, changed);
    if (*own)
        json_set(*own, "fieldsV1", fields);
    else
        *own = entry_add(op, entries, op->manager ? op->manager : NOBODY, applies(op) ? "Apply" : "Update",
                         op->subresource, fields);
    char now[TIME_TEXT];
    time_print(api_wall(op->api), now);
    if (!same)
        json_set_string(*own, "time", now);
}

/* Every client that names itself otherwise makes an entry: of those that only changed something the oldest,
 * which come first, are put together. */
static void join_ancient(const struct op *op, cJSON *entries, const cJSON *own)
{
    size_t updates = 0;
    json_each (entry, entries)
        updates += str_eq(json_string(entry, "operation"), "Update") &&
                   !str_eq(json_string(entry, "manager"), ANCIENT);
    for (cJSON *entry = entries->child, *next; entry && updates > MAX_UPDATES; entry = next) {
        next = entry->next;
        const char *part = json_string(entry, "subresource");
        if (entry == own || !str_eq(json_string(entry, "operation"), "Update") ||
            str_eq(json_string(entry, "manager"), ANCIENT))
            continue;
        cJSON *ancient = entry_find(entries, ANCIENT, "Update", part);
        if (ancient)
            json_set(ancient, "fieldsV1", fieldset_union(fields_of(ancient), fields_of(entry)));
        else
            ancient = entry_add(op, entries, ANCIENT, "Update", part, json_copy(fields_of(entry)));
        if (json_string(entry, "time"))
            json_set_string(ancient, "time", json_string(entry, "time"));
        cJSON_Delete(cJSON_DetachItemViaPointer(entries, entry));
        updates--;
    }
}

static int refuse_too_many(const cJSON *entries, struct err **err)
{
    int count = cJSON_GetArraySize(entries);
    if (count <= MAX_ENTRIES)
        return 0;
    return err_add_cause(err, "FieldValueTooMany", "metadata.managedFields",
                         "Too many: %d: at most %d managers have a part in one object", count, MAX_ENTRIES);
}

int managers_follow(struct op *op, const cJSON *old, cJSON *object, struct err **err)
{
    cJSON *meta = object_meta(object);
    auto_json entries = entries_of(op, old, object);
    if (!entries)
        return 0;
    cJSON *own = own_entry(op, entries);
    auto_json changed = NULL, *removed = NULL;
    fieldset_compare(op->kind, old, object, &changed, &removed);
    if (applies(op) && !op->force && refuse_conflicts(entries, own, changed, err) < 0)
        return -1;
    set_own(op, entries, &own, changed, removed);
    take_from_others(entries, own, changed, removed);
    join_ancient(op, entries, own);
    if (applies(op) && refuse_too_many(entries, err) < 0)
        return -1;
    if (entries->child)
        json_set(meta, "managedFields", steal(&entries));
    else
        json_remove(meta, "managedFields");
    return 0;
}
