/*
 * node_rotation: turns over the logs of running containers at logs.maxSize and keeps logs.maxFiles files of
 * each (node_log_files.c). The runtime's monitor does the writing: it is told to begin a new file.
 *
 * Nothing happens while nothing is written. The first write after a look is told by inotify, once; the next
 * look follows when, at the speed of late, half of what is left would be used up.
 *
 * The monitor turns the log over by itself too, so that a disk is not filled while no agent lives: far beyond
 * what is kept, as its count goes on over the files that it is told to begin, and so cuts one of them short.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "node/node_internal.h"

#define DEFAULT_BYTES (10ll << 20)
#define DEFAULT_FILES 5
#define WITHOUT_AGENT 16 /* times what is kept: the monitor's own bound */
#define SOONEST_MS 100
#define LATEST_MS 5000
#define BYTES_PER_MS 20000 /* of a writer of whom nothing is known */
#define PATIENCE_MS 1000
#define PATIENCE_MAX_MS 60000

struct rotation {
    struct node *node;
    char *name, *path;  /* of the container in the runtime; of its log */
    int folder, growth; /* inotify watches; -1: none */
    struct loop_timer *look;
    int64_t bytes;        /* as of the last look */
    int64_t since;        /* when the growth after it began; 0: it has not */
    int64_t bytes_per_ms; /* of late, while it wrote */
    bool told;            /* the monitor, to begin a new file: told twice, it would begin two */
    int64_t patience_ms;  /* until it is told again, as it did not listen */
};

static int64_t max_bytes(const struct node *node)
{
    int64_t bytes = node->options.settings.log_max_bytes;
    return bytes > 0 ? bytes : DEFAULT_BYTES;
}

static int64_t max_files(const struct node *node)
{
    int64_t files = node->options.settings.log_max_files;
    return files > 0 ? files : DEFAULT_FILES;
}

int64_t node_log_bound(const struct node *node)
{
    return WITHOUT_AGENT * max_bytes(node) * max_files(node);
}

/* All full files but the one that grows. */
static int64_t keep(const struct node *node, const char *path)
{
    return node_log_files_keep(path, (max_files(node) - 1) * max_bytes(node));
}

static void grows(struct rotation *r)
{
    if (loop_timer_running(r->look))
        return;
    int64_t left = max_bytes(r->node) - r->bytes;
    int64_t ms = r->bytes_per_ms ? left / (2 * r->bytes_per_ms) : LATEST_MS;
    r->since = node_now(r->node);
    loop_timer_start(r->look, ms < SOONEST_MS ? SOONEST_MS : ms > LATEST_MS ? LATEST_MS : ms);
}

static void ask_for_new_file(struct rotation *r)
{
    r->told = r->told || r->node->runtime->ops->reopen_log(r->node->runtime, r->name);
    if (r->told && r->folder >= 0)
        return; /* its new file is seen, after its fsync, however long that takes */
    if (r->patience_ms <= PATIENCE_MAX_MS) /* then it is up to the monitor's own bound */
        loop_timer_start(r->look, r->patience_ms);
    r->patience_ms *= 2;
}

static void await_growth(struct rotation *r)
{
    struct stat st;
    r->patience_ms = PATIENCE_MS;
    if (r->node->log_inotify < 0)
        return;
    r->growth = inotify_add_watch(r->node->log_inotify, r->path, IN_MODIFY | IN_ONESHOT);
    if (stat(r->path, &st) == 0 && st.st_size > r->bytes) /* between the look and the watch */
        grows(r);
}

static void look(void *arg)
{
    struct rotation *r = arg;
    struct node *node = r->node;
    int64_t bytes = keep(node, r->path);
    if (r->since && bytes > r->bytes)
        r->bytes_per_ms = (bytes - r->bytes) / (node_now(node) - r->since + 1);
    r->bytes = bytes;
    r->since = 0;
    loop_timer_stop(r->look);
    if (bytes < 0 || bytes >= max_bytes(node))
        ask_for_new_file(r);
    else {
        r->told = false;
        await_growth(r);
    }
}

/* ---- what the kernel tells ---- */

static void on_event(struct node *node, const struct inotify_event *event)
{
    map_each (entry, &node->rotations) {
        struct rotation *r = entry->value;
        if (event->wd == r->folder && event->len && str_eq(event->name, strrchr(r->path, '/') + 1)) {
            r->told = false;
            look(r);
        }
        if (event->wd == r->growth && event->mask & IN_MODIFY)
            grows(r);
    }
}

static void on_inotify(void *arg, unsigned events UNUSED)
{
    struct node *node = arg;
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(node->log_inotify, buffer, sizeof(buffer));
    bool lost = false;
    for (char *at = buffer; n > 0 && at < buffer + n;) {
        const struct inotify_event *event = (const struct inotify_event *)at;
        at += sizeof(*event) + event->len;
        lost |= event->mask & IN_Q_OVERFLOW;
        on_event(node, event);
    }
    if (!lost)
        return;
    map_each (entry, &node->rotations)
        look(entry->value);
}

/* ---- from the worker ---- */

void node_rotation_begin(struct node *node, const char *container_name, const char *path)
{
    if (map_has(&node->rotations, container_name))
        return;
    struct rotation *r = NEW(struct rotation);
    *r = (struct rotation){.node = node,
                           .name = mem_strdup(container_name),
                           .path = mem_strdup(path),
                           .folder = -1,
                           .growth = -1,
                           .bytes_per_ms = BYTES_PER_MS,
                           .patience_ms = PATIENCE_MS};
    r->look = loop_timer_new(node->loop, look, r);
    map_set(&node->rotations, container_name, r);
    auto_free char *folder = mem_strdup(path);
    *strrchr(folder, '/') = 0;
    if (node->log_inotify >= 0)
        r->folder = inotify_add_watch(node->log_inotify, folder, IN_MOVED_TO);
    if (node->log_inotify >= 0 && r->folder < 0)
        log_warn("node", "watch %s: errno %d; its logs are turned over by the runtime alone", folder, errno);
    look(r);
}

static void rotation_free(void *value)
{
    struct rotation *r = value;
    if (r->folder >= 0) /* the folder may be gone, and its watch with it */
        inotify_rm_watch(r->node->log_inotify, r->folder);
    if (r->growth >= 0)
        inotify_rm_watch(r->node->log_inotify, r->growth);
    loop_timer_free(r->look);
    free(r->name);
    free(r->path);
    free(r);
}

void node_rotation_end(struct node *node, const char *container_name)
{
    struct rotation *r = map_get(&node->rotations, container_name);
    if (!r)
        return;
    keep(node, r->path);
    node_log_files_close(r->path);
    map_remove(&node->rotations, container_name);
}

void node_rotation_init(struct node *node)
{
    auto_err error = NULL;
    map_init(&node->rotations, rotation_free);
    node->log_inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (node->log_inotify >= 0)
        node->log_watch = loop_fd_add(node->loop, node->log_inotify, EPOLLIN, on_inotify, node, &error);
    if (node->log_watch || node->log_inotify < 0)
        return;
    close(node->log_inotify); /* a virtual loop: logs are looked at when a container is seen to run */
    node->log_inotify = -1;
}

void node_rotation_fini(struct node *node)
{
    map_fini(&node->rotations);
    loop_fd_remove(steal(&node->log_watch));
    if (node->log_inotify >= 0)
        close(node->log_inotify);
}
