/* The resolver: real name servers, real queries: adding, changing, removing names, what it refuses, where it
 * listens, adoption by the next agent, return after SIGKILL, shutdown. */
#include "world.h"

#include "loop/loop.h"
#include "net/nameserver.h"

#define DNS "10.96.0.53"
#define SPARE "10.96.0.54"
enum { RCODE_OK = 0, RCODE_NXDOMAIN = 3, RCODE_REFUSED = 5, NO_ANSWER = -1 };

struct fixture {
    struct loop *loop;
    pthread_t thread;
    struct net_config config;
    struct net *net;
};

/* ---- a minimal client ---- */

struct reply {
    int rcode;
    size_t count;
    struct in_addr addresses[8];
};

static size_t put_question(unsigned char *packet, const char *name, uint16_t type)
{
    static const unsigned char header[12] = {0x12, 0x34, 1, 0, 0, 1};
    unsigned char *at = packet + sizeof header;
    memcpy(packet, header, sizeof header);
    for (const char *label = name; *label;) {
        size_t length = strcspn(label, ".");
        *at++ = (unsigned char)length;
        memcpy(at, label, length);
        at += length;
        label += length + (label[length] == '.');
    }
    const unsigned char tail[] = {0, (unsigned char)(type >> 8), (unsigned char)type, 0, 1};
    memcpy(at, tail, sizeof tail);
    return (size_t)(at - packet) + sizeof tail;
}

static void read_reply(const unsigned char *packet, size_t got, size_t question, struct reply *reply)
{
    unsigned answers = (unsigned)(packet[6] << 8 | packet[7]);
    const unsigned char *at = packet + question;
    reply->rcode = packet[3] & 15;
    for (unsigned i = 0; i < answers && at + 16 <= packet + got && reply->count < 8; i++) {
        assert_int_equal(at[0] & 0xc0, 0xc0); /* it refers to the question's name */
        if (at[3] == 1)
            memcpy(&reply->addresses[reply->count++], at + 12, 4);
        at += 12 + (at[10] << 8 | at[11]);
    }
}

static int connected(const char *server, int type)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = address_of(server)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The answer to what was sent. */
static struct reply receive(int fd, size_t question, int wait_ms)
{
    struct reply reply = {.rcode = NO_ANSWER};
    unsigned char packet[512];
    struct pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, wait_ms) <= 0)
        return reply;
    ssize_t got = recv(fd, packet, sizeof packet, 0);
    if (got >= 12)
        read_reply(packet, (size_t)got, question, &reply);
    return reply;
}

static struct reply query(const char *server, const char *name, uint16_t type)
{
    unsigned char packet[512];
    auto_fd fd = connected(server, SOCK_DGRAM);
    size_t question = put_question(packet, name, type);
    if (fd < 0 || send(fd, packet, question, 0) < 0)
        return (struct reply){.rcode = NO_ANSWER};
    return receive(fd, question, 1000);
}

/* Asks until the answer is this one; how long it took. address NULL: NXDOMAIN. */
static double await_name(const char *name, const char *address)
{
    double begin = now_ms();
    while (now_ms() - begin < 10000) {
        struct reply reply = query(DNS, name, 1);
        if (address ? reply.count == 1 && reply.addresses[0].s_addr == address_of(address).s_addr
                    : reply.rcode == RCODE_NXDOMAIN)
            return now_ms() - begin;
        poll(NULL, 0, 1);
    }
    fail_msg("%s did not become %s", name, address ? address : "unknown");
    return 0;
}

/* ---- the agent's side ---- */

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void agent_start(struct fixture *f)
{
    struct err *error = NULL;
    f->loop = loop_new(&error);
    assert_non_null(f->loop);
    f->config.loop = f->loop;
    f->net = net_linux_new(&f->config, &error);
    if (!f->net)
        fail_msg("%s", err_message(error));
    assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f->loop), 0);
    ok(f->net->ops->setup(f->net, ERR));
}

static void free_on_loop(void *arg)
{
    struct fixture *f = arg;
    f->net->ops->free(f->net);
    loop_stop(f->loop);
}

static void agent_stop(struct fixture *f)
{
    loop_post(f->loop, free_on_loop, f);
    pthread_join(f->thread, NULL);
    loop_free(f->loop);
}

static int resolver_pid_at(struct fixture *f, const char *path)
{
    double begin = now_ms();
    while (now_ms() - begin < 10000) {
        auto_json state = f->net->ops->state(f->net);
        int pid = (int)json_int(state, path, 0);
        if (pid > 0)
            return pid;
        poll(NULL, 0, 1);
    }
    fail_msg("no resolver");
    return 0;
}

