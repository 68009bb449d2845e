/* The name server's answers, without sockets: kinds of records, chains, what does not exist, sizes, and bytes
 * that are no questions. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/nameserver_internal.h"

static struct zone *new_zone(void)
{
    struct net_cidr pods;
    assert_int_equal(net_cidr_parse("10.244.0.0/16", &pods, NULL), 0);
    struct zone *zone = zone_new("cluster.local", &pods);
    zone_load(zone, "web",
              "10.96.0.1 web.default.svc.cluster.local\n"
              "srv _http._tcp.web.default.svc.cluster.local 80 web.default.svc.cluster.local\n");
    zone_load(zone, "db",
              "10.244.1.2 db.default.svc.cluster.local\n10.244.2.2 db.default.svc.cluster.local\n"
              "10.244.1.2 db-0.db.default.svc.cluster.local\n");
    zone_load(zone, "alias", "cname other.default.svc.cluster.local WEB.default.svc.cluster.local.\n");
    zone_load(zone, "far", "cname far.default.svc.cluster.local db.example.org\n");
    zone_load(zone, "near",
              "cname near.default.svc.cluster.local localhost\n127.0.0.1 near.default.svc.cluster.local\n");
    zone_load(zone, "loop",
              "cname a.default.svc.cluster.local b.default.svc.cluster.local\n"
              "cname b.default.svc.cluster.local a.default.svc.cluster.local\n");
    zone_load(zone, "shop", "10.96.0.9 shop.example.com\n10.96.0.9 *.apps.example.com\n");
    return zone;
}

struct answer {
    unsigned char bytes[DNS_MESSAGE_MAX];
    ssize_t len;
    unsigned rcode, counts[3];
    bool truncated, authoritative;
    char text[32768]; /* "TYPE OWNER DATA" of the answer section, a line each */
};

static unsigned get16(const unsigned char *at)
{
    return (unsigned)(at[0] << 8 | at[1]);
}

static void read_answer(struct answer *a)
{
    size_t at = 12, used = 0;
    char name[DNS_NAME_MAX + 1], target[DNS_NAME_MAX + 1];
    a->rcode = a->bytes[3] & 15;
    a->truncated = a->bytes[2] & 2;
    a->authoritative = a->bytes[2] & 4;
    for (int i = 0; i < 3; i++)
        a->counts[i] = get16(a->bytes + 6 + 2 * i);
    assert_int_equal(dns_read_name(a->bytes, (size_t)a->len, &at, name), 0);
    at += 4;
    for (unsigned i = 0; i < a->counts[0]; i++) {
        assert_int_equal(dns_read_name(a->bytes, (size_t)a->len, &at, name), 0);
        unsigned type = get16(a->bytes + at);
        size_t size = get16(a->bytes + at + 8), data = at + 10;
        size_t end = type == DNS_SRV ? data + 6 : data;
        char address[INET_ADDRSTRLEN] = "";
        if (type == DNS_A)
            inet_ntop(AF_INET, a->bytes + data, address, sizeof(address));
        else
            assert_int_equal(dns_read_name(a->bytes, (size_t)a->len, &end, target), 0);
        used += (size_t)snprintf(a->text + used, sizeof(a->text) - used, "%u %s %s%s", type, name,
                                 type == DNS_A ? address : target, type == DNS_SRV ? " " : "\n");
        if (type == DNS_SRV)
            used +=
                (size_t)snprintf(a->text + used, sizeof(a->text) - used, "%u\n", get16(a->bytes + data + 4));
        at = data + size;
    }
}

static struct answer ask_with(struct zone *zone, const char *name, uint16_t type, size_t max)
{
    struct answer a = {0};
    unsigned char question[512];
    size_t len = dns_ask(question, 0x1234, name, type);
    a.len = nameserver_answer(zone, question, len, a.bytes, max);
    if (a.len > 0)
        read_answer(&a);
    return a;
}

static struct answer ask(struct zone *zone, const char *name, uint16_t type)
{
    return ask_with(zone, name, type, DNS_UDP_MIN);
}

