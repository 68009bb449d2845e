/*
 * pod_volumes: the directories and files that containers of a pod mount. What they hold is decided on the
 * loop (a list of entries), written by a job on the pool.
 *
 * Files of configMap, secret, downwardAPI and projected volumes are changed as Kubernetes does it: a new
 * directory named by the hash of its content, then the link ..data is renamed over the old one, so that a
 * reader sees all old or all new files. Secrets and emptyDir of medium Memory lie on a tmpfs. Invariant:
 * making again changes nothing that is already right.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/quantity.h"
#include "node/node_internal.h"

#define TMPFS_MAGIC_NUMBER 0x01021994
#define VOLUMES_RETRY_MS 1000

enum entry_type { ENTRY_EMPTY, ENTRY_HOST, ENTRY_FILES, ENTRY_CLAIM };
struct entry {
    enum entry_type type;
    char *name, *path;
    char *host_type; /* of hostPath */
    cJSON *files;    /* of ENTRY_FILES */
    bool partial;    /* these are not all: what is there already is better */
    bool memory;
    bool owned; /* of ENTRY_CLAIM: a folder of this node, fsGroup applies */
    int64_t limit;
};

struct volumes_job {
    struct node_job job;
    struct pod_call *call;
    char *directory, *logs, *hosts, *resolv, *hostname;
    struct entry *entries;
    size_t n_entries;
    int64_t group;    /* fsGroup; -1: none */
    bool on_mismatch; /* fsGroupChangePolicy OnRootMismatch */
    bool remove;
    int result;
};

/* ---- on the pool */

static int ensure_tmpfs(const char *path, int64_t limit, struct err **err)
{
    struct statfs fs;
    if (statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC_NUMBER && !limit)
        return 0; /* in memory already */
    struct stat own, parent;
    auto_free char *above = mem_printf("%s/..", path);
    if (stat(path, &own) == 0 && stat(above, &parent) == 0 && own.st_dev != parent.st_dev)
        return 0; /* mounted by an earlier run */
    auto_free char *options =
        limit > 0 ? mem_printf("mode=0777,size=%lld", (long long)limit) : mem_strdup("mode=0777");
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return err_errno(err, errno, "mount a file system in memory at %s", path);
    return 0;
}

/* Another pod may make it at the same time, and write to it. */
static int make_host_file(const char *path, struct err **err)
{
    auto_fd fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    return fd >= 0 ? 0 : err_errno(err, errno, "make %s", path);
}

static int make_host(const struct entry *entry, struct err **err)
{
    struct stat st;
    const char *type = entry->host_type;
    bool exists = stat(entry->path, &st) == 0;
    if (str_empty(type))
        return exists ? 0 : file_make_dirs(entry->path, 0755, err);
    if (!exists && str_eq(type, "DirectoryOrCreate"))
        return file_make_dirs(entry->path, 0755, err);
    if (!exists && str_eq(type, "FileOrCreate"))
        return make_host_file(entry->path, err);
    mode_t kind = exists ? st.st_mode & S_IFMT : 0;
    bool right = str_starts(type, "Directory") ? kind == S_IFDIR
                 : str_starts(type, "File")    ? kind == S_IFREG
                 : str_eq(type, "Socket")      ? kind == S_IFSOCK
                 : str_eq(type, "CharDevice")  ? kind == S_IFCHR
                 : str_eq(type, "BlockDevice") ? kind == S_IFBLK
                                               : false;
    if (right)
        return 0;
    return err_set(err, ERR_INVALID, "hostPath type check failed: %s is not a %s", entry->path, type);
}

static int write_files(const char *directory, const cJSON *files, int64_t group, struct err **err)
{
    json_each (file, files) {
        auto_free char *path = mem_printf("%s/%s", directory, file->string), *parent = mem_strdup(path);
        *strrchr(parent, '/') = 0;
        const char *text = json_string_or(file, "data", "");
        auto_free unsigned char *data = NULL;
        size_t len = 0;
        if (str_unbase64(text, strlen(text), &data, &len) < 0)
            return err_set(err, ERR_INVALID, "the data of %s is not base64", file->string);
        mode_t mode = (mode_t)json_int(file, "mode", 0644);
        if (group >= 0)
            mode |= 0040;
        if (file_make_dirs(parent, 0755, err) < 0 || file_write_atomic(path, data, len, mode, err) < 0)
            return -1;
        if (chmod(path, mode) < 0 || (group >= 0 && chown(path, (uid_t)-1, (gid_t)group) < 0))
            return err_errno(err, errno, "set the mode of %s", path);
    }
    return 0;
}

