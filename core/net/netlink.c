/*
 * netlink: links of all kinds that minik8s makes, over rtnetlink.
 * Does not know pods or nodes. Invariant: every ensure_ and delete_ may be repeated, and may follow a crash
 * between any two of its messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/veth.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "net/netlink_internal.h"

#define RUNNING_TIMEOUT_MS 2000

static int read_vxlan(const struct nlattr *attribute, void *arg)
{
    struct nl_vxlan *vxlan = arg;
    int type = mnl_attr_get_type(attribute);
    if (type == IFLA_VXLAN_ID)
        vxlan->id = mnl_attr_get_u32(attribute);
    else if (type == IFLA_VXLAN_LOCAL)
        vxlan->local.s_addr = mnl_attr_get_u32(attribute);
    else if (type == IFLA_VXLAN_PORT)
        vxlan->port = ntohs(mnl_attr_get_u16(attribute));
    return MNL_CB_OK;
}

/* The kind comes first. */
static int read_info(const struct nlattr *attribute, void *arg)
{
    struct nl_link *link = arg;
    if (mnl_attr_get_type(attribute) == IFLA_INFO_DATA && str_eq(link->kind, "vxlan"))
        mnl_attr_parse_nested(attribute, read_vxlan, &link->vxlan);
    if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND)
        strncpy(link->kind, mnl_attr_get_str(attribute), sizeof link->kind - 1);
    return MNL_CB_OK;
}

