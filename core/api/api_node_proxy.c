/*
 * Logs, exec, attach, port-forward: found pod → its node's agent, which speaks WebSocket or SPDY itself; and
 * GET nodes/NAME/proxy/…: what the agent itself has to tell (/metrics, /stats/summary). Here
 * headers pass through and bytes are spliced (contract 6); everything that goes wrong before the upgrade is a
 * normal Status.
 *
 * Threads: checks run where the request came in; clients of nodes live on the api's loop.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

#define DEFAULT_NODE_PORT 10250
#define PAGE_TIMEOUT_MS 30000
#define LOG_HIGH (256u << 10) /* above, the node is paused */

struct api_nodes {
    struct api *api;
    struct map clients; /* URL → http_client; on the loop */
};

static void free_client(void *value)
{
    struct http_client *client = value;
    client->ops->free(client);
}

struct api_nodes *nodes_new(struct api *api)
{
    struct api_nodes *nodes = NEW(struct api_nodes);
    nodes->api = api;
    map_init(&nodes->clients, free_client);
    return nodes;
}

void nodes_free(struct api_nodes *nodes)
{
    if (!nodes)
        return;
    map_fini(&nodes->clients);
    free(nodes);
}

struct http_client *nodes_client(struct api *api, const char *url, struct err **err)
{
    struct api_nodes *nodes = api->nodes;
    struct http_client *client = map_get(&nodes->clients, url);
    if (client)
        return client;
    if (!api->options.node_client) {
        err_set(err, ERR_UNAVAILABLE, "this server cannot reach nodes");
        return NULL;
    }
    client = api->options.node_client(api->options.node_client_arg, url, err);
    if (client)
        map_set(&nodes->clients, url, client);
    return client;
}

/* ---- whom to ask ---- */

static cJSON *read_object(struct api *api, const char *resource, const char *namespace, const char *name,
                          struct err **err)
{
    struct store *store = api->store;
    auto_free char *key = store_key(resource, namespace, name);
    struct store_object object = {0};
    if (store->ops->get(store, key, &object, NULL) < 0) {
        err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", resource, name);
        return NULL;
    }
    cJSON *parsed = json_parse_trusted(object.bytes->data, object.bytes->len);
    store_object_fini(&object);
    return parsed;
}

bool address_read(const char *text, struct in6_addr *address)
{
    auto_free char *mapped = mem_printf("::ffff:%s", text);
    return inet_pton(AF_INET6, strchr(text, ':') ? text : mapped, address) == 1;
}

/* The server listens on all addresses of its machine. */
static bool is_own(const struct api *api, const struct in6_addr *address, int64_t port)
{
    struct in6_addr own;
    if (api->options.public_port == 0 || port != api->options.public_port)
        return false;
    bool loopback =
        IN6_IS_ADDR_LOOPBACK(address) || IN6_IS_ADDR_UNSPECIFIED(address) ||
        (IN6_IS_ADDR_V4MAPPED(address) && (address->s6_addr[12] == 127 || address->s6_addr[12] == 0));
    return loopback || (api->options.public_address && address_read(api->options.public_address, &own) &&
                        IN6_ARE_ADDR_EQUAL(address, &own));
}

char *nodes_url_of(const struct api *api, const cJSON *node, struct err **err)
{
    const char *name = json_string_or(node, "metadata.name", "");
    const char *address = NULL;
    const cJSON *addresses = json_at(node, "status.addresses");
    json_each (each, addresses) {
        if (str_eq(json_string(each, "type"), "InternalIP") && !address)
            address = json_string(each, "address");
    }
    if (str_empty(address)) {
        err_set(err, ERR_UNAVAILABLE, "node %s has not told its address yet", name);
        return NULL;
    }
    int64_t port = json_int(node, "status.daemonEndpoints.kubeletEndpoint.Port", DEFAULT_NODE_PORT);
    struct in6_addr parsed;
    if (!address_read(address, &parsed) || port < 1 || port > UINT16_MAX || is_own(api, &parsed, port)) {
        err_set(err, ERR_UNAVAILABLE, "node %s has told an address where no agent can be", name);
        return NULL;
    }
    bool v6 = strchr(address, ':') != NULL;
    return mem_printf("https://%s%s%s:%" PRId64, v6 ? "[" : "", address, v6 ? "]" : "", port);
}

