/*
 * nameserver_internal: private to the name server: records, messages, questions to others.
 */
#ifndef M8_NET_NAMESERVER_INTERNAL_H
#define M8_NET_NAMESERVER_INTERNAL_H

#include "base/map.h"
#include "base/str.h"
#include "loop/loop.h"
#include "net/nameserver.h"

#define DNS_NAME_MAX 255
#define DNS_MESSAGE_MAX 65535
#define DNS_UDP_MIN 512
#define DNS_UDP_MAX 1232
enum dns_type {
    DNS_A = 1,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_OPT = 41,
    DNS_SVCB = 64,
    DNS_HTTPS = 65,
    DNS_ANY = 255
};
enum dns_rcode {
    DNS_OK = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5
};

/* ---- nameserver_zone.c ---- */

struct zone_record {
    enum dns_type type; /* A, SRV, CNAME, PTR */
    struct in_addr address;
    uint16_t port;
    char *target;
    const void *file;
};
struct zone_name {
    char *name; /* lower case, without the last dot */
    struct zone_record *records;
    size_t count;
    unsigned below; /* records of names below it: it exists, though it may have none */
    unsigned turn;  /* which address comes first next time */
};
struct zone {
    char *domain;
    struct net_cidr pods;
    struct map names, files;
};
/* The name itself, or what *.DOMAIN says of it; NULL: unknown. */
struct zone_name *zone_find(const struct zone *zone, const char *name);
bool zone_contains(const struct zone *zone, const char *name); /* it is in the cluster's domain */
bool zone_pod(const struct zone *zone, const char *name, struct in_addr *address);

/* ---- nameserver_message.c ---- */

struct dns_question {
    char name[DNS_NAME_MAX + 1]; /* lower case, without the last dot; "" is the root */
    uint16_t type, klass, id, flags;
    size_t end;      /* of the question in the request */
    size_t udp_size; /* that the client takes */
    bool edns;
};
/* -1: not even a question; 0 otherwise, `rcode` says whether it can be answered. */
int dns_read(const unsigned char *request, size_t len, struct dns_question *question, enum dns_rcode *rcode);
/* Reads a possibly compressed name at *at; -1: malformed. */
int dns_read_name(const unsigned char *message, size_t len, size_t *at, char name[DNS_NAME_MAX + 1]);
/* A question for somebody else; its length. */
size_t dns_ask(unsigned char *out, uint16_t id, const char *name, uint16_t type);

struct dns_writer {
    unsigned char *data;
    size_t len, max;
    uint16_t counts[3]; /* answer, authority, additional */
    bool full;
    const struct dns_question *question;
};
void dns_begin(struct dns_writer *w, const unsigned char *request, const struct dns_question *question,
               unsigned char *out, size_t max);
void dns_add(struct dns_writer *w, int section, const char *owner, const struct zone_record *record);
void dns_add_soa(struct dns_writer *w, const char *domain);
size_t dns_end(struct dns_writer *w, enum dns_rcode rcode, bool authoritative);

/* ---- nameserver_answer.c ---- */

/* Like nameserver_answer; when -1, `ask` is the name to ask others for, and what is known already (CNAMEs)
 * stands in `w`. */
ssize_t dns_answer(struct zone *zone, const unsigned char *request, const struct dns_question *question,
                   struct dns_writer *w, char ask[DNS_NAME_MAX + 1]);

/* ---- nameserver_cache.c: answers of others, for as long as they say ---- */

struct answers;
struct answers *answers_new(size_t max); /* the oldest goes when there are more */
void answers_free(struct answers *answers);
void answers_clear(struct answers *answers);
/* Keeps an answer to that request, if it may be kept. stream: over TCP. */
void answers_put(struct answers *answers, const unsigned char *request, size_t len, bool stream,
                 int64_t now_ms, const unsigned char *answer, size_t answer_len);
/* What is kept for the same request (its id may be another), with what is left of its times; 0: nothing. */
size_t answers_get(struct answers *answers, const unsigned char *request, size_t len, bool stream,
                   int64_t now_ms, unsigned char *answer, size_t max);

/* ---- nameserver_forward.c ---- */

struct forwarder;
typedef void forward_done(void *arg, const unsigned char *answer, size_t len); /* len 0: nobody answered */
/* own: NAMESERVER_ADDRESSES of them, which are not asked. */
struct forwarder *forwarder_new(struct loop *loop, const char *resolv_conf, const struct in_addr *own);
void forwarder_free(struct forwarder *forwarder); /* nothing is under way */
bool forwarder_can(struct forwarder *forwarder);  /* there is somebody to ask */
/* Sends the request on, under another id, unless its answer is kept; the answer has the request's id. stream:
 * over TCP. done comes exactly once, later. */
void forwarder_ask(struct forwarder *forwarder, const unsigned char *request, size_t len, bool stream,
                   forward_done *done, void *arg);

#endif