static int read_attribute(const struct nlattr *attribute, void *arg)
{
    struct nl_link *link = arg;
    switch (mnl_attr_get_type(attribute)) {
    case IFLA_IFNAME:
        strncpy(link->name, mnl_attr_get_str(attribute), sizeof link->name - 1);
        break;
    case IFLA_LINK:
        link->peer_index = (int)mnl_attr_get_u32(attribute);
        break;
    case IFLA_MASTER:
        link->master = (int)mnl_attr_get_u32(attribute);
        break;
    case IFLA_MTU:
        link->mtu = mnl_attr_get_u32(attribute);
        break;
    case IFLA_ADDRESS:
        if (mnl_attr_get_payload_len(attribute) == sizeof link->mac)
            memcpy(link->mac, mnl_attr_get_payload(attribute), sizeof link->mac);
        break;
    case IFLA_OPERSTATE:
        link->running = mnl_attr_get_u8(attribute) == IF_OPER_UP;
        break;
    case IFLA_LINKINFO:
        mnl_attr_parse_nested(attribute, read_info, link);
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

void nl_link_read(const struct nlmsghdr *header, struct nl_link *link)
{
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);
    *link = (struct nl_link){.index = info->ifi_index, .flags = info->ifi_flags};
    mnl_attr_parse(header, sizeof *info, read_attribute, link);
}

static int read_link(const struct nlmsghdr *header, void *arg)
{
    nl_link_read(header, arg);
    return MNL_CB_OK;
}

int nl_link_get(struct nl *nl, const char *name, struct nl_link *link)
{
    struct nl_message message;
    if (strlen(name) >= IFNAMSIZ)
        return ENODEV;
    nl_begin(&message, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(message.header, IFLA_IFNAME, name);
    return nl_call(nl, &message, read_link, link);
}

int nl_link_index(struct nl *nl, const char *name, struct err **err)
{
    struct nl_link link;
    int failed = nl_link_get(nl, name, &link);
    if (failed == ENODEV)
        return err_set(err, ERR_NOT_FOUND, "there is no link %s", name);
    return failed ? err_errno(err, failed, "looking up link %s", name) : link.index;
}

int nl_link_at(struct nl *nl, int index, struct nl_link *link)
{
    struct nl_message message;
    struct ifinfomsg *info = nl_begin(&message, RTM_GETLINK, 0, sizeof *info);
    info->ifi_index = index;
    return nl_call(nl, &message, read_link, link);
}

static void put_end(struct nlmsghdr *header, const struct nl_veth_end *end, unsigned mtu)
{
    mnl_attr_put_strz(header, IFLA_IFNAME, end->name);
    if (end->mac)
        mnl_attr_put(header, IFLA_ADDRESS, 6, end->mac);
    if (mtu)
        mnl_attr_put_u32(header, IFLA_MTU, mtu);
}

int nl_veth_create(struct nl *nl, const struct nl_veth_end *end, const struct nl_veth_end *peer,
                   int peer_netns_fd, unsigned mtu)
{
    struct nl_message message;
    nl_begin(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    put_end(message.header, end, mtu);
    struct nlattr *info = mnl_attr_nest_start(message.header, IFLA_LINKINFO);
    mnl_attr_put_strz(message.header, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(message.header, IFLA_INFO_DATA);
    struct nlattr *other = mnl_attr_nest_start(message.header, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(message.header, sizeof(struct ifinfomsg));
    put_end(message.header, peer, mtu);
    if (peer_netns_fd >= 0)
        mnl_attr_put_u32(message.header, IFLA_NET_NS_FD, (uint32_t)peer_netns_fd);
    mnl_attr_nest_end(message.header, other);
    mnl_attr_nest_end(message.header, data);
    mnl_attr_nest_end(message.header, info);
    return nl_call(nl, &message, NULL, NULL);
}

int nl_link_up(struct nl *nl, int index, bool up)
{
    struct nl_message message;
    struct ifinfomsg *info = nl_begin(&message, RTM_NEWLINK, 0, sizeof *info);
    info->ifi_index = index;
    info->ifi_change = IFF_UP;
    info->ifi_flags = up ? IFF_UP : 0;
    return nl_call(nl, &message, NULL, NULL);
}

int nl_link_delete(struct nl *nl, int index)
{
    struct nl_message message;
    struct ifinfomsg *info = nl_begin(&message, RTM_DELLINK, 0, sizeof *info);
    info->ifi_index = index;
    int failed = nl_call(nl, &message, NULL, NULL);
    return failed == ENODEV ? 0 : failed;
}

/* One round: 0 running, EAGAIN something was announced, ETIMEDOUT. */
static int wait_round(struct nl *nl, struct nl *announcements, int index, int timeout_ms)
{
    struct nl_link link;
    char buffer[8192];
    struct pollfd wait = {.fd = mnl_socket_get_fd(announcements->socket), .events = POLLIN};
    int failed = nl_link_at(nl, index, &link);
    if (failed || link.running)
        return failed;
    if (poll(&wait, 1, timeout_ms) <= 0)
        return ETIMEDOUT;
    ssize_t got = mnl_socket_recvfrom(announcements->socket, buffer, sizeof buffer);
    return got < 0 && errno != ENOBUFS && errno != ENOSPC ? errno : EAGAIN;
}

int nl_link_wait(struct nl *nl, int netns_fd, int index, int timeout_ms)
{
    auto_nl announcements = {0};
    struct nl_link link;
    int group = RTNLGRP_LINK;
    int state = nl_link_at(nl, index, &link);
    if (state || link.running)
        return state;
    if (nl_open(&announcements, NETLINK_ROUTE, netns_fd, NULL) < 0 ||
        mnl_socket_setsockopt(announcements.socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0)
        return errno;
    do
        state = wait_round(nl, &announcements, index, timeout_ms);
    while (state == EAGAIN);
    return state;
}

/* Starts RTM_NEWLINK for the creation of a link of that kind, up. */
static void begin_create(struct nl_message *message, const char *name, unsigned mtu)
{
    struct ifinfomsg *info = nl_begin(message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *info);
    info->ifi_change = info->ifi_flags = IFF_UP;
    mnl_attr_put_strz(message->header, IFLA_IFNAME, name);
    if (mtu)
        mnl_attr_put_u32(message->header, IFLA_MTU, mtu);
}

/* What holds for a link that is there already: its kind, that it is up, its MTU. */
static int check_existing(struct nl *nl, const char *name, const char *kind, unsigned mtu, struct err **err)
{
    struct nl_link link;
    int failed = nl_link_get(nl, name, &link);
    if (failed)
        return err_errno(err, failed, "looking up link %s", name);
    if (!str_eq(link.kind, kind))
        return err_set(err, ERR_ALREADY_EXISTS, "link %s exists and is a %s, not a %s", name,
                       *link.kind ? link.kind : "device", kind);
    if ((link.flags & IFF_UP) && (!mtu || link.mtu == mtu))
        return 0;
    struct nl_message message;
    struct ifinfomsg *info = nl_begin(&message, RTM_NEWLINK, 0, sizeof *info);
    info->ifi_index = link.index;
    info->ifi_change = info->ifi_flags = IFF_UP;
    if (mtu)
        mnl_attr_put_u32(message.header, IFLA_MTU, mtu);
    failed = nl_call(nl, &message, NULL, NULL);
    return failed ? err_errno(err, failed, "bringing %s up", name) : 0;
}

static int finish_create(struct nl *nl, struct nl_message *message, const char *name, const char *kind,
                         unsigned mtu, struct err **err)
{
    int failed = nl_call(nl, message, NULL, NULL);
    if (failed && failed != EEXIST)
        return err_errno(err, failed, "creating %s %s", kind, name);
    return failed ? check_existing(nl, name, kind, mtu, err) : 0;
}

int netlink_ensure_bridge(int netns_fd, const char *name, unsigned mtu, struct err **err)
{
    auto_nl nl = {0};
    struct nl_message message;
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0)
        return -1;
    begin_create(&message, name, mtu);
    struct nlattr *info = mnl_attr_nest_start(message.header, IFLA_LINKINFO);
    mnl_attr_put_strz(message.header, IFLA_INFO_KIND, "bridge");
    mnl_attr_nest_end(message.header, info);
    return finish_create(&nl, &message, name, "bridge", mtu, err);
}

static bool same_vxlan(const struct nl_vxlan *a, const struct nl_vxlan *b)
{
    return a->id == b->id && a->local.s_addr == b->local.s_addr && a->port == b->port;
}

/* None of these can be changed while it is there. */
static int delete_other_vxlan(struct nl *nl, const char *name, const struct nl_vxlan *wanted,
                              struct err **err)
{
    struct nl_link link;
    int failed = nl_link_get(nl, name, &link);
    if (failed == ENODEV || (!failed && (!str_eq(link.kind, "vxlan") || same_vxlan(&link.vxlan, wanted))))
        return 0;
    if (!failed)
        failed = nl_link_delete(nl, link.index);
    return failed ? err_errno(err, failed, "replacing link %s", name) : 0;
}

int netlink_ensure_vxlan(int netns_fd, const char *name, unsigned id, struct in_addr local, unsigned port,
                         unsigned mtu, struct err **err)
{
    auto_nl nl = {0};
    struct nl_message message;
    const struct nl_vxlan wanted = {.id = id, .local = local, .port = (uint16_t)port};
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0 || delete_other_vxlan(&nl, name, &wanted, err) < 0)
        return -1;
    begin_create(&message, name, mtu);
    struct nlattr *info = mnl_attr_nest_start(message.header, IFLA_LINKINFO);
    mnl_attr_put_strz(message.header, IFLA_INFO_KIND, "vxlan");
    struct nlattr *data = mnl_attr_nest_start(message.header, IFLA_INFO_DATA);
    mnl_attr_put_u32(message.header, IFLA_VXLAN_ID, id);
    mnl_attr_put_u32(message.header, IFLA_VXLAN_LOCAL, local.s_addr);
    mnl_attr_put_u16(message.header, IFLA_VXLAN_PORT, htons((uint16_t)port));
    mnl_attr_put_u8(message.header, IFLA_VXLAN_LEARNING, 0);
    mnl_attr_nest_end(message.header, data);
    mnl_attr_nest_end(message.header, info);
    return finish_create(&nl, &message, name, "vxlan", mtu, err);
}

/* True if both exist and are the two ends of one pair; what exists but does not fit is deleted. */
static bool veth_fits(struct nl *nl, const char *name, struct nl *peer_nl, const char *peer, int indexes[2])
{
    struct nl_link a, b;
    bool have_a = nl_link_get(nl, name, &a) == 0, have_b = nl_link_get(peer_nl, peer, &b) == 0;
    if (have_a && have_b && a.peer_index == b.index && b.peer_index == a.index) {
        indexes[0] = a.index;
        indexes[1] = b.index;
        return true;
    }
    if (have_a)
        nl_link_delete(nl, a.index);
    if (have_b)
        nl_link_delete(peer_nl, b.index);
    return false;
}

int netlink_ensure_veth(int netns_fd, const char *name, int peer_netns_fd, const char *peer, unsigned mtu,
                        struct err **err)
{
    int indexes[2];
    auto_nl nl = {0}, peer_nl = {0};
    auto_fd own = -1;
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0 ||
        nl_open(&peer_nl, NETLINK_ROUTE, peer_netns_fd, err) < 0)
        return -1;
    if (peer_netns_fd < 0) {
        own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        if (own < 0)
            return err_errno(err, errno, "opening the own network namespace");
        peer_netns_fd = own;
    }
    if (!veth_fits(&nl, name, &peer_nl, peer, indexes)) {
        const struct nl_veth_end end = {name, NULL}, other = {peer, NULL};
        int failed = nl_veth_create(&nl, &end, &other, peer_netns_fd, mtu);
        if (failed)
            return err_errno(err, failed, "creating the veth pair %s, %s", name, peer);
        indexes[0] = nl_link_index(&nl, name, err);
        indexes[1] = indexes[0] < 0 ? -1 : nl_link_index(&peer_nl, peer, err);
        if (indexes[1] < 0)
            return -1;
    }
    int failed = nl_link_up(&peer_nl, indexes[1], true);
    if (!failed)
        failed = nl_link_up(&nl, indexes[0], true);
    if (!failed)
        failed = nl_link_wait(&peer_nl, peer_netns_fd, indexes[1], RUNNING_TIMEOUT_MS);
    if (!failed)
        failed = nl_link_wait(&nl, netns_fd, indexes[0], RUNNING_TIMEOUT_MS);
    return failed ? err_errno(err, failed, "bringing the veth pair %s, %s up", name, peer) : 0;
}

static int set_hairpin(struct nl *nl, int index, bool hairpin)
{
    struct nl_message message;
    struct ifinfomsg *info = nl_begin(&message, RTM_SETLINK, 0, sizeof *info);
    info->ifi_family = AF_BRIDGE;
    info->ifi_index = index;
    struct nlattr *port = mnl_attr_nest_start(message.header, IFLA_PROTINFO);
    mnl_attr_put_u8(message.header, IFLA_BRPORT_MODE, hairpin);
    mnl_attr_nest_end(message.header, port);
    return nl_call(nl, &message, NULL, NULL);
}

int netlink_set_master(int netns_fd, const char *name, const char *bridge, bool hairpin, struct err **err)
{
    auto_nl nl = {0};
    struct nl_link link;
    int master = 0;
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0 || nl_link_index(&nl, name, err) < 0)
        return -1;
    if (bridge && (master = nl_link_index(&nl, bridge, err)) < 0)
        return -1;
    int failed = nl_link_get(&nl, name, &link);
    if (!failed && link.master != master) {
        struct nl_message message;
        struct ifinfomsg *info = nl_begin(&message, RTM_NEWLINK, 0, sizeof *info);
        info->ifi_index = link.index;
        mnl_attr_put_u32(message.header, IFLA_MASTER, (uint32_t)master);
        failed = nl_call(&nl, &message, NULL, NULL);
    }
    if (!failed && master)
        failed = set_hairpin(&nl, link.index, hairpin);
    return failed ? err_errno(err, failed, "attaching %s to %s", name, bridge ? bridge : "nothing") : 0;
}

int netlink_set_up(int netns_fd, const char *name, bool up, struct err **err)
{
    auto_nl nl = {0};
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0)
        return -1;
    int index = nl_link_index(&nl, name, err);
    if (index < 0)
        return -1;
    int failed = nl_link_up(&nl, index, up);
    return failed ? err_errno(err, failed, "bringing %s %s", name, up ? "up" : "down") : 0;
}

int netlink_set_mac(int netns_fd, const char *name, const unsigned char mac[6], struct err **err)
{
    auto_nl nl = {0};
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0)
        return -1;
    struct nl_link link;
    int failed = nl_link_get(&nl, name, &link);
    if (failed == ENODEV)
        return err_set(err, ERR_NOT_FOUND, "there is no link %s", name);
    if (!failed && memcmp(link.mac, mac, sizeof link.mac) == 0)
        return 0; /* also because the kernel would forget all neighbours at this link, fixed ones, too */
    struct nl_message message;
    struct ifinfomsg *info = nl_begin(&message, RTM_NEWLINK, 0, sizeof *info);
    info->ifi_index = link.index;
    mnl_attr_put(message.header, IFLA_ADDRESS, 6, mac);
    if (!failed)
        failed = nl_call(&nl, &message, NULL, NULL);
    return failed ? err_errno(err, failed, "setting the hardware address of %s", name) : 0;
}

