/*
 * random: the randomness that everything is given. The system one is the kernel's; simulations hand in a
 * seeded one.
 */
#ifndef M8_BASE_RANDOM_H
#define M8_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    void (*fill)(void *arg, void *data, size_t len);
    void *arg;
};
extern const struct random random_system;

struct random_seeded { /* splitmix64; not for secrets */
    uint64_t state;
};
void random_seeded_init(struct random_seeded *seeded, uint64_t seed, struct random *random);

uint64_t random_u64(const struct random *random);
uint64_t random_below(const struct random *random, uint64_t limit); /* 0 for limit 0 */
#define RANDOM_UID 37
void random_uid(const struct random *random, char out[RANDOM_UID]); /* RFC 4122 version 4 */
/* n characters of Kubernetes' name alphabet (bcdfghjklmnpqrstvwxz2456789) and a NUL. */
void random_suffix(const struct random *random, char *out, size_t n);

#endif
