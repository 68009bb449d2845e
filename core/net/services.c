/*
 * services: what Services want, what the kernel holds of it, and the transaction that turns the one into the
 * other. Does not translate packets, does not touch flows (it says which are stale). Invariants: `ports` is
 * the image of the kernel's maps unless `dirty`; one virtual (address, protocol, port) has one owner, a
 * second claimant waits until it is free; an endpoint keeps its slot while it stays (fewest changes, and
 * source-hash clients stay where they are as far as possible).
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "net/services_internal.h"

#define TUPLE 20
#define MAX_ENDPOINTS 4096

struct port {
    struct net_service_port wish; /* endpoints: own array, in slot order */
    char *owner;
    struct pick *pick; /* NULL without endpoints */
};

struct wish {
    struct net_service_port *ports;
    size_t n_ports;
};

struct services {
    struct map wishes;    /* key → struct wish */
    struct map ports;     /* tuple → struct port */
    struct map contested; /* tuple → NULL: two Services wanted it at some time */
    struct picks picks;
    size_t n_elements;
    bool dirty, loaded;
};

static void wish_free(void *data)
{
    struct wish *wish = data;
    for (size_t i = 0; i < wish->n_ports; i++)
        free((void *)wish->ports[i].endpoints);
    free(wish->ports);
    free(wish);
}

static struct wish *wish_copy(const struct net_service *service)
{
    struct wish *wish = NEW(struct wish);
    wish->n_ports = service->n_ports;
    wish->ports = mem_copy(service->ports, service->n_ports * sizeof *service->ports);
    for (size_t i = 0; i < wish->n_ports; i++) {
        struct net_service_port *port = &wish->ports[i];
        if (port->n_endpoints > MAX_ENDPOINTS) {
            log_warn("net", "%s: %zu endpoints, the first %d are used", service->key, port->n_endpoints,
                     MAX_ENDPOINTS);
            port->n_endpoints = MAX_ENDPOINTS;
        }
        port->endpoints =
            port->n_endpoints ? mem_copy(port->endpoints, port->n_endpoints * sizeof *port->endpoints) : NULL;
    }
    return wish;
}

static void port_free(void *data)
{
    struct port *port = data;
    picks_release(port->pick);
    free((void *)port->wish.endpoints);
    free(port->owner);
    free(port);
}

struct services *services_new(void)
{
    struct services *services = NEW(struct services);
    map_init(&services->wishes, wish_free);
    map_init(&services->ports, port_free);
    map_init(&services->contested, NULL);
    picks_init(&services->picks);
    services->dirty = true;
    return services;
}

void services_free(struct services *services)
{
    if (!services)
        return;
    map_fini(&services->wishes);
    map_fini(&services->ports);
    map_fini(&services->contested);
    picks_fini(&services->picks);
    free(services);
}

void services_forget_kernel(struct services *services)
{
    services->dirty = true;
}

bool services_loaded(const struct services *services)
{
    return services->loaded;
}

size_t services_count(const struct services *services)
{
    return services->wishes.count;
}

size_t services_elements(const struct services *services)
{
    return services->n_elements;
}

static void tuple_name(const struct net_service_port *port, char out[TUPLE])
{
    snprintf(out, TUPLE, "%08x%02x%04x", port->address.s_addr, port->protocol, port->port);
}

static bool same_endpoint(const struct net_endpoint *a, const struct net_endpoint *b)
{
    return a->address.s_addr == b->address.s_addr && a->port == b->port;
}

