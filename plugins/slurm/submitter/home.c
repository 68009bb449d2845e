#include "submitter/home.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "http/http.h"

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/"
#define CALL_MS 20000
#define REWATCH_MS 1000

struct home {
    char *url, *path, *watch_path;
    pthread_t watcher;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum home_wish wish; /* under lock */
};

/* ---- calls ---- */

static int account_read(char **token, char **ca, struct err **err)
{
    auto_err error = NULL;
    if (file_read(ACCOUNT "token", 65536, token, NULL, &error) < 0 ||
        file_read(ACCOUNT "ca.crt", 1 << 20, ca, NULL, &error) < 0)
        return err_set(err, ERR_UNAUTHORIZED, "the pod's service account: %s", err_message(error));
    (*token)[strcspn(*token, "\n")] = 0;
    return 0;
}

static struct http_response *call(struct home *home, const struct http_call *request, struct err **err)
{
    auto_free char *token = NULL, *ca = NULL;
    if (account_read(&token, &ca, err) < 0) /* anew: tokens are renewed */
        return NULL;
    const struct http_client_options options = {
        .base_url = home->url, .ca_pem = ca, .bearer_token = token, .max_connections = 1};
    struct http_response *answer = http_client_call_blocking(&options, request, err);
    if (!answer || answer->status < 300)
        return answer;
    auto_json status = json_parse(answer->body, answer->len, NULL);
    err_set(err, err_code_from_status(answer->status, json_string(status, "reason")), "%s",
            json_string_or(status, "message", "the server gave no reason"));
    http_response_free(answer);
    return NULL;
}

cJSON *home_job(struct home *home, struct err **err)
{
    const struct http_call request = {.method = "GET", .target = home->path, .timeout_ms = CALL_MS};
    struct http_response *answer = call(home, &request, err);
    cJSON *job = answer ? json_parse(answer->body, answer->len, err) : NULL;
    http_response_free(answer);
    return job;
}

int home_report(struct home *home, const cJSON *status, const char *revision, struct err **err)
{
    auto_json patch = cJSON_CreateObject();
    json_set(patch, "status", json_copy(status));
    if (revision)
        json_set_string(json_ensure_object(patch, "metadata"), "resourceVersion", revision);
    auto_free char *target = mem_printf("%s/status", home->path), *text = json_print(patch);
    const struct http_call request = {.method = "PATCH",
                                      .target = target,
                                      .content_type = "application/merge-patch+json",
                                      .body = text,
                                      .body_len = strlen(text),
                                      .timeout_ms = CALL_MS};
    struct http_response *answer = call(home, &request, err);
    int result = answer ? 0 : -1;
    http_response_free(answer);
    return result;
}

int home_put_blob(struct home *home, const char *digest, const void *data, size_t len, struct err **err)
{
    auto_free char *target = mem_printf("%s/blobs/%s", home->path, digest);
    const struct http_call request = {.method = "PUT",
                                      .target = target,
                                      .content_type = "application/octet-stream",
                                      .body = data,
                                      .body_len = len,
                                      .timeout_ms = CALL_MS};
    struct http_response *answer = call(home, &request, err);
    int result = answer ? 0 : -1;
    http_response_free(answer);
    return result;
}

int home_get_blob(struct home *home, const char *digest, char **data, size_t *len, struct err **err)
{
    auto_free char *target = mem_printf("%s/blobs/%s", home->path, digest);
    const struct http_call request = {.method = "GET", .target = target, .timeout_ms = CALL_MS};
    struct http_response *answer = call(home, &request, err);
    if (!answer)
        return -1;
    *data = mem_copy(answer->body, answer->len + 1);
    *len = answer->len;
    http_response_free(answer);
    return 0;
}

/* ---- watching ---- */

