/*
 * Addresses of Services, node ports and pod ranges of Nodes: one bitmap each, in memory, rebuilt from the
 * store at start. A write that fails gives back what it took; a write that removes gives back what the object
 * held. The store stays the truth: this only keeps two writers of this server from choosing the same one
 * (with several servers on one store, each would need its own part of the range).
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"

#define FIRST_PORT 30000
#define LAST_PORT 32767
#define POD_CIDR_BITS 24
#define STATIC_BAND 256 /* the low addresses are for Services that ask for one */

struct range {
    uint32_t first, count; /* address, port number, or network >> 8 */
    uint32_t next, floor;  /* where searching goes on, and where it begins again */
    uint8_t *bits;
};

struct api_ranges {
    pthread_mutex_t lock;
    struct range of[RANGE_KINDS];
    char *text[RANGE_KINDS]; /* for messages */
};

static int parse_cidr(const char *text, uint32_t *address, unsigned *bits)
{
    char host[32];
    unsigned prefix = 0;
    struct in_addr parsed;
    if (sscanf(text, "%31[0-9.]/%u", host, &prefix) != 2 || prefix > 32 ||
        inet_pton(AF_INET, host, &parsed) != 1)
        return -1;
    uint32_t mask = prefix ? ~0u << (32 - prefix) : 0;
    *address = ntohl(parsed.s_addr) & mask;
    *bits = prefix;
    return 0;
}

static void range_init(struct range *range, uint32_t first, uint32_t count, uint32_t floor)
{
    *range = (struct range){.first = first, .count = count, .next = floor, .floor = floor};
    range->bits = mem_alloc(count / 8 + 1);
}

static bool taken(const struct range *range, uint32_t index)
{
    return range->bits[index / 8] & (1u << index % 8);
}

static void note(struct grant *grant, enum range_kind kind, uint32_t index)
{
    grant->items = mem_resize(grant->items, grant->count + 1, sizeof(*grant->items));
    grant->items[grant->count++] = (struct grant_item){kind, index};
}

/* ERR_CONFLICT when taken. Values outside of the range are nobody's. */
static int claim(struct api_ranges *ranges, enum range_kind kind, uint32_t value, struct grant *granted)
{
    struct range *range = &ranges->of[kind];
    uint32_t index = value - range->first;
    if (value < range->first || index >= range->count)
        return 0;
    pthread_mutex_lock(&ranges->lock);
    bool was = taken(range, index);
    range->bits[index / 8] |= (uint8_t)(1u << index % 8);
    pthread_mutex_unlock(&ranges->lock);
    if (was)
        return -1;
    if (granted)
        note(granted, kind, index);
    return 0;
}

static int take_next(struct api_ranges *ranges, enum range_kind kind, uint32_t *value, struct grant *granted)
{
    struct range *range = &ranges->of[kind];
    int result = -1;
    pthread_mutex_lock(&ranges->lock);
    for (uint32_t tried = 0; tried < range->count; tried++) {
        uint32_t index = range->next;
        range->next = range->next + 1 < range->count ? range->next + 1 : range->floor;
        if (tried + 1 == range->count - range->floor) /* the upper band is full: use the lower one */
            range->next = 0;
        if (taken(range, index))
            continue;
        range->bits[index / 8] |= (uint8_t)(1u << index % 8);
        *value = range->first + index;
        note(granted, kind, index);
        result = 0;
        break;
    }
    pthread_mutex_unlock(&ranges->lock);
    return result;
}

void ranges_release(struct api_ranges *ranges, struct grant *grant)
{
    if (grant->count) {
        pthread_mutex_lock(&ranges->lock);
        for (size_t i = 0; i < grant->count; i++) {
            uint32_t index = grant->items[i].index;
            ranges->of[grant->items[i].kind].bits[index / 8] &= (uint8_t) ~(1u << index % 8);
        }
        pthread_mutex_unlock(&ranges->lock);
    }
    free(grant->items);
    *grant = (struct grant){0};
}

/* ---- Services ---- */

static int parse_address(const char *text, uint32_t *value)
{
    struct in_addr parsed;
    if (!text || inet_pton(AF_INET, text, &parsed) != 1)
        return -1;
    *value = ntohl(parsed.s_addr);
    return 0;
}

static void set_cluster_ip(cJSON *spec, const char *ip)
{
    json_set_string(spec, "clusterIP", ip);
    cJSON *list = json_set(spec, "clusterIPs", cJSON_CreateArray());
    json_push_string(list, ip);
}

