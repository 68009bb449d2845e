/* Sessions of the REPL against the real manager, API server and store in one process, on a real loop: what a
 * session may do, what it cannot do, that it never holds up the manager, and that sessions do not see each
 * other. */
#include "manager_test.h"

#define BUDGET_MS 1500
/* Of the manager's loop, in CPU time of its thread. A loop that ran a session's script, or waited for it,
 * would take the budget; this is a bound for that, not the figure (it is printed). */
#define STALL_MS 700

struct peer { /* a client's end */
    struct world *w;
    struct http_client *http;
    struct websocket *ws;
    struct str out; /* what was printed by the last command */
    cJSON *done;
    int status; /* of the upgrade */
    char *refusal;
    bool answered, closed;
};

static const char *const manager_group[] = {"system:minik8s:manager", NULL};

static struct http_client *user_client(void *arg, const char *token, struct err **err UNUSED)
{
    struct world *w = arg;
    const struct http_local_identity identity = {.bearer_token = token};
    return http_local_client_new(w->loop, api_handle, w->api, &identity);
}

static void begin_manager(struct cluster *cluster)
{
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    static const char *const policies[] = {MINIK8S_SOURCE_DIR "/policies", NULL};
    const struct http_local_identity identity = {.user = "system:manager", .groups = manager_group};
    struct world *w = cluster->api;
    cluster->http = http_local_client_new(w->loop, api_handle, w->api, &identity);
    const struct script_manager_options options = {.loop = w->loop,
                                                   .http = cluster->http,
                                                   .random = &w->random,
                                                   .lua_directories = lua,
                                                   .shipped_policies = policies,
                                                   .controllers = only_scheduler,
                                                   .host = "test",
                                                   .user_client = user_client,
                                                   .user_client_arg = w};
    auto_err err = NULL;
    cluster->manager = script_manager_new(&options, &err);
    if (!cluster->manager)
        fail_msg("%s", err_message(err));
}

static int setup_cluster(void **state)
{
    struct cluster *cluster = NEW(struct cluster);
    cluster->api = world_new(true, false);
    begin_manager(cluster);
    while (!script_manager_idle(cluster->manager))
        turn(cluster->api);
    *state = cluster;
    return 0;
}

static int teardown_cluster(void **state)
{
    struct cluster *cluster = *state;
    manager_stop(cluster);
    for (int i = 0; i < 50; i++) /* ends of connections, last tasks of threads */
        turn(cluster->api);
    world_free(cluster->api);
    free(cluster);
    return 0;
}

/* ---- a client ---- */

static void on_peer_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct peer *peer = arg;
    if (type == WEBSOCKET_CLOSED) {
        peer->ws = NULL;
        peer->closed = true;
    } else if (data[0] == 'o') {
        str_add_n(&peer->out, data + 1, len - 1);
    } else {
        cJSON_Delete(peer->done);
        peer->done = json_parse_trusted(data + 1, len - 1);
    }
}

static void on_peer_ready(void *arg, const struct http_response *response, struct http_duplex *duplex,
                          struct err *err UNUSED)
{
    struct peer *peer = arg;
    peer->answered = true;
    peer->status = response ? response->status : 0;
    const struct websocket_options options = {.client = true, .on_message = on_peer_message, .arg = peer};
    if (duplex)
        peer->ws = websocket_new(peer->w->loop, duplex, &options);
    else if (response)
        peer->refusal = mem_strndup(response->body, response->len);
}

static void connect_to(struct peer *peer, struct world *w, const struct http_local_identity *identity,
                       const char *target)
{
    const struct http_pair headers[] = {{"Upgrade", "websocket"},
                                        {"Connection", "Upgrade"},
                                        {"Sec-WebSocket-Version", "13"},
                                        {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}};
    const struct http_call call = {.method = "GET", .target = target, .headers = headers, .n_headers = 4};
    *peer = (struct peer){.w = w, .http = http_local_client_new(w->loop, api_handle, w->api, identity)};
    peer->http->ops->tunnel(peer->http, &call, on_peer_ready, peer);
    while (!peer->answered)
        turn(w);
}

