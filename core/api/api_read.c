/*
 * GET and LIST. Stored bytes are wire bytes: a GET hands out a reference, a LIST joins references; only Table
 * and PartialObjectMetadata parse. A big LIST is pulled by the server piece by piece, and the sum of what is
 * under way is capped (contract 5), because a failed allocation aborts.
 *
 * Chunks: every page is a snapshot of its own, but all pages of one list carry the first page's
 * resourceVersion, so that a watch from there repeats what the later pages may have seen and misses nothing;
 * a token whose revision the log has forgotten gets 410.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"

#define LIST_PIECE (64u << 10)
#define LIST_AT_ONCE (256u << 10) /* up to here one answer with a length, above a chunked stream */

static void answer_object(struct call *call, const struct store_object *object)
{
    if (call->form == FORM_JSON) {
        call_answer(call, 200, object_bytes_as(call->info, object->bytes));
        return;
    }
    struct str text = {0};
    if (call->form == FORM_PARTIAL) {
        auto_json parsed = json_parse_trusted(object->bytes->data, object->bytes->len);
        object_add_partial(&text, parsed, call->form_beta);
        call_answer_text(call, 200, NULL, &text);
        return;
    }
    struct err *err = NULL;
    struct table *table = table_new(call, &err);
    if (!table) {
        call_fail(call, err);
        return;
    }
    table_begin(table, &text, object->revision, NULL, 0, true);
    table_row(table, &text, object->bytes->data, object->bytes->len, true);
    table_end(&text);
    table_free(table);
    call_answer_text(call, 200, NULL, &text);
}

void handle_get(struct call *call)
{
    struct store *store = call->api->store;
    auto_free char *key = store_key(call->info->resource, call->namespace, call->name);
    struct store_object object = {0};
    struct err *err = NULL;
    if (store->ops->get(store, key, &object, &err) < 0) {
        if (err_code(err) == ERR_NOT_FOUND) {
            err_free(steal(&err));
            fail_not_found(&err, call->info, call->name);
        }
        call_fail(call, err);
        return;
    }
    if (str_eq(call->subresource, "scale")) {
        auto_json parsed = json_parse_trusted(object.bytes->data, object.bytes->len);
        call_answer_json(call, 200, scale_from(call->info, parsed, object.revision));
    } else {
        answer_object(call, &object);
    }
    store_object_fini(&object);
}

/* ---- continue tokens ---- */

static char *token_make(uint64_t revision, const char *key)
{
    auto_free char *text = mem_printf("1 %" PRIu64 " %s", revision, key);
    return str_base64(text, strlen(text));
}

static int token_read(const char *token, uint64_t *revision, char **key, struct err **err)
{
    auto_free unsigned char *data = NULL;
    size_t len = 0;
    int at = 0;
    if (str_unbase64(token, strlen(token), &data, &len) == 0) {
        auto_free char *text = mem_strndup((const char *)data, len);
        if (sscanf(text, "1 %" SCNu64 " %n", revision, &at) == 1 && at > 0 && text[at]) {
            *key = mem_strdup(text + at);
            return 0;
        }
    }
    return err_set(err, ERR_BAD_REQUEST, "continue key is not valid");
}

/* ---- LIST ---- */

struct listing {
    struct api *api;
    struct store_list list;
    const struct schema_kind_info *info;
    struct table *table; /* or NULL */
    enum call_form form;
    bool beta;
    size_t at, accounted;
    struct str head; /* printed before the first item */
};

static void listing_free(void *arg)
{
    struct listing *listing = arg;
    atomic_fetch_sub(&listing->api->list_bytes, listing->accounted);
    store_list_fini(&listing->list);
    table_free(listing->table);
    str_free(&listing->head);
    free(listing);
}

static void add_item(struct listing *listing, struct str *out)
{
    const struct bytes *bytes = listing->list.objects[listing->at].bytes;
    bool first = listing->at == 0;
    if (listing->table) {
        table_row(listing->table, out, bytes->data, bytes->len, first);
    } else {
        if (!first)
            str_add_char(out, ',');
        if (listing->form == FORM_PARTIAL) {
            auto_json object = json_parse_trusted(bytes->data, bytes->len);
            object_add_partial(out, object, listing->beta);
        } else {
            object_add_as(out, listing->info, bytes->data, bytes->len);
        }
    }
    listing->at++;
}

static enum http_pull listing_pull(void *arg, struct str *out)
{
    struct listing *listing = arg;
    if (listing->head.len) {
        str_add_n(out, listing->head.data, listing->head.len);
        str_free(&listing->head);
    }
    while (listing->at < listing->list.count && out->len < LIST_PIECE)
        add_item(listing, out);
    if (listing->at < listing->list.count)
        return HTTP_PULL_MORE;
    str_add(out, "]}");
    return HTTP_PULL_END;
}

static void print_head(struct call *call, struct listing *listing, uint64_t revision, const char *token)
{
    struct store_list *list = &listing->list;
    if (listing->table) {
        table_begin(listing->table, &listing->head, revision, token, list->remaining, true);
        return;
    }
    if (call->form == FORM_PARTIAL)
        str_addf(&listing->head,
                 "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1%s\",",
                 call->form_beta ? "beta1" : "");
    else
        str_addf(&listing->head, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",", call->info->list_kind,
                 call->info->api_version);
    list_meta_add(&listing->head, revision, token, list->remaining);
    str_add(&listing->head, ",\"items\":[");
}

