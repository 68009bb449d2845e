/*
 * sim_laws: what must hold in a simulated cluster: at any time (commits, watches, machines, the drain
 * protocol), and once all is quiet (sim_unsettled). Judged from the store, the machines and the networks
 * themselves, never from what a part says about itself.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

#define DRAIN_BOUND_MS 2000
#define LIVE_AFTER_MS 4000 /* a node that came back counts for the drain protocol once it is Ready again */

/* ---- commits ---- */

static void learn_pod(struct sim_world *w, const struct store_event *event)
{
    const char *uid = store_terms_get(event->terms, "u:=");
    if (!uid)
        return;
    struct sim_pod *pod = map_get(&w->pods, uid);
    if (!pod) {
        pod = NEW(struct sim_pod);
        pod->deleting_since_ms = -1;
        map_set(&w->pods, uid, pod);
    }
    if (event->type == STORE_DELETED)
        pod->gone = true;
    static const char ip[] = "\"podIP\":\"", deleting[] = "\"deletionTimestamp\":\"";
    const char *data = event->bytes->data;
    if (pod->deleting_since_ms < 0 && memmem(data, event->bytes->len, deleting, sizeof(deleting) - 1))
        pod->deleting_since_ms = loop_now_ms(w->loop);
    const char *found = memmem(data, event->bytes->len, ip, sizeof(ip) - 1);
    if (found) {
        auto_free char *text = mem_strndup(found + sizeof(ip) - 1, strcspn(found + sizeof(ip) - 1, "\""));
        inet_pton(AF_INET, text, &pod->address);
    }
}

void sim_laws_on_commit(struct sim_world *w, struct store_event *const *events, size_t count)
{
    static const char *const verbs[] = {"added", "modified", "deleted"};
    for (size_t i = 0; i < count; i++) {
        struct store_event *event = events[i];
        watch_history_add(w->history, event);
        uint64_t hash = str_hash(event->bytes->data, event->bytes->len);
        w->hash = (w->hash ^ hash ^ event->revision) * UINT64_C(1099511628211);
        if (str_starts(event->key, "pods/"))
            learn_pod(w, event);
        if (w->options.objects)
            sim_objects_on_event(w, event);
        if (event->flags & STORE_VOLATILE)
            continue;
        sim_note(w, "%llu %s %s", (unsigned long long)event->revision, event->key, verbs[event->type]);
        if (event->type == STORE_DELETED) {
            map_remove(&w->committed, event->key);
            continue;
        }
        struct sim_object *object = NEW(struct sim_object);
        *object = (struct sim_object){event->revision, hash};
        map_set(&w->committed, event->key, object);
    }
    if (w->options.objects)
        sim_objects_check(w);
}

void sim_laws_check_store(struct sim_world *w)
{
    const struct store_list_request request = {.prefix = ""};
    struct store_list list = {0};
    auto_err err = NULL;
    if (w->store->ops->list(w->store, &request, &list, &err) < 0) {
        sim_fail(w, "list the store: %s", err_message(err));
        return;
    }
    size_t durable = 0;
    for (size_t i = 0; i < list.count; i++) {
        const struct store_object *object = &list.objects[i];
        if (object->flags & STORE_VOLATILE)
            continue;
        durable++;
        const struct sim_object *known = map_get(&w->committed, object->key);
        if (!known)
            sim_fail(w, "%s is in the store again after its deletion", object->key);
        else if (known->revision != object->revision ||
                 known->hash != str_hash(object->bytes->data, object->bytes->len))
            sim_fail(w, "%s at revision %llu is not what was committed at %llu", object->key,
                     (unsigned long long)object->revision, (unsigned long long)known->revision);
    }
    if (durable != w->committed.count)
        sim_fail(w, "%zu objects were committed, the store has %zu", w->committed.count, durable);
    store_list_fini(&list);
}

cJSON *sim_list(struct sim_world *w, const char *resource)
{
    auto_free char *prefix = mem_printf("%s/", resource);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    cJSON *array = cJSON_CreateArray();
    must(w->store && w->store->ops->list(w->store, &request, &list, NULL) == 0);
    for (size_t i = 0; i < list.count; i++)
        json_push(array, json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len));
    store_list_fini(&list);
    return array;
}

/* ---- watches ---- */

static const char *const watched[SIM_WATCHES][4] = {
    {"pods", NULL},
    {"deployments.apps", "replicasets.apps", "configmaps", NULL},
    {"endpointslices.discovery.k8s.io", "services", "nodes", NULL}};

static bool selects(void *arg, const char *key, const struct store_terms *terms UNUSED)
{
    const char *const *resources = arg;
    size_t len = strcspn(key, "/");
    for (; *resources; resources++)
        if (strlen(*resources) == len && memcmp(*resources, key, len) == 0)
            return true;
    return false;
}

static void on_wake(void *arg)
{
    ((struct sim_watch *)arg)->awake = true;
}

void sim_laws_watch_open(struct sim_world *w)
{
    watch_hub_set_queue_limit(w->hub, 8); /* small: readers often have to be served from the log */
    for (size_t i = 0; i < SIM_WATCHES; i++) {
        struct sim_watch *watch = &w->watches[i];
        const struct watch_filter filter = {.resources = watched[i]};
        auto_err err = NULL;
        bool initial = !watch->checker;
        if (initial)
            watch->checker = watch_checker_new(w->history, selects, (void *)(uintptr_t)watched[i], 0, true);
        watch->reader = watch_open(w->hub, &filter, watch->position, initial, on_wake, watch, &err);
        watch->awake = true;
        if (!watch->reader)
            sim_fail(w, "resume the watch of %s from %llu: %s", watched[i][0],
                     (unsigned long long)watch->position, err_message(err));
    }
    watch_hub_set_queue_limit(w->hub, 4096);
}