static void say(struct peer *peer, cJSON *message)
{
    auto_free char *text = json_print(message);
    cJSON_Delete(message);
    str_clear(&peer->out);
    cJSON_Delete(steal(&peer->done));
    websocket_send(peer->ws, WEBSOCKET_TEXT, text, strlen(text));
}

static void wait_done(struct peer *peer)
{
    while (!peer->done && !peer->closed)
        turn(peer->w);
}

static void say_run(struct peer *peer, const char *source)
{
    cJSON *message = cJSON_CreateObject();
    json_set_string(message, "run", source);
    json_set_string(message, "name", "stdin");
    say(peer, message);
}

/* What it prints, or its error. */
static const char *run(struct peer *peer, const char *source)
{
    say_run(peer, source);
    wait_done(peer);
    const char *error = json_string(peer->done, "error");
    return error ? error : peer->out.len ? str_c(&peer->out) : "";
}

static void expect_run(struct peer *peer, const char *source, const char *part)
{
    const char *got = run(peer, source);
    if (*part && !strstr(got, part))
        fail_msg("%s gave %.500s", source, got);
}

static void open_as(struct peer *peer, struct cluster *cluster, const struct http_local_identity *identity)
{
    connect_to(peer, cluster->api, identity, "/apis/minik8s.io/v1/repl");
    if (!peer->ws)
        fail_msg("%d %s", peer->status, peer->refusal ? peer->refusal : "");
    cJSON *message = cJSON_CreateObject();
    json_set_int(json_ensure_object(message, "begin"), "budget", BUDGET_MS);
    say(peer, message);
    wait_done(peer);
}

static void open_admin(struct peer *peer, struct cluster *cluster)
{
    const struct http_local_identity admin = {.user = "admin", .groups = masters};
    open_as(peer, cluster, &admin);
}

static void leave(struct peer *peer)
{
    if (peer->ws)
        websocket_close(peer->ws, 1000);
    for (int i = 0; i < 20; i++)
        turn(peer->w);
    peer->http->ops->free(peer->http);
    cJSON_Delete(peer->done);
    str_free(&peer->out);
    free(peer->refusal);
}

/* ---- tests ---- */

static void test_answers(void **state)
{
    struct peer peer;
    open_admin(&peer, *state);
    expect_run(&peer, "1+1", "2");
    expect_run(&peer, "x = 5", "");
    expect_run(&peer, "x, 'text', {a = 1}", "5\ntext\na: 1\n");
    expect_run(&peer, "print(x, nil, _)", "5\tnil\t5");
    expect_run(&peer, "local f = function()\n error('here')\nend\nf()", "stdin:2: here");
    expect_run(&peer, "x = = 1", "stdin:1: ");
    expect_run(&peer, "k.nothing", "stdin:1: k has no \"nothing\"");
    expect_run(&peer, "k.pods = 1", "k cannot be changed");
    expect_run(&peer, "for i = 1, 2 do", "");
    assert_true(json_bool(peer.done, "incomplete", false));
    run(&peer, "1 +");
    assert_true(json_bool(peer.done, "incomplete", false));
    run(&peer, "1 + )");
    assert_false(json_bool(peer.done, "incomplete", false));
    cJSON *message = cJSON_CreateObject();
    json_set_bool(json_ensure_object(message, "begin"), "json", true);
    say(&peer, message);
    wait_done(&peer);
    expect_run(&peer, "{a = {1, 2}}", "\"a\"");
    leave(&peer);
}

