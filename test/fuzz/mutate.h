/*
 * mutate: the mutation loop of the fuzz programs. Deterministic: the same seed makes the same inputs, so that
 * a failure is repeated by `PROGRAM ITERATIONS SEED`. Built with sanitizers (-DVARIANT=fuzz) it finds what
 * they find; each program adds properties that must hold of what is accepted.
 */
#ifndef M8_FUZZ_MUTATE_H
#define M8_FUZZ_MUTATE_H

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"

struct fuzz_corpus {
    const char *const *seeds; /* texts to begin with */
    size_t n_seeds;
    const char *const *tokens; /* pieces that mean something in the language */
    size_t n_tokens;
};

#define FUZZ_MAX 4096

static inline void fuzz_splice(struct str *text, size_t at, size_t cut, const char *piece, size_t n)
{
    struct str made = {0};
    str_add_n(&made, text->data, at);
    str_add_n(&made, piece, n);
    str_add_n(&made, text->data + at + cut, text->len - at - cut);
    str_free(text);
    *text = made;
}

static inline void fuzz_mutate_once(const struct fuzz_corpus *corpus, const struct random *random,
                                    struct str *text)
{
    size_t at = random_below(random, text->len + 1), left = text->len - at;
    size_t some = random_below(random, (left < 16 ? left : 16) + 1);
    const char *token = corpus->tokens[random_below(random, corpus->n_tokens)];
    const char *other = corpus->seeds[random_below(random, corpus->n_seeds)];
    size_t from = random_below(random, strlen(other) + 1), n = random_below(random, strlen(other + from) + 1);
    char byte = (char)random_below(random, 256);
    switch (random_below(random, 6)) {
    case 0:
        fuzz_splice(text, at, left ? 1 : 0, &byte, 1);
        break;
    case 1:
        fuzz_splice(text, at, some, "", 0);
        break;
    case 2:
        fuzz_splice(text, at, 0, token, strlen(token));
        break;
    case 3:
        fuzz_splice(text, at, some, token, strlen(token));
        break;
    case 4: {
        auto_free char *piece = mem_copy(text->data + at, some);
        fuzz_splice(text, at, 0, piece, some);
        break;
    }
    default:
        fuzz_splice(text, at, some, other + from, n);
    }
}

/* Calls `check` with exactly len readable bytes, `iterations` times; it returns whether the input was
 * accepted. */
static inline int fuzz_main(int argc, char **argv, const struct fuzz_corpus *corpus,
                            bool (*check)(const char *text, size_t len))
{
    long long iterations = 20000, seed = 1, accepted = 0;
    if ((argc > 1 && str_to_int64(argv[1], &iterations) < 0) ||
        (argc > 2 && str_to_int64(argv[2], &seed) < 0)) {
        fprintf(stderr, "usage: %s [ITERATIONS [SEED]]\n", argv[0]);
        return 2;
    }
    struct random_seeded seeded;
    struct random random;
    random_seeded_init(&seeded, (uint64_t)seed, &random);
    log_install_crash_handler();
    auto_str text = {0};
    for (long long i = 0; i < iterations; i++) {
        if (random_below(&random, 3) == 0 || text.len > FUZZ_MAX || !text.data) {
            str_clear(&text);
            str_add(&text, corpus->seeds[random_below(&random, corpus->n_seeds)]);
        }
        for (uint64_t n = 1 + random_below(&random, 3); n; n--)
            fuzz_mutate_once(corpus, &random, &text);
        auto_free char *exact = mem_copy(text.data, text.len);
        accepted += check(exact, text.len);
    }
    printf("%s: %lld inputs of which %lld accepted, seed %lld\n", argv[0], iterations, accepted, seed);
    return 0;
}

#endif
