/*
 * script_repl_jobs: what a session's thread asks of the loop: requests with the user's rights, watches, the
 * cache's objects, the policies.
 *
 * A job has two references, the thread's and the loop's. A thread that is stopped leaves its job at once; the
 * loop then ends what it still does for it. Does not: know sessions' lives (script_repl.c).
 */
#include <string.h>
#include <time.h>

#include "script/script_repl.h"

#define LINES_HIGH (4u << 20)
#define STALE_MS 2000 /* how long a read waits for the cache to show the session's own write */
#define REQUEST_MS 30000

/* ---- jobs: what a thread asks of the loop ---- */

struct job {
    struct list node;
    struct repl_session *session;
    void (*run)(struct job *job); /* on the loop */
    unsigned refs;                /* under the session's lock, as what follows */
    bool done, failed;
    struct err *err;
    /* a request, a watch */
    char *method, *target, *content_type, *body;
    size_t body_len;
    struct http_pending *pending;
    int status;
    struct str text;
    bool streams, paused;
    /* a snapshot */
    char *resource, *namespace, *name;
    uint64_t at_least, revision;
    int64_t wall_s;
    struct repl_objects objects;
    struct loop_timer *patience;
    cJSON *spec, *json;
};

static void job_unref(struct job *job)
{
    pthread_mutex_lock(&job->session->lock);
    bool last = --job->refs == 0;
    pthread_mutex_unlock(&job->session->lock);
    if (!last)
        return;
    err_free(job->err);
    free(job->method);
    free(job->target);
    free(job->content_type);
    free(job->body);
    str_free(&job->text);
    free(job->resource);
    free(job->namespace);
    free(job->name);
    repl_objects_fini(&job->objects);
    cJSON_Delete(job->spec);
    cJSON_Delete(job->json);
    free(job);
}

/* On the loop; takes err. The loop's reference goes. */
static void job_done(struct job *job, struct err *err)
{
    list_remove(&job->node);
    loop_timer_free(job->patience);
    job->patience = NULL;
    pthread_mutex_lock(&job->session->lock);
    job->done = true;
    job->failed = err != NULL;
    job->err = err;
    pthread_cond_broadcast(&job->session->changed);
    pthread_mutex_unlock(&job->session->lock);
    job_unref(job);
}

static void job_drop(struct job *job)
{
    if (job->pending)
        job->session->http->ops->cancel(job->session->http, job->pending);
    job->pending = NULL;
    struct err *err = NULL;
    err_set(&err, ERR_CANCELLED, "interrupted");
    job_done(job, err);
}

void repl_jobs_drop(struct repl_session *session)
{
    struct job *job, *next;
    list_each_safe (job, next, &session->jobs, node)
        job_drop(job);
}

static void job_start(void *arg)
{
    struct job *job = arg;
    list_init(&job->node);
    if (job->session->closed) {
        job_drop(job);
        return;
    }
    list_add_tail(&job->session->jobs, &job->node);
    job->run(job);
}

static void job_cancel(void *arg)
{
    struct job *job = arg;
    if (list_linked(&job->node))
        job_drop(job);
    job_unref(job);
}

/* The thread's reference goes, and whatever the loop still does for it ends. */
static void job_release(struct job *job)
{
    pthread_mutex_lock(&job->session->lock);
    bool done = job->done;
    pthread_mutex_unlock(&job->session->lock);
    if (done)
        job_unref(job);
    else
        loop_post(job->session->loop, job_cancel, job);
}

static int fail_repl_stopped(struct err **err)
{
    return err_set(err, ERR_CANCELLED, "interrupted");
}

static int job_wait(struct job *job, struct err **err)
{
    struct repl_session *session = job->session;
    pthread_mutex_lock(&session->lock);
    while (!job->done && !repl_stopped(session))
        pthread_cond_wait(&session->changed, &session->lock);
    bool done = job->done, failed = job->failed;
    pthread_mutex_unlock(&session->lock);
    if (!done)
        return fail_repl_stopped(err);
    return failed ? err_move(err, &job->err) : 0;
}