/* First parts of the paths are links through ..data; links that nothing stands behind any more go. */
static int link_files(const char *path, const cJSON *files, struct err **err)
{
    json_each (file, files) {
        auto_free char *first = mem_strndup(file->string, strcspn(file->string, "/"));
        auto_free char *link = mem_printf("%s/%s", path, first), *target = mem_printf("..data/%s", first);
        if (symlink(target, link) < 0 && errno != EEXIST)
            return err_errno(err, errno, "link %s", link);
    }
    size_t count;
    auto_free char **names = file_list(path, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (str_starts(names[i], ".."))
            continue;
        auto_free char *link = mem_printf("%s/%s", path, names[i]);
        struct stat st;
        if (stat(link, &st) < 0 && errno == ENOENT)
            unlink(link);
    }
    return 0;
}

static void remove_versions(const char *path, const char *keep)
{
    size_t count;
    auto_free char **names = file_list(path, &count, NULL);
    for (size_t i = 0; names && i < count; i++) {
        if (!str_starts(names[i], "..v") || str_eq(names[i], keep))
            continue;
        auto_free char *old = mem_printf("%s/%s", path, names[i]);
        auto_err err = NULL;
        if (file_remove_tree(old, &err) < 0)
            log_warn("node", "remove %s: %s", old, err_message(err));
    }
}

static int make_files(const struct entry *entry, int64_t group, struct err **err)
{
    auto_free char *text = json_print(entry->files);
    auto_free char *version = mem_printf("..v%016llx", str_hash(text, strlen(text)));
    auto_free char *directory = mem_printf("%s/%s", entry->path, version),
                   *data = mem_printf("%s/..data", entry->path);
    auto_free char *next = mem_printf("%s/..data_next", entry->path);
    char present[64] = "";
    bool there = readlink(data, present, sizeof(present) - 1) > 0;
    if (there && (entry->partial || str_eq(present, version))) { /* what follows may not have been reached */
        remove_versions(entry->path, present);
        return link_files(entry->path, entry->files, err);
    }
    if (file_remove_tree(directory, err) < 0 || file_make_dirs(directory, 0755, err) < 0 ||
        write_files(directory, entry->files, group, err) < 0)
        return -1;
    unlink(next);
    if (symlink(version, next) < 0 || rename(next, data) < 0)
        return err_errno(err, errno, "switch %s", data);
    remove_versions(entry->path, version);
    return link_files(entry->path, entry->files, err);
}

/* fsGroup on what is there already, the root last: whoever finds that right finds all right. */
static int give_to_group(const char *path, gid_t group, bool on_mismatch, struct err **err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(err, errno, "look at %s", path);
    if (on_mismatch && st.st_gid == group && (st.st_mode & 02070) == 02070)
        return 0;
    return file_give_to_group(path, group, err);
}

static int make_claim(const struct entry *entry, int64_t group, bool on_mismatch, struct err **err)
{
    if (entry->host_type) { /* a local volume */
        bool fresh = !file_exists(entry->path);
        if (make_host(entry, err) < 0)
            return -1;
        if (fresh && chmod(entry->path, 0777) < 0)
            return err_errno(err, errno, "set the mode of %s", entry->path);
    }
    return entry->owned && group >= 0 ? give_to_group(entry->path, (gid_t)group, on_mismatch, err) : 0;
}

static int make_entry(const struct entry *entry, int64_t group, bool on_mismatch, struct err **err)
{
    if (entry->type == ENTRY_HOST)
        return make_host(entry, err);
    if (entry->type == ENTRY_CLAIM)
        return make_claim(entry, group, on_mismatch, err);
    if (file_make_dirs(entry->path, entry->type == ENTRY_EMPTY ? 0777 : 0755, err) < 0)
        return -1;
    if (entry->memory && ensure_tmpfs(entry->path, entry->limit, err) < 0)
        return -1;
    if (entry->type == ENTRY_FILES && chmod(entry->path, 0755) < 0)
        return err_errno(err, errno, "set the mode of %s", entry->path);
    if (entry->type == ENTRY_FILES)
        return make_files(entry, group, err);
    if (chmod(entry->path, group >= 0 ? 02777 : 0777) < 0 ||
        (group >= 0 && chown(entry->path, (uid_t)-1, (gid_t)group) < 0))
        return err_errno(err, errno, "set the mode of %s", entry->path);
    return 0;
}

/* In place: the file is mounted into containers, a new inode would not reach them. */
static int write_in_place(const char *path, const char *text, struct err **err)
{
    auto_free char *present = NULL;
    if (file_read(path, 1 << 20, &present, NULL, NULL) == 0 && str_eq(present, text))
        return 0;
    if (!present)
        return file_write_atomic(path, text, strlen(text), 0644, err);
    FILE *file = fopen(path, "we");
    if (!file)
        return err_errno(err, errno, "write %s", path);
    bool failed = fputs(text, file) < 0;
    failed |= fclose(file) != 0;
    return failed ? err_errno(err, errno, "write %s", path) : 0;
}