static void test_reads_and_writes(void **state)
{
    struct cluster *cluster = *state;
    struct peer peer;
    add_pod(cluster, "one", "1");
    add_pod(cluster, "two", "1");
    open_admin(&peer, cluster);
    expect_run(&peer, "#k.pods{}", "2");
    expect_run(&peer, "#k.po{ns='default', name='t*'}, k.pods('one').metadata.name", "1\none");
    expect_run(&peer, "k.apply{kind='ConfigMap', metadata={name='c', labels={a='b'}}, data={x='1'}}.data.x",
               "1");
    expect_run(&peer, "k.get('cm/c').data.x, #k.configmaps{label='a=b'}, #k.cm{label={a='c'}}", "1\n1\n0");
    expect_run(&peer, "r = k.revision() k.patch('cm/c', {data={x='2'}})", "");
    expect_run(&peer, "k.get('cm/c').data.x, k.at(r).get('cm/c').data.x, #k.history('cm/c')", "2\n1\n2");
    expect_run(&peer, "k.delete('cm/c') k.delete('pod/two', {grace=0})", "");
    expect_run(&peer, "k.get('cm/c'), #k.at(r).configmaps{name='c'}, #k.at(r).pods{}", "nil\n1\n2");
    expect_run(&peer, "k.at(r + 1000).pods{}", "newer than the newest");
    expect_run(&peer, "k.at(1).leases{}", "have no past");
    expect_run(&peer, "k.apply{kind='Pod', metadata={name='bad'}, spec={containers={{name='c', imag='i'}}}}",
               "imag");
    expect_run(&peer, "k.watch{kind='configmaps', seconds=0.1}", "0");
    expect_run(&peer, "k.watch{all=true, count=1}", "default/one");
    leave(&peer);
}

#define CLAIM_BOUND                                                                                          \
    "{'apiVersion':'v1','kind':'PersistentVolumeClaim','metadata':{'name':'c'},'spec':{'accessModes':["      \
    "'ReadWriteOnce'],'storageClassName':'','volumeName':'v','resources':{'requests':{'storage':'1Gi'}}},"   \
    "'status':{'phase':'Bound'}}"

