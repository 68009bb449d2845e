/*
 * The blocking call that commands use: a loop of its own for one call, and a copy of the answer that the
 * caller owns.
 */
#include <string.h>

#include "http/client_private.h"

struct blocking {
    struct loop *loop;
    struct http_response *response;
    struct err *err;
};

static struct http_response *copy_response(const struct http_response *from)
{
    struct http_response *copy = NEW(struct http_response);
    *copy = *from;
    char *body = mem_alloc(from->len + 1);
    if (from->len)
        memcpy(body, from->body, from->len);
    copy->body = body;
    copy->content_type = mem_strdup(from->content_type);
    struct http_pair *headers = mem_array(from->n_headers + 1, sizeof *headers);
    for (size_t i = 0; i < from->n_headers; i++) {
        headers[i].name = mem_strdup(from->headers[i].name);
        headers[i].value = mem_strdup(from->headers[i].value);
    }
    copy->headers = headers;
    return copy;
}

static void on_answer(void *arg, const struct http_response *response, struct err *err)
{
    struct blocking *b = arg;
    b->response = response ? copy_response(response) : NULL;
    b->err = err ? err_copy(err) : NULL;
    loop_stop(b->loop);
}

struct http_response *http_client_call_blocking(const struct http_client_options *options,
                                                const struct http_call *call, struct err **err)
{
    struct blocking b = {.loop = loop_new(err)};
    if (!b.loop)
        return NULL;
    struct http_client *client = http_client_curl_new(b.loop, options, err);
    if (client) {
        struct http_call own = *call;
        own.on_response = on_answer;
        own.on_data = NULL;
        own.arg = &b;
        client->ops->call(client, &own);
        loop_run(b.loop);
        client->ops->free(client);
    }
    loop_free(b.loop);
    if (b.err)
        err_move(err, &b.err);
    return b.response;
}

void http_response_free(struct http_response *response)
{
    if (!response)
        return;
    for (size_t i = 0; i < response->n_headers; i++) {
        free((char *)(uintptr_t)response->headers[i].name);
        free((char *)(uintptr_t)response->headers[i].value);
    }
    free((struct http_pair *)(uintptr_t)response->headers);
    free((char *)(uintptr_t)response->body);
    free((char *)(uintptr_t)response->content_type);
    free(response);
}
