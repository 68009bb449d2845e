/*
 * podman_reply: what podman's answers mean. Pure: no call is made here.
 *
 * podman answers nearly every failure with status 500 and says the kind only in words ("cause", "message");
 * the words of 4.x are matched here, in one table, and what matches nothing stays an internal error with
 * podman's own text.
 */
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "runtime/podman_internal.h"

static const struct {
    const char *words;
    enum err_code code;
} meanings[] = {
    {"no such container", ERR_NOT_FOUND},
    {"no such exec session", ERR_NOT_FOUND},
    {"image not known", ERR_NOT_FOUND},
    {"no such image", ERR_NOT_FOUND},
    {"already in use", ERR_ALREADY_EXISTS},
    {"manifest unknown", ERR_NOT_FOUND},
    {"name unknown", ERR_NOT_FOUND},
    {"repository name not known", ERR_NOT_FOUND},
    {"repository does not exist", ERR_NOT_FOUND},
    {"no unqualified-search registries", ERR_NOT_FOUND},
    {"unauthorized", ERR_UNAUTHORIZED},
    {"authentication required", ERR_UNAUTHORIZED},
    {"requested access to the resource is denied", ERR_UNAUTHORIZED},
    {"invalid image name", ERR_INVALID},
    {"invalid reference format", ERR_INVALID},
    {"repository name must be lowercase", ERR_INVALID},
    {"no space left", ERR_INTERNAL},
    {"too many open files", ERR_INTERNAL},
    {"connection refused", ERR_UNAVAILABLE},
    {"no route to host", ERR_UNAVAILABLE},
    {"i/o timeout", ERR_UNAVAILABLE},
    {"no such host", ERR_UNAVAILABLE},
    {"server misbehaving", ERR_UNAVAILABLE},
    {"executable file", ERR_INVALID},
    {"command that was not found", ERR_INVALID},
    {"no command or entrypoint", ERR_INVALID},
    {"OCI permission denied", ERR_INVALID},
    {"exec format error", ERR_INVALID},
    {"no such file or directory", ERR_INVALID},
    {"not a directory", ERR_INVALID},
    {"does not exist", ERR_INVALID},
    {"no matching entries in passwd file", ERR_INVALID},
    {"no matching entries in group file", ERR_INVALID},
    {"unable to find user", ERR_INVALID},
    {"invalid argument", ERR_INVALID},
    {"unknown capability", ERR_INVALID},
    {"container state improper", ERR_CONFLICT},
    {"not running", ERR_CONFLICT},
};

static enum err_code code_of(int status, const char *text)
{
    for (size_t i = 0; text && i < COUNT_OF(meanings); i++)
        if (strcasestr(text, meanings[i].words))
            return meanings[i].code;
    if (status == 404)
        return ERR_NOT_FOUND;
    if (status == 409)
        return ERR_CONFLICT;
    return status >= 400 && status < 500 ? ERR_INVALID : ERR_INTERNAL;
}

/* podman appends the cause to a message that has said it already. */
static char *without_cause(const char *message, const char *cause)
{
    size_t len = strlen(message), tail = cause ? strlen(cause) : 0;
    if (tail && len > tail + 2 && str_eq(message + len - tail, cause) &&
        strncmp(message + len - tail - 2, ": ", 2) == 0)
        len -= tail + 2;
    return mem_strndup(message, len);
}

int podman_reply_error(const struct http_response *response, const char *what, struct err **err)
{
    auto_json json = json_parse(response->body, response->len, NULL);
    const char *message = json_string(json, "message"), *cause = json_string(json, "cause");
    if (!message)
        message = json_string(json, "error");
    if (!message)
        return err_set(err, code_of(response->status, NULL), "%s: podman answered with status %d", what,
                       response->status);
    auto_free char *text = without_cause(message, cause);
    return err_set(err, code_of(response->status, message), "%s: %s", what, text);
}

static int64_t parse_time(const cJSON *json, const char *path)
{
    int64_t ns = 0;
    const char *text = json_string(json, path);
    if (!text || str_starts(text, "0001-") || time_parse(text, &ns, NULL) < 0)
        return 0;
    return ns;
}

static enum runtime_state state_of(const char *status)
{
    static const char *const created[] = {"created", "configured", "initialized"};
    for (size_t i = 0; i < COUNT_OF(created); i++)
        if (str_eq(status, created[i]))
            return RUNTIME_CREATED;
    static const char *const running[] = {"running", "paused", "stopping"};
    for (size_t i = 0; i < COUNT_OF(running); i++)
        if (str_eq(status, running[i]))
            return RUNTIME_RUNNING;
    return RUNTIME_EXITED;
}

static void read_labels(struct runtime_container *container, const cJSON *labels)
{
    size_t count = 0;
    json_each (label, labels)
        count++;
    container->labels = mem_array(count ? count : 1, sizeof(*container->labels));
    json_each (label, labels) {
        if (!cJSON_IsString(label))
            continue;
        container->labels[container->n_labels++] =
            (struct runtime_pair){mem_strdup(label->string), mem_strdup(label->valuestring)};
    }
}