static int refuse_address(struct err **err, const char *ip, const char *why)
{
    return err_add_cause(err, "FieldValueInvalid", "spec.clusterIPs",
                         "Invalid value: [\"%.64s\"]: failed to allocate IP %.64s: %s", ip, ip, why);
}

static int choose_address(struct api_ranges *ranges, cJSON *spec, const cJSON *old, struct grant *granted,
                          struct err **err)
{
    const char *ip = json_string(spec, "clusterIP"), *old_ip = json_string(old, "spec.clusterIP");
    struct range *range = &ranges->of[RANGE_ADDRESS];
    uint32_t value = 0;
    if (str_empty(ip)) {
        auto_free char *first = mem_strdup(json_string(spec, "clusterIPs[0]"));
        ip = first;
        if (str_empty(ip))
            ip = old_ip;
        if (!str_empty(ip)) {
            set_cluster_ip(spec, ip);
            ip = json_string(spec, "clusterIP");
        }
    }
    if (str_eq(ip, "None") || (ip && str_eq(ip, old_ip))) {
        auto_free char *same = mem_strdup(ip);
        set_cluster_ip(spec, same);
        return 0;
    }
    char text[INET_ADDRSTRLEN];
    if (str_empty(ip)) {
        if (take_next(ranges, RANGE_ADDRESS, &value, granted) < 0)
            return err_set(err, ERR_UNAVAILABLE, "no Service address is left in %s",
                           ranges->text[RANGE_ADDRESS]);
        struct in_addr address = {htonl(value)};
        set_cluster_ip(spec, inet_ntop(AF_INET, &address, text, sizeof(text)));
        return 0;
    }
    snprintf(text, sizeof(text), "%s", ip ? ip : "");
    if (parse_address(ip, &value) < 0)
        return refuse_address(err, ip, "not a valid IPv4 address");
    if (value <= range->first || value - range->first >= range->count)
        return refuse_address(err, ip, "the provided IP is not in the valid range");
    if (claim(ranges, RANGE_ADDRESS, value, granted) < 0)
        return refuse_address(err, ip, "provided IP is already allocated");
    set_cluster_ip(spec, text);
    return 0;
}

static bool holds_port(const cJSON *service, int64_t port)
{
    const cJSON *ports = json_at(service, "spec.ports");
    json_each (each, ports) {
        if (json_int(each, "nodePort", 0) == port)
            return true;
    }
    return false;
}

static int64_t old_node_port(const cJSON *old, const cJSON *port)
{
    const cJSON *ports = json_at(old, "spec.ports");
    json_each (each, ports) {
        if (json_int(each, "port", 0) == json_int(port, "port", -1) &&
            str_eq(json_string_or(each, "protocol", "TCP"), json_string_or(port, "protocol", "TCP")))
            return json_int(each, "nodePort", 0);
    }
    return 0;
}

static bool granted_has(const struct grant *granted, enum range_kind kind, uint32_t index)
{
    for (size_t i = 0; i < granted->count; i++) {
        if (granted->items[i].kind == kind && granted->items[i].index == index)
            return true;
    }
    return false;
}

static int choose_port(struct api_ranges *ranges, cJSON *port, size_t i, const cJSON *old,
                       struct grant *granted, struct err **err)
{
    int64_t wanted = json_int(port, "nodePort", 0);
    if (wanted == 0 && (wanted = old_node_port(old, port)) != 0)
        json_set_int(port, "nodePort", wanted);
    if (wanted == 0) {
        uint32_t value = 0;
        if (take_next(ranges, RANGE_PORT, &value, granted) < 0)
            return err_set(err, ERR_UNAVAILABLE, "no node port is left in %s", ranges->text[RANGE_PORT]);
        json_set_int(port, "nodePort", value);
        return 0;
    }
    if (holds_port(old, wanted) ||
        (wanted >= FIRST_PORT && granted_has(granted, RANGE_PORT, (uint32_t)(wanted - FIRST_PORT))))
        return 0; /* its own, or the same number for TCP and UDP */
    auto_free char *field = mem_printf("spec.ports[%zu].nodePort", i);
    if (wanted < FIRST_PORT || wanted > LAST_PORT)
        return err_add_cause(err, "FieldValueInvalid", field,
                             "Invalid value: %" PRId64
                             ": provided port is not in the valid range. The range of valid ports "
                             "is %d-%d",
                             wanted, FIRST_PORT, LAST_PORT);
    if (claim(ranges, RANGE_PORT, (uint32_t)wanted, granted) < 0)
        return err_add_cause(err, "FieldValueInvalid", field,
                             "Invalid value: %" PRId64 ": provided port is already allocated", wanted);
    return 0;
}

