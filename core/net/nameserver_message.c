/*
 * nameserver_message: the wire form of questions and answers (RFC 1035). Pure. Every length is checked: the
 * bytes come from anybody who can send a datagram.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "net/nameserver_internal.h"

#define HEADER 12
#define TTL 5
#define SOA_BYTES 22
#define OPT_BYTES 11

static uint16_t get16(const unsigned char *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(unsigned char *at, unsigned value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

int dns_read_name(const unsigned char *message, size_t len, size_t *at, char name[DNS_NAME_MAX + 1])
{
    size_t here = *at, used = 0, end = 0;
    int jumps = 0;
    for (;;) {
        if (here >= len)
            return -1;
        unsigned size = message[here];
        if ((size & 0xc0) == 0xc0) {
            if (here + 1 >= len || ++jumps > 16)
                return -1;
            end = end ? end : here + 2;
            here = (size_t)(size & 0x3f) << 8 | message[here + 1];
            continue;
        }
        if (size & 0xc0 || here + 1 + size > len || used + size + 1 > DNS_NAME_MAX)
            return -1;
        here++;
        if (!size)
            break;
        if (used)
            name[used++] = '.';
        for (unsigned i = 0; i < size; i++, here++) {
            unsigned char c = message[here];
            if (!c || c == '.')
                return -1; /* no name of ours, and it would not survive as text */
            name[used++] = (char)tolower(c);
        }
    }
    name[used] = 0;
    *at = end ? end : here;
    return 0;
}

static void read_edns(const unsigned char *request, size_t len, struct dns_question *question)
{
    size_t at = question->end;
    unsigned records = get16(request + 6) + get16(request + 8) + get16(request + 10);
    for (unsigned i = 0; i < records && i < 16; i++) {
        char name[DNS_NAME_MAX + 1];
        if (dns_read_name(request, len, &at, name) < 0 || at + 10 > len)
            return;
        unsigned type = get16(request + at), size = get16(request + at + 8);
        if (type == DNS_OPT) {
            question->edns = true;
            question->udp_size = get16(request + at + 2);
        }
        at += 10 + (size_t)size;
        if (at > len)
            return;
    }
}

int dns_read(const unsigned char *request, size_t len, struct dns_question *question, enum dns_rcode *rcode)
{
    size_t at = HEADER;
    *question = (struct dns_question){.udp_size = DNS_UDP_MIN};
    *rcode = DNS_FORMERR;
    if (len < HEADER || request[2] & 0x80) /* too short, or an answer */
        return -1;
    question->id = get16(request);
    question->flags = get16(request + 2);
    question->end = HEADER;
    if ((question->flags >> 11 & 15) != 0) {
        *rcode = DNS_NOTIMP;
        return 0;
    }
    if (get16(request + 4) != 1 || dns_read_name(request, len, &at, question->name) < 0 || at + 4 > len)
        return 0;
    /* Nothing stands before it that a pointer could mean; and the answer repeats it, with other bytes behind.
     */
    if (at - HEADER != strlen(question->name) + (*question->name ? 2 : 1))
        return 0;
    question->type = get16(request + at);
    question->klass = get16(request + at + 2);
    question->end = at + 4;
    read_edns(request, len, question);
    if (question->udp_size < DNS_UDP_MIN)
        question->udp_size = DNS_UDP_MIN;
    if (question->udp_size > DNS_UDP_MAX)
        question->udp_size = DNS_UDP_MAX;
    *rcode = question->klass == 1 || question->klass == 255 ? DNS_OK : DNS_REFUSED;
    return 0;
}

/* ---- writing ---- */

static size_t write_name(unsigned char *out, size_t room, const char *name)
{
    size_t used = 0;
    while (*name) {
        size_t label = strcspn(name, ".");
        if (!label || label > 63 || used + label + 2 > room)
            return 0;
        out[used++] = (unsigned char)label;
        memcpy(out + used, name, label);
        used += label;
        name += label + (name[label] == '.');
    }
    if (used >= room)
        return 0;
    out[used++] = 0;
    return used;
}