static int resolver_pid(struct fixture *f)
{
    return resolver_pid_at(f, "resolver.pids[0]");
}

static void set_name(struct fixture *f, const char *key, const char *name, const char *address)
{
    struct net_name record = {.name = name, .address = address ? address_of(address) : (struct in_addr){0}};
    struct net_names names = {.key = key, .records = &record, .n_records = address ? 1 : 0};
    ok(f->net->ops->names(f->net, &names, 1, ERR));
}

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);
    struct net_cidr own;
    *state = f;
    log_set_level(LOG_ERROR);
    assert_int_equal(mount("none", "/mnt", "tmpfs", 0, NULL), 0);
    ok(netlink_ensure_bridge(-1, "uplink", 0, ERR));
    cidr("192.168.77.1/24", &own);
    ok(netlink_ensure_address(-1, "uplink", &own, ERR));
    f->config = (struct net_config){.directory = "/mnt/node",
                                    .table = "minik8s",
                                    .bridge = "m8pods",
                                    .node_address = own.address,
                                    .dns_address = address_of(DNS),
                                    .dns_spare = address_of(SPARE),
                                    .cluster_domain = "cluster.local"};
    cidr("10.244.1.0/24", &f->config.pod_range);
    cidr("10.244.0.0/16", &f->config.cluster_range);
    cidr("10.96.0.0/16", &f->config.service_range);
    agent_start(f);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    agent_stop(f);
    ok(net_linux_shutdown(&f->config, ERR));
    free(f);
    return 0;
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    set_name(f, "default/web", "web.default.svc.cluster.local", "10.96.0.10");
    await_name("web.default.svc.cluster.local", "10.96.0.10");
    set_name(f, "default/web", "web.default.svc.cluster.local", "10.96.0.11");
    double changed = await_name("web.default.svc.cluster.local", "10.96.0.11");
    struct reply reply = query(DNS, "web.default.svc.cluster.local", 28); /* AAAA: known, but none */
    assert_int_equal(reply.rcode, RCODE_OK);
    assert_int_equal(reply.count, 0);
    set_name(f, "default/web", "web.default.svc.cluster.local", NULL);
    double removed = await_name("web.default.svc.cluster.local", NULL);
    print_message("a changed name after %.1f ms, a removed one after %.1f ms\n", changed, removed);
    assert_true(changed < 1000 && removed < 1000);
    assert_int_equal(query(DNS, "nowhere.default.svc.cluster.local", 1).rcode, RCODE_NXDOMAIN);
    assert_int_equal(query(DNS, "example.com", 1).rcode, RCODE_REFUSED); /* no upstream is configured */
}

static void test_headless(void **state)
{
    struct fixture *f = *state;
    struct net_name records[] = {
        {.name = "db.default.svc.cluster.local", .address = address_of("10.244.1.2")},
        {.name = "db.default.svc.cluster.local", .address = address_of("10.244.2.2")},
        {.name = "db-0.db.default.svc.cluster.local", .address = address_of("10.244.1.2")},
        {.name = "bad name\n1.2.3.4 evil.cluster.local", .address = address_of("10.244.1.3")}};
    struct net_names names = {.key = "default/db", .records = records, .n_records = 4};
    ok(f->net->ops->names(f->net, &names, 1, ERR));
    await_name("db-0.db.default.svc.cluster.local", "10.244.1.2");
    assert_int_equal(query(DNS, "db.default.svc.cluster.local", 1).count, 2);
    assert_int_equal(query(DNS, "evil.cluster.local", 1).rcode, RCODE_NXDOMAIN);
}

static void test_all(void **state)
{
    struct fixture *f = *state;
    set_name(f, "default/one", "one.default.svc.cluster.local", "10.96.0.21");
    set_name(f, "../../../etc/x", "two.default.svc.cluster.local", "10.96.0.22"); /* keys are no paths */
    await_name("two.default.svc.cluster.local", "10.96.0.22");
    struct net_name record = {.name = "three.default.svc.cluster.local", .address = address_of("10.96.0.23")};
    struct net_names names = {.key = "default/three", .records = &record, .n_records = 1};
    ok(f->net->ops->names_all(f->net, &names, 1, ERR));
    await_name("three.default.svc.cluster.local", "10.96.0.23");
    await_name("one.default.svc.cluster.local", NULL);
    await_name("two.default.svc.cluster.local", NULL);
    size_t count;
    auto_free char **files = file_list("/mnt/node/names", &count, NULL);
    assert_int_equal(count, 1);
}

