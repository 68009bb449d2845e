/*
 * Batched writes (contract 3): steps wait until the end of the loop turn, are sent together, at most 256
 * steps or 1 MiB a request and two requests in flight, and each step gets its own result. A failed request
 * fails all of its steps: the caller cannot know which took effect, and its preconditions make a repetition
 * safe.
 */
#include <string.h>

#include "client/client_private.h"

#define BATCH_TARGET "/apis/minik8s.io/v1/batches"
#define BATCH_MAX_BYTES (1u << 20)
#define BATCHES_IN_FLIGHT 2

struct batch_step {
    struct list node;
    char *text;
    size_t len;
    client_on_object *done;
    void *arg;
};

struct batch {
    struct client *client;
    struct list steps;
};

static void step_end(struct batch_step *step, cJSON *result, struct err *err)
{
    list_remove(&step->node);
    step->done(step->arg, result, err);
    free(step->text);
    free(step);
}

static void steps_fail(struct list *steps, struct err *err)
{
    struct batch_step *step;
    while ((step = list_first(steps, struct batch_step, node)))
        step_end(step, NULL, err);
}

static void steps_finish(struct list *steps, cJSON *results)
{
    auto_err missing = NULL;
    err_set(&missing, ERR_INTERNAL, "the server's answer lacks a result for this step");
    struct batch_step *step;
    while ((step = list_first(steps, struct batch_step, node))) {
        cJSON *result = cJSON_DetachItemFromArray(results, 0);
        int code = (int)json_int(result, "code", 0);
        auto_err err = NULL;
        if (code >= 400)
            err = client_error_from_status(json_get(result, "status"), code);
        step_end(step, result, err ? err : result ? NULL : missing);
    }
}

static void send_batches(struct client *client);

static void on_batch(void *arg, cJSON *answer, struct err *err)
{
    struct batch *batch = arg;
    struct client *client = batch->client;
    client->batches_in_flight--;
    cJSON *results = json_get(answer, "results");
    if (err || !cJSON_IsArray(results)) {
        auto_err wrong = NULL;
        if (!err)
            err_set(&wrong, ERR_INTERNAL, "the server's answer to a batch has no results");
        steps_fail(&batch->steps, err ? err : wrong);
    } else {
        steps_finish(&batch->steps, results);
    }
    cJSON_Delete(answer);
    free(batch);
    if (!client->closing)
        send_batches(client);
}

static void send_one(struct client *client)
{
    struct batch *batch = NEW(struct batch);
    batch->client = client;
    list_init(&batch->steps);
    auto_str body = {0};
    str_add(&body, "{\"steps\":[");
    size_t count = 0;
    struct batch_step *step, *following;
    list_each_safe (step, following, &client->batch_steps, node) {
        if (count == CLIENT_BATCH_MAX || (count && body.len + step->len > BATCH_MAX_BYTES))
            break;
        list_remove(&step->node);
        list_add_tail(&batch->steps, &step->node);
        if (count++)
            str_add_char(&body, ',');
        str_add_n(&body, step->text, step->len);
        client->n_batch_steps--;
    }
    str_add(&body, "]}");
    client->batches_in_flight++;
    auto_json raw = cJSON_CreateRaw(str_c(&body));
    client_request(client, "POST", BATCH_TARGET, NULL, raw, on_batch, batch);
}

static void send_batches(struct client *client)
{
    while (client->batches_in_flight < BATCHES_IN_FLIGHT && !list_empty(&client->batch_steps))
        send_one(client);
}

static void on_timer(void *arg)
{
    send_batches(arg);
}

struct cancelled_step {
    client_on_object *done;
    void *arg;
};

static void cancel_later(void *arg)
{
    struct cancelled_step *cancelled = arg;
    auto_err err = NULL;
    err_set(&err, ERR_CANCELLED, "the client was closed");
    cancelled->done(cancelled->arg, NULL, err);
    free(cancelled);
}

void client_batch_step(struct client *client, cJSON *step, client_on_object *done, void *arg)
{
    auto_json owned = step;
    if (client->closing) {
        struct cancelled_step *cancelled = NEW(struct cancelled_step);
        *cancelled = (struct cancelled_step){done, arg};
        loop_post(client->loop, cancel_later, cancelled);
        return;
    }
    struct batch_step *waiting = NEW(struct batch_step);
    waiting->text = json_print(owned);
    waiting->len = strlen(waiting->text);
    waiting->done = done;
    waiting->arg = arg;
    list_add_tail(&client->batch_steps, &waiting->node);
    client->n_batch_steps++;
    if (!client->batch_timer)
        client->batch_timer = loop_timer_new(client->loop, on_timer, client);
    if (!loop_timer_running(client->batch_timer))
        loop_timer_start(client->batch_timer, 0);
}

void client_batch_flush(struct client *client)
{
    if (client->batch_timer)
        loop_timer_stop(client->batch_timer);
    send_batches(client);
}

void client_batch_cancel(struct client *client)
{
    auto_err err = NULL;
    err_set(&err, ERR_CANCELLED, "the client was closed");
    steps_fail(&client->batch_steps, err);
}
