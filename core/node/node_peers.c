/*
 * node_peers: the other nodes' addresses and pod ranges, handed to net whenever one of them differs from what
 * was applied.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

#define PEERS_RETRY_MS 1000

struct node_peers {
    struct node *node;
    struct net_peer *applied;
    size_t n_applied;
    enum net_routing routing; /* as applied */
    bool busy, again, valid, forgotten;
    struct loop_timer *timer;
};

struct peers_job {
    struct node_job job;
    struct node_peers *peers;
    struct net *net;
    enum net_routing routing;
    struct net_peer *list;
    size_t count;
    int result;
};

static void peers_work(struct node_job *base)
{
    struct peers_job *job = CONTAINER_OF(base, struct peers_job, job);
    job->result = job->net->ops->peers(job->net, job->routing, job->list, job->count, &base->err);
}

static void peers_done(struct node_job *base, bool closed)
{
    struct peers_job *job = CONTAINER_OF(base, struct peers_job, job);
    struct node_peers *peers = job->peers;
    if (!closed) {
        peers->busy = false;
        if (job->result < 0) {
            peers->valid = false;
            log_error("node", "routes to other nodes: %s", err_message(base->err));
            node_event(peers->node, "Warning", "NoRouteToNode", "%s", err_message(base->err));
            loop_timer_start(peers->timer, PEERS_RETRY_MS);
            if (err_code(base->err) != ERR_UNAVAILABLE)
                node_net_again(peers->node);
        } else {
            free(peers->applied);
            peers->applied = steal(&job->list);
            peers->n_applied = job->count;
            peers->routing = job->routing;
            peers->valid = !peers->forgotten;
            if (peers->again)
                node_peers_changed(peers);
        }
    }
    free(job->list);
    free(job);
}

static bool read_peer(const struct cache_item *item, struct net_peer *peer)
{
    *peer = (struct net_peer){0};
    snprintf(peer->name, sizeof(peer->name), "%s", item->name);
    const cJSON *range = json_get(item->columns, "spec.podCIDR");
    if (!cJSON_IsString(range) || net_cidr_parse(range->valuestring, &peer->pod_range, NULL) < 0)
        return false;
    json_each (address, json_get(item->columns, "status.addresses"))
        if (str_eq(json_string(address, "type"), "InternalIP"))
            return inet_pton(AF_INET, json_string_or(address, "address", ""), &peer->node_address) == 1;
    return false;
}

void node_peers_changed(struct node_peers *peers)
{
    struct node *node = peers->node;
    if (!node_net_usable(node) || !node->synced)
        return;
    if (peers->busy) {
        peers->again = true;
        return;
    }
    peers->again = false;
    size_t count = 0;
    struct net_peer *list = mem_array(cache_count(node->cache, "nodes") + 1, sizeof(*list));
    struct cache_cursor cursor;
    const struct cache_item *item;
    cache_begin(node->cache, "nodes", NULL, NULL, &cursor);
    while ((item = cache_next(&cursor)))
        if (!str_eq(item->name, node->options.name) && read_peer(item, &list[count]))
            count++;
    enum net_routing routing = node->options.settings.routing;
    if (peers->valid && routing == peers->routing && count == peers->n_applied &&
        memcmp(list, peers->applied, count * sizeof(*list)) == 0) {
        free(list);
        return;
    }
    struct peers_job *job = NEW(struct peers_job);
    job->job.work = peers_work;
    job->job.done = peers_done;
    job->peers = peers;
    job->net = node->net;
    job->routing = routing;
    job->list = list;
    job->count = count;
    peers->busy = true;
    peers->forgotten = false;
    node_lane_run(node->net_lane, &job->job);
}

void node_peers_forget(struct node_peers *peers)
{
    peers->valid = false;
    peers->forgotten = peers->busy; /* what is under way may have come too early */
}

static void on_timer(void *arg)
{
    node_peers_changed(arg);
}

struct node_peers *node_peers_new(struct node *node)
{
    struct node_peers *peers = NEW(struct node_peers);
    peers->node = node;
    peers->timer = loop_timer_new(node->loop, on_timer, peers);
    return peers;
}

void node_peers_free(struct node_peers *peers)
{
    if (!peers)
        return;
    loop_timer_free(peers->timer);
    free(peers->applied);
    free(peers);
}
