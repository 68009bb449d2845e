/*
 * podman_sandbox: a pod's sandbox without podman: one process of our own (programs/pause.c) that holds the
 * namespaces which the pod's containers join by its number. That costs a few milliseconds less of a start
 * than a container would cost altogether.
 *
 * STORAGE/sandboxes/NAME holds spec.json (it was created), pid (it was started), shm (the containers'
 * /dev/shm) and log (why it could not start). The folder is the state: a runtime that was killed at any step
 * finds it again. The process bears the sandbox's id in its cgroup's name, by which a number that came round
 * is told from it. Invariants: spec.json is written first and goes last; a process runs only if its number is
 * in pid.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define SPEC_MAX (1 << 20)
#define KILLED 137 /* nobody is there to say how it ended */

static char *sandbox_path(const struct runtime_podman_options *options, const char *name, const char *file)
{
    auto_free char *folder = podman_sandboxes_path(options);
    return mem_printf("%s/%s%s%s", folder, name, *file ? "/" : "", file);
}

bool podman_sandbox_exists(struct podman *p, const char *name)
{
    auto_free char *spec = sandbox_path(&p->options, name, "spec.json");
    return file_exists(spec);
}

/* ---- create ---- */

static char *new_id(void)
{
    unsigned char bytes[32];
    auto_str id = {0};
    for (size_t got = 0; got < sizeof(bytes);) {
        ssize_t n = getrandom(bytes + got, sizeof(bytes) - got, 0);
        got += n > 0 ? (size_t)n : 0;
    }
    for (size_t i = 0; i < sizeof(bytes); i++)
        str_addf(&id, "%02x", bytes[i]);
    return str_take(&id);
}

static void add_pairs(cJSON *object, const struct runtime_pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        json_set_string(object, pairs[i].name, pairs[i].value ? pairs[i].value : "");
}

int podman_sandbox_create(struct podman *p, const struct runtime_spec *spec, struct err **err)
{
    if (podman_sandbox_exists(p, spec->name))
        return 0;
    auto_free char *folder = sandbox_path(&p->options, spec->name, ""),
                   *path = sandbox_path(&p->options, spec->name, "spec.json"), *id = new_id();
    auto_json json = cJSON_CreateObject();
    json_set_string(json, "id", id);
    add_pairs(json_ensure_object(json, "labels"), spec->labels, spec->n_labels);
    add_pairs(json_ensure_object(json, "sysctls"), spec->sysctls, spec->n_sysctls);
    if (spec->hostname)
        json_set_string(json, "hostname", spec->hostname);
    json_set_bool(json, "hostNetwork", spec->host_network);
    json_set_bool(json, "hostPid", spec->host_pid);
    json_set_bool(json, "hostIpc", spec->host_ipc);
    auto_free char *cgroup = podman_spec_cgroup_parent(spec, &p->options);
    json_set_string(json, "cgroup", cgroup);
    auto_free char *text = json_print(json);
    if (file_make_dirs(folder, 0700, err) < 0 || file_write_atomic(path, text, strlen(text), 0600, err) < 0)
        return err_wrap(err, "create sandbox %s", spec->name);
    return 0;
}

static cJSON *read_spec(struct podman *p, const char *name, struct err **err)
{
    auto_free char *path = sandbox_path(&p->options, name, "spec.json"), *text = NULL;
    size_t len = 0;
    if (file_read(path, SPEC_MAX, &text, &len, err) < 0)
        return NULL;
    return json_parse(text, len, err);
}

/* ---- what is there ---- */

/* The number in its file; 0: it was never started. */
static int noted_pid(struct podman *p, const char *name, int64_t *since_ns)
{
    auto_free char *path = sandbox_path(&p->options, name, "pid"), *text = NULL;
    struct stat st;
    if (stat(path, &st) < 0 || file_read(path, 32, &text, NULL, NULL) < 0)
        return 0;
    *since_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return atoi(text);
}

static void add_labels(struct runtime_container *container, const cJSON *labels)
{
    container->labels = mem_array((size_t)cJSON_GetArraySize(labels) + 1, sizeof(*container->labels));
    json_each (label, labels)
        container->labels[container->n_labels++] =
            (struct runtime_pair){mem_strdup(label->string), mem_strdup(label->valuestring)};
}

struct runtime_container *podman_sandbox_describe(struct podman *p, const char *name, struct err **err)
{
    auto_json spec = read_spec(p, name, err);
    if (!spec)
        return NULL;
    struct runtime_container *c = NEW(struct runtime_container);
    c->id = mem_strdup(json_string_or(spec, "id", ""));
    c->name = mem_strdup(name);
    c->image = mem_strdup("");
    c->image_id = mem_strdup("");
    c->stop_signal = SIGTERM;
    add_labels(c, json_get(spec, "labels"));
    int pid = noted_pid(p, name, &c->started_ns);
    c->created_ns = c->started_ns;
    bool alive =
        file_process_start_time(pid) && podman_is_process_of(pid, c->id); /* 0: gone, or not yet reaped */
    c->state = !pid ? RUNTIME_CREATED : alive ? RUNTIME_RUNNING : RUNTIME_EXITED;
    c->pid = c->state == RUNTIME_RUNNING ? pid : 0;
    c->exit_code = c->state == RUNTIME_EXITED ? KILLED : 0;
    c->finished_ns = c->state == RUNTIME_EXITED ? c->started_ns : 0;
    podman_record_get(p, name)->own = true;
    podman_record_update(p, c);
    return c;
}