int netlink_delete_link(int netns_fd, const char *name, struct err **err)
{
    auto_nl nl = {0};
    struct nl_link link;
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0)
        return -1;
    int failed = nl_link_get(&nl, name, &link);
    if (failed == ENODEV)
        return 0;
    if (!failed)
        failed = nl_link_delete(&nl, link.index);
    return failed ? err_errno(err, failed, "deleting link %s", name) : 0;
}

bool netlink_link_exists(int netns_fd, const char *name)
{
    auto_nl nl = {0};
    struct nl_link link;
    return nl_open(&nl, NETLINK_ROUTE, netns_fd, NULL) == 0 && nl_link_get(&nl, name, &link) == 0;
}

bool netlink_link_is_up(int netns_fd, const char *name)
{
    auto_nl nl = {0};
    struct nl_link link;
    return nl_open(&nl, NETLINK_ROUTE, netns_fd, NULL) == 0 && nl_link_get(&nl, name, &link) == 0 &&
           (link.flags & IFF_UP);
}

struct name_list {
    const char *prefix;
    struct str names;
    size_t count;
};

static int collect_name(const struct nlmsghdr *header, void *arg)
{
    struct name_list *list = arg;
    struct nl_link link;
    nl_link_read(header, &link);
    if (str_starts(link.name, list->prefix)) {
        if (list->count++)
            str_add_char(&list->names, '\n');
        str_add(&list->names, link.name);
    }
    return MNL_CB_OK;
}

char **netlink_list_links(int netns_fd, const char *prefix, size_t *count, struct err **err)
{
    auto_nl nl = {0};
    struct nl_message message;
    struct name_list list = {.prefix = prefix};
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0)
        return NULL;
    nl_begin(&message, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
    int failed = nl_call(&nl, &message, collect_name, &list);
    char **names = NULL;
    if (failed)
        err_errno(err, failed, "listing links");
    else if (list.count)
        names = str_split(str_c(&list.names), '\n', count);
    else
        names = mem_array(1, sizeof *names);
    if (!failed)
        *count = list.count;
    str_free(&list.names);
    return names;
}
