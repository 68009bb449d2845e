/* follow: what Slurm says about the job → its status, until it has ended; what it prints → our own output. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/time.h"
#include "submitter/run.h"

#define CHUNK (1u << 20)
#define DOUBT_POLLS 60  /* without anything new from a job of which Slurm lost track */
#define FORGOT_POLLS 20 /* the same, if Slurm does not know it at all: it ends such jobs itself */

static void forward(struct run_stream *stream, const struct str *text)
{
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(stream->fd, text->data + done, text->len - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    stream->offset += (int64_t)text->len;
    str_add_n(&stream->tail, text->data, text->len);
    if (stream->tail.len > 2 * RUN_TAIL) {
        struct str kept = {0};
        str_add_n(&kept, stream->tail.data + stream->tail.len - RUN_TAIL, RUN_TAIL);
        str_free(&stream->tail);
        stream->tail = kept;
    }
}

static bool read_stream(struct run *run, struct run_stream *stream)
{
    bool any = false;
    for (;;) {
        struct str text = {0};
        auto_free char *file = mem_printf(SLURM_PRIVATE "/%s", stream->name);
        int result = run->site->ops->read(run->site, run->folder, file, stream->offset, CHUNK, &text, NULL);
        if (result == 0 && text.len)
            forward(stream, &text);
        bool full = result == 0 && text.len == CHUNK;
        any = any || text.len;
        str_free(&text);
        if (!full)
            return any;
    }
}

void run_read_streams(struct run *run)
{
    read_stream(run, &run->out);
    read_stream(run, &run->errors);
}

static bool file_is(struct run *run, const char *file, const char *word)
{
    struct str text = {0};
    int result = run->site->ops->read(run->site, run->folder, file, 0, 64, &text, NULL);
    bool is = result == 0 && str_starts(str_c(&text), word);
    str_free(&text);
    return is;
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

/* What the job's own rc file says: false if there is none. */
static bool take_rc(struct run *run)
{
    struct str text = {0};
    int code = 0;
    char end = 0;
    bool known = run->site->ops->read(run->site, run->folder, SLURM_PRIVATE "/rc", 0, 16, &text, NULL) == 0 &&
                 sscanf(str_c(&text), "%d%c", &code, &end) == 2 && end == '\n';
    str_free(&text);
    if (!known)
        return false;
    run->view.phase = SLURM_ENDED;
    run->view.exit_code = code & 0xff;
    run->view.signal = 0;
    run->view.succeeded = code == 0;
    run->view.failed = code != 0;
    run->view.pending = run->view.running = run->view.cancelled = run->view.timed_out = 0;
    snprintf(run->view.state, sizeof run->view.state, "%s", code ? "FAILED" : "COMPLETED");
    snprintf(run->view.reason, sizeof run->view.reason, "%s", code ? "NonZeroExitCode" : "");
    return true;
}

/* Slurm has forgotten it, or lost its start: the rc file decides; without one, and without a sign of life for
 * a while, nobody knows. */
static bool settle_doubt(struct run *run, unsigned *quiet, unsigned polls)
{
    if (take_rc(run))
        return true;
    bool alive = read_stream(run, &run->out) | read_stream(run, &run->errors);
    *quiet = alive ? 0 : *quiet + 1;
    if (*quiet < polls && !run->cancelling)
        return false;
    run->view.phase = SLURM_ENDED;
    run->view.failed = 1;
    run->view.tasks = 1;
    run->view.succeeded = run->view.pending = run->view.running = 0;
    snprintf(run->view.state, sizeof run->view.state, "UNKNOWN");
    snprintf(run->view.reason, sizeof run->view.reason, "Unknown");
    if (run->view.in_doubt)
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
    if (ops->look(run->site, run->id, run->comment, &now, &error) == 0 && now.phase != SLURM_ENDED)
        ops->cancel(run->site, run->id, &error);
    if (error && err_code(error) != ERR_NOT_FOUND)
        log_warn("submitter", "cancelling: %s", err_message(error));
}

/* One look. True: it has ended. */
static bool look(struct run *run, unsigned *quiet)
{
    auto_err error = NULL;
    if (run->site->ops->look(run->site, run->id, run->comment, &run->view, &error) < 0) {
        if (err_code(error) == ERR_NOT_FOUND)
            return settle_doubt(run, quiet, FORGOT_POLLS);
        cJSON *status = cJSON_CreateObject();
        json_set_string(status, "reason", "SlurmUnavailable");
        json_set_string(status, "message", err_message(error));
        run_report(run, status);
        return false;
    }
    if (run->view.in_doubt)
        return settle_doubt(run, quiet, DOUBT_POLLS);
    run->building = run->view.phase == SLURM_RUNNING && slurm_has_build(run_spec(run)) &&
                    file_is(run, SLURM_PRIVATE "/phase", "building");
    report_view(run);
    return run->view.phase == SLURM_ENDED;
}

void run_follow(struct run *run)
{
    unsigned quiet = 0;
    while (!look(run, &quiet)) {
        run_read_streams(run);
        if (run->cancelling)
            usleep(500000);
        enum home_wish wish = run->cancelling ? HOME_CANCEL : home_wait(run->home, run->poll_ms);
        if (wish != HOME_GO_ON)
            cancel(run);
    }
}