size_t podman_sandboxes(struct podman *p, struct runtime_container ***list, size_t count)
{
    size_t n = 0;
    auto_free char *folder = podman_sandboxes_path(&p->options);
    auto_free char **names = file_list(folder, &n, NULL);
    *list = mem_resize(*list, count + n + 1, sizeof(**list));
    for (size_t i = 0; names && i < n; i++) {
        auto_err error = NULL;
        struct runtime_container *found = podman_sandbox_describe(p, names[i], &error);
        if (found)
            (*list)[count++] = found;
        else if (err_code(error) == ERR_NOT_FOUND) /* half made, or half removed, by one who was killed */
            podman_sandbox_remove(p, names[i], NULL);
        else
            log_error("runtime", "sandbox %s: %s", names[i], err_message(error));
    }
    return count;
}

/* ---- start ---- */

struct podman_sandbox_start {
    struct list node;
    struct podman *podman;
    char *name;
    int pidfd; /* of the program that makes the sandbox; -1: it waits for its turn */
    struct loop_fd *watch;
    runtime_on_container *done;
    void *arg;
};

static void add_word(char ***words, size_t *n, char *word)
{
    *words = mem_resize(*words, *n + 2, sizeof(**words));
    (*words)[(*n)++] = word;
    (*words)[*n] = NULL;
}

static void add_option(char ***words, size_t *n, const char *option, char *value)
{
    add_word(words, n, mem_strdup(option));
    add_word(words, n, value);
}

static char **command_line(struct podman *p, const char *name, const cJSON *spec)
{
    char **words = NULL;
    size_t n = 0;
    auto_free char *root = podman_pause_root(&p->options);
    bool host = json_bool(spec, "hostNetwork", false);
    add_word(&words, &n, mem_printf("%s/pause", root));
    add_option(&words, &n, "--state", sandbox_path(&p->options, name, ""));
    add_option(&words, &n, "--root", mem_strdup(root));
    add_option(&words, &n, "--new",
               mem_printf("%s%s%s", host ? "" : "nu", json_bool(spec, "hostIpc", false) ? "" : "i",
                          json_bool(spec, "hostPid", false) ? "" : "p"));
    if (!host && json_string(spec, "hostname"))
        add_option(&words, &n, "--hostname", mem_strdup(json_string(spec, "hostname")));
    char *folders[PODMAN_OWN_CGROUPS];
    auto_free char *cgroup =
        mem_printf("%s/sandbox-%s", json_string_or(spec, "cgroup", ""), json_string_or(spec, "id", ""));
    size_t n_folders = podman_cgroup_folders(cgroup, folders);
    for (size_t i = 0; i < n_folders; i++)
        add_option(&words, &n, "--cgroup", folders[i]);
    json_each (sysctl, json_get(spec, "sysctls"))
        add_option(&words, &n, "--sysctl", mem_printf("%s=%s", sysctl->string, sysctl->valuestring));
    return words;
}

/* The callee owns the container. */
static void start_answer(struct podman_sandbox_start *start, struct runtime_container *container,
                         struct err *err)
{
    loop_fd_remove(start->watch);
    if (start->pidfd >= 0)
        close(start->pidfd);
    list_remove(&start->node);
    start->done(start->arg, container, err);
    free(start->name);
    free(start);
}

static void start_next(struct podman *p);

/* Why the program failed: what it wrote. */
static void start_error(struct podman_sandbox_start *start, struct err **err)
{
    auto_free char *path = sandbox_path(&start->podman->options, start->name, "log"), *text = NULL;
    if (file_read(path, 65536, &text, NULL, NULL) == 0)
        text[strcspn(text, "\n")] = 0;
    err_set(err, ERR_INTERNAL, "%s", str_empty(text) ? "the program that makes it was killed" : text);
}

static void on_program_end(void *arg, unsigned events UNUSED)
{
    struct podman_sandbox_start *start = arg;
    struct podman *p = start->podman;
    siginfo_t info = {0};
    auto_err error = NULL;
    while (waitid(P_PIDFD, (id_t)start->pidfd, &info, WEXITED) < 0 && errno == EINTR)
        ;
    podman_record_get(p, start->name)->started = true; /* its end is to be told */
    struct runtime_container *container = NULL;
    if (info.si_code != CLD_EXITED || info.si_status != 0)
        start_error(start, &error);
    else
        container = podman_sandbox_describe(p, start->name, &error);
    p->sandbox_starts_open--;
    start_next(p); /* before the answer, which may free the runtime */
    start_answer(start, container, error);
}

