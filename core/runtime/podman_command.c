/*
 * podman_command: what commands do in one go: end a node's service (with its containers), load an image
 * archive. Blocking, on a loop of their own; an agent on the same folder may be running.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define REMOVE_TIMEOUT_MS 60000
#define SERVICE_GRACE_MS 5000
#define LOAD_TIMEOUT_MS (10 * 60 * 1000)
#define STRAY_ROUNDS 10
#define STRAY_WAIT_MS 2000
#define MAX_ARCHIVE ((size_t)4 << 30)

struct removal {
    struct loop *loop;
    struct runtime *runtime;
    size_t open;
    struct err *error;
};

static void on_removed(void *arg, struct err *err)
{
    struct removal *removal = arg;
    if (err && !removal->error)
        removal->error = err_copy(err);
    if (--removal->open == 0)
        loop_stop(removal->loop);
}

static void on_listed(void *arg, struct runtime_container **containers, size_t count, struct err *err)
{
    struct removal *removal = arg;
    if (err)
        removal->error = err_copy(err);
    for (size_t i = 0; i < count; i++) {
        removal->open++;
        removal->runtime->ops->remove(removal->runtime, containers[i]->name, on_removed, removal);
        runtime_container_free(containers[i]);
    }
    free(containers);
    if (removal->open == 0)
        loop_stop(removal->loop);
}

static void on_late(void *arg)
{
    struct removal *removal = arg;
    if (!removal->error)
        err_set(&removal->error, ERR_TIMEOUT, "containers were not removed within %d s",
                REMOVE_TIMEOUT_MS / 1000);
    loop_stop(removal->loop);
}

static int remove_all(const struct runtime_podman_options *options, struct err **err)
{
    struct loop *loop = loop_new(err);
    if (!loop)
        return -1;
    struct runtime_podman_options own = *options;
    own.loop = loop;
    struct removal removal = {.loop = loop, .runtime = runtime_podman_new(&own, err)};
    if (!removal.runtime) {
        loop_free(loop);
        return -1;
    }
    struct loop_timer *late = loop_timer_new(loop, on_late, &removal);
    loop_timer_start(late, REMOVE_TIMEOUT_MS);
    removal.runtime->ops->list(removal.runtime, on_listed, &removal);
    loop_run(loop);
    struct err *error = steal(&removal.error);
    removal.open = SIZE_MAX / 2; /* answers that come with the closing stop nothing */
    removal.runtime->ops->free(removal.runtime);
    err_free(removal.error);
    loop_timer_free(late);
    loop_free(loop);
    return error ? err_move(err, &error) : 0;
}

/* podman binds its storage folder onto itself, and a killed container may leave its layers mounted. */
static void unmount_below(const char *folder)
{
    auto_free char *text = NULL, *prefix = mem_printf("%s/", folder);
    if (file_read("/proc/self/mounts", 4 << 20, &text, NULL, NULL) < 0)
        return;
    size_t count = 0;
    auto_free char **lines = str_split(text, '\n', &count);
    while (count-- > 0) { /* later ones first: they may lie on earlier ones */
        char *target = strchr(lines[count], ' ');
        if (!target)
            continue;
        target++;
        target[strcspn(target, " ")] = 0;
        if (str_starts(target, prefix) && umount2(target, MNT_DETACH) < 0)
            log_warn("runtime", "unmount %s: %s", target, strerror(errno));
    }
}

/* Is this process a monitor or a podman of the given storage? Both carry its path in their command lines. */
static bool is_stray(const char *pid, const char *needle)
{
    auto_free char *path = mem_printf("/proc/%s/cmdline", pid), *text = NULL;
    size_t len = 0;
    if (strspn(pid, "0123456789") != strlen(pid) || file_read(path, 1 << 20, &text, &len, NULL) < 0)
        return false;
    const char *slash = strrchr(text, '/'), *name = slash ? slash + 1 : text;
    return (str_eq(name, "conmon") || str_eq(name, "podman")) && memmem(text, len, needle, strlen(needle));
}

/* A monitor outlives its container by the podman that it starts for the cleaning up, and that one would make
 * the storage's folders anew after they have been removed. */