static void test_records(void **state UNUSED)
{
    struct zone *zone = new_zone();
    struct answer a = ask(zone, "WEB.default.svc.cluster.local", DNS_A);
    assert_string_equal(a.text, "1 web.default.svc.cluster.local 10.96.0.1\n");
    assert_true(a.authoritative);
    a = ask(zone, "_http._tcp.web.default.svc.cluster.local", DNS_SRV);
    assert_string_equal(a.text,
                        "33 _http._tcp.web.default.svc.cluster.local web.default.svc.cluster.local 80\n");
    assert_int_equal(a.counts[2], 1); /* the target's address comes along */
    a = ask(zone, "1.0.96.10.in-addr.arpa", DNS_PTR);
    assert_string_equal(a.text, "12 1.0.96.10.in-addr.arpa web.default.svc.cluster.local\n");
    a = ask(zone, "10-244-7-8.default.pod.cluster.local", DNS_A);
    assert_string_equal(a.text, "1 10-244-7-8.default.pod.cluster.local 10.244.7.8\n");
    assert_int_equal(ask(zone, "10-9-7-8.default.pod.cluster.local", DNS_A).rcode, DNS_NXDOMAIN);
    a = ask(zone, "x.apps.example.com", DNS_A);
    assert_string_equal(a.text, "1 x.apps.example.com 10.96.0.9\n");
    assert_int_equal(ask(zone, "y.x.apps.example.com", DNS_A).len, -1);
    zone_free(zone);
}

static void test_turns(void **state UNUSED)
{
    struct zone *zone = new_zone();
    struct answer first = ask(zone, "db.default.svc.cluster.local", DNS_A);
    struct answer second = ask(zone, "db.default.svc.cluster.local", DNS_A);
    assert_int_equal(first.counts[0], 2);
    assert_string_not_equal(first.text, second.text);
    zone_free(zone);
}

static void test_chains(void **state UNUSED)
{
    struct zone *zone = new_zone();
    struct answer a = ask(zone, "other.default.svc.cluster.local", DNS_A);
    assert_string_equal(a.text, "5 other.default.svc.cluster.local web.default.svc.cluster.local\n"
                                "1 web.default.svc.cluster.local 10.96.0.1\n");
    a = ask(zone, "near.default.svc.cluster.local", DNS_A);
    assert_string_equal(a.text, "5 near.default.svc.cluster.local localhost\n1 localhost 127.0.0.1\n");
    a = ask(zone, "a.default.svc.cluster.local", DNS_A);
    assert_int_equal(a.rcode, DNS_SERVFAIL);
    assert_int_equal(ask(zone, "far.default.svc.cluster.local", DNS_A).len, -1); /* others know */
    a = ask(zone, "far.default.svc.cluster.local", DNS_CNAME);
    assert_string_equal(a.text, "5 far.default.svc.cluster.local db.example.org\n");
    zone_free(zone);
}

static void test_absent(void **state UNUSED)
{
    struct zone *zone = new_zone();
    struct answer a = ask(zone, "web.default.svc.cluster.local", DNS_AAAA);
    assert_int_equal(a.rcode, DNS_OK); /* the name exists */
    assert_int_equal(a.counts[0], 0);
    assert_int_equal(a.counts[1], 1); /* SOA: for how long */
    assert_int_equal(ask(zone, "no.default.svc.cluster.local", DNS_A).rcode, DNS_NXDOMAIN);
    assert_int_equal(ask(zone, "default.svc.cluster.local", DNS_A).rcode, DNS_OK); /* names are below it */
    assert_int_equal(ask(zone, "none.svc.cluster.local", DNS_A).rcode, DNS_NXDOMAIN);
    assert_int_equal(ask(zone, "example.org", DNS_A).len, -1);
    assert_int_equal(ask(zone, "shop.example.com", DNS_AAAA).rcode, DNS_OK);
    assert_int_equal(ask(zone, "shop.example.com", 15).len, -1); /* its mail is not ours */
    zone_drop(zone, "web");
    assert_int_equal(ask(zone, "web.default.svc.cluster.local", DNS_A).rcode, DNS_NXDOMAIN);
    assert_int_equal(ask(zone, "1.0.96.10.in-addr.arpa", DNS_PTR).len, -1);
    zone_load(zone, "db", "");
    assert_int_equal(ask(zone, "db-0.db.default.svc.cluster.local", DNS_A).rcode, DNS_NXDOMAIN);
    zone_free(zone);
}

/* Nothing of a file stays when it goes, whatever its order. */
static void test_empty_again(void **state UNUSED)
{
    struct zone *zone = new_zone();
    static const char *const files[] = {"web", "db", "alias", "far", "near", "loop", "shop"};
    for (int round = 0; round < 3; round++)
        zone_load(zone, "db",
                  round % 2 ? "10.244.1.2 db.default.svc.cluster.local\n"
                            : "10.244.1.3 db.default.svc.cluster.local\n10.244.1.2 x.y.z.cluster.local\n");
    for (size_t i = 0; i < COUNT_OF(files); i++)
        zone_drop(zone, files[i]);
    assert_int_equal(zone->names.count, 0);
    assert_int_equal(zone->files.count, 0);
    zone_free(zone);
}

