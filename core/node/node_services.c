/*
 * node_services: which Services and which pods with ports on the node changed, handed to net in one job at a
 * time, only those that changed; everything once after the list and after an error, which has the network set
 * up again first. Says in the heart-beat up to which revision the kernel has followed. Invariants: a revision
 * is reported only after net has applied all changes up to it; `node_ports` is what the Services that were
 * rendered last hold, so pods are rendered after Services.
 */
#include <netinet/in.h>
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

struct node_services {
    struct node *node;
    struct map dirty; /* keys of Services, of pods with ports on the node ("@UID"), of own names ("+…") */
    struct map own_names;  /* "+EXTENSION/KEY" → struct node_service with records only */
    struct map node_ports; /* "PROTOCOL/PORT" → key of the Service that holds this port of every node */
    struct map holders;    /* keys of those Services */
    struct node_external *external;
    bool all, busy, asks;         /* asks: others decide on balance than when the Services were rendered */
    uint64_t changed_at, applied; /* revision of the newest change, and of the newest that is in force */
    struct loop_timer *timer;
};

struct services_job {
    struct node_job job;
    struct node_services *services;
    struct net *net;
    struct node_service *items;
    size_t count;
    bool all, pods; /* pods: all that have ports on the node */
    uint64_t revision;
    int result;
};

static bool is_pod_key(const char *key)
{
    return key[0] == '@';
}

static bool is_own_key(const char *key)
{
    return key[0] == '+';
}

/* ---- on the pool ---- */

static void services_work(struct node_job *base)
{
    struct services_job *job = CONTAINER_OF(base, struct services_job, job);
    auto_free struct net_service *services = mem_array(job->count + 1, sizeof(*services));
    auto_free struct net_names *names = mem_array(job->count + 1, sizeof(*names));
    size_t n_names = 0;
    for (size_t i = 0; i < job->count; i++) {
        const struct node_service *item = &job->items[i];
        services[i] = (struct net_service){item->key, item->ports, item->n_ports};
        if (!is_pod_key(item->key))
            names[n_names++] =
                (struct net_names){item->key, item->records, item->n_records, item->keep_records};
    }
    const struct net_ops *ops = job->net->ops;
    job->result = job->all ? ops->services_all(job->net, services, job->count, &base->err)
                           : ops->services(job->net, services, job->count, &base->err);
    if (job->result == 0)
        job->result = job->all ? ops->names_all(job->net, names, n_names, &base->err)
                               : ops->names(job->net, names, n_names, &base->err);
}

/* ---- on the loop ---- */

static void services_run(struct node_services *s);

static void services_done(struct node_job *base, bool closed)
{
    struct services_job *job = CONTAINER_OF(base, struct services_job, job);
    struct node_services *s = job->services;
    if (!closed) {
        s->busy = false;
        if (job->result < 0) {
            log_error("node", "Services: %s", err_message(base->err));
            s->all = true; /* once the network is set up again */
            node_net_again(s->node);
        } else {
            s->applied = job->revision;
            if (s->node->heartbeat)
                node_heartbeat_applied(s->node->heartbeat, s->applied);
            services_run(s);
        }
    }
    for (size_t i = 0; i < job->count; i++)
        node_service_fini(&job->items[i]);
    free(job->items);
    free(job);
}

static cJSON *slices_of(const struct node *node, const char *namespace, const char *name)
{
    cJSON *slices = cJSON_CreateArray();
    struct cache_cursor cursor;
    const struct cache_item *item;
    cache_begin(node->cache, NODE_SLICES, NODE_SERVICE_LABEL_PATH, name, &cursor);
    while ((item = cache_next(&cursor))) {
        cJSON *slice = str_eq(item->namespace, namespace)
                           ? json_parse_trusted(item->bytes->data, item->bytes->len)
                           : NULL;
        if (slice)
            json_push(slices, slice);
    }
    return slices;
}

