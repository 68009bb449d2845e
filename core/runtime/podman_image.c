/*
 * podman_image: is an image there, else fetch it; what images there are.
 *
 * Presence is remembered, so that a pod start asks podman nothing; a create that finds the image gone forgets
 * it. Several askers of one image share one pull. References under localhost/ have no registry: for them
 * "Always" means "if present".
 */
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define PULL_TIMEOUT_MS (30 * 60 * 1000)

struct image_op {
    struct podman *podman;
    char *reference, *auth, *id;
    enum runtime_pull policy;
    runtime_on_image *done;
    void *arg;
    struct list node; /* among the waiters of a pull */
};

struct image_pull {
    struct list node; /* podman.pulls */
    struct podman *podman;
    char *reference;
    struct list waiters; /* struct image_op */
};

static void image_op_finish(struct image_op *op, const char *id, struct err *err)
{
    op->done(op->arg, id, err);
    free(op->reference);
    free(op->auth);
    free(op->id);
    free(op);
}

static void on_known(void *arg, const struct http_response *response UNUSED, cJSON *json UNUSED,
                     struct err *err)
{
    struct image_op *op = arg;
    image_op_finish(op, err ? NULL : op->id, err);
}

static void on_pulled(void *arg, const struct http_response *response, cJSON *json UNUSED, struct err *err)
{
    struct image_pull *pull = arg;
    struct podman *p = pull->podman;
    auto_err error = err ? err_copy(err) : NULL;
    auto_free char *id = NULL;
    if (!err && response->status >= 300)
        podman_reply_error(response, "failed to pull image", &error);
    else if (!err)
        id = podman_reply_pull(response->body, response->len, pull->reference, &error);
    if (!err && err_code(error) == ERR_UNAVAILABLE) { /* the registry, not podman: this is an answer */
        struct err *answer = NULL;
        err_set(&answer, ERR_INTERNAL, "%s", err_message(error));
        err_free(error);
        error = answer;
    }
    if (id)
        map_set(&p->images, pull->reference, mem_strdup(id));
    list_remove(&pull->node);
    while (!list_empty(&pull->waiters)) {
        struct image_op *op = list_first(&pull->waiters, struct image_op, node);
        list_remove(&op->node);
        image_op_finish(op, id, error);
    }
    free(pull->reference);
    free(pull);
}

static void start_pull(struct image_op *op)
{
    struct podman *p = op->podman;
    struct image_pull *pull;
    list_each (pull, &p->pulls, node) {
        if (str_eq(pull->reference, op->reference)) {
            list_add_tail(&pull->waiters, &op->node);
            return;
        }
    }
    pull = NEW(struct image_pull);
    pull->podman = p;
    pull->reference = mem_strdup(op->reference);
    list_init(&pull->waiters);
    list_add_tail(&pull->waiters, &op->node);
    list_add_tail(&p->pulls, &pull->node);
    log_info("runtime", "pulling image %s", op->reference);
    auto_str target = {0};
    str_add(&target, "/images/pull");
    http_query_add(&target, "reference", op->reference);
    http_query_add(&target, "policy", "always");
    struct podman_request request = {.method = "POST",
                                     .target = str_take(&target),
                                     .timeout_ms = PULL_TIMEOUT_MS,
                                     .registry_auth = op->auth,
                                     .reply = on_pulled,
                                     .arg = pull};
    podman_request(p, &request);
}

void podman_pulls_free(struct podman *p)
{
    must(list_empty(&p->pulls)); /* each pull is a call, and all calls have been answered */
}

static void on_looked(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct image_op *op = arg;
    const char *id = !err && response->status == 200 ? json_string(json, "Id") : NULL;
    auto_err error = err ? err_copy(err) : NULL;
    if (id) {
        map_set(&op->podman->images, op->reference, mem_strdup(id));
        image_op_finish(op, id, NULL);
        return;
    }
    if (!err && response->status != 404)
        podman_reply_error(response, "look for image", &error);
    if (error) {
        image_op_finish(op, NULL, error);
    } else if (op->policy != RUNTIME_PULL_NEVER && str_starts(op->reference, "localhost/")) {
        err_set(&error, ERR_NOT_FOUND,
                "failed to pull image \"%s\": not present on this node, and localhost/ names no registry",
                op->reference);
        image_op_finish(op, NULL, error);
    } else if (op->policy != RUNTIME_PULL_NEVER) {
        start_pull(op);
    } else {
        err_set(&error, ERR_NOT_FOUND, "container image \"%s\" is not present with pull policy of Never",
                op->reference);
        image_op_finish(op, NULL, error);
    }
}

static void look(struct image_op *op)
{
    auto_str target = {0};
    str_add(&target, "/images");
    http_path_add(&target, op->reference);
    str_add(&target, "/json");
    struct podman_request request = {
        .method = "GET", .target = str_take(&target), .reply = on_looked, .arg = op};
    podman_request(op->podman, &request);
}

/* Neither spaces nor control characters, so that it can be part of a URL and of a log line; podman judges the
 * rest. */
static bool plausible(const char *reference)
{
    for (const char *c = reference; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || strchr("\"'\\?#%<>", *c))
            return false;
    return *reference && strlen(reference) < 512;
}

void podman_op_image(struct runtime *r, const char *reference, enum runtime_pull policy,
                     const char *auth_json, runtime_on_image *done, void *arg)
{
    struct podman *p = CONTAINER_OF(r, struct podman, base);
    struct image_op *op = NEW(struct image_op);
    *op = (struct image_op){
        .podman = p, .reference = mem_strdup(reference), .policy = policy, .done = done, .arg = arg};
    list_init(&op->node);
    struct err *error = NULL;
    if (!plausible(reference))
        err_set(&error, ERR_INVALID, "failed to parse image name \"%.100s\": invalid reference format",
                reference);
    else if (auth_json)
        op->auth = podman_reply_auth(auth_json, &error);
    if (policy == RUNTIME_PULL_ALWAYS && str_starts(reference, "localhost/"))
        op->policy = RUNTIME_PULL_IF_NOT_PRESENT;
    const char *known = map_get(&p->images, reference);
    if (error) {
        podman_reply_later(p, on_known, op, error);
    } else if (op->policy == RUNTIME_PULL_ALWAYS) {
        start_pull(op);
    } else if (known) {
        op->id = mem_strdup(known);
        podman_reply_later(p, on_known, op, NULL);
    } else {
        look(op);
    }
}

void podman_image_forget(struct podman *p, const char *reference)
{
    map_remove(&p->images, reference);
}

/* ---- what images there are ---- */

struct json_op {
    runtime_on_json *done;
    void *arg;
};

static void on_images(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct json_op op = *(struct json_op *)arg;
    free(arg);
    auto_err error = err ? err_copy(err) : NULL;
    if (!err && response->status != 200)
        podman_reply_error(response, "list images", &error);
    op.done(op.arg, error ? NULL : podman_reply_images(json), error);
}

void podman_op_images(struct runtime *r, runtime_on_json *done, void *arg)
{
    struct json_op *op = NEW(struct json_op);
    *op = (struct json_op){done, arg};
    struct podman_request request = {
        .method = "GET", .target = mem_strdup("/images/json"), .reply = on_images, .arg = op};
    podman_request(CONTAINER_OF(r, struct podman, base), &request);
}
