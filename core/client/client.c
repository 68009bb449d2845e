/*
 * Requests on objects: paths, one JSON request and its answer, Status answers as errors. Retries nothing:
 * callers are level-triggered and know what a repeated request means for them.
 */
#include "client/client.h"

#include <string.h>

#include "client/client_private.h"

#define REQUEST_TIMEOUT_MS 30000

struct request {
    struct list node;
    struct client *client;
    struct http_pending *pending;
    client_on_object *done;
    void *arg;
};

struct client *client_new(struct loop *loop, struct http_client *http, const struct random *random)
{
    struct client *client = NEW(struct client);
    client->loop = loop;
    client->http = http;
    client->random = random;
    list_init(&client->requests);
    list_init(&client->batch_steps);
    return client;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    client->closing = true;
    client_batch_cancel(client);
    struct request *request;
    while ((request = list_first(&client->requests, struct request, node))) {
        list_remove(&request->node);
        client->http->ops->cancel(client->http, request->pending);
        auto_err err = NULL;
        err_set(&err, ERR_CANCELLED, "the client was closed");
        request->done(request->arg, NULL, err);
        free(request);
    }
    loop_timer_free(client->batch_timer);
    free(client);
}

static void add_group_and_version(struct str *path, const char *group, const char *version)
{
    if (str_empty(group)) {
        str_addf(path, "/api/%s", version);
        return;
    }
    str_addf(path, "/apis/%s/%s", group, version);
}

char *client_path(const char *resource, const char *version, const char *namespace, const char *name,
                  const char *subresource)
{
    struct str path = {0};
    const char *dot = strchr(resource, '.');
    auto_free char *plural = dot ? mem_strndup(resource, (size_t)(dot - resource)) : mem_strdup(resource);
    add_group_and_version(&path, dot ? dot + 1 : "", version);
    if (!str_empty(namespace)) {
        str_add(&path, "/namespaces");
        http_path_add(&path, namespace);
    }
    http_path_add(&path, plural);
    if (name)
        http_path_add(&path, name);
    if (subresource)
        str_addf(&path, "/%s", subresource);
    return str_take(&path);
}

struct err *client_error_from_status(const cJSON *status, int http_status)
{
    struct err *err = NULL;
    enum err_code code = err_code_from_status(http_status, json_string(status, "reason"));
    const cJSON *causes = json_at(status, "details.causes");
    const cJSON *cause;
    cJSON_ArrayForEach(cause, causes)
    {
        err_add_cause(&err, json_string_or(cause, "reason", "FieldValueInvalid"),
                      json_string_or(cause, "field", ""), "%s", json_string_or(cause, "message", ""));
    }
    const char *message = json_string(status, "message");
    auto_free char *text = message ? mem_strdup(message) : mem_printf("the server answered %d", http_status);
    if (!err) {
        err_set(&err, code == ERR_NONE ? ERR_INTERNAL : code, "%s", text);
        return err;
    }
    free(err->message);
    err->message = steal(&text);
    err->code = code == ERR_NONE ? ERR_INTERNAL : code;
    return err;
}

static void on_response(void *arg, const struct http_response *response, struct err *err)
{
    struct request *request = arg;
    list_remove(&request->node);
    if (err) {
        request->done(request->arg, NULL, err);
        free(request);
        return;
    }
    auto_json object = json_parse_trusted(response->body, response->len);
    auto_err failure = NULL;
    if (response->status >= 400)
        failure = client_error_from_status(object, response->status);
    else if (!object && response->len)
        err_set(&failure, ERR_INTERNAL, "the server's answer is not JSON");
    request->done(request->arg, steal(&object), failure);
    free(request);
}

struct refusal {
    client_on_object *done;
    void *arg;
};

static void refuse(void *arg)
{
    struct refusal *refusal = arg;
    auto_err err = NULL;
    err_set(&err, ERR_CANCELLED, "the client was closed");
    refusal->done(refusal->arg, NULL, err);
    free(refusal);
}

void client_request(struct client *client, const char *method, const char *target, const char *content_type,
                    const cJSON *body, client_on_object *done, void *arg)
{
    if (client->closing) {
        struct refusal *refusal = NEW(struct refusal);
        *refusal = (struct refusal){done, arg};
        loop_post(client->loop, refuse, refusal);
        return;
    }
    struct request *request = NEW(struct request);
    request->client = client;
    request->done = done;
    request->arg = arg;
    list_add_tail(&client->requests, &request->node);
    auto_free char *text = body ? json_print(body) : NULL;
    const struct http_call call = {
        .method = method,
        .target = target,
        .content_type = !body          ? NULL
                        : content_type ? content_type
                                       : "application/json",
        .body = text,
        .body_len = text ? strlen(text) : 0,
        .timeout_ms = REQUEST_TIMEOUT_MS,
        .on_response = on_response,
        .arg = request,
    };
    request->pending = client->http->ops->call(client->http, &call);
}
