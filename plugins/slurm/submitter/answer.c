#include "submitter/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/time.h"
#include "submitter/script.h"

#define ERROR_INVALID_JOB_ID 2017
#define ERROR_FIRST_JOB 2000 /* errors of requests about jobs: repeating them does not help */
#define ERROR_LAST_JOB 2999
#define ERROR_PARSE 9001

/* One task as Slurm told of it. */
struct record {
    const char *state, *reason, *nodes, *resources;
    int64_t submitted, started, ended, cpus;
    int exit_code, signal;
    char task[24]; /* index in its array, or "" */
    bool doubtful;
};

static bool in_words(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = words; len && (at = strstr(at, word)); at += len)
        if ((at == words || at[-1] == ' ') && (at[len] == ' ' || !at[len]))
            return true;
    return false;
}

static bool is_ended(const char *state)
{
    return in_words(
        "COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL BOOT_FAIL OUT_OF_MEMORY DEADLINE PREEMPTED REVOKED "
        "UNKNOWN",
        state);
}

static bool is_running(const char *state)
{
    return in_words("RUNNING COMPLETING SUSPENDED STOPPED SIGNALING STAGE_OUT RESIZING", state);
}

static bool is_doubtful(const struct record *record)
{
    return str_starts(record->reason, "launch_failed") || str_starts(record->reason, "launch failed") ||
           in_words("REQUEUE_HOLD SPECIAL_EXIT REQUEUED REQUEUE_FED", record->state);
}

/* It has ended, and what Slurm says is not how its script ended. */
static bool lacks_code(const struct record *record)
{
    return in_words("NODE_FAIL BOOT_FAIL", record->state) ||
           (strcmp(record->state, "FAILED") == 0 && !record->exit_code && !record->signal);
}

/* Where Slurm lost track, the exit code that the task has left decides. */
static void settle(struct record *record, const struct slurm_known *known)
{
    const int *code = known ? map_get(&known->ends, record->task) : NULL;
    bool lost = code && *code == SLURM_LOST, open = lacks_code(record);
    record->doubtful = record->doubtful || is_doubtful(record);
    if (open)
        record->exit_code = record->signal = 0;
    if (!code || !(record->doubtful || open || (lost && strcmp(record->state, "FAILED") == 0)))
        return;
    if ((lost || *code > 128) && in_words("NODE_FAIL BOOT_FAIL", record->state))
        return; /* that says more than a signal */
    record->doubtful = false;
    record->state = lost ? "UNKNOWN" : *code ? "FAILED" : "COMPLETED";
    record->reason = lost ? "Unknown" : *code ? "NonZeroExitCode" : "";
    record->exit_code = lost ? 0 : *code & 0xff;
    record->signal = 0;
}

static void set_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

/* How much a task's state decides about the whole: running over pending over failures over success. */
static int weight(const struct slurm_view *view, const struct record *record)
{
    if (!record->doubtful && is_running(record->state))
        return 5;
    if (record->doubtful || !is_ended(record->state))
        return view->running ? 1 : 4;
    if (strcmp(record->state, "COMPLETED") == 0)
        return 1;
    return strcmp(record->state, "CANCELLED") == 0 ? 2 : 3;
}

static void count(struct slurm_view *view, const struct record *record)
{
    const char *state = record->state;
    view->tasks++;
    view->doubtful += record->doubtful;
    if (record->doubtful)
        view->pending++;
    else if (is_running(state))
        view->running++;
    else if (!is_ended(state))
        view->pending++;
    else if (strcmp(state, "COMPLETED") == 0)
        view->succeeded++;
    else if (strcmp(state, "CANCELLED") == 0)
        view->cancelled++;
    else if (strcmp(state, "TIMEOUT") == 0)
        view->timed_out++;
    else
        view->failed++;
    view->unknown += strcmp(state, "UNKNOWN") == 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return !a || (b && b < a) ? b : a;
}