static char *node_url(struct api *api, const char *name, struct err **err)
{
    auto_json node = read_object(api, "nodes", NULL, name, err);
    return node ? nodes_url_of(api, node, err) : NULL;
}

static const char *const container_lists[] = {"spec.containers", "spec.initContainers",
                                              "spec.ephemeralContainers"};

static const char *find_container(const cJSON *pod, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(container_lists); i++) {
        const cJSON *list = json_at(pod, container_lists[i]);
        json_each (container, list) {
            if (str_eq(json_string(container, "name"), name))
                return json_string(container, "name");
        }
    }
    return NULL;
}

static void add_names(struct str *out, const cJSON *list)
{
    json_each (container, list)
        str_addf(out, "%s%s", container == list->child ? "" : " ", json_string_or(container, "name", ""));
}

/* The words are those of Kubernetes' API server. */
static const char *choose_container(const struct call *call, const cJSON *pod, struct err **err)
{
    const char *wanted = http_request_query(call->request, "container");
    if (!str_empty(wanted)) {
        const char *found = find_container(pod, wanted);
        if (!found)
            err_set(err, ERR_BAD_REQUEST, "container %.253s is not valid for pod %s", wanted, call->name);
        return found;
    }
    const cJSON *annotations = json_get(object_meta(pod), "annotations");
    const cJSON *chosen = json_get(annotations, "kubectl.kubernetes.io/default-container");
    const char *found = cJSON_IsString(chosen) ? find_container(pod, chosen->valuestring) : NULL;
    if (found)
        return found;
    const cJSON *containers = json_at(pod, "spec.containers"), *init = json_at(pod, "spec.initContainers");
    if (containers && containers->child && !containers->child->next)
        return json_string(containers->child, "name");
    auto_str names = {0};
    add_names(&names, containers);
    str_addf(&names, "]");
    if (init && init->child) {
        str_add(&names, " or one of the init containers: [");
        add_names(&names, init);
        str_add_char(&names, ']');
    }
    err_set(err, ERR_BAD_REQUEST, "a container name must be specified for pod %s, choose one of: [%s",
            call->name, str_c(&names));
    return NULL;
}

static char *node_target(const struct call *call, const cJSON *pod, struct err **err)
{
    static const struct {
        const char *subresource, *path;
        bool container;
    } paths[] = {{"log", "/containerLogs", true},
                 {"exec", "/exec", true},
                 {"attach", "/attach", true},
                 {"portforward", "/portForward", false}};
    auto_str target = {0};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        if (!str_eq(paths[i].subresource, call->subresource))
            continue;
        str_add(&target, paths[i].path);
        http_path_add(&target, call->namespace);
        http_path_add(&target, call->name);
        if (paths[i].container) {
            const char *container = choose_container(call, pod, err);
            if (!container)
                return NULL;
            http_path_add(&target, container);
        }
    }
    const char *query = strchr(call->request->target, '?');
    if (query)
        str_add(&target, query);
    return str_take(&target);
}

/* ---- one proxied call ---- */

struct proxied {
    struct call *call; /* NULL once the exchange is answered or taken over by the stream */
    struct api *api;
    struct http_exchange *x;
    char *url, *target, *node;
    struct http_duplex *duplex; /* of the node, while the client's end is being made */

    /* logs */
    pthread_mutex_t lock;
    struct http_client *client;
    struct http_pending *pending; /* on the loop */
    struct str buffer;            /* under the lock, as all that follows */
    int status;
    bool streaming, ended, closed, paused;
    unsigned refs; /* node's call, client's stream, posted tasks */
};

static void proxied_unref(struct proxied *p)
{
    pthread_mutex_lock(&p->lock);
    bool last = --p->refs == 0;
    pthread_mutex_unlock(&p->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&p->lock);
    str_free(&p->buffer);
    free(p->url);
    free(p->target);
    free(p->node);
    free(p);
}

static void fail(struct proxied *p, struct err *err)
{
    struct call *call = steal(&p->call);
    struct err *told = NULL;
    err_set(&told, ERR_UNAVAILABLE, "node %s cannot be reached: %s", p->node, err_message(err));
    call_fail(call, told);
}

/* What a node says instead of logs or an upgrade is passed on: it is a Status already. */
static void pass_on(struct proxied *p, int status, const char *content_type, const char *body, size_t len)
{
    struct str text = {0};
    str_add_n(&text, body, len);
    call_answer_text(steal(&p->call), status, content_type, &text);
}

/* ---- logs ---- */

