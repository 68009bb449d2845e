/*
 * node_stats: GET /stats/summary, in the form of the kubelet's Summary API: CPU and memory of containers,
 * pods and the node, network and file system; what pods tell about themselves with ?metrics=a,b, and what
 * extensions count about ?objects=KIND/NAMESPACE/NAME,… under these names. With
 * ?only_cpu_and_memory=true network and files are left out: that is how the API server collects.
 *
 * Nothing is measured unless somebody asks. Rates are between this look and the one before; after a long
 * silence one call looks twice, LOOK_AGAIN_MS apart, so that a figure is always about now. Looks that come
 * closer than MIN_WINDOW_MS share one.
 */
#include <inttypes.h>
#include <string.h>

#include "node/node_figures.h"
#include "node/node_scrape.h"
#include "node/node_usage.h"

#define MIN_WINDOW_MS 400
#define LOOK_AGAIN_MS 500
#define MAX_WINDOW_MS 15000
#define NODE_SAMPLE "node"

struct sample {
    int64_t cpu_ns, memory, at_ns;
    int64_t rate, window_ns; /* rate: nanocores, -1 until it is known */
    bool seen;
};

struct node_stats {
    struct node *node;
    struct map samples; /* container's name in the runtime, or NODE_SAMPLE → struct sample */
    int64_t looked_ns;  /* monotonic; 0: never */
    struct node_scrape *scrape;
    struct node_figures *figures;
    struct list calls;
};

struct layer {
    char *name; /* of the container in the runtime */
    int pid;
    int64_t bytes, files; /* bytes -1: not known */
};

struct stats_call {
    struct list link;
    struct node_stats *stats; /* NULL: the agent ended, and the request is answered */
    struct http_exchange *x;
    struct loop_timer *again;
    bool held; /* the runtime or the pool will call back */
    bool only_usage;
    char *names;   /* NULL: nothing is asked of pods */
    char *objects; /* NULL: nothing is asked of extensions */
    struct layer *layers;
    size_t n_layers;
};

struct node_stats *node_stats_new(struct node *node)
{
    struct node_stats *stats = NEW(struct node_stats);
    stats->node = node;
    map_init(&stats->samples, free);
    list_init(&stats->calls);
    stats->scrape = node_scrape_new(node);
    stats->figures = node_figures_new(node);
    return stats;
}

static void call_free(struct stats_call *call)
{
    for (size_t i = 0; i < call->n_layers; i++)
        free(call->layers[i].name);
    free(call->layers);
    free(call->names);
    free(call->objects);
    free(call);
}

/* The request is answered; the call lives until whoever holds it (runtime or pool) gives it back. */
static void call_end(struct stats_call *call)
{
    list_remove(&call->link);
    loop_timer_free(call->again);
    call->again = NULL;
    call->stats = NULL;
}

void node_stats_free(struct node_stats *stats)
{
    if (!stats)
        return;
    while (!list_empty(&stats->calls)) {
        struct stats_call *call = list_first(&stats->calls, struct stats_call, link);
        node_answer_error(call->x, ERR_UNAVAILABLE, "the agent is ending");
        call_end(call);
        if (!call->held)
            call_free(call);
    }
    node_scrape_free(stats->scrape);
    node_figures_free(stats->figures);
    map_fini(&stats->samples);
    free(stats);
}

/* ---- looking ---- */

static void take(struct node_stats *stats, const char *name, int64_t cpu_ns, int64_t memory, int64_t now)
{
    struct sample *sample = map_get(&stats->samples, name);
    if (!sample) {
        sample = NEW(struct sample);
        map_set(&stats->samples, name, sample);
        *sample = (struct sample){.rate = -1};
    } else if (cpu_ns < sample->cpu_ns || now <= sample->at_ns) {
        sample->rate = -1;
    } else {
        sample->window_ns = now - sample->at_ns;
        sample->rate = (int64_t)((double)(cpu_ns - sample->cpu_ns) * 1e9 / (double)sample->window_ns);
    }
    sample->cpu_ns = cpu_ns;
    sample->memory = memory;
    sample->at_ns = now;
    sample->seen = true;
}

/* Agents that share a machine count what their own containers use; one that has it alone counts all of it. */
static void take_node(struct node_stats *stats, const cJSON *list, int64_t now)
{
    int64_t cpu_ns = 0, memory = 0;
    if (stats->node->options.shares_machine || node_usage_machine(&cpu_ns, &memory) < 0) {
        const cJSON *all = NULL;
        json_each (item, list)
            all = str_eq(json_string(item, "name"), "") ? item : all;
        cpu_ns = json_int(all, "cpuNano", 0);
        memory = json_int(all, "memoryBytes", 0);
    }
    take(stats, NODE_SAMPLE, cpu_ns, memory, now);
}