static int make_all(struct volumes_job *job, struct err **err)
{
    auto_free char *etc = mem_printf("%s/etc", job->directory);
    if (file_make_dirs(etc, 0755, err) < 0 || pod_sub_paths_clear_left(job->directory, err) < 0)
        return -1;
    const struct {
        const char *name, *text;
    } own[] = {{"hosts", job->hosts}, {"resolv.conf", job->resolv}, {"hostname", job->hostname}};
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        auto_free char *path = mem_printf("%s/%s", etc, own[i].name);
        if (write_in_place(path, own[i].text, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < job->n_entries; i++)
        if (make_entry(&job->entries[i], job->group, job->on_mismatch, err) < 0)
            return err_wrap(err, "volume \"%s\"", job->entries[i].name);
    return 0;
}

static int remove_all(struct volumes_job *job, struct err **err)
{
    auto_free char *volumes = mem_printf("%s/v", job->directory);
    if (pod_sub_paths_unmount_all(job->directory, err) < 0)
        return -1;
    size_t count = 0;
    auto_free char **names = file_exists(volumes) ? file_list(volumes, &count, err) : NULL;
    for (size_t i = 0; i < count; i++) {
        auto_free char *path = mem_printf("%s/%s", volumes, names[i]);
        while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
            ;
    }
    if (file_remove_tree(job->directory, err) < 0)
        return -1;
    return file_remove_tree(job->logs, err);
}

static void volumes_work(struct node_job *base)
{
    struct volumes_job *job = CONTAINER_OF(base, struct volumes_job, job);
    job->result = job->remove ? remove_all(job, &base->err) : make_all(job, &base->err);
}

/* ---- on the loop ---- */

static void job_free(struct volumes_job *job)
{
    for (size_t i = 0; i < job->n_entries; i++) {
        free(job->entries[i].name);
        free(job->entries[i].path);
        free(job->entries[i].host_type);
        cJSON_Delete(job->entries[i].files);
    }
    free(job->entries);
    free(job->directory);
    free(job->logs);
    free(job->hosts);
    free(job->resolv);
    free(job->hostname);
    free(job);
}

/* A refresh of volumes that are in use is owed as much as their making. */
static void try_again(struct pod *pod)
{
    pod->volumes_retry_at = node_now(pod->node) + VOLUMES_RETRY_MS;
    pod->volumes_stale = pod->volumes_made;
}

void pod_volumes_failed(struct pod *pod, const struct err *err)
{
    try_again(pod);
    if (!str_eq(pod->volumes_problem, err_message(err)))
        pod_event(pod, NULL, "Warning", "FailedMount", "MountVolume.SetUp failed: %s", err_message(err));
    free(pod->volumes_problem);
    pod->volumes_problem = mem_strdup(err_message(err));
}

static void volumes_done(struct node_job *base, bool closed)
{
    struct volumes_job *job = CONTAINER_OF(base, struct volumes_job, job);
    struct pod *pod = pod_call_end(job->call);
    if (pod && !closed) {
        pod->volumes_busy = false;
        if (job->result < 0) {
            pod_volumes_failed(pod, base->err);
        } else if (job->remove) {
            pod->volumes_left = pod->volumes_made = false;
            node_mounts_sweep(pod->node); /* a pod that an agent found ending never began its mounts */
        } else {
            pod->volumes_made = true;
            pod_usage_measure(pod);
            free(steal(&pod->volumes_problem));
        }
        pod_look(pod);
    }
    job_free(job);
}

static struct volumes_job *job_new(struct pod *pod, enum plan_action_type type)
{
    struct volumes_job *job = NEW(struct volumes_job);
    job->job.work = volumes_work;
    job->job.done = volumes_done;
    job->directory = pod_directory(pod);
    job->logs = pod_log_path(pod, NULL, 0);
    job->call = pod_call_new(pod, type, 0);
    job->remove = type == PLAN_VOLUMES_REMOVE;
    pod->volumes_busy = true;
    return job;
}

static struct entry *push_entry(struct volumes_job *job, const struct entry *entry)
{
    job->entries = mem_resize(job->entries, job->n_entries + 1, sizeof(*job->entries));
    job->entries[job->n_entries] = *entry;
    return &job->entries[job->n_entries++];
}

/* 1: added. 0: not there yet. */
static int add_claim(struct volumes_job *job, struct pod *pod, const cJSON *volume, struct err **err)
{
    const cJSON *persistent = NULL;
    int ready = node_volume_ready(pod, volume, &persistent, err);
    if (ready < 1)
        return ready;
    const cJSON *spec = json_get(persistent, "spec"), *host = json_get(spec, "hostPath");
    bool made = json_at(persistent, "metadata.annotations['pv.kubernetes.io/provisioned-by']") != NULL;
    struct entry *entry =
        push_entry(job, &(struct entry){.type = ENTRY_CLAIM,
                                        .name = mem_strdup(json_string_or(volume, "name", "")),
                                        .path = node_volume_path(pod->node, persistent)});
    entry->owned = json_get(spec, "local") != NULL;
    if (host)
        entry->host_type = mem_strdup(json_string_or(host, "type", ""));
    else if (entry->owned)
        entry->host_type = mem_strdup(made ? "DirectoryOrCreate" : "Directory");
    return 1;
}

static int add_entry(struct volumes_job *job, const struct pod *pod, const cJSON *volume, struct err **err)
{
    const char *name = json_string_or(volume, "name", "");
    const cJSON *host = json_get(volume, "hostPath"), *empty = json_get(volume, "emptyDir");
    struct entry entry = {.type = host    ? ENTRY_HOST
                                  : empty ? ENTRY_EMPTY
                                          : ENTRY_FILES,
                          .name = mem_strdup(name)};
    if (host) {
        entry.path = mem_strdup(json_string_or(host, "path", "/"));
        entry.host_type = mem_strdup(json_string_or(host, "type", ""));
    } else {
        entry.path = mem_printf("%s/v/%s", job->directory, name);
    }
    if (entry.type == ENTRY_EMPTY) {
        const char *limit = json_string(empty, "sizeLimit");
        entry.memory = str_eq(json_string(empty, "medium"), "Memory");
        if (limit)
            quantity_value(limit, &entry.limit, NULL); /* validated by the API */
    } else if (entry.type == ENTRY_FILES) {
        bool secret = json_get(volume, "secret") != NULL;
        json_each (source, json_at(volume, "projected.sources")) {
            bool token = json_get(source, "serviceAccountToken") != NULL;
            secret |= token || json_get(source, "secret");
            entry.partial |= token && !pod_token(pod, source);
        }
        entry.memory = secret;
        entry.files = pod_volume_files(pod, volume, err);
    }
    push_entry(job, &entry);
    if (entry.type == ENTRY_FILES && !entry.files)
        return err_wrap(err, "volume \"%s\"", name);
    return 1;
}

void pod_volumes_make(struct pod *pod)
{
    auto_err err = NULL;
    pod->volumes_stale = false;
    if (!pod_host_network(pod) && !pod->address.s_addr) {
        try_again(pod); /* /etc/hosts names it; the sandbox gets it */
        pod_look(pod);
        return;
    }
    bool tokens = pod_tokens_ready(pod);
    if (!tokens && pod_tokens_out_of_reach(pod)) {
        log_warn("node", "pod %s/%s: begins without what only the server has: %s", pod->namespace, pod->name,
                 pod->token_problem);
    } else if (!tokens) {
        try_again(pod); /* the answer brings it forward */
        if (pod->token_problem) {
            err_set(&err, ERR_UNAVAILABLE, "%s", pod->token_problem);
            pod_volumes_failed(pod, err);
        }
        pod_look(pod);
        return;
    }
    pod->volumes_left = true;
    struct volumes_job *job = job_new(pod, PLAN_VOLUMES_MAKE);
    job->hosts = pod_file_hosts(pod);
    job->resolv = pod_file_resolv(pod);
    job->hostname = mem_printf("%s\n", pod_hostname(pod));
    job->group = json_int(pod->object, "spec.securityContext.fsGroup", -1);
    job->on_mismatch =
        str_eq(json_string(pod->object, "spec.securityContext.fsGroupChangePolicy"), "OnRootMismatch");
    json_each (volume, json_at(pod->object, "spec.volumes")) {
        bool claimed = json_get(volume, "persistentVolumeClaim") || json_get(volume, "ephemeral");
        int added = claimed ? add_claim(job, pod, volume, &err) : add_entry(job, pod, volume, &err);
        if (added == 1)
            continue;
        pod->volumes_busy = false;
        if (added < 0)
            pod_volumes_failed(pod, err);
        else
            pod->volumes_stale = pod->volumes_made;
        pod_call_end(job->call);
        job_free(job);
        pod_look(pod);
        return;
    }
    node_lane_run(pod->files, &job->job);
}

void pod_volumes_remove(struct pod *pod)
{
    struct volumes_job *job = job_new(pod, PLAN_VOLUMES_REMOVE);
    node_lane_run(pod->files, &job->job);
}