static void test_decisions(void **state)
{
    struct cluster *cluster = *state;
    struct peer peer;
    add_node(cluster, "n1", "4");
    add_node(cluster, "n2", "4");
    add_pod(cluster, "first", "1");
    open_admin(&peer, cluster);
    expect_run(&peer, "while not k.pods('first').spec.nodeName do sleep(0.01) end", "");
    expect_run(&peer, "k.why('pod/first')", "scheduler.score");
    assert_non_null(strstr(str_c(&peer.out), "spec.nodeName = n"));
    assert_non_null(strstr(str_c(&peer.out), "created"));
    expect_run(&peer, "r = k.revision()", "");
    const char *second = "{metadata={name='second'}, spec={containers={{name='c', image='i', resources="
                         "{requests={cpu='1'}}}}}}";
    auto_free char *spread = mem_printf("k.whatif{policy='spread', pod=%s}.would_be.node ~= "
                                        "k.pods('first').spec.nodeName",
                                        second);
    expect_run(&peer, spread, "true");
    auto_free char *packed = mem_printf("k.whatif{policy='binpack', pod=%s}.would_be.node == "
                                        "k.pods('first').spec.nodeName",
                                        second);
    expect_run(&peer, packed, "true");
    /* Where the volume of its claim can be reached counts as it does for the scheduler. */
    expect_run(&peer,
               "k.apply{kind='PersistentVolume', metadata={name='v'}, spec={capacity={storage='1Gi'}, "
               "accessModes={'ReadWriteOnce'}, storageClassName='', hostPath={path='/x'}, "
               "claimRef={namespace='default', name='c'}, nodeAffinity={required={nodeSelectorTerms={{"
               "matchExpressions={{key='kubernetes.io/hostname', operator='In', values={'n2'}}}}}}}}}.kind",
               "PersistentVolume");
    expect_run(
        &peer,
        "k.apply{kind='PersistentVolumeClaim', metadata={name='c'}, spec={accessModes={'ReadWriteOnce'}, "
        "storageClassName='', volumeName='v', resources={requests={storage='1Gi'}}}}.kind",
        "PersistentVolumeClaim");
    expect_run(&peer,
               "for _, n in ipairs{'n1', 'n2'} do k.patch('node/' .. n, {metadata={labels={"
               "['kubernetes.io/hostname']=n}}}) end",
               "");
    expect_run(
        &peer,
        "pv = {metadata={name='third'}, spec={containers={{name='c', image='i'}}, volumes={{name='v', "
        "persistentVolumeClaim={claimName='c'}}}}} wants = [[return { api = 1, point = 'scheduler.score', "
        "name = 'wants', run = function(_, node) return node.name == 'n1' and 100 or 0 end, examples = { "
        "{ candidate = { name = 'n1' }, expect = 100 } } }]]",
        "");
    expect_run(&peer, "k.whatif{source=wants, pod=pv}.would_be.message",
               "unbound immediate PersistentVolumeClaims");
    expect_run(&peer, "k.whatif{source=wants, pod=pv}.would_be.node", "nil");
    expect(cluster->api, 200, "PUT", "/api/v1/namespaces/default/persistentvolumeclaims/c/status",
           CLAIM_BOUND);
    expect_run(&peer, "while k.get('pvc/c').status.phase ~= 'Bound' do sleep(0.01) end", "");
    expect_run(&peer, "k.whatif{source=wants, pod=pv}.would_be.node", "n2");
    expect_run(&peer, "k.whatif{source=wants, pod=pv}.now.node", "n2");
    expect_run(&peer, "pv.spec.volumes = nil return k.whatif{source=wants, pod=pv}.would_be.node", "n1");
    expect_run(&peer, "k.delete('pod/first', {grace=0})", "");
    expect_run(&peer, "k.whatif{policy='binpack', pod='first', at=r}.would_be.node", "n");
    expect_run(&peer, "k.whatif{policy='binpack', pod='first'}", "there is no pod default/first");
    expect_run(&peer, "k.whatif{policy='binpakc', pod='first', at=r}", "did you mean \"binpack\"");
    expect_run(&peer,
               "json(k.try{source=\"return {api=1, point='scheduler.score', name='x', run=function(ctx, "
               "node) return "
               "node.n end, examples={{candidate={n=1}, expect=1}}}\", candidates={{n=3}, {n=5}}}.result)",
               "[3,5]");
    expect_run(&peer, "k.try{policy='binpack', candidates={{}}}", "the policy failed: binpack:");
    expect_run(
        &peer,
        "k.try{source=\"return {api=1, point='rollout', name='x', run=function(ctx) return {new=ctx.n * 2, "
        "old={}, reasons={'twice'}} end, examples={{ctx={n=1, desired=50}, expect={new=2}}}}\", "
        "ctx={n=21, desired=50}}.result.new",
        "42");
    expect_run(&peer,
               "k.try{source=\"return {api=1, point='rollout', name='x', run=function(ctx) return 7 end, "
               "examples={{ctx={n=1}, none=true}}}\"}",
               "must return a table");
    expect_run(&peer, "k.whatif{source='while true do end', pod='first', at=r}", "cut off");
    expect_run(&peer, "k.whatif{policy='gpu', pod='first', at=r, settings={resorce='x'}}", "it has resource");
    expect_run(
        &peer,
        "k.apply{kind='Deployment', metadata={name='d'}, spec={replicas=3, selector={matchLabels={a='d'}}, "
        "template={metadata={labels={a='d'}}, spec={containers={{name='c', image='i'}}}}}} "
        "k.apply{kind='HorizontalPodAutoscaler', metadata={name='h'}, spec={maxReplicas=2, "
        "scaleTargetRef={apiVersion='apps/v1', kind='Deployment', name='d'}}}",
        "");
    expect_run(&peer, "while not k.get('hpa/h') or not k.get('deployment/d') do sleep(0.01) end", "");
    expect_run(&peer, "k.whatif{policy='step', hpa='h'}.decisions[2].point", "autoscale.decide");
    expect_run(&peer, "k.whatif{policy='target-utilization', hpa='h'}.differs", "false");
    expect_run(&peer, "k.decisions{point='scheduler.scor'}", "did you mean \"scheduler.score\"");
    expect_run(&peer, "#k.decisions{ns='default', point='scheduler.score'}", "1");
    expect_run(&peer, "#k.decisions{ns='elsewhere'}", "0");
    expect_run(&peer, "k.policies_in_use{ns='default'}", "scheduler.score");
    expect_run(
        &peer,
        "k.apply{kind='Policy', metadata={name='wants'}, spec={point='scheduler.score', source=wants}}.kind",
        "Policy");
    expect_run(&peer, "while not k.policies('wants').status do sleep(0.01) end", "");
    expect_run(&peer, "k.policies{}", "wants   scheduler.score   Inactive");
    leave(&peer);
}

