/*
 * When open streams have to be looked at although nothing happened: deadlines (timeoutSeconds) and bookmarks.
 * One timer on the api's loop for all of them, armed for the earliest; nothing runs while no stream is due.
 *
 * Invariant: a wake is given under the lock, so that after streams_remove none is under way.
 */
#include "api/api_internal.h"

struct api_streams {
    struct loop *loop;
    pthread_mutex_t lock;
    struct list dues;
    struct loop_timer *timer; /* touched on the loop only */
    int64_t armed_ms;         /* INT64_MAX: not armed */
    unsigned refs;            /* the api and posted tasks */
    bool closed;
};

static void unref(struct api_streams *streams)
{
    pthread_mutex_lock(&streams->lock);
    bool last = --streams->refs == 0;
    pthread_mutex_unlock(&streams->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&streams->lock);
    free(streams);
}

static void arm(void *arg)
{
    struct api_streams *streams = arg;
    pthread_mutex_lock(&streams->lock);
    if (!streams->closed && streams->armed_ms != INT64_MAX)
        loop_timer_start_at(streams->timer, streams->armed_ms);
    pthread_mutex_unlock(&streams->lock);
    unref(streams);
}

/* Wakes what is due; a woken stream sets its next time itself. */
static void on_timer(void *arg)
{
    struct api_streams *streams = arg;
    int64_t now = loop_now_ms(streams->loop), next = INT64_MAX;
    struct stream_due *due;
    pthread_mutex_lock(&streams->lock);
    list_each (due, &streams->dues, node) {
        if (due->at_ms <= now) {
            due->at_ms = INT64_MAX;
            http_stream_wake(due->x);
        } else if (due->at_ms < next) {
            next = due->at_ms;
        }
    }
    streams->armed_ms = next;
    if (next != INT64_MAX)
        loop_timer_start_at(streams->timer, next);
    pthread_mutex_unlock(&streams->lock);
}

struct api_streams *streams_new(struct api *api)
{
    struct api_streams *streams = NEW(struct api_streams);
    streams->loop = api->options.loop;
    pthread_mutex_init(&streams->lock, NULL);
    list_init(&streams->dues);
    streams->timer = loop_timer_new(streams->loop, on_timer, streams);
    streams->armed_ms = INT64_MAX;
    streams->refs = 1;
    return streams;
}

void streams_free(struct api_streams *streams)
{
    if (!streams)
        return;
    pthread_mutex_lock(&streams->lock);
    streams->closed = true;
    loop_timer_free(streams->timer);
    pthread_mutex_unlock(&streams->lock);
    unref(streams);
}

void streams_add(struct api_streams *streams, struct stream_due *due)
{
    due->at_ms = INT64_MAX;
    pthread_mutex_lock(&streams->lock);
    list_add_tail(&streams->dues, &due->node);
    pthread_mutex_unlock(&streams->lock);
}

void streams_set(struct api_streams *streams, struct stream_due *due, int64_t at_ms)
{
    bool post = false;
    pthread_mutex_lock(&streams->lock);
    due->at_ms = at_ms;
    if (at_ms < streams->armed_ms && !streams->closed) {
        streams->armed_ms = at_ms;
        streams->refs++;
        post = true;
    }
    pthread_mutex_unlock(&streams->lock);
    if (post)
        loop_post(streams->loop, arm, streams);
}

void streams_wake_all(struct api_streams *streams)
{
    struct stream_due *due;
    pthread_mutex_lock(&streams->lock);
    list_each (due, &streams->dues, node) {
        if (due->at_ms != INT64_MAX) {
            due->at_ms = INT64_MAX;
            http_stream_wake(due->x);
        }
    }
    pthread_mutex_unlock(&streams->lock);
}

void streams_remove(struct api_streams *streams, struct stream_due *due)
{
    pthread_mutex_lock(&streams->lock);
    list_remove(&due->node);
    pthread_mutex_unlock(&streams->lock);
}