static void read_one(struct sim_world *w, struct sim_watch *watch)
{
    struct watch_item item;
    auto_err err = NULL;
    int more;
    while ((more = watch_next(watch->reader, &item, &err)) > 0) {
        if (item.type != WATCH_BOOKMARK && item.revision > watch->position)
            watch->position = item.revision;
        const char *wrong = watch_checker_feed(watch->checker, &item);
        watch_item_fini(&item);
        if (wrong)
            sim_fail(w, "watch of %s: %s", watched[watch - w->watches][0], wrong);
        if (wrong)
            return;
    }
    if (more < 0)
        sim_fail(w, "watch of %s: %s", watched[watch - w->watches][0], err_message(err));
}

void sim_laws_watch_read(struct sim_world *w)
{
    for (size_t i = 0; i < SIM_WATCHES; i++) {
        struct sim_watch *watch = &w->watches[i];
        if (!watch->reader || !watch->awake)
            continue;
        watch->awake = false;
        read_one(w, watch);
    }
}

void sim_laws_watch_close(struct sim_world *w, bool last)
{
    for (size_t i = 0; i < SIM_WATCHES; i++) {
        struct sim_watch *watch = &w->watches[i];
        if (watch->reader) {
            read_one(w, watch);
            const char *missing = watch_checker_end(watch->checker, watch->position);
            if (missing)
                sim_fail(w, "watch of %s: %s", watched[i][0], missing);
            watch_close(watch->reader);
        }
        watch->reader = NULL;
        if (last && watch->checker) {
            watch_checker_free(watch->checker);
            *watch = (struct sim_watch){0};
        }
    }
}

/* ---- machines ---- */

struct running {
    struct sim_world *world;
    const char *machine;
    struct map seen; /* "uid/container" or "uid" → machine's name; "name/container" → uid */
};

static void see_running(void *arg, const struct runtime_container *c)
{
    struct running *r = arg;
    const char *uid = runtime_container_label(c, "io.minik8s.pod.uid");
    if (c->state != RUNTIME_RUNNING || !uid)
        return;
    auto_free char *key = mem_printf("%s/%s", uid, runtime_container_label(c, "io.minik8s.container"));
    const char *elsewhere = map_get(&r->seen, key);
    if (elsewhere)
        sim_fail(r->world, "%s runs on %s and on %s", c->name, elsewhere, r->machine);
    map_set(&r->seen, key, (void *)(uintptr_t)r->machine);
    auto_free char *identity = mem_printf("%s/%s", runtime_container_label(c, "io.minik8s.pod.name"),
                                          runtime_container_label(c, "io.minik8s.container"));
    const char *other = map_get(&r->seen, identity);
    if (other && !str_eq(other, uid))
        sim_fail(r->world, "two pods with the identity %s run, one of them on %s", identity, r->machine);
    map_set(&r->seen, identity, (void *)(uintptr_t)uid);
}

void sim_laws_check_machines(struct sim_world *w)
{
    struct running r = {.world = w};
    for (unsigned i = 0; i < w->n_nodes; i++) {
        r.machine = w->nodes[i].name;
        fake_machine_each(w->nodes[i].machine, see_running, &r);
    }
    map_fini(&r.seen);
}

struct count {
    const char *prefix;
    unsigned number;
};

static void count_running(void *arg, const struct runtime_container *c)
{
    struct count *count = arg;
    count->number += c->state == RUNTIME_RUNNING &&
                     !str_empty(runtime_container_label(c, "io.minik8s.container")) &&
                     str_starts(runtime_container_label(c, "io.minik8s.pod.name"), count->prefix);
}

unsigned sim_running(struct sim_world *w, const char *pod_prefix)
{
    struct count count = {.prefix = pod_prefix};
    for (unsigned i = 0; i < w->n_nodes; i++)
        fake_machine_each(w->nodes[i].machine, count_running, &count);
    return count.number;
}

/* ---- the drain protocol ---- */

struct table_search {
    struct in_addr address;
    const char *service;
};

static void search_table(void *arg, const char *service, const struct net_service_port *port UNUSED,
                         const struct net_endpoint *endpoint)
{
    struct table_search *search = arg;
    if (endpoint && endpoint->address.s_addr == search->address.s_addr)
        search->service = service;
}

void sim_laws_on_signal(void *arg, const struct runtime_container *c, int signal_number)
{
    struct sim_node *n = arg;
    struct sim_world *w = n->world;
    const struct sim_pod *pod = map_get(&w->pods, runtime_container_label(c, "io.minik8s.pod.uid"));
    sim_note(w, "%s: signal %d for %s", n->name, signal_number, c->name);
    if (!pod || pod->gone || pod->deleting_since_ms < 0 || !pod->address.s_addr ||
        loop_now_ms(w->loop) - pod->deleting_since_ms >= DRAIN_BOUND_MS)
        return;
    for (unsigned i = 0; i < w->n_nodes; i++) {
        const struct sim_node *other = &w->nodes[i];
        if (!other->agent || other->cut || other->off ||
            loop_now_ms(w->loop) - other->reachable_since_ms < LIVE_AFTER_MS)
            continue;
        struct table_search search = {.address = pod->address};
        fake_world_each_endpoint(w->net, other->name, search_table, &search);
        if (search.service)
            sim_fail(w, "signal %d for %s %lld ms after its deletion while %s still sends to it for %s",
                     signal_number, c->name, (long long)(loop_now_ms(w->loop) - pod->deleting_since_ms),
                     other->name, search.service);
    }
}
