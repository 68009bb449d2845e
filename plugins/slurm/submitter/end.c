/* end: the last report: outcome, accounting, results. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/time.h"
#include "submitter/run.h"

/* The last lines, at most RUN_TAIL bytes, from the begin of a line, as valid text. Caller frees. */
char *run_tail(const struct str *text)
{
    size_t from = text->len > RUN_TAIL ? text->len - RUN_TAIL : 0;
    const char *begin = str_c(text) + from;
    const char *line = from ? memchr(begin, '\n', text->len - from) : NULL;
    struct str kept = {0};
    for (const char *p = line ? line + 1 : begin; p < str_c(text) + text->len; p++)
        str_add_char(&kept, (*p >= 0x20 && *p < 0x7f) || *p == '\n' || *p == '\t' ? *p : '?');
    return str_take(&kept);
}

static char *last_line(const char *text)
{
    size_t end = strlen(text);
    while (end && text[end - 1] == '\n')
        end--;
    size_t begin = end;
    while (begin && text[begin - 1] != '\n')
        begin--;
    return mem_strndup(text + begin, end - begin);
}

static bool out_of_memory(const struct run *run, const char *errors)
{
    return strcmp(run->view.state, "OUT_OF_MEMORY") == 0 ||
           (run->view.failed && strstr(errors, "memory limit"));
}

static const char *reason_of(const struct run *run, const char *errors, bool built)
{
    if (out_of_memory(run, errors))
        return "OutOfMemory";
    if (run->view.failed && !built)
        return "BuildFailed";
    if (run->view.succeeded && !run->view.failed)
        return "Completed";
    return slurm_view_reason(&run->view);
}

static char *message_of(const struct run *run, const char *errors)
{
    const struct slurm_view *view = &run->view;
    auto_free char *line = last_line(errors);
    if (strcmp(view->state, "UNKNOWN") == 0 && view->tasks > 1)
        return mem_printf("Slurm lost track of %zu of %zu tasks, and they left no exit code", view->unknown,
                          view->tasks);
    if (strcmp(view->state, "UNKNOWN") == 0)
        return mem_strdup("Slurm lost track of the job, and it left no exit code");
    if (view->failed && !view->signal && !view->exit_code)
        return mem_printf("Slurm says %s%s%s, and it left no exit code of its own", view->state,
                          *view->reason ? ": " : "", view->reason);
    if (view->failed && view->signal)
        return mem_printf("ended by signal %d%s%s", view->signal, *line ? ": " : "", line);
    if (view->failed)
        return mem_printf("exit code %d%s%s", view->exit_code, *line ? ": " : "", line);
    return NULL;
}

static void add_accounting(cJSON *status, const struct slurm_view *view)
{
    cJSON *accounting = json_ensure_object(status, "accounting");
    json_set_int(accounting, "cpus", view->cpus);
    json_set_string(accounting, "resources", view->resources);
    if (*view->gres)
        json_set_string(accounting, "gres", view->gres);
    json_set_int(accounting, "elapsedSeconds",
                 view->started && view->ended > view->started ? view->ended - view->started : 0);
}

static void set_or_null(cJSON *status, const char *name, const char *text)
{
    if (text)
        json_set_string(status, name, text);
    else
        json_set(status, name, cJSON_CreateNull());
}

void run_conclude(struct run *run)
{
    const struct slurm_view *view = &run->view;
    char ended[TIME_TEXT];
    run->ended = true;
    run_end_streams(run);
    auto_free char *out = run_tail(&run->out.tail), *errors = run_tail(&run->errors.tail);
    bool built = !run_file_is(run, SLURM_PRIVATE "/phase", "building");
    auto_free char *message = message_of(run, errors);
    time_print(view->ended ? view->ended * 1000000000 : clock_wall_ns(run->clock), ended);
    cJSON *status = cJSON_CreateObject();
    json_set_string(status, "state", slurm_view_state(view));
    json_set_string(status, "reason", reason_of(run, errors, built));
    set_or_null(status, "message", message);
    json_set_string(status, "completionTime", ended);
    if (view->exit_code || !(view->failed || view->cancelled || view->timed_out))
        json_set_int(status, "exitCode", view->exit_code);
    if (view->signal)
        json_set_int(status, "signal", view->signal);
    add_accounting(status, view);
    json_set_string(status, "stdout", out);
    json_set_string(status, "stderr", errors);
    run_report(run, status); /* at once: keeping the results takes a while */
    cJSON *kept = cJSON_CreateObject();
    run_keep_results(run, kept);
    json_set_bool(kept, "done", true);
    run_report(run, kept);
}
