/*
 * nameserver_answer: what a question is answered with. Pure in the zone (but for whose turn it is among
 * several addresses).
 */
#include <string.h>

#include "net/nameserver_internal.h"

#define CHAIN_MAX 8 /* CNAMEs in a row: also where they go in a circle */

static bool wants(uint16_t type, enum dns_type record)
{
    return type == record || (type == DNS_ANY && record != DNS_PTR);
}

static const struct zone_record *cname_of(const struct zone_name *name, uint16_t type)
{
    for (size_t i = 0; name && type != DNS_CNAME && i < name->count; i++)
        if (name->records[i].type == DNS_CNAME)
            return &name->records[i];
    return NULL;
}

/* Those of the type, beginning with another one each time. */
static size_t add_records(struct dns_writer *w, struct zone_name *name, const char *owner, uint16_t type)
{
    size_t found = 0;
    unsigned first = name->count ? name->turn++ % (unsigned)name->count : 0;
    for (size_t i = 0; i < name->count; i++) {
        const struct zone_record *record = &name->records[(first + i) % name->count];
        bool same = type == DNS_PTR ? record->type == DNS_PTR : wants(type, record->type);
        if (!same)
            continue;
        dns_add(w, 0, owner, record);
        found++;
    }
    return found;
}

/* Addresses of what SRV records point to. */
static void add_targets(struct dns_writer *w, struct zone *zone, const struct zone_name *name)
{
    for (size_t i = 0; i < name->count; i++) {
        const struct zone_name *target =
            name->records[i].type == DNS_SRV ? zone_find(zone, name->records[i].target) : NULL;
        for (size_t k = 0; target && k < target->count; k++)
            if (target->records[k].type == DNS_A)
                dns_add(w, 2, name->records[i].target, &target->records[k]);
    }
}

/* Types that say how to reach a host: of a name that somebody gave us, others are asked for the rest. */
static bool is_ours(const struct zone *zone, const char *name, uint16_t type)
{
    static const uint16_t types[] = {DNS_A,   DNS_CNAME, DNS_PTR,   DNS_AAAA,
                                     DNS_SRV, DNS_SVCB,  DNS_HTTPS, DNS_ANY};
    if (zone_contains(zone, name))
        return true;
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (types[i] == type)
            return true;
    return false;
}

struct answering {
    struct zone *zone;
    struct dns_writer *w;
    uint16_t type;
    char name[DNS_NAME_MAX + 1];
    unsigned links;
};

/* 1: done with *rcode, 0: go on with another name, -1: ask others. */
static int step(struct answering *a, enum dns_rcode *rcode)
{
    struct zone_name *name = zone_find(a->zone, a->name);
    struct zone_record pod = {.type = DNS_A};
    const struct zone_record *cname = cname_of(name, a->type);
    *rcode = DNS_OK;
    if (!name && zone_pod(a->zone, a->name, &pod.address)) {
        if (wants(a->type, DNS_A))
            dns_add(a->w, 0, a->name, &pod);
        return 1;
    }
    if (!name && zone_contains(a->zone, a->name)) {
        *rcode = DNS_NXDOMAIN;
        return 1;
    }
    if (!name || !is_ours(a->zone, a->name, a->type))
        return -1;
    if (!cname) {
        if (add_records(a->w, name, a->name, a->type) && a->type == DNS_SRV)
            add_targets(a->w, a->zone, name);
        return 1;
    }
    dns_add(a->w, 0, a->name, cname);
    memcpy(a->name, cname->target, strlen(cname->target) + 1);
    if (a->type == DNS_A && !zone_find(a->zone, a->name) && !zone_contains(a->zone, a->name) &&
        add_records(a->w, name, a->name, DNS_A))
        return 1; /* the agent has looked it up */
    if (++a->links < CHAIN_MAX)
        return 0;
    *rcode = DNS_SERVFAIL;
    return 1;
}

ssize_t dns_answer(struct zone *zone, const unsigned char *request UNUSED,
                   const struct dns_question *question, struct dns_writer *w, char ask[DNS_NAME_MAX + 1])
{
    struct answering a = {.zone = zone, .w = w, .type = question->type};
    enum dns_rcode rcode;
    int result;
    memcpy(a.name, question->name, sizeof(a.name));
    while ((result = step(&a, &rcode)) == 0)
        ;
    if (result < 0) {
        memcpy(ask, a.name, sizeof(a.name));
        return -1;
    }
    if (!w->counts[0] && !w->full)
        dns_add_soa(w, zone_contains(zone, question->name) ? zone->domain : question->name);
    return (ssize_t)dns_end(w, rcode, true);
}

ssize_t nameserver_answer(struct zone *zone, const unsigned char *request, size_t len, unsigned char *answer,
                          size_t max)
{
    struct dns_question question;
    struct dns_writer w;
    enum dns_rcode rcode;
    char ask[DNS_NAME_MAX + 1];
    if (dns_read(request, len, &question, &rcode) < 0)
        return 0;
    dns_begin(&w, request, &question, answer, max);
    if (rcode != DNS_OK)
        return (ssize_t)dns_end(&w, rcode, false);
    return dns_answer(zone, request, &question, &w, ask);
}
