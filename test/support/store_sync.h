/* store_sync: waits for single store writes, for tests (header only: unit tests of store do not link
 * test/support). */
#ifndef M8_TEST_SUPPORT_STORE_SYNC_H
#define M8_TEST_SUPPORT_STORE_SYNC_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"

struct store_sync {
    struct store_write write;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
};

static inline void store_sync_done(struct store_write *write)
{
    struct store_sync *sync = write->arg;
    pthread_mutex_lock(&sync->lock);
    sync->done = true;
    pthread_cond_signal(&sync->ended);
    pthread_mutex_unlock(&sync->lock);
}

/* Submits and waits. Not for inline stores. */
static inline enum err_code store_sync_write(struct store *store, struct store_write *write)
{
    struct store_sync sync = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    struct err *error = NULL;
    write->done = store_sync_done;
    write->arg = &sync;
    if (store->ops->submit(store, &write, 1, &error) != 0) {
        write->result = err_code(error);
        err_free(error);
        return write->result;
    }
    pthread_mutex_lock(&sync.lock);
    while (!sync.done)
        pthread_cond_wait(&sync.ended, &sync.lock);
    pthread_mutex_unlock(&sync.lock);
    return write->result;
}

/* {"resourceVersion":"REV","text":"TEXT"} with the terms (comma-separated) under key. */
static inline enum err_code store_sync_put(struct store *store, const char *key, const char *text,
                                           const char *terms, uint64_t expect, unsigned flags,
                                           uint64_t *revision)
{
    const char *head = "{\"resourceVersion\":\"";
    auto_free char *data = mem_printf("%s\",\"text\":\"%s\"}", head, text);
    char *copy = strdup(terms ? terms : "");
    const char *list[64];
    size_t count = 0;
    for (char *save = NULL, *term = strtok_r(copy, ",", &save); term; term = strtok_r(NULL, ",", &save))
        list[count++] = term;
    struct store_write write = {.verb = STORE_PUT,
                                .key = key,
                                .expect = expect,
                                .flags = flags,
                                .data = data,
                                .len = strlen(data),
                                .revision_at = strlen(head),
                                .terms = store_terms_new(1, list, count)};
    free(copy);
    enum err_code code = store_sync_write(store, &write);
    if (revision)
        *revision = write.revision;
    bytes_unref(write.bytes);
    store_terms_unref(write.terms);
    return code;
}

static inline enum err_code store_sync_delete(struct store *store, const char *key, uint64_t expect,
                                              uint64_t *revision)
{
    struct store_write write = {.verb = STORE_DELETE, .key = key, .expect = expect};
    enum err_code code = store_sync_write(store, &write);
    if (revision)
        *revision = write.revision;
    bytes_unref(write.bytes);
    return code;
}

/* A fresh directory on a real disk: M8_TEST_DISK or /var/tmp. Caller frees. */
static inline char *store_sync_directory(const char *name)
{
    const char *disk = getenv("M8_TEST_DISK");
    char *path = mem_printf("%s/m8-%s-XXXXXX", disk ? disk : "/var/tmp", name);
    must(mkdtemp(path) != NULL);
    return path;
}

#endif
