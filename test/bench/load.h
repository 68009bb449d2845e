/*
 * load: keep-alive TLS connections that cost the machine little: raw GnuTLS on one epoll, one thread, no
 * allocation per request once buffers have grown. Included as source (load.c) by the programs of this folder.
 *
 * A connection has one request under way. `done` is called when its answer is complete; for a stream `line`
 * is called for every line of the body and `done` never. All times are CLOCK_MONOTONIC nanoseconds.
 */
#ifndef M8_BENCH_LOAD_H
#define M8_BENCH_LOAD_H

#include <gnutls/gnutls.h>

#include "base/str.h"
#include "client/client.h"

struct connection {
    struct load *load;
    int fd, index;
    gnutls_session_t session;
    struct str out, in; /* in: undecoded input */
    struct str body;    /* decoded, of the answer under way; for streams the unfinished line */
    size_t sent;
    long long left; /* of the body or of the chunk; -1: the header is not yet complete */
    bool chunked, busy, stream, blocked;
    int status;
    int64_t begun_ns;
};

struct load {
    struct kubeconfig config;
    char *host, *authorization; /* header line or "" */
    struct sockaddr_storage *address;
    size_t address_len;
    gnutls_certificate_credentials_t credentials;
    int epoll;
    struct connection *connections;
    int n_connections;
    bool stop;
    void (*done)(struct connection *c);
    void (*line)(struct connection *c, const char *line, size_t len);
    int64_t deadline_ns;             /* the run fails loudly when it is reached; 0: none */
    void (*tick)(struct load *load); /* about every `tick_ms`, or NULL */
    int tick_ms;
    void *arg;
};

int64_t load_now(void);
void load_init(struct load *load, const char *kubeconfig); /* every failure ends the program with a message */
void load_connect(struct load *load, int connections);     /* once; shakes hands */
/* Appends the request line and headers; the body follows if any. */
void load_send(struct connection *c, const char *method, const char *target, const char *body,
               size_t body_len);
void load_run(struct load *load); /* until load->stop */
void load_fini(struct load *load);
_Noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
