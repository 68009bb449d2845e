/*
 * http: one server wrapper and one client for everything (contracts 1, 4, 5, 6).
 *
 * Server: a handler is called with an exchange and answers it once, now or later, from any thread: by
 * http_respond, by a stream that is pulled, or by an upgrade to a raw byte duplex. An exchange is a vtable so
 * that simulations hand in their own. http_server_new makes the real thing: a GnuTLS front (client
 * certificates, dead-peer detection) that feeds libmicrohttpd through socketpairs.
 *
 * Client: http_client is a vtable too; http_client_curl_new is libcurl multi on a loop.
 */
#ifndef M8_HTTP_HTTP_H
#define M8_HTTP_HTTP_H

#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "loop/loop.h"

struct http_pair {
    const char *name, *value;
};

/* ---- duplex: a raw, ordered, two-way byte stream ---- */
/* Read until EAGAIN before waiting for EPOLLIN: a duplex may hold bytes that its descriptor does not show.
 * After a write that gave EAGAIN, repeat it with the same bytes first (more may follow them). */
struct http_duplex;
struct http_duplex_ops {
    ssize_t (*read)(struct http_duplex *d, void *data,
                    size_t len); /* 0: end; -1 with errno EAGAIN or an error */
    ssize_t (*write)(struct http_duplex *d, const void *data, size_t len);
    int (*fd)(struct http_duplex *d);              /* to watch for EPOLLIN/EPOLLOUT */
    void (*shutdown_write)(struct http_duplex *d); /* half close where the transport can, else nothing */
    void (*close)(struct http_duplex *d);          /* frees */
};
struct http_duplex {
    const struct http_duplex_ops *ops;
};
struct http_duplex *http_duplex_from_fd(int fd); /* takes the socket */
/* Copies both ways on the loop until both ends are done or one fails; then closes both and calls done (may be
 * NULL). */
void http_duplex_splice(struct loop *loop, struct http_duplex *a, struct http_duplex *b, loop_task *done,
                        void *arg);

/* ---- server ---- */
#define HTTP_MAX_BODY (3u << 19) /* 1.5 MiB → 413 */
#define HTTP_MAX_HEADERS 32768   /* → 431 */
#define HTTP_MAX_TARGET 16384    /* → 414 */

struct http_request {
    const char *method; /* "GET" */
    const char *path;   /* percent-decoded, without the query; "//" and dot segments refused with 400 */
    const char *target; /* raw path and query as received */
    const struct http_pair *query; /* decoded, in order, may repeat */
    size_t n_query;
    const struct http_pair *headers; /* names lower-case */
    size_t n_headers;
    const char *body; /* NUL-terminated beyond len */
    size_t body_len;
    /* The verified client certificate's subject, or NULL. */
    const char *certificate_user;             /* CN */
    const char *const *certificate_groups;    /* O values, NULL-terminated */
    const char *const *certificate_addresses; /* IP addresses among its SANs, NULL-terminated */
    const char *remote;                       /* "address:port" */
    int64_t received_ns;                      /* monotonic, for latency figures */
};
const char *http_request_header(const struct http_request *request,
                                const char *lower_name); /* NULL if absent */
const char *http_request_query(const struct http_request *request,
                               const char *name); /* first; NULL if absent */
bool http_request_flag(const struct http_request *request,
                       const char *name); /* 1,t,T,true,True,TRUE as Go parses */

struct http_exchange;
enum http_pull { HTTP_PULL_MORE, HTTP_PULL_WAIT, HTTP_PULL_END };
struct http_stream_ops {
    /* Appends bytes to out (any number, best 16–64 KiB at most). WAIT with nothing appended: call
     * http_stream_wake later. */
    enum http_pull (*pull)(void *arg, struct str *out);
    /* Exactly once, after END or when the peer is gone; the exchange is invalid afterwards. wake must not be
     * in flight. */
    void (*closed)(void *arg);
};
/* On one of the server's threads. duplex is the callee's, NULL with err (borrowed) if the client went away.
 */
