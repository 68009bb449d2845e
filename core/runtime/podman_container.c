/*
 * podman_container: list, create, start, inspect, signal, remove.
 *
 * Each operation may be repeated at any time: what is already so counts as done. A running container is
 * killed and its end awaited before podman is told to remove it, because podman itself would look for the end
 * every 100 ms.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define INSPECT_TRIES 100

static struct podman *podman_of(struct runtime *r)
{
    return CONTAINER_OF(r, struct podman, base);
}

static char *container_target(const char *name, const char *action)
{
    auto_str target = {0};
    str_add(&target, "/containers");
    http_path_add(&target, name);
    str_add(&target, action);
    return str_take(&target);
}

/* ---- inspect ---- */

struct container_op {
    struct podman *podman;
    char *name;
    unsigned tries;
    runtime_on_container *done;
    void *arg;
};

static void container_op_finish(struct container_op *op, struct runtime_container *container, struct err *err)
{
    op->done(op->arg, container, err);
    free(op->name);
    free(op);
}

static void inspect(struct container_op *op);

/* podman reads the process's cgroup while it describes a container, and fails if that one ends in this
 * moment. */
static bool just_ending(const struct http_response *response)
{
    return response->status == 500 && strstr(response->body, "/proc/");
}

static void on_inspected(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct container_op *op = arg;
    auto_err error = NULL;
    struct runtime_container *container = NULL;
    if (!err && just_ending(response) && ++op->tries < INSPECT_TRIES) {
        inspect(op);
        return;
    }
    if (err)
        error = err_copy(err);
    else if (response->status != 200)
        podman_reply_error(response, op->name, &error);
    else
        container = podman_reply_container(json, &error);
    if (container)
        podman_record_update(op->podman, container);
    container_op_finish(op, container, error);
}

static void inspect(struct container_op *op)
{
    struct podman_request request = {
        .method = "GET", .target = container_target(op->name, "/json"), .reply = on_inspected, .arg = op};
    podman_request(op->podman, &request);
}

static struct container_op *container_op_new(struct runtime *r, const char *name, runtime_on_container *done,
                                             void *arg)
{
    struct container_op *op = NEW(struct container_op);
    *op = (struct container_op){.podman = podman_of(r), .name = mem_strdup(name), .done = done, .arg = arg};
    return op;
}

static void on_sandbox(void *arg, const struct http_response *response UNUSED, cJSON *json UNUSED,
                       struct err *err)
{
    struct container_op *op = arg;
    auto_err error = err ? err_copy(err) : NULL;
    struct runtime_container *container = err ? NULL : podman_sandbox_describe(op->podman, op->name, &error);
    container_op_finish(op, container, error);
}

void podman_op_inspect(struct runtime *r, const char *name, runtime_on_container *done, void *arg)
{
    struct container_op *op = container_op_new(r, name, done, arg);
    if (podman_sandbox_exists(op->podman, name))
        podman_reply_later(op->podman, on_sandbox, op, NULL);
    else
        inspect(op);
}

/* ---- start ---- */

static void on_started(void *arg, const struct http_response *response, cJSON *json UNUSED, struct err *err)
{
    struct container_op *op = arg;
    if (!err && (response->status == 204 || response->status == 304)) {
        podman_record_get(op->podman, op->name)->started = true;
        inspect(op);
        return;
    }
    auto_err error = err ? err_copy(err) : NULL;
    if (!err)
        podman_reply_error(response, "start", &error);
    container_op_finish(op, NULL, error);
}

void podman_op_start(struct runtime *r, const char *name, runtime_on_container *done, void *arg)
{
    if (podman_sandbox_exists(podman_of(r), name)) {
        podman_sandbox_start(podman_of(r), name, done, arg);
        return;
    }
    struct podman_request request = {.method = "POST",
                                     .target = container_target(name, "/start"),
                                     .heavy = true,
                                     .priority = 2,
                                     .reply = on_started,
                                     .arg = container_op_new(r, name, done, arg)};
    podman_request(podman_of(r), &request);
}

/* ---- list ---- */

struct list_op {
    struct podman *podman;
    runtime_on_list *done;
    void *arg;
    struct runtime_container **containers;
    size_t count, open;
    struct err *error;
};

static void list_op_step(struct list_op *op)
{
    if (op->open)
        return;
    if (!op->error)
        op->count = podman_sandboxes(op->podman, &op->containers, op->count);
    if (op->error) {
        for (size_t i = 0; i < op->count; i++)
            runtime_container_free(op->containers[i]);
        free(steal(&op->containers));
        op->count = 0;
    }
    op->done(op->arg, op->containers, op->count, op->error);
    err_free(op->error);
    free(op);
}

