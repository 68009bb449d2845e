/*
 * Bytes between a client (TLS or plain) and libmicrohttpd's end of a socketpair.
 *
 * Invariants: both descriptors are watched edge-triggered, so a direction is tried until it would block and
 * the *_readable and *_writable flags remember what is still to be tried; a source is not read while its
 * destination has bytes pending, so at most FRONT_CHUNK bytes wait per direction. A half close travels
 * through. Does not look into the bytes.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/front_private.h"

#define BUDGET_BYTES (4 * FRONT_CHUNK)

enum { BLOCKED = -1, FAILED = -2 };

/* Reads the socket in large pieces, whatever GnuTLS asks for (a record's 5-byte head first), and believes a
 * short read: being watched edge-triggered, the socket will report what comes later. */
ssize_t conn_pull(void *arg, void *data, size_t len)
{
    struct conn *conn = arg;
    struct pending *kept = &conn->pulled;
    if (kept->len > 0) {
        size_t rest = kept->len - kept->at, n = rest < len ? rest : len;
        memcpy(data, kept->data + kept->at, n);
        kept->at += n;
        if (kept->at == kept->len) {
            free(kept->data);
            *kept = (struct pending){0};
        }
        return (ssize_t)n;
    }
    ssize_t n = -1;
    errno = EAGAIN;
    while (!conn->fd_drained && (n = recv(conn->fd, conn->front->pull_chunk, FRONT_CHUNK, 0)) < 0 &&
           errno == EINTR)
        continue;
    if (n < 0) {
        conn->fd_drained |= errno == EAGAIN;
        return -1;
    }
    conn->fd_drained = n > 0 && n < FRONT_CHUNK && !conn->fd_ending;
    size_t now = (size_t)n < len ? (size_t)n : len;
    memcpy(data, conn->front->pull_chunk, now);
    if ((size_t)n > now)
        *kept = (struct pending){.data = mem_copy(conn->front->pull_chunk + now, (size_t)n - now),
                                 .len = (size_t)n - now};
    return (ssize_t)now;
}

static ssize_t client_read(struct conn *conn, char *data, size_t len)
{
    if (!conn->tls) {
        ssize_t n;
        do
            n = recv(conn->fd, data, len, 0);
        while (n < 0 && errno == EINTR);
        return n >= 0 ? n : errno == EAGAIN ? BLOCKED : FAILED;
    }
    for (;;) {
        ssize_t n = gnutls_record_recv(conn->tls, data, len);
        if (n >= 0)
            return n;
        if (n == GNUTLS_E_AGAIN)
            return BLOCKED;
        if (n == GNUTLS_E_PREMATURE_TERMINATION)
            return 0;
        if (n == GNUTLS_E_REHANDSHAKE || gnutls_error_is_fatal((int)n))
            return FAILED;
    }
}

