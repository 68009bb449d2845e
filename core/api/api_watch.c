/*
 * Watching: Kubernetes' watch on one resource, and the one stream in global revision order (contract 2; its
 * line format is described in client/client.h). Both are a hub reader that is pulled by the server's threads;
 * events' bytes are copied once into the answer and never parsed, except for Table and PartialObjectMetadata.
 *
 * Bookmarks come every 30 s, and only when the revision has moved since the last line.
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

#define PIECE (32u << 10)
#define BOOKMARK_MS 30000

struct watching {
    struct api *api;
    struct http_exchange *x;
    struct stream_due due;
    struct watch_reader *reader;
    struct selection selection;
    char **resources;                    /* of the one stream, NULL-terminated */
    const struct schema_kind_info *info; /* NULL: the one stream */
    enum call_form form;
    bool beta, bookmarks, told_initial_end, columns_sent;
    atomic_bool started;
    struct table *table;
    int64_t deadline_ms, bookmark_ms;
    uint64_t told;  /* the client knows everything up to this revision */
    bool hello;     /* the first line of the one stream is still to be sent */
    bool all;       /* the one stream of who named no resources: ends when there is one more */
    unsigned epoch; /* of the kinds that it was opened with */
};

static void on_wake(void *arg)
{
    struct watching *w = arg;
    if (atomic_load(&w->started)) /* before that the first pull will look anyway */
        http_stream_wake(w->x);
}

static void watching_free(struct watching *w)
{
    watch_close(w->reader);
    selection_fini(&w->selection);
    table_free(w->table);
    free(w->resources);
    free(w);
}

static void on_closed(void *arg)
{
    struct watching *w = arg;
    streams_remove(w->api->streams, &w->due);
    watching_free(w);
}

/* ---- lines ---- */

static const char *type_name(enum watch_item_type type)
{
    switch (type) {
    case WATCH_ADDED:
        return "ADDED";
    case WATCH_MODIFIED:
        return "MODIFIED";
    case WATCH_DELETED:
        return "DELETED";
    case WATCH_INITIAL_END:
        return "INITIAL_END";
    case WATCH_BOOKMARK:
        break;
    }
    return "BOOKMARK";
}

static void add_object(struct watching *w, struct str *out, const struct watch_item *item)
{
    const struct bytes *bytes = item->event->bytes;
    if (w->table) {
        table_set_now(w->table, api_wall(w->api));
        table_begin(w->table, out, item->revision, NULL, 0, !w->columns_sent);
        table_row(w->table, out, bytes->data, bytes->len, true);
        table_end(out);
        w->columns_sent = true;
    } else if (w->form == FORM_PARTIAL) {
        auto_json object = json_parse_trusted(bytes->data, bytes->len);
        object_add_partial(out, object, w->beta);
    } else {
        object_add_as(out, w->info, bytes->data, bytes->len);
    }
}

static void add_bookmark(struct watching *w, struct str *out, uint64_t revision, bool initial_end)
{
    str_add(out, "{\"type\":\"BOOKMARK\",\"object\":");
    if (w->table) {
        table_begin(w->table, out, revision, NULL, 0, !w->columns_sent);
        table_end(out);
        w->columns_sent = true;
    } else {
        str_addf(out,
                 "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"%" PRIu64
                 "\"%s}}",
                 w->form == FORM_PARTIAL ? "PartialObjectMetadata" : w->info->kind,
                 w->form == FORM_PARTIAL ? "meta.k8s.io/v1" : w->info->api_version, revision,
                 initial_end ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "");
    }
    str_add(out, "}\n");
}

static void add_watch_item(struct watching *w, struct str *out, const struct watch_item *item)
{
    if (item->event) {
        str_addf(out, "{\"type\":\"%s\",\"object\":", type_name(item->type));
        add_object(w, out, item);
        str_add(out, "}\n");
    } else if (w->bookmarks && (item->type == WATCH_BOOKMARK || w->told_initial_end)) {
        add_bookmark(w, out, item->revision, item->type == WATCH_INITIAL_END);
    }
}

/* Members in this order: the client reads them without a parser. */
static void add_stream_item(struct str *out, const struct watch_item *item)
{
    str_reserve(out, 128 + (item->event ? item->event->bytes->len : 0));
    str_addf(out, "{\"type\":\"%s\",\"revision\":%" PRIu64, type_name(item->type), item->revision);
    if (item->event) {
        str_addf(out, ",\"resource\":\"%.*s\",\"object\":", (int)strcspn(item->event->key, "/"),
                 item->event->key);
        str_add_n(out, item->event->bytes->data, item->event->bytes->len);
    }
    str_add(out, "}\n");
}

static void add_error(struct watching *w, struct str *out, const struct err *error)
{
    auto_json status = status_failure(error, NULL, NULL);
    str_add(out, "{\"type\":\"ERROR\",");
    if (!w->info)
        str_addf(out, "\"revision\":%" PRIu64 ",", w->told);
    str_add(out, "\"object\":");
    json_print_to(out, status);
    str_add(out, "}\n");
}

