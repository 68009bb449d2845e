/*
 * node: puts the agent together: disk, runtime, network, stream, cache, workers. It hands changes to those
 * who care and decides two things itself: whether to believe the server (contract 15), and which containers
 * belong to which worker.
 *
 * Invariants: no worker acts before the runtime was listed; a pod is "gone" only by an event of a trusted
 * stream, or because a complete list from the same cluster, not older than what the disk knows, lacks it.
 */
#include <arpa/inet.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

#define NET_RETRY_MS 1000
#define NET_GRACE_MS 5000
#define LIST_RETRY_MS 500
#define LATE_DRAIN_MS 2000

/* ---- the runtime's containers */

struct list_call {
    struct node *node; /* NULL once the agent ended */
};

static void look_at_all(struct node *node)
{
    map_each (entry, &node->pods)
        pod_look(entry->value);
}

static void keep_interfaces(struct node *node);

static void observe_all(struct node *node, struct runtime_container **list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *uid = runtime_container_label(list[i], NODE_LABEL "pod.uid");
        if (str_empty(uid) || map_has(&node->pods, uid))
            continue;
        struct pod *pod = pod_new(node, uid, runtime_container_label(list[i], NODE_LABEL "pod.namespace"),
                                  runtime_container_label(list[i], NODE_LABEL "pod.name"));
        log_info("node", "found containers of pod %s/%s (%s), not in the node's files", pod->namespace,
                 pod->name, uid);
    }
    auto_free struct runtime_container **own = mem_array(count + 1, sizeof(struct runtime_container *));
    map_each (entry, &node->pods) {
        struct pod *pod = entry->value;
        size_t n = 0;
        for (size_t i = 0; i < count; i++)
            if (str_eq(runtime_container_label(list[i], NODE_LABEL "pod.uid"), pod->uid))
                own[n++] = list[i];
        pod_observe(pod, own, n);
        if (!pod->object && node->synced)
            pod_set_gone(pod);
    }
}

static void on_list(void *arg, struct runtime_container **list, size_t count, struct err *err)
{
    struct list_call *call = arg;
    struct node *node = call->node;
    free(call);
    if (node && !node->closing) {
        node->list_call = NULL;
        if (err) {
            log_warn("node", "list the containers: %s", err_message(err));
            loop_timer_start(node->list_retry, LIST_RETRY_MS);
        } else {
            bool first = !node->listed;
            node->listed = true;
            observe_all(node, list, count);
            if (first) {
                keep_interfaces(node);
                node_mounts_sweep(node);
                node_register_update(node->registration); /* the node may be ready now */
            }
        }
        if (node->list_again) {
            node->list_again = false;
            node_list_containers(node);
        }
    }
    for (size_t i = 0; i < count; i++)
        runtime_container_free(list[i]);
    free(list);
}

void node_list_containers(struct node *node)
{
    if (node->list_call) {
        node->list_again = true;
        return;
    }
    node->list_number++;
    node->list_call = NEW(struct list_call);
    node->list_call->node = node;
    node->runtime->ops->list(node->runtime, on_list, node->list_call);
}

static void on_list_retry(void *arg)
{
    node_list_containers(arg);
}

/* m8_CONTAINER_POD_NAMESPACE_UID_ATTEMPT: none of the parts has an underscore. */
static struct pod *pod_of_container(struct node *node, const char *name)
{
    size_t count;
    auto_free char **parts = str_split(name, '_', &count);
    return count == 6 ? map_get(&node->pods, parts[4]) : NULL;
}

static void on_runtime_event(void *arg, const struct runtime_event *event)
{
    struct node *node = arg;
    if (node->closing)
        return;
    if (event->type == RUNTIME_RESYNC) {
        node_list_containers(node);
        return;
    }
    struct pod *pod = event->name ? pod_of_container(node, event->name) : NULL;
    if (pod && event->type != RUNTIME_STARTED)
        pod_inspect(pod, event->name);
}

/* ---- the network ---- */

struct setup_job {
    struct node_job job;
    struct node *node;
    struct net *net;
    char **uids;
    size_t n_uids;
    int result;
};

static void setup_work(struct node_job *base)
{
    struct setup_job *job = CONTAINER_OF(base, struct setup_job, job);
    job->result = job->uids ? job->net->ops->pods_keep(job->net, (const char *const *)job->uids, job->n_uids,
                                                       &base->err)
                            : job->net->ops->setup(job->net, &base->err);
}