static void merge(struct slurm_view *view, const struct slurm_known *known, struct record *record,
                  int *heaviest)
{
    settle(record, known);
    count(view, record);
    view->submitted = earlier(view->submitted, record->submitted);
    if (record->started && !in_words("PENDING CONFIGURING", record->state))
        view->started = earlier(view->started, record->started);
    if (!record->doubtful && is_ended(record->state) && record->ended > view->ended)
        view->ended = record->ended;
    if (view->exit_code == 0 && view->signal == 0) {
        view->exit_code = record->exit_code;
        view->signal = record->signal;
    }
    view->cpus += record->cpus;
    int here = weight(view, record);
    if (here > *heaviest) {
        *heaviest = here;
        set_text(view->state, sizeof view->state, record->state);
        set_text(view->reason, sizeof view->reason,
                 strcmp(record->reason, "None") == 0 ? "" : record->reason);
    }
    size_t have = strlen(view->nodes);
    if (*record->nodes && !strstr(view->nodes, record->nodes) &&
        have + strlen(record->nodes) + 2 < sizeof view->nodes)
        snprintf(view->nodes + have, sizeof view->nodes - have, "%s%s", have ? "," : "", record->nodes);
    if (!*view->resources)
        set_text(view->resources, sizeof view->resources, record->resources);
}

static int finish(struct slurm_view *view, struct err **err)
{
    if (!view->tasks)
        return err_set(err, ERR_NOT_FOUND, "Slurm does not know the job");
    view->phase = view->running ? SLURM_RUNNING : view->pending ? SLURM_PENDING : SLURM_ENDED;
    /* An array of which some have ended and others wait is under way. */
    if (view->phase == SLURM_PENDING && view->tasks > view->pending)
        view->phase = SLURM_RUNNING;
    if (view->phase != SLURM_ENDED)
        view->ended = 0;
    return 0;
}

void slurm_view_forgotten(struct slurm_view *view, const struct slurm_known *known, const char *array)
{
    struct slurm_tasks tasks = slurm_tasks_of(array);
    int heaviest = 0;
    *view = (struct slurm_view){0};
    for (bool any = true; any;) {
        struct record record = {.state = "", .reason = "", .nodes = "", .resources = "", .doubtful = true};
        any = slurm_next_task(&tasks, record.task, sizeof record.task);
        if (any || !view->tasks)
            merge(view, known, &record, &heaviest);
    }
    finish(view, NULL);
}

void slurm_view_give_up(struct slurm_view *view)
{
    view->phase = SLURM_ENDED;
    view->failed += view->doubtful;
    view->unknown += view->doubtful;
    view->pending -= view->doubtful;
    set_text(view->state, sizeof view->state, "UNKNOWN");
    set_text(view->reason, sizeof view->reason, "Unknown");
}

/* ---- REST ---- */

static cJSON *parse(int status, const char *body, size_t len, struct err **err)
{
    auto_err error = NULL;
    cJSON *json = json_parse(body, len, &error);
    if (!json || !cJSON_IsObject(json)) {
        cJSON_Delete(json);
        err_set(err, ERR_UNAVAILABLE, "slurmrestd answered %d with something that is not JSON", status);
        return NULL;
    }
    return json;
}

/* Whether repeating the request does not help. */
static bool is_refusal(int64_t number)
{
    /* The controller is on its way up or down, or busy: slurm_errno.h. */
    static const int passing[] = {2007, 2011, 2013, 2016, 2019, 2020, 2022, 2026, 2027};
    for (size_t i = 0; i < COUNT_OF(passing); i++)
        if (number == passing[i])
            return false;
    return (number >= ERROR_FIRST_JOB && number <= ERROR_LAST_JOB) || number == ERROR_PARSE;
}