static void test_sizes(void **state UNUSED)
{
    struct zone *zone = new_zone();
    auto_str text = {0};
    for (int i = 0; i < 200; i++)
        str_addf(&text, "10.244.%d.%d many.default.svc.cluster.local\n", i / 100, i % 100 + 1);
    zone_load(zone, "many", str_c(&text));
    struct answer a = ask(zone, "many.default.svc.cluster.local", DNS_A);
    assert_true(a.truncated);
    assert_true(a.len <= DNS_UDP_MIN);
    assert_true(a.counts[0] > 20);
    a = ask_with(zone, "many.default.svc.cluster.local", DNS_A, DNS_MESSAGE_MAX);
    assert_false(a.truncated);
    assert_int_equal(a.counts[0], 200);
    zone_free(zone);
}

/* Any bytes: an answer that can be read, or none. */
static void test_hostile(void **state UNUSED)
{
    struct zone *zone = new_zone();
    static const char *const names[] = {"web.default.svc.cluster.local", "a.default.svc.cluster.local", "x.y",
                                        ""};
    unsigned char question[512], answer[DNS_UDP_MIN];
    unsigned seed = 7;
    for (int round = 0; round < 200000; round++) {
        size_t len = dns_ask(question, (uint16_t)round, names[round % 4], DNS_A);
        if (!len)
            len = 17;
        for (int i = 0; i < 1 + round % 6; i++) {
            seed = seed * 1664525 + 1013904223;
            question[(seed >> 8) % len] = (unsigned char)(seed >> 24);
        }
        seed = seed * 1664525 + 1013904223;
        size_t cut = round % 3 ? len : (seed >> 8) % (len + 1);
        auto_free unsigned char *exact = mem_copy(question, cut ? cut : 1);
        ssize_t got = nameserver_answer(zone, exact, cut, answer, sizeof(answer));
        assert_true(got <= (ssize_t)sizeof(answer));
        assert_true(got <= 0 || (got >= 12 && answer[2] & 0x80));
    }
    zone_load(zone, "bad",
              "10.0.0.1\n\nsrv x\ncname\n999.1.1.1 a.b\n10.0.0.1 \xff\xfe\nsrv a b c d e\n# 1.1.1.1 c\n");
    assert_int_equal(ask(zone, "c", DNS_A).len, -1);
    zone_free(zone);
}

/* ---- answers of others ---- */

enum { KEPT_A, KEPT_NONE, KEPT_SILENT }; /* an address; NXDOMAIN with a SOA, without one */

/* An answer to a question, as a resolver gives it. */
static size_t foreign(unsigned char *out, const unsigned char *request, size_t len, int what, uint32_t ttl,
                      unsigned flags)
{
    const unsigned char a[] = {0xc0, 12, 0,   1, 0, 1, 0, 0, (unsigned char)(ttl >> 8), (unsigned char)ttl,
                               0,    4,  192, 0, 2, 7};
    const unsigned char soa[] = {0xc0,
                                 12,
                                 0,
                                 6,
                                 0,
                                 1,
                                 0,
                                 1,
                                 0,
                                 0,
                                 0,
                                 22,
                                 0,
                                 0,
                                 0,
                                 0,
                                 0,
                                 1,
                                 0,
                                 0,
                                 0,
                                 2,
                                 0,
                                 0,
                                 0,
                                 3,
                                 0,
                                 0,
                                 0,
                                 4,
                                 0,
                                 0,
                                 (unsigned char)(ttl >> 8),
                                 (unsigned char)ttl};
    memcpy(out, request, len);
    out[2] = (unsigned char)(flags >> 8);
    out[3] = (unsigned char)(flags | (what == KEPT_A ? 0 : DNS_NXDOMAIN));
    out[7] = what == KEPT_A;
    out[9] = what == KEPT_NONE;
    out[11] = 0;
    if (what == KEPT_SILENT)
        return len;
    memcpy(out + len, what == KEPT_A ? a : soa, what == KEPT_A ? sizeof(a) : sizeof(soa));
    return len + (what == KEPT_A ? sizeof(a) : sizeof(soa));
}

#define NORMAL 0x8180