/* Soon, but at most once in a while: somebody may take it away again and again. */
static void net_plan(struct node *node)
{
    int64_t next = node->net_began + NET_RETRY_MS;
    if (!node->net_busy && !loop_timer_running(node->net_retry))
        loop_timer_start_at(node->net_retry, next > node_now(node) ? next : node_now(node));
}

/* A node that is not ready is not waited for by pods that leave, though it may still send to them: so that is
 * said of a lasting failure only. */
static void net_failed(struct node *node, const char *problem)
{
    if (!node->net_problem)
        node->net_failed_at = node_now(node);
    if (!str_eq(node->net_problem, problem))
        log_error("node", "set the network up: %s", problem);
    mem_set_text(&node->net_problem, problem);
    node->net_again = true;
    if (node_now(node) - node->net_failed_at >= NET_GRACE_MS)
        node->net_ready = false;
    net_plan(node);
    node_register_update(node->registration);
}

static void net_succeeded(struct node *node)
{
    free(steal(&node->net_problem));
    node->net_ready = true;
    keep_interfaces(node);
    if (node->net_lost && !node->net_again) {
        node->net_lost = false;
        map_each (entry, &node->pods)
            pod_attach_again(entry->value);
    }
    look_at_all(node);
    node_services_all(node->services);
    node_peers_changed(node->peers);
    node_register_update(node->registration);
    if (node->net_again)
        net_plan(node);
}

static void setup_done(struct node_job *base, bool closed)
{
    struct setup_job *job = CONTAINER_OF(base, struct setup_job, job);
    struct node *node = job->node;
    if (!closed && job->uids) {
        if (job->result < 0)
            log_warn("node", "remove interfaces of pods that are gone: %s", err_message(base->err));
    } else if (!closed) {
        node->net_busy = false;
        if (job->result < 0)
            net_failed(node, err_message(base->err));
        else
            net_succeeded(node);
    }
    for (size_t i = 0; i < job->n_uids; i++)
        free(job->uids[i]);
    free(job->uids);
    free(job);
}

static struct setup_job *setup_job_new(struct node *node)
{
    struct setup_job *job = NEW(struct setup_job);
    job->job.work = setup_work;
    job->job.done = setup_done;
    job->node = node;
    job->net = node->net;
    return job;
}

static void keep_interfaces(struct node *node)
{
    if (!node->net_ready || !node->listed)
        return;
    struct setup_job *job = setup_job_new(node);
    job->uids = mem_array(node->pods.count + 1, sizeof(char *));
    map_each (entry, &node->pods)
        job->uids[job->n_uids++] = mem_strdup(entry->key);
    node_lane_run(node->net_lane, &job->job);
}

static void on_net_retry(void *arg)
{
    struct node *node = arg;
    if (node->net_busy || !node->net)
        return;
    node->net_busy = true;
    node->net_again = false;
    node->net_began = node_now(node);
    node_lane_run(node->net_lane, &setup_job_new(node)->job);
}

bool node_net_usable(const struct node *node)
{
    return node->net_ready && !node->net_again && !node->net_busy;
}

/* The node stays ready meanwhile: what is as it should be is not touched. */
void node_net_again(struct node *node)
{
    node->net_again = true;
    node_peers_forget(node->peers);
    net_plan(node);
}

static void on_net_lost(void *arg, const char *what)
{
    struct node *node = arg;
    if (!node->net_lost)
        log_warn("node", "%s: the network is set up again", what);
    node->net_lost = true;
    node_net_again(node);
}

void node_check_left(struct node *node)
{
    if (node->leaving && !node->pods.count && node->options.on_left)
        node->options.on_left(node->options.on_left_arg, false);
}

/* A Node that was deleted while this agent was away, and made anew: what the disk knows is of the old one. */
static void check_range(struct node *node, const char *pod_range)
{
    struct net_cidr range;
    if (net_cidr_parse(pod_range, &range, NULL) < 0 ||
        (range.address.s_addr == node->pod_range.address.s_addr && range.prefix == node->pod_range.prefix))
        return;
    log_error("node", "the pod range of this node is %s now, other than this machine was set up for",
              pod_range);
    if (node->options.on_left)
        node->options.on_left(node->options.on_left_arg, true);
}

/* Those that have ended come last: what they have left may be another's by now. */
static void reserve_addresses(struct node *node, bool ended)
{
    map_each (entry, &node->pods) {
        struct pod *pod = entry->value;
        if (!pod->address.s_addr || (pod->phase != NULL) != ended || (ended && pod->address_left))
            continue;
        pod->address_left = !ipam_reserve(node->ipam, pod->address);
        if (pod->address_left && !ended)
            log_warn("node", "pod %s/%s: its address is outside the node's range or taken twice",
                     pod->namespace, pod->name);
    }
}