typedef void http_on_duplex(void *arg, struct http_duplex *duplex, struct err *err);

struct http_exchange_ops {
    void (*respond)(struct http_exchange *x, int status, const char *content_type, struct bytes *body,
                    const struct http_pair *headers, size_t n_headers);
    void (*stream)(struct http_exchange *x, int status, const char *content_type,
                   const struct http_pair *headers, size_t n_headers, const struct http_stream_ops *ops,
                   void *arg);
    void (*wake)(struct http_exchange *x);
    void (*upgrade)(struct http_exchange *x, const struct http_pair *headers, size_t n_headers,
                    http_on_duplex *ready, void *arg);
};
struct http_exchange {
    const struct http_exchange_ops *ops;
    struct http_request
        request; /* valid until the exchange is answered (respond), closed (stream) or ready (upgrade) */
};
/* Answers and ends the exchange. body may be NULL; a reference is taken over. */
void http_respond(struct http_exchange *x, int status, const char *content_type, struct bytes *body,
                  const struct http_pair *headers, size_t n_headers);
/* Chunked answer. The stream may be pulled from any of the server's threads, one at a time. */
void http_stream(struct http_exchange *x, int status, const char *content_type,
                 const struct http_pair *headers, size_t n_headers, const struct http_stream_ops *ops,
                 void *arg);
void http_stream_wake(struct http_exchange *x); /* any thread; cheap; allowed until `closed` */
/* 101 with the given headers (Upgrade, Sec-WebSocket-Accept, …), then `ready` with the raw connection. */
void http_upgrade(struct http_exchange *x, const struct http_pair *headers, size_t n_headers,
                  http_on_duplex *ready, void *arg);

typedef void http_handler(void *arg, struct http_exchange *exchange);

struct http_server_options {
    const char *address; /* "0.0.0.0" */
    uint16_t port;       /* 0: any; see http_server_port */
    const char *certificate_pem,
        *key_pem;              /* PEM text; NULL certificate: plain HTTP (unix socket or tests only) */
    const char *client_ca_pem; /* client certificates are asked for and verified if given; not required */
    const char *unix_path;     /* instead of address and port */
    unsigned threads;          /* of libmicrohttpd; 0: 2 */
    unsigned max_connections;  /* 0: from the open-files limit */
    http_handler *handler;
    void *handler_arg;
};
struct http_server;
struct http_server *http_server_new(const struct http_server_options *options, struct err **err);
uint16_t http_server_port(const struct http_server *server);
void http_server_free(struct http_server *server); /* ends connections; streams get closed() */

/* ---- client ---- */
struct http_response {
    int status;
    const char *content_type;
    const char *body; /* NUL-terminated beyond len */
    size_t len;
    const struct http_pair *headers; /* names lower-case */
    size_t n_headers;
};
/* Everything is borrowed for the call. err: no answer, response is NULL (ERR_UNAVAILABLE: refused, reset,
 * unreachable; ERR_TIMEOUT; ERR_UNAUTHORIZED: TLS refused). */
typedef void http_on_response(void *arg, const struct http_response *response, struct err *err);
/* A chunk of a streaming answer. Return false to end the call. */
typedef bool http_on_data(void *arg, int status, const char *data, size_t len);

