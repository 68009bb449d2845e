/*
 * ingress_listen: the listening sockets of ports 80 and 443. A connection that nobody has accepted yet waits
 * in the socket, which agent, proxies and a holder (loop/holder.h) have open together: it survives the death
 * of each, and of all but the holder at once. A new agent takes them from the holder, else from a proxy that
 * runs.
 */
#include "ingress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "loop/holder.h"

#define BACKLOG 4096
#define HOLDER "sockets"

static const uint16_t ports[INGRESS_SOCKETS] = {80, 443};

char *ingress_pid_file(const char *directory, unsigned instance)
{
    auto_free char *name = mem_printf("proxy-%u.pid", instance);
    return file_join(directory, name);
}

void ingress_listen_close(int fds[INGRESS_SOCKETS])
{
    for (int i = 0; i < INGRESS_SOCKETS; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

static int address_of(const char *text, int socket, struct sockaddr_in *address, struct err **err)
{
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(ports[socket])};
    if (inet_pton(AF_INET, text, &address->sin_addr) == 1)
        return 0;
    return err_set(err, ERR_INVALID, "the node's address %s is none", text);
}

static bool is_listening(int fd, const struct sockaddr_in *address)
{
    struct sockaddr_in own = {0};
    int listening = 0;
    socklen_t len = sizeof(listening), own_len = sizeof(own);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening &&
           getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 && own.sin_family == AF_INET &&
           own.sin_port == address->sin_port && own.sin_addr.s_addr == address->sin_addr.s_addr;
}

/* What comes is looked at: it may be any descriptor of any process. */
static int take(const char *directory, int socket, const struct sockaddr_in *address)
{
    int fd = holder_take(directory, HOLDER, (unsigned)socket);
    for (unsigned i = 1; i <= INGRESS_PROXIES && fd < 0; i++) {
        auto_free char *pid_file = ingress_pid_file(directory, i);
        fd = helper_take_fd(pid_file, (unsigned)socket);
    }
    if (fd >= 0 && is_listening(fd, address))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int open_one(const struct sockaddr_in *address, struct err **err)
{
    const int on = 1;
    auto_fd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 || listen(fd, BACKLOG) < 0)
        return err_errno(err, errno, "listening on port %d", ntohs(address->sin_port));
    int opened = fd;
    fd = -1;
    return opened;
}

int ingress_listen(int fds[INGRESS_SOCKETS], const char *directory, const char *address, struct err **err)
{
    for (int i = 0; i < INGRESS_SOCKETS; i++) {
        struct sockaddr_in own;
        if (address_of(address, i, &own, err) == 0) {
            fds[i] = take(directory, i, &own);
            if (fds[i] < 0)
                fds[i] = open_one(&own, err);
        }
        if (fds[i] >= 0)
            continue;
        ingress_listen_close(fds);
        return -1;
    }
    return 0;
}

struct helper *ingress_hold(const int fds[INGRESS_SOCKETS], const char *directory, const char *address,
                            struct loop *loop, struct err **err)
{
    auto_free char *what = mem_printf("%s:%d,%d", address, ports[INGRESS_HTTP], ports[INGRESS_HTTPS]);
    const struct holder_options options = {.directory = directory,
                                           .name = HOLDER,
                                           .what = what,
                                           .fds = fds,
                                           .n_fds = INGRESS_SOCKETS,
                                           .loop = loop};
    return holder_new(&options, err);
}

int ingress_let_go(const char *directory, struct err **err)
{
    return holder_shutdown(directory, HOLDER, err);
}
