/*
 * node_lane: jobs of one kind, one at a time, on the worker pool: what net demands, and what keeps two writes
 * of one pod file in order. Jobs own all that `work` touches, so that an agent that goes away need not wait
 * for them. Invariant: at most one job of a lane is with the pool; a closed lane lives until that job is
 * back.
 */
#include "node/node_internal.h"

struct node_lane {
    struct loop *loop;
    struct pool *pool;
    struct list jobs; /* waiting */
    struct node_job *running;
    bool closed;
};

struct node_lane *node_lane_new(struct loop *loop, struct pool *pool)
{
    struct node_lane *lane = NEW(struct node_lane);
    lane->loop = loop;
    lane->pool = pool;
    list_init(&lane->jobs);
    return lane;
}

static void job_end(struct node_job *job, bool closed)
{
    struct err *err = job->err;
    job->done(job, closed);
    err_free(err);
}

static void on_work(void *arg)
{
    struct node_job *job = arg;
    job->work(job);
}

static void lane_next(struct node_lane *lane);

static void on_done(void *arg)
{
    struct node_job *job = arg;
    struct node_lane *lane = job->lane;
    lane->running = NULL;
    bool closed = lane->closed;
    if (!closed)
        lane_next(lane);
    job_end(job, closed);
    if (closed)
        free(lane);
}

static void lane_next(struct node_lane *lane)
{
    struct node_job *job = list_first(&lane->jobs, struct node_job, node);
    if (lane->running || !job)
        return;
    list_remove(&job->node);
    lane->running = job;
    pool_run(lane->pool, lane->loop, on_work, on_done, job);
}

void node_lane_run(struct node_lane *lane, struct node_job *job)
{
    job->lane = lane;
    list_add_tail(&lane->jobs, &job->node);
    lane_next(lane);
}

void node_lane_close(struct node_lane *lane)
{
    if (!lane)
        return;
    struct node_job *job;
    while ((job = list_first(&lane->jobs, struct node_job, node))) {
        list_remove(&job->node);
        job_end(job, true);
    }
    lane->closed = true;
    if (!lane->running)
        free(lane);
}