void node_net_use(struct node *node, const char *pod_range)
{
    auto_err err = NULL;
    struct net_cidr range;
    if (node->ipam && !str_empty(pod_range))
        check_range(node, pod_range);
    if (node->ipam || str_empty(pod_range))
        return;
    if (net_cidr_parse(pod_range, &range, &err) < 0) {
        log_error("node", "pod range %s: %s", pod_range, err_message(err));
        return;
    }
    if (!node->net && node->options.net_new)
        node->net = node->options.net_new(node->options.net_new_arg, pod_range, &err);
    if (!node->net) {
        log_error("node", "network for %s: %s", pod_range, err_message(err));
        return;
    }
    node->pod_range = range;
    node->ipam = ipam_new(&range);
    reserve_addresses(node, false);
    reserve_addresses(node, true);
    node_disk_save_state(node);
    node->net->ops->watch(node->net, on_net_lost, node);
    on_net_retry(node);
}

/* ---- what the stream says */

static void on_pod(struct node *node, const struct cache_item *previous, const struct cache_item *item)
{
    if (previous && (!item || !str_eq(previous->uid, item->uid))) {
        struct pod *pod = map_get(&node->pods, previous->uid);
        if (pod && node->trusted)
            pod_set_gone(pod);
    }
    if (!item)
        return;
    cJSON *object = json_parse_trusted(item->bytes->data, item->bytes->len);
    if (soft_fails(object != NULL))
        return;
    struct pod *pod = map_get(&node->pods, item->uid);
    if (!pod)
        pod = pod_new(node, item->uid, item->namespace, item->name);
    if (!pod->object && node->listed && pod->n_old) { /* its containers were listed before it was known */
        pod->unknown = true;
        node_list_containers(node);
    }
    pod_set_object(pod, object, item->revision);
}

static void on_reference(struct node *node, const char *resource, const struct cache_item *item)
{
    map_each (entry, &node->pods) {
        struct pod *pod = entry->value;
        if (!pod->object || !str_eq(pod->namespace, item->namespace) ||
            !pod_refers_to(pod, resource, item->name) || !pod_collect_references(pod))
            continue;
        pod->volumes_stale = true;
        pod->volumes_retry_at = 0;
        for (size_t i = 0; i < pod->n_containers; i++) {
            struct container *c = &pod->containers[i];
            if (c->plan.busy || (c->plan.exists && c->plan.state == RUNTIME_RUNNING))
                continue;
            c->plan.retry_at = 0; /* what it waits for may be there now */
            c->crashes = c->failures = 0;
        }
        pod_look(pod);
    }
}

static void on_drain(struct node *node, const struct cache_item *item)
{
    auto_json drain = item ? json_parse_trusted(item->bytes->data, item->bytes->len) : NULL;
    node->drain_revision = (uint64_t)json_int(drain, "status.revision", 0);
    map_each (entry, &node->pods) {
        struct pod *pod = entry->value;
        if ((pod->drain_until && !pod->drained) || (pod->phase && !pod->address_left))
            pod_look(pod);
    }
}

static void on_change(void *arg, const char *resource, const struct cache_item *previous,
                      const struct cache_item *item)
{
    struct node *node = arg;
    if (str_eq(resource, "pods")) {
        on_pod(node, previous, item);
    } else if (str_eq(resource, "configmaps") || str_eq(resource, "secrets") ||
               str_eq(resource, "persistentvolumeclaims")) {
        if (item)
            on_reference(node, resource, item);
    } else if (str_eq(resource, "services")) {
        node_services_changed(node->services, resource, previous, item);
    } else if (str_eq(resource, NODE_SLICES)) {
        node_slices_changed(node, previous, item);
        node_services_changed(node->services, resource, previous, item);
    } else if (str_eq(resource, "nodes")) {
        const char *name = item ? item->name : previous->name;
        if (str_eq(name, node->options.name))
            node_register_changed(node->registration, item);
        else
            node_peers_changed(node->peers);
    } else if (str_eq(resource, "persistentvolumes")) {
        node_volumes_changed(node, item ? item->name : previous->name, item);
    } else if (str_eq(resource, NODE_DRAINS)) {
        on_drain(node, item);
    } else if (str_eq(resource, "policies.minik8s.io") || str_eq(resource, "policyprofiles.minik8s.io")) {
        node_policies_sync(node);
    }
    node_extensions_changed(node->extensions, resource, previous, item);
}

