/*
 * From method and path to what is asked for: group, version, resource, namespace, name, subresource, verb. No
 * look at the store, no permission. Source: Kubernetes API conventions (requestinfo): /api/v1/… and
 * /apis/GROUP/VERSION/… with namespaces/NS/RESOURCE/NAME/SUBRESOURCE.
 */
#include <string.h>

#include "api/api_internal.h"

static const char *segment(const struct call *call, size_t i)
{
    return i < call->n_segments ? call->segments[i] : NULL;
}

static int read_verb(struct call *call, struct err **err)
{
    const char *method = call->request->method;
    bool named = call->name != NULL;
    if (str_eq(method, "GET") || str_eq(method, "HEAD")) {
        call->verb = named ? "get" : http_request_flag(call->request, "watch") ? "watch" : "list";
    } else if (str_eq(method, "POST")) {
        call->verb = "create";
    } else if (str_eq(method, "PUT")) {
        call->verb = "update";
    } else if (str_eq(method, "PATCH")) {
        call->verb = "patch";
    } else if (str_eq(method, "DELETE")) {
        call->verb = named ? "delete" : "deletecollection";
    } else {
        return err_set(err, ERR_METHOD_NOT_ALLOWED,
                       "the server does not allow this method on the requested resource");
    }
    return 0;
}

/* Everything behind a subresource belongs to it (proxy paths); an empty last segment is a trailing slash. */
static void read_object_path(struct call *call, size_t i)
{
    if (str_eq(segment(call, i), "namespaces") && segment(call, i + 2) &&
        !str_eq(segment(call, i + 2), "status") && !str_eq(segment(call, i + 2), "finalize") &&
        call->n_segments > i + 2) {
        call->namespace = segment(call, i + 1);
        i += 2;
    }
    call->plural = segment(call, i);
    call->name = segment(call, i + 1);
    call->subresource = segment(call, i + 2);
    if (str_eq(call->plural, "namespaces") && !call->namespace)
        call->namespace = NULL;
}

int route_parse(struct call *call, struct err **err)
{
    const char *path = call->request->path;
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    auto_free char *trimmed = mem_strndup(path + (*path == '/'), len - (*path == '/'));
    call->segments = str_split(trimmed, '/', &call->n_segments);
    size_t i;
    if (str_eq(segment(call, 0), "api") && call->n_segments >= 3) {
        call->group = "";
        call->version = segment(call, 1);
        i = 2;
    } else if (str_eq(segment(call, 0), "apis") && call->n_segments >= 4) {
        call->group = segment(call, 1);
        call->version = segment(call, 2);
        i = 3;
    } else {
        call->verb = "get";
        return 0; /* not about a resource */
    }
    read_object_path(call, i);
    if (str_empty(call->plural) || (call->name && !*call->name) || (call->namespace && !*call->namespace))
        return err_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
    return read_verb(call, err);
}

/* ---- Accept ---- */

static bool parameter_is(const char *item, size_t len, const char *name, const char *value)
{
    auto_free char *text = mem_printf(";%s=%s", name, value);
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= len; i++) {
        if (memcmp(item + i, text, n) == 0 && (i + n == len || item[i + n] == ';' || item[i + n] == ' '))
            return true;
    }
    return false;
}

/* The first form in the client's order that this server has; JSON for anything else, also for protobuf alone:
 * every client takes it. */
void call_read_accept(struct call *call)
{
    const char *accept = http_request_header(call->request, "accept");
    while (accept && *accept) {
        size_t len = strcspn(accept, ",");
        if (memmem(accept, len, ";as=", 4)) {
            bool beta = parameter_is(accept, len, "v", "v1beta1");
            bool known = parameter_is(accept, len, "g", "meta.k8s.io") &&
                         (beta || parameter_is(accept, len, "v", "v1"));
            bool json = memmem(accept, len, "json", 4) != NULL;
            if (known && json && parameter_is(accept, len, "as", "Table")) {
                call->form = FORM_TABLE;
                call->form_beta = beta;
                return;
            }
            if (known && json &&
                (parameter_is(accept, len, "as", "PartialObjectMetadata") ||
                 parameter_is(accept, len, "as", "PartialObjectMetadataList"))) {
                call->form = FORM_PARTIAL;
                call->form_beta = beta;
                return;
            }
        } else if (memmem(accept, len, "json", 4) || memmem(accept, len, "*/*", 3)) {
            return;
        }
        accept += len + (accept[len] == ',');
        while (*accept == ' ')
            accept++;
    }
}