/* Caps what is being sent; one list alone always passes. */
static int account(struct listing *listing, struct err **err)
{
    struct api *api = listing->api;
    size_t size = 0;
    for (size_t i = 0; i < listing->list.count; i++)
        size += listing->list.objects[i].bytes->len;
    size_t before = atomic_fetch_add(&api->list_bytes, size);
    listing->accounted = size;
    if (before && before + size > api->list_bytes_max)
        return err_set(err, ERR_TOO_MANY_REQUESTS, "too many lists are being sent: try again");
    return 0;
}

static void listing_answer(struct call *call, struct listing *listing)
{
    static const struct http_stream_ops ops = {.pull = listing_pull, .closed = listing_free};
    if (listing->accounted > LIST_AT_ONCE && !call->conversion) {
        call_stream(call, NULL, &ops, listing);
        return;
    }
    struct str text = {0};
    if (!listing->table)
        str_reserve(&text, listing->accounted + listing->list.count + 512);
    str_add_n(&text, str_c(&listing->head), listing->head.len);
    while (listing->at < listing->list.count)
        add_item(listing, &text);
    str_add(&text, "]}");
    listing_free(listing);
    call_answer_text(call, 200, NULL, &text);
}

/* ---- what revision is asked for ---- */

static int check_revision(const struct call *call, struct err **err)
{
    struct store *store = call->api->store;
    const char *match = http_request_query(call->request, "resourceVersionMatch");
    uint64_t wanted = 0;
    bool given = false;
    if (query_revision(call, "resourceVersion", &wanted, &given, err) < 0)
        return -1;
    if (!str_empty(match) && !str_eq(match, "Exact") && !str_eq(match, "NotOlderThan"))
        return err_set(err, ERR_BAD_REQUEST, "resourceVersionMatch: Unsupported value: \"%.64s\"", match);
    if (!str_empty(match) && !given)
        return err_set(err, ERR_BAD_REQUEST,
                       "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless "
                       "resourceVersion is provided");
    if (!given || wanted == 0)
        return 0;
    uint64_t now = store->ops->revision(store);
    if (wanted > now)
        return err_set(err, ERR_TIMEOUT, "Too large resource version: %" PRIu64 ", current: %" PRIu64, wanted,
                       now);
    if (str_eq(match, "Exact") && wanted != now)
        return err_set(err, ERR_GONE, "The resourceVersion for the provided list is too old.");
    return 0;
}

struct list_page {
    struct selection selection;
    char *prefix, *after;
    int64_t limit;
    uint64_t first_revision; /* of the first page; 0: this is it */
};

static void page_fini(struct list_page *page)
{
    selection_fini(&page->selection);
    free(page->prefix);
    free(page->after);
}

static int page_read(const struct call *call, struct list_page *page, struct err **err)
{
    struct store *store = call->api->store;
    bool given = false;
    const char *token = http_request_query(call->request, "continue");
    if (selection_read(call, &page->selection, err) < 0 ||
        query_int(call, "limit", &page->limit, &given, err) < 0)
        return -1;
    if (!str_empty(token)) {
        if (token_read(token, &page->first_revision, &page->after, err) < 0)
            return -1;
        if (page->first_revision < store->ops->resume_revision(store) ||
            page->first_revision > store->ops->revision(store))
            return err_set(err, ERR_GONE,
                           "The provided continue parameter is too old to display a consistent list result. "
                           "You can start a "
                           "new list without the continue parameter.");
    } else if (check_revision(call, err) < 0) {
        return -1;
    }
    const char *namespace = call->namespace ? call->namespace : page->selection.namespace;
    if (page->selection.name && (namespace || !call->info->namespaced))
        page->prefix =
            store_key(call->info->resource, namespace, page->selection.name); /* others are filtered out */
    else
        page->prefix = store_key_prefix(call->info->resource, namespace);
    return 0;
}

static struct listing *listing_new(struct call *call, struct list_page *page, struct err **err)
{
    struct store *store = call->api->store;
    struct listing *listing = NEW(struct listing);
    listing->api = call->api;
    listing->info = call->info;
    listing->form = call->form;
    listing->beta = call->form_beta;
    const struct store_list_request request = {
        .prefix = page->prefix,
        .terms = (const char *const *)page->selection.terms,
        .after_key = page->after,
        .limit = (size_t)page->limit,
        .match = page->selection.labels || page->selection.fields ? selection_matches : NULL,
        .match_arg = &page->selection,
    };
    if (store->ops->list(store, &request, &listing->list, err) < 0 || account(listing, err) < 0 ||
        (call->form == FORM_TABLE && !(listing->table = table_new(call, err)))) {
        listing_free(listing);
        return NULL;
    }
    return listing;
}

void handle_list(struct call *call)
{
    struct err *err = NULL;
    struct list_page page = {0};
    struct listing *listing = NULL;
    if (page_read(call, &page, &err) < 0 || !(listing = listing_new(call, &page, &err))) {
        page_fini(&page);
        call_fail(call, err);
        return;
    }
    struct store_list *list = &listing->list;
    uint64_t revision = page.first_revision ? page.first_revision : list->revision;
    auto_free char *token =
        list->more && list->count ? token_make(revision, list->objects[list->count - 1].key) : NULL;
    print_head(call, listing, revision, token);
    page_fini(&page);
    listing_answer(call, listing);
}
