/* client_private: what the client, its tunnels and the blocking call share. */
#ifndef M8_HTTP_CLIENT_PRIVATE_H
#define M8_HTTP_CLIENT_PRIVATE_H

#include <curl/curl.h>

#include "base/list.h"
#include "http/http_private.h"

#define CLIENT_CONNECT_MS 5000
#define CLIENT_MAX_BODY (256u << 20)

/* Options as the client keeps them. The PEM texts lie in memory files, because curl with GnuTLS takes file
 * names only. */
struct client_identity {
    atomic_uint refs;
    char *base_url, *host, *unix_path;
    char **lines; /* headers of each request, NULL-terminated */
    int ca_fd, certificate_fd, key_fd;
    bool tls;
};
struct client_identity *client_identity_new(const struct http_client_options *options, struct err **err);
struct client_identity *client_identity_ref(struct client_identity *identity);
void client_identity_unref(struct client_identity *identity);
void client_identity_apply(const struct client_identity *identity, CURL *easy);

/* A curl multi handle on a loop. on_event is called after curl has done something. */
struct client_multi {
    CURLM *multi;
    struct loop *loop;
    struct loop_timer *timer;
    struct list sockets; /* of struct multi_socket */
    void (*on_event)(void *arg);
    void *arg;
    bool inside; /* curl is running: its handles must not be added, removed or freed */
};
int client_multi_init(struct client_multi *multi, struct loop *loop, void (*on_event)(void *), void *arg,
                      struct err **err);
void client_multi_fini(struct client_multi *multi);

/* The head of an answer as it comes in line by line. */
struct client_head {
    struct str names; /* "name\0value\0"… */
    size_t count;
};
void client_head_clear(struct client_head *head);
void client_head_add_line(struct client_head *head, const char *line, size_t len);
/* An array to free(); its strings are borrowed from head. */
struct http_pair *client_head_pairs(const struct client_head *head);

enum err_code client_error_code(CURLcode code);
/* The message of a failed transfer. */
void client_error_set(struct err **err, CURLcode code, const char *detail, const char *method,
                      const char *target);

void client_tunnel(struct loop *loop, struct client_identity *identity, const struct http_call *call,
                   void (*ready)(void *arg, const struct http_response *response, struct http_duplex *duplex,
                                 struct err *err),
                   void *arg, struct list *tunnels);
void client_tunnels_cancel(struct list *tunnels); /* those that are not ready yet, without callbacks */

#endif