static void add_item(struct watching *w, struct str *out, const struct watch_item *item)
{
    if (w->info)
        add_watch_item(w, out, item);
    else
        add_stream_item(out, item);
    if (item->revision > w->told)
        w->told = item->revision;
}

static void add_due_bookmark(struct watching *w, struct str *out, int64_t now)
{
    if (!w->bookmarks || now < w->bookmark_ms)
        return;
    w->bookmark_ms = now + BOOKMARK_MS;
    uint64_t position = watch_position(w->reader);
    if (position <= w->told)
        return;
    const struct watch_item bookmark = {.type = WATCH_BOOKMARK, .revision = position};
    add_item(w, out, &bookmark);
}

/* What is written after a new resource is there may refer to its objects, and this stream will never have
 * them: the client lists again before it hears of it. Looked at after an event is taken, as that may be of
 * later. */
static bool misses_kinds(struct watching *w, struct str *out)
{
    if (!w->all || atomic_load(&w->api->kinds_epoch) == w->epoch)
        return false;
    auto_err err = NULL;
    err_set(&err, ERR_GONE, "there are new kinds: list again");
    add_error(w, out, err);
    return true;
}

static enum http_pull pull(void *arg, struct str *out)
{
    struct watching *w = arg;
    atomic_store(&w->started, true);
    int64_t now = clock_monotonic_ms(w->api->clock);
    int got = 0;
    if (w->hello) {
        struct store *store = w->api->store;
        str_addf(out, "{\"type\":\"HELLO\",\"revision\":%" PRIu64 ",\"cluster\":\"%s\"}\n",
                 store->ops->revision(store), store->ops->cluster_id(store));
        w->hello = false;
    }
    while (out->len < PIECE) {
        struct watch_item item = {0};
        auto_err err = NULL;
        got = watch_next(w->reader, &item, &err);
        if (got < 0) {
            add_error(w, out, err);
            return HTTP_PULL_END;
        }
        if (misses_kinds(w, out)) {
            if (got > 0)
                watch_item_fini(&item);
            return HTTP_PULL_END;
        }
        if (got == 0)
            break;
        add_item(w, out, &item);
        watch_item_fini(&item);
    }
    if (w->deadline_ms && now >= w->deadline_ms)
        return HTTP_PULL_END;
    if (got == 0)
        add_due_bookmark(w, out, now);
    if (out->len)
        return HTTP_PULL_MORE;
    int64_t due = w->bookmarks ? w->bookmark_ms : INT64_MAX;
    if (w->deadline_ms && w->deadline_ms < due)
        due = w->deadline_ms;
    if (due != INT64_MAX)
        streams_set(w->api->streams, &w->due, due);
    return misses_kinds(w, out) ? HTTP_PULL_END : HTTP_PULL_WAIT; /* they came before it could be woken */
}

/* ---- opening ---- */

struct start {
    uint64_t from;
    bool initial, told_end;
};