static void test_kept(void **state UNUSED)
{
    struct answers *answers = answers_new(3);
    unsigned char request[512], other[512], answer[600], got[600];
    size_t len = dns_ask(request, 0x1111, "a.example.org", DNS_A), n;
    size_t other_len = dns_ask(other, 0x2222, "a.example.org", DNS_AAAA);
    n = foreign(answer, request, len, KEPT_A, 20, NORMAL);
    answers_put(answers, request, len, false, 5000, answer, n);
    request[0] = 0x77;
    assert_int_equal(answers_get(answers, request, len, false, 12500, got, sizeof(got)), n);
    assert_int_equal(get16(got), 0x7711);
    assert_int_equal(get16(got + len + 8), 13); /* seconds that are left */
    assert_int_equal(answers_get(answers, request, len, true, 6000, got, sizeof(got)),
                     0); /* TCP's may be longer */
    assert_int_equal(answers_get(answers, other, other_len, false, 6000, got, sizeof(got)), 0);
    assert_int_equal(answers_get(answers, request, len, false, 6000, got, n - 1), 0);
    assert_int_equal(answers_get(answers, request, len, false, 25000, got, sizeof(got)), 0);
    n = foreign(answer, request, len, KEPT_A, 60000, NORMAL); /* not longer than 30 s */
    answers_put(answers, request, len, false, 0, answer, n);
    assert_int_equal(answers_get(answers, request, len, false, 29999, got, sizeof(got)), n);
    assert_int_equal(answers_get(answers, request, len, false, 30000, got, sizeof(got)), 0);
    n = foreign(answer, request, len, KEPT_NONE, 7, NORMAL);
    answers_put(answers, request, len, false, 0, answer, n);
    assert_int_equal(answers_get(answers, request, len, false, 6999, got, sizeof(got)), n);
    assert_int_equal(answers_get(answers, request, len, false, 7000, got, sizeof(got)), 0);
    answers_free(answers);
}

static void test_not_kept(void **state UNUSED)
{
    struct answers *answers = answers_new(3);
    unsigned char request[512], other[512], answer[600], got[600];
    size_t len = dns_ask(request, 0x1111, "a.example.org", DNS_A);
    size_t other_len = dns_ask(other, 0x1111, "b.example.org", DNS_A);
    static const struct {
        int what;
        uint32_t ttl;
        unsigned flags;
    } bad[] = {{KEPT_A, 0, NORMAL},          {KEPT_NONE, 0, NORMAL},       {KEPT_SILENT, 9, NORMAL},
               {KEPT_A, 9, NORMAL | 0x0200}, {KEPT_A, 9, NORMAL | 0x0400}, /* cut; a server's own name */
               {KEPT_A, 9, NORMAL | 2},      {KEPT_A, 9, 0x0100}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        size_t n = foreign(answer, request, len, bad[i].what, bad[i].ttl, bad[i].flags);
        answers_put(answers, request, len, false, 0, answer, n);
        assert_int_equal(answers_get(answers, request, len, false, 1, got, sizeof(got)), 0);
    }
    size_t n = foreign(answer, other, other_len, KEPT_A, 9, NORMAL); /* to another question */
    answers_put(answers, request, len, false, 0, answer, n);
    assert_int_equal(answers_get(answers, request, len, false, 1, got, sizeof(got)), 0);
    n = foreign(answer, request, len, KEPT_A, 9, NORMAL);
    for (size_t cut = 0; cut < n; cut++) { /* never ends in the middle, whatever it says of itself */
        auto_free unsigned char *part = mem_copy(answer, cut + 1);
        answers_put(answers, request, len, false, 0, part, cut);
        assert_int_equal(answers_get(answers, request, len, false, 1, got, sizeof(got)), 0);
    }
    for (unsigned i = 0; i < 5; i++) { /* the oldest go */
        request[13] = (unsigned char)('b' + i);
        n = foreign(answer, request, len, KEPT_A, 9, NORMAL);
        answers_put(answers, request, len, false, i, answer, n);
    }
    for (unsigned i = 0; i < 5; i++) {
        request[13] = (unsigned char)('b' + i);
        assert_int_equal(answers_get(answers, request, len, false, 10, got, sizeof(got)), i < 2 ? 0 : n);
    }
    answers_clear(answers);
    assert_int_equal(answers_get(answers, request, len, false, 10, got, sizeof(got)), 0);
    answers_free(answers);
}

struct upstream {
    struct loop *loop;
    int fd;
    unsigned asked, answered;
};

