/*
 * node_heartbeat: the agent's Lease: renewed every period, and soon after the service table followed a
 * change, by a small merge patch with a short timeout. On its own loop and client where the caller gave them,
 * so that nothing else can delay it.
 *
 * It does not judge anything. Threads: the applied revision is handed over atomically; all else is on the
 * heart-beat's loop.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

#define DEFAULT_PERIOD_MS 1000
#define COALESCE_MS 50
#define BEATS_PER_LOOK 5 /* at memory, disk and PIDs */
#define LEASE_COLLECTION "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

struct node_heartbeat {
    struct node *node;
    struct loop *loop;
    struct http_client *http;
    struct http_pending *pending;
    struct loop_timer *timer;
    _Atomic int64_t period_ms;
    int64_t next_ms, sent_ms;
    char *name, *target, *policies;
    _Atomic(char *) policies_told; /* handed over: whoever takes it owns it */
    _Atomic uint64_t applied;
    uint64_t reported, reporting;
    unsigned beats;
    bool create, failing, closed;
    atomic_bool stopped; /* the Node object was deleted: a beat would make its Lease anew */
    atomic_int posts;    /* tasks under way to the loop; the last one frees what was closed */
};

static void beat(struct node_heartbeat *h);

static bool post_end(struct node_heartbeat *h);

/* To the agent's loop, which may run it when the agent is gone. */
static void post_to_node(struct node_heartbeat *h, void (*run)(void *h))
{
    atomic_fetch_add(&h->posts, 1);
    loop_post(h->node->loop, run, h);
}

static void on_reachable(void *arg)
{
    struct node_heartbeat *h = arg;
    if (post_end(h))
        node_reachable_again(h->node);
}

static void on_pressure(void *arg)
{
    struct node_heartbeat *h = arg;
    if (post_end(h) && !h->node->closing)
        node_register_update(h->node->registration);
}

static void look_at_pressure(struct node_heartbeat *h)
{
    struct node *node = h->node;
    if (h->beats++ % BEATS_PER_LOOK)
        return;
    unsigned before = atomic_load(&node->pressure), now = node_pressure_read(&node->options, before);
    if (now == before)
        return;
    atomic_store(&node->pressure, now);
    post_to_node(h, on_pressure);
}

static void schedule(struct node_heartbeat *h)
{
    int64_t at = h->next_ms;
    if (atomic_load(&h->applied) != h->reported && h->sent_ms + COALESCE_MS < at)
        at = h->sent_ms + COALESCE_MS;
    loop_timer_start_at(h->timer, at);
}

static void on_answer(void *arg, const struct http_response *response, struct err *err)
{
    struct node_heartbeat *h = arg;
    h->pending = NULL;
    bool well = !err && response->status < 300;
    if (well) {
        h->reported = h->reporting;
        h->create = false;
        if (h->failing)
            post_to_node(h, on_reachable); /* the stream may still hang on a dead connection */
        h->failing = false;
    } else if (!err && (response->status == 404 || response->status == 409)) {
        h->create = response->status == 404;
        h->next_ms = loop_now_ms(h->loop) + COALESCE_MS;
    } else {
        if (!h->failing)
            log_warn("node", "heart-beat: %s", err ? err_message(err) : response->body);
        h->failing = true;
        h->reporting = h->reported;
    }
    schedule(h);
}