static void resume_node(void *arg)
{
    struct proxied *p = arg;
    if (p->pending)
        p->client->ops->pause(p->client, p->pending, false);
    proxied_unref(p);
}

static void cancel_node(void *arg)
{
    struct proxied *p = arg;
    if (p->pending) {
        p->client->ops->cancel(p->client, p->pending);
        p->pending = NULL;
        proxied_unref(p); /* the call's */
    }
    proxied_unref(p);
}

static enum http_pull log_pull(void *arg, struct str *out)
{
    struct proxied *p = arg;
    bool resume = false;
    pthread_mutex_lock(&p->lock);
    str_add_n(out, str_c(&p->buffer), p->buffer.len);
    str_clear(&p->buffer);
    if (p->paused) {
        p->paused = false;
        p->refs++;
        resume = true;
    }
    bool ended = p->ended;
    pthread_mutex_unlock(&p->lock);
    if (resume)
        loop_post(p->api->options.loop, resume_node, p);
    return ended ? HTTP_PULL_END : out->len ? HTTP_PULL_MORE : HTTP_PULL_WAIT;
}

static void log_closed(void *arg)
{
    struct proxied *p = arg;
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    bool cancel = !p->ended;
    pthread_mutex_unlock(&p->lock);
    if (cancel)
        loop_post(p->api->options.loop, cancel_node, p); /* with the stream's reference */
    else
        proxied_unref(p);
}

static void log_start(struct proxied *p)
{
    static const struct http_stream_ops ops = {.pull = log_pull, .closed = log_closed};
    p->streaming = true;
    pthread_mutex_lock(&p->lock);
    p->refs++;
    pthread_mutex_unlock(&p->lock);
    call_stream(steal(&p->call), "text/plain", &ops, p);
}

static bool on_log_data(void *arg, int status, const char *data, size_t len)
{
    struct proxied *p = arg;
    p->status = status;
    bool pause = false;
    pthread_mutex_lock(&p->lock);
    str_add_n(&p->buffer, data, len);
    if (p->streaming && p->buffer.len > LOG_HIGH && !p->paused && !p->closed)
        pause = p->paused = true;
    if (p->streaming && !p->closed)
        http_stream_wake(p->x);
    pthread_mutex_unlock(&p->lock);
    if (status == 200 && !p->streaming)
        log_start(p);
    if (pause && p->pending)
        p->client->ops->pause(p->client, p->pending, true);
    return true;
}

static void on_log_end(void *arg, const struct http_response *response, struct err *err)
{
    struct proxied *p = arg;
    p->pending = NULL;
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    if (p->streaming && !p->closed)
        http_stream_wake(p->x);
    pthread_mutex_unlock(&p->lock);
    if (p->call && err)
        fail(p, err);
    else if (p->call)
        pass_on(p, response->status, response->status == 200 ? "text/plain" : response->content_type,
                str_c(&p->buffer), p->buffer.len);
    proxied_unref(p);
}

static void ask_log(struct proxied *p)
{
    const struct http_call call = {
        .method = "GET", .target = p->target, .on_data = on_log_data, .on_response = on_log_end, .arg = p};
    p->pending = p->client->ops->call(p->client, &call);
}

/* ---- upgrades ---- */

static bool is_hop_header(const char *name)
{
    static const char *const dropped[] = {
        "host", "authorization", "content-length", "cookie", "accept-encoding", "content-type", "expect"};
    for (size_t i = 0; i < COUNT_OF(dropped); i++) {
        if (str_eq(dropped[i], name))
            return true;
    }
    return false;
}

struct splice {
    struct loop *loop;
    struct http_duplex *node, *client;
};

static void splice_start(void *arg)
{
    struct splice *splice = arg;
    http_duplex_splice(splice->loop, splice->node, splice->client, NULL, NULL);
    free(splice);
}

static void on_client_duplex(void *arg, struct http_duplex *duplex, struct err *err)
{
    struct proxied *p = arg;
    if (err || !duplex) {
        log_info("api", "upgrade for node %s failed: %s", p->node, err_message(err));
        p->duplex->ops->close(p->duplex);
    } else {
        struct splice *splice = NEW(struct splice);
        *splice = (struct splice){p->api->options.loop, p->duplex, duplex};
        loop_post(splice->loop, splice_start, splice);
    }
    call_free(steal(&p->call));
    proxied_unref(p);
}

