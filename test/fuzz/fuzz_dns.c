/*
 * fuzz_dns: whatever datagram arrives, the name server gives no answer, says that others must be asked, or
 * gives one that is well-formed: the question's id, as many records as it counts, each name and length inside
 * of it, no longer than allowed.
 *
 * Inputs are messages with every byte changed by MASK, because the seeds of mutate.h are strings.
 */
#include <arpa/inet.h>

#include "mutate.h"

#include "net/nameserver_internal.h"

#define MASK 0xa5
#define SEEDS 6

static struct zone *zone;

static unsigned get16(const unsigned char *at)
{
    return (unsigned)(at[0] << 8 | at[1]);
}

static void check_answer(const unsigned char *answer, size_t len, const unsigned char *request)
{
    char name[DNS_NAME_MAX + 1];
    size_t at = 12;
    must(len >= at && memcmp(answer, request, 2) == 0 && answer[2] & 0x80);
    if ((answer[3] & 15) == DNS_FORMERR || (answer[3] & 15) == DNS_NOTIMP)
        return;
    for (unsigned i = get16(answer + 4); i; i--) {
        must(dns_read_name(answer, len, &at, name) == 0 && at + 4 <= len);
        at += 4;
    }
    for (unsigned i = get16(answer + 6) + get16(answer + 8) + get16(answer + 10); i; i--) {
        must(dns_read_name(answer, len, &at, name) == 0 && at + 10 <= len);
        at += 10 + get16(answer + at + 8);
        must(at <= len);
    }
    must(at == len);
}

static bool check(const char *text, size_t len)
{
    auto_free unsigned char *request = mem_alloc(len + 1), *answer = NULL;
    for (size_t i = 0; i < len; i++)
        request[i] = (unsigned char)text[i] ^ MASK;
    static const size_t sizes[] = {DNS_UDP_MIN, DNS_UDP_MAX, DNS_MESSAGE_MAX};
    size_t max = sizes[len % COUNT_OF(sizes)];
    answer = mem_alloc(max);
    unsigned char *exact = mem_copy(request, len); /* so that a byte behind it is found */
    ssize_t n = nameserver_answer(zone, exact, len, answer, max);
    free(exact);
    must(n >= -1 && n <= (ssize_t)max);
    if (n > 0)
        check_answer(answer, (size_t)n, request);
    return n != 0;
}

static char *seed(const char *name, uint16_t type, bool edns)
{
    unsigned char message[DNS_NAME_MAX + 64];
    size_t len = dns_ask(message, 0x1234, name, type);
    must(len > 0);
    if (edns) {
        static const unsigned char opt[] = {0, 0, DNS_OPT, 0x10, 0, 0, 0, 0, 0, 0, 0};
        memcpy(message + len, opt, sizeof(opt));
        len += sizeof(opt);
        message[11] = 1;
    }
    char *text = mem_alloc(len + 1);
    for (size_t i = 0; i < len; i++)
        must((text[i] = (char)(message[i] ^ MASK)) != 0);
    text[len] = 0;
    return text;
}

int main(int argc, char **argv)
{
    struct net_cidr pods = {.address = {htonl(0x0af40000)}, .prefix = 16};
    zone = zone_new("cluster.local", &pods);
    zone_load(zone, "web",
              "10.96.0.5 web.default.svc.cluster.local\nsrv _http._tcp.web.default.svc.cluster.local 80 "
              "web.default.svc.cluster.local\n");
    zone_load(zone, "db",
              "10.244.0.2 db.default.svc.cluster.local\n10.244.0.3 db.default.svc.cluster.local\n10.244.0.2 "
              "db-0.db.default.svc.cluster.local\n");
    zone_load(zone, "far", "cname far.default.svc.cluster.local example.com\n10.0.0.9 *.wild.example.com\n");
    char *seeds[SEEDS] = {seed("web.default.svc.cluster.local", DNS_A, false),
                          seed("_http._tcp.web.default.svc.cluster.local", DNS_SRV, true),
                          seed("db.default.svc.cluster.local", DNS_ANY, true),
                          seed("far.default.svc.cluster.local", DNS_A, false),
                          seed("5.0.96.10.in-addr.arpa", DNS_PTR, false),
                          seed("a.wild.example.com", DNS_AAAA, true)};
    static const char *const tokens[] = {"\x65\xa9",         "\x65\x65",        "\xa5\xa5", "\xa5\xa4",
                                         "\xa5\xa6",         "\x5a\x5a",        "\x9a",     "\xa5",
                                         "\xa5\x8c\xa5\xa4", "\xa1\xd2\xc0\xc7"};
    struct fuzz_corpus corpus = {(const char *const *)seeds, SEEDS, tokens, COUNT_OF(tokens)};
    int code = fuzz_main(argc, argv, &corpus, check);
    for (size_t i = 0; i < SEEDS; i++)
        free(seeds[i]);
    zone_free(zone);
    return code;
}