struct list_item {
    struct list_op *op;
    cJSON *entry;
};

/* The service is gone, or does not answer. */
static bool is_of_the_service(enum err_code code)
{
    return code == ERR_CANCELLED || code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_IO;
}

/* One container that podman cannot describe does not hide the others. What the list says is enough to remove
 * it. */
static struct runtime_container *describe_as_listed(struct podman *p, const cJSON *entry,
                                                    const struct err *problem)
{
    struct runtime_container *container = podman_reply_listed(entry, NULL);
    if (!container) {
        log_error("runtime", "a container is left out: %s", err_message(problem));
        return NULL;
    }
    podman_record_update(p, container);
    struct podman_record *record = podman_record_get(p, container->name);
    if (!record->unreadable)
        log_error("runtime", "%s: only what podman's list says of it is known: %s", container->name,
                  err_message(problem));
    record->unreadable = true;
    return container;
}

static void on_list_item(void *arg, struct runtime_container *container, struct err *err)
{
    struct list_item *item = arg;
    struct list_op *op = item->op;
    enum err_code code = err_code(err);
    op->open--;
    /* One that has gone meanwhile is no failure. */
    if (!container && code != ERR_NOT_FOUND && !is_of_the_service(code))
        container = describe_as_listed(op->podman, item->entry, err);
    else if (!container && code != ERR_NOT_FOUND && !op->error)
        op->error = err_copy(err);
    if (container)
        op->containers[op->count++] = container;
    cJSON_Delete(item->entry);
    free(item);
    list_op_step(op);
}

static void on_listed(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct list_op *op = arg;
    if (err)
        op->error = err_copy(err);
    else if (response->status != 200)
        podman_reply_error(response, "list containers", &op->error);
    size_t count = op->error ? 0 : (size_t)cJSON_GetArraySize(json);
    op->containers = count ? mem_array(count, sizeof(*op->containers)) : NULL;
    op->open = 1; /* this function itself */
    if (count)
        json_each (item, json) {
            const char *id = json_string(item, "Id");
            if (!id)
                continue;
            op->open++;
            struct list_item *one = NEW(struct list_item);
            *one = (struct list_item){op, json_copy(item)};
            podman_op_inspect(&op->podman->base, id, on_list_item, one);
        }
    op->open--;
    list_op_step(op);
}

void podman_op_list(struct runtime *r, runtime_on_list *done, void *arg)
{
    struct podman *p = podman_of(r);
    struct list_op *op = NEW(struct list_op);
    *op = (struct list_op){.podman = p, .done = done, .arg = arg};
    auto_free char *cluster = mem_printf(PODMAN_LABEL "cluster=%s", p->options.cluster);
    auto_free char *node = mem_printf(PODMAN_LABEL "node=%s", p->options.node);
    auto_json filters = cJSON_CreateObject();
    cJSON *labels = json_ensure_array(filters, "label");
    json_push_string(labels, cluster);
    json_push_string(labels, node);
    auto_free char *text = json_print(filters);
    auto_str target = {0};
    str_add(&target, "/containers/json");
    http_query_add(&target, "all", "true");
    http_query_add(&target, "filters", text);
    struct podman_request request = {
        .method = "GET", .target = str_take(&target), .reply = on_listed, .arg = op};
    podman_request(p, &request);
}

/* ---- create ---- */

struct done_op {
    struct podman *podman;
    char *name, *image;
    cJSON *body; /* create */
    bool non_root, account_needed;
    struct podman_account account;
    bool retried;
    runtime_on_done *done;
    void *arg;
};

static struct done_op *done_op_new(struct runtime *r, const char *name, runtime_on_done *done, void *arg)
{
    struct done_op *op = NEW(struct done_op);
    *op = (struct done_op){.podman = podman_of(r), .name = mem_strdup(name), .done = done, .arg = arg};
    return op;
}

static void done_op_finish(struct done_op *op, struct err *err)
{
    op->done(op->arg, err);
    cJSON_Delete(op->body);
    free(op->name);
    free(op->image);
    free(op);
}

static void create(struct done_op *op);

static void on_name_freed(void *arg, const struct http_response *response UNUSED, cJSON *json UNUSED,
                          struct err *err)
{
    struct done_op *op = arg;
    if (err)
        done_op_finish(op, err);
    else
        create(op);
}

/* The name is taken: by a whole container, which is success, or by what a killed podman left in its storage.
 */
