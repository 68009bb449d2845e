/*
 * node_mounts: network volumes of this node, one mount for each volume however many pods use it: sshfs as a
 * helper that outlives the agent, nfs by mount(2). A mount is begun when a pod (or the removal of a volume's
 * folder) wants it, and ended when nobody does any more; an agent that comes ends those that nobody wants.
 *
 * DIRECTORY/mounts/VOLUME holds data (the mount point), secret (a tmpfs with key and known_hosts), log and
 * pid. Invariants: nothing is removed recursively here, so whatever is still mounted keeps its files; the key
 * never leaves the tmpfs and is on no command line; what may block on a server runs on a lane of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

#define RETRY_MS 5000
#define TERMINATE_MS 3000
#define MAX_LOG_TAIL 4096
#define SECRET_SIZE "mode=0700,size=256k"

struct mount_job {
    struct node_job job;
    struct node_mount *mount;
    enum mount_work { WORK_PREPARE, WORK_SETTLE, WORK_RELEASE } work;
    char *directory, *key, *known_hosts, *folder; /* key NULL: what is there is good */
    char *server, *source, *options;              /* of nfs */
    bool read_only;
    int result;
};

static char *in_mount(const struct node_mount *mount, const char *name)
{
    return mem_printf("%s/%s", mount->directory, name);
}

static const char *attribute(const struct node_mount *mount, const char *name, const char *fallback)
{
    return json_string_or(json_at(mount->spec, "csi.volumeAttributes"), name, fallback);
}

/* ---- on the pool */

static int make_secret(const struct mount_job *job, struct err **err)
{
    auto_free char *secret = mem_printf("%s/secret", job->directory);
    auto_free char *key = mem_printf("%s/key", secret), *hosts = mem_printf("%s/known_hosts", secret);
    if (file_make_dirs(secret, 0700, err) < 0)
        return -1;
    if (!file_is_mounted(secret) &&
        mount("tmpfs", secret, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, SECRET_SIZE) < 0)
        return err_errno(err, errno, "mount a file system in memory at %s", secret);
    if (file_write_atomic(key, job->key, strlen(job->key), 0600, err) < 0)
        return -1;
    return file_write_atomic(hosts, job->known_hosts, strlen(job->known_hosts), 0600, err);
}

/* What a dead process left there answers every look with "not connected". */
static void unmount_all(const char *path)
{
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        ;
}

static int mount_nfs(const struct mount_job *job, const char *data, struct err **err)
{
    struct addrinfo *found = NULL, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    char address[NI_MAXHOST];
    if (file_is_mounted(data))
        return 0;
    int rc = getaddrinfo(job->server, NULL, &hints, &found);
    if (rc == 0)
        rc =
            getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof(address), NULL, 0, NI_NUMERICHOST);
    if (found)
        freeaddrinfo(found);
    if (rc)
        return err_set(err, ERR_UNAVAILABLE, "the name of the nfs server \"%.253s\": %s", job->server,
                       gai_strerror(rc));
    auto_free char *options = mem_printf("vers=4.2,addr=%s,clientaddr=0.0.0.0%s%s", address,
                                         *job->options ? "," : "", job->options);
    if (mount(job->source, data, "nfs4", job->read_only ? MS_RDONLY : 0, options) == 0)
        return 0;
    if (errno == ENODEV)
        return err_set(err, ERR_NOT_FOUND, "the kernel of this node has no nfs");
    return err_errno(err, errno, "mount nfs %.512s", job->source);
}

static int prepare(const struct mount_job *job, struct err **err)
{
    auto_free char *data = mem_printf("%s/data", job->directory);
    if (file_make_dirs(job->directory, 0700, err) < 0)
        return -1;
    if (job->key)
        unmount_all(data);
    if (mkdir(data, 0755) < 0 && errno != EEXIST)
        return err_errno(err, errno, "make %s", data);
    if (job->server)
        return mount_nfs(job, data, err);
    return job->key ? make_secret(job, err) : 0;
}

