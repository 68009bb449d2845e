/*
 * GET /apis/minik8s.io/v1/past?resource=R&resourceVersion=N[&namespace=][&name=]: the objects as they were at
 * revision N, from the store's log; with history=true and a name: every form of that object that the log
 * holds. Answers {"revision", "oldest", "lost", "items"}; for a history each item is {"type", "revision",
 * "object"}.
 *
 * At N: what is present and was last written up to N, and of each object written since, its last form in the
 * log up to N. `lost` counts objects that existed at N in a form written before the log begins: the log
 * forgets such a form when it is replaced. The log is read in small pieces, each a task of the api's loop, so
 * that nothing waits.
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

#define PIECE 128             /* events a task */
#define MAX_BYTES (48u << 20) /* of an answer */
#define MAX_HISTORY 1000      /* the newest are kept */

struct past {
    struct call *call;
    struct api *api;
    char *prefix, *key; /* key: of one object, or NULL */
    uint64_t revision, until, oldest, at;
    bool history, too_large;
    struct map forms; /* key → bytes: the form at `revision` as the log tells it */
    struct map moved; /* key, written after `revision` → this if it existed at it, else NULL */
    struct str items;
    size_t count, bytes;
    char *events[MAX_HISTORY]; /* a ring */
};

static void free_bytes(void *bytes)
{
    bytes_unref(bytes);
}

static void past_free(struct past *past)
{
    for (size_t i = 0; i < MAX_HISTORY; i++)
        free(past->events[i]);
    map_fini(&past->forms);
    map_fini(&past->moved);
    str_free(&past->items);
    free(past->prefix);
    free(past->key);
    free(past);
}

static void finish(struct past *past, struct err *err)
{
    struct call *call = past->call;
    if (past->too_large && !err)
        err_set(&err, ERR_TOO_LARGE, "more than %u MiB: name a namespace or an object", MAX_BYTES >> 20);
    if (err) {
        past_free(past);
        call_fail(call, err);
        return;
    }
    struct str out = {0};
    size_t lost = 0;
    map_each (entry, &past->moved)
        lost += entry->value && !map_has(&past->forms, entry->key);
    str_addf(&out,
             "{\"kind\":\"Past\",\"apiVersion\":\"minik8s.io/v1\",\"revision\":%" PRIu64
             ",\"oldest\":%" PRIu64 ",\"lost\":%zu,\"items\":[",
             past->revision, past->oldest, lost);
    size_t first = past->history && past->count > MAX_HISTORY ? past->count - MAX_HISTORY : 0;
    for (size_t i = first; past->history && i < past->count; i++)
        str_addf(&out, "%s%s", i > first ? "," : "", past->events[i % MAX_HISTORY]);
    map_each (entry, &past->forms) {
        const struct bytes *bytes = entry->value;
        if (!past->history) {
            str_addf(&past->items, "%s", past->items.len ? "," : "");
            str_add_n(&past->items, bytes->data, bytes->len);
        }
    }
    str_add_n(&out, str_c(&past->items), past->items.len);
    str_add(&out, "]}");
    past_free(past);
    call_answer_text(call, 200, NULL, &out);
}

/* ---- the log ---- */

static const char *const type_names[] = {"ADDED", "MODIFIED", "DELETED"};

static void add_history(struct past *past, const struct store_event *event)
{
    char **place = &past->events[past->count++ % MAX_HISTORY];
    past->bytes += event->bytes->len;
    past->bytes -= *place ? strlen(*place) : 0;
    past->too_large = past->too_large || past->bytes > MAX_BYTES;
    free(*place);
    *place = mem_printf("{\"type\":\"%s\",\"revision\":%" PRIu64 ",\"object\":%s}", type_names[event->type],
                        event->revision, event->bytes->data);
}

/* The first event after the revision: if what it replaced is older than the log, the store has that form
 * still. */
static void add_moved(struct past *past, const struct store_event *event)
{
    struct store *store = past->api->store;
    struct store_object former = {0};
    map_set(&past->moved, event->key, event->type == STORE_ADDED ? NULL : past);
    if (event->type == STORE_ADDED || map_has(&past->forms, event->key) ||
        store->ops->former(store, event->revision, &former, NULL) < 0)
        return;
    past->bytes += former.bytes->len;
    map_set(&past->forms, event->key, bytes_ref(former.bytes));
    store_object_fini(&former);
}

static void add_form(struct past *past, const struct store_event *event)
{
    if (event->revision > past->revision) {
        if (!map_has(&past->moved, event->key))
            add_moved(past, event);
        return;
    }
    if (event->type == STORE_DELETED) {
        map_remove(&past->forms, event->key);
        return;
    }
    past->bytes += event->bytes->len;
    past->too_large = past->too_large || past->bytes > MAX_BYTES * 4;
    map_set(&past->forms, event->key, bytes_ref(event->bytes));
}

