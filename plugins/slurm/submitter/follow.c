/* follow: what Slurm says about the job → its status, until it has ended; what it prints → our own output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/time.h"
#include "submitter/run.h"

#define CANCEL_MS 500   /* between two looks at a job that is being cancelled */
#define DOUBT_POLLS 60  /* without anything new from a job of which Slurm lost track */
#define FORGOT_POLLS 20 /* the same, if Slurm does not know it at all: it ends such jobs itself */

bool run_file_is(struct run *run, const char *file, const char *word)
{
    for (unsigned tries = 0;;) {
        auto_err error = NULL;
        auto_str text = {0};
        if (run->site->ops->read(run->site, run->folder, file, 0, 64, &text, &error) == 0)
            return str_starts(str_c(&text), word);
        if (!run_try_again(run, &tries, error))
            return false;
    }
}

static void set_time(cJSON *status, const char *name, int64_t seconds)
{
    char text[TIME_TEXT];
    if (!seconds)
        return;
    time_print(seconds * 1000000000, text);
    json_set_string(status, name, text);
}

static void set_tasks(cJSON *status, const struct slurm_view *view)
{
    const struct {
        const char *name;
        size_t count;
    } all[] = {{"pending", view->pending}, {"running", view->running},     {"succeeded", view->succeeded},
               {"failed", view->failed},   {"cancelled", view->cancelled}, {"timeout", view->timed_out}};
    cJSON *tasks = json_ensure_object(status, "tasks");
    for (size_t i = 0; i < COUNT_OF(all); i++)
        json_set_int(tasks, all[i].name, (int64_t)all[i].count);
}

static void report_view(struct run *run)
{
    const struct slurm_view *view = &run->view;
    cJSON *status = cJSON_CreateObject();
    if (view->phase != SLURM_ENDED) {
        json_set_string(status, "state", run->building ? "Building" : slurm_view_state(view));
        json_set_string(status, "reason", slurm_view_reason(view));
        cJSON_AddNullToObject(status, "message");
    }
    if (*view->nodes)
        json_set_string(status, "nodes", view->nodes);
    set_time(status, "submitTime", view->submitted);
    if (view->phase != SLURM_PENDING)
        set_time(status, "startTime", view->started);
    if (json_get(run_spec(run), "array"))
        set_tasks(status, view);
    run_report(run, status);
}

/* The task of a file `kind` or kind.INDEX; NULL: another file. */
static const char *task_of(const char *name, const char *kind)
{
    size_t len = strlen(kind);
    if (!str_starts(name, kind))
        return NULL;
    return name[len] == '.' ? name + len + 1 : name[len] ? NULL : "";
}

static void know(struct run *run, const char *task, int code)
{
    int *own = NEW(int);
    *own = code;
    map_set(&run->known.ends, task, own);
}

/* The exit code that a task has left, if the file is whole; or the word that it can leave none any more. */
static void take_end(struct run *run, const char *name, int64_t size)
{
    (void)size;
    const char *task = task_of(name, "rc"), *lost = task_of(name, "lost");
    if (lost && !map_has(&run->known.ends, lost))
        know(run, lost, SLURM_LOST);
    const int *known = task ? map_get(&run->known.ends, task) : NULL;
    if (!task || (known && *known != SLURM_LOST))
        return;
    auto_str text = {0};
    auto_free char *file = mem_printf(SLURM_PRIVATE "/%s", name);
    int code = 0;
    char end = 0;
    if (run->site->ops->read(run->site, run->folder, file, 0, 16, &text, NULL) == 0 &&
        sscanf(str_c(&text), "%d%c", &code, &end) == 2 && end == '\n' && code >= 0)
        know(run, task, code);
}

/* True: one that was not known. */
static bool take_ends(struct run *run)
{
    size_t before = run->known.ends.count;
    auto_str list = {0};
    if (run->site->ops->list(run->site, run->folder, &list, NULL) == 0)
        run_each_file(run, &list, take_end);
    return run->known.ends.count > before;
}

/* Asks Slurm; where it lost track of a task, or of the whole job, the exit codes in the job's folder decide.
 * forgotten: Slurm does not know the job. */
