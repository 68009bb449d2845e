/* Calls that go through to a node's agent: which container, which address, what is passed on; streams that
 * are cut. A real loop for upgrades, because they splice sockets. */
#include "api_test.h"

#define PODS "/api/v1/namespaces/default/pods"

struct agent { /* what stands for the node */
    struct world *w;
    struct http_client *client;
    char *url, *target, *method, *upgrade;
    struct http_exchange *follow; /* an open log */
    int pulls;
    bool closed, refuse_upgrade;
    struct http_duplex *duplex;
};

static enum http_pull agent_pull(void *arg, struct str *out)
{
    struct agent *agent = arg;
    if (agent->pulls++ > 0)
        return HTTP_PULL_WAIT;
    str_add(out, "first line\n");
    return HTTP_PULL_MORE;
}

static void agent_closed(void *arg)
{
    ((struct agent *)arg)->closed = true;
}

static void agent_upgraded(void *arg, struct http_duplex *duplex, struct err *err)
{
    assert_null(err);
    ((struct agent *)arg)->duplex = duplex;
}

static void agent_upgrade(struct agent *agent, struct http_exchange *x)
{
    agent->upgrade = mem_strdup(http_request_header(&x->request, "upgrade"));
    if (agent->refuse_upgrade) {
        const char *status =
            "{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":400,\"message\":\"not running\"}";
        http_respond(x, 400, "application/json", bytes_from(status, strlen(status)), NULL, 0);
        return;
    }
    const struct http_pair headers[] = {{"Upgrade", "SPDY/3.1"}, {"Connection", "Upgrade"}};
    http_upgrade(x, headers, 2, agent_upgraded, agent);
}

static void agent_handle(void *arg, struct http_exchange *x)
{
    static const struct http_stream_ops follow = {agent_pull, agent_closed};
    struct agent *agent = arg;
    free(agent->target);
    free(agent->method);
    agent->target = mem_strdup(x->request.target);
    agent->method = mem_strdup(x->request.method);
    if (str_starts(x->request.path, "/containerLogs/") && http_request_flag(&x->request, "follow")) {
        agent->follow = x;
        http_stream(x, 200, "text/plain", NULL, 0, &follow, agent);
    } else if (str_starts(x->request.path, "/containerLogs/default/p/gone")) {
        http_respond(x, 404, "application/json", bytes_from("{\"code\":404}", 12), NULL, 0);
    } else if (str_starts(x->request.path, "/containerLogs/")) {
        http_respond(x, 200, "text/plain", bytes_from("hello\n", 6), NULL, 0);
    } else {
        agent_upgrade(agent, x);
    }
}

static struct http_client *make_client(void *arg, const char *url, struct err **err)
{
    (void)err;
    struct agent *agent = arg;
    agent->url = mem_strdup(url);
    return agent->client = http_local_client_new(agent->w->loop, agent_handle, agent, NULL);
}

static void with_agent(struct world *w, struct agent *agent)
{
    *agent = (struct agent){.w = w};
    w->client->ops->free(w->client);
    api_free(w->api);
    w->options.node_client = make_client;
    w->options.node_client_arg = agent;
    w->api = api_new(&w->options, NULL);
    const struct http_local_identity admin = {.user = "admin", .groups = masters};
    w->client = http_local_client_new(w->loop, api_handle, w->api, &admin);
    expect(
        w, 201, "POST", "/api/v1/nodes",
        "{'metadata':{'name':'n1'},'status':{'addresses':[{'type':'Hostname','address':'n1'},"
        "{'type':'InternalIP','address':'10.0.0.9'}],'daemonEndpoints':{'kubeletEndpoint':{'Port':10999}}}}");
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i:1'}]}}");
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'two'},'spec':{'nodeName':'n1','containers':[{'name':'a','image':'i:1'},"
           "{'name':'b','image':'i:1'}],'initContainers':[{'name':'i','image':'i:1'}]}}");
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'free'},'spec':{'containers':[{'name':'c','image':'i:1'}]}}");
}

static void agent_fini(struct agent *agent)
{
    free(agent->url);
    free(agent->target);
    free(agent->method);
    free(agent->upgrade);
}

