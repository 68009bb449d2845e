/*
 * nameserver_cache: answers of other servers, kept for as long as they say, at most KEEP_MAX_S. The key is
 * the request itself but for its id: whatever a client puts into a question (sizes, flags, cookies) asks for
 * an answer of its own. What does not exist is kept if the answer says for how long (its SOA). Nothing runs
 * when nothing is asked: an answer that is too old is found so when it is wanted, or goes as the oldest.
 */
#include <arpa/inet.h>
#include <string.h>

#include "net/nameserver_internal.h"

#define KEEP_MAX_S 30 /* a name that is changed elsewhere is not waited for longer, whatever it says */
#define REQUEST_MAX 512
#define ANSWER_MAX 2048 /* larger ones are asked again */
#define HEAD 12

struct kept {
    int64_t at_ms, until_ms;
    size_t len;
    unsigned char answer[];
};

struct answers {
    size_t max;
    struct map kept; /* in the order in which they came */
};

struct answers *answers_new(size_t max)
{
    struct answers *answers = NEW(struct answers);
    answers->max = max;
    map_init(&answers->kept, free);
    return answers;
}

void answers_clear(struct answers *answers)
{
    map_fini(&answers->kept);
    map_init(&answers->kept, free);
}

void answers_free(struct answers *answers)
{
    map_fini(&answers->kept);
    free(answers);
}

static unsigned get16(const unsigned char *at)
{
    return (unsigned)(at[0] << 8 | at[1]);
}

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static char *key_of(const unsigned char *request, size_t len, bool stream)
{
    auto_free char *text = str_hex(request + 2, len - 2);
    return mem_printf("%c%s", stream ? 't' : 'u', text);
}

/* Behind the one question; 0: it is malformed. */
static size_t question_end(const unsigned char *message, size_t len)
{
    char name[DNS_NAME_MAX + 1];
    size_t at = HEAD;
    if (len < HEAD || get16(message + 4) != 1 || dns_read_name(message, len, &at, name) < 0 || at + 4 > len)
        return 0;
    return at + 4;
}

struct walk { /* over the records behind the question */
    const unsigned char *message;
    size_t len, at, size; /* at: of a record's type, class, TTL, size; size: of its data */
    unsigned left;
};

static struct walk begin(const unsigned char *message, size_t len, size_t end)
{
    return (struct walk){.message = message,
                         .len = len,
                         .at = end,
                         .left = get16(message + 6) + get16(message + 8) + get16(message + 10)};
}

/* 1: a record, 0: that was the last, -1: malformed. `next` is where the walk goes on. */
static int next_record(struct walk *walk, size_t *next)
{
    char name[DNS_NAME_MAX + 1];
    size_t at = *next;
    if (!walk->left)
        return 0;
    walk->left--;
    if (dns_read_name(walk->message, walk->len, &at, name) < 0 || at + 10 > walk->len)
        return -1;
    walk->at = at;
    walk->size = get16(walk->message + at + 8);
    *next = at + 10 + walk->size;
    return *next > walk->len ? -1 : 1;
}

/* Seconds that the whole answer may be kept; 0: not at all. */
static uint32_t lifetime(const unsigned char *answer, size_t len, size_t end)
{
    struct walk walk = begin(answer, len, end);
    uint32_t seconds = KEEP_MAX_S;
    bool told = get16(answer + 6) > 0;
    int more;
    for (size_t next = end; (more = next_record(&walk, &next)) > 0;) {
        unsigned type = get16(answer + walk.at);
        uint32_t ttl = get32(answer + walk.at + 4);
        if (type == DNS_OPT)
            continue;
        if (type == DNS_SOA && walk.size >= 20) {
            uint32_t least = get32(answer + walk.at + 10 + walk.size - 4);
            ttl = least < ttl ? least : ttl;
            told = true;
        }
        seconds = ttl < seconds ? ttl : seconds;
    }
    return more == 0 && told ? seconds : 0;
}

/* An answer of a resolver to this question, whole, and not one of a server's own names (AA): those are the
 * business of that server from one question to the next. */
static bool worth_keeping(const unsigned char *request, size_t len, const unsigned char *answer,
                          size_t answer_len, size_t end)
{
    unsigned flags = get16(answer + 2), rcode = flags & 15;
    return len >= HEAD && len <= REQUEST_MAX && answer_len <= ANSWER_MAX && end <= len && end >= HEAD &&
           (flags & 0x8600) == 0x8000 && (rcode == DNS_OK || rcode == DNS_NXDOMAIN) &&
           memcmp(request + HEAD, answer + HEAD, end - HEAD) == 0;
}

void answers_put(struct answers *answers, const unsigned char *request, size_t len, bool stream,
                 int64_t now_ms, const unsigned char *answer, size_t answer_len)
{
    size_t end = question_end(answer, answer_len);
    uint32_t seconds =
        end && worth_keeping(request, len, answer, answer_len, end) ? lifetime(answer, answer_len, end) : 0;
    if (!seconds)
        return;
    auto_free char *key = key_of(request, len, stream);
    struct kept *kept = mem_alloc(sizeof(*kept) + answer_len);
    *kept = (struct kept){.at_ms = now_ms, .until_ms = now_ms + seconds * INT64_C(1000), .len = answer_len};
    memcpy(kept->answer, answer, answer_len);
    map_remove(&answers->kept, key); /* it is the youngest now */
    while (answers->kept.count >= answers->max)
        map_remove(&answers->kept, answers->kept.first->key);
    map_set(&answers->kept, key, kept);
}

static void grow_older(unsigned char *answer, size_t len, uint32_t seconds)
{
    size_t end = question_end(answer, len);
    struct walk walk = begin(answer, len, end);
    for (size_t next = end; next_record(&walk, &next) > 0;) {
        unsigned char *at = answer + walk.at;
        uint32_t ttl = get32(at + 4);
        if (get16(at) == DNS_OPT)
            continue;
        ttl = htonl(ttl > seconds ? ttl - seconds : 0);
        memcpy(at + 4, &ttl, sizeof(ttl));
    }
}

size_t answers_get(struct answers *answers, const unsigned char *request, size_t len, bool stream,
                   int64_t now_ms, unsigned char *answer, size_t max)
{
    if (len < HEAD || len > REQUEST_MAX || !answers->kept.count)
        return 0;
    auto_free char *key = key_of(request, len, stream);
    const struct kept *kept = map_get(&answers->kept, key);
    if (!kept || kept->len > max)
        return 0;
    if (now_ms >= kept->until_ms || now_ms < kept->at_ms) {
        map_remove(&answers->kept, key);
        return 0;
    }
    memcpy(answer, kept->answer, kept->len);
    memcpy(answer, request, 2);
    grow_older(answer, kept->len, (uint32_t)((now_ms - kept->at_ms) / 1000));
    return kept->len;
}