/* The first error that the answer names. */
static int named_error(const cJSON *json, int status, struct err **err)
{
    const cJSON *first = json_get(json, "errors") ? json_get(json, "errors")->child : NULL;
    if (!first && status < 300)
        return 0;
    int64_t number =
        json_int(first, "error_number", json_int(first, "error_code", json_int(first, "errno", 0)));
    const char *text = json_string_or(first, "error", ""), *more = json_string_or(first, "description", "");
    enum err_code code = number == ERROR_INVALID_JOB_ID ? ERR_NOT_FOUND
                         : is_refusal(number)           ? ERR_INVALID
                                                        : ERR_UNAVAILABLE;
    if (status == 401 || status == 403)
        code = ERR_UNAUTHORIZED;
    return err_set(err, code, "%s%s%s (Slurm error %lld, status %d)",
                   *text || *more ? text : "no reason given", *text && *more ? ": " : "",
                   strcmp(text, more) == 0 ? "" : more, (long long)number, status);
}

static int64_t positive(const cJSON *json, const char *name)
{
    int64_t value = json_int(json, name, 0);
    return value > 0 && value < INT64_C(1) << 40 ? value : 0;
}

static bool is_ours(const struct slurm_known *known, const char *comment)
{
    return !known || !known->comment || str_eq(comment, known->comment);
}

static void merge_rest(struct slurm_view *view, const struct slurm_known *known, const cJSON *job,
                       int *heaviest)
{
    int64_t raw = json_int(job, "exit_code", 0);
    if (raw < 0 || raw > 0xffff)
        raw = 0;
    struct record record = {.state = json_string_or(job, "job_state", ""),
                            .reason = json_string_or(job, "state_reason", ""),
                            .nodes = json_string_or(job, "nodes", ""),
                            .resources = json_string_or(job, "tres_alloc_str", ""),
                            .submitted = positive(job, "submit_time"),
                            .started = positive(job, "start_time"),
                            .ended = positive(job, "end_time"),
                            .cpus = positive(job, "cpus"),
                            .exit_code = (int)(raw >> 8 & 0xff),
                            .signal = (int)(raw & 0x7f)};
    if (positive(job, "array_job_id"))
        snprintf(record.task, sizeof record.task, "%lld", (long long)json_int(job, "array_task_id", -1));
    if (*record.state)
        merge(view, known, &record, heaviest);
    json_each (detail, json_get(job, "gres_detail")) {
        size_t have = strlen(view->gres);
        if (cJSON_IsString(detail) && have + strlen(detail->valuestring) + 2 < sizeof view->gres)
            snprintf(view->gres + have, sizeof view->gres - have, "%s%s", have ? "," : "",
                     detail->valuestring);
    }
}

int slurm_view_rest(struct slurm_view *view, const struct slurm_known *known, int status, const char *body,
                    size_t len, struct err **err)
{
    *view = (struct slurm_view){0};
    int heaviest = 0;
    auto_json json = parse(status, body, len, err);
    if (!json || named_error(json, status, err) < 0)
        return -1;
    json_each (job, json_get(json, "jobs"))
        if (is_ours(known, json_string(job, "comment")))
            merge_rest(view, known, job, &heaviest);
    return finish(view, err);
}

/* A number together with an error is a job that waits, e.g. because its nodes are down just now (2068). */
int slurm_submitted_rest(int64_t *id, int status, const char *body, size_t len, struct err **err)
{
    auto_json json = parse(status, body, len, err);
    if (!json)
        return -1;
    *id = positive(json, "job_id");
    if (*id)
        return 0;
    if (named_error(json, status, err) < 0)
        return -1;
    return err_set(err, ERR_UNAVAILABLE, "slurmrestd gave the job no number");
}

int slurm_find_rest(int64_t *id, const char *comment, int status, const char *body, size_t len,
                    struct err **err)
{
    *id = 0;
    auto_json json = parse(status, body, len, err);
    if (!json || named_error(json, status, err) < 0)
        return -1;
    json_each (job, json_get(json, "jobs")) {
        if (!str_eq(json_string(job, "comment"), comment))
            continue;
        int64_t array = positive(job, "array_job_id"), own = positive(job, "job_id");
        *id = earlier(*id, array ? array : own);
    }
    return 0;
}

/* ---- text ---- */