static void take_all(struct node_stats *stats, const cJSON *list, int64_t now)
{
    map_each (entry, &stats->samples)
        ((struct sample *)entry->value)->seen = false;
    json_each (item, list) {
        const char *name = json_string_or(item, "name", "");
        if (*name)
            take(stats, name, json_int(item, "cpuNano", 0), json_int(item, "memoryBytes", 0), now);
    }
    take_node(stats, list, now);
    map_each (entry, &stats->samples) {
        if (!((struct sample *)entry->value)->seen)
            map_remove(&stats->samples, entry->key);
    }
    stats->looked_ns = now;
}

/* ---- the answer ---- */

static void add_time(cJSON *to, int64_t wall_ns)
{
    char text[TIME_TEXT];
    time_print_micro(wall_ns, text);
    json_set_string(to, "time", text);
}

static void add_usage(cJSON *to, const struct sample *sample, int64_t wall_ns)
{
    cJSON *cpu = json_ensure_object(to, "cpu"), *memory = json_ensure_object(to, "memory");
    add_time(cpu, wall_ns);
    if (sample->rate >= 0) {
        json_set_int(cpu, "usageNanoCores", sample->rate);
        json_set_int(cpu, "windowNanoSeconds", sample->window_ns);
    }
    json_set_int(cpu, "usageCoreNanoSeconds", sample->cpu_ns);
    add_time(memory, wall_ns);
    json_set_int(memory, "workingSetBytes", sample->memory);
}

static void add_layer(const struct stats_call *call, cJSON *container, const char *name)
{
    for (size_t i = 0; i < call->n_layers; i++) {
        if (!str_eq(call->layers[i].name, name) || call->layers[i].bytes < 0)
            continue;
        cJSON *rootfs = json_ensure_object(container, "rootfs");
        json_set_int(rootfs, "usedBytes", call->layers[i].bytes);
        json_set_int(rootfs, "inodesUsed", call->layers[i].files);
    }
}

static void add_pod(const struct stats_call *call, cJSON *pods, const struct pod *pod, int64_t wall_ns)
{
    const struct node_stats *stats = call->stats;
    auto_json out = cJSON_CreateObject();
    struct sample sum = {0};
    cJSON *reference = json_ensure_object(out, "podRef");
    json_set_string(reference, "name", pod->name);
    json_set_string(reference, "namespace", pod->namespace);
    json_set_string(reference, "uid", pod->uid);
    const cJSON *labels = json_at(pod->object, "metadata.labels");
    if (labels)
        json_set(reference, "labels", json_copy(labels));
    cJSON *containers = json_ensure_array(out, "containers");
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct container *c = &pod->containers[i];
        auto_free char *name = pod_container_name(pod, c->name, c->attempt);
        const struct sample *sample = map_get(&stats->samples, name);
        if (!sample)
            continue;
        cJSON *one = json_push(containers, cJSON_CreateObject());
        json_set_string(one, "name", c->name);
        add_usage(one, sample, wall_ns);
        add_layer(call, one, name);
        sum.cpu_ns += sample->cpu_ns;
        sum.memory += sample->memory;
        sum.rate = sum.rate < 0 || sample->rate < 0 ? -1 : sum.rate + sample->rate;
        sum.window_ns = sample->window_ns > sum.window_ns ? sample->window_ns : sum.window_ns;
    }
    if (!containers->child)
        return;
    add_usage(out, &sum, wall_ns);
    cJSON *network = call->only_usage || pod_host_network(pod) ? NULL : node_usage_network(pod->sandbox_pid);
    if (network)
        json_set(out, "network", network);
    const cJSON *values = call->names ? node_scrape_values(stats->scrape, pod->uid) : NULL;
    if (values)
        json_set(out, "userDefinedMetrics", json_copy(values));
    json_push(pods, steal(&out));
}

static void add_disk(cJSON *to, const char *key, const char *path)
{
    cJSON *disk = node_usage_disk(path);
    if (disk)
        json_set(to, key, disk);
}