struct http_call {
    const char *method;
    const char *target;       /* path and query, already encoded */
    const char *content_type; /* NULL without a body */
    const void *body;         /* copied */
    size_t body_len;
    const struct http_pair *headers;
    size_t n_headers;
    int64_t timeout_ms;            /* 0: none (streams); connecting is always limited to 5 s */
    http_on_data *on_data;         /* NULL: the body is collected (at most 256 MiB) */
    http_on_response *on_response; /* exactly once, on the loop, at the end (also of a stream); not after
                                      http_call_cancel */
    void *arg;
};
struct http_client;
struct http_pending; /* a call under way; invalid after on_response */
struct http_client_ops {
    struct http_pending *(*call)(struct http_client *client, const struct http_call *call);
    void (*cancel)(struct http_client *client, struct http_pending *pending);
    void (*pause)(struct http_client *client, struct http_pending *pending,
                  bool paused); /* back-pressure of a stream */
    /* Upgrade: sends the request head, calls `ready` with the answer's status, headers and, for 101, the
     * duplex (NULL otherwise, with the body in response). Real client: CONNECT_ONLY (contract 6). */
    void (*tunnel)(struct http_client *client, const struct http_call *call,
                   void (*ready)(void *arg, const struct http_response *response, struct http_duplex *duplex,
                                 struct err *err),
                   void *arg);
    void (*free)(struct http_client *client); /* cancels what is under way without callbacks */
};
struct http_client {
    const struct http_client_ops *ops;
};
struct http_client_options {
    const char *base_url;                  /* "https://10.0.0.1:6443", or "http://d" with unix_path */
    const char *unix_path;                 /* NULL: TCP */
    const char *ca_pem;                    /* trusted CA, PEM text; NULL: plain HTTP only */
    const char *certificate_pem, *key_pem; /* client certificate or NULL */
    const char *bearer_token;              /* or NULL; never logged */
    const char *agent;                     /* what the client calls itself: User-Agent; NULL: nothing */
    const struct http_pair *headers;       /* more for each request */
    size_t n_headers;
    unsigned max_connections; /* 0: 8 */
};
struct http_client *http_client_curl_new(struct loop *loop, const struct http_client_options *options,
                                         struct err **err);
/* Blocking call for commands: runs its own loop. The response is owned by the caller (http_response_free). */
struct http_response *http_client_call_blocking(const struct http_client_options *options,
                                                const struct http_call *call, struct err **err);
void http_response_free(struct http_response *response);

/* Blocking: the last certificate that a TLS server shows, as PEM, UNVERIFIED: compare its fingerprint with
 * one that came another way (a join token) before using it as ca_pem. Caller frees. ERR_UNAVAILABLE,
 * ERR_TIMEOUT (5 s). */
char *http_fetch_ca(const char *base_url, struct err **err);

void http_query_add(struct str *target, const char *name,
                    const char *value);                      /* appends ?name=… or &name=…, encoded */
void http_path_add(struct str *target, const char *segment); /* appends /segment, encoded */

/* ---- byte_link: a duplex on the loop, with a queue towards it ---- */
struct byte_link;
struct byte_link_options {
    void (*on_data)(void *arg, const char *data, size_t len);
    /* error 0: the peer sends no more, but may go on reading; else (errno) nothing goes either way. */
    void (*on_end)(void *arg, int error);
    void (*on_drain)(void *arg); /* the queue fell below the low mark; may be NULL */
    void *arg;
};
/* Takes the duplex. The owner ends it by byte_link_close in any case, also from a callback. */
struct byte_link *byte_link_new(struct loop *loop, struct http_duplex *duplex,
                                const struct byte_link_options *options);
/* Queues; returns the bytes that wait: the caller pauses its source above 256 KiB until on_drain. */
size_t byte_link_send(struct byte_link *link, const void *data, size_t len);
void byte_link_end(struct byte_link *link); /* half close, after what is queued */
void byte_link_pause(struct byte_link *link, bool paused);
size_t byte_link_waiting(const struct byte_link *link);
/* Flushes, for as long as the peer takes something at least every 10 s, and frees; no more callbacks. */
void byte_link_close(struct byte_link *link);
void byte_link_drop(struct byte_link *link); /* the same without flushing */

/* ---- WebSocket (RFC 6455), for the end that speaks it (node, minikubectl) ---- */
char *websocket_accept_key(const char *sec_websocket_key); /* caller frees */
/* Asks a server for one: http_client_ops.tunnel with the head of an upgrade. protocol: a subprotocol, or
 * NULL. */
void websocket_tunnel(struct http_client *client, const char *target, const char *protocol,
                      void (*ready)(void *arg, const struct http_response *response,
                                    struct http_duplex *duplex, struct err *err),
                      void *arg);