struct runtime_container *podman_reply_listed(const cJSON *json, struct err **err)
{
    const char *id = json_string(json, "Id"), *name = json_string(json, "Names[0]");
    const char *state = json_string(json, "State");
    if (!id || !name || !state) {
        err_set(err, ERR_INTERNAL, "podman's list of containers has no Id, Names or State");
        return NULL;
    }
    struct runtime_container *c = NEW(struct runtime_container);
    c->id = mem_strdup(id);
    c->name = mem_strdup(name);
    c->image = mem_strdup(json_string_or(json, "Image", ""));
    c->image_id = mem_strdup(json_string_or(json, "ImageID", ""));
    c->state = state_of(state);
    c->pid = c->state == RUNTIME_RUNNING ? (int)json_int(json, "Pid", 0) : 0;
    c->exit_code = c->state == RUNTIME_EXITED ? (int)json_int(json, "ExitCode", 0) : 0;
    c->stop_signal = SIGTERM;
    c->created_ns = parse_time(json, "Created");
    c->started_ns = json_int(json, "StartedAt", 0) * 1000000000;
    c->finished_ns = c->state == RUNTIME_EXITED ? json_int(json, "ExitedAt", 0) * 1000000000 : 0;
    read_labels(c, json_get(json, "Labels"));
    return c;
}

struct runtime_container *podman_reply_container(const cJSON *json, struct err **err)
{
    const char *id = json_string(json, "Id"), *name = json_string(json, "Name");
    const char *status = json_string(json, "State.Status");
    if (!id || !name || !status) {
        err_set(err, ERR_INTERNAL, "podman's description of a container has no Id, Name or State.Status");
        return NULL;
    }
    struct runtime_container *c = NEW(struct runtime_container);
    c->id = mem_strdup(id);
    c->name = mem_strdup(name);
    c->image = mem_strdup(json_string_or(json, "ImageName", ""));
    c->image_id = mem_strdup(json_string_or(json, "Image", ""));
    c->state = state_of(status);
    c->pid = c->state == RUNTIME_RUNNING ? (int)json_int(json, "State.Pid", 0) : 0;
    c->exit_code = c->state == RUNTIME_EXITED ? (int)json_int(json, "State.ExitCode", 0) : 0;
    c->oom_killed = c->state == RUNTIME_EXITED && json_bool(json, "State.OOMKilled", false);
    c->stop_signal = (int)json_int(json, "Config.StopSignal", SIGTERM);
    c->created_ns = parse_time(json, "Created");
    c->started_ns = parse_time(json, "State.StartedAt");
    c->finished_ns = c->state == RUNTIME_EXITED ? parse_time(json, "State.FinishedAt") : 0;
    if (c->finished_ns && c->finished_ns < c->started_ns)
        c->finished_ns = c->started_ns; /* podman notes the start of a short run after its end */
    read_labels(c, json_at(json, "Config.Labels"));
    const char *log_path = json_string(json, "HostConfig.LogConfig.Path"),
               *error = json_string(json, "State.Error");
    c->log_path = str_empty(log_path) ? NULL : mem_strdup(log_path);
    c->error = str_empty(error) ? NULL : mem_strdup(error);
    return c;
}

char *podman_reply_pull(const char *text, size_t len, const char *reference, struct err **err)
{
    auto_free char *id = NULL, *problem = NULL;
    for (const char *line = text, *end = text + len; line && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        auto_json json = json_parse(line, (size_t)((stop ? stop : end) - line), NULL);
        const char *error = json_string(json, "error"), *found = json_string(json, "id");
        if (error) {
            free(problem);
            problem = mem_strdup(error);
        }
        if (found) {
            free(id);
            id = mem_strdup(found);
        }
        line = stop ? stop + 1 : NULL;
    }
    if (!problem && !str_empty(id))
        return steal(&id);
    err_set(err, problem ? code_of(500, problem) : ERR_INTERNAL, "failed to pull image \"%s\": %s", reference,
            problem ? problem : "the registry's answer ended early");
    return NULL;
}

cJSON *podman_reply_images(const cJSON *listed)
{
    cJSON *images = cJSON_CreateArray();
    json_each (item, listed) {
        const cJSON *names = json_get(item, "Names");
        if (!cJSON_IsArray(names) || cJSON_GetArraySize(names) == 0)
            continue;
        cJSON *image = json_push(images, cJSON_CreateObject());
        cJSON *copied = json_ensure_array(image, "names");
        json_each (name, names) {
            if (cJSON_IsString(name))
                json_push_string(copied, name->valuestring);
        }
        json_set_int(image, "sizeBytes", json_int(item, "Size", 0));
    }
    return images;
}

/* One entry of a dockerconfigjson: "auth" is base64 of user:password. */
static cJSON *registry_login(const cJSON *entry)
{
    cJSON *login = cJSON_CreateObject();
    const char *auth = json_string(entry, "auth");
    unsigned char *decoded = NULL;
    size_t len = 0;
    if (!str_empty(auth) && str_unbase64(auth, strlen(auth), &decoded, &len) == 0) {
        auto_free char *pair = mem_strndup((const char *)decoded, len);
        char *colon = strchr(pair, ':');
        if (colon) {
            *colon = 0;
            json_set_string(login, "username", pair);
            json_set_string(login, "password", colon + 1);
        }
        free(decoded);
    }
    if (json_string(entry, "username"))
        json_set_string(login, "username", json_string(entry, "username"));
    if (json_string(entry, "password"))
        json_set_string(login, "password", json_string(entry, "password"));
    return login;
}

char *podman_reply_auth(const char *auth_json, struct err **err)
{
    auto_json json = json_parse(auth_json, strlen(auth_json), NULL);
    if (!json) { /* the text may hold a password: it is not repeated */
        err_set(err, ERR_INVALID, "the image pull secret is not valid JSON");
        return NULL;
    }
    auto_free char *text = NULL;
    const cJSON *registries = json_get(json, "auths");
    if (cJSON_IsObject(registries)) {
        auto_json logins = cJSON_CreateObject();
        json_each (entry, registries)
            json_set(logins, entry->string, registry_login(entry));
        text = json_print(logins);
    } else {
        text = json_print(json);
    }
    char *encoded = str_base64(text, strlen(text));
    for (char *c = encoded; *c; c++) /* the header takes the alphabet for URLs */
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
    return encoded;
}
