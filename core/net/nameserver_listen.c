/*
 * nameserver_listen: the name server's sockets. Opened by whoever starts name servers, so that they outlive
 * each of them: a question that nobody has read yet waits in the socket.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "net/nameserver.h"

int nameserver_addresses(const char *text, struct in_addr addresses[NAMESERVER_ADDRESSES], struct err **err)
{
    size_t count;
    auto_free char **words = str_split(text, ',', &count);
    for (size_t i = 0; i < count; i++)
        if (i == NAMESERVER_ADDRESSES || inet_pton(AF_INET, words[i], &addresses[i]) != 1)
            return err_set(err, ERR_BAD_REQUEST, "\"%s\" is not one or two IPv4 addresses: A,B", text);
    return 0;
}

static int bound_socket(struct in_addr address, int type, struct err **err)
{
    const struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = address};
    int on = 1, size = 1 << 20;
    auto_fd fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (bind(fd, (const struct sockaddr *)(const void *)&own, sizeof(own)) < 0)
        return err_errno(err, errno, "port 53 of %s", inet_ntoa(address));
    if (type == SOCK_STREAM && listen(fd, 128) < 0)
        return err_errno(err, errno, "listening");
    int bound = fd;
    fd = -1;
    return bound;
}

static bool is_such(struct in_addr address, int fd, int type)
{
    struct sockaddr_in own = {0};
    int kind = 0;
    socklen_t len = sizeof(kind), own_len = sizeof(own);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &len) == 0 && kind == type &&
           getsockname(fd, (struct sockaddr *)(void *)&own, &own_len) == 0 && own.sin_family == AF_INET &&
           own.sin_port == htons(53) && own.sin_addr.s_addr == address.s_addr;
}

int nameserver_listen(int sockets[NAMESERVER_SOCKETS], const struct in_addr addresses[NAMESERVER_ADDRESSES],
                      struct err **err)
{
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    for (int i = 0; i < NAMESERVER_SOCKETS; i++) {
        struct in_addr address = addresses[i / 2];
        if (!address.s_addr)
            sockets[i] = -1;
        else if (!is_such(address, sockets[i], types[i % 2]) &&
                 (sockets[i] = bound_socket(address, types[i % 2], err)) < 0)
            return -1;
    }
    return 0;
}
