/*
 * bench_stages: where a create of a 1.5 KB pod spends its time, stage by stage, in one process: parse,
 * validate (check, defaults, rules), terms and print, commit (32 writes in flight, fsync), TLS (the server's
 * half of one request and its answer), deliver (one event to one of 100 watchers, socket excluded). Prints
 * "sample stage_NAME_us VALUE": CPU of the thread that does it, per operation; for commit also the time that
 * passes.
 *
 *   bench_stages DIRECTORY      a folder on the disk that is to be measured
 */
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/file.h"
#include "pod.h"
#include "schema/schema.h"
#include "store/store_lmdb.h"
#include "watch/watch.h"

#define CALLS 5000
#define IN_FLIGHT 32
#define WATCHERS 100
#define ANSWER 1900

static double clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double cpu_us(void)
{
    return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

static void sample(const char *name, double us, double count)
{
    printf("sample stage_%s_us %.3f\n", name, us / count);
    fflush(stdout);
}

static void check(bool fine, struct err *const *err)
{
    if (!fine) {
        fprintf(stderr, "bench_stages: %s\n", err_message(*err));
        exit(1);
    }
}

/* ---- what a thread of the API does ---- */

static struct store_terms *measure_api(struct schema *schema, const char *text, struct str *printed)
{
    const struct schema_kind *kind = schema_find_word(schema, "pod");
    auto_err err = NULL;
    double parse = 0, validate = 0, terms = 0, print = 0;
    struct store_terms *result = NULL;
    for (int i = 0; i < CALLS; i++) {
        double begin = cpu_us();
        auto_json pod = json_parse(text, strlen(text), &err);
        double parsed = cpu_us();
        check(pod != NULL, &err);
        auto_json warnings = cJSON_CreateArray();
        check(schema_check(kind, pod, SCHEMA_WARN, warnings, &err) == 0, &err);
        schema_default(kind, pod);
        check(schema_validate(kind, pod, NULL, false, &err) == 0, &err);
        double validated = cpu_us();
        size_t count = 0;
        char **list = schema_terms(kind, pod, &count);
        struct store_terms *made = store_terms_new(1, (const char *const *)list, count);
        double termed = cpu_us();
        str_clear(printed);
        json_print_to(printed, pod);
        double ended = cpu_us();
        parse += parsed - begin;
        validate += validated - parsed;
        terms += termed - validated;
        print += ended - termed;
        free(list);
        store_terms_unref(result);
        result = made;
    }
    sample("parse", parse, CALLS);
    sample("validate", validate, CALLS);
    sample("terms", terms, CALLS);
    sample("print", print, CALLS);
    return result;
}

/* ---- commit and deliver ---- */

struct commit {
    struct store_write write;
    char key[64];
    sem_t *free;
};

struct delivery {
    struct watch_hub *hub;
    struct watch_reader *readers[WATCHERS];
    double publish_us;
    atomic_long events;
    double writer_us; /* CPU clock of the writer thread at the last commit */
};

static void on_done(struct store_write *write)
{
    struct commit *commit = write->arg;
    must(write->result == ERR_NONE);
    bytes_unref(steal(&write->bytes));
    sem_post(commit->free);
}

static void on_commit(void *arg, struct store_event *const *events, size_t count)
{
    struct delivery *d = arg;
    double begin = cpu_us();
    watch_hub_publish(d->hub, events, count);
    d->writer_us = cpu_us();
    d->publish_us += d->writer_us - begin;
    atomic_fetch_add(&d->events, (long)count);
}

static void wake(void *arg)
{
    atomic_fetch_add((atomic_long *)arg, 1);
}

static void put(struct store *store, struct commit *commit, long i, const struct str *data,
                struct store_terms *terms)
{
    struct store_write *write = &commit->write;
    snprintf(commit->key, sizeof(commit->key), "pods/default/pod-%08ld", i);
    *write = (struct store_write){.verb = STORE_PUT,
                                  .key = commit->key,
                                  .expect = STORE_ABSENT,
                                  .data = data->data,
                                  .len = data->len,
                                  .revision_at = (size_t)(strstr(data->data, "\"note\":\"") - data->data) + 8,
                                  .terms = terms,
                                  .done = on_done,
                                  .arg = commit};
    auto_err err = NULL;
    check(store->ops->submit(store, &write, 1, &err) == 0, &err);
}

/* 32 writes in flight, as many as the clients of the figure have. */
static void commit_all(struct store *store, const struct str *data, struct store_terms *terms, long from,
                       long count)
{
    static struct commit commits[IN_FLIGHT];
    sem_t gates[IN_FLIGHT];
    for (int i = 0; i < IN_FLIGHT; i++) {
        sem_init(&gates[i], 0, 1);
        commits[i].free = &gates[i];
    }
    for (long i = 0; i < count + IN_FLIGHT; i++) {
        sem_wait(&gates[i % IN_FLIGHT]);
        if (i < count)
            put(store, &commits[i % IN_FLIGHT], from + i, data, terms);
    }
}

static void measure_store(const char *directory, const struct str *data, struct store_terms *terms)
{
    auto_err err = NULL;
    const struct store_lmdb_options options = {.directory = directory, .sync = true};
    struct delivery d = {0};
    struct store *store = store_lmdb_open(&options, &err);
    check(store != NULL, &err);
    d.hub = watch_hub_new(store, &clock_system);
    store->ops->set_on_commit(store, on_commit, &d);
    double begin = clock_us(CLOCK_MONOTONIC);
    commit_all(store, data, terms, 0, CALLS);
    sample("commit_wall", clock_us(CLOCK_MONOTONIC) - begin, CALLS);
    sample("commit", d.writer_us, CALLS);
    static const char *const pods[] = {"pods", NULL};
    const struct watch_filter filter = {.resources = pods};
    atomic_long wakes = 0;
    for (int i = 0; i < WATCHERS; i++) {
        d.readers[i] = watch_open(d.hub, &filter, store->ops->revision(store), false, wake, &wakes, &err);
        check(d.readers[i] != NULL, &err);
    }
    d.publish_us = 0;
    double taken = 0;
    long got = 0;
    const long events = 1000;
    for (long i = 0; i < events; i += IN_FLIGHT) {
        commit_all(store, data, terms, CALLS + i, events - i < IN_FLIGHT ? events - i : IN_FLIGHT);
        double start = cpu_us();
        for (int r = 0; r < WATCHERS; r++) {
            struct watch_item item;
            while (watch_next(d.readers[r], &item, &err) == 1) {
                got++;
                watch_item_fini(&item);
            }
        }
        taken += cpu_us() - start;
    }
    must(got == events * WATCHERS);
    sample("deliver", taken + d.publish_us, (double)got);
    for (int i = 0; i < WATCHERS; i++)
        watch_close(d.readers[i]);
    store->ops->close(store);
    watch_hub_free(d.hub);
}

/* ---- TLS ---- */

static gnutls_certificate_credentials_t make_credentials(const char *directory)
{
    auto_err err = NULL;
    auto_free char *pki = file_join(directory, "pki"), *certificate = NULL, *key = NULL;
    struct auth_authority *authority = auth_authority_open(pki, &clock_system, &random_system, &err);
    check(authority != NULL, &err);
    static const char *const names[] = {"localhost", NULL};
    const struct auth_subject subject = {"server", NULL, names, AUTH_SERVER, AUTH_DAY_NS};
    check(auth_ca_issue(auth_authority_ca(authority), &subject, &certificate, &key, &err) == 0, &err);
    gnutls_certificate_credentials_t credentials;
    gnutls_certificate_allocate_credentials(&credentials);
    const gnutls_datum_t c = {(void *)certificate, (unsigned)strlen(certificate)},
                         k = {(void *)key, (unsigned)strlen(key)};
    must(gnutls_certificate_set_x509_key_mem(credentials, &c, &k, GNUTLS_X509_FMT_PEM) >= 0);
    auth_authority_free(authority);
    return credentials;
}

static void receive(gnutls_session_t session, size_t want)
{
    char buffer[20000];
    for (size_t got = 0; got < want;) {
        ssize_t n = gnutls_record_recv(session, buffer, sizeof(buffer));
        must(n > 0 || !gnutls_error_is_fatal((int)n));
        got += n > 0 ? (size_t)n : 0;
    }
}

static void measure_tls(const char *directory)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    gnutls_certificate_credentials_t credentials = make_credentials(directory), trusting;
    gnutls_certificate_allocate_credentials(&trusting);
    gnutls_session_t ends[2];
    for (int i = 0; i < 2; i++) {
        gnutls_init(&ends[i], i ? GNUTLS_SERVER : GNUTLS_CLIENT);
        gnutls_set_default_priority(ends[i]);
        gnutls_credentials_set(ends[i], GNUTLS_CRD_CERTIFICATE, i ? credentials : trusting);
        gnutls_transport_set_int(ends[i], fds[i]);
    }
    int states[2] = {GNUTLS_E_AGAIN, GNUTLS_E_AGAIN};
    for (int i = 0; states[0] < 0 || states[1] < 0; i ^= 1)
        if (states[i] < 0)
            must((states[i] = gnutls_handshake(ends[i])) == 0 || !gnutls_error_is_fatal(states[i]));
    static char data[ANSWER]; /* the request is about as long */
    double us = 0;
    for (int i = 0; i < CALLS; i++) {
        must(gnutls_record_send(ends[0], data, sizeof(data)) == sizeof(data));
        double begin = cpu_us();
        receive(ends[1], sizeof(data));
        must(gnutls_record_send(ends[1], data, sizeof(data)) > 0);
        us += cpu_us() - begin;
        receive(ends[0], sizeof(data));
    }
    sample("tls", us, CALLS);
    for (int i = 0; i < 2; i++) {
        gnutls_deinit(ends[i]);
        close(fds[i]);
    }
    gnutls_certificate_free_credentials(credentials);
    gnutls_certificate_free_credentials(trusting);
}

int main(int argc, char **argv)
{
    auto_err err = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: bench_stages DIRECTORY\n");
        return 2;
    }
    json_init();
    auto_free char *text = NULL;
    size_t len;
    check(file_read(MINIK8S_KINDS_JSON, 16 << 20, &text, &len, &err) == 0, &err);
    auto_json kinds = json_parse(text, len, &err);
    struct schema *schema = schema_new();
    check(kinds && schema_add_all(schema, kinds, &err) == 0, &err);
    auto_free char *tail = pod_tail_new(), *pod = mem_printf("%s%0*d%s", pod_head, POD_NAME, 1, tail);
    auto_str printed = {0};
    struct store_terms *terms = measure_api(schema, pod, &printed);
    measure_tls(argv[1]);
    measure_store(argv[1], &printed, terms);
    store_terms_unref(terms);
    schema_free(schema);
    return 0;
}