static void on_tunnel(void *arg, const struct http_response *response, struct http_duplex *duplex,
                      struct err *err)
{
    struct proxied *p = arg;
    if (!duplex) {
        if (err || !response)
            fail(p, err);
        else
            pass_on(p, response->status, response->content_type, response->body, response->len);
        proxied_unref(p);
        return;
    }
    p->duplex = duplex;
    auto_free struct http_pair *headers = mem_array(response->n_headers + 1, sizeof(*headers));
    size_t n = 0;
    for (size_t i = 0; i < response->n_headers; i++) {
        if (!str_eq(response->headers[i].name, "content-length") &&
            !str_eq(response->headers[i].name, "date"))
            headers[n++] = response->headers[i];
    }
    counters_request(p->api->counters, p->call, 101);
    http_upgrade(p->x, headers, n, on_client_duplex, p);
}

static void ask_tunnel(struct proxied *p)
{
    const struct http_request *request = p->call->request;
    auto_free struct http_pair *headers = mem_array(request->n_headers + 1, sizeof(*headers));
    size_t n = 0;
    for (size_t i = 0; i < request->n_headers; i++) {
        if (!is_hop_header(request->headers[i].name))
            headers[n++] = request->headers[i];
    }
    const struct http_call call = {
        .method = request->method, .target = p->target, .headers = headers, .n_headers = n};
    p->client->ops->tunnel(p->client, &call, on_tunnel, p);
}

static bool is_upgrade(const struct call *call)
{
    return !str_eq(call->subresource, "log") && !str_eq(call->subresource, "proxy");
}

static void on_page(void *arg, const struct http_response *response, struct err *err)
{
    struct proxied *p = arg;
    if (err)
        fail(p, err);
    else
        pass_on(p, response->status, response->content_type, response->body, response->len);
    proxied_unref(p);
}

static void ask_page(struct proxied *p)
{
    const struct http_call call = {.method = "GET",
                                   .target = p->target,
                                   .timeout_ms = PAGE_TIMEOUT_MS,
                                   .on_response = on_page,
                                   .arg = p};
    p->client->ops->call(p->client, &call);
}

static void ask_node(void *arg)
{
    struct proxied *p = arg;
    struct err *err = NULL;
    p->client = nodes_client(p->api, p->url, &err);
    if (!p->client) {
        call_fail(steal(&p->call), err);
        proxied_unref(p);
    } else if (str_eq(p->call->subresource, "log")) {
        ask_log(p);
    } else if (!is_upgrade(p->call)) {
        ask_page(p);
    } else {
        ask_tunnel(p);
    }
}

/* nodes/NAME/proxy/REST → /REST of its agent, as it was written. */
static int prepare_node(struct call *call, struct proxied *p, struct err **err)
{
    const char *name = strstr(call->request->target, "/nodes/");
    const char *rest = name ? strchr(name + strlen("/nodes/"), '/') : NULL;
    p->node = mem_strdup(call->name);
    rest = rest ? rest + strlen("/proxy") : "";
    p->target = *rest == '/' ? mem_strdup(rest) : mem_printf("/%s", rest);
    p->url = node_url(call->api, call->name, err);
    return p->url ? 0 : -1;
}

static int prepare(struct call *call, struct proxied *p, struct err **err)
{
    if (str_eq(call->subresource, "proxy"))
        return prepare_node(call, p, err);
    if (is_upgrade(call) && !http_request_header(call->request, "upgrade"))
        return err_set(err, ERR_BAD_REQUEST, "Upgrade request required");
    auto_json pod = read_object(call->api, "pods", call->namespace, call->name, err);
    if (!pod)
        return -1;
    const char *node = json_string(pod, "spec.nodeName");
    if (str_empty(node))
        return err_set(err, ERR_BAD_REQUEST, "pod %s does not have a host assigned", call->name);
    p->node = mem_strdup(node);
    if (!(p->target = node_target(call, pod, err)))
        return -1;
    p->url = node_url(call->api, node, err);
    return p->url ? 0 : -1;
}

void handle_node_proxy(struct call *call)
{
    struct proxied *p = NEW(struct proxied);
    struct err *err = NULL;
    p->call = call;
    p->api = call->api;
    p->x = call->x;
    p->refs = 1;
    pthread_mutex_init(&p->lock, NULL);
    if (prepare(call, p, &err) < 0) {
        proxied_unref(p);
        call_fail(call, err);
        return;
    }
    loop_post(call->api->options.loop, ask_node, p);
}
