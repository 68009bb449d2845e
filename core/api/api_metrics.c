/*
 * metrics.k8s.io: the figures of nodes and pods, fetched from the agents' /stats/summary and kept as volatile
 * objects of the store, so that clients read them as any kind and the manager has them in its stream.
 *
 * Who asks is what makes it work. A client's GET begins a round unless the last one is fresh. While there is
 * an autoscaler, or a policy in force that looks at figures, rounds follow each other, PERIOD_MS apart
 * (longer with many nodes). Otherwise nothing is done, and a minute after the last question the objects go.
 *
 * A round asks all nodes that are Ready at once and writes what came as one unit. A node that does not answer
 * keeps its last figures for KEEP_MS. Threads: the loop; writes end on the store's writer and are posted
 * back.
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

#define PERIOD_MS 1000
#define PERIOD_MAX_MS 5000
#define NODES_PER_SECOND 100 /* a round a second up to here */
#define FRESH_MS 1000
#define KEEP_MS 10000
#define FORGET_MS 60000
#define NODE_TIMEOUT_MS 1500
#define WRITES_AT_ONCE 256
#define QUESTION_MAX 5000 /* bytes of names, and of objects: together within HTTP_MAX_TARGET */

#define METRICS_GROUP "metrics.k8s.io"
#define AUTOSCALERS "horizontalpodautoscalers.autoscaling"
#define PROFILES "policyprofiles.minik8s.io"

struct known { /* an object that was written */
    bool pod;
    unsigned round;
    int64_t at_ms;
    char *node, *namespace, *name;
};

struct waiting {
    struct list link;
    struct call *call;
};

struct asked { /* one node in the round under way */
    struct list link;
    struct api_metrics *collector;
    struct http_client *client;
    struct http_pending *pending;
    cJSON *node;
};

struct api_metrics {
    struct api *api;
    const struct schema_kind *node_kind, *pod_kind;
    struct loop_timer *timer; /* the next round, or the time to forget */
    struct map known;         /* store key → struct known */
    struct map answered;      /* names of nodes in this round */
    struct list asked, waiting;
    bool running, autoscaled;
    atomic_bool changed; /* an autoscaler: the names of metrics are to be read again */
    unsigned round;
    unsigned asking; /* nodes whose answer is awaited, and the round's own hold */
    size_t nodes;
    int64_t ended_ms; /* of the last round */
    char *names;      /* of the metrics that autoscalers want: "a,b"; NULL: none */
    char *objects;    /* that some of them describe: "Kind/namespace/name,…"; NULL: none */
    struct op **ops;
    size_t n_ops;
    atomic_size_t writing;
    struct metric *rounds, *seconds;
    int64_t began_ns;
};

static void begin_round(struct api_metrics *m);

static void free_known(void *value)
{
    struct known *known = value;
    free(known->node);
    free(known->namespace);
    free(known->name);
    free(known);
}

static int64_t now_ms(const struct api_metrics *m)
{
    return loop_now_ms(m->api->options.loop);
}

/* ---- what autoscalers want ---- */

static void add_names(struct map *names, struct map *objects, const cJSON *autoscaler)
{
    const char *namespace = json_string_or(autoscaler, "metadata.namespace", "");
    json_each (metric, json_at(autoscaler, "spec.metrics")) {
        const char *name = json_string(metric, "pods.metric.name");
        const cJSON *object = json_at(metric, "object.describedObject");
        if (!name)
            name = json_string(metric, "object.metric.name");
        if (name && !strpbrk(name, ",&?"))
            map_set(names, name, names);
        auto_free char *described = mem_printf("%s/%s/%s", json_string_or(object, "kind", ""), namespace,
                                               json_string_or(object, "name", ""));
        if (object && !strpbrk(described, ",&?"))
            map_set(objects, described, objects);
    }
}

/* "a,b"; NULL: none. A question must not become too long. */
static char *join(const struct map *texts, const char *what)
{
    struct str all = {0};
    map_each (entry, texts) {
        if (all.len + strlen(entry->key) > QUESTION_MAX) {
            log_warn("api", "autoscalers want figures of more %s than the nodes can be asked for", what);
            break;
        }
        str_addf(&all, "%s%s", all.len ? "," : "", entry->key);
    }
    return all.len ? str_take(&all) : NULL;
}