/* A provisioned volume is a folder of its own in what the server lends. */
static int settle(const struct mount_job *job, struct err **err)
{
    if (!job->folder)
        return 0;
    auto_free char *path = mem_printf("%s/data/%s", job->directory, job->folder);
    if (mkdir(path, 0777) == 0)
        return chmod(path, 0777) < 0 ? err_errno(err, errno, "set the mode of %s", path) : 0;
    return errno == EEXIST ? 0 : err_errno(err, errno, "make the folder of the volume, %s", job->folder);
}

static int release(const struct mount_job *job, struct err **err)
{
    static const char *const files[] = {"log", "pid"}, *const folders[] = {"data", "secret", ""};
    auto_free char *data = mem_printf("%s/data", job->directory),
                   *secret = mem_printf("%s/secret", job->directory);
    auto_free char *pid = mem_printf("%s/pid", job->directory);
    unmount_all(data);
    if (helper_terminate(pid, TERMINATE_MS, err) < 0)
        return -1;
    unmount_all(data);
    unmount_all(secret);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        auto_free char *path = mem_printf("%s/%s", job->directory, files[i]);
        if (unlink(path) < 0 && errno != ENOENT)
            return err_errno(err, errno, "remove %s", path);
    }
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        auto_free char *path = mem_printf("%s/%s", job->directory, folders[i]);
        if (rmdir(path) < 0 && errno != ENOENT)
            return err_errno(err, errno, "remove %s", path);
    }
    return 0;
}

static void mount_work(struct node_job *base)
{
    struct mount_job *job = CONTAINER_OF(base, struct mount_job, job);
    job->result = job->work == WORK_PREPARE  ? prepare(job, &base->err)
                  : job->work == WORK_SETTLE ? settle(job, &base->err)
                                             : release(job, &base->err);
}

/* ---- on the loop ---- */

static void start_helper(struct node_mount *mount);
static void begin(struct node_mount *mount);

static void job_free(struct mount_job *job)
{
    if (job->key)
        explicit_bzero(job->key, strlen(job->key));
    free(job->key);
    free(job->directory);
    free(job->known_hosts);
    free(job->folder);
    free(job->server);
    free(job->source);
    free(job->options);
    free(job);
}

static void mount_free(void *value)
{
    struct node_mount *mount = value;
    helper_free(mount->helper);
    loop_timer_free(mount->timer);
    cJSON_Delete(mount->spec);
    free(mount->problem);
    free(mount->directory);
    free(mount->name);
    free(mount);
}

static bool wanted(const struct node_mount *mount)
{
    auto_free char *key = mem_printf("persistentvolumes/%s", mount->name);
    if (mount->remove)
        return true;
    map_each (entry, &mount->node->pods) {
        const struct pod *pod = entry->value;
        if (pod->volumes_left && json_get(pod->references, key))
            return true;
    }
    return false;
}

/* Those that wait for it hear how it went; err NULL: well. */
static void tell(struct node_mount *mount, const struct err *err, const char *reason)
{
    auto_free char *key = mem_printf("persistentvolumes/%s", mount->name);
    free(mount->problem);
    mount->problem = err ? mem_strdup(err_message(err)) : NULL;
    map_each (entry, &mount->node->pods) {
        struct pod *pod = entry->value;
        if (!pod->object || !json_get(pod->references, key))
            continue;
        node_volumes_condition(pod, mount->name, err, reason);
        if (pod->volumes_made && !pod->volumes_stale)
            continue;
        if (err)
            pod_volumes_failed(pod, err);
        else
            pod->volumes_retry_at = 0;
        pod_look(pod);
    }
    if (mount->remove)
        node_volumes_mounted(mount, err);
}

static void failed(struct node_mount *mount, const struct err *err, const char *reason)
{
    log_warn("node", "volume %s: %s", mount->name, err_message(err));
    mount->state = MOUNT_WAITING;
    loop_timer_start(mount->timer, RETRY_MS);
    tell(mount, err, reason);
}

