/*
 * queue: a deduplicating work queue of keys (architecture "Reconcile"): a key is queued at most once and
 * worked on by at most one worker at a time; added while in work it is queued again when done. Delays,
 * per-key exponential back-off, and a gate "not before the stream has reached revision N" (contract 12). On
 * one loop; deterministic order (FIFO per priority).
 */
#ifndef M8_QUEUE_QUEUE_H
#define M8_QUEUE_QUEUE_H

#include "loop/loop.h"

struct queue;
struct queue *queue_new(struct loop *loop, void (*ready)(void *arg),
                        void *arg); /* ready: posted when a key can be taken */
void queue_free(struct queue *queue);
void queue_add(struct queue *queue, const char *key);
void queue_add_after(struct queue *queue, const char *key, int64_t delay_ms); /* the earliest time wins */
/* The next key or NULL; it is in work until queue_done. The caller frees it. */
char *queue_take(struct queue *queue);
void queue_done(struct queue *queue, const char *key);
/* done + again after a back-off: 5 ms doubling to 60 s, with the count per key; queue_forget resets. */
void queue_retry(struct queue *queue, const char *key);
unsigned queue_retries(const struct queue *queue, const char *key);
void queue_forget(struct queue *queue, const char *key);
/* The key is not given out before queue_reached(revision ≥ this) was called. */
void queue_wait_for(struct queue *queue, const char *key, uint64_t revision);
void queue_reached(struct queue *queue, uint64_t revision);
size_t queue_length(const struct queue *queue); /* waiting, without delayed ones */

#endif
