/*
 * watch_initial: the objects that are there already, page by page, so that no reader holds a copy of
 * everything.
 *
 * Each page is a snapshot of its own. What was written between the pages is replayed from the log, beginning
 * at the first page's revision; an event that the page of its key has seen already is left out
 * (initial_knows). When the replay has reached the last page's revision the reader knows exactly that state,
 * and INITIAL_END is told.
 */
#include <string.h>

#include "store/keys.h"
#include "watch/watch_private.h"

#define PAGE_OBJECTS 256

static void plan_listing(struct watch_reader *reader, char *prefix, bool exact, bool scoped)
{
    reader->listings = mem_resize(reader->listings, reader->n_listings + 1, sizeof(*reader->listings));
    reader->listings[reader->n_listings++] =
        (struct watch_listing){.prefix = prefix, .exact = exact, .scoped = scoped};
}

static bool plan_wants(const struct watch_reader *reader, const char *resource)
{
    return !reader->resources || filter_lists_resource(reader->resources, resource);
}

/* What of a resource the filter can match. */
static void plan_resource(struct watch_reader *reader, const char *resource)
{
    if (reader->name && reader->namespace)
        plan_listing(reader, store_key(resource, reader->namespace, reader->name), true, false);
    else
        plan_listing(reader, store_key_prefix(resource, reader->namespace), false, false);
}

static void plan_node(struct watch_reader *reader)
{
    const char *const leases = "leases.coordination.k8s.io";
    static const char *const scoped[] = {"pods", "persistentvolumes"}; /* what a node's term leads to */
    for (size_t i = 0; i < COUNT_OF(scoped); i++)
        if (plan_wants(reader, scoped[i]) && !filter_lists_resource(reader->shared, scoped[i]))
            plan_listing(reader, store_key_prefix(scoped[i], reader->namespace), false, true);
    if (plan_wants(reader, "nodes") && !filter_lists_resource(reader->shared, "nodes"))
        plan_listing(reader, store_key("nodes", NULL, reader->node), true, false);
    if (plan_wants(reader, leases) && !filter_lists_resource(reader->shared, leases))
        plan_listing(reader, store_key(leases, "kube-node-lease", reader->node), true, false);
    for (size_t i = 0; reader->shared && reader->shared[i]; i++)
        if (plan_wants(reader, reader->shared[i]) &&
            !filter_lists_resource(reader->shared + i + 1, reader->shared[i]))
            plan_resource(reader, reader->shared[i]);
}

void initial_plan(struct watch_reader *reader)
{
    reader->mode = WATCH_LISTING;
    reader->initial_pending = true;
    reader->first_listed = UINT64_MAX;
    if (reader->node)
        plan_node(reader);
    else if (!reader->resources)
        plan_listing(reader, mem_strdup(""), false, false);
    for (size_t i = 0; !reader->node && reader->resources && reader->resources[i]; i++)
        if (!filter_lists_resource(reader->resources + i + 1, reader->resources[i]))
            plan_resource(reader, reader->resources[i]);
}

struct matching {
    const struct watch_reader *reader;
    const struct watch_listing *listing;
};

static bool listing_matches(void *arg, const struct store_object *object)
{
    const struct matching *matching = arg;
    if (matching->listing->exact && strcmp(object->key, matching->listing->prefix) != 0)
        return false;
    return filter_matches(matching->reader, object->key, object->terms);
}

static int initial_add(struct watch_reader *reader, struct store_object *object, struct err **err)
{
    if (reader->node && node_listed(reader, object, err) != 0)
        return -1;
    struct store_event *event = store_event_new(STORE_ADDED, object->key, strlen(object->key));
    event->revision = object->revision;
    event->created_revision = object->created_revision;
    event->flags = object->flags;
    event->bytes = steal(&object->bytes);
    event->terms = steal(&object->terms);
    reader_push(reader, WATCH_ADDED, event->revision, event);
    return 0;
}

static void listing_add_page(struct watch_reader *reader, struct watch_listing *listing,
                             const struct store_list *list)
{
    const char *last = list->count > 0 ? list->objects[list->count - 1].key : NULL;
    listing->ended = !list->more || !last;
    listing->pages = mem_resize(listing->pages, listing->n_pages + 1, sizeof(*listing->pages));
    listing->pages[listing->n_pages++] =
        (struct watch_page){listing->ended ? NULL : mem_strdup(last), list->revision};
    free(listing->after);
    listing->after = mem_strdup(last);
    if (list->revision < reader->first_listed)
        reader->first_listed = list->revision;
    if (list->revision > reader->last_listed)
        reader->last_listed = list->revision;
}

int initial_step(struct watch_reader *reader, struct err **err)
{
    struct store *store = reader->hub->store;
    if (reader->next_listing == reader->n_listings) {
        if (reader->n_listings == 0) /* a filter that selects nothing that exists at the start */
            reader->first_listed = reader->last_listed = store->ops->revision(store);
        reader->processed = reader->first_listed;
        reader->mode = WATCH_LAGGING;
        return 0;
    }
    struct watch_listing *listing = &reader->listings[reader->next_listing];
    struct matching matching = {reader, listing};
    char **terms = filter_index_terms(reader, listing->scoped);
    struct store_list_request request = {.prefix = listing->prefix,
                                         .terms = (const char *const *)terms,
                                         .after_key = listing->after,
                                         .limit = PAGE_OBJECTS,
                                         .match = listing_matches,
                                         .match_arg = &matching};
    struct store_list list;
    int result = store->ops->list(store, &request, &list, err);
    filter_free_strings(terms);
    if (result != 0)
        return -1;
    listing_add_page(reader, listing, &list);
    for (size_t i = 0; i < list.count && result == 0; i++)
        result = initial_add(reader, &list.objects[i], err);
    reader->next_listing += listing->ended;
    store_list_fini(&list);
    return result;
}

bool initial_knows(const struct watch_reader *reader, const struct store_event *event)
{
    for (size_t i = 0; i < reader->n_listings; i++) {
        const struct watch_listing *listing = &reader->listings[i];
        bool covers = listing->exact ? strcmp(event->key, listing->prefix) == 0
                                     : str_starts(event->key, listing->prefix);
        for (size_t j = 0; covers && j < listing->n_pages; j++)
            if (!listing->pages[j].bound || strcmp(event->key, listing->pages[j].bound) <= 0)
                return event->revision <= listing->pages[j].revision;
    }
    return false;
}

void initial_free(struct watch_reader *reader)
{
    for (size_t i = 0; i < reader->n_listings; i++) {
        struct watch_listing *listing = &reader->listings[i];
        for (size_t j = 0; j < listing->n_pages; j++)
            free(listing->pages[j].bound);
        free(listing->pages);
        free(listing->prefix);
        free(listing->after);
    }
    free(steal(&reader->listings));
    reader->n_listings = 0;
}