static void await_strays(const struct runtime_podman_options *options)
{
    auto_free char *needle = mem_printf("%s/graph", options->storage);
    for (int round = 0; round < STRAY_ROUNDS; round++) {
        size_t count = 0;
        auto_free char **pids = file_list("/proc", &count, NULL);
        bool found = false;
        for (size_t i = 0; pids && i < count; i++) {
            auto_fd pidfd = is_stray(pids[i], needle) ? (int)syscall(SYS_pidfd_open, atoi(pids[i]), 0) : -1;
            if (pidfd < 0 || !is_stray(pids[i], needle)) /* looked twice: the number is not another's */
                continue;
            found = true;
            struct pollfd end = {.fd = pidfd, .events = POLLIN};
            if (poll(&end, 1, STRAY_WAIT_MS) == 0) {
                syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
                poll(&end, 1, STRAY_WAIT_MS);
            }
        }
        if (!found)
            return;
    }
}

int runtime_podman_shutdown(const struct runtime_podman_options *options, bool remove_containers,
                            struct err **err)
{
    auto_free char *pid_file = podman_pid_path(options), *cgroup = podman_cgroup_root(options);
    if (!remove_containers)
        return helper_terminate(pid_file, SERVICE_GRACE_MS, err);
    auto_err problem = NULL;
    if (file_exists(options->directory) && remove_all(options, &problem) < 0)
        log_info("runtime", "%s; its processes are killed instead", err_message(problem));
    if (helper_terminate(pid_file, SERVICE_GRACE_MS, err) < 0)
        return -1;
    podman_cgroup_kill_tree(cgroup);
    await_strays(options);
    podman_cgroup_remove_tree(cgroup);
    auto_free char *of_cluster = mem_printf("/minik8s/%s", options->cluster);
    podman_cgroup_remove(of_cluster); /* when this was its last node */
    podman_cgroup_remove("/minik8s");
    unmount_below(options->storage);
    return 0;
}

/* ---- load ---- */

static int send_file(const struct runtime_podman_options *options, const char *path, struct err **err)
{
    auto_free char *data = NULL, *socket = podman_socket_path(options);
    size_t len = 0;
    if (file_read(path, MAX_ARCHIVE, &data, &len, err) < 0)
        return -1;
    struct http_client_options client = {.base_url = "http://d", .unix_path = socket};
    struct http_call call = {.method = "POST",
                             .target = PODMAN_API "/images/load",
                             .content_type = "application/x-tar",
                             .body = data,
                             .body_len = len,
                             .timeout_ms = LOAD_TIMEOUT_MS};
    struct http_response *response = http_client_call_blocking(&client, &call, err);
    if (!response)
        return err_wrap(err, "load %s", path);
    int result = response->status == 200 ? 0 : podman_reply_error(response, "load", err);
    http_response_free(response);
    return result < 0 ? err_wrap(err, "%s", path) : 0;
}

/* A file, or each ".tar" and ".tar.gz" of a folder. */
static int send_archives(const struct runtime_podman_options *options, const char *path, struct err **err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(err, errno, "load %s", path);
    if (!S_ISDIR(st.st_mode))
        return send_file(options, path, err);
    size_t count = 0;
    auto_free char **names = file_list(path, &count, err);
    for (size_t i = 0; names && i < count; i++) {
        auto_free char *file = file_join(path, names[i]);
        bool archive = str_ends(names[i], ".tar") || str_ends(names[i], ".tar.gz");
        if (archive && names[i][0] != '.' && send_file(options, file, err) < 0)
            return -1;
    }
    return names ? 0 : -1;
}

/* A folder that several nodes read is filled by a service of its own, which lives for this one load. */
static int load_shared(const struct runtime_podman_options *options, const char *path, struct err **err)
{
    auto_free char *directory = file_join(options->shared_images, "service");
    struct runtime_podman_options own = *options;
    own.directory = directory;
    own.storage = options->shared_images;
    own.shared_images = NULL;
    own.node = "images";
    own.loop = loop_new(err);
    if (!own.loop)
        return -1;
    struct runtime *runtime = runtime_podman_new(&own, err);
    int result = runtime ? podman_wait_up(runtime, err) : -1;
    if (result == 0)
        result = send_archives(&own, path, err);
    if (runtime)
        runtime->ops->free(runtime);
    loop_free(own.loop);
    auto_free char *pid_file = podman_pid_path(&own);
    if (helper_terminate(pid_file, SERVICE_GRACE_MS, result == 0 ? err : NULL) < 0)
        result = -1;
    await_strays(&own);
    unmount_below(own.storage);
    return result;
}

int runtime_podman_load(const struct runtime_podman_options *options, const char *path, struct err **err)
{
    return options->shared_images ? load_shared(options, path, err) : send_archives(options, path, err);
}
