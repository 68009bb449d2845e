/*
 * runtime_world: a real podman on a folder of its own under /dev/shm, and the runtime's operations as
 * blocking calls.
 */
#ifndef M8_TEST_RUNTIME_WORLD_H
#define M8_TEST_RUNTIME_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "runtime/runtime.h"

#define WORLD_IMAGE "localhost/m8-test:1"
#define WORLD_EVENTS 64

struct world {
    char *base, *directory, *storage, *cluster;
    struct runtime_podman_options options;
    struct loop *loop;
    struct runtime *runtime;
    struct loop_timer *late;
    /* the answer to the last call */
    struct err *error;
    struct runtime_container *container;
    struct runtime_container **list;
    size_t n_list;
    cJSON *json;
    int exit_code;
    char *text; /* image id, output, exec id */
    struct http_duplex *duplex;
    /* events since world_clear_events */
    struct {
        enum runtime_event_type type;
        char *name;
        int exit_code;
    } events[WORLD_EVENTS];
    size_t n_events;
    bool wait_event, timed_out;
    enum runtime_event_type wanted_type;
    const char *wanted_name;
};

static void world_late(void *arg)
{
    struct world *w = arg;
    w->timed_out = true;
    loop_stop(w->loop); /* not here: a jump out of the loop would leave it unusable for the clean-up */
}

static void world_forget(struct world *w)
{
    err_free(steal(&w->error));
    runtime_container_free(steal(&w->container));
    for (size_t i = 0; i < w->n_list; i++)
        runtime_container_free(w->list[i]);
    free(steal(&w->list));
    w->n_list = 0;
    cJSON_Delete(steal(&w->json));
    free(steal(&w->text));
}

/* Runs the loop until a callback stops it. */
static UNUSED enum err_code world_wait(struct world *w)
{
    loop_timer_start(w->late, 20000);
    loop_run(w->loop);
    loop_timer_stop(w->late);
    if (w->timed_out)
        fail_msg("no answer in time");
    return err_code(w->error);
}

static void world_done(void *arg, struct err *err)
{
    struct world *w = arg;
    w->error = err ? err_copy(err) : NULL;
    loop_stop(w->loop);
}

static void UNUSED world_on_container(void *arg, struct runtime_container *container, struct err *err)
{
    ((struct world *)arg)->container = container;
    world_done(arg, err);
}

static void UNUSED world_on_list(void *arg, struct runtime_container **containers, size_t count,
                                 struct err *err)
{
    struct world *w = arg;
    w->list = containers;
    w->n_list = count;
    world_done(arg, err);
}

static void UNUSED world_on_image(void *arg, const char *id, struct err *err)
{
    ((struct world *)arg)->text = mem_strdup(id);
    world_done(arg, err);
}

static void UNUSED world_on_json(void *arg, cJSON *json, struct err *err)
{
    ((struct world *)arg)->json = json;
    world_done(arg, err);
}

static void UNUSED world_on_exec(void *arg, int exit_code, const char *output, size_t len, struct err *err)
{
    struct world *w = arg;
    w->exit_code = exit_code;
    w->text = mem_strndup(output, len);
    world_done(arg, err);
}

static void world_on_event(void *arg, const struct runtime_event *event)
{
    struct world *w = arg;
    must(w->n_events < WORLD_EVENTS);
    w->events[w->n_events].type = event->type;
    w->events[w->n_events].exit_code = event->exit_code;
    w->events[w->n_events++].name = mem_strdup(event->name);
    if (w->wait_event && event->type == w->wanted_type &&
        (!w->wanted_name || str_eq(w->wanted_name, event->name))) {
        w->wait_event = false;
        loop_stop(w->loop);
    }
}

/* Index of the event, which may have come already; waits for it otherwise. */
static size_t UNUSED world_event(struct world *w, enum runtime_event_type type, const char *name)
{
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < w->n_events; i++)
            if (w->events[i].type == type && (!name || str_eq(w->events[i].name, name)))
                return i;
        w->wait_event = true;
        w->wanted_type = type;
        w->wanted_name = name;
        world_wait(w);
    }
    fail_msg("event lost");
    return 0;
}

static size_t UNUSED world_count_events(const struct world *w, enum runtime_event_type type, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < w->n_events; i++)
        count += w->events[i].type == type && str_eq(w->events[i].name, name);
    return count;
}

static void world_clear_events(struct world *w)
{
    while (w->n_events)
        free(w->events[--w->n_events].name);
}