static void test_listens_here_only(void **state UNUSED)
{
    set_name(*state, "default/here", "here.default.svc.cluster.local", "10.96.0.31");
    await_name("here.default.svc.cluster.local", "10.96.0.31");
    assert_int_equal(query("127.0.0.1", "here.default.svc.cluster.local", 1).rcode, NO_ANSWER);
    assert_int_equal(query("192.168.77.1", "here.default.svc.cluster.local", 1).rcode, NO_ANSWER);
}

static void test_adopted(void **state)
{
    struct fixture *f = *state;
    int pid = resolver_pid(f), spare = resolver_pid_at(f, "resolver.pids[1]");
    set_name(f, "default/kept", "kept.default.svc.cluster.local", "10.96.0.41");
    await_name("kept.default.svc.cluster.local", "10.96.0.41");
    agent_stop(f);
    assert_int_equal(query(DNS, "kept.default.svc.cluster.local", 1).count,
                     1); /* nobody is there, names are */
    agent_start(f);
    assert_int_equal(resolver_pid(f), pid);
    assert_int_equal(resolver_pid_at(f, "resolver.pids[1]"), spare);
    assert_int_equal(query(DNS, "kept.default.svc.cluster.local", 1).count, 1);
}

static void await_other_pid(struct fixture *f, const char *path, int pid)
{
    double begin = now_ms();
    while (resolver_pid_at(f, path) == pid) {
        if (now_ms() - begin > 10000)
            fail_msg("it was not started again");
        poll(NULL, 0, 1);
    }
}

/* One is stopped, then killed: the other answers, at both addresses. */
static void test_spare(void **state)
{
    struct fixture *f = *state;
    const char *const addresses[] = {DNS, SPARE}, *const paths[] = {"resolver.pids[0]", "resolver.pids[1]"};
    assert_int_not_equal(resolver_pid_at(f, paths[0]), resolver_pid_at(f, paths[1]));
    set_name(f, "default/two", "two.default.svc.cluster.local", "10.96.0.71");
    for (int i = 0; i < 2; i++) {
        int pid = resolver_pid_at(f, paths[i]);
        kill(pid, SIGSTOP); /* not started again meanwhile */
        await_name("two.default.svc.cluster.local", "10.96.0.71");
        for (int at = 0; at < 2; at++)
            assert_int_equal(query(addresses[at], "two.default.svc.cluster.local", 1).count, 1);
        kill(pid, SIGKILL);
        for (int at = 0; at < 2; at++)
            assert_int_equal(query(addresses[at], "two.default.svc.cluster.local", 1).count, 1);
        await_other_pid(f, paths[i], pid);
    }
}

/* No agent, no name server: questions wait in the sockets, and the next agent's name servers answer them. */
static void test_all_killed(void **state)
{
    struct fixture *f = *state;
    static const char name[] = "kept.default.svc.cluster.local";
    const char *const addresses[] = {DNS, SPARE};
    unsigned char packet[512];
    size_t question = put_question(packet, name, 1);
    set_name(f, "default/kept", name, "10.96.0.41");
    await_name(name, "10.96.0.41");
    const int pids[] = {resolver_pid(f), resolver_pid_at(f, "resolver.pids[1]")};
    agent_stop(f);
    for (int i = 0; i < 2; i++) {
        kill(pids[i], SIGKILL);
        while (file_process_start_time(pids[i]))
            poll(NULL, 0, 1);
    }
    int datagrams[2], streams[2];
    for (int i = 0; i < 2; i++) {
        datagrams[i] = connected(addresses[i], SOCK_DGRAM);
        assert_int_equal(send(datagrams[i], packet, question, 0), question);
        streams[i] = connected(addresses[i], SOCK_STREAM); /* not refused */
        assert_true(streams[i] >= 0);
        assert_int_equal(receive(datagrams[i], question, 50).rcode, NO_ANSWER); /* nor is this */
    }
    agent_start(f);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(receive(datagrams[i], question, 10000).count, 1);
        close(datagrams[i]);
        close(streams[i]);
    }
}

static void test_killed(void **state)
{
    struct fixture *f = *state;
    int pid = resolver_pid(f);
    set_name(f, "default/back", "back.default.svc.cluster.local", "10.96.0.51");
    await_name("back.default.svc.cluster.local", "10.96.0.51");
    kill(pid, SIGKILL);
    while (kill(pid, 0) == 0 && file_process_start_time(pid))
        poll(NULL, 0, 1);
    print_message("names answered again after %.0f ms\n",
                  await_name("back.default.svc.cluster.local", "10.96.0.51"));
    assert_int_not_equal(resolver_pid(f), pid);
}