/* Figures that policies look at, as the manager says in the status of their profile. True: there are some. */
static bool add_policies(struct api_metrics *m, struct map *names)
{
    auto_free char *prefix = store_key_prefix(PROFILES, NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    auto_err err = NULL;
    bool any = false;
    if (m->api->store->ops->list(m->api->store, &request, &list, &err) < 0)
        log_error("api", "reading the policy profiles: %s", err_message(err));
    for (size_t i = 0; i < list.count; i++) {
        auto_json parsed = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        json_each (name, json_at(parsed, "status.metrics")) {
            any = true;
            if (cJSON_IsString(name) && !str_eq(name->valuestring, "usage") &&
                !strpbrk(name->valuestring, ",&?"))
                map_set(names, name->valuestring, names);
        }
    }
    store_list_fini(&list);
    return any;
}

static void read_autoscalers(struct api_metrics *m)
{
    auto_free char *prefix = store_key_prefix(AUTOSCALERS, NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    auto_map names = {0}, objects = {0};
    auto_err err = NULL;
    if (m->api->store->ops->list(m->api->store, &request, &list, &err) < 0)
        log_error("api", "reading the autoscalers: %s", err_message(err));
    for (size_t i = 0; i < list.count; i++) {
        auto_json parsed = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        add_names(&names, &objects, parsed);
    }
    m->autoscaled = add_policies(m, &names) || list.count > 0;
    free(m->names);
    free(m->objects);
    m->names = join(&names, "names");
    m->objects = join(&objects, "objects");
    store_list_fini(&list);
}

/* ---- writing ---- */

static void answer_waiting(struct api_metrics *m)
{
    while (!list_empty(&m->waiting)) {
        struct waiting *waiting = list_first(&m->waiting, struct waiting, link);
        struct call *call = waiting->call;
        list_remove(&waiting->link);
        free(waiting);
        if (str_eq(call->verb, "get"))
            handle_get(call);
        else
            handle_list(call);
    }
}

static void schedule(struct api_metrics *m)
{
    int64_t period = PERIOD_MS * (int64_t)(1 + m->nodes / NODES_PER_SECOND);
    if (m->autoscaled)
        loop_timer_start(m->timer, period < PERIOD_MAX_MS ? period : PERIOD_MAX_MS);
    else if (m->known.count > 0)
        loop_timer_start(m->timer, FORGET_MS);
}

static void on_written_all(void *arg)
{
    struct api_metrics *m = arg;
    m->running = false;
    m->ended_ms = now_ms(m);
    metric_observe(m->seconds, m->api->clock->monotonic_ns(m->api->clock->arg) - m->began_ns);
    if (atomic_exchange(&m->changed, false))
        read_autoscalers(m);
    schedule(m);
    answer_waiting(m);
}

static void on_op(struct op *op)
{
    struct api_metrics *m = op->arg;
    if (op->error && err_code(op->error) != ERR_NOT_FOUND)
        log_warn("api", "usage of %s: %s", op->name, err_message(op->error));
    op_free(op);
    if (atomic_fetch_sub(&m->writing, 1) == 1)
        loop_post(m->api->options.loop, on_written_all, m);
}

static void submit_all(struct api_metrics *m)
{
    size_t count = m->n_ops;
    auto_free struct op **ops = steal(&m->ops);
    m->n_ops = 0;
    atomic_store(&m->writing, count + 1);
    for (size_t i = 0; i < count; i += WRITES_AT_ONCE)
        op_submit_all(ops + i, count - i < WRITES_AT_ONCE ? count - i : WRITES_AT_ONCE);
    if (atomic_fetch_sub(&m->writing, 1) == 1)
        loop_post(m->api->options.loop, on_written_all, m);
}

static void add_op(struct api_metrics *m, bool pod, enum store_verb verb, const cJSON *object)
{
    const struct schema_kind *kind = pod ? m->pod_kind : m->node_kind;
    struct op *op = op_new(m->api, verb == STORE_DELETE ? OP_DELETE : OP_UPDATE, kind,
                           json_string(object, "metadata.namespace"), json_string(object, "metadata.name"));
    op->finished = on_op;
    op->arg = m;
    op_put(op, verb, object, 0);
    m->ops = mem_resize(m->ops, m->n_ops + 1, sizeof(struct op *));
    m->ops[m->n_ops++] = op;
}

static void put(struct api_metrics *m, bool pod, const char *node, cJSON *object)
{
    if (!object)
        return;
    const char *namespace = json_string(object, "metadata.namespace");
    const char *name = json_string(object, "metadata.name");
    add_op(m, pod, STORE_PUT, object);
    struct known *known = NEW(struct known);
    *known = (struct known){.pod = pod,
                            .round = m->round,
                            .at_ms = now_ms(m),
                            .node = mem_strdup(node),
                            .namespace = namespace ? mem_strdup(namespace) : NULL,
                            .name = mem_strdup(name)};
    map_set(&m->known, m->ops[m->n_ops - 1]->key, known);
    cJSON_Delete(object);
}

static void drop(struct api_metrics *m, const char *key, const struct known *known)
{
    auto_json object = cJSON_CreateObject();
    json_set_string(object, "kind", known->pod ? "PodMetrics" : "NodeMetrics");
    json_set_string(object, "apiVersion", METRICS_GROUP "/v1beta1");
    cJSON *metadata = json_ensure_object(object, "metadata");
    json_set_string(metadata, "name", known->name);
    json_set_string(metadata, "namespace", known->namespace);
    add_op(m, known->pod, STORE_DELETE, object);
    map_remove(&m->known, key);
}

/* What is no more there: its node has answered without it, or has been silent for long. */
static void drop_old(struct api_metrics *m, bool all)
{
    int64_t now = now_ms(m);
    map_each (entry, &m->known) {
        const struct known *known = entry->value;
        bool gone = map_has(&m->answered, known->node) || now - known->at_ms > KEEP_MS;
        if (all || (known->round != m->round && gone))
            drop(m, entry->key, known);
    }
}

/* ---- asking ---- */

static void one_answered(struct api_metrics *m)
{
    if (--m->asking > 0)
        return;
    drop_old(m, false);
    submit_all(m);
}

static void asked_free(struct asked *asked)
{
    list_remove(&asked->link);
    cJSON_Delete(asked->node);
    free(asked);
}

static void take_summary(struct api_metrics *m, const cJSON *node, const cJSON *summary)
{
    const char *name = json_string(node, "metadata.name");
    map_set(&m->answered, name, m);
    put(m, false, name, metrics_node_object(node, summary));
    json_each (pod, json_get(summary, "pods"))
        put(m, true, name, metrics_pod_object(pod));
}

static void on_summary(void *arg, const struct http_response *response, struct err *err)
{
    struct asked *asked = arg;
    struct api_metrics *m = asked->collector;
    const char *name = json_string(asked->node, "metadata.name");
    auto_err wrong = NULL;
    if (err) {
        log_info("api", "node %s does not tell its usage: %s", name, err_message(err));
    } else {
        auto_json summary =
            response->status == 200 ? json_parse(response->body, response->len, &wrong) : NULL;
        if (summary)
            take_summary(m, asked->node, summary);
        else
            log_warn("api", "node %s: its usage is no answer (status %d)", name, response->status);
    }
    asked_free(asked);
    one_answered(m);
}

static bool is_ready(const cJSON *node)
{
    json_each (condition, json_at(node, "status.conditions")) {
        if (str_eq(json_string(condition, "type"), "Ready"))
            return str_eq(json_string(condition, "status"), "True");
    }
    return false;
}

static void ask(struct api_metrics *m, cJSON *node)
{
    auto_json held = node;
    auto_err err = NULL;
    if (!is_ready(node))
        return;
    auto_free char *url = nodes_url_of(m->api, node, &err);
    struct http_client *client = url ? nodes_client(m->api, url, &err) : NULL;
    if (!client) {
        log_info("api", "usage of node %s: %s", json_string(node, "metadata.name"), err_message(err));
        return;
    }
    struct asked *asked = NEW(struct asked);
    *asked = (struct asked){.collector = m, .client = client, .node = steal(&held)};
    list_add_tail(&m->asked, &asked->link);
    m->asking++;
    auto_str target = {0};
    str_add(&target, "/stats/summary?only_cpu_and_memory=true");
    if (m->names)
        http_query_add(&target, "metrics", m->names);
    if (m->objects)
        http_query_add(&target, "objects", m->objects);
    const struct http_call call = {.method = "GET",
                                   .target = str_c(&target),
                                   .timeout_ms = NODE_TIMEOUT_MS,
                                   .on_response = on_summary,
                                   .arg = asked};
    asked->pending = client->ops->call(client, &call);
}

static void begin_round(struct api_metrics *m)
{
    auto_free char *prefix = store_key_prefix("nodes", NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    auto_err err = NULL;
    m->running = true;
    m->round++;
    m->asking = 1;
    m->began_ns = m->api->clock->monotonic_ns(m->api->clock->arg);
    metric_add(m->rounds, 1);
    map_fini(&m->answered);
    if (m->api->store->ops->list(m->api->store, &request, &list, &err) < 0)
        log_error("api", "usage: reading the nodes: %s", err_message(err));
    m->nodes = list.count;
    for (size_t i = 0; i < list.count; i++)
        ask(m, json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len));
    store_list_fini(&list);
    one_answered(m);
}

/* ---- when ---- */

static void on_timer(void *arg)
{
    struct api_metrics *m = arg;
    if (m->running)
        return;
    if (m->autoscaled) {
        begin_round(m);
        return;
    }
    m->running = true;
    m->began_ns = m->api->clock->monotonic_ns(m->api->clock->arg);
    drop_old(m, true);
    submit_all(m);
}

static void on_changed(void *arg)
{
    struct api_metrics *m = arg;
    if (m->running || !atomic_exchange(&m->changed, false))
        return; /* the end of the round sees to it */
    read_autoscalers(m);
    if (m->autoscaled)
        begin_round(m);
}

void metrics_written(const struct op *op)
{
    struct api_metrics *m = op->api->collector;
    bool status = op->subresource && str_eq(op->subresource, "status");
    if (!m || !str_eq(op->info->resource, status ? PROFILES : AUTOSCALERS))
        return;
    if (!atomic_exchange(&m->changed, true))
        loop_post(op->api->options.loop, on_changed, m);
}

struct arrived {
    struct api_metrics *collector;
    struct call *call;
};

static void on_arrived(void *arg)
{
    struct arrived arrived = *(struct arrived *)arg;
    struct api_metrics *m = arrived.collector;
    free(arg);
    struct waiting *waiting = NEW(struct waiting);
    waiting->call = arrived.call;
    list_add_tail(&m->waiting, &waiting->link);
    int64_t fresh = m->autoscaled ? 2 * PERIOD_MAX_MS : FRESH_MS;
    if (m->running)
        return;
    if (now_ms(m) - m->ended_ms < fresh)
        answer_waiting(m);
    else
        begin_round(m);
}

bool metrics_is(const struct call *call)
{
    return str_eq(call->group, METRICS_GROUP);
}

void handle_metrics(struct call *call)
{
    struct arrived *arrived = NEW(struct arrived);
    *arrived = (struct arrived){call->api->collector, call};
    loop_post(call->api->options.loop, on_arrived, arrived);
}

/* ---- life ---- */

struct api_metrics *metrics_collector_new(struct api *api)
{
    const struct schema_kind *nodes = schema_find_resource(api->schema, "nodes." METRICS_GROUP);
    const struct schema_kind *pods = schema_find_resource(api->schema, "pods." METRICS_GROUP);
    if (!nodes || !pods || !api->options.node_client)
        return NULL; /* a registry without these kinds, or no way to any node (tests) */
    struct api_metrics *m = NEW(struct api_metrics);
    m->api = api;
    m->ended_ms = -FORGET_MS;
    m->node_kind = nodes;
    m->pod_kind = pods;
    m->timer = loop_timer_new(api->options.loop, on_timer, m);
    map_init(&m->known, free_known);
    list_init(&m->asked);
    list_init(&m->waiting);
    m->rounds = metrics_counter(api->options.metrics, "minik8s_usage_rounds_total",
                                "How often all nodes were asked what is used there.", NULL);
    m->seconds = metrics_histogram(api->options.metrics, "minik8s_usage_round_duration_seconds",
                                   "Time from asking the nodes to the figures being readable.", NULL);
    read_autoscalers(m);
    schedule(m);
    return m;
}

void metrics_collector_free(struct api_metrics *m)
{
    if (!m)
        return;
    while (!list_empty(&m->asked)) {
        struct asked *asked = list_first(&m->asked, struct asked, link);
        asked->client->ops->cancel(asked->client, asked->pending);
        asked_free(asked);
    }
    answer_waiting(m);
    for (size_t i = 0; i < m->n_ops; i++)
        op_free(m->ops[i]);
    free(m->ops);
    loop_timer_free(m->timer);
    map_fini(&m->known);
    map_fini(&m->answered);
    free(m->names);
    free(m->objects);
    free(m);
}