static const char *complete(struct peer *peer, const char *text)
{
    cJSON *message = cJSON_CreateObject();
    json_set_string(message, "complete", text);
    say(peer, message);
    wait_done(peer);
    cJSON *words = json_get(peer->done, "completions");
    auto_free char *list = json_print(words);
    str_clear(&peer->out);
    str_add(&peer->out, list);
    return str_c(&peer->out);
}

static void expect_words(struct peer *peer, const char *text, const char *part)
{
    const char *got = complete(peer, text);
    if (*part && !strstr(got, part))
        fail_msg("%s gave %.500s", text, got);
}

static void test_completion(void **state)
{
    struct cluster *cluster = *state;
    struct peer peer;
    add_pod(cluster, "one", "1");
    open_admin(&peer, cluster);
    run(&peer, "value = {alpha = {beta = 1}} value.self = value");
    expect_words(&peer, "k.confi", "[\"configmaps\"]");
    expect_words(&peer, "local p = k.po", "\"pods\"");
    expect_words(&peer, "value.alpha.b", "[\"beta\"]");
    expect_words(&peer, "k.pods{name=\"o", "[\"one\"]");
    expect_words(&peer, "k.whatif{policy=\"binp", "[\"binpack\"]");
    expect_words(&peer, "k.why(\"pod/o", "[\"pod/one\"]");
    expect_words(&peer, "k.pods('one').spec.cont", "[\"containers\"]");
    expect_words(&peer, "k.pods{n", "\"name=\"");
    expect_words(&peer, "retu", "[\"return\"]");
    expect_words(&peer, "((((((\"", "[]");
    leave(&peer);
}

static void bind_rules(struct world *w, const char *user, const char *rules)
{
    auto_free char *role = mem_printf("{'metadata':{'name':'%s'},'rules':%s}", user, rules);
    auto_free char *binding =
        mem_printf("{'metadata':{'name':'%s'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io',"
                   "'kind':'ClusterRole','name':'%s'},'subjects':[{'kind':'User','name':'%s',"
                   "'apiGroup':'rbac.authorization.k8s.io'}]}",
                   user, user, user);
    expect(w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role);
    expect(w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding);
}

static void expect_refused(struct world *w, const struct http_local_identity *identity, const char *target,
                           int status)
{
    struct peer peer;
    connect_to(&peer, w, identity, target);
    assert_int_equal(peer.status, status);
    assert_null(peer.ws);
    leave(&peer);
}