static int read_start(const struct call *call, struct start *start, struct err **err)
{
    struct store *store = call->api->store;
    bool given = false;
    if (query_revision(call, "resourceVersion", &start->from, &given, err) < 0)
        return -1;
    const char *send = http_request_query(call->request, "sendInitialEvents");
    if (str_empty(send)) {
        start->initial = start->from == 0;
        return 0;
    }
    if (call->info && !str_eq(http_request_query(call->request, "resourceVersionMatch"), "NotOlderThan")) {
        err_add_cause(err, "FieldValueForbidden", "resourceVersionMatch",
                      "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        return -1;
    }
    start->initial = start->told_end = http_request_flag(call->request, "sendInitialEvents");
    if (!start->initial && start->from == 0)
        start->from = store->ops->revision(store);
    return 0;
}

static void watching_start(struct call *call, struct watching *w, const char *content_type)
{
    static const struct http_stream_ops ops = {.pull = pull, .closed = on_closed};
    w->bookmark_ms = clock_monotonic_ms(w->api->clock) + BOOKMARK_MS;
    streams_add(w->api->streams, &w->due);
    call_stream(call, content_type, &ops, w);
}

static int watch_prepare(struct call *call, struct watching *w, struct err **err)
{
    struct start start = {0};
    int64_t timeout = 0;
    bool given = false;
    if (selection_read(call, &w->selection, err) < 0 || read_start(call, &start, err) < 0 ||
        query_int(call, "timeoutSeconds", &timeout, &given, err) < 0)
        return -1;
    if (call->form == FORM_TABLE && !(w->table = table_new(call, err)))
        return -1;
    if (given && timeout > 0 && timeout < INT32_MAX)
        w->deadline_ms = clock_monotonic_ms(w->api->clock) + timeout * 1000;
    w->bookmarks = http_request_flag(call->request, "allowWatchBookmarks");
    w->told_initial_end = start.told_end;
    w->told = start.from;
    const char *resources[] = {call->info->resource, NULL};
    const struct watch_filter filter = {
        .resources = resources,
        .namespace = call->namespace ? call->namespace : w->selection.namespace,
        .name = w->selection.name,
        .labels = w->selection.labels,
        .fields = w->selection.fields,
        .node = call->identity.node,
        .node_shared = call->api->node_shared,
    };
    w->reader = watch_open(w->api->options.hub, &filter, start.from, start.initial, on_wake, w, err);
    return w->reader ? 0 : -1;
}

static struct watching *watching_new(struct call *call)
{
    struct watching *w = NEW(struct watching);
    w->api = call->api;
    w->x = w->due.x = call->x;
    w->info = call->info;
    w->form = call->form;
    w->beta = call->form_beta;
    return w;
}

void handle_watch(struct call *call)
{
    struct watching *w = watching_new(call);
    struct err *err = NULL;
    if (watch_prepare(call, w, &err) < 0) {
        watching_free(w);
        call_fail(call, err);
        return;
    }
    watching_start(call, w, NULL);
}

/* ---- the one stream ---- */

static bool may_watch(struct call *call, const struct schema_kind_info *info, struct err **err)
{
    const struct access list = {.verb = "list", .group = info->group, .resource = info->plural};
    const struct access watch = {.verb = "watch", .group = info->group, .resource = info->plural};
    return identity_allows(call->api, &call->identity, &list, err) == 0 &&
           identity_allows(call->api, &call->identity, &watch, err) == 0;
}

struct gather {
    struct call *call;
    struct str names; /* joined by NUL */
    size_t count;
};

static void gather_allowed(void *arg, const struct schema_kind *kind)
{
    struct gather *gather = arg;
    const struct schema_kind_info *info = schema_kind_info(kind);
    if (!may_watch(gather->call, info, NULL))
        return;
    str_add_n(&gather->names, info->resource, strlen(info->resource) + 1);
    gather->count++;
}

static int gather_wanted(struct gather *gather, const char *wanted, struct err **err)
{
    size_t count = 0;
    auto_free char **words = str_split(wanted, ',', &count);
    for (size_t i = 0; i < count; i++) {
        const struct schema_kind *kind = schema_find_resource(gather->call->api->schema, words[i]);
        if (!kind)
            return err_set(err, ERR_BAD_REQUEST, "resources: \"%.64s\" is not known", words[i]);
        if (!gather->call->identity.node && !may_watch(gather->call, schema_kind_info(kind), err))
            return -1;
        str_add_n(&gather->names, words[i], strlen(words[i]) + 1);
        gather->count++;
    }
    return 0;
}

/* The list of names as one allocation of pointers and text. */
static char **gather_take(struct gather *gather)
{
    char **names = mem_alloc((gather->count + 1) * sizeof(char *) + gather->names.len);
    char *text = (char *)(names + gather->count + 1);
    if (gather->names.len)
        memcpy(text, gather->names.data, gather->names.len);
    for (size_t i = 0; i < gather->count; i++) {
        names[i] = text;
        text += strlen(text) + 1;
    }
    str_free(&gather->names);
    return names;
}

/* A node's stream is scoped by the hub; anybody else sees the resources that RBAC lets him list and watch
 * everywhere. */
static int choose_resources(struct call *call, struct watching *w, struct err **err)
{
    struct gather gather = {.call = call};
    const char *wanted = http_request_query(call->request, "resources");
    if (!str_empty(wanted)) {
        if (gather_wanted(&gather, wanted, err) < 0) {
            str_free(&gather.names);
            return -1;
        }
    } else if (call->identity.node) {
        return 0;
    } else {
        w->all = true;
        w->epoch = atomic_load(&call->api->kinds_epoch);
        schema_each(call->api->schema, gather_allowed, &gather);
    }
    if (gather.count == 0)
        return err_set(err, ERR_FORBIDDEN, "stream is forbidden: User \"%s\" may list and watch no resource",
                       call->identity.who.user);
    w->resources = gather_take(&gather);
    return 0;
}

void handle_stream(struct call *call)
{
    struct watching *w = watching_new(call);
    struct start start = {0};
    struct err *err = NULL;
    w->bookmarks = w->hello = true;
    if (read_start(call, &start, &err) == 0 && choose_resources(call, w, &err) == 0) {
        const struct watch_filter filter = {.resources = (const char *const *)w->resources,
                                            .node = call->identity.node,
                                            .node_shared = call->api->node_shared};
        w->told = start.from;
        w->reader = watch_open(w->api->options.hub, &filter, start.from, start.initial, on_wake, w, &err);
    }
    if (!w->reader) {
        watching_free(w);
        call_fail(call, err);
        return;
    }
    watching_start(call, w, "application/x-ndjson");
}
