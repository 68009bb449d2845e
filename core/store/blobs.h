/*
 * blobs: bytes that are too large for objects, beside the store: DIR/OWNER/DIGEST, where the digest is the
 * SHA-256 of the bytes and the owner the uid of an object. What belongs to an owner goes with it. A blob that
 * was put is on the disk (fsync of file and folder) and never changes.
 *
 * Threads: every function may be called from any thread; they block on the disk.
 */
#ifndef M8_STORE_BLOBS_H
#define M8_STORE_BLOBS_H

#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

#define BLOB_MAX (1u << 20) /* bytes of one blob; larger files are several */
#define BLOB_DIGEST 65      /* lower-case hex and a NUL */

void blob_digest(const void *data, size_t len, char digest[BLOB_DIGEST]);

struct blobs;
/* max_total: bytes of all owners. Makes the folder. */
struct blobs *blobs_open(const char *directory, int64_t max_total, struct err **err);
void blobs_close(struct blobs *blobs);

/* ERR_INVALID: the bytes do not have that digest; ERR_TOO_LARGE: above BLOB_MAX, or the owner would have more
 * than max_owner bytes, or all together more than max_total. What is there already is fine. */
int blobs_put(struct blobs *blobs, const char *owner, const char *digest, const void *data, size_t len,
              int64_t max_owner, struct err **err);
/* ERR_NOT_FOUND; ERR_IO when the disk has lost it. Caller unrefs. */
struct bytes *blobs_get(struct blobs *blobs, const char *owner, const char *digest, struct err **err);
void blobs_drop(struct blobs *blobs, const char *owner);
/* Between the two what is dropped stays on the disk and goes at the end: for a copy. May be nested. */
void blobs_hold(struct blobs *blobs);
void blobs_release(struct blobs *blobs);
/* All that there is into another folder, durable: on the same file system as further names of the same files,
 * else one blob after the other. Blobs that are put meanwhile may be missing. Only while they are held. */
int blobs_copy(struct blobs *blobs, const char *directory, struct err **err);
/* Drops the owners that keep(arg, owner) does not know: after a start. */
void blobs_sweep(struct blobs *blobs, bool (*keep)(void *arg, const char *owner), void *arg);

#endif
