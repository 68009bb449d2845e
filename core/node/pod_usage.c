/*
 * pod_usage: keeps emptyDir volumes on the disk within their sizeLimit. What they hold is added up on the
 * pool every few seconds, and only for pods that have such a limit: the file systems that nodes usually have
 * know no quota of a directory. A pod over its limit fails as Evicted; when nothing of it runs any more its
 * limited volumes are emptied. (Volumes in memory are limited by their file system.)
 */
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/quantity.h"
#include "node/node_internal.h"

#define MEASURE_MS 3000
#define BLOCK_BYTES 512

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

/* Bytes that the files take on the disk; a file with several names counts once for each. */
static int64_t measure(const char *path)
{
    char *const paths[] = {(char *)path, NULL};
    int64_t bytes = 0;
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
    for (FTSENT *entry; walk && (entry = fts_read(walk));)
        if (entry->fts_info == FTS_F || entry->fts_info == FTS_D)
            bytes += entry->fts_statp->st_blocks * BLOCK_BYTES;
    if (walk)
        fts_close(walk);
    return bytes;
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
    node_lane_run(pod->node->file_lane, &job->job);
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