static void take_event(struct past *past, const struct store_event *event)
{
    bool mine = past->key ? str_eq(event->key, past->key) : str_starts(event->key, past->prefix);
    if (mine && past->history)
        add_history(past, event);
    else if (mine)
        add_form(past, event);
}

static void read_piece(void *arg)
{
    struct past *past = arg;
    struct store *store = past->api->store;
    struct store_event *events[PIECE];
    size_t count = 0;
    struct err *err = NULL;
    if (store->ops->log_read(store, past->at, PIECE, events, &count, &err) < 0) {
        finish(past, err);
        return;
    }
    bool more = count > 0;
    for (size_t i = 0; i < count; i++) {
        if (events[i]->revision > past->until)
            more = false;
        else if (!past->too_large)
            take_event(past, events[i]);
        past->at = events[i]->revision;
        store_event_unref(events[i]);
    }
    if (more && !past->too_large)
        loop_post(past->api->options.loop, read_piece, past);
    else
        finish(past, NULL);
}

/* ---- what is asked ---- */

/* What was last written up to the revision is as it was. */
static int take_present(struct past *past, struct err **err)
{
    struct store *store = past->api->store;
    const struct store_list_request request = {.prefix = past->prefix};
    struct store_list list = {0};
    if (store->ops->list(store, &request, &list, err) < 0)
        return -1;
    past->until = list.revision;
    for (size_t i = 0; i < list.count; i++) {
        struct store_object *object = &list.objects[i];
        if (object->revision > past->revision || (past->key && !str_eq(object->key, past->key)))
            continue;
        past->bytes += object->bytes->len;
        past->too_large = past->too_large || past->bytes > MAX_BYTES * 4;
        map_set(&past->forms, object->key, bytes_ref(object->bytes));
    }
    store_list_fini(&list);
    return 0;
}

static const struct schema_kind_info *find_kind(struct call *call, const char *resource, struct err **err)
{
    const struct schema_kind *kind = schema_find_resource(call->api->schema, resource);
    const struct schema_kind_info *info = kind ? schema_kind_info(kind) : NULL;
    if (!info)
        err_set(err, ERR_NOT_FOUND, "there is no resource \"%.253s\"", resource);
    else if (info->is_volatile)
        err_set(err, ERR_BAD_REQUEST, "%s are not kept on disk: they have no past", resource);
    return info && !info->is_volatile ? info : NULL;
}

static int check_access(struct call *call, const struct schema_kind_info *info, const char *namespace,
                        const char *name, struct err **err)
{
    const struct access access = {.verb = name ? "get" : "list",
                                  .group = info->group,
                                  .resource = info->plural,
                                  .namespace = namespace,
                                  .name = name};
    return identity_allows(call->api, &call->identity, &access, err);
}

static int read_wish(struct call *call, struct past *past, struct err **err)
{
    const char *resource = http_request_query(call->request, "resource"),
               *namespace = http_request_query(call->request, "namespace"),
               *name = http_request_query(call->request, "name");
    bool given = false;
    const struct schema_kind_info *info = find_kind(call, resource ? resource : "", err);
    if (info && !info->namespaced && !str_empty(namespace))
        return err_set(err, ERR_BAD_REQUEST, "%s are in no namespace", resource);
    if (call->identity.node) /* may read what is its own now: of what was, that cannot be told */
        return err_set(err, ERR_FORBIDDEN, "nodes do not read the past");
    if (!info || check_access(call, info, namespace, name, err) < 0 ||
        query_revision(call, "resourceVersion", &past->revision, &given, err) < 0)
        return -1;
    past->history = http_request_flag(call->request, "history");
    if (past->history ? !name : !given)
        return err_set(err, ERR_BAD_REQUEST,
                       past->history ? "a history needs a name" : "resourceVersion is required");
    past->prefix = store_key_prefix(info->resource, info->namespaced ? namespace : "");
    past->key = name ? store_key(info->resource, info->namespaced ? namespace : NULL, name) : NULL;
    return 0;
}

static int check_revision(struct past *past, struct err **err)
{
    struct store *store = past->api->store;
    past->oldest = past->at = store->ops->oldest_revision(store);
    past->until = store->ops->revision(store);
    if (past->history)
        past->revision = past->until;
    if (past->revision > past->until)
        return err_set(err, ERR_BAD_REQUEST, "revision %" PRIu64 " is newer than the newest, %" PRIu64,
                       past->revision, past->until);
    if (past->revision < past->oldest)
        return err_set(err, ERR_GONE,
                       "revision %" PRIu64 " is older than what is kept: %" PRIu64 " and later",
                       past->revision, past->oldest);
    return 0;
}

void handle_past(struct call *call)
{
    struct past *past = NEW(struct past);
    struct err *err = NULL;
    past->call = call;
    past->api = call->api;
    map_init(&past->forms, free_bytes);
    if (read_wish(call, past, &err) < 0 || check_revision(past, &err) < 0 ||
        (!past->history && take_present(past, &err) < 0))
        finish(past, err);
    else
        loop_post(call->api->options.loop, read_piece, past);
}