static void world_open(struct world *w)
{
    w->loop = loop_new(NULL);
    w->late = loop_timer_new(w->loop, world_late, w);
    w->options.loop = w->loop;
    auto_err error = NULL;
    w->runtime = runtime_podman_new(&w->options, &error);
    if (!w->runtime)
        fail_msg("%s", err_message(error));
    w->runtime->ops->set_on_event(w->runtime, world_on_event, w);
}

static void world_close(struct world *w)
{
    world_forget(w);
    world_clear_events(w);
    if (w->runtime)
        w->runtime->ops->free(steal(&w->runtime));
    loop_timer_free(w->late);
    loop_free(w->loop);
}

static void world_run(const char *format, const char *a, const char *b)
{
    char command[2048];
    snprintf(command, sizeof(command), format, a, b);
    int status = system(command);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: status %d", command, status);
}

/* An image with busybox, through podman's own API. */
static void world_import(struct world *w)
{
    auto_free char *tar = file_join(w->base, "box.tar"), *socket = file_join(w->directory, "podman.sock");
    auto_free char *data = NULL;
    size_t len;
    world_run("mkdir -p %s/box/bin %s/box/tmp", w->base, w->base);
    world_run("cp /usr/bin/busybox %s/box/bin/busybox && for a in sh sleep cat tail id ls echo touch wc stat "
              "hostname "
              "mount ps; do ln -sf busybox %s/box/bin/$a; done",
              w->base, w->base);
    world_run("tar -C %s/box -cf %s .", w->base, tar);
    assert_int_equal(file_read(tar, 64 << 20, &data, &len, NULL), 0);
    struct http_client_options client = {.base_url = "http://d", .unix_path = socket};
    struct http_call call = {.method = "POST",
                             .target = "/v4.0.0/libpod/images/import?reference=" WORLD_IMAGE,
                             .content_type = "application/x-tar",
                             .body = data,
                             .body_len = len,
                             .timeout_ms = 30000};
    struct http_response *response = http_client_call_blocking(&client, &call, NULL);
    assert_non_null(response);
    assert_int_equal(response->status, 200);
    http_response_free(response);
}

/* insecure: registries without TLS, or NULL. */
static UNUSED struct world *world_new(const char *const *insecure)
{
    struct world *w = NEW(struct world);
    json_init();
    w->base = mem_printf("/dev/shm/m8rt-%d", (int)getpid());
    w->directory = file_join(w->base, "n");
    w->storage = file_join(w->base, "s");
    w->cluster = mem_printf("test%d", (int)getpid());
    w->options = (struct runtime_podman_options){
        .directory = w->directory, .storage = w->storage, .cluster = w->cluster, .node = "n1"};
    w->options.insecure_registries = insecure;
    world_open(w);
    w->runtime->ops->info(w->runtime, world_on_json, w); /* answers once the service is up */
    assert_int_equal(world_wait(w), ERR_NONE);
    world_import(w);
    return w;
}

static void world_free(struct world *w)
{
    world_close(w);
    auto_err error = NULL;
    if (runtime_podman_shutdown(&w->options, true, &error) < 0)
        fprintf(stderr, "shutdown: %s\n", err_message(error));
    if (file_remove_tree(w->base, &error) < 0)
        fprintf(stderr, "clean up: %s\n", err_message(error));
    free(w->base);
    free(w->directory);
    free(w->storage);
    free(w->cluster);
    free(w);
}

static UNUSED struct runtime_pair *world_labels(struct world *w, const char *pod, const char *container,
                                                size_t *count)
{
    const char *const pairs[][2] = {{"io.minik8s.cluster", w->cluster},
                                    {"io.minik8s.node", "n1"},
                                    {"io.minik8s.pod.uid", pod},
                                    {"io.minik8s.pod.name", pod},
                                    {"io.minik8s.container", container}};
    struct runtime_pair *labels = mem_array(COUNT_OF(pairs), sizeof(*labels));
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        labels[i] = (struct runtime_pair){mem_strdup(pairs[i][0]), mem_strdup(pairs[i][1])};
    *count = COUNT_OF(pairs);
    return labels;
}

static UNUSED char **world_words(const char *const *words)
{
    size_t count = 0;
    while (words[count])
        count++;
    char **copy = mem_array(count + 1, sizeof(char *));
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_strdup(words[i]);
    return copy;
}

