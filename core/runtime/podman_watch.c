/*
 * podman_watch: learns the end of a container from the kernel, within a millisecond and without asking
 * podman.
 *
 * A pidfd tells that the first process has ended; at that moment its cgroup still exists and is asked for the
 * OOM killer's count. conmon then leaves the exit code in a file named after the container's id, seen by
 * inotify. podman's own event stream is not used: it reads a file every 250 ms. Where the exit code does not
 * come in time (podman was quicker to clean up, or somebody removed the container), podman is asked once.
 *
 * Invariants: DIED is told once for each run of a container; that it was killed for memory is written to disk
 * before.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define PATIENCE_MS 250 /* after the process has ended: for the exit code's file, then between questions */
#define PATIENCE_QUESTIONS                                                                                   \
    20 /* then the container counts as killed: its monitor is gone, nobody knows the code */
#define KILLED 137

static char *oom_mark(const struct podman *p, const struct podman_record *record)
{
    auto_free char *folder = podman_oom_path(&p->options);
    return file_join(folder, record->id);
}

/* While the cgroup exists; called when the process has just ended. */
static void read_oom(struct podman_record *record)
{
    if (record->oom_read || !record->cgroup)
        return;
    int64_t kills = podman_cgroup_oom_kills(record->cgroup);
    if (kills < 0)
        return;
    record->oom_read = true;
    record->oom = kills > 0;
    if (!record->oom)
        return;
    auto_free char *mark = oom_mark(record->podman, record);
    auto_err error = NULL;
    if (file_write_atomic(mark, "", 0, 0600, &error) < 0)
        log_warn("runtime", "note that %s was killed for memory: %s", record->name, err_message(error));
}

static void unwatch(struct podman_record *record)
{
    loop_fd_remove(steal(&record->watch));
    if (record->pidfd >= 0)
        close(record->pidfd);
    record->pidfd = -1;
    record->pid = 0;
}

static void tell_death(struct podman_record *record, int exit_code)
{
    if (record->died)
        return;
    record->died = true;
    record->exit_code = exit_code;
    loop_timer_stop(record->patience);
    unwatch(record);
    if (record->removal)
        podman_removal_continue(steal(&record->removal), NULL);
    auto_free char *name = mem_strdup(record->name); /* the receiver may remove the container */
    podman_emit(record->podman, RUNTIME_DIED, name, exit_code);
}

static bool read_exit_code(struct podman_record *record, int *exit_code)
{
    auto_free char *folder = podman_exits_path(&record->podman->options);
    auto_free char *path = file_join(folder, record->id), *text = NULL;
    long long value;
    if (file_read(path, 64, &text, NULL, NULL) < 0)
        return false;
    text[strcspn(text, "\n")] = 0;
    if (str_to_int64(text, &value) < 0)
        return false;
    *exit_code = (int)value;
    return true;
}

struct death_question {
    struct podman *podman;
    char *name, *id;
};

static void on_asked(void *arg, struct runtime_container *container, struct err *err)
{
    struct death_question *q = arg;
    struct podman_record *record = map_get(&q->podman->records, q->name);
    if (record && str_eq(record->id, q->id) && !record->died && err_code(err) != ERR_CANCELLED) {
        if (err_code(err) == ERR_NOT_FOUND) {
            tell_death(record, KILLED); /* removed behind our back */
            podman_emit(q->podman, RUNTIME_REMOVED, q->name, 0);
        } else if (container && container->state == RUNTIME_EXITED) {
            tell_death(record, container->exit_code);
        } else if (++record->questions > PATIENCE_QUESTIONS) {
            tell_death(record, KILLED);
        } else {
            loop_timer_start(record->patience, PATIENCE_MS);
        }
    }
    runtime_container_free(container);
    free(q->name);
    free(q->id);
    free(q);
}

static void on_patience(void *arg)
{
    struct podman_record *record = arg;
    int exit_code;
    if (read_exit_code(record, &exit_code)) {
        tell_death(record, exit_code);
        return;
    }
    struct death_question *q = NEW(struct death_question);
    *q = (struct death_question){record->podman, mem_strdup(record->name), mem_strdup(record->id)};
    podman_op_inspect(&record->podman->base, record->name, on_asked, q);
}