/* True if the Service holds other ports of the node than before. */
static bool note_node_ports(struct node_services *s, const char *key, const cJSON *service)
{
    bool changed = false;
    auto_map held = {0};
    json_each (port, json_at(service, "spec.ports")) {
        unsigned protocol =
            str_eq(json_string_or(port, "protocol", "TCP"), "UDP") ? IPPROTO_UDP : IPPROTO_TCP;
        int64_t number = json_int(port, "nodePort", 0);
        auto_free char *name = mem_printf("%u/%lld", protocol, (long long)number);
        if (number)
            map_set(&held, name, s);
    }
    map_each (entry, &s->node_ports) {
        if (!map_has(&s->holders, key))
            break;
        if (!str_eq(entry->value, key) || map_has(&held, entry->key))
            continue;
        map_remove(&s->node_ports, entry->key);
        changed = true;
    }
    if (held.count)
        map_set(&s->holders, key, s);
    else
        map_remove(&s->holders, key);
    map_each (entry, &held) {
        if (str_eq(map_get(&s->node_ports, entry->key), key))
            continue;
        map_set(&s->node_ports, entry->key, mem_strdup(key));
        changed = true;
    }
    return changed;
}

static struct node_service *new_item(struct services_job *job)
{
    job->items = mem_resize(job->items, job->count + 1, sizeof(*job->items));
    return &job->items[job->count++];
}

cJSON *node_services_read(const struct node *node, const char *key, cJSON **slices)
{
    const struct cache_item *item = cache_get(node->cache, "services", key);
    *slices = item ? slices_of(node, item->namespace, item->name) : NULL;
    return item ? json_parse_trusted(item->bytes->data, item->bytes->len) : NULL;
}

static void render(struct node_service *out, struct node *node, const char *key, cJSON **service)
{
    auto_json slices = NULL;
    struct node_balance balance;
    *service = node_services_read(node, key, &slices);
    node_balance_of(&balance, node, key, *service, slices);
    node_service_render(out, node, key, *service, slices, &balance);
}

/* The names of an ExternalName Service; of any other: it is none (any more). */
static void add_external(struct node_services *s, struct node_service *out, const cJSON *service)
{
    const char *name = str_eq(json_string(service, "spec.type"), "ExternalName")
                           ? json_string(service, "spec.externalName")
                           : NULL;
    auto_free char *target = name ? node_service_target(s->node, name) : NULL;
    node_external_use(s->external, out->key, target ? NULL : name);
    if (!name || target) /* the resolvers follow a name of this cluster by themselves */
        return;
    size_t count;
    const struct in_addr *addresses = node_external_addresses(s->external, name, &count);
    node_service_addresses(out, s->node, service, addresses, count);
    out->keep_records = addresses == NULL;
}

static void add_service(struct services_job *job, const char *key)
{
    struct node_services *s = job->services;
    struct node_service *item = new_item(job);
    cJSON *service = NULL;
    render(item, s->node, key, &service);
    if (note_node_ports(s, key, service))
        job->pods = true;
    add_external(s, item, service);
    cJSON_Delete(service);
}

/* Names that an extension answers for. */
static void add_own_names(struct services_job *job, const char *key)
{
    const struct node_service *own = map_get(&job->services->own_names, key);
    struct node_service *item = new_item(job);
    *item = (struct node_service){.key = mem_strdup(key)};
    item->records = mem_array((own ? own->n_records : 0) + 1, sizeof(*item->records));
    for (size_t i = 0; own && i < own->n_records; i++)
        item->records[item->n_records++] =
            (struct net_name){.name = mem_strdup(own->records[i].name), .address = own->records[i].address};
}

/* After the Services: they come first where both want a port. */
static void add_pods(struct services_job *job, const struct map *dirty)
{
    struct node_services *s = job->services;
    map_each (entry, dirty) {
        if (is_pod_key(entry->key))
            node_host_ports_render(new_item(job), map_get(&s->node->pods, entry->key + 1), entry->key,
                                   &s->node_ports);
    }
    map_each (entry, &s->node->pods) {
        struct pod *pod = entry->value;
        auto_free char *key = node_host_ports_key(pod);
        if (job->pods && node_host_ports_wanted(pod) && !map_has(dirty, key))
            node_host_ports_render(new_item(job), pod, key, &s->node_ports);
    }
}

/* Each is asked about once more; what comes out as it was changes nothing in net. */
static void mark_services(struct node_services *s)
{
    struct cache_cursor cursor;
    const struct cache_item *item;
    s->asks = false;
    cache_begin(s->node->cache, "services", NULL, NULL, &cursor);
    while ((item = cache_next(&cursor)))
        map_set(&s->dirty, item->key, s);
}