static void on_asked(void *arg, unsigned events UNUSED)
{
    struct upstream *u = arg;
    unsigned char request[512], answer[600];
    struct sockaddr_in from;
    socklen_t size = sizeof(from);
    ssize_t len = recvfrom(u->fd, request, sizeof(request), 0, (struct sockaddr *)&from, &size);
    assert_true(len > 0);
    u->asked++;
    size_t n = foreign(answer, request, (size_t)len, KEPT_A, 20, NORMAL);
    assert_int_equal(sendto(u->fd, answer, n, 0, (struct sockaddr *)&from, size), n);
}

static void on_forwarded_answer(void *arg, const unsigned char *answer, size_t len)
{
    struct upstream *u = arg;
    assert_true(len > 12 && get16(answer) == 0x4000u + u->answered);
    u->answered++;
    loop_stop(u->loop);
}

/* The resolver is asked once; a changed resolv.conf lets it be asked again. */
static void test_forwarded(void **state UNUSED)
{
    char path[] = "/tmp/minik8s-resolv-XXXXXX", text[64];
    struct upstream u = {.loop = loop_new(NULL), .fd = socket(AF_INET, SOCK_DGRAM, 0)};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
    int n =
        snprintf(text, sizeof(text), "nameserver 127.92.%d.%d\n", getpid() / 250 % 250, getpid() % 250 + 1);
    at.sin_addr.s_addr =
        htonl(0x7f5c0000u | (uint32_t)(getpid() / 250 % 250) << 8 | (uint32_t)(getpid() % 250 + 1));
    assert_int_equal(bind(u.fd, (struct sockaddr *)&at, sizeof(at)), 0);
    struct loop_fd *watch = loop_fd_add(u.loop, u.fd, EPOLLIN, on_asked, &u, NULL);
    assert_non_null(watch);
    int file = mkstemp(path);
    assert_int_equal(write(file, text, (size_t)n), n);
    struct forwarder *forwarder = forwarder_new(u.loop, path, (struct in_addr[NAMESERVER_ADDRESSES]){{0}});
    for (unsigned i = 0; i < 4; i++) {
        unsigned char request[512];
        size_t len = dns_ask(request, (uint16_t)(0x4000 + i), "a.example.org", DNS_A);
        if (i == 3)
            assert_int_equal(futimens(file, (const struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}), 0);
        assert_true(forwarder_can(forwarder));
        forwarder_ask(forwarder, request, len, false, on_forwarded_answer, &u);
        loop_run(u.loop);
        assert_int_equal(u.asked, i < 3 ? 1 : 2);
    }
    forwarder_free(forwarder);
    loop_fd_remove(watch);
    loop_free(u.loop);
    close(u.fd);
    close(file);
    unlink(path);
}

/* resolv.conf as people and programs write it. */
static void test_resolv_conf(void **state UNUSED)
{
    static const struct {
        const char *text;
        bool can;
    } files[] = {{"nameserver\t192.0.2.1\n", true},
                 {"search a\nnameserver   192.0.2.1\r\n", true},
                 {"  nameserver \t 192.0.2.1 \t# ours", true},
                 {"#\tminik8s-upstream  192.0.2.1\n", true},
                 {"# nameserver 192.0.2.1\n", false},
                 {"nameserver\nnameserver here\n\n", false},
                 {"", false}};
    struct loop *loop = loop_new(NULL);
    log_set_level(LOG_ERROR);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[] = "/tmp/minik8s-resolv-XXXXXX";
        int file = mkstemp(path);
        ssize_t n = (ssize_t)strlen(files[i].text);
        assert_int_equal(write(file, files[i].text, (size_t)n), n);
        struct forwarder *forwarder = forwarder_new(loop, path, (struct in_addr[NAMESERVER_ADDRESSES]){{0}});
        if (forwarder_can(forwarder) != files[i].can)
            fail_msg("%s", files[i].text);
        forwarder_free(forwarder);
        close(file);
        unlink(path);
    }
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),   cmocka_unit_test(test_turns),       cmocka_unit_test(test_chains),
        cmocka_unit_test(test_absent),    cmocka_unit_test(test_empty_again), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_hostile),   cmocka_unit_test(test_kept),        cmocka_unit_test(test_not_kept),
        cmocka_unit_test(test_forwarded), cmocka_unit_test(test_resolv_conf),
    };
    return cmocka_run_group_tests_name("net nameserver", tests, NULL, NULL);
}