static void on_timer(void *arg)
{
    struct node_mount *mount = arg;
    if (!wanted(mount))
        node_mount_release(mount);
    else if (mount->state == MOUNT_WAITING)
        begin(mount);
}

static void run(struct node_mount *mount, struct mount_job *job);

static struct mount_job *job_new(struct node_mount *mount, enum mount_work work)
{
    struct mount_job *job = NEW(struct mount_job);
    job->mount = mount;
    job->work = work;
    job->directory = mem_strdup(mount->directory);
    return job;
}

static void mount_done(struct node_job *base, bool closed)
{
    struct mount_job *job = CONTAINER_OF(base, struct mount_job, job);
    struct node_mount *mount = job->mount;
    enum mount_work work = job->work;
    bool bad = job->result < 0, nfs = job->server != NULL;
    const struct err *err = base->err; /* outlives the job */
    job_free(job);
    if (closed)
        return;
    mount->busy = false;
    if (work == WORK_RELEASE && !bad) {
        if (mount->spec && wanted(mount))
            begin(mount);
        else
            map_remove(&mount->node->mounts, mount->name);
    } else if (bad) {
        failed(mount, err, err_code(err) == ERR_NOT_FOUND ? "NoNfsInKernel" : "MountFailed");
    } else if (!wanted(mount)) {
        node_mount_release(mount);
    } else if (work == WORK_SETTLE || nfs) {
        mount->state = MOUNT_READY;
        tell(mount, NULL, "Mounted");
    } else {
        start_helper(mount);
    }
}

static void run(struct node_mount *mount, struct mount_job *job)
{
    mount->busy = true;
    job->job.work = mount_work;
    job->job.done = mount_done;
    node_lane_run(mount->node->mount_lane, &job->job);
}

void node_mount_release(struct node_mount *mount)
{
    if (mount->busy || mount->asking)
        return; /* its end looks whether it is wanted */
    helper_free(steal(&mount->helper));
    loop_timer_stop(mount->timer);
    mount->state = MOUNT_RELEASING;
    run(mount, job_new(mount, WORK_RELEASE));
}

/* ---- sshfs ---- */

static void check_mounted(struct node_mount *mount)
{
    auto_free char *data = in_mount(mount, "data");
    if (mount->state != MOUNT_STARTING || mount->busy || !file_is_mounted(data))
        return;
    struct mount_job *job = job_new(mount, WORK_SETTLE);
    const char *folder = attribute(mount, "folder", NULL);
    job->folder = mem_strdup(folder);
    run(mount, job);
}

static void on_mountinfo(void *arg, unsigned events UNUSED)
{
    struct node *node = arg;
    map_each (entry, &node->mounts)
        check_mounted(entry->value);
}

/* The kernel tells when mounts change. */
static int watch_mounts(struct node *node, struct err **err)
{
    if (node->mount_watch)
        return 0;
    node->mount_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (node->mount_fd < 0)
        return err_errno(err, errno, "watch the mounts");
    node->mount_watch = loop_fd_add(node->loop, node->mount_fd, EPOLLPRI, on_mountinfo, node, err);
    return node->mount_watch ? 0 : -1;
}

static char *last_words(const struct node_mount *mount)
{
    auto_free char *path = in_mount(mount, "log"), *text = NULL;
    if (file_read(path, 1 << 20, &text, NULL, NULL) < 0)
        return mem_strdup("sshfs ended");
    size_t len = strlen(text);
    char *from = len > MAX_LOG_TAIL ? text + len - MAX_LOG_TAIL : text;
    for (char *end = from + strlen(from); end > from && end[-1] == '\n'; end--)
        end[-1] = 0;
    char *line = strrchr(from, '\n');
    line = line ? line + 1 : from;
    return mem_strdup(*line ? line : "sshfs ended");
}

static void on_helper_start(void *arg, pid_t pid, bool adopted)
{
    struct node_mount *mount = arg;
    log_info("node", "sshfs of volume %s %s, pid %d", mount->name, adopted ? "adopted" : "started", (int)pid);
}