/* The list is complete, and it may be believed: what it lacks is gone. */
static void on_list_complete(struct node *node, uint64_t revision)
{
    node->synced = true;
    free(steal(&node->distrust));
    if (revision > node->known_revision)
        node->known_revision = revision;
    map_each (entry, &node->pods) {
        struct pod *pod = entry->value;
        const struct cache_item *item = cache_get_uid(node->cache, pod->uid);
        if (!item || !str_eq(item->resource, "pods")) {
            pod_set_gone(pod);
            continue;
        }
        /* It left its slices while this agent was away: when is not known, so others must have followed all,
         * which a quiet cluster never says. */
        bool leaves = item->deleting || (pod->phase && !pod->address_left);
        if (leaves && !pod->left_slices_at && !node_slices_hold(node, pod)) {
            pod->left_slices_at = revision;
            pod->drain_until = node_now(node) + LATE_DRAIN_MS;
        }
        pod_look(pod);
    }
    node_disk_save_state(node);
    node_extensions_complete(node->extensions);
    node_policies_sync(node);
    node_services_all(node->services);
    node_peers_changed(node->peers);
    node_mounts_sweep(node);
    node_register_synced(node->registration);
}

/* Said on the Node too: nobody reads an agent's log to learn why pods do not start. */
static void distrust(struct node *node, uint64_t revision)
{
    node->trusted = false;
    free(node->distrust);
    node->distrust = mem_printf(
        "the server's revision %llu is older than %llu, which this node has seen: its store was lost or is "
        "an "
        "older copy; nothing is started or removed until the server is newer, or the node joins anew",
        (unsigned long long)revision, (unsigned long long)node->known_revision);
    log_error("node", "%s", node->distrust);
    node_register_update(node->registration);
}

static void on_event(void *arg, const struct client_event *event)
{
    struct node *node = arg;
    if (!node->trusted)
        return;
    if (event->type == CLIENT_INITIAL_END && event->revision < node->known_revision) {
        distrust(node, event->revision);
        return;
    }
    if (event->revision > node->event_revision)
        node->event_revision = event->revision;
    cache_apply(node->cache, event);
    if (event->type == CLIENT_INITIAL_END)
        on_list_complete(node, event->revision);
}

static void on_restart(void *arg, const char *cluster_id)
{
    struct node *node = arg;
    if (node->cluster_id && !str_eq(node->cluster_id, cluster_id)) {
        node->trusted = false;
        log_error("node", "the server belongs to cluster %s, this node to %s: nothing is taken from it",
                  cluster_id, node->cluster_id);
        return;
    }
    if (!node->cluster_id)
        node->cluster_id = mem_strdup(cluster_id);
    node->trusted = true;
    cache_begin_list(node->cache);
}

static void on_connected(void *arg, bool connected, const char *reason)
{
    struct node *node = arg;
    node->connected = connected;
    if (!connected) {
        log_warn("node", "the server cannot be reached: %s", reason);
        return;
    }
    map_each (entry, &node->pods)
        pod_status_report(entry->value);
    node_register_update(node->registration);
    node_decisions_connected(node->decisions);
}

void node_reachable_again(struct node *node)
{
    if (!node->closing && node->stream)
        client_stream_reconnect(node->stream);
}

void node_pull_finished(struct node *node)
{
    node_register_images(node->registration);
}

/* ---- beginning and end ---- */

static void copy_options(struct node *node, const struct node_options *options)
{
    struct node_options *o = &node->options;
    *o = *options;
    o->file_pool = options->file_pool ? options->file_pool : options->pool;
    o->name = mem_strdup(options->name);
    o->cluster = mem_strdup(options->cluster ? options->cluster : "minik8s");
    o->directory = mem_strdup(options->directory);
    o->persistent = mem_strdup(options->persistent);
    o->version = mem_strdup(options->version ? options->version : "");
    o->internal_ip = mem_strdup(options->internal_ip ? options->internal_ip : "127.0.0.1");
    o->ca_pem = mem_strdup(options->ca_pem);
    o->dns_address = mem_strdup(options->dns_address);
    o->dns_spare = mem_strdup(options->dns_spare);
    o->cluster_domain = mem_strdup(options->cluster_domain ? options->cluster_domain : "cluster.local");
    o->sandbox_image = mem_strdup(options->sandbox_image);
    o->storage = mem_strdup(options->storage);
    o->certificate_problem = mem_strdup(options->certificate_problem);
    node_settings_copy(&o->settings, &options->settings);
    node_register_capacity(o);
}

