/* front_private: the front's thread and its connections; shared by server_front.c (life cycle) and
 * server_pump.c (bytes). */
#ifndef M8_HTTP_FRONT_PRIVATE_H
#define M8_HTTP_FRONT_PRIVATE_H

#include "http/http_private.h"

#define FRONT_CHUNK 65536

enum conn_state { CONN_HANDSHAKE, CONN_OPEN, CONN_LINGER, CONN_DEAD };

/* Bytes that could not be written yet. */
struct pending {
    char *data;
    size_t at, len;
};

struct conn {
    struct list node;       /* front->conns, or front->dead */
    struct list timer_node; /* handshaking or lingering */
    struct list ready_node; /* has more to do without waiting for an event */
    struct front *front;
    struct http_link *link;
    int fd, pair; /* the client; our end of the socketpair (-1 before libmicrohttpd has the other) */
    gnutls_session_t tls;
    enum conn_state state;
    int64_t deadline_ms;
    int unsent;       /* lingering: bytes that the kernel holds for the client, when it was looked at */
    unsigned patient; /* and how often it was as many */
    unsigned fd_events, pair_events; /* as registered */
    bool fd_readable, fd_writable, pair_readable, pair_writable;
    bool client_eof;             /* no more bytes from the client; passed on */
    bool pair_eof;               /* no more bytes for the client */
    bool pair_hup;               /* the other end is closed altogether */
    bool fd_drained;             /* TLS: the socket itself has nothing, though GnuTLS may */
    bool fd_ending, pair_ending; /* an end was announced: a short read is no sign that nothing follows */
    bool pair_broken;
    bool tls_blocked; /* GnuTLS holds an encrypted record that the socket did not take */
    struct pending to_pair, to_client;
    struct pending pulled; /* encrypted bytes that GnuTLS has not asked for yet */
};

struct front {
    struct http_server *server;
    struct front_tls *tls; /* NULL: plain */
    int listen_fd, epoll_fd, stop_fd;
    bool listening;
    char *unix_path;
    uint16_t port;
    unsigned max_connections, n_connections;
    pthread_t thread;
    bool started, stopped;
    struct list conns, dead, ready, handshaking, lingering;
    char *chunk, *pull_chunk; /* FRONT_CHUNK bytes each, for one copy at a time */
};

ssize_t conn_pull(void *conn, void *data, size_t len); /* GnuTLS reads the client's socket through it */
/* Moves what can be moved; true: budget used up, call again. The connection may be CONN_DEAD afterwards. */
bool conn_pump(struct conn *conn);
bool conn_handshake(struct conn *conn); /* true: done */
void conn_kill(struct conn *conn);      /* marks it dead; freed at the end of the round */
void conn_linger(struct conn *conn);
void conn_watch(struct conn *conn); /* registers for what it waits for */

#endif