/* The helper starts it again; what is mounted of the dead one must not be in its way. */
static void on_helper_exit(void *arg)
{
    struct node_mount *mount = arg;
    auto_free char *data = in_mount(mount, "data"), *words = last_words(mount);
    auto_err err = NULL;
    unmount_all(data);
    mount->state = MOUNT_STARTING;
    err_set(&err, ERR_UNAVAILABLE, "sshfs %s@%s:%s: %s", attribute(mount, "user", "root"),
            attribute(mount, "host", ""), attribute(mount, "path", ""), words);
    if (!wanted(mount)) {
        loop_timer_start(mount->timer, 0); /* not here: the helper is in our call */
        return;
    }
    log_warn("node", "volume %s: %s", mount->name, err_message(err));
    tell(mount, err, "MountFailed");
}

static char *ssh_options(const struct node_mount *mount)
{
    struct str text = {0};
    str_addf(
        &text,
        "IdentityFile=%s/secret/key,UserKnownHostsFile=%s/secret/known_hosts,GlobalKnownHostsFile=/dev/null,"
        "IdentitiesOnly=yes,BatchMode=yes,PasswordAuthentication=no,StrictHostKeyChecking=yes,"
        "ConnectTimeout=10,ServerAliveInterval=5,ServerAliveCountMax=3,reconnect,allow_other,port=%s",
        mount->directory, mount->directory, attribute(mount, "port", "22"));
    if (json_bool(mount->spec, "csi.readOnly", false))
        str_add(&text, ",ro");
    return str_take(&text);
}

static void start_helper(struct node_mount *mount)
{
    auto_err err = NULL;
    auto_free char *source = mem_printf("%s@%s:%s", attribute(mount, "user", "root"),
                                        attribute(mount, "host", ""), attribute(mount, "path", "/"));
    auto_free char *data = in_mount(mount, "data"), *pid = in_mount(mount, "pid"),
                   *log = in_mount(mount, "log");
    auto_free char *ssh = ssh_options(mount);
    /* uses: sshfs */
    const char *const argv[] = {"sshfs", "-f", "-F", "/dev/null", "-o", ssh, source, data, NULL};
    const struct helper_options options = {.name = "sshfs",
                                           .argv = argv,
                                           .pid_file = pid,
                                           .log_path = log,
                                           .loop = mount->node->loop,
                                           .on_start = on_helper_start,
                                           .on_exit = on_helper_exit,
                                           .arg = mount};
    mount->state = MOUNT_STARTING;
    helper_free(steal(&mount->helper));
    if (watch_mounts(mount->node, &err) == 0)
        mount->helper = helper_new(&options, &err);
    if (!mount->helper)
        failed(mount, err, "MountFailed");
    else
        check_mounted(mount);
}

static char *known_hosts_line(const struct node_mount *mount)
{
    const char *host = attribute(mount, "host", ""), *port = attribute(mount, "port", "22");
    const char *key = attribute(mount, "hostKey", "");
    return str_eq(port, "22") ? mem_printf("%s %s\n", host, key)
                              : mem_printf("[%s]:%s %s\n", host, port, key);
}

static void on_secret(void *arg, cJSON *secret, struct err *err)
{
    struct node_mount *mount = arg;
    auto_err own = NULL;
    auto_free unsigned char *key = NULL;
    size_t len = 0;
    mount->asking = false;
    if (mount->node->closing) {
        cJSON_Delete(secret);
        return;
    }
    const char *text = err ? NULL : json_string(json_get(secret, "data"), "ssh-privatekey");
    if (!err && (!text || str_unbase64(text, strlen(text), &key, &len) < 0))
        err_set(&own, ERR_INVALID, "the Secret of the volume has no ssh-privatekey");
    if (!wanted(mount)) {
        node_mount_release(mount);
    } else if (err || own) {
        failed(mount, err ? err : own, "NoKey");
    } else {
        struct mount_job *job = job_new(mount, WORK_PREPARE);
        job->key = mem_strndup((char *)key, len);
        job->known_hosts = known_hosts_line(mount);
        run(mount, job);
    }
    if (key)
        explicit_bzero(key, len);
    cJSON_Delete(secret);
}