size_t dns_ask(unsigned char *out, uint16_t id, const char *name, uint16_t type)
{
    memset(out, 0, HEADER);
    put16(out, id);
    put16(out + 2, 0x0100);
    put16(out + 4, 1);
    size_t used = write_name(out + HEADER, DNS_NAME_MAX + 2, name);
    if (!used)
        return 0;
    put16(out + HEADER + used, type);
    put16(out + HEADER + used + 2, 1);
    return HEADER + used + 4;
}

void dns_begin(struct dns_writer *w, const unsigned char *request, const struct dns_question *question,
               unsigned char *out, size_t max)
{
    *w = (struct dns_writer){.data = out, .len = question->end, .max = max, .question = question};
    memcpy(out, request, question->end); /* header and question */
    if (question->edns)
        w->max -= OPT_BYTES;
}

static size_t write_owner(struct dns_writer *w, size_t at, const char *owner)
{
    if (at + 2 > w->max)
        return 0;
    if (!str_eq(owner, w->question->name) || !*owner)
        return write_name(w->data + at, w->max - at, owner);
    put16(w->data + at, 0xc000 | HEADER);
    return 2;
}

static size_t write_data(struct dns_writer *w, size_t at, const struct zone_record *record)
{
    size_t used;
    if (at + 6 > w->max)
        return 0;
    if (record->type == DNS_A) {
        memcpy(w->data + at, &record->address, 4);
        return 4;
    }
    if (record->type != DNS_SRV)
        return write_name(w->data + at, w->max - at, record->target);
    put16(w->data + at, 0);
    put16(w->data + at + 2, 100);
    put16(w->data + at + 4, record->port);
    used = write_name(w->data + at + 6, w->max - at - 6, record->target);
    return used ? used + 6 : 0;
}

static void write_head(unsigned char *at, unsigned type, unsigned size)
{
    put16(at, type);
    put16(at + 2, 1);
    put16(at + 4, 0);
    put16(at + 6, TTL);
    put16(at + 8, size);
}

void dns_add(struct dns_writer *w, int section, const char *owner, const struct zone_record *record)
{
    size_t name = w->full ? 0 : write_owner(w, w->len, owner), at = w->len + name + 10, size = 0;
    if (name && at < w->max)
        size = write_data(w, at, record);
    if (!size) {
        w->full = w->full || section == 0; /* what is only additional may be left out */
        return;
    }
    write_head(w->data + w->len + name, record->type, (unsigned)size);
    w->len = at + size;
    w->counts[section]++;
}

void dns_add_soa(struct dns_writer *w, const char *domain)
{
    static const unsigned char figures[] = {0, 0, 0, 1, 0,    0,    0x1c, 0x20, 0, 0,
                                            7, 8, 0, 1, 0x51, 0x80, 0,    0,    0, TTL};
    size_t name = w->full ? 0 : write_owner(w, w->len, domain), at = w->len + name + 10;
    if (!name || at + 2 + sizeof(figures) > w->max)
        return;
    w->data[at] = w->data[at + 1] = 0; /* no name of a server or a person */
    memcpy(w->data + at + 2, figures, sizeof(figures));
    write_head(w->data + w->len + name, DNS_SOA, SOA_BYTES);
    w->len = at + SOA_BYTES;
    w->counts[1]++;
}

static void add_opt(struct dns_writer *w)
{
    unsigned char *at = w->data + w->len;
    memset(at, 0, OPT_BYTES);
    put16(at + 1, DNS_OPT);
    put16(at + 3, DNS_UDP_MAX);
    w->len += OPT_BYTES;
    w->counts[2]++;
}

size_t dns_end(struct dns_writer *w, enum dns_rcode rcode, bool authoritative)
{
    unsigned flags = 0x8080 | (w->question->flags & 0x0100) | (authoritative ? 0x0400 : 0) |
                     (w->full ? 0x0200 : 0) | (unsigned)rcode;
    if (w->question->edns)
        add_opt(w);
    put16(w->data + 2, flags);
    put16(w->data + 4, w->question->end > HEADER);
    for (int i = 0; i < 3; i++)
        put16(w->data + 6 + 2 * i, w->counts[i]);
    return w->len;
}