int ranges_service(struct api_ranges *ranges, cJSON *service, const cJSON *old, struct grant *granted,
                   struct err **err)
{
    cJSON *spec = json_ensure_object(service, "spec");
    const char *type = json_string_or(spec, "type", "ClusterIP");
    if (str_eq(type, "ExternalName")) {
        json_remove(spec, "clusterIP");
        json_remove(spec, "clusterIPs");
    } else if (ranges->of[RANGE_ADDRESS].count && choose_address(ranges, spec, old, granted, err) < 0) {
        return -1;
    }
    bool balancer = str_eq(type, "LoadBalancer"), with_ports = balancer || str_eq(type, "NodePort");
    bool only_wanted = balancer && !json_bool(spec, "allocateLoadBalancerNodePorts", true);
    cJSON *ports = json_get(spec, "ports");
    size_t i = 0;
    json_each (port, ports) {
        if (!with_ports)
            json_remove(port, "nodePort");
        else if ((!only_wanted || json_int(port, "nodePort", 0)) &&
                 choose_port(ranges, port, i, old, granted, err) < 0)
            return -1;
        i++;
    }
    return 0;
}

/* ---- Nodes ---- */

/* The /24 networks that a pod range touches: a smaller one has the whole of its own. */
static uint32_t pod_networks(uint32_t address, unsigned bits, uint32_t *first)
{
    *first = address >> (32 - POD_CIDR_BITS);
    return bits < POD_CIDR_BITS ? 1u << (POD_CIDR_BITS - bits) : 1;
}

static int claim_pod_range(struct api_ranges *ranges, const char *cidr, struct grant *granted,
                           struct err **err)
{
    const struct range *range = &ranges->of[RANGE_POD_CIDR];
    uint32_t address = 0, first;
    unsigned bits = 0;
    if (parse_cidr(cidr, &address, &bits) < 0)
        return err_add_cause(err, "FieldValueInvalid", "spec.podCIDR",
                             "Invalid value: \"%.64s\": must be a CIDR", cidr);
    uint32_t count = pod_networks(address, bits, &first);
    if (!range->count)
        return 0;
    if (first < range->first || count > range->count || first - range->first > range->count - count)
        return err_add_cause(err, "FieldValueInvalid", "spec.podCIDR",
                             "Invalid value: \"%.64s\": is outside of the cluster's pod range, %s", cidr,
                             ranges->text[RANGE_POD_CIDR]);
    for (uint32_t i = 0; i < count; i++)
        if (claim(ranges, RANGE_POD_CIDR, first + i, granted) < 0)
            return err_add_cause(err, "FieldValueInvalid", "spec.podCIDR",
                                 "Invalid value: \"%.64s\": another node has addresses in %u.%u.%u.0/%d",
                                 cidr, (first + i) >> 16, (first + i) >> 8 & 255, (first + i) & 255,
                                 POD_CIDR_BITS);
    return 0;
}

int ranges_node(struct api_ranges *ranges, cJSON *node, struct grant *granted, struct err **err)
{
    struct range *range = &ranges->of[RANGE_POD_CIDR];
    cJSON *spec = json_ensure_object(node, "spec");
    auto_free char *cidr = mem_strdup(json_string(spec, "podCIDR"));
    uint32_t value = 0;
    if (!str_empty(cidr)) {
        if (claim_pod_range(ranges, cidr, granted, err) < 0)
            return -1;
    } else if (range->count) {
        if (take_next(ranges, RANGE_POD_CIDR, &value, granted) < 0)
            return err_set(err, ERR_UNAVAILABLE, "no pod range is left in %s", ranges->text[RANGE_POD_CIDR]);
        free(cidr);
        cidr = mem_printf("%u.%u.%u.0/%d", value >> 16 & 255, value >> 8 & 255, value & 255, POD_CIDR_BITS);
        json_set_string(spec, "podCIDR", cidr);
    } else {
        return 0;
    }
    cJSON *list = json_set(spec, "podCIDRs", cJSON_CreateArray());
    json_push_string(list, cidr);
    return 0;
}

/* ---- what an object holds ---- */

static void held_value(struct api_ranges *ranges, enum range_kind kind, uint32_t value, struct grant *grant)
{
    const struct range *range = &ranges->of[kind];
    if (value >= range->first && value - range->first < range->count)
        note(grant, kind, value - range->first);
}