static void on_process_end(void *arg, unsigned events UNUSED)
{
    struct podman_record *record = arg;
    int exit_code;
    read_oom(record);
    unwatch(record);
    if (record->own)
        tell_death(record, KILLED); /* nobody is there to say how it ended */
    else if (read_exit_code(record, &exit_code))
        tell_death(record, exit_code);
    else
        loop_timer_start(record->patience, PATIENCE_MS);
}

static void on_exit_file(struct podman *p, const char *id)
{
    map_each (entry, &p->records) {
        struct podman_record *record = entry->value;
        int exit_code;
        if (!str_eq(record->id, id) || record->died)
            continue;
        read_oom(record);
        if (read_exit_code(record, &exit_code))
            tell_death(record, exit_code);
        return;
    }
}

static void on_inotify(void *arg, unsigned events UNUSED)
{
    struct podman *p = arg;
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(p->inotify, buffer, sizeof(buffer));
    for (char *at = buffer; n > 0 && at < buffer + n;) {
        struct inotify_event *event = (struct inotify_event *)at;
        at += sizeof(*event) + event->len;
        if (event->len && !(event->mask & IN_ISDIR))
            on_exit_file(p, event->name);
    }
    /* An overflow loses names only: the pidfd of each has fired, and patience asks. */
}

int podman_watch_open(struct podman *p, struct err **err)
{
    auto_free char *exits = podman_exits_path(&p->options);
    p->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (p->inotify < 0)
        return err_errno(err, errno, "watch the ends of containers");
    if (inotify_add_watch(p->inotify, exits, IN_MOVED_TO | IN_CLOSE_WRITE) < 0)
        return err_errno(err, errno, "watch %s", exits);
    p->inotify_watch = loop_fd_add(p->loop, p->inotify, EPOLLIN, on_inotify, p, err);
    return p->inotify_watch ? 0 : -1;
}

void podman_watch_close(struct podman *p)
{
    loop_fd_remove(steal(&p->inotify_watch));
    if (p->inotify >= 0)
        close(p->inotify);
    p->inotify = -1;
}

struct podman_record *podman_record_get(struct podman *p, const char *name)
{
    struct podman_record *record = map_get(&p->records, name);
    if (record)
        return record;
    record = NEW(struct podman_record);
    record->podman = p;
    record->name = mem_strdup(name);
    record->pidfd = -1;
    record->exit_code = -1;
    record->patience = loop_timer_new(p->loop, on_patience, record);
    map_set(&p->records, name, record);
    return record;
}

void podman_record_free(void *argument)
{
    struct podman_record *record = argument;
    unwatch(record);
    if (record->removal) {
        auto_err error = NULL;
        err_set(&error, ERR_CANCELLED, "the runtime was closed");
        podman_removal_continue(steal(&record->removal), error);
    }
    loop_timer_free(record->patience);
    free(record->name);
    free(record->id);
    free(record->cgroup);
    free(record);
}

void podman_record_forget(struct podman *p, const char *name)
{
    struct podman_record *record = map_get(&p->records, name);
    if (!record)
        return;
    if (record->id) {
        auto_free char *mark = oom_mark(p, record), *leaving = podman_leaving_path(&p->options),
                       *left = file_join(leaving, record->id);
        unlink(mark);
        unlink(left);
    }
    map_remove(&p->records, name);
}

bool podman_is_process_of(int pid, const char *id)
{
    auto_free char *path = mem_printf("/proc/%d/cgroup", pid), *text = NULL;
    return file_read(path, 65536, &text, NULL, NULL) == 0 && strstr(text, id);
}