/* A thousand Services at once. */
static void test_many(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 1000 };
    auto_free struct net_name *records = mem_array(MANY, sizeof *records);
    auto_free struct net_names *names = mem_array(MANY, sizeof *names);
    for (uint32_t i = 0; i < MANY; i++) {
        records[i] = (struct net_name){.name = mem_printf("s%u.many.svc.cluster.local", i),
                                       .address = {htonl(0x0a600100 + i)}};
        names[i] =
            (struct net_names){.key = mem_printf("many/s%u", i), .records = &records[i], .n_records = 1};
    }
    double begin = now_ms();
    ok(f->net->ops->names_all(f->net, names, MANY, ERR));
    double written = now_ms() - begin;
    for (uint32_t i = 0; i < MANY; i += 37) {
        auto_free char *address = mem_strdup(inet_ntoa(records[i].address));
        await_name(records[i].name, address);
    }
    begin = now_ms();
    ok(f->net->ops->names_all(f->net, names, MANY, ERR));
    print_message("%d names: %.0f ms, again %.0f ms\n", MANY, written, now_ms() - begin);
    ok(f->net->ops->names_all(f->net, NULL, 0, ERR));
    await_name("s0.many.svc.cluster.local", NULL);
    for (uint32_t i = 0; i < MANY; i++) {
        free((void *)records[i].name);
        free((void *)names[i].key);
    }
}

static void test_shutdown(void **state)
{
    struct fixture *f = *state;
    int pid = resolver_pid(f), spare = resolver_pid_at(f, "resolver.pids[1]");
    agent_stop(f);
    ok(net_linux_shutdown(&f->config, ERR));
    assert_int_equal(file_process_start_time(pid), 0);
    assert_int_equal(file_process_start_time(spare), 0);
    assert_int_equal(query(DNS, "new.default.svc.cluster.local", 1).rcode, NO_ANSWER);
    assert_false(file_exists("/mnt/node/names") || file_exists("/mnt/node/resolver-sockets") ||
                 file_exists("/mnt/node/resolver-sockets.pid"));
    ok(net_linux_shutdown(&f->config, ERR));
    agent_start(f);
    set_name(f, "default/new", "new.default.svc.cluster.local", "10.96.0.61");
    await_name("new.default.svc.cluster.local", "10.96.0.61");
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_headless),
        cmocka_unit_test(test_all),        cmocka_unit_test(test_adopted),
        cmocka_unit_test(test_killed),     cmocka_unit_test(test_spare),
        cmocka_unit_test(test_all_killed), cmocka_unit_test(test_listens_here_only),
        cmocka_unit_test(test_many),       cmocka_unit_test(test_shutdown),
    };
    return cmocka_run_group_tests_name("net resolver", tests, setup, teardown);
}

/* Helpers outlive their starter, so the whole test lives in a process namespace that ends with it. */
static int run_nameserver(int argc, char **argv)
{
    struct nameserver_options options = {0};
    auto_err err = NULL;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (str_eq(argv[i], "--names"))
            options.directory = argv[i + 1];
        else if (str_eq(argv[i], "--address"))
            ok(nameserver_addresses(argv[i + 1], options.addresses, ERR));
        else if (str_eq(argv[i], "--domain"))
            options.domain = argv[i + 1];
        else if (str_eq(argv[i], "--resolv-conf"))
            options.resolv_conf = argv[i + 1];
        else if (str_eq(argv[i], "--pods"))
            cidr(argv[i + 1], &options.pods);
    }
    int sockets[NAMESERVER_SOCKETS] = {3, 4, 5, 6};
    struct loop *loop = loop_new(&err);
    if (nameserver_listen(sockets, options.addresses, &err) < 0 ||
        !nameserver_new(loop, &options, sockets, &err))
        return 1;
    loop_run(loop);
    return 0;
}

int main(int argc, char **argv)
{
    int status;
    if (argc > 1) /* started as a helper, as the agent's program is */
        return run_nameserver(argc, argv);
    if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) < 0)
        return 1;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("proc", "/proc", "proc", 0, NULL) < 0)
            exit(1);
        exit(run_all());
    }
    /* Not by return: the leak check would need a process of its own, and this one cannot have any more. */
    _exit(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}
