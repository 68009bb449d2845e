/*
 * The server: starts libmicrohttpd without a listening socket and the front that feeds it, and ends both in
 * an order in which nothing is lost: first the front (no new connections, clients are told), then every
 * sleeping exchange is woken, then libmicrohttpd, which calls `completed` for what is left.
 */
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "http/http_private.h"

#define THREAD_STACK_BYTES (1u << 20) /* reserved, not touched */

/* libmicrohttpd copies the address of a connection that it is given; it carries our pointer. */
struct link_address {
    struct sockaddr_un address;
    struct http_link *link;
};

struct http_link *link_new(struct http_server *server)
{
    struct http_link *link = NEW(struct http_link);
    link->refs = 1;
    link->server = server;
    list_init(&link->node);
    pthread_mutex_init(&link->lock, NULL);
    return link;
}

void link_ref(struct http_link *link)
{
    atomic_fetch_add_explicit(&link->refs, 1, memory_order_relaxed);
}

void link_unref(struct http_link *link)
{
    if (atomic_fetch_sub_explicit(&link->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&link->lock);
    free(link->user);
    free(link->groups);
    free(link->addresses);
    free(link);
}

void link_gone(struct http_link *link)
{
    pthread_mutex_lock(&link->lock);
    link->gone = true;
    if (link->exchange)
        exchange_wake_gone(link->exchange);
    pthread_mutex_unlock(&link->lock);
}

static void link_stop(struct http_link *link)
{
    pthread_mutex_lock(&link->lock);
    link->gone = link->stopping = true;
    if (link->exchange)
        exchange_wake_stopping(link->exchange);
    pthread_mutex_unlock(&link->lock);
}

static unsigned least_loaded(const struct http_server *server)
{
    unsigned best = 0;
    for (unsigned i = 1; i < server->n_workers; i++) {
        if (server->worker_load[i] < server->worker_load[best])
            best = i;
    }
    return best;
}

int server_adopt(struct http_server *server, struct http_link *link)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -1;
    /* libmicrohttpd chooses the worker by the number of the socket: hand over the end that balances them. */
    pthread_mutex_lock(&server->lock);
    unsigned mine = (unsigned)pair[1] % server->n_workers == least_loaded(server) ? 0 : 1;
    link->worker = (unsigned)pair[!mine] % server->n_workers;
    server->worker_load[link->worker]++;
    list_add_tail(&server->links, &link->node);
    pthread_mutex_unlock(&server->lock);
    link_ref(link);
    struct link_address address = {.address.sun_family = AF_UNIX, .link = link};
    if (MHD_add_connection(server->daemon, pair[!mine], (struct sockaddr *)&address, sizeof address) ==
        MHD_YES)
        return pair[mine];
    close(pair[mine]);
    pthread_mutex_lock(&server->lock);
    server->worker_load[link->worker]--;
    list_remove(&link->node);
    pthread_mutex_unlock(&server->lock);
    link_unref(link);
    return -1;
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = arg;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        memcpy(socket_context, (const char *)info->client_addr + offsetof(struct link_address, link),
               sizeof(struct http_link *));
        return;
    }
    struct http_link *link = *socket_context;
    *socket_context = NULL;
    pthread_mutex_lock(&server->lock);
    server->worker_load[link->worker]--;
    list_remove(&link->node);
    pthread_mutex_unlock(&server->lock);
    link_unref(link);
}

/* Our own decoding is stricter (server_request.c). */
static size_t leave_escaped(void *arg UNUSED, struct MHD_Connection *connection UNUSED, char *text)
{
    return strlen(text);
}

static unsigned connection_limit(unsigned wanted)
{
    struct rlimit files;
    unsigned limit = 1000;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        rlim_t usable = files.rlim_cur > 60000 ? 60000 : files.rlim_cur;
        limit = usable > 512 ? (unsigned)(usable - 256) / 3 : 64; /* a client costs three descriptors */
    }
    return wanted && wanted < limit ? wanted : limit;
}

static int start_daemon(struct http_server *server, unsigned max_connections, struct err **err)
{
    struct MHD_OptionItem pool[] = {
        {MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)server->n_workers, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    if (server->n_workers == 1)
        pool[0].option = MHD_OPTION_END;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_TURBO |
                     MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE;
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, exchange_access, server, MHD_OPTION_ARRAY, pool, MHD_OPTION_CONNECTION_LIMIT,
        max_connections + 16, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_POOL_BYTES,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)SERVER_IDLE_SECONDS, MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK, exchange_begin,
        server, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_END);
    if (!server->daemon)
        return err_set(err, ERR_INTERNAL, "libmicrohttpd does not start");
    return 0;
}

struct http_server *http_server_new(const struct http_server_options *options, struct err **err)
{
    struct http_server *server = NEW(struct http_server);
    server->handler = options->handler;
    server->handler_arg = options->handler_arg;
    server->n_workers = options->threads ? options->threads : 2;
    if (server->n_workers > COUNT_OF(server->worker_load))
        server->n_workers = COUNT_OF(server->worker_load);
    pthread_mutex_init(&server->lock, NULL);
    list_init(&server->links);
    unsigned limit = connection_limit(options->max_connections);
    if (start_daemon(server, limit, err) == 0) {
        server->front = front_new(server, options, limit, err);
        if (server->front)
            return server;
        MHD_stop_daemon(server->daemon);
    }
    pthread_mutex_destroy(&server->lock);
    free(server);
    return NULL;
}

uint16_t http_server_port(const struct http_server *server)
{
    return front_port(server->front);
}

void http_server_free(struct http_server *server)
{
    if (!server)
        return;
    front_stop(server->front);
    pthread_mutex_lock(&server->lock);
    struct http_link *link;
    list_each (link, &server->links, node)
        link_stop(link);
    pthread_mutex_unlock(&server->lock);
    MHD_stop_daemon(server->daemon);
    front_free(server->front);
    struct http_link *next;
    list_each_safe (link, next, &server->links, node) /* handed over, but never started */
    {
        list_remove(&link->node);
        link_unref(link);
    }
    pthread_mutex_destroy(&server->lock);
    free(server);
}