static void free_options(struct node_options *o)
{
    const char *texts[] = {
        o->name,        o->cluster,    o->directory,          o->version,       o->internal_ip,
        o->dns_address, o->dns_spare,  o->cluster_domain,     o->sandbox_image, o->storage,
        o->ca_pem,      o->persistent, o->certificate_problem};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        free((char *)texts[i]);
    node_settings_fini(&o->settings);
}

static void make_cache(struct node *node)
{
    static const char *const slice_paths[] = {NODE_SERVICE_LABEL_PATH, NULL};
    static const char *const node_paths[] = {"spec.podCIDR", "status.addresses", NULL};
    node->cache = cache_new();
    cache_project(node->cache, NODE_SLICES, slice_paths);
    cache_index(node->cache, NODE_SLICES, NODE_SERVICE_LABEL_PATH);
    cache_project(node->cache, "nodes", node_paths);
    cache_set_on_change(node->cache, on_change, node);
}

static void open_stream(struct node *node)
{
    const struct client_stream_options stream = {.cluster_id = node->cluster_id,
                                                 .on_event = on_event,
                                                 .on_restart = on_restart,
                                                 .on_connected = on_connected,
                                                 .arg = node};
    node->stream = client_stream_open(node->client, &stream);
}

struct node *node_new(const struct node_options *options, struct err **err)
{
    struct node *node = NEW(struct node);
    copy_options(node, options);
    node->loop = options->loop;
    node->runtime = options->runtime;
    node->net = options->net;
    node->client = client_new(node->loop, options->http, options->random);
    node->recorder = recorder_new(node->client, "minik8s-node", node->options.name);
    node->net_lane = node_lane_new(node->loop, options->pool);
    node->usage_lane = node_lane_new(node->loop, options->pool);
    node->name_lane = node_lane_new(node->loop, options->pool);
    node->disk_lane = node_lane_new(node->loop, options->pool);
    node->net_retry = loop_timer_new(node->loop, on_net_retry, node);
    node->list_retry = loop_timer_new(node->loop, on_list_retry, node);
    list_init(&node->followers);
    node_rotation_init(node);
    make_cache(node);
    node_volumes_init(node);
    node->services = node_services_new(node);
    node->peers = node_peers_new(node);
    node->decisions = node_decisions_new(node);
    node->registration = node_register_new(node);
    node->requests = node_requests_new(node);
    node->stats = node_stats_new(node);
    node->extensions = node_extensions_new(node, err);
    if (!node->extensions || node_disk_load(node, err) < 0) {
        node_free(node);
        return NULL;
    }
    node->runtime->ops->set_on_event(node->runtime, on_runtime_event, node);
    node_list_containers(node);
    auto_free char *range = node_disk_state_range(node);
    node_net_use(node, range);
    open_stream(node);
    node->heartbeat = node_heartbeat_new(node);
    node_policies_listen(node, true);
    return node;
}

void node_free(struct node *node)
{
    if (!node)
        return;
    node->closing = true;
    node_policies_listen(node, false);
    if (node->list_call)
        node->list_call->node = NULL;
    node->runtime->ops->set_on_event(node->runtime, NULL, NULL);
    if (node->net)
        node->net->ops->watch(node->net, NULL, NULL);
    node_requests_free(node->requests);
    node_logs_free(node);
    node_stats_free(node->stats);
    node_heartbeat_free(node->heartbeat);
    client_stream_close(node->stream);
    map_each (entry, &node->pods)
        pod_close(entry->value);
    map_fini(&node->pods);
    node_rotation_fini(node);
    map_fini(&node->in_slices);
    recorder_free(node->recorder);
    node_extensions_free(node->extensions);
    client_free(node->client); /* calls back what is under way: before what it calls */
    node_register_free(node->registration);
    node_volumes_fini(node);
    node_lane_close(node->net_lane);
    node_lane_close(node->usage_lane);
    node_lane_close(node->name_lane);
    node_lane_close(node->disk_lane);
    node_services_free(node->services);
    node_peers_free(node->peers);
    node_decisions_free(node->decisions);
    loop_timer_free(node->net_retry);
    loop_timer_free(node->list_retry);
    cache_free(node->cache);
    ipam_free(node->ipam);
    free(node->net_problem);
    free(node->distrust);
    free(node->cluster_id);
    free_options(&node->options);
    free(node);
}