static enum home_wish wish_of(const cJSON *event)
{
    if (str_eq(json_string(event, "type"), "DELETED"))
        return HOME_GONE;
    const cJSON *job = json_get(event, "object");
    bool ends = json_at(job, "metadata.deletionTimestamp") || json_bool(job, "spec.cancel", false);
    return ends ? HOME_CANCEL : HOME_GO_ON;
}

struct watch {
    struct home *home;
    struct loop *loop;
    struct str line;
};

static void take_line(struct watch *watch)
{
    auto_json event = json_parse(str_c(&watch->line), watch->line.len, NULL);
    str_clear(&watch->line);
    enum home_wish wish = event ? wish_of(event) : HOME_GO_ON;
    pthread_mutex_lock(&watch->home->lock);
    if (wish > watch->home->wish) {
        watch->home->wish = wish;
        pthread_cond_broadcast(&watch->home->changed);
    }
    pthread_mutex_unlock(&watch->home->lock);
}

static bool on_data(void *arg, int status, const char *data, size_t len)
{
    struct watch *watch = arg;
    if (status != 200)
        return false;
    while (len) {
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len;
        str_add_n(&watch->line, data, n);
        if (end)
            take_line(watch);
        n += end ? 1 : 0;
        data += n;
        len -= n;
    }
    return true;
}

static void on_end(void *arg, const struct http_response *response, struct err *err)
{
    struct watch *watch = arg;
    (void)response;
    if (err)
        log_debug("submitter", "watch: %s", err_message(err));
    loop_stop(watch->loop);
}

static void watch_once(struct home *home)
{
    auto_err error = NULL;
    auto_free char *token = NULL, *ca = NULL;
    struct watch watch = {.home = home, .loop = loop_new(&error)};
    if (!watch.loop || account_read(&token, &ca, &error) < 0) {
        log_warn("submitter", "cannot watch: %s", err_message(error));
        loop_free(watch.loop);
        return;
    }
    const struct http_client_options options = {
        .base_url = home->url, .ca_pem = ca, .bearer_token = token, .max_connections = 1};
    struct http_client *client = http_client_curl_new(watch.loop, &options, &error);
    const struct http_call request = {.method = "GET",
                                      .target = home->watch_path,
                                      .on_data = on_data,
                                      .on_response = on_end,
                                      .arg = &watch};
    if (client) {
        client->ops->call(client, &request);
        loop_run(watch.loop);
        client->ops->free(client);
    }
    loop_free(watch.loop);
    str_free(&watch.line);
}

void home_pause(struct home *home, int64_t ms)
{
    (void)home;
    const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

static void *watch_always(void *arg)
{
    for (;;) {
        watch_once(arg);
        home_pause(arg, REWATCH_MS);
    }
    return NULL;
}

enum home_wish home_wait(struct home *home, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&home->lock);
    while (home->wish == HOME_GO_ON && pthread_cond_timedwait(&home->changed, &home->lock, &until) == 0) {
    }
    enum home_wish wish = home->wish;
    pthread_mutex_unlock(&home->lock);
    return wish;
}

struct home *home_new(const char *namespace, const char *name, struct err **err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    if (!host || !port) {
        err_set(err, ERR_INVALID, "KUBERNETES_SERVICE_HOST is not set: this program runs in a pod");
        return NULL;
    }
    struct home *home = NEW(struct home);
    home->url = mem_printf("https://%s:%s", host, port);
    auto_free char *all = mem_printf("/apis/minik8s.io/v1/namespaces/%s/gpujobs", namespace);
    home->path = mem_printf("%s/%s", all, name);
    home->watch_path = mem_printf("%s?watch=true&fieldSelector=metadata.name%%3D%s", all, name);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&home->changed, &attributes);
    pthread_mutex_init(&home->lock, NULL);
    if (pthread_create(&home->watcher, NULL, watch_always, home) != 0) {
        err_set(err, ERR_INTERNAL, "no thread for the watch");
        return NULL; /* the program ends */
    }
    return home;
}