static void begin_ssh(struct node_mount *mount)
{
    auto_free char *pid = in_mount(mount, "pid"), *data = in_mount(mount, "data");
    if (helper_running(pid) && file_is_mounted(data)) { /* of an earlier agent */
        run(mount, job_new(mount, WORK_PREPARE));
        return;
    }
    auto_free char *path =
        client_path("secrets", "v1", json_string(mount->spec, "csi.nodeStageSecretRef.namespace"),
                    json_string(mount->spec, "csi.nodeStageSecretRef.name"), NULL);
    mount->asking = true;
    client_request(mount->node->client, "GET", path, NULL, NULL, on_secret, mount);
}

/* ---- nfs */

static void begin_nfs(struct node_mount *mount)
{
    const cJSON *nfs = json_get(mount->spec, "nfs");
    struct mount_job *job = job_new(mount, WORK_PREPARE);
    struct str options = {0};
    json_each (option, json_get(mount->spec, "mountOptions"))
        str_addf(&options, "%s%s", options.len ? "," : "", option->valuestring);
    job->server = mem_strdup(json_string_or(nfs, "server", ""));
    job->source = mem_printf("%s:%s", job->server, json_string_or(nfs, "path", "/"));
    job->options = mem_strdup(str_c(&options));
    job->read_only = json_bool(nfs, "readOnly", false);
    str_free(&options);
    run(mount, job);
}

static void begin(struct node_mount *mount)
{
    mount->state = MOUNT_STARTING;
    if (json_get(mount->spec, "nfs"))
        begin_nfs(mount);
    else
        begin_ssh(mount);
}

struct node_mount *node_mount_get(struct node *node, const char *name, const cJSON *spec)
{
    struct node_mount *mount = map_get(&node->mounts, name);
    if (mount && !mount->spec && spec)
        mount->spec = json_copy(spec); /* it is being released: then it begins */
    if (!mount) {
        mount = NEW(struct node_mount);
        mount->node = node;
        mount->name = mem_strdup(name);
        mount->directory = mem_printf("%s/mounts/%s", node->options.directory, name);
        mount->spec = json_copy(spec);
        mount->timer = loop_timer_new(node->loop, on_timer, mount);
        map_set(&node->mounts, name, mount);
        if (spec)
            begin(mount);
    }
    return mount;
}

void node_mounts_sweep(struct node *node)
{
    auto_free char *path = mem_printf("%s/mounts", node->options.directory);
    size_t count = 0;
    if (!node->listed || !node->synced)
        return; /* which pods there are is not known */
    auto_free char **names = file_exists(path) ? file_list(path, &count, NULL) : NULL;
    for (size_t i = 0; i < count; i++) {
        if (map_get(&node->mounts, names[i]))
            continue;
        struct node_mount *mount = node_mount_get(node, names[i], NULL);
        if (wanted(mount))
            map_remove(&node->mounts, names[i]); /* its pod begins it, or ends: then this is asked again */
        else
            node_mount_release(mount);
    }
    node_mounts_unused(node);
}

void node_mounts_unused(struct node *node)
{
    map_each (entry, &node->mounts) {
        struct node_mount *mount = entry->value;
        if (mount->state != MOUNT_RELEASING && !wanted(mount))
            node_mount_release(mount);
    }
}

void node_mounts_init(struct node *node)
{
    map_init(&node->mounts, mount_free);
    node->mount_lane = node_lane_new(node->loop, node->options.pool);
}

void node_mounts_fini(struct node *node)
{
    loop_fd_remove(node->mount_watch);
    if (node->mount_watch)
        close(node->mount_fd);
    node_lane_close(node->mount_lane);
    map_fini(&node->mounts);
}