static void test_log(void **state)
{
    struct world *w = *state;
    struct agent agent;
    with_agent(w, &agent);
    auto_reply log = ask(w, "GET", PODS "/p/log?tailLines=5&timestamps=true", NULL);
    assert_int_equal(log.status, 200);
    assert_string_equal(log.text, "hello\n");
    assert_string_equal(log.content_type, "text/plain");
    assert_string_equal(agent.url, "https://10.0.0.9:10999");
    assert_string_equal(agent.target, "/containerLogs/default/p/c?tailLines=5&timestamps=true");
    auto_reply choose = ask(w, "GET", PODS "/two/log", NULL);
    assert_int_equal(choose.status, 400);
    assert_at(choose, "message",
              "a container name must be specified for pod two, choose one of: [a b] or one of the init "
              "containers: [i]");
    expect(w, 200, "GET", PODS "/two/log?container=i", NULL);
    assert_string_equal(agent.target, "/containerLogs/default/two/i?container=i");
    auto_reply wrong = ask(w, "GET", PODS "/two/log?container=z", NULL);
    assert_at(wrong, "message", "container z is not valid for pod two");
    auto_reply unbound = ask(w, "GET", PODS "/free/log", NULL);
    assert_at(unbound, "message", "pod free does not have a host assigned");
    expect(w, 404, "GET", PODS "/none/log", NULL);
    http_local_client_cut(agent.client, true);
    auto_reply dead = ask(w, "GET", PODS "/p/log", NULL);
    assert_int_equal(dead.status, 503);
    agent_fini(&agent);
}

static void test_follow_is_cut_when_the_reader_leaves(void **state)
{
    struct world *w = *state;
    struct agent agent;
    struct lines lines;
    with_agent(w, &agent);
    lines_open(w, w->client, &lines, PODS "/p/log?follow=true", NULL);
    assert_string_equal(str_c(&lines.text), "first line\n");
    assert_false(lines.ended);
    assert_false(agent.closed);
    lines_close(w, &lines);
    settle(w);
    assert_true(agent.closed);
    agent_fini(&agent);
}

static void test_follow_ends_with_the_node(void **state)
{
    struct world *w = *state;
    struct agent agent;
    struct lines lines;
    with_agent(w, &agent);
    lines_open(w, w->client, &lines, PODS "/p/log?follow=true", NULL);
    http_local_client_cut(agent.client, true);
    settle(w);
    assert_true(lines.ended);
    lines_close(w, &lines);
    agent_fini(&agent);
}

static void test_upgrade_is_required(void **state)
{
    struct world *w = *state;
    struct agent agent;
    with_agent(w, &agent);
    auto_reply plain = ask(w, "POST", PODS "/p/exec?command=ls", NULL);
    assert_int_equal(plain.status, 400);
    assert_at(plain, "message", "Upgrade request required");
    expect(w, 405, "PUT", PODS "/p/exec", "{}");
    agent_fini(&agent);
}

/* ---- upgrades over a real loop ---- */

struct tunnel {
    bool done;
    int status;
    char *upgrade, *body;
    struct http_duplex *duplex;
};

static void on_tunnel_ready(void *arg, const struct http_response *response, struct http_duplex *duplex,
                            struct err *err)
{
    struct tunnel *tunnel = arg;
    assert_null(err);
    tunnel->done = true;
    tunnel->status = response->status;
    tunnel->duplex = duplex;
    tunnel->body = mem_strndup(response->body, response->len);
    for (size_t i = 0; i < response->n_headers; i++) {
        if (str_eq(response->headers[i].name, "upgrade"))
            tunnel->upgrade = mem_strdup(response->headers[i].value);
    }
}

static void open_tunnel(struct world *w, struct tunnel *tunnel, const char *target)
{
    const struct http_pair headers[] = {{"Upgrade", "SPDY/3.1"},
                                        {"Connection", "Upgrade"},
                                        {"X-Stream-Protocol-Version", "v4.channel.k8s.io"},
                                        {"Authorization", "Bearer secret"}};
    const struct http_call call = {.method = "POST", .target = target, .headers = headers, .n_headers = 4};
    *tunnel = (struct tunnel){0};
    w->client->ops->tunnel(w->client, &call, on_tunnel_ready, tunnel);
    while (!tunnel->done)
        turn(w);
}

