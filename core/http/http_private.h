/* http_private: what the files of core/http share. See README.md for the order in which to read them. */
#ifndef M8_HTTP_HTTP_PRIVATE_H
#define M8_HTTP_HTTP_PRIVATE_H

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>

#include "base/list.h"
#include "http/http.h"

#define FRONT_HANDSHAKE_MS 10000
#define FRONT_LINGER_MS 2000
#define SERVER_IDLE_SECONDS 300
#define SERVER_POOL_BYTES (HTTP_MAX_HEADERS + 16384)

struct exchange;

/* One client connection as both sides see it: the front (TLS, sockets) and the exchange that runs on it.
 * Freed with the last of: the front's connection, libmicrohttpd's connection, an exchange. */
struct http_link {
    atomic_uint refs;
    struct http_server *server;
    struct list node; /* on server->links while libmicrohttpd knows it */
    unsigned worker;
    char remote[64];
    char *user;       /* set before libmicrohttpd sees the connection, constant afterwards */
    char **groups;    /* NULL-terminated, one allocation with its strings */
    char **addresses; /* the same */

    pthread_mutex_t lock; /* guards what follows, and the state of the exchange */
    struct exchange *exchange;
    bool gone;     /* the client is dead or has closed its side */
    bool stopping; /* the server ends */
};
struct http_link *link_new(struct http_server *server);
void link_ref(struct http_link *link);
void link_unref(struct http_link *link);
/* The client is gone: a stream that sleeps is woken, so that libmicrohttpd notices. */
void link_gone(struct http_link *link);

struct front;
struct http_server {
    http_handler *handler;
    void *handler_arg;
    struct MHD_Daemon *daemon;
    unsigned n_workers;
    struct front *front;
    pthread_mutex_t lock; /* guards links, worker_load; taken before a link's lock */
    struct list links;
    unsigned worker_load[16];
};
/* Hands a plain socket to libmicrohttpd; takes the pair, returns the front's end or -1. */
int server_adopt(struct http_server *server, struct http_link *link);

/* ---- server_front.c ---- */
struct front *front_new(struct http_server *server, const struct http_server_options *options,
                        unsigned max_connections, struct err **err);
uint16_t front_port(const struct front *front);
void front_stop(struct front *front); /* ends all connections and the thread */
void front_free(struct front *front);

/* ---- server_tls.c ---- */
struct front_tls {
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
    gnutls_datum_t ticket_key;
    bool verify_clients;
};
struct front_tls *front_tls_new(const struct http_server_options *options, struct err **err);
void front_tls_free(struct front_tls *tls);
gnutls_session_t front_tls_session(struct front_tls *tls, int fd);
/* After the handshake: the client's identity into the link. -1: it showed a certificate that does not verify.
 */
int front_tls_identify(struct front_tls *tls, gnutls_session_t session, struct http_link *link);

/* ---- server_exchange.c: libmicrohttpd's callbacks ---- */
void *exchange_begin(void *server, const char *target, struct MHD_Connection *connection);
enum MHD_Result exchange_access(void *server, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *upload,
                                size_t *upload_len, void **context);
void exchange_completed(void *server, struct MHD_Connection *connection, void **context,
                        enum MHD_RequestTerminationCode why);
void exchange_wake_gone(struct exchange *x); /* link->lock is held */
void exchange_wake_stopping(struct exchange *x);

/* ---- server_request.c ---- */
/* Everything that the request's strings need, in one block that the exchange frees. */
struct request_text {
    char *strings;
    struct http_pair *pairs;
};
/* 0, or the status with which to refuse it and *why. */
int request_build(struct http_request *request, struct request_text *text, struct MHD_Connection *connection,
                  const char *method, const char *target, const char **why);

/* ---- server_refusal.c ---- */
/* The answer to send instead of one that libmicrohttpd made by itself, or NULL if it is none. */
struct bytes *refusal_rewrite(const char *data, size_t len);

/* ---- http_request.c ---- */
bool http_is_utf8(const char *text, size_t len); /* well-formed after RFC 3629 */
struct bytes *http_status_body(int code, const char *reason, const char *message);

/* A duplex over a socket with bytes that were already read from it (copied). */
struct http_duplex *duplex_from_fd_with(int fd, const void *prefix, size_t len);

/* ---- spdy_headers.c: header blocks of SPDY/3, which share one zlib context per direction ---- */
#define SPDY_MAX_HEADERS 128
#define SPDY_MAX_BLOCK 65536 /* inflated */
struct spdy_codec;
struct spdy_codec *spdy_codec_new(void);
void spdy_codec_free(struct spdy_codec *codec);
/* The block's pairs, whose strings live in *text; count of them, or -1: malformed or too large, after which
 * the context is of no use. */
int spdy_headers_decode(struct spdy_codec *codec, const void *data, size_t len, struct str *text,
                        struct http_pair pairs[SPDY_MAX_HEADERS]);
void spdy_headers_encode(struct spdy_codec *codec, const struct http_pair *pairs, size_t count,
                         struct str *out);

#endif