static void test_rights(void **state)
{
    struct cluster *cluster = *state;
    struct world *w = cluster->api;
    static const char *const nodes[] = {"system:nodes", NULL};
    const struct http_local_identity nobody = {0}, node = {.user = "system:node:n1", .groups = nodes},
                                     reader = {.user = "reader"}, half = {.user = "half"},
                                     admin = {.user = "admin", .groups = masters};
    bind_rules(w, "reader",
               "[{'apiGroups':['*'],'resources':['*'],'verbs':['get','list','watch']},"
               "{'apiGroups':['minik8s.io'],'resources':['repl'],'verbs':['create']}]");
    bind_rules(w, "half", "[{'apiGroups':['minik8s.io'],'resources':['repl'],'verbs':['create']}]");
    expect_refused(w, &nobody, "/apis/minik8s.io/v1/repl", 403);
    expect_refused(w, &node, "/apis/minik8s.io/v1/repl", 403);
    expect_refused(w, &half, "/apis/minik8s.io/v1/repl", 403); /* it would read Secrets from the cache */
    expect_refused(w, &admin, "/apis/minik8s.io/v1/replhosts", 403); /* hosts are handed tokens */
    expect(w, 400, "GET", "/apis/minik8s.io/v1/repl", NULL);
    struct peer peer;
    open_as(&peer, cluster, &reader);
    expect_run(&peer, "#k.pods{}", "0");
    expect_run(&peer, "k.apply{kind='ConfigMap', metadata={name='c'}}", "User \"reader\" cannot patch");
    expect_run(&peer, "k.delete('ns/default')", "User \"reader\" cannot delete");
    leave(&peer);
}