/* Asked only of a container whose process has ended while podman calls it running: looks at every process. */
static bool has_monitor(const struct podman_record *record)
{
    size_t count = 0;
    auto_free char **pids = file_list("/proc", &count, NULL);
    for (size_t i = 0; pids && i < count; i++) {
        auto_free char *path = mem_printf("/proc/%s/cmdline", pids[i]), *text = NULL;
        size_t len = 0;
        if (strspn(pids[i], "0123456789") != strlen(pids[i]) ||
            file_read(path, 1 << 20, &text, &len, NULL) < 0)
            continue;
        const char *slash = strrchr(text, '/');
        if (str_eq(slash ? slash + 1 : text, "conmon") && memmem(text, len, record->id, strlen(record->id)))
            return true;
    }
    return false;
}

/* A reboot, or a kill of process and monitor together: nobody will ever tell podman, which goes on calling it
 * running. */
static bool is_lost(const struct podman_record *record, const struct runtime_container *container)
{
    return record->pidfd < 0 && container->pid > 0 && !podman_is_process_of(container->pid, record->id) &&
           !has_monitor(record);
}

/* Where the process really is: the pod's parent may have been chosen by the caller. */
static void find_cgroup(struct podman_record *record, int pid)
{
    auto_free char *path = mem_printf("/proc/%d/cgroup", pid), *text = NULL;
    if (file_read(path, 65536, &text, NULL, NULL) < 0)
        return;
    const char *key = podman_cgroups_detect() == PODMAN_CGROUPS_V2 ? "0::" : ":memory:";
    char *found = strstr(text, key);
    if (!found || !strstr(found, record->id))
        return;
    found += strlen(key);
    free(record->cgroup);
    record->cgroup = mem_strndup(found, strcspn(found, "\n"));
}

static void watch_process(struct podman_record *record, int pid)
{
    find_cgroup(record, pid);
    record->pidfd = podman_is_process_of(pid, record->id) ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (record->pidfd < 0) { /* ended since podman looked */
        read_oom(record);
        loop_timer_start(record->patience, record->questions ? PATIENCE_MS : 0);
        return;
    }
    auto_err error = NULL;
    record->pid = pid;
    record->watch = loop_fd_add(record->podman->loop, record->pidfd, EPOLLIN, on_process_end, record, &error);
    if (!record->watch)
        log_error("runtime", "watch %s: %s", record->name, err_message(error));
}

static void identify(struct podman *p, struct podman_record *record,
                     const struct runtime_container *container)
{
    if (str_eq(record->id, container->id))
        return;
    unwatch(record);
    free(record->id);
    free(record->cgroup);
    record->id = mem_strdup(container->id);
    record->died = record->oom = record->oom_read = false;
    record->questions = 0;
    record->exit_code = -1;
    auto_free char *root = podman_cgroup_root(&p->options);
    const char *uid = runtime_container_label(container, PODMAN_LABEL "pod.uid");
    const char *kind = runtime_container_label(container, PODMAN_LABEL "container");
    record->sandbox = str_empty(kind);
    const char *prefix = record->own ? "sandbox" : "libpod";
    record->cgroup = uid ? mem_printf("%s/pod%s/%s-%s", root, uid, prefix, record->id)
                         : mem_printf("%s/%s-%s", root, prefix, record->id);
    auto_free char *mark = oom_mark(p, record);
    record->oom = file_exists(mark);
}

void podman_record_update(struct podman *p, struct runtime_container *container)
{
    struct podman_record *record = podman_record_get(p, container->name);
    identify(p, record, container);
    if (container->state == RUNTIME_RUNNING && is_lost(record, container)) {
        container->state = RUNTIME_EXITED;
        container->exit_code = KILLED;
        container->pid = 0;
        container->finished_ns = clock_wall_ns(&clock_system);
    }
    if (container->state == RUNTIME_RUNNING) {
        record->died = false;
        if (record->pidfd < 0 && container->pid > 0 && !loop_timer_running(record->patience))
            watch_process(record, container->pid);
    } else if (container->state == RUNTIME_EXITED) {
        read_oom(record);
        if (record->started && !record->died && record->pidfd < 0) /* it ended before it could be watched */
            loop_timer_start(record->patience, 0);
        container->oom_killed = (container->oom_killed || record->oom) && container->exit_code != 0;
    }
}