static void services_run(struct node_services *s)
{
    struct node *node = s->node;
    if (s->busy || !node_net_usable(node) || !node->synced || (!s->all && !s->asks && s->dirty.count == 0))
        return;
    if (s->asks)
        mark_services(s);
    struct services_job *job = NEW(struct services_job);
    job->job.work = services_work;
    job->job.done = services_done;
    job->services = s;
    job->net = node->net;
    job->all = job->pods = s->all;
    job->revision = s->changed_at;
    if (s->all) {
        struct cache_cursor cursor;
        const struct cache_item *item;
        map_fini(&s->node_ports);
        map_init(&s->node_ports, free);
        map_fini(&s->holders);
        cache_begin(node->cache, "services", NULL, NULL, &cursor);
        while ((item = cache_next(&cursor)))
            add_service(job, item->key);
        map_each (own, &s->own_names)
            add_own_names(job, own->key);
    } else {
        map_each (entry, &s->dirty) {
            if (is_own_key(entry->key))
                add_own_names(job, entry->key);
            else if (!is_pod_key(entry->key))
                add_service(job, entry->key);
        }
    }
    add_pods(job, &s->dirty);
    map_fini(&s->dirty);
    s->all = false;
    s->busy = true;
    node_lane_run(node->net_lane, &job->job);
}

static void on_timer(void *arg)
{
    services_run(arg);
}

/* At the end of this turn: changes that arrived together go together. */
static void run_soon(struct node_services *s)
{
    if (s->node->synced && !loop_timer_running(s->timer))
        loop_timer_start(s->timer, 0);
}

static void mark_key(struct node_services *s, const char *key)
{
    map_set(&s->dirty, key, s);
}

static void mark(struct node_services *s, const char *resource, const struct cache_item *item)
{
    if (!item)
        return;
    if (str_eq(resource, "services")) {
        mark_key(s, item->key);
        return;
    }
    const cJSON *name = json_get(item->columns, NODE_SERVICE_LABEL_PATH);
    if (!cJSON_IsString(name))
        return;
    auto_free char *key = mem_printf("%s/%s", item->namespace, name->valuestring);
    mark_key(s, key);
}

void node_services_changed(struct node_services *s, const char *resource, const struct cache_item *previous,
                           const struct cache_item *item)
{
    mark(s, resource, previous);
    mark(s, resource, item);
    if (s->node->event_revision > s->changed_at)
        s->changed_at = s->node->event_revision;
    run_soon(s);
}

void node_services_ask(struct node_services *s)
{
    s->asks = true;
    run_soon(s);
}

void node_services_dirty(struct node_services *s, const char *key)
{
    map_set(&s->dirty, key, s);
    run_soon(s);
}

static void free_own_names(void *value)
{
    node_service_fini(value);
    free(value);
}

void node_services_names(struct node_services *s, const char *key, const struct net_name *records,
                         size_t count)
{
    struct node_service *own = NULL;
    if (count) {
        own = NEW(struct node_service);
        own->records = mem_array(count, sizeof(*own->records));
        for (size_t i = 0; i < count; i++)
            own->records[own->n_records++] =
                (struct net_name){.name = mem_strdup(records[i].name), .address = records[i].address};
        map_set(&s->own_names, key, own);
    } else {
        map_remove(&s->own_names, key);
    }
    node_services_dirty(s, key);
}

void node_services_pod(struct node_services *s, const struct pod *pod)
{
    if (!node_host_ports_wanted(pod))
        return;
    auto_free char *key = node_host_ports_key(pod);
    node_services_dirty(s, key);
}

void node_services_all(struct node_services *s)
{
    if (s->node->event_revision > s->changed_at)
        s->changed_at = s->node->event_revision;
    s->all = true;
    services_run(s);
}

struct node_services *node_services_new(struct node *node)
{
    struct node_services *s = NEW(struct node_services);
    s->node = node;
    map_init(&s->node_ports, free);
    map_init(&s->own_names, free_own_names);
    s->external = node_external_new(node);
    s->timer = loop_timer_new(node->loop, on_timer, s);
    return s;
}

void node_services_free(struct node_services *s)
{
    if (!s)
        return;
    loop_timer_free(s->timer);
    map_fini(&s->dirty);
    map_fini(&s->node_ports);
    map_fini(&s->holders);
    map_fini(&s->own_names);
    node_external_free(s->external);
    free(s);
}