struct websocket;
enum websocket_type { WEBSOCKET_BINARY, WEBSOCKET_TEXT, WEBSOCKET_CLOSED };
/* On the loop: reassembles messages, answers PING also while `paused`, masks if client. Takes the duplex. It
 * ends either by on_message(CLOSED), after which it is gone (the peer closed, broke the protocol, or died),
 * or by websocket_close; calling websocket_close inside on_message(CLOSED) is allowed and does nothing. */
struct websocket_options {
    bool client;
    size_t max_message; /* 0: 1 MiB; larger → close 1009 */
    void (*on_message)(void *arg, enum websocket_type type, const char *data,
                       size_t len); /* CLOSED: last call */
    void (*on_drain)(void *arg);    /* the output queue fell below the low mark */
    void *arg;
};
struct websocket *websocket_new(struct loop *loop, struct http_duplex *duplex,
                                const struct websocket_options *options);
/* Queues; returns the bytes that wait: the caller pauses its source above 256 KiB until on_drain. */
size_t websocket_send(struct websocket *ws, enum websocket_type type, const void *data, size_t len);
/* Flushes, for as long as the peer takes something at least every 10 s, sends CLOSE, frees in the end; no
 * more callbacks. */
void websocket_close(struct websocket *ws, unsigned code);
void websocket_pause(struct websocket *ws, bool paused); /* stops on_message for data */

/* ---- SPDY/3.1 for either end: many streams with headers on one connection, as Kubernetes uses it */
/*
 * Flow control by windows is in force once the peer's SETTINGS have come. Kubernetes' clients send none and
 * know no windows: they are held back by not reading, so that one stream that is not read stops the others
 * after 1 MiB. Callbacks are made from the loop, never from inside a call. Broken or excessive input (frames,
 * header blocks beyond 64 KiB, more than 2,048 streams) ends the session, or the stream if that is enough.
 */
struct spdy;
struct spdy_stream;
struct spdy_stream_ops {
    void (*on_data)(void *arg, const char *data, size_t len);
    void (*on_end)(void *arg);   /* the peer sends no more here */
    void (*on_drain)(void *arg); /* less waits; may be NULL */
    void (*on_closed)(
        void *arg); /* last call: both directions ended, or it was reset, or the session is over */
};
struct spdy_options {
    bool client;    /* which end this is */
    bool websocket; /* the bytes travel in binary messages of a WebSocket, whose boundaries mean nothing */
    /* A new stream of the peer: spdy_accept it within the call, or it is refused. Headers are borrowed, their
     * names lower-case. */
    void (*on_stream)(void *arg, struct spdy_stream *stream, const struct http_pair *headers, size_t count);
    void (*on_closed)(void *arg); /* the connection is over; last call, after that of every stream */
    void *arg;
};
/* Takes the duplex. It ends either by on_closed, or by spdy_close or spdy_finish. */
struct spdy *spdy_new(struct loop *loop, struct http_duplex *duplex, const struct spdy_options *options);
/* No more callbacks, its streams are gone. What the connection has queued goes out, but not what still waits
 * for a stream's window. */
void spdy_close(struct spdy *spdy);
/* No more callbacks either, but all that was sent goes out and every stream ends; then it is the peer that
 * closes. Given up once the peer has taken nothing for 10 s. */
void spdy_finish(struct spdy *spdy);
void spdy_accept(struct spdy_stream *stream, const struct spdy_stream_ops *ops, void *arg);
struct spdy_stream *spdy_open(struct spdy *spdy, const struct http_pair *headers, size_t count,
                              const struct spdy_stream_ops *ops, void *arg);
/* Queues; returns the bytes that wait: the caller pauses its source above 256 KiB until on_drain. */
size_t spdy_send(struct spdy_stream *stream, const void *data, size_t len);
void spdy_end(struct spdy_stream *stream);   /* we send no more, after what is queued */
void spdy_reset(struct spdy_stream *stream); /* both ways at once; no more callbacks of it */
void spdy_pause(struct spdy_stream *stream, bool paused);

#endif