static int start_program(struct podman_sandbox_start *start, struct err **err)
{
    struct podman *p = start->podman;
    auto_free char *log = sandbox_path(&p->options, start->name, "log");
    auto_json spec = read_spec(p, start->name, err);
    if (!spec)
        return -1;
    unlink(log); /* of an earlier try */
    char **words = command_line(p, start->name, spec);
    pid_t pid = file_spawn((const char *const *)words, NULL, log, err);
    podman_texts_free(words);
    if (pid < 0)
        return -1;
    start->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (start->pidfd < 0)
        return err_errno(err, errno, "watch the program that makes a sandbox");
    start->watch = loop_fd_add(p->loop, start->pidfd, EPOLLIN, on_program_end, start, err);
    return start->watch ? 0 : -1;
}

static void on_start_failed(void *arg, const struct http_response *response UNUSED, cJSON *json UNUSED,
                            struct err *err)
{
    start_answer(arg, NULL, err);
}

static void start_next(struct podman *p)
{
    while (p->sandbox_starts_open < p->options.concurrency && !list_empty(&p->sandbox_waiting)) {
        struct podman_sandbox_start *start =
            list_first(&p->sandbox_waiting, struct podman_sandbox_start, node);
        auto_err error = NULL;
        list_remove(&start->node);
        if (start_program(start, &error) == 0) {
            list_add_tail(&p->sandbox_starting, &start->node);
            p->sandbox_starts_open++;
        } else {
            podman_reply_later(p, on_start_failed, start, steal(&error));
        }
    }
}

static void on_described(void *arg, const struct http_response *response UNUSED, cJSON *json UNUSED,
                         struct err *err)
{
    struct podman_sandbox_start *start = arg;
    auto_err error = err ? err_copy(err) : NULL;
    struct runtime_container *container =
        err ? NULL : podman_sandbox_describe(start->podman, start->name, &error);
    start_answer(start, container, error);
}

void podman_sandbox_start(struct podman *p, const char *name, runtime_on_container *done, void *arg)
{
    struct podman_sandbox_start *start = NEW(struct podman_sandbox_start);
    *start = (struct podman_sandbox_start){
        .podman = p, .name = mem_strdup(name), .pidfd = -1, .done = done, .arg = arg};
    list_init(&start->node);
    struct runtime_container *now = podman_sandbox_describe(p, name, NULL);
    auto_free char *pid = sandbox_path(&p->options, name, "pid");
    bool running = now && now->state == RUNTIME_RUNNING;
    runtime_container_free(now);
    if (running) {
        podman_reply_later(p, on_described, start, NULL);
        return;
    }
    unlink(pid); /* of one that has ended */
    list_add_tail(&p->sandbox_waiting, &start->node);
    start_next(p);
}

void podman_sandbox_cancel(struct podman *p)
{
    struct list *const lists[] = {&p->sandbox_starting, &p->sandbox_waiting};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        while (!list_empty(lists[i])) {
            auto_err error = NULL;
            err_set(&error, ERR_CANCELLED, "the runtime was closed");
            start_answer(list_first(lists[i], struct podman_sandbox_start, node), NULL, error);
        }
    }
}

/* ---- join and remove ---- */

int podman_sandbox_join(struct podman *p, const struct runtime_spec *spec, cJSON *body, struct err **err)
{
    struct podman_record *record = map_get(&p->records, spec->sandbox);
    if (!record || !record->pid) { /* not seen before by this process */
        runtime_container_free(podman_sandbox_describe(p, spec->sandbox, NULL));
        record = map_get(&p->records, spec->sandbox);
    }
    auto_json sandbox = read_spec(p, spec->sandbox, err);
    if (!sandbox)
        return -1;
    if (!record || !record->pid)
        return err_set(err, ERR_CONFLICT, "create: the sandbox %s does not run", spec->sandbox);
    auto_free char *shm = sandbox_path(&p->options, spec->sandbox, "shm");
    char own[HOST_NAME_MAX + 1] = "";
    gethostname(own, sizeof(own) - 1);
    bool host = json_bool(sandbox, "hostNetwork", false);
    const struct podman_joined joined = {.pid = record->pid,
                                         .shm = json_bool(sandbox, "hostIpc", false) ? "/dev/shm" : shm,
                                         .hostname = host ? own : json_string_or(sandbox, "hostname", own)};
    podman_spec_join(body, spec, &joined);
    return 0;
}

int podman_sandbox_remove(struct podman *p, const char *name, struct err **err)
{
    auto_free char *folder = sandbox_path(&p->options, name, ""),
                   *shm = sandbox_path(&p->options, name, "shm"),
                   *pid = sandbox_path(&p->options, name, "pid"),
                   *spec = sandbox_path(&p->options, name, "spec.json");
    const struct podman_record *record = map_get(&p->records, name);
    if (record && record->cgroup)
        podman_cgroup_remove(record->cgroup);
    if (umount2(shm, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
        return err_errno(err, errno, "unmount %s", shm);
    if (unlink(pid) < 0 && errno != ENOENT)
        return err_errno(err, errno, "remove %s", pid);
    if (rmdir(shm) < 0 && errno != ENOENT)
        return err_errno(err, errno, "remove %s", shm);
    if (unlink(spec) < 0 && errno != ENOENT)
        return err_errno(err, errno, "remove %s", spec);
    return file_remove_tree(folder, err);
}