/* ---- requests with the user's rights ---- */

static void on_response(void *arg, const struct http_response *response, struct err *err)
{
    struct job *job = arg;
    job->pending = NULL;
    if (response) {
        job->status = response->status;
        if (!job->streams)
            str_add_n(&job->text, response->body, response->len);
    }
    job_done(job, err ? err_copy(err) : NULL);
}

static bool on_lines(void *arg, int status, const char *data, size_t len)
{
    struct job *job = arg;
    pthread_mutex_lock(&job->session->lock);
    job->status = status;
    str_add_n(&job->text, data, len);
    bool pause = job->text.len > LINES_HIGH && !job->paused;
    job->paused = job->paused || pause;
    pthread_cond_broadcast(&job->session->changed);
    pthread_mutex_unlock(&job->session->lock);
    if (pause && job->pending)
        job->session->http->ops->pause(job->session->http, job->pending, true);
    return true;
}

static void run_request(struct job *job)
{
    const struct http_call call = {.method = job->method,
                                   .target = job->target,
                                   .content_type = job->content_type,
                                   .body = job->body,
                                   .body_len = job->body_len,
                                   .timeout_ms = job->streams ? 0 : REQUEST_MS,
                                   .on_data = job->streams ? on_lines : NULL,
                                   .on_response = on_response,
                                   .arg = job};
    struct http_client *http = job->session->http;
    job->pending = http->ops->call(http, &call);
}

int repl_request(struct repl_session *session, const struct repl_call *call, int *status,
                 struct bytes **answer, struct err **err)
{
    struct job *job = NEW(struct job);
    *job = (struct job){.session = session, .run = run_request, .refs = 2};
    job->method = mem_strdup(call->method);
    job->target = mem_strdup(call->target);
    job->content_type = mem_strdup(call->content_type);
    job->body = call->body ? mem_strndup(call->body, call->body_len) : NULL;
    job->body_len = call->body ? call->body_len : 0;
    loop_post(session->loop, job_start, job);
    int result = job_wait(job, err);
    if (result == 0) {
        *status = job->status;
        *answer = bytes_from(str_c(&job->text), job->text.len);
    }
    job_release(job);
    return result;
}

/* ---- watches ---- */

struct repl_watch {
    struct job *job;
};

static void resume_watch(void *arg)
{
    struct job *job = arg;
    if (job->pending)
        job->session->http->ops->pause(job->session->http, job->pending, false);
    job_unref(job);
}

struct repl_watch *repl_watch_open(struct repl_session *session, const char *target)
{
    struct job *job = NEW(struct job);
    *job = (struct job){.session = session, .run = run_request, .refs = 2, .streams = true};
    job->method = mem_strdup("GET");
    job->target = mem_strdup(target);
    loop_post(session->loop, job_start, job);
    struct repl_watch *watch = NEW(struct repl_watch);
    watch->job = job;
    return watch;
}

/* A line of what has come, taken out; NULL: none is complete. Under the lock. */
static char *take_line(struct job *job, bool *resume)
{
    const char *end = job->text.len ? memchr(job->text.data, '\n', job->text.len) : NULL;
    if (!end)
        return NULL;
    size_t len = (size_t)(end - job->text.data);
    char *line = mem_strndup(job->text.data, len);
    job->text.len -= len + 1;
    memmove(job->text.data, end + 1, job->text.len + 1);
    if (job->paused && job->text.len < LINES_HIGH / 2) {
        job->paused = false;
        job->refs++;
        *resume = true;
    }
    return line;
}