static char *lease_body(const struct node_heartbeat *h, uint64_t applied)
{
    char time[TIME_TEXT];
    time_print_micro(clock_wall_ns(loop_clock(h->loop)), time);
    int64_t seconds = (h->period_ms * 4 + 999) / 1000;
    auto_str body = {0};
    str_add_char(&body, '{');
    if (h->create)
        str_add(&body, "\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",");
    str_addf(&body,
             "\"metadata\":{\"name\":\"%s\",\"annotations\":{\"" NODE_APPLIED_ANNOTATION "\":\"%" PRIu64 "\"",
             h->name, applied);
    if (h->policies) {
        str_add(&body, ",\"" NODE_POLICIES_ANNOTATION "\":");
        str_add_json(&body, h->policies);
    }
    str_add(&body, "}},");
    str_addf(&body,
             "\"spec\":{\"holderIdentity\":\"%s\",\"leaseDurationSeconds\":%lld,\"renewTime\":\"%s\"}}",
             h->name, (long long)seconds, time);
    return str_take(&body);
}

static void beat(struct node_heartbeat *h)
{
    if (h->pending || atomic_load(&h->stopped))
        return;
    h->reporting = atomic_load(&h->applied);
    char *told = atomic_exchange(&h->policies_told, NULL);
    if (told) {
        free(h->policies);
        h->policies = told;
    }
    auto_free char *body = lease_body(h, h->reporting);
    const struct http_call call = {.method = h->create ? "POST" : "PATCH",
                                   .target = h->create ? LEASE_COLLECTION : h->target,
                                   .content_type =
                                       h->create ? "application/json" : "application/merge-patch+json",
                                   .body = body,
                                   .body_len = strlen(body),
                                   .timeout_ms = h->period_ms,
                                   .on_response = on_answer,
                                   .arg = h};
    look_at_pressure(h);
    h->sent_ms = loop_now_ms(h->loop);
    h->next_ms = h->sent_ms + h->period_ms;
    h->pending = h->http->ops->call(h->http, &call);
}

static void on_timer(void *arg)
{
    beat(arg);
}

void node_heartbeat_stop(struct node_heartbeat *h)
{
    atomic_store(&h->stopped, true);
}

static void heartbeat_free(struct node_heartbeat *h)
{
    free(h->name);
    free(h->target);
    free(h->policies);
    free(atomic_load(&h->policies_told));
    free(h);
}

/* False: the agent ended meanwhile. */
static bool post_end(struct node_heartbeat *h)
{
    int left = atomic_fetch_sub(&h->posts, 1) - 1;
    bool closed = h->closed;
    if (closed && left == 0)
        heartbeat_free(h);
    return !closed;
}

static void on_begin(void *arg)
{
    if (post_end(arg))
        beat(arg);
}

/* Begins with a beat, which tells the manager how long it may have to wait for the next one. */
void node_heartbeat_period(struct node_heartbeat *h, int64_t period_ms)
{
    int64_t wanted = period_ms > 0 ? period_ms : DEFAULT_PERIOD_MS;
    if (atomic_exchange(&h->period_ms, wanted) == wanted)
        return;
    atomic_fetch_add(&h->posts, 1);
    loop_post(h->loop, on_begin, h);
}

/* With the next beat, which comes anyway. */
void node_heartbeat_policies(struct node_heartbeat *h, const char *versions)
{
    free(atomic_exchange(&h->policies_told, mem_strdup(versions)));
}

static void on_applied(void *arg)
{
    struct node_heartbeat *h = arg;
    if (post_end(h) && !h->pending)
        schedule(h);
}

void node_heartbeat_applied(struct node_heartbeat *h, uint64_t revision)
{
    if (atomic_exchange(&h->applied, revision) == revision)
        return;
    atomic_fetch_add(&h->posts, 1);
    loop_post(h->loop, on_applied, h);
}

struct node_heartbeat *node_heartbeat_new(struct node *node)
{
    const struct node_options *o = &node->options;
    struct node_heartbeat *h = NEW(struct node_heartbeat);
    h->node = node;
    h->loop = o->heartbeat_loop ? o->heartbeat_loop : node->loop;
    h->http = o->heartbeat_http ? o->heartbeat_http : o->http;
    h->period_ms = o->settings.heartbeat_ms > 0 ? o->settings.heartbeat_ms : DEFAULT_PERIOD_MS;
    h->name = mem_strdup(o->name);
    h->target = mem_printf(LEASE_COLLECTION "/%s", o->name);
    h->timer = loop_timer_new(h->loop, on_timer, h);
    atomic_store(&h->posts, 1);
    loop_post(h->loop, on_begin, h);
    return h;
}

void node_heartbeat_free(struct node_heartbeat *h)
{
    if (!h)
        return;
    if (h->pending)
        h->http->ops->cancel(h->http, h->pending);
    loop_timer_free(h->timer);
    h->closed = true;
    if (atomic_load(&h->posts) == 0)
        heartbeat_free(h);
}