static ssize_t client_write(struct conn *conn, const char *data, size_t len)
{
    if (!conn->tls) {
        ssize_t n;
        do
            n = send(conn->fd, data, len, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n >= 0 ? n : errno == EAGAIN ? BLOCKED : FAILED;
    }
    for (;;) {
        /* After "would block" the record is GnuTLS' own; the retry takes no data. */
        ssize_t n = conn->tls_blocked ? gnutls_record_send(conn->tls, NULL, 0)
                                      : gnutls_record_send(conn->tls, data, len);
        if (n >= 0) {
            conn->tls_blocked = false;
            return n;
        }
        if (n == GNUTLS_E_AGAIN) {
            conn->tls_blocked = true;
            return BLOCKED;
        }
        if (n == GNUTLS_E_INTERRUPTED)
            conn->tls_blocked = true;
        else if (gnutls_error_is_fatal((int)n))
            return FAILED;
    }
}

static ssize_t pair_write(struct conn *conn, const char *data, size_t len)
{
    if (conn->pair_broken)
        return (ssize_t)len; /* nobody listens any more: the rest of an upload is dropped */
    ssize_t n;
    do
        n = send(conn->pair, data, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        conn->pair_broken = true;
        return (ssize_t)len;
    }
    return n < 0 ? BLOCKED : n;
}

typedef ssize_t write_function(struct conn *conn, const char *data, size_t len);

/* Writes data, keeps what does not go. False on failure. */
static bool push(struct conn *conn, write_function *write, struct pending *pending, bool *writable,
                 const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(conn, data, len);
        if (n == FAILED)
            return false;
        if (n == BLOCKED) {
            *writable = false;
            pending->data = mem_copy(data, len);
            pending->at = 0;
            pending->len = len;
            return true;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static bool flush(struct conn *conn, write_function *write, struct pending *pending, bool *writable)
{
    while (pending->at < pending->len && *writable) {
        ssize_t n = write(conn, pending->data + pending->at, pending->len - pending->at);
        if (n == FAILED)
            return false;
        if (n == BLOCKED)
            *writable = false;
        else
            pending->at += (size_t)n;
    }
    if (pending->at == pending->len) {
        free(pending->data);
        *pending = (struct pending){0};
    }
    return true;
}

/* Returns the bytes moved, 0 if nothing can move, FAILED. */
static ssize_t upstream(struct conn *conn)
{
    if (!flush(conn, pair_write, &conn->to_pair, &conn->pair_writable))
        return FAILED;
    if (conn->to_pair.len || !conn->fd_readable || conn->client_eof)
        return 0;
    ssize_t n = client_read(conn, conn->front->chunk, FRONT_CHUNK);
    if (n == BLOCKED) {
        conn->fd_readable = false;
        return 0;
    }
    if (n == FAILED)
        return FAILED;
    if (n == 0) {
        conn->client_eof = true;
        if (conn->pair >= 0)
            shutdown(conn->pair, SHUT_WR);
        link_gone(conn->link);
        return 0;
    }
    if (!conn->tls && n < FRONT_CHUNK && !conn->fd_ending)
        conn->fd_readable = false;
    if (conn->state == CONN_LINGER)
        return n;
    push(conn, pair_write, &conn->to_pair, &conn->pair_writable, conn->front->chunk, (size_t)n);
    return n;
}

static ssize_t downstream(struct conn *conn)
{
    if (!flush(conn, client_write, &conn->to_client, &conn->fd_writable))
        return FAILED;
    if (conn->to_client.len || !conn->pair_readable || conn->pair_eof)
        return 0;
    ssize_t n;
    do
        n = recv(conn->pair, conn->front->chunk, FRONT_CHUNK, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        conn->pair_readable = false;
        return 0;
    }
    if (n <= 0) { /* ECONNRESET: the other end was closed with unread bytes in it */
        conn->pair_eof = true;
        conn->pair_hup |= n < 0;
        return 0;
    }
    if (n < FRONT_CHUNK && !conn->pair_ending)
        conn->pair_readable = false;
    auto_bytes instead = refusal_rewrite(conn->front->chunk, (size_t)n);
    const char *data = instead ? instead->data : conn->front->chunk;
    if (!push(conn, client_write, &conn->to_client, &conn->fd_writable, data,
              instead ? instead->len : (size_t)n))
        return FAILED;
    return n;
}

static void end_client_writes(struct conn *conn)
{
    if (conn->tls)
        gnutls_bye(conn->tls, GNUTLS_SHUT_WR);
    shutdown(conn->fd, SHUT_WR);
}

static void settle(struct conn *conn)
{
    if (conn->state == CONN_LINGER) {
        if (conn->client_eof)
            conn_kill(conn);
        return;
    }
    if (!conn->pair_eof || conn->to_client.len)
        return;
    end_client_writes(conn);
    if (conn->client_eof)
        conn_kill(conn);
    else if (conn->pair_hup)
        conn_linger(conn);
}

bool conn_pump(struct conn *conn)
{
    size_t moved = 0;
    while (moved < BUDGET_BYTES) {
        ssize_t up = upstream(conn);
        ssize_t down = up == FAILED || conn->state == CONN_LINGER ? 0 : downstream(conn);
        if (up == FAILED || down == FAILED) {
            conn_kill(conn);
            return false;
        }
        if (up == 0 && down == 0) {
            settle(conn);
            return false;
        }
        moved += (size_t)up + (size_t)down;
    }
    return true;
}

bool conn_handshake(struct conn *conn)
{
    int rc;
    do
        rc = gnutls_handshake(conn->tls);
    while (rc < 0 && rc != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(rc));
    if (rc == GNUTLS_E_AGAIN) {
        conn->fd_readable = false;
        conn->fd_writable = gnutls_record_get_direction(conn->tls) == 0;
        return false;
    }
    if (rc < 0) {
        gnutls_alert_send_appropriate(conn->tls, rc);
        conn_kill(conn);
        return false;
    }
    if (front_tls_identify(conn->front->tls, conn->tls, conn->link) < 0) {
        gnutls_alert_send(conn->tls, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
        conn_kill(conn);
        return false;
    }
    conn->fd_readable = conn->fd_writable = true;
    return true;
}