static UNUSED struct runtime_spec *world_sandbox(struct world *w, const char *pod)
{
    struct runtime_spec *spec = NEW(struct runtime_spec);
    spec->name = mem_printf("sandbox_%s", pod);
    spec->hostname = mem_strdup(pod);
    spec->labels = world_labels(w, pod, "", &spec->n_labels);
    spec->security.user = spec->security.group = -1;
    return spec;
}

/* A container "NAME_POD" that runs `script` in the shell; pod NULL: no sandbox of its own, no network. */
static UNUSED struct runtime_spec *world_shell(struct world *w, const char *pod, const char *name,
                                               const char *script)
{
    struct runtime_spec *spec = NEW(struct runtime_spec);
    spec->name = mem_printf("%s_%s", name, pod ? pod : "alone");
    spec->image = mem_strdup(WORLD_IMAGE);
    spec->command = world_words((const char *const[]){"sh", "-c", script, NULL});
    spec->labels = world_labels(w, pod ? pod : "alone", name, &spec->n_labels);
    spec->sandbox = pod ? mem_printf("sandbox_%s", pod) : NULL;
    spec->log_path = mem_printf("%s/%s.log", w->base, spec->name);
    spec->security.user = spec->security.group = -1;
    return spec;
}

/* Creates and frees the spec. */
static UNUSED enum err_code world_create(struct world *w, struct runtime_spec *spec)
{
    world_forget(w);
    w->runtime->ops->create(w->runtime, spec, world_done, w);
    runtime_spec_free(spec);
    return world_wait(w);
}

static UNUSED enum err_code world_start(struct world *w, const char *name)
{
    world_forget(w);
    w->runtime->ops->start(w->runtime, name, world_on_container, w);
    return world_wait(w);
}

static enum err_code UNUSED world_inspect(struct world *w, const char *name)
{
    world_forget(w);
    w->runtime->ops->inspect(w->runtime, name, world_on_container, w);
    return world_wait(w);
}

static enum err_code UNUSED world_remove(struct world *w, const char *name)
{
    world_forget(w);
    w->runtime->ops->remove(w->runtime, name, world_done, w);
    return world_wait(w);
}

static enum err_code UNUSED world_signal(struct world *w, const char *name, int number)
{
    world_forget(w);
    w->runtime->ops->signal(w->runtime, name, number, world_done, w);
    return world_wait(w);
}

static enum err_code UNUSED world_list(struct world *w)
{
    world_forget(w);
    w->runtime->ops->list(w->runtime, world_on_list, w);
    return world_wait(w);
}

static enum err_code UNUSED world_exec(struct world *w, const char *container, const char *script,
                                       int64_t timeout_ms)
{
    world_forget(w);
    const char *const command[] = {"sh", "-c", script, NULL};
    struct runtime_exec exec = {.container = container, .command = command};
    w->runtime->ops->exec(w->runtime, &exec, timeout_ms, world_on_exec, w);
    return world_wait(w);
}

/* The container's log once it holds `text`; conmon writes it in its own time. */
static UNUSED char *world_log(struct world *w, const char *name, const char *text)
{
    auto_free char *path = mem_printf("%s/%s.log", w->base, name);
    auto_fd changes = inotify_init1(IN_CLOEXEC);
    inotify_add_watch(changes, path, IN_MODIFY);
    for (;;) {
        char *log = NULL;
        if (file_read(path, 16 << 20, &log, NULL, NULL) == 0 && strstr(log, text))
            return log;
        struct pollfd p = {.fd = changes, .events = POLLIN};
        char events[4096];
        if (poll(&p, 1, 5000) <= 0 || read(changes, events, sizeof(events)) < 0)
            fail_msg("%s does not say \"%s\" but: %s", path, text, log ? log : "nothing");
        free(log);
    }
}

static double UNUSED world_ms(void)
{
    return (double)clock_system.monotonic_ns(clock_system.arg) / 1e6;
}

#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        if ((call) != ERR_NONE)                                                                              \
            fail_msg(#call ": %s", err_message(w->error));                                                   \
    } while (0)

/* ---- fixtures of a group with one world ---- */

static inline int world_setup(void **state)
{
    if (geteuid() != 0) {
        fprintf(stderr, "this test runs real containers and needs root\n");
        return -1;
    }
    *state = world_new(NULL);
    return 0;
}

static inline int world_teardown(void **state)
{
    world_free(*state);
    return 0;
}

static inline int world_between(void **state)
{
    world_clear_events(*state);
    return 0;
}

#endif