static void on_name_checked(void *arg, const struct http_response *response, cJSON *json UNUSED,
                            struct err *err)
{
    struct done_op *op = arg;
    if (err || response->status < 300) {
        done_op_finish(op, err);
        return;
    }
    log_warn("runtime", "%s is half made, removing it", op->name);
    op->retried = true;
    struct podman_request request = {.method = "DELETE",
                                     .target = container_target(op->name, "?force=true&timeout=0"),
                                     .reply = on_name_freed,
                                     .arg = op};
    podman_request(op->podman, &request);
}

static void on_created(void *arg, const struct http_response *response, cJSON *json UNUSED, struct err *err)
{
    struct done_op *op = arg;
    if (err || response->status == 201) {
        done_op_finish(op, err);
        return;
    }
    auto_err error = NULL;
    podman_reply_error(response, "create", &error);
    if (err_code(error) == ERR_ALREADY_EXISTS && !op->retried) {
        struct podman_request request = {.method = "GET",
                                         .target = container_target(op->name, "/exists"),
                                         .reply = on_name_checked,
                                         .arg = op};
        podman_request(op->podman, &request);
        return;
    }
    if (err_code(error) == ERR_NOT_FOUND && op->image)
        podman_image_forget(op->podman, op->image);
    done_op_finish(op, error);
}

static void create(struct done_op *op)
{
    struct podman_request request = {.method = "POST",
                                     .target = mem_strdup("/containers/create"),
                                     .body = json_copy(op->body),
                                     .heavy = true,
                                     .priority = op->image ? 1 : 0,
                                     .reply = on_created,
                                     .arg = op};
    podman_request(op->podman, &request);
}

/* The image's user must be a number other than 0: what a name stands for is not known before the start. */
static int check_user(const char *user, struct err **err)
{
    size_t digits = user ? strspn(user, "0123456789") : 0;
    bool number = digits && (user[digits] == 0 || user[digits] == ':');
    if (str_empty(user) || (number && strspn(user, "0") == digits))
        return err_set(err, ERR_FORBIDDEN, "container has runAsNonRoot and image will run as root");
    if (!number)
        return err_set(
            err, ERR_FORBIDDEN,
            "container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is "
            "non-root",
            user);
    return 0;
}

static void on_image_inspected(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct done_op *op = arg;
    auto_err error = err ? err_copy(err) : NULL;
    if (!err && response->status != 200) {
        podman_reply_error(response, "look at the image's user", &error);
        if (err_code(error) == ERR_NOT_FOUND)
            podman_image_forget(op->podman, op->image);
    } else if (!err && op->non_root) {
        check_user(json_string(json, "Config.User"), &error);
    }
    if (!error && op->account_needed)
        podman_account_apply(op->body, &op->account, json);
    if (error)
        done_op_finish(op, error);
    else
        create(op);
}

static void create_as_image_allows(struct done_op *op)
{
    auto_str target = {0};
    str_add(&target, "/images");
    http_path_add(&target, op->image);
    str_add(&target, "/json");
    struct podman_request request = {
        .method = "GET", .target = str_take(&target), .reply = on_image_inspected, .arg = op};
    podman_request(op->podman, &request);
}

/* Made, or (err) not. */
static void on_sandbox_created(void *arg, const struct http_response *response UNUSED, cJSON *json UNUSED,
                               struct err *err)
{
    done_op_finish(arg, err);
}

void podman_op_create(struct runtime *r, const struct runtime_spec *spec, runtime_on_done *done, void *arg)
{
    struct podman *p = podman_of(r);
    struct done_op *op = done_op_new(r, spec->name, done, arg);
    if (!spec->sandbox && str_empty(spec->image)) {
        struct err *error = NULL;
        podman_sandbox_create(p, spec, &error);
        podman_reply_later(p, on_sandbox_created, op, error);
        return;
    }
    op->image = mem_strdup(spec->image);
    op->body = podman_spec_translate(spec, &p->options, &p->facts);
    if (spec->sandbox && podman_sandbox_exists(p, spec->sandbox)) {
        struct err *error = NULL;
        if (podman_sandbox_join(p, spec, op->body, &error) < 0) {
            podman_reply_later(p, on_sandbox_created, op, error);
            return;
        }
    }
    op->non_root = spec->security.non_root && spec->security.user < 0;
    op->account_needed = op->image && *op->image && podman_account_needed(&spec->security);
    op->account =
        (struct podman_account){spec->security.user, spec->security.group, spec->security.strict_groups};
    if (op->non_root || op->account_needed)
        create_as_image_allows(op);
    else
        create(op);
}

/* ---- signal ---- */

