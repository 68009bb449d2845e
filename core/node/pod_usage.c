/*
 * pod_usage: keeps emptyDir volumes on the disk within their sizeLimit. What they hold is added up on the
 * pool every few seconds, and only for pods that have such a limit: the file systems that nodes usually have
 * know no quota of a directory. A pod over its limit fails as Evicted; when nothing of it runs any more its
 * limited volumes are emptied. (Volumes in memory are limited by their file system.)
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/quantity.h"
#include "node/node_internal.h"

#define MEASURE_MS 3000
#define BLOCK_BYTES 512
#define DEPTH_MAX 256 /* a descriptor each; what is deeper counts as too much */

struct limited {
    char *name, *path, *text; /* text: the limit as it was written */
    int64_t limit, used;
};

struct usage_job {
    struct node_job job;
    struct pod_call *call;
    struct limited *volumes;
    size_t n_volumes;
    bool empty; /* instead of measuring */
};

/* ---- on the pool */

struct measurement {
    dev_t device;
    int64_t bytes;
    bool too_deep;
};

static void measure_directory(struct measurement *m, int fd, unsigned depth);

static void measure_entry(struct measurement *m, int parent, const char *name, unsigned depth)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != m->device)
        return; /* it has gone, or is mounted */
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        m->bytes += st.st_blocks * BLOCK_BYTES;
    if (!S_ISDIR(st.st_mode))
        return;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        measure_directory(m, fd, depth + 1);
}

/* Takes the descriptor. By descriptors, because a path reaches no further than PATH_MAX. */
static void measure_directory(struct measurement *m, int fd, unsigned depth)
{
    DIR *stream = depth > DEPTH_MAX ? NULL : fdopendir(fd);
    if (!stream) {
        m->too_deep |= depth > DEPTH_MAX;
        fd_cleanup(&fd);
        return;
    }
    for (struct dirent *entry; !m->too_deep && (entry = readdir(stream));)
        if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, ".."))
            measure_entry(m, dirfd(stream), entry->d_name, depth);
    closedir(stream);
}

/* Bytes that the files take on the disk; a file with several names counts once for each. INT64_MAX: nested
 * too deep to be measured. */
static int64_t measure(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        fd_cleanup(&fd);
        return 0;
    }
    struct measurement m = {.device = st.st_dev, .bytes = st.st_blocks * BLOCK_BYTES};
    measure_directory(&m, fd, 1);
    return m.too_deep ? INT64_MAX : m.bytes;
}

static void usage_work(struct node_job *base)
{
    struct usage_job *job = CONTAINER_OF(base, struct usage_job, job);
    for (size_t i = 0; i < job->n_volumes; i++) {
        struct limited *volume = &job->volumes[i];
        auto_err err = NULL;
        if (!job->empty)
            volume->used = measure(volume->path);
        else if (file_remove_tree(volume->path, &err) < 0)
            log_warn("node", "empty %s: %s", volume->path, err_message(err));
    }
}

/* ---- on the loop */

static void job_free(struct usage_job *job)
{
    for (size_t i = 0; i < job->n_volumes; i++) {
        free(job->volumes[i].name);
        free(job->volumes[i].path);
        free(job->volumes[i].text);
    }
    free(job->volumes);
    free(job);
}

static void judge(struct pod *pod, const struct usage_job *job)
{
    for (size_t i = 0; i < job->n_volumes; i++) {
        const struct limited *volume = &job->volumes[i];
        if (volume->used <= volume->limit)
            continue;
        auto_free char *message = mem_printf("Usage of EmptyDir volume \"%s\" exceeds the limit \"%s\".",
                                             volume->name, volume->text);
        pod_fail(pod, "Warning", "Evicted", message);
        return;
    }
    loop_timer_start(pod->usage, MEASURE_MS);
}

static void usage_done(struct node_job *base, bool closed)
{
    struct usage_job *job = CONTAINER_OF(base, struct usage_job, job);
    struct pod *pod = pod_call_end(job->call);
    if (pod && !closed && !job->empty && !pod->phase && !pod->end_reason)
        judge(pod, job);
    job_free(job);
}

static struct usage_job *job_new(struct pod *pod)
{
    struct usage_job *job = NEW(struct usage_job);
    auto_free char *directory = pod_directory(pod);
    json_each (volume, json_at(pod->object, "spec.volumes")) {
        const cJSON *empty = json_get(volume, "emptyDir");
        const char *text = json_string(empty, "sizeLimit"), *name = json_string_or(volume, "name", "");
        struct limited limited = {.name = NULL};
        if (!text || str_eq(json_string(empty, "medium"), "Memory") ||
            quantity_value(text, &limited.limit, NULL) < 0 || limited.limit <= 0)
            continue;
        limited.name = mem_strdup(name);
        limited.text = mem_strdup(text);
        limited.path = mem_printf("%s/v/%s", directory, name);
        job->volumes = mem_resize(job->volumes, job->n_volumes + 1, sizeof(*job->volumes));
        job->volumes[job->n_volumes++] = limited;
    }
    return job;
}

static void run(struct pod *pod, bool empty)
{
    struct usage_job *job = job_new(pod);
    if (!job->n_volumes) {
        job_free(job);
        return;
    }
    job->job.work = usage_work;
    job->job.done = usage_done;
    job->empty = empty;
    job->call = pod_call_new(pod, PLAN_VOLUMES_MAKE, 0);
    /* Removing keeps its order with what else is made and removed for the pod. */
    node_lane_run(empty ? pod->files : pod->node->usage_lane, &job->job);
}

void pod_usage_measure(struct pod *pod)
{
    if (!pod->phase && !pod->end_reason && !json_at(pod->object, "metadata.deletionTimestamp"))
        run(pod, false);
}

void pod_usage_empty(struct pod *pod)
{
    run(pod, true);
}
