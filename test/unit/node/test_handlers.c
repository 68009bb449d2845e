/* Handlers of probes and hooks over real sockets: what one run says. */
#include "../http/http_test.h"
#include "node/node_internal.h"

struct answered {
    struct loop *loop;
    bool done;
    char *failure;
};

static void on_answered(void *arg, struct pod *pod, const char *failure, bool unknown)
{
    struct answered *answered = arg;
    assert_non_null(pod);
    assert_false(unknown);
    answered->done = true;
    answered->failure = mem_strdup(failure);
    loop_stop(answered->loop);
}

/* One run against 127.0.0.1:port; NULL: it went well. Caller frees. */
static char *run_handler(const char *type, const char *scheme, const char *path, uint16_t port,
                         int64_t timeout_ms)
{
    struct answered answered = {.loop = loop_new(NULL)};
    struct node node = {.loop = answered.loop};
    struct pod pod = {.node = &node, .refs = 1};
    struct container container = {.pod = &pod, .name = "c"};
    auto_json handler = cJSON_CreateObject();
    cJSON *target = json_ensure_object(handler, type);
    json_set_string(target, "host", "127.0.0.1");
    json_set_int(target, "port", port);
    if (scheme)
        json_set_string(target, "scheme", scheme);
    json_set_string(target, "path", path);
    pod_handler_run(&container, handler, timeout_ms, on_answered, &answered);
    test_run_until(answered.loop, &answered.done);
    assert_int_equal(pod.refs, 1);
    loop_free(answered.loop);
    return answered.failure;
}

static void serve(void *arg, struct http_exchange *x)
{
    atomic_uint *asked = arg;
    atomic_fetch_add(asked, 1);
    http_respond(x, strcmp(x->request.path, "/healthz") == 0 ? 204 : 503, "text/plain", NULL, NULL, 0);
}

static void expect_failure(char *failure, const char *part)
{
    assert_non_null(failure);
    if (!strstr(failure, part))
        fail_msg("\"%s\" is not in \"%s\"", part, failure);
    free(failure);
}

static void test_schemes(void **state UNUSED)
{
    struct test_pki pki = test_pki_new();
    atomic_uint asked = 0;
    struct http_server_options options = {.address = "127.0.0.1", .handler = serve, .handler_arg = &asked};
    struct http_server *plain = http_server_new(&options, NULL);
    options.certificate_pem = pki.server; /* of a CA that the handler does not know */
    options.key_pem = pki.server_key;
    struct http_server *secured = http_server_new(&options, NULL);
    uint16_t http = http_server_port(plain), https = http_server_port(secured);
    assert_null(run_handler("httpGet", NULL, "/healthz", http, 5000));
    assert_null(run_handler("httpGet", "HTTP", "/healthz", http, 5000));
    assert_null(run_handler("httpGet", "HTTPS", "/healthz", https, 5000));
    assert_int_equal(asked, 3);
    expect_failure(run_handler("httpGet", "HTTPS", "/other", https, 5000), "statuscode: 503");
    expect_failure(run_handler("httpGet", "HTTP", "/other", http, 5000), "statuscode: 503");
    expect_failure(run_handler("httpGet", "HTTPS", "/healthz", http, 5000), "TLS");
    expect_failure(run_handler("httpGet", "HTTP", "/healthz", https, 5000), "");
    assert_null(run_handler("tcpSocket", NULL, NULL, https, 5000));
    http_server_free(plain);
    expect_failure(run_handler("httpGet", "HTTPS", "/healthz", http, 5000), "refused");
    http_server_free(secured);
    test_pki_fini(&pki);
}

/* A server that takes the connection and says nothing: the handshake counts towards the handler's time. */
static void test_silent_server(void **state UNUSED)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    auto_fd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    expect_failure(run_handler("httpGet", "HTTPS", "/", ntohs(address.sin_port), 200), "timed out");
    expect_failure(run_handler("httpGet", "HTTP", "/", ntohs(address.sin_port), 200), "timed out");
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schemes), cmocka_unit_test(test_silent_server)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
