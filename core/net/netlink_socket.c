/*
 * netlink_socket: opens netlink sockets in a given network namespace and runs one request at a time.
 * Does not interpret messages. Invariant: the calling thread is in its own namespace again when nl_open
 * returns.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/netlink_internal.h"

#define RECEIVE_BYTES 65536

static int open_socket(struct nl *nl, int bus, struct err **err)
{
    nl->socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
    if (!nl->socket)
        return err_errno(err, errno, "opening a netlink socket");
    if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        int saved = errno;
        nl_close(nl);
        return err_errno(err, saved, "binding a netlink socket");
    }
    nl->port = mnl_socket_get_portid(nl->socket);
    nl->sequence = (unsigned)time(NULL);
    return 0;
}

int nl_open(struct nl *nl, int bus, int netns_fd, struct err **err)
{
    *nl = (struct nl){0};
    if (netns_fd < 0)
        return open_socket(nl, bus, err);
    auto_fd own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return err_errno(err, errno, "opening the own network namespace");
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return err_errno(err, errno, "entering a network namespace");
    int result = open_socket(nl, bus, err);
    must(setns(own, CLONE_NEWNET) == 0);
    return result;
}

void nl_close(struct nl *nl)
{
    if (nl->socket)
        mnl_socket_close(nl->socket);
    nl->socket = NULL;
}

void *nl_begin(struct nl_message *message, uint16_t type, uint16_t flags, size_t size)
{
    message->header = mnl_nlmsg_put_header(message->data);
    message->header->nlmsg_type = type;
    message->header->nlmsg_flags = NLM_F_REQUEST | flags;
    return mnl_nlmsg_put_extra_header(message->header, size);
}

int nl_call(struct nl *nl, struct nl_message *message, mnl_cb_t each, void *arg)
{
    auto_free char *buffer = mem_alloc(RECEIVE_BYTES);
    message->header->nlmsg_seq = ++nl->sequence;
    if ((message->header->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
        message->header->nlmsg_flags |= NLM_F_ACK;
    must(message->header->nlmsg_len <= sizeof message->data);
    if (mnl_socket_sendto(nl->socket, message->header, message->header->nlmsg_len) < 0)
        return errno;
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(nl->socket, buffer, RECEIVE_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        int state = mnl_cb_run(buffer, (size_t)got, nl->sequence, nl->port, each, arg);
        if (state < 0 && (errno == ESRCH || errno == EPROTO) && got >= (ssize_t)sizeof(struct nlmsghdr) &&
            ((struct nlmsghdr *)buffer)->nlmsg_seq != nl->sequence)
            continue; /* the rest of an answer that an earlier call gave up */
        if (state < 0)
            return errno;
        if (state == MNL_CB_STOP)
            return 0;
    }
}