static int ask(struct run *run, bool *forgotten, struct err **err)
{
    const struct slurm_site_ops *ops = run->site->ops;
    auto_err error = NULL;
    int result = ops->look(run->site, run->id, &run->known, &run->view, &error);
    *forgotten = result < 0 && err_code(error) == ERR_NOT_FOUND;
    if (*forgotten) {
        take_ends(run);
        slurm_view_forgotten(&run->view, &run->known, json_string(run_spec(run), "array"));
        return 0;
    }
    bool failed = run->view.phase == SLURM_ENDED && run->view.failed;
    if (result == 0 && (failed || run->view.doubtful) && take_ends(run))
        return ops->look(run->site, run->id, &run->known, &run->view, err);
    return result < 0 ? err_move(err, &error) : 0;
}

/* After a lost answer Slurm may have the job twice, and ours may be the one that has left the work to the
 * other: then that one counts. */
static bool follow_worker(struct run *run)
{
    auto_str text = {0};
    const struct slurm_site_ops *ops = run->site->ops;
    int result = ops->read(run->site, run->folder, SLURM_PRIVATE "/job", 0, 32, &text, NULL);
    int64_t worker = result == 0 ? strtoll(str_c(&text), NULL, 10) : 0;
    if (worker <= 0 || worker == run->id)
        return false;
    log_warn("submitter", "Slurm has the job twice: %lld does the work, not %lld", (long long)worker,
             (long long)run->id);
    run->id = worker;
    cJSON *status = cJSON_CreateObject();
    json_set_int(status, "slurmId", worker);
    run_report(run, status);
    return true;
}

/* Only doubtful tasks are left: without a sign of life for a while, nobody knows. */
static bool settle_doubt(struct run *run, unsigned *quiet, bool forgotten)
{
    *quiet = run_read_streams(run) ? 0 : *quiet + 1;
    if (*quiet < (forgotten ? FORGOT_POLLS : DOUBT_POLLS) && !run->cancelling)
        return false;
    slurm_view_give_up(&run->view);
    if (!forgotten)
        run->site->ops->cancel(run->site, run->id, NULL); /* it may wait to be started once more */
    return true;
}

/* Looks first: the number may be another's by now. */
static void cancel(struct run *run)
{
    auto_err error = NULL;
    struct slurm_view now;
    const struct slurm_site_ops *ops = run->site->ops;
    run->cancelling = true;
    if (ops->look(run->site, run->id, &run->known, &now, &error) == 0 && now.phase != SLURM_ENDED)
        ops->cancel(run->site, run->id, &error);
    if (error && err_code(error) != ERR_NOT_FOUND)
        log_warn("submitter", "cancelling: %s", err_message(error));
}

/* One look. True: it has ended. */
static bool look(struct run *run, unsigned *quiet)
{
    auto_err error = NULL;
    bool forgotten = false;
    if (ask(run, &forgotten, &error) < 0) {
        cJSON *status = cJSON_CreateObject();
        json_set_string(status, "reason", "SlurmUnavailable");
        json_set_string(status, "message", err_message(error));
        run_report(run, status);
        return false;
    }
    const struct slurm_view *view = &run->view;
    if (view->phase == SLURM_ENDED && follow_worker(run))
        return false;
    if (view->doubtful && !view->running && view->pending == view->doubtful)
        return settle_doubt(run, quiet, forgotten);
    *quiet = 0;
    run->building = run->view.phase == SLURM_RUNNING && slurm_has_build(run_spec(run)) &&
                    run_file_is(run, SLURM_PRIVATE "/phase", "building");
    report_view(run);
    return run->view.phase == SLURM_ENDED;
}

void run_follow(struct run *run)
{
    unsigned quiet = 0;
    while (!look(run, &quiet)) {
        run_read_streams(run);
        if (run->cancelling)
            home_pause(run->home, CANCEL_MS);
        enum home_wish wish = run->cancelling ? HOME_CANCEL : home_wait(run->home, run->poll_ms);
        if (wish != HOME_GO_ON)
            cancel(run);
    }
}
