/*
 * exchange: HTTP without sockets. http_local_client_new makes an http_client whose calls reach a handler in
 * this process, on the loop, with the same rules as the real pair of client and server: one answer each,
 * streams that are pulled, upgrades (real loops only). Faults can be injected. Deterministic on a virtual
 * loop.
 *
 * Threads: client functions on the loop; a handler may answer from any thread.
 */
#ifndef M8_TEST_SUPPORT_EXCHANGE_H
#define M8_TEST_SUPPORT_EXCHANGE_H

#include "http/http.h"

struct http_local_identity {
    const char *user;             /* CN of a client certificate; NULL: none */
    const char *const *groups;    /* NULL-terminated; may be NULL */
    const char *bearer_token;     /* sent as Authorization; may be NULL */
    const char *const *addresses; /* of the client certificate; NULL-terminated; may be NULL */
    const char *remote;           /* "ADDRESS:PORT"; NULL: "local:0" */
};

/* Strings are copied. handler NULL: everything is refused until http_local_client_set_handler. */
struct http_client *http_local_client_new(struct loop *loop, http_handler *handler, void *handler_arg,
                                          const struct http_local_identity *identity);
/* The server behind the client is another one now, or NULL: it is down. What is under way ends with
 * ERR_UNAVAILABLE, and its streams are closed before this returns, so that the old server may be freed. */
void http_local_client_set_handler(struct http_client *client, http_handler *handler, void *handler_arg);
/* Cut: nothing gets through, calls under way end as if the line was cut. The handler still runs what it has
 * begun. */
void http_local_client_cut(struct http_client *client, bool cut);

struct http_local_fault {
    bool refuse;      /* the request does not arrive */
    bool lose_answer; /* it is handled, the client sees ERR_UNAVAILABLE */
    bool duplicate;   /* it is handled twice; the client sees the first answer */
    int64_t delay_ms; /* before it arrives */
};
typedef struct http_local_fault http_local_decide(void *arg, const char *method, const char *target);
void http_local_client_set_faults(struct http_client *client, http_local_decide *decide, void *arg);
/* Exchanges that the handler has not finished yet. */
size_t http_local_client_open(const struct http_client *client);

#endif
