/*
 * netlink_route: addresses, routes, neighbours and forwarding entries over rtnetlink; text form of ranges.
 * Only the main table, only IPv4. Invariant: routes written here carry NETLINK_ROUTE_PROTOCOL, so that they
 * can be told from the administrator's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <string.h>

#include "base/str.h"
#include "net/netlink_internal.h"

static uint32_t prefix_mask(unsigned prefix)
{
    return prefix ? htonl(~0u << (32 - prefix)) : 0;
}

int net_cidr_parse(const char *text, struct net_cidr *cidr, struct err **err)
{
    char address[INET_ADDRSTRLEN];
    const char *slash = text ? strchr(text, '/') : NULL;
    long long prefix;
    struct in_addr parsed;
    if (!slash || (size_t)(slash - text) >= sizeof address)
        return err_set(err, ERR_INVALID, "\"%s\" is not a range such as 10.244.0.0/16", text ? text : "");
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = 0;
    if (inet_pton(AF_INET, address, &parsed) != 1 || str_to_int64(slash + 1, &prefix) < 0 || prefix < 0 ||
        prefix > 32)
        return err_set(err, ERR_INVALID, "\"%s\" is not a range such as 10.244.0.0/16", text);
    cidr->address = parsed;
    cidr->prefix = (unsigned)prefix;
    return 0;
}

bool net_cidr_contains(const struct net_cidr *cidr, struct in_addr address)
{
    return ((address.s_addr ^ cidr->address.s_addr) & prefix_mask(cidr->prefix)) == 0;
}

int nl_address_add(struct nl *nl, int index, const struct net_cidr *address)
{
    struct nl_message message;
    struct ifaddrmsg *info = nl_begin(&message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof *info);
    info->ifa_family = AF_INET;
    info->ifa_prefixlen = (uint8_t)address->prefix;
    info->ifa_index = (unsigned)index;
    mnl_attr_put_u32(message.header, IFA_LOCAL, address->address.s_addr);
    mnl_attr_put_u32(message.header, IFA_ADDRESS, address->address.s_addr);
    if (address->prefix < 31)
        mnl_attr_put_u32(message.header, IFA_BROADCAST,
                         address->address.s_addr | ~prefix_mask(address->prefix));
    int failed = nl_call(nl, &message, NULL, NULL);
    return failed == EEXIST ? 0 : failed;
}

struct address_visit {
    void (*each)(void *arg, int index, const struct net_cidr *address);
    void *arg;
};

int nl_address_read(const struct nlmsghdr *header, struct net_cidr *address)
{
    const struct ifaddrmsg *info = mnl_nlmsg_get_payload(header);
    const struct nlattr *attribute;
    *address = (struct net_cidr){.prefix = info->ifa_prefixlen};
    if (info->ifa_family != AF_INET)
        return 0;
    mnl_attr_for_each(attribute, header, sizeof *info)
    {
        if (mnl_attr_get_type(attribute) == IFA_LOCAL)
            address->address.s_addr = mnl_attr_get_u32(attribute);
    }
    return (int)info->ifa_index;
}

static int visit_address(const struct nlmsghdr *header, void *arg)
{
    const struct address_visit *visit = arg;
    struct net_cidr address;
    int index = nl_address_read(header, &address);
    if (index)
        visit->each(visit->arg, index, &address);
    return MNL_CB_OK;
}

int nl_address_each(struct nl *nl, void (*each)(void *arg, int index, const struct net_cidr *address),
                    void *arg)
{
    struct nl_message message;
    struct address_visit visit = {each, arg};
    struct ifaddrmsg *info = nl_begin(&message, RTM_GETADDR, NLM_F_DUMP, sizeof *info);
    info->ifa_family = AF_INET;
    return nl_call(nl, &message, visit_address, &visit);
}

static void put_route(struct nl_message *message, uint16_t type, uint16_t flags, const struct nl_route *route)
{
    struct rtmsg *info = nl_begin(message, type, flags, sizeof *info);
    info->rtm_family = AF_INET;
    info->rtm_dst_len = (uint8_t)route->destination.prefix;
    info->rtm_table = RT_TABLE_MAIN;
    if (route->destination.prefix)
        mnl_attr_put_u32(message->header, RTA_DST,
                         route->destination.address.s_addr & prefix_mask(route->destination.prefix));
    if (route->gateway.s_addr)
        mnl_attr_put_u32(message->header, RTA_GATEWAY, route->gateway.s_addr);
    if (route->index)
        mnl_attr_put_u32(message->header, RTA_OIF, (uint32_t)route->index);
    if (type == RTM_DELROUTE) {
        info->rtm_scope = RT_SCOPE_NOWHERE;
        return;
    }
    info->rtm_protocol = NETLINK_ROUTE_PROTOCOL;
    info->rtm_type = RTN_UNICAST;
    info->rtm_scope = route->gateway.s_addr ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    info->rtm_flags = route->onlink ? RTNH_F_ONLINK : 0;
    if (route->source.s_addr)
        mnl_attr_put_u32(message->header, RTA_PREFSRC, route->source.s_addr);
    if (route->mtu) {
        struct nlattr *metrics = mnl_attr_nest_start(message->header, RTA_METRICS);
        mnl_attr_put_u32(message->header, RTAX_MTU, route->mtu);
        mnl_attr_nest_end(message->header, metrics);
    }
}

int nl_route_replace(struct nl *nl, const struct nl_route *route)
{
    struct nl_message message;
    put_route(&message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
    return nl_call(nl, &message, NULL, NULL);
}

int nl_route_delete(struct nl *nl, const struct nl_route *route)
{
    struct nl_message message;
    put_route(&message, RTM_DELROUTE, 0, route);
    int failed = nl_call(nl, &message, NULL, NULL);
    return failed == ESRCH || failed == ENODEV ? 0 : failed;
}

struct route_visit {
    void (*each)(void *arg, const struct nl_route *route);
    void *arg;
};

void nl_route_read(const struct nlmsghdr *header, struct nl_route *route)
{
    const struct rtmsg *info = mnl_nlmsg_get_payload(header);
    const struct nlattr *attribute;
    *route = (struct nl_route){.destination.prefix = info->rtm_dst_len,
                               .protocol = info->rtm_protocol,
                               .onlink = (info->rtm_flags & RTNH_F_ONLINK) != 0};
    mnl_attr_for_each(attribute, header, sizeof *info)
    {
        switch (mnl_attr_get_type(attribute)) {
        case RTA_DST:
            route->destination.address.s_addr = mnl_attr_get_u32(attribute);
            break;
        case RTA_GATEWAY:
            route->gateway.s_addr = mnl_attr_get_u32(attribute);
            break;
        case RTA_PREFSRC:
            route->source.s_addr = mnl_attr_get_u32(attribute);
            break;
        case RTA_OIF:
            route->index = (int)mnl_attr_get_u32(attribute);
            break;
        default:
            break;
        }
    }
}

static int visit_route(const struct nlmsghdr *header, void *arg)
{
    const struct route_visit *visit = arg;
    const struct rtmsg *info = mnl_nlmsg_get_payload(header);
    struct nl_route route;
    if (info->rtm_family != AF_INET || info->rtm_table != RT_TABLE_MAIN || info->rtm_type != RTN_UNICAST)
        return MNL_CB_OK;
    nl_route_read(header, &route);
    visit->each(visit->arg, &route);
    return MNL_CB_OK;
}

int nl_route_each(struct nl *nl, void (*each)(void *arg, const struct nl_route *route), void *arg)
{
    struct nl_message message;
    struct route_visit visit = {each, arg};
    struct rtmsg *info = nl_begin(&message, RTM_GETROUTE, NLM_F_DUMP, sizeof *info);
    info->rtm_family = AF_INET;
    return nl_call(nl, &message, visit_route, &visit);
}

static int take_route(const struct nlmsghdr *header, void *arg)
{
    if (header->nlmsg_type == RTM_NEWROUTE)
        nl_route_read(header, arg);
    return MNL_CB_OK;
}

int nl_route_to(struct nl *nl, struct in_addr to, struct nl_route *route)
{
    struct nl_message message;
    struct rtmsg *info = nl_begin(&message, RTM_GETROUTE, 0, sizeof *info);
    info->rtm_family = AF_INET;
    info->rtm_dst_len = 32;
    mnl_attr_put_u32(message.header, RTA_DST, to.s_addr);
    *route = (struct nl_route){0};
    return nl_call(nl, &message, take_route, route);
}

int nl_neighbour_replace(struct nl *nl, int index, struct in_addr address, const unsigned char mac[6])
{
    struct nl_message message;
    struct ndmsg *info = nl_begin(&message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof *info);
    info->ndm_family = AF_INET;
    info->ndm_ifindex = index;
    info->ndm_state = NUD_PERMANENT;
    mnl_attr_put_u32(message.header, NDA_DST, address.s_addr);
    mnl_attr_put(message.header, NDA_LLADDR, 6, mac);
    return nl_call(nl, &message, NULL, NULL);
}

int netlink_ensure_address(int netns_fd, const char *name, const struct net_cidr *address, struct err **err)
{
    auto_nl nl = {0};
    int index = nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0 ? -1 : nl_link_index(&nl, name, err);
    if (index < 0)
        return -1;
    int failed = nl_address_add(&nl, index, address);
    return failed ? err_errno(err, failed, "adding an address to %s", name) : 0;
}

int netlink_delete_address(int netns_fd, const char *name, const struct net_cidr *address, struct err **err)
{
    auto_nl nl = {0};
    struct nl_link link;
    struct nl_message message;
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0)
        return -1;
    if (nl_link_get(&nl, name, &link) == ENODEV)
        return 0;
    struct ifaddrmsg *info = nl_begin(&message, RTM_DELADDR, 0, sizeof *info);
    info->ifa_family = AF_INET;
    info->ifa_prefixlen = (uint8_t)address->prefix;
    info->ifa_index = (unsigned)link.index;
    mnl_attr_put_u32(message.header, IFA_LOCAL, address->address.s_addr);
    int failed = nl_call(&nl, &message, NULL, NULL);
    if (failed && failed != EADDRNOTAVAIL && failed != ENODEV)
        return err_errno(err, failed, "deleting an address of %s", name);
    return 0;
}

int netlink_ensure_route(int netns_fd, const struct net_cidr *destination, struct in_addr gateway,
                         const char *name, struct err **err)
{
    auto_nl nl = {0};
    struct nl_route route = {.destination = *destination, .gateway = gateway};
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0)
        return -1;
    if (name && (route.index = nl_link_index(&nl, name, err)) < 0)
        return -1;
    int failed = nl_route_replace(&nl, &route);
    return failed ? err_errno(err, failed, "adding a route to %s/%u", inet_ntoa(destination->address),
                              destination->prefix)
                  : 0;
}

int netlink_delete_route(int netns_fd, const struct net_cidr *destination, struct err **err)
{
    auto_nl nl = {0};
    struct nl_route route = {.destination = *destination};
    if (nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0)
        return -1;
    int failed = nl_route_delete(&nl, &route);
    return failed ? err_errno(err, failed, "deleting the route to %s/%u", inet_ntoa(destination->address),
                              destination->prefix)
                  : 0;
}

int netlink_ensure_fdb(int netns_fd, const char *name, const unsigned char mac[6], struct in_addr remote,
                       struct err **err)
{
    auto_nl nl = {0};
    struct nl_message message;
    int index = nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0 ? -1 : nl_link_index(&nl, name, err);
    if (index < 0)
        return -1;
    struct ndmsg *info = nl_begin(&message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof *info);
    info->ndm_family = AF_BRIDGE;
    info->ndm_ifindex = index;
    info->ndm_state = NUD_NOARP | NUD_PERMANENT;
    info->ndm_flags = NTF_SELF;
    mnl_attr_put(message.header, NDA_LLADDR, 6, mac);
    mnl_attr_put_u32(message.header, NDA_DST, remote.s_addr);
    int failed = nl_call(&nl, &message, NULL, NULL);
    return failed ? err_errno(err, failed, "adding a forwarding entry to %s", name) : 0;
}

int netlink_ensure_neighbour(int netns_fd, const char *name, struct in_addr address,
                             const unsigned char mac[6], struct err **err)
{
    auto_nl nl = {0};
    int index = nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0 ? -1 : nl_link_index(&nl, name, err);
    if (index < 0)
        return -1;
    int failed = nl_neighbour_replace(&nl, index, address, mac);
    return failed ? err_errno(err, failed, "adding a neighbour to %s", name) : 0;
}

struct address_search {
    int index;
    bool found;
    struct net_cidr address;
};

static void match_index(void *arg, int index, const struct net_cidr *address)
{
    struct address_search *search = arg;
    if (index == search->index && !search->found) {
        search->found = true;
        search->address = *address;
    }
}

int netlink_get_address(int netns_fd, const char *name, struct net_cidr *address, struct err **err)
{
    auto_nl nl = {0};
    struct address_search search = {0};
    search.index = nl_open(&nl, NETLINK_ROUTE, netns_fd, err) < 0 ? -1 : nl_link_index(&nl, name, err);
    if (search.index < 0)
        return -1;
    int failed = nl_address_each(&nl, match_index, &search);
    if (failed)
        return err_errno(err, failed, "listing addresses");
    if (!search.found)
        return err_set(err, ERR_NOT_FOUND, "link %s has no IPv4 address", name);
    *address = search.address;
    return 0;
}

static void match_default(void *arg, const struct nl_route *route)
{
    int *index = arg;
    if (!route->destination.prefix && route->index && !*index)
        *index = route->index;
}

int netlink_own_address(const char *name, struct in_addr *address, struct err **err)
{
    auto_nl nl = {0};
    struct address_search search = {0};
    if (nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
        return -1;
    if (name && (search.index = nl_link_index(&nl, name, err)) < 0)
        return -1;
    int failed = name ? 0 : nl_route_each(&nl, match_default, &search.index);
    if (!failed && !search.index)
        return err_set(err, ERR_NOT_FOUND, "this machine has no default route that would tell its interface");
    if (!failed)
        failed = nl_address_each(&nl, match_index, &search);
    if (failed)
        return err_errno(err, failed, "listing routes and addresses");
    if (!search.found)
        return err_set(err, ERR_NOT_FOUND, "link %s has no IPv4 address",
                       name ? name : "of the default route");
    *address = search.address.address;
    return 0;
}

struct range_search {
    const struct net_cidr *range;
    bool used;
};

static void match_range(struct range_search *search, const struct net_cidr *other)
{
    const struct net_cidr *wide = other->prefix < search->range->prefix ? other : search->range;
    const struct net_cidr *narrow = wide == other ? search->range : other;
    if (other->prefix > 0 && net_cidr_contains(wide, narrow->address))
        search->used = true;
}

static void match_address_range(void *arg, int index UNUSED, const struct net_cidr *address)
{
    match_range(arg, address);
}

static void match_route_range(void *arg, const struct nl_route *route)
{
    match_range(arg, &route->destination);
}

bool netlink_range_used(const struct net_cidr *range)
{
    auto_nl nl = {0};
    struct range_search search = {.range = range};
    if (nl_open(&nl, NETLINK_ROUTE, -1, NULL) < 0)
        return true; /* unknown counts as used */
    if (nl_address_each(&nl, match_address_range, &search) || nl_route_each(&nl, match_route_range, &search))
        return true;
    return search.used;
}