static struct timespec deadline_in(int64_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static int end_of_watch(struct job *job, struct err **err)
{
    if (job->failed)
        return err_move(err, &job->err);
    if (job->status >= 400) {
        auto_json status = json_parse_trusted(str_c(&job->text), job->text.len);
        return err_set(err, err_code_from_status(job->status, json_string(status, "reason")), "%s",
                       json_string_or(status, "message", "the server refused the watch"));
    }
    return -1;
}

int repl_watch_next(struct repl_watch *watch, int64_t timeout_ms, char **line, struct err **err)
{
    struct job *job = watch->job;
    struct repl_session *session = job->session;
    struct timespec until = deadline_in(timeout_ms < 0 ? 0 : timeout_ms);
    bool resume = false, late = false;
    pthread_mutex_lock(&session->lock);
    *line = NULL;
    while (!repl_stopped(session) && !(*line = job->status < 400 ? take_line(job, &resume) : NULL) &&
           !job->done && !late) {
        if (timeout_ms < 0)
            pthread_cond_wait(&session->changed, &session->lock);
        else
            late = pthread_cond_timedwait(&session->changed, &session->lock, &until) != 0;
    }
    bool done = job->done;
    pthread_mutex_unlock(&session->lock);
    if (resume)
        loop_post(session->loop, resume_watch, job);
    if (*line)
        return 1;
    if (repl_stopped(session))
        return fail_repl_stopped(err);
    return done ? end_of_watch(job, err) : 0;
}

void repl_watch_close(struct repl_watch *watch)
{
    if (watch)
        job_release(watch->job);
    free(watch);
}

int repl_sleep(struct repl_session *session, int64_t ms, struct err **err)
{
    struct timespec until = deadline_in(ms);
    bool late = false;
    pthread_mutex_lock(&session->lock);
    while (!repl_stopped(session) && !late)
        late = pthread_cond_timedwait(&session->changed, &session->lock, &until) != 0;
    pthread_mutex_unlock(&session->lock);
    return repl_stopped(session) ? fail_repl_stopped(err) : 0;
}

/* ---- the cache ---- */

static void add_object(struct repl_objects *objects, size_t *capacity, const struct cache_item *item)
{
    if (objects->count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 64;
        objects->items = mem_resize(objects->items, *capacity, sizeof(*objects->items));
    }
    objects->items[objects->count++] = bytes_ref(item->bytes);
}

static void take_snapshot(struct job *job)
{
    const struct cache *cache = job->session->manager->cache;
    size_t capacity = 0;
    job->objects.revision = job->session->manager->revision;
    if (job->name) {
        auto_free char *key =
            job->namespace ? mem_printf("%s/%s", job->namespace, job->name) : mem_strdup(job->name);
        const struct cache_item *item = cache_get(cache, job->resource, key);
        if (item)
            add_object(&job->objects, &capacity, item);
    } else {
        struct cache_cursor cursor;
        const struct cache_item *item;
        cache_begin(cache, job->resource, job->namespace ? "namespace" : NULL, job->namespace, &cursor);
        while ((item = cache_next(&cursor)))
            add_object(&job->objects, &capacity, item);
    }
    job_done(job, NULL);
}

static void out_of_patience(void *arg)
{
    take_snapshot(arg); /* the stream lags behind: what there is */
}

static void run_snapshot(struct job *job)
{
    if (job->session->manager->revision >= job->at_least) {
        take_snapshot(job);
        return;
    }
    job->patience = loop_timer_new(job->session->loop, out_of_patience, job);
    loop_timer_start(job->patience, STALE_MS);
}

int repl_snapshot(struct repl_session *session, const char *resource, const char *namespace, const char *name,
                  uint64_t at_least, struct repl_objects *objects, struct err **err)
{
    struct job *job = NEW(struct job);
    *job = (struct job){.session = session, .run = run_snapshot, .refs = 2, .at_least = at_least};
    job->resource = mem_strdup(resource);
    job->namespace = mem_strdup(namespace);
    job->name = mem_strdup(name);
    loop_post(session->loop, job_start, job);
    int result = job_wait(job, err);
    if (result == 0) {
        *objects = job->objects;
        job->objects = (struct repl_objects){0};
    }
    job_release(job);
    return result;
}

void repl_objects_fini(struct repl_objects *objects)
{
    for (size_t i = 0; i < objects->count; i++)
        bytes_unref(objects->items[i]);
    free(objects->items);
    *objects = (struct repl_objects){0};
}

void repl_jobs_reached(struct repl_session *session)
{
    struct job *job, *next;
    list_each_safe (job, next, &session->jobs, node) {
        if (job->patience && session->manager->revision >= job->at_least)
            take_snapshot(job);
    }
}

/* ---- policies ---- */

static void describe_version(cJSON *out, const struct policy *policy, const struct policy_version *version)
{
    json_set_string(out, "point", version->point);
    json_set_string(out, "version", version->hash);
    json_set_string(out, "source", version->source);
    json_set_string(out, "from", version->shipped ? "shipped" : version->from_file ? "file" : "object");
    json_set(out, "settings", json_copy(version->settings));
    if (policy->settings)
        json_set(out, "overrides", json_copy(policy->settings));
}

static void run_policies(struct job *job)
{
    const struct policies *policies = &job->session->manager->policies;
    auto_free const char **names = map_sorted_keys(&policies->names);
    auto_free const char **points = map_sorted_keys(&policies->points);
    job->json = cJSON_CreateObject();
    cJSON *known = json_ensure_object(job->json, "known"), *active = json_ensure_object(job->json, "active");
    for (size_t i = 0; i < policies->names.count; i++) {
        const struct policy *policy = policies_find(policies, names[i]);
        const struct policy_version *version = policy ? policies_current(policy) : NULL;
        if (version)
            describe_version(json_ensure_object(known, names[i]), policy, version);
    }
    for (size_t i = 0; i < policies->points.count; i++) {
        cJSON *list = json_ensure_array(active, points[i]);
        const struct policy_list *in_use =
            policies_active_in(policies_point(policies, points[i]), job->namespace);
        for (size_t n = 0; n < in_use->count; n++) {
            cJSON *one = json_push(list, cJSON_CreateObject());
            json_set_string(one, "name", in_use->items[n].version->name);
            json_set(one, "weight", cJSON_CreateNumber(in_use->items[n].weight));
            json_set_bool(one, "optional", in_use->items[n].optional);
            if (in_use->items[n].settings)
                json_set(one, "settings", json_copy(in_use->items[n].settings));
        }
    }
    job_done(job, NULL);
}

cJSON *repl_policies(struct repl_session *session, const char *namespace, struct err **err)
{
    struct job *job = NEW(struct job);
    *job = (struct job){.session = session, .run = run_policies, .refs = 2};
    job->namespace = mem_strdup(namespace);
    loop_post(session->loop, job_start, job);
    cJSON *result = job_wait(job, err) == 0 ? steal(&job->json) : NULL;
    job_release(job);
    return result;
}

static void run_decisions(struct job *job)
{
    struct err *err = NULL;
    if (manager_check_point(job->session->manager, json_string(job->spec, "point"), &err) == 0)
        job->json = manager_decisions(job->session->manager, job->spec);
    job_done(job, err);
}

cJSON *repl_decisions(struct repl_session *session, cJSON *spec, struct err **err)
{
    struct job *job = NEW(struct job);
    *job = (struct job){.session = session, .run = run_decisions, .refs = 2, .spec = spec};
    loop_post(session->loop, job_start, job);
    cJSON *result = job_wait(job, err) == 0 ? steal(&job->json) : NULL;
    job_release(job);
    return result;
}

/* ---- times ---- */

static void run_revision_at(struct job *job)
{
    int64_t since_s = 0;
    struct err *err = NULL;
    job->revision = repl_host_revision_at(job->session->host, job->wall_s, &since_s);
    if (!job->revision) {
        char since[TIME_TEXT];
        time_print(since_s * 1000000000, since);
        err_set(&err, ERR_NOT_FOUND,
                "which revision it was then is known since the start of this manager only, %s; "
                "name a revision instead",
                since);
    }
    job_done(job, err);
}

int repl_revision_at(struct repl_session *session, int64_t wall_s, uint64_t *revision, struct err **err)
{
    struct job *job = NEW(struct job);
    *job = (struct job){.session = session, .run = run_revision_at, .refs = 2, .wall_s = wall_s};
    loop_post(session->loop, job_start, job);
    int result = job_wait(job, err);
    *revision = job->revision;
    job_release(job);
    return result;
}