/* The word behind " NAME=" in a line of scontrol; caller frees. */
static char *word_of(const char *line, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = line; (at = strstr(at, name)); at += len)
        if ((at == line || at[-1] == ' ') && at[len] == '=')
            return mem_strndup(at + len + 1, strcspn(at + len + 1, " "));
    return mem_strdup("");
}

static int64_t time_of(const char *line, const char *name)
{
    auto_free char *text = word_of(line, name);
    int64_t ns = 0;
    auto_free char *utc = mem_printf("%sZ", text); /* the submitter asks with TZ=UTC */
    return *text && time_parse(utc, &ns, NULL) == 0 ? ns / 1000000000 : 0;
}

static void merge_line(struct slurm_view *view, const struct slurm_known *known, const char *line,
                       int *heaviest)
{
    auto_free char *state = word_of(line, "JobState"), *reason = word_of(line, "Reason"),
                   *nodes = word_of(line, "NodeList"), *resources = word_of(line, "TRES"),
                   *code = word_of(line, "ExitCode"), *cpus = word_of(line, "NumCPUs"),
                   *task = word_of(line, "ArrayTaskId");
    if (!*state)
        return;
    char *colon = strchr(code, ':');
    struct record record = {.state = state,
                            .reason = reason,
                            .nodes = strcmp(nodes, "(null)") == 0 ? "" : nodes,
                            .resources = strcmp(resources, "(null)") == 0 ? "" : resources,
                            .submitted = time_of(line, "SubmitTime"),
                            .started = time_of(line, "StartTime"),
                            .ended = time_of(line, "EndTime"),
                            .cpus = strtol(cpus, NULL, 10),
                            .exit_code = (int)(strtol(code, NULL, 10) & 0xff),
                            .signal = colon ? (int)(strtol(colon + 1, NULL, 10) & 0x7f) : 0};
    set_text(record.task, sizeof record.task, task);
    merge(view, known, &record, heaviest);
}

int slurm_view_scontrol(struct slurm_view *view, const struct slurm_known *known, const char *text,
                        struct err **err)
{
    *view = (struct slurm_view){0};
    int heaviest = 0;
    size_t n;
    auto_free char **lines = str_split(text, '\n', &n);
    for (size_t i = 0; i < n; i++) {
        auto_free char *own = word_of(lines[i], "Comment");
        if (is_ours(known, own))
            merge_line(view, known, lines[i], &heaviest);
    }
    return finish(view, err);
}

int64_t slurm_find_lines(const char *text, const char *comment)
{
    int64_t found = 0;
    size_t n;
    auto_free char **lines = str_split(text, '\n', &n);
    for (size_t i = 0; i < n; i++) {
        char *bar = strchr(lines[i], '|');
        if (bar && strcmp(bar + 1, comment) == 0)
            found = earlier(found, strtoll(lines[i], NULL, 10));
    }
    return found;
}

/* ---- words for users ---- */

const char *slurm_view_state(const struct slurm_view *view)
{
    if (view->phase == SLURM_PENDING)
        return "Pending";
    if (view->phase == SLURM_RUNNING)
        return "Running";
    if (view->failed)
        return "Failed";
    if (view->timed_out)
        return "Timeout";
    return view->cancelled ? "Cancelled" : "Succeeded";
}

const char *slurm_view_reason(const struct slurm_view *view)
{
    if (view->phase != SLURM_ENDED)
        return view->reason;
    if (strcmp(view->state, "OUT_OF_MEMORY") == 0)
        return "OutOfMemory";
    if (strcmp(view->state, "NODE_FAIL") == 0 || strcmp(view->state, "BOOT_FAIL") == 0)
        return "NodeFail";
    if (strcmp(view->state, "DEADLINE") == 0)
        return "Deadline";
    if (strcmp(view->state, "PREEMPTED") == 0)
        return "Preempted";
    if (!view->failed || *view->reason)
        return view->reason;
    return view->exit_code ? "NonZeroExitCode" : view->signal ? "Signal" : "Unknown";
}