static void answer(struct stats_call *call)
{
    struct node_stats *stats = call->stats;
    const struct node *node = stats->node;
    int64_t wall_ns = node_wall(node);
    auto_json summary = cJSON_CreateObject();
    cJSON *own = json_ensure_object(summary, "node");
    json_set_string(own, "nodeName", node->options.name);
    const struct sample *sample = map_get(&stats->samples, NODE_SAMPLE);
    if (sample)
        add_usage(own, sample, wall_ns);
    if (!call->only_usage)
        add_disk(own, "fs", node->options.directory);
    cJSON *pods = json_ensure_array(summary, "pods");
    map_each (entry, &node->pods)
        add_pod(call, pods, entry->value, wall_ns);
    const cJSON *objects = call->objects ? node_figures_objects(stats->figures) : NULL;
    if (objects && objects->child)
        json_set(summary, "objects", json_copy(objects));
    node_answer_text(call->x, 200, "application/json", json_print(summary));
    call_end(call);
    call_free(call);
}

/* ---- files: on the pool ---- */

static void measure_layers(void *arg)
{
    struct stats_call *call = arg;
    for (size_t i = 0; i < call->n_layers; i++) {
        struct layer *layer = &call->layers[i];
        if (node_usage_layer(layer->pid, &layer->bytes, &layer->files) < 0)
            layer->bytes = -1;
    }
}

static void on_layers(void *arg)
{
    struct stats_call *call = arg;
    call->held = false;
    if (call->stats)
        answer(call);
    else
        call_free(call);
}

static void begin_layers(struct stats_call *call)
{
    const struct node *node = call->stats->node;
    map_each (entry, &node->pods) {
        const struct pod *pod = entry->value;
        for (size_t i = 0; i < pod->n_containers; i++) {
            const struct container *c = &pod->containers[i];
            if (c->pid <= 0)
                continue;
            call->layers = mem_resize(call->layers, call->n_layers + 1, sizeof(*call->layers));
            call->layers[call->n_layers++] =
                (struct layer){.name = pod_container_name(pod, c->name, c->attempt), .pid = c->pid};
        }
    }
    call->held = true;
    pool_run(node->options.pool, node->loop, measure_layers, on_layers, call);
}

/* ---- one call ---- */

static void on_figures(void *arg)
{
    struct stats_call *call = arg;
    if (call->only_usage)
        answer(call);
    else
        begin_layers(call);
}

static void on_scraped(void *arg)
{
    struct stats_call *call = arg;
    struct node_figures *figures = call->stats->figures;
    if (call->names && call->objects && !node_figures_busy(figures))
        node_figures_run(figures, call->names, call->objects, on_figures, call);
    else
        on_figures(call);
}

static void looked(struct stats_call *call)
{
    struct node_scrape *scrape = call->stats->scrape;
    if (call->names && !node_scrape_busy(scrape)) /* busy: the figures of the round under way will do */
        node_scrape_run(scrape, call->names, on_scraped, call);
    else
        on_scraped(call);
}

static void on_stats(void *arg, cJSON *json, struct err *err)
{
    struct stats_call *call = arg;
    struct node_stats *stats = call->stats;
    auto_json list = json;
    call->held = false;
    if (!stats) {
        call_free(call);
        return;
    }
    if (err) {
        node_answer_error(call->x, err_code(err), "usage of the containers: %s", err_message(err));
        call_end(call);
        call_free(call);
        return;
    }
    const struct clock *clock = loop_clock(stats->node->loop);
    int64_t now = clock->monotonic_ns(clock->arg);
    int64_t silence_ms = stats->looked_ns ? (now - stats->looked_ns) / 1000000 : INT64_MAX;
    if (silence_ms >= MIN_WINDOW_MS)
        take_all(stats, list, now);
    if (silence_ms > MAX_WINDOW_MS)
        loop_timer_start(call->again, LOOK_AGAIN_MS);
    else
        looked(call);
}

static void look(void *arg)
{
    struct stats_call *call = arg;
    struct runtime *runtime = call->stats->node->runtime;
    call->held = true;
    runtime->ops->stats(runtime, on_stats, call);
}

void node_stats_handle(struct node *node, struct http_exchange *x)
{
    struct stats_call *call = NEW(struct stats_call);
    const char *names = http_request_query(&x->request, "metrics");
    const char *objects = http_request_query(&x->request, "objects");
    const char *only = http_request_query(&x->request, "only_cpu_and_memory");
    call->stats = node->stats;
    call->x = x;
    call->only_usage = str_eq(only, "true");
    call->names = str_empty(names) ? NULL : mem_strdup(names);
    call->objects = str_empty(objects) ? NULL : mem_strdup(objects);
    call->again = loop_timer_new(node->loop, look, call);
    list_add_tail(&node->stats->calls, &call->link);
    look(call);
}
