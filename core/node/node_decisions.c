/*
 * node_decisions: what policies decided on this node, told to the manager: the last ones in an object
 * NodeDecisions of the node's name, which no disk sees. Written when something was decided, at most once a
 * second, in the batch of what is being written anyway; nothing when nothing is decided.
 */
#include "base/log.h"
#include "node/node_internal.h"

#define RESOURCE "nodedecisions.minik8s.io"
#define PERIOD_MS 1000
#define RETRY_MS 5000

struct node_decisions {
    struct node *node;
    struct loop_timer *timer;
    bool waiting, busy, absent; /* waiting: there is something to tell */
    int64_t sent_ms;
};

static void tell(struct node_decisions *d, int64_t after_ms)
{
    int64_t at = d->sent_ms + after_ms;
    if (d->busy || !d->node->connected || loop_timer_running(d->timer))
        return;
    loop_timer_start(d->timer, at > node_now(d->node) ? at - node_now(d->node) : 0);
}

static void on_written(void *arg, cJSON *object, struct err *err)
{
    struct node_decisions *d = arg;
    enum err_code code = err ? err_code(err) : ERR_NONE;
    cJSON_Delete(object);
    d->busy = false;
    if (d->node->closing)
        return;
    bool again = code == ERR_NOT_FOUND || code == ERR_ALREADY_EXISTS;
    d->absent = code == ERR_NOT_FOUND;
    d->waiting = d->waiting || err;
    if (err && !again && code != ERR_CANCELLED)
        log_warn("node", "telling what was decided: %s", err_message(err));
    if (d->waiting)
        tell(d, again ? 0 : err ? RETRY_MS : PERIOD_MS);
}

static void send_now(void *arg)
{
    struct node_decisions *d = arg;
    const struct node_options *o = &d->node->options;
    if (!d->waiting || d->busy || !d->node->connected)
        return;
    cJSON *step = cJSON_CreateObject(), *object = json_ensure_object(step, "object");
    json_set_string(step, "verb", d->absent ? "create" : "patch");
    json_set_string(step, "resource", RESOURCE);
    json_set_string(step, "name", o->name);
    if (d->absent) {
        json_set_string(object, "apiVersion", "minik8s.io/v1");
        json_set_string(object, "kind", "NodeDecisions");
        json_set_string(json_ensure_object(object, "metadata"), "name", o->name);
    }
    json_set(object, "spec", o->policies.decisions(o->policies.arg));
    d->waiting = false;
    d->busy = true;
    d->sent_ms = node_now(d->node);
    client_batch_step(d->node->client, step, on_written, d);
}

void node_decisions_changed(struct node_decisions *d)
{
    d->waiting = true;
    tell(d, PERIOD_MS);
}

void node_decisions_connected(struct node_decisions *d)
{
    if (d->waiting)
        tell(d, PERIOD_MS);
}

struct node_decisions *node_decisions_new(struct node *node)
{
    struct node_decisions *d = NEW(struct node_decisions);
    d->node = node;
    d->sent_ms = node_now(node) - PERIOD_MS;
    d->timer = loop_timer_new(node->loop, send_now, d);
    return d;
}

void node_decisions_free(struct node_decisions *d)
{
    if (!d)
        return;
    loop_timer_free(d->timer);
    free(d);
}