/* Puts the wished endpoints into slots so that those which stay keep theirs; the result is the caller's. */
static struct net_endpoint *assign_slots(const struct net_service_port *old,
                                         const struct net_service_port *wish)
{
    size_t count = wish->n_endpoints, next = 0;
    struct net_endpoint *slots = mem_array(count, sizeof *slots);
    auto_free bool *used = mem_array(count, sizeof *used), *filled = mem_array(count, sizeof *filled);
    for (size_t slot = 0; old && slot < count && slot < old->n_endpoints; slot++) {
        for (size_t i = 0; i < count && !filled[slot]; i++) {
            if (used[i] || !same_endpoint(&wish->endpoints[i], &old->endpoints[slot]))
                continue;
            used[i] = filled[slot] = true;
            slots[slot] = wish->endpoints[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (used[i])
            continue;
        while (filled[next])
            next++;
        filled[next] = true;
        slots[next] = wish->endpoints[i];
    }
    return slots;
}

/* A name of the endpoint within its port that survives restarts and moves between slots. */
static uint32_t sticky_mark(const struct net_service_port *port, const uint32_t *marks, size_t slot)
{
    struct {
        uint32_t address, port;
    } name = {port->endpoints[slot].address.s_addr, port->endpoints[slot].port};
    uint32_t mark = (uint32_t)str_hash(&name, sizeof name) & 0x7fffff;
    for (size_t i = 0; i < slot; i++) {
        if (same_endpoint(&port->endpoints[i], &port->endpoints[slot]))
            return marks[i]; /* listed twice to weigh double */
    }
    for (size_t i = 0; i < slot; i++) {
        if (marks[i] != (MARK_STICKY | mark) && (MARK_STICKY | mark) < MARK_REFUSE)
            continue;
        mark = (mark + 1) & 0x7fffff;
        i = (size_t)-1;
    }
    return MARK_STICKY | mark;
}

static bool listed_before(const uint32_t *marks, size_t slot)
{
    for (size_t i = 0; i < slot; i++) {
        if (marks[i] == marks[slot])
            return true;
    }
    return false;
}

static void add_port_elements(struct elements *elements, const struct port *port)
{
    const struct net_service_port *wish = &port->wish;
    struct element key = {.address = wish->address.s_addr, .port = wish->port, .protocol = wish->protocol};
    if (!port->pick && !wish->foreign)
        return;
    auto_free uint32_t *marks = mem_array(wish->n_endpoints, sizeof *marks);
    struct element element = key;
    element.map = ELEMENT_SERVICES;
    element.data = port->pick ? port->pick->mark : MARK_REFUSE;
    elements_add(elements, &element);
    for (size_t slot = 0; slot < wish->n_endpoints; slot++) {
        element = key;
        element.map = ELEMENT_ENDPOINTS;
        element.slot = MARK_BASE + (uint32_t)slot;
        element.data = wish->endpoints[slot].address.s_addr;
        element.data_port = wish->endpoints[slot].port;
        elements_add(elements, &element);
        if (!wish->affinity_seconds)
            continue;
        marks[slot] = sticky_mark(wish, marks, slot);
        if (!listed_before(marks, slot)) {
            element.slot = marks[slot];
            elements_add(elements, &element);
        }
        element = key;
        element.map = ELEMENT_STICKY;
        element.slot = MARK_BASE + (uint32_t)slot;
        element.data = marks[slot];
        elements_add(elements, &element);
    }
}

static bool has_endpoint(const struct net_service_port *port, const struct net_endpoint *endpoint)
{
    for (size_t i = 0; i < port->n_endpoints; i++) {
        if (same_endpoint(&port->endpoints[i], endpoint))
            return true;
    }
    return false;
}

/* UDP only: TCP flows to an endpoint that left go on until its pod ends (drain protocol). */
static void note_stale(struct flow_targets *stale, const struct net_service_port *old,
                       const struct net_service_port *new)
{
    const struct net_service_port *some = old ? old : new;
    static const struct net_service_port none;
    struct flow_target target = {.address = some->address, .protocol = some->protocol, .port = some->port};
    if (some->protocol != IPPROTO_UDP)
        return;
    old = old ? old : &none;
    new = new ? new : &none;
    if (!old->n_endpoints && new->n_endpoints)
        flow_targets_add(stale, &target);
    for (size_t i = 0; i < old->n_endpoints; i++) {
        if (has_endpoint(new, &old->endpoints[i]))
            continue;
        target.endpoint = old->endpoints[i];
        flow_targets_add(stale, &target);
    }
}

/* Makes the port what `wish` says (NULL: gone); delta NULL: the kernel is compared later. */
static void change_port(struct services *services, const char *tuple, const char *owner,
                        const struct net_service_port *wish, struct element_delta *delta,
                        struct flow_targets *stale)
{
    struct port *old = map_get(&services->ports, tuple);
    struct port *new = NULL;
    auto_elements before = {0}, after = {0};
    if (!old && !wish)
        return;
    if (old && delta)
        add_port_elements(&before, old);
    note_stale(stale, old ? &old->wish : NULL, wish);
    if (wish) {
        new = NEW(struct port);
        new->wish = *wish;
        new->owner = mem_strdup(owner);
        new->wish.endpoints = assign_slots(old ? &old->wish : NULL, wish);
        if (old && old->pick && old->wish.n_endpoints == wish->n_endpoints &&
            old->wish.balance == wish->balance && old->wish.affinity_seconds == wish->affinity_seconds)
            new->pick = steal(&old->pick);
        else if (wish->n_endpoints)
            new->pick = picks_take(&services->picks, wish);
        if (delta)
            add_port_elements(&after, new);
        map_set(&services->ports, tuple, new); /* frees the old one */
    } else {
        map_remove(&services->ports, tuple);
    }
    if (!delta)
        return;
    elements_sort(&before);
    elements_sort(&after);
    element_delta_add(delta, &before, &after);
    services->n_elements += after.count - before.count;
}

static const struct net_service_port *wish_port(const struct wish *wish, const char *tuple)
{
    char name[TUPLE];
    for (size_t i = 0; wish && i < wish->n_ports; i++) {
        tuple_name(&wish->ports[i], name);
        if (str_eq(name, tuple))
            return &wish->ports[i];
    }
    return NULL;
}

/* Whom the tuple belongs to now: its owner as long as that wants it, else somebody who waits. */
static const struct net_service_port *find_owner(struct services *services, const char *tuple,
                                                 const char *claimant, const char **owner)
{
    const struct port *port = map_get(&services->ports, tuple);
    const struct net_service_port *found = NULL;
    if (port && (found = wish_port(map_get(&services->wishes, port->owner), tuple))) {
        *owner = port->owner;
        return found;
    }
    if (claimant && (found = wish_port(map_get(&services->wishes, claimant), tuple))) {
        *owner = claimant;
        return found;
    }
    if (!map_has(&services->contested, tuple))
        return NULL;
    map_each (entry, &services->wishes) {
        if ((found = wish_port(entry->value, tuple))) {
            *owner = entry->key;
            return found;
        }
    }
    return NULL;
}

static void touch_wish(struct services *services, struct map *touched, const char *key,
                       const struct wish *wish, bool claims)
{
    char tuple[TUPLE];
    for (size_t i = 0; wish && i < wish->n_ports; i++) {
        tuple_name(&wish->ports[i], tuple);
        const struct port *port = map_get(&services->ports, tuple);
        const char *claimant = map_get(touched, tuple);
        if (claims && ((port && !str_eq(port->owner, key)) || (claimant && !str_eq(claimant, key))))
            map_set(&services->contested, tuple, NULL);
        if (!map_has(touched, tuple) || (claims && !claimant))
            map_set(touched, tuple, claims ? (void *)key : NULL);
    }
}

/* Takes the wishes over; `touched` gets the tuples that may change, each with the first Service that claims
 * it. */
static void take_wishes(struct services *services, const struct net_service *changes, size_t count,
                        bool complete, struct map *touched)
{
    auto_map named = {0};
    for (size_t i = 0; i < count; i++) {
        const struct net_service *change = &changes[i];
        touch_wish(services, touched, change->key, map_get(&services->wishes, change->key), false);
        map_remove(&services->wishes, change->key);
        if (complete)
            map_set(&named, change->key, NULL);
        if (!change->n_ports)
            continue;
        struct wish *wish = wish_copy(change);
        touch_wish(services, touched, change->key, wish, true);
        map_set(&services->wishes, change->key, wish);
    }
    map_each (entry, &services->wishes) {
        if (!complete)
            break;
        if (map_has(&named, entry->key))
            continue;
        touch_wish(services, touched, entry->key, entry->value, false);
        map_remove(&services->wishes, entry->key);
    }
}

/* UDP elements that the kernel has and nobody wants: their flows are stale, too. */
static void note_kernel_stale(struct services *services, const struct elements *kernel,
                              struct flow_targets *stale)
{
    for (size_t i = 0; i < kernel->count; i++) {
        const struct element *element = &kernel->at[i];
        struct flow_target target = {.address.s_addr = element->address,
                                     .port = element->port,
                                     .protocol = (uint8_t)element->protocol,
                                     .endpoint = {{element->data}, (uint16_t)element->data_port}};
        struct net_service_port key = {
            .address = target.address, .protocol = target.protocol, .port = target.port};
        char tuple[TUPLE];
        if (element->map != ELEMENT_ENDPOINTS || element->protocol != IPPROTO_UDP)
            continue;
        tuple_name(&key, tuple);
        const struct port *port = map_get(&services->ports, tuple);
        if (!port || !has_endpoint(&port->wish, &target.endpoint))
            flow_targets_add(stale, &target);
    }
}

/* What a transaction sequence consists of. The chains come in one of their own, before the elements that lead
 * to them: a packet takes its generation of rules when it enters a hook, but that of elements at each
 * look-up, so it could be sent to a chain that has no rules yet in its generation. For the same reason chains
 * go last, by themselves. */
struct commands {
    struct str chains, elements, removals;
};

static void commands_free(struct commands *commands)
{
    str_free(&commands->chains);
    str_free(&commands->elements);
    str_free(&commands->removals);
}

static int commands_run(const struct commands *commands, struct nft *nft, struct err **err)
{
    const struct str *parts[] = {&commands->chains, &commands->elements, &commands->removals};
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (parts[i]->len && nft_run(nft, parts[i]->data, err) < 0)
            return -1;
    }
    return 0;
}

static int render_resync(struct services *services, struct nft *nft, struct commands *commands,
                         struct flow_targets *stale, struct err **err)
{
    auto_elements kernel = {0}, wanted = {0};
    struct element_delta delta = {0};
    if (elements_list(&kernel, nft, err) < 0 ||
        picks_resync(&services->picks, nft, &commands->chains, &commands->removals, err) < 0)
        return -1;
    map_each (entry, &services->ports) {
        add_port_elements(&wanted, entry->value);
    }
    elements_sort(&wanted);
    services->n_elements = wanted.count;
    element_delta_add(&delta, &kernel, &wanted);
    element_delta_render(&delta, nft_table(nft), &commands->elements);
    element_delta_free(&delta);
    note_kernel_stale(services, &kernel, stale);
    return 0;
}

int services_apply(struct services *services, struct nft *nft, const struct net_service *changes,
                   size_t count, bool complete, struct flow_targets *stale, struct err **err)
{
    auto_map touched = {0};
    struct commands commands __attribute__((cleanup(commands_free))) = {0};
    struct element_delta delta = {0};
    bool resync = services->dirty;
    take_wishes(services, changes, count, complete, &touched);
    services->loaded = true;
    map_each (entry, &touched) {
        const char *owner = NULL;
        const struct net_service_port *wish = find_owner(services, entry->key, entry->value, &owner);
        change_port(services, entry->key, owner, wish, resync ? NULL : &delta, stale);
    }
    services->dirty = true; /* until the transactions have succeeded */
    if (resync && render_resync(services, nft, &commands, stale, err) < 0)
        return -1;
    if (!resync) {
        picks_render_new(&services->picks, nft_table(nft), &commands.chains);
        element_delta_render(&delta, nft_table(nft), &commands.elements);
        element_delta_free(&delta);
    }
    if (commands_run(&commands, nft, err) < 0)
        return err_wrap(err, "applying %zu Service changes", count);
    picks_sent(&services->picks);
    services->dirty = false;
    return 0;
}
