/*
 * fileset: a folder of files as blobs: each file in pieces of at most 1 MiB, and one blob that lists them;
 * the digest of that list stands for the folder. Only regular files; links are not followed. What comes in is
 * not trusted: a name that leads out of the folder is refused. Where the blobs lie is the caller's.
 */
#ifndef M8_CLIENT_FILESET_H
#define M8_CLIENT_FILESET_H

#include <stdint.h>

#include "base/err.h"

#define FILESET_PIECE (1u << 20)
#define FILESET_DIGEST 65 /* SHA-256 in lower-case hex, and a NUL */

struct fileset_place {
    /* NULL put: nothing is sent, only the digest is told. */
    int (*put)(void *arg, const char *digest, const void *data, size_t len, struct err **err);
    int (*get)(void *arg, const char *digest, char **data, size_t *len, struct err **err); /* caller frees */
    void *arg;
};
struct fileset_sum {
    char digest[FILESET_DIGEST];
    size_t files;
    int64_t bytes;
};

/* Sends what the folder holds; the list is sent last. ERR_TOO_LARGE above max_bytes, or too many files. */
int fileset_send(const char *folder, int64_t max_bytes, const struct fileset_place *place,
                 struct fileset_sum *sum, struct err **err);
/* Writes the files below the folder. ERR_INVALID: bytes that do not have their digest, or a bad list. */
int fileset_receive(const char *digest, const struct fileset_place *place, const char *folder,
                    struct fileset_sum *sum, struct err **err);

#endif