/* Slices of the manager's loop while something runs: the longest, in CPU time of this thread. */
static double longest_turn_ms(struct peer *peer)
{
    double longest = 0;
    while (!peer->done && !peer->closed) {
        struct timespec before, after;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
        turn(peer->w);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
        double ms =
            (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
        longest = ms > longest ? ms : longest;
    }
    return longest;
}

static void test_hostile(void **state)
{
    static const struct {
        const char *source, *part;
    } hostile[] = {
        {"while true do end", "CPU time"},
        {"repeat local x = 1 until false", "CPU time"},
        {"local function f() return f() end f()", "CPU time"},
        {"local function f() return 1 + f() end f()", "stack overflow"},
        {"local t = {} for i = 1, 1e9 do t[i] = {} end", ""},
        {"local s = string.rep('x', 60000) while true do s = s .. s end", ""},
        {"string.rep('x', 1e9)", ""},
        {"local s = string.rep('a', 5000) s:find('.-.-.-.-b')", ""},
        {"while true do print('x') end", ""},
        {"local t = {} t.t = t json(t)", "nested deeper"},
        {"local t = {} for i = 1, 1e5 do t[i] = i end table.sort(t, function() return true end)", ""},
        {"pcall(function() while true do end end)", "nil value"},
        {"coroutine.wrap(function() while true do end end)()", "nil value"},
        {"getfenv(k.get).host.request('GET', '/')", "nil value"},
        {"getmetatable('').__index = nil", "nil value"},
        {"setmetatable({}, {__gc = print})", "nil value"},
        {"loadstring('return 1')()", "nil value"},
        {"debug.getregistry()", "nil value"},
        {"io.open('/etc/passwd')", "nil value"},
        {"os.execute('true')", "nil value"},
        {"require('m8')", "nil value"},
        {"host.request('GET', '/')", "nil value"},
        {"exports.k", "nil value"},
        {"k.get = nil", "cannot be changed"},
        {"error({code = 1})", "raised a value of type table"},
        {"error(setmetatable)", ""},
        {"k.pods{all={}, name={}}", ""},
        {"k.patch('cm/x', {a = function() end})", "a value of type function"},
        {"k.get('pods', '../../secrets', 'x')", ""},
        {"k.watch{kind='pods', each=function() while true do end end, all=true, count=1, seconds=1}", ""},
    };
    struct cluster *cluster = *state;
    struct peer peer, other;
    double longest = 0;
    add_pod(cluster, "one", "1");
    open_admin(&peer, cluster);
    open_admin(&other, cluster);
    run(&other, "mine = 'here'");
    for (size_t i = 0; i < COUNT_OF(hostile); i++) {
        say_run(&peer, hostile[i].source);
        double ms = longest_turn_ms(&peer);
        longest = ms > longest ? ms : longest;
        const char *error = json_string(peer.done, "error");
        if (!strstr(error ? error : str_c(&peer.out), hostile[i].part) || peer.closed)
            fail_msg("%s gave %.300s", hostile[i].source, error ? error : str_c(&peer.out));
        expect_run(&peer, "1+1", "2"); /* the session goes on */
    }
    expect_run(&other, "mine", "here");
    print_message("longest turn of the manager's loop: %.1f ms\n", longest);
    if (longest > STALL_MS)
        fail_msg("the manager's loop was held up for %.1f ms", longest);
    leave(&peer);
    leave(&other);
}

static void test_isolation(void **state)
{
    struct cluster *cluster = *state;
    struct peer one, two;
    open_admin(&one, cluster);
    open_admin(&two, cluster);
    run(&one, "secret = 1 string.find = nil math.floor = nil");
    expect_run(&two, "secret", "nil");
    expect_run(&two, "('abc'):find('b'), math.floor(1.5)", "2\n1");
    cJSON *longer = cJSON_CreateObject();
    json_set_int(json_ensure_object(longer, "begin"), "budget", 30000);
    say(&one, longer);
    wait_done(&one);
    say_run(&one, "while true do end");
    expect_run(&two, "1+1", "2"); /* beside a loop */
    assert_null(one.done);
    const char *interrupt = "{\"interrupt\":true}";
    websocket_send(one.ws, WEBSOCKET_TEXT, interrupt, strlen(interrupt));
    wait_done(&one);
    assert_string_equal(json_string(one.done, "error"), "interrupted");
    say_run(&one, "sleep(1000)"); /* at once: it may not have begun yet */
    websocket_send(one.ws, WEBSOCKET_TEXT, interrupt, strlen(interrupt));
    wait_done(&one);
    assert_string_equal(json_string(one.done, "error"), "interrupted");
    expect_run(&one, "secret", "1"); /* its variables are there still */
    leave(&one);
    leave(&two);
}

static void send_text(struct peer *peer, const char *text)
{
    websocket_send(peer->ws, WEBSOCKET_TEXT, text, strlen(text));
}

static void test_broken_messages(void **state)
{
    static const char *const broken[] = {"",
                                         "x",
                                         "{",
                                         "[]",
                                         "null",
                                         "{\"run\":5}",
                                         "{\"complete\":[]}",
                                         "{\"begin\":7}",
                                         "{\"begin\":{\"columns\":1e300,\"budget\":-5,\"namespace\":{}}}",
                                         "{\"run\":\"1\",\"name\":{}}",
                                         "{\"interrupt\""};
    struct cluster *cluster = *state;
    struct peer peer;
    open_admin(&peer, cluster);
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        cJSON_Delete(steal(&peer.done));
        send_text(&peer, broken[i]);
        if (!str_starts(broken[i], "{\"interrupt\""))
            wait_done(&peer);
    }
    expect_run(&peer, "1+1", "2");
    auto_free char *source = mem_alloc(300001); /* more than a source may have */
    memset(source, ' ', 300000);
    expect_run(&peer, source, "larger than");
    auto_free char *huge = mem_alloc(2 << 20);
    memset(huge, 'x', (2 << 20) - 1);
    send_text(&peer, huge); /* more than a message may have */
    while (!peer.closed)
        turn(peer.w);
    leave(&peer);
    open_admin(&peer, cluster);
    say_run(&peer, "sleep(1000)");
    for (int i = 0; i < 100 && peer.ws; i++)
        send_text(&peer, "{\"run\":\"1\"}");
    while (!peer.closed)
        turn(peer.w);
    assert_string_equal(json_string(peer.done, "error"), "too many commands at once");
    leave(&peer);
}

static void test_limit_of_sessions(void **state)
{
    struct cluster *cluster = *state;
    struct peer peers[16], one_more;
    for (size_t i = 0; i < COUNT_OF(peers); i++)
        open_admin(&peers[i], cluster);
    const struct http_local_identity admin = {.user = "admin", .groups = masters};
    connect_to(&one_more, cluster->api, &admin, "/apis/minik8s.io/v1/repl");
    while (!one_more.closed)
        turn(one_more.w);
    assert_string_equal(json_string(one_more.done, "error"), "too many sessions are open");
    leave(&one_more);
    leave(&peers[0]);
    open_admin(&one_more, cluster);
    expect_run(&one_more, "1+1", "2");
    leave(&one_more);
    for (size_t i = 1; i < COUNT_OF(peers); i++)
        leave(&peers[i]);
}

