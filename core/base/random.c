/*
 * random: see random.h. Does not keep state of its own: the seeded generator lives in the caller's struct.
 */
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

static void fill_system(void *arg, void *data, size_t len)
{
    (void)arg;
    char *out = data;
    while (len) {
        ssize_t n = getrandom(out, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        must(n > 0);
        out += n;
        len -= (size_t)n;
    }
}

const struct random random_system = {.fill = fill_system};

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static void fill_seeded(void *arg, void *data, size_t len)
{
    struct random_seeded *seeded = arg;
    char *out = data;
    while (len) {
        uint64_t word = splitmix64(&seeded->state);
        size_t n = len < sizeof(word) ? len : sizeof(word);
        memcpy(out, &word, n);
        out += n;
        len -= n;
    }
}

void random_seeded_init(struct random_seeded *seeded, uint64_t seed, struct random *random)
{
    seeded->state = seed;
    *random = (struct random){.fill = fill_seeded, .arg = seeded};
}

uint64_t random_u64(const struct random *random)
{
    uint64_t word;
    random->fill(random->arg, &word, sizeof(word));
    return word;
}

uint64_t random_below(const struct random *random, uint64_t limit)
{
    if (limit == 0)
        return 0;
    /* Values below (2^64 mod limit) would make the small results likelier: drawn again. */
    uint64_t refuse = -limit % limit, word;
    do
        word = random_u64(random);
    while (word < refuse);
    return word % limit;
}

void random_uid(const struct random *random, char out[RANDOM_UID])
{
    unsigned char b[16];
    random->fill(random->arg, b, sizeof(b));
    b[6] = (unsigned char)(0x40 | (b[6] & 0x0f));
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f));
    snprintf(out, RANDOM_UID, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

void random_suffix(const struct random *random, char *out, size_t n)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[random_below(random, sizeof(alphabet) - 1)];
    out[n] = '\0';
}
