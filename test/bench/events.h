/* What the measurements on a running cluster share: a watch of the API, one object per event. Every failure
 * ends the program with a message. */
#ifndef M8_BENCH_EVENTS_H
#define M8_BENCH_EVENTS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/time.h"
#include "http/http.h"

/* The caller's; event is called for every event of the watch, which may not end. */
struct events {
    void (*event)(void *arg, const cJSON *event);
    void *arg;
    struct str text; /* not yet a whole line; str_free at the end */
};

static inline _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    exit(1);
}

static inline int64_t now(void)
{
    return clock_system.monotonic_ns(NULL);
}

static inline bool events_on_data(void *arg, int status, const char *data, size_t len)
{
    struct events *events = arg;
    if (status != 200)
        fail("watch", data);
    str_add_n(&events->text, data, len);
    char *end;
    while ((end = memchr(events->text.data, '\n', events->text.len))) {
        size_t line = (size_t)(end - events->text.data);
        auto_err err = NULL;
        auto_json event = json_parse(events->text.data, line, &err);
        if (!event)
            fail("event", err_message(err));
        events->event(events->arg, event);
        memmove(events->text.data, end + 1, events->text.len - line - 1);
        events->text.len -= line + 1;
    }
    return true;
}

static inline void events_on_end(void *arg, const struct http_response *response, struct err *err)
{
    (void)arg;
    (void)response;
    fail("watch", err ? err_message(err) : "it ended");
}

static inline void events_watch(struct events *events, struct http_client *server, const char *target)
{
    const struct http_call watch = {.method = "GET",
                                    .target = target,
                                    .on_data = events_on_data,
                                    .on_response = events_on_end,
                                    .arg = events};
    server->ops->call(server, &watch);
}

#endif
