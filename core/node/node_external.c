/*
 * node_external: what ExternalName Services stand for. A name of this cluster is answered with that Service's
 * own addresses (node_service.c); any other is looked up with the machine's resolver, on the pool, and again
 * every REFRESH_MS as long as there is such a Service. What was found stays until something else is: a
 * machine that is cut off, or an agent that is away, changes no name.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

#include "node/node_internal.h"

#define REFRESH_MS 30000
#define MAX_ADDRESSES 16

struct target { /* one name from outside */
    char *name;
    struct map users; /* keys of the Services that stand for it */
    struct in_addr addresses[MAX_ADDRESSES];
    size_t count;
    bool known, busy, told; /* told: of the failure */
    int64_t next_ms;
};

struct node_external {
    struct node *node;
    struct map targets;  /* name → struct target */
    struct map services; /* key → name, copied */
    struct loop_timer *timer;
};

struct lookup {
    struct node_job job;
    struct node_external *external;
    char *name;
    struct in_addr addresses[MAX_ADDRESSES];
    size_t count;
    int problem; /* of getaddrinfo */
};

static void target_free(void *value)
{
    struct target *target = value;
    map_fini(&target->users);
    free(target->name);
    free(target);
}

/* ---- on the pool ---- */

static void lookup_work(struct node_job *base)
{
    struct lookup *lookup = CONTAINER_OF(base, struct lookup, job);
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    lookup->problem = getaddrinfo(lookup->name, NULL, &hints, &found);
    for (const struct addrinfo *at = found; at && lookup->count < MAX_ADDRESSES; at = at->ai_next)
        lookup->addresses[lookup->count++] =
            ((const struct sockaddr_in *)(const void *)at->ai_addr)->sin_addr;
    if (found)
        freeaddrinfo(found);
}

/* ---- on the loop ---- */

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct in_addr));
}

static void plan_next(struct node_external *external)
{
    int64_t first = 0;
    map_each (entry, &external->targets) {
        const struct target *target = entry->value;
        if (!target->busy && (!first || target->next_ms < first))
            first = target->next_ms;
    }
    if (first)
        loop_timer_start_at(external->timer, first);
    else
        loop_timer_stop(external->timer);
}

static void take(struct target *target, struct lookup *lookup)
{
    struct node_services *services = lookup->external->node->services;
    qsort(lookup->addresses, lookup->count, sizeof(struct in_addr), compare); /* resolvers rotate them */
    bool same = target->known && target->count == lookup->count &&
                memcmp(target->addresses, lookup->addresses, lookup->count * sizeof(struct in_addr)) == 0;
    memcpy(target->addresses, lookup->addresses, sizeof(target->addresses));
    target->count = lookup->count;
    target->known = true;
    target->told = false;
    map_each (user, &target->users)
        if (!same)
            node_services_dirty(services, user->key);
}

static void tell(struct node *node, const char *key, const struct lookup *lookup)
{
    const struct cache_item *item = cache_get(node->cache, "services", key);
    if (!item)
        return;
    auto_json involved = cJSON_CreateObject();
    json_set_string(involved, "apiVersion", "v1");
    json_set_string(involved, "kind", "Service");
    json_set_string(involved, "namespace", item->namespace);
    json_set_string(involved, "name", item->name);
    json_set_string(involved, "uid", item->uid);
    recorder_event(node->recorder, involved, "Warning", "ExternalNameNotFound", "%s: %s", lookup->name,
                   lookup->problem ? gai_strerror(lookup->problem) : "no IPv4 address");
}

/* Once, not with every try. */
static void not_found(struct target *target, const struct lookup *lookup)
{
    map_each (user, &target->users)
        if (!target->told)
            tell(lookup->external->node, user->key, lookup);
    target->told = true;
}

static void lookup_done(struct node_job *base, bool closed)
{
    struct lookup *lookup = CONTAINER_OF(base, struct lookup, job);
    struct target *target = closed ? NULL : map_get(&lookup->external->targets, lookup->name);
    if (target) {
        target->busy = false;
        target->next_ms = node_now(lookup->external->node) + REFRESH_MS;
        if (lookup->count)
            take(target, lookup);
        else
            not_found(target, lookup);
        plan_next(lookup->external);
    }
    free(lookup->name);
    free(lookup);
}

static void look_up(struct node_external *external, struct target *target)
{
    struct lookup *lookup = NEW(struct lookup);
    lookup->job.work = lookup_work;
    lookup->job.done = lookup_done;
    lookup->external = external;
    lookup->name = mem_strdup(target->name);
    target->busy = true;
    node_lane_run(external->node->name_lane, &lookup->job);
}

static void on_timer(void *arg)
{
    struct node_external *external = arg;
    map_each (entry, &external->targets) {
        struct target *target = entry->value;
        if (!target->busy && target->next_ms <= node_now(external->node))
            look_up(external, target);
    }
    plan_next(external);
}

static void forget(struct node_external *external, const char *key)
{
    const char *name = map_get(&external->services, key);
    struct target *target = name ? map_get(&external->targets, name) : NULL;
    if (target) {
        map_remove(&target->users, key);
        if (target->users.count == 0)
            map_remove(&external->targets, target->name);
    }
    map_remove(&external->services, key);
}

void node_external_use(struct node_external *external, const char *key, const char *name)
{
    const char *before = map_get(&external->services, key);
    if (str_eq(before, name))
        return;
    forget(external, key);
    if (name) {
        struct target *target = map_get(&external->targets, name);
        if (!target) {
            target = NEW(struct target);
            target->name = mem_strdup(name);
            map_set(&external->targets, name, target);
            look_up(external, target);
        }
        map_set(&target->users, key, external);
        map_set(&external->services, key, mem_strdup(name));
    }
    plan_next(external);
}

const struct in_addr *node_external_addresses(const struct node_external *external, const char *name,
                                              size_t *count)
{
    const struct target *target = map_get(&external->targets, name);
    *count = target ? target->count : 0;
    return target && target->known ? target->addresses : NULL;
}

struct node_external *node_external_new(struct node *node)
{
    struct node_external *external = NEW(struct node_external);
    external->node = node;
    map_init(&external->targets, target_free);
    map_init(&external->services, free);
    external->timer = loop_timer_new(node->loop, on_timer, external);
    return external;
}

void node_external_free(struct node_external *external)
{
    if (!external)
        return;
    loop_timer_free(external->timer);
    map_fini(&external->targets);
    map_fini(&external->services);
    free(external);
}