static void on_signalled(void *arg, const struct http_response *response, cJSON *json UNUSED, struct err *err)
{
    struct done_op *op = arg;
    auto_err error = err ? err_copy(err) : NULL;
    if (response && response->status >= 300)
        podman_reply_error(response, "signal", &error);
    enum err_code code = err_code(error);
    bool gone = code == ERR_NOT_FOUND || code == ERR_CONFLICT; /* absent or not running */
    done_op_finish(op, gone ? NULL : error);
}

/* True if the process was signalled or has ended. */
static bool signal_process(struct podman *p, const char *name, int number)
{
    struct podman_record *record = map_get(&p->records, name);
    if (!record || record->pidfd < 0)
        return false;
    return syscall(SYS_pidfd_send_signal, record->pidfd, number, NULL, 0) == 0 || errno == ESRCH;
}

/* False: it is none of our own. Else it has a record, which knows whether it runs. */
static bool observe_sandbox(struct podman *p, const char *name)
{
    struct podman_record *record = map_get(&p->records, name);
    if (!podman_sandbox_exists(p, name))
        return false;
    if (!record || record->pidfd < 0)
        runtime_container_free(podman_sandbox_describe(p, name, NULL));
    return true;
}

void podman_op_signal(struct runtime *r, const char *name, int signal_number, runtime_on_done *done,
                      void *arg)
{
    struct podman *p = podman_of(r);
    struct done_op *op = done_op_new(r, name, done, arg);
    bool own = observe_sandbox(p, name);
    if (signal_process(p, name, signal_number) || own) { /* own and no process: it does not run */
        podman_reply_later(p, on_signalled, op, NULL);
        return;
    }
    auto_free char *action = mem_printf("/kill?signal=%d", signal_number);
    struct podman_request request = {
        .method = "POST", .target = container_target(name, action), .reply = on_signalled, .arg = op};
    podman_request(p, &request);
}

/* ---- remove ---- */

void podman_op_leaving(struct runtime *r, const char *name)
{
    struct podman *p = podman_of(r);
    const struct podman_record *record = map_get(&p->records, name);
    if (!record || !record->id || record->own)
        return;
    auto_free char *folder = podman_leaving_path(&p->options), *path = file_join(folder, record->id);
    auto_fd fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) /* podman tidies up as ever */
        log_warn("runtime", "note that %s will be removed: %s", name, strerror(errno));
}

static void remove_pod_cgroup(const struct podman_record *record)
{
    if (!record || !record->sandbox || !record->cgroup)
        return;
    auto_free char *parent = mem_strdup(record->cgroup);
    char *slash = strrchr(parent, '/');
    if (!slash || slash == parent)
        return;
    *slash = 0;
    podman_cgroup_remove(parent);
}

static void on_removed(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct done_op *op = arg;
    struct podman *p = op->podman;
    auto_err error = err ? err_copy(err) : NULL;
    if (response && response->status >= 300 && response->status != 404)
        podman_reply_error(response, "remove", &error);
    const char *problem = cJSON_IsArray(json) ? json_string(json->child, "Err") : NULL;
    if (!error && problem)
        err_set(&error, ERR_INTERNAL, "remove: %s", problem);
    if (!error) {
        auto_free char *name = mem_strdup(op->name);
        remove_pod_cgroup(map_get(&p->records, name));
        podman_record_forget(p, name);
        done_op_finish(op, NULL);
        return;
    }
    done_op_finish(op, error);
}

static void remove_now(struct done_op *op)
{
    if (podman_sandbox_exists(op->podman, op->name)) {
        struct err *error = NULL;
        podman_sandbox_remove(op->podman, op->name, &error);
        podman_reply_later(op->podman, on_removed, op, error);
        return;
    }
    struct podman_record *record = map_get(&op->podman->records, op->name);
    bool depend = !record || record->sandbox;
    auto_free char *action = mem_printf("?force=true&v=true&timeout=0%s", depend ? "&depend=true" : "");
    struct podman_request request = {
        .method = "DELETE", .target = container_target(op->name, action), .reply = on_removed, .arg = op};
    podman_request(op->podman, &request);
}

void podman_removal_continue(void *removal, struct err *err)
{
    struct done_op *op = removal;
    if (err)
        done_op_finish(op, err);
    else
        remove_now(op);
}

void podman_op_remove(struct runtime *r, const char *name, runtime_on_done *done, void *arg)
{
    struct podman *p = podman_of(r);
    struct done_op *op = done_op_new(r, name, done, arg);
    observe_sandbox(p, name);
    struct podman_record *record = map_get(&p->records, name);
    if (record && record->pidfd >= 0)
        podman_op_leaving(r, name);
    if (record && !record->removal && signal_process(p, name, SIGKILL))
        record->removal = op;
    else
        remove_now(op);
}