static void read_exactly(struct world *w, struct http_duplex *duplex, const char *wanted)
{
    char got[64];
    size_t len = 0;
    while (len < strlen(wanted)) {
        ssize_t n = duplex->ops->read(duplex, got + len, sizeof(got) - len);
        if (n > 0)
            len += (size_t)n;
        else
            turn(w);
    }
    got[len] = 0;
    assert_string_equal(got, wanted);
}

static void test_exec_is_spliced(void **state)
{
    struct world *w = *state;
    struct agent agent;
    struct tunnel tunnel;
    with_agent(w, &agent);
    open_tunnel(w, &tunnel, PODS "/p/exec?command=echo&command=hi&stdout=true");
    assert_int_equal(tunnel.status, 101);
    assert_string_equal(tunnel.upgrade, "SPDY/3.1");
    assert_string_equal(agent.upgrade, "SPDY/3.1");
    assert_string_equal(agent.target, "/exec/default/p/c?command=echo&command=hi&stdout=true");
    assert_string_equal(agent.method, "POST");
    assert_int_equal(tunnel.duplex->ops->write(tunnel.duplex, "ping", 4), 4);
    read_exactly(w, agent.duplex, "ping");
    assert_int_equal(agent.duplex->ops->write(agent.duplex, "pong", 4), 4);
    read_exactly(w, tunnel.duplex, "pong");
    agent.duplex->ops->close(agent.duplex);
    char end;
    while (tunnel.duplex->ops->read(tunnel.duplex, &end, 1) != 0)
        turn(w);
    tunnel.duplex->ops->close(tunnel.duplex);
    for (int i = 0; i < 20; i++)
        turn(w);
    free(tunnel.upgrade);
    free(tunnel.body);
    agent_fini(&agent);
}

static void test_refused_upgrade_is_a_status(void **state)
{
    struct world *w = *state;
    struct agent agent;
    struct tunnel tunnel;
    with_agent(w, &agent);
    agent.refuse_upgrade = true;
    open_tunnel(w, &tunnel, PODS "/p/portforward?ports=80");
    assert_int_equal(tunnel.status, 400);
    assert_null(tunnel.duplex);
    assert_non_null(strstr(tunnel.body, "not running"));
    assert_string_equal(agent.target, "/portForward/default/p?ports=80");
    free(tunnel.upgrade);
    free(tunnel.body);
    agent_fini(&agent);
}

/* A Node's status may say anything: what is no agent's address is not called. */
static void test_addresses(void **state)
{
    struct world *w = *state;
    struct agent agent;
    w->options.public_address = "10.0.0.1";
    w->options.public_port = 6443;
    with_agent(w, &agent);
    static const struct {
        const char *address;
        int port, status;
    } cases[] = {{"10.0.0.1", 6443, 503},  {"127.0.0.1", 6443, 503},
                 {"127.9.9.9", 6443, 503}, {"0.0.0.0", 6443, 503},
                 {"::1", 6443, 503},       {"::ffff:10.0.0.1", 6443, 503},
                 {"localhost", 6443, 503}, {"10.0.0.9/x@evil", 10250, 503},
                 {"10.0.0.9", 70000, 503}, {"10.0.0.9", -1, 503},
                 {"10.0.0.1", 10250, 200}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        auto_free char *body =
            mem_printf("{'status':{'addresses':[{'type':'InternalIP','address':'%s'}],'daemonEndpoints':{"
                       "'kubeletEndpoint':{'Port':%d}}}}",
                       cases[i].address, cases[i].port);
        auto_reply set =
            ask_type(w, "PATCH", "/api/v1/nodes/n1/status", "application/merge-patch+json", body);
        auto_reply log = ask(w, "GET", PODS "/p/log", NULL);
        if (set.status == 200 && log.status != cases[i].status)
            fail_msg("%s:%d: %d %s", cases[i].address, cases[i].port, log.status, log.text);
        assert_true((agent.url != NULL) == (cases[i].status == 200));
    }
    assert_string_equal(agent.url, "https://10.0.0.1:10250");
    agent_fini(&agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_follow_is_cut_when_the_reader_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_follow_ends_with_the_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_upgrade_is_required, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exec_is_spliced, setup_real, teardown),
        cmocka_unit_test_setup_teardown(test_refused_upgrade_is_a_status, setup_real, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