/* The log of this store keeps 1,000 events. */
static void test_the_log_forgets(void **state)
{
    struct cluster *cluster = *state;
    struct world *w = cluster->api;
    struct peer peer;
    expect(w, 201, "POST", "/api/v1/namespaces/default/configmaps", "{'metadata':{'name':'old'}}");
    expect(w, 201, "POST", "/api/v1/namespaces/default/configmaps", "{'metadata':{'name':'same'}}");
    open_admin(&peer, cluster);
    expect_run(&peer, "k.at('0s').revision == k.revision(), k.at(k.revision()).revision > 0", "true\ntrue");
    expect_run(&peer, "k.at('1h').pods{}", "since the start of this manager");
    expect_run(&peer, "k.at('noon')", "a revision is wanted, or a time");
    for (int i = 0; i < 1100; i++) {
        auto_free char *body = mem_printf("{'metadata':{'name':'busy'},'data':{'n':'%d'}}", i);
        if (i == 0)
            expect(w, 201, "POST", "/api/v1/namespaces/default/configmaps", body);
        else
            expect(w, 200, "PUT", "/api/v1/namespaces/default/configmaps/busy", body);
    }
    expect_run(&peer, "k.at(1).configmaps{}", "is older than what is kept");
    expect_run(&peer, "r = k.revision() return k.at(r).get('cm/old').metadata.name",
               "old"); /* unchanged since */
    expect_run(&peer, "k.patch('cm/old', {data={a='b'}})", "");
    expect_run(&peer, "k.at(r).configmaps{name='same'}", "same");
    expect_run(
        &peer,
        "k.get('cm/old').data.a, k.at(r).get('cm/old').data, k.at(r).configmaps{name='old'}[1].metadata.name",
        "b\nnil\nold");
    expect_run(&peer, "k.delete('cm/same') return k.at(r).get('cm/same').metadata.name", "same");
    expect_run(&peer, "k.at(r).get('cm/busy').data.n", "1099");
    expect_run(&peer, "k.at(r - 500).get('cm/busy').data.n", "599");
    leave(&peer);
}

/* Clients go, and the manager ends, in the middle of everything. */
static void test_ends(void **state)
{
    static const char *const busy[] = {"while true do end", "sleep(1000)", "k.watch{kind='pods'}",
                                       "while true do print('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') end",
                                       "while true do k.get('event/x') end"};
    struct cluster *cluster = *state;
    struct peer peers[COUNT_OF(busy) * 2];
    for (size_t i = 0; i < COUNT_OF(peers); i++) {
        open_admin(&peers[i], cluster);
        say_run(&peers[i], busy[i % COUNT_OF(busy)]);
    }
    for (size_t i = 0; i < COUNT_OF(busy); i++)
        leave(&peers[i]);
    manager_stop(cluster);
    for (size_t i = COUNT_OF(busy); i < COUNT_OF(peers); i++) {
        while (!peers[i].closed)
            turn(cluster->api);
        leave(&peers[i]);
    }
    for (int i = 0; i < 20; i++)
        turn(cluster->api);
    begin_manager(cluster); /* a new manager takes sessions again */
    struct peer peer;
    open_admin(&peer, cluster);
    expect_run(&peer, "1+1", "2");
    leave(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_reads_and_writes, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_decisions, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_completion, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_rights, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_hostile, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_isolation, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_broken_messages, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_limit_of_sessions, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_the_log_forgets, setup_cluster, teardown_cluster),
        cmocka_unit_test_setup_teardown(test_ends, setup_cluster, teardown_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