void ranges_held(struct api_ranges *ranges, const char *resource, const cJSON *object, const cJSON *except,
                 struct grant *grant)
{
    uint32_t value = 0;
    unsigned bits = 0;
    if (str_eq(resource, "services")) {
        const char *ip = json_string(object, "spec.clusterIP");
        if (parse_address(ip, &value) == 0 && !str_eq(ip, json_string(except, "spec.clusterIP")))
            held_value(ranges, RANGE_ADDRESS, value, grant);
        const cJSON *ports = json_at(object, "spec.ports");
        json_each (port, ports) {
            int64_t number = json_int(port, "nodePort", 0);
            if (number && !holds_port(except, number))
                held_value(ranges, RANGE_PORT, (uint32_t)number, grant);
        }
    } else if (str_eq(resource, "nodes")) {
        const char *cidr = json_string(object, "spec.podCIDR");
        if (cidr && !str_eq(cidr, json_string(except, "spec.podCIDR")) &&
            parse_cidr(cidr, &value, &bits) == 0) {
            uint32_t first, count = pod_networks(value, bits, &first);
            const struct range *range = &ranges->of[RANGE_POD_CIDR];
            for (uint32_t i = 0; range->count && i < count; i++)
                held_value(ranges, RANGE_POD_CIDR, first + i, grant);
        }
    }
}

static int rebuild(struct api_ranges *ranges, struct store *store, const char *resource, struct err **err)
{
    auto_free char *prefix = store_key_prefix(resource, NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    if (store->ops->list(store, &request, &list, err) < 0)
        return err_wrap(err, "reading the %s that hold addresses", resource);
    struct grant held = {0};
    for (size_t i = 0; i < list.count; i++) {
        auto_json object = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        ranges_held(ranges, resource, object, NULL, &held);
    }
    for (size_t i = 0; i < held.count; i++) {
        struct range *range = &ranges->of[held.items[i].kind];
        range->bits[held.items[i].index / 8] |= (uint8_t)(1u << held.items[i].index % 8);
    }
    free(held.items);
    store_list_fini(&list);
    return 0;
}

static int init_addresses(struct api_ranges *ranges, const char *services, const char *pods, struct err **err)
{
    uint32_t address = 0;
    unsigned bits = 0;
    if (services) {
        if (parse_cidr(services, &address, &bits) < 0 || bits < 12 || bits > 28)
            return err_set(err, ERR_INVALID, "service range \"%s\" must be an IPv4 network of /12 to /28",
                           services);
        uint32_t count = (1u << (32 - bits)) - 1; /* without the broadcast address */
        uint32_t floor = count > 4 * STATIC_BAND ? STATIC_BAND : 16 < count / 2 ? 16 : 1;
        range_init(&ranges->of[RANGE_ADDRESS], address, count, floor);
        ranges->of[RANGE_ADDRESS].bits[0] |= 1; /* the network address */
    }
    if (pods) {
        if (parse_cidr(pods, &address, &bits) < 0 || bits < 8 || bits > POD_CIDR_BITS)
            return err_set(err, ERR_INVALID, "pod range \"%s\" must be an IPv4 network of /8 to /24", pods);
        range_init(&ranges->of[RANGE_POD_CIDR], address >> 8, 1u << (POD_CIDR_BITS - bits), 0);
    }
    ranges->text[RANGE_ADDRESS] = mem_strdup(services);
    ranges->text[RANGE_POD_CIDR] = mem_strdup(pods);
    return 0;
}

struct api_ranges *ranges_new(struct api *api, struct err **err)
{
    struct api_ranges *ranges = NEW(struct api_ranges);
    pthread_mutex_init(&ranges->lock, NULL);
    range_init(&ranges->of[RANGE_PORT], FIRST_PORT, LAST_PORT - FIRST_PORT + 1, 0);
    ranges->text[RANGE_PORT] = mem_printf("%d-%d", FIRST_PORT, LAST_PORT);
    if (init_addresses(ranges, api->options.service_range, api->options.pod_range, err) < 0 ||
        rebuild(ranges, api->store, "services", err) < 0 || rebuild(ranges, api->store, "nodes", err) < 0) {
        ranges_free(ranges);
        return NULL;
    }
    return ranges;
}

void ranges_free(struct api_ranges *ranges)
{
    if (!ranges)
        return;
    for (int kind = 0; kind < RANGE_KINDS; kind++) {
        free(ranges->of[kind].bits);
        free(ranges->text[kind]);
    }
    pthread_mutex_destroy(&ranges->lock);
    free(ranges);
}
