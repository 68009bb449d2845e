/*
 * conntrack: forgets flows that lead to endpoints which are gone, through ctnetlink.
 * Only this namespace, only IPv4. At most two dumps per call, however many targets there are: a dump walks
 * over the machine's whole table, 10 ms, even where this namespace has no flow, so how many there are is
 * asked first. Among many flows the kernel leaves out what cannot match: filling in 100,000 takes longer than
 * the walk. A kernel that ignores the filter (before 5.8) changes nothing but the time: every flow is checked
 * here, too.
 */
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>

#include "net/net_internal.h"

#define FEW_FLOWS 5000 /* looked at here in less time than a second walk takes */

struct tuple {
    uint32_t source, destination;
    uint16_t source_port, destination_port; /* host order */
    uint8_t protocol;
};

struct flow {
    struct tuple original, reply;
    const struct nlattr *original_attribute; /* as dumped, to name the flow in its deletion */
    uint32_t id;
    bool has_id;
};

/* What the kernel shall compare; flags 0: nothing. Bits of CTA_FILTER_*_FLAGS, numbered as in the kernel. */
enum {
    FILTER_SOURCE = 1 << 0,
    FILTER_DESTINATION = 1 << 1,
    FILTER_PROTOCOL = 1 << 3,
    FILTER_DESTINATION_PORT = 1 << 5
};
struct filter {
    uint32_t original_flags, reply_flags;
    struct tuple original, reply;
};

struct walk {
    bool (*matches)(const struct walk *walk, const struct flow *flow);
    struct map targets; /* wanted originals as text → struct flow_targets of their endpoints */
    const struct net_cidr *range;
    struct str deletions; /* complete messages, one after another */
    size_t count;
};

void flow_targets_add(struct flow_targets *targets, const struct flow_target *target)
{
    if (targets->count == targets->capacity) {
        targets->capacity = targets->capacity ? targets->capacity * 2 : 8;
        targets->at = mem_resize(targets->at, targets->capacity, sizeof *targets->at);
    }
    targets->at[targets->count++] = *target;
}

static void read_tuple(const struct nlattr *attribute, struct tuple *tuple)
{
    const struct nlattr *part, *inner;
    mnl_attr_for_each_nested(part, attribute)
    {
        unsigned type = mnl_attr_get_type(part);
        if (type != CTA_TUPLE_IP && type != CTA_TUPLE_PROTO)
            continue;
        mnl_attr_for_each_nested(inner, part)
        {
            unsigned field = mnl_attr_get_type(inner);
            if (type == CTA_TUPLE_IP && field == CTA_IP_V4_SRC)
                tuple->source = mnl_attr_get_u32(inner);
            else if (type == CTA_TUPLE_IP && field == CTA_IP_V4_DST)
                tuple->destination = mnl_attr_get_u32(inner);
            else if (type == CTA_TUPLE_PROTO && field == CTA_PROTO_NUM)
                tuple->protocol = mnl_attr_get_u8(inner);
            else if (type == CTA_TUPLE_PROTO && field == CTA_PROTO_SRC_PORT)
                tuple->source_port = ntohs(mnl_attr_get_u16(inner));
            else if (type == CTA_TUPLE_PROTO && field == CTA_PROTO_DST_PORT)
                tuple->destination_port = ntohs(mnl_attr_get_u16(inner));
        }
    }
}

static void add_deletion(struct walk *walk, const struct flow *flow)
{
    struct nl_message message;
    struct nfgenmsg *info =
        nl_begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, NLM_F_ACK, sizeof *info);
    info->nfgen_family = AF_INET;
    info->version = NFNETLINK_V0;
    mnl_attr_put(message.header, CTA_TUPLE_ORIG | NLA_F_NESTED,
                 mnl_attr_get_payload_len(flow->original_attribute),
                 mnl_attr_get_payload(flow->original_attribute));
    if (flow->has_id)
        mnl_attr_put_u32(message.header, CTA_ID, flow->id); /* never a newer flow of the same tuple */
    str_add_n(&walk->deletions, message.data, message.header->nlmsg_len);
    walk->count++;
}

static int visit_flow(const struct nlmsghdr *header, void *arg)
{
    struct walk *walk = arg;
    struct flow flow = {0};
    const struct nlattr *attribute;
    mnl_attr_for_each(attribute, header, sizeof(struct nfgenmsg))
    {
        switch (mnl_attr_get_type(attribute)) {
        case CTA_TUPLE_ORIG:
            flow.original_attribute = attribute;
            read_tuple(attribute, &flow.original);
            break;
        case CTA_TUPLE_REPLY:
            read_tuple(attribute, &flow.reply);
            break;
        case CTA_ID:
            flow.id = mnl_attr_get_u32(attribute);
            flow.has_id = true;
            break;
        default:
            break;
        }
    }
    if (flow.original_attribute && walk->matches(walk, &flow))
        add_deletion(walk, &flow);
    return MNL_CB_OK;
}

static void put_tuple(struct nlmsghdr *header, uint16_t type, uint32_t flags, const struct tuple *tuple)
{
    if (!flags)
        return;
    struct nlattr *outer = mnl_attr_nest_start(header, type);
    struct nlattr *ip = mnl_attr_nest_start(header, CTA_TUPLE_IP);
    if (flags & FILTER_SOURCE)
        mnl_attr_put_u32(header, CTA_IP_V4_SRC, tuple->source);
    if (flags & FILTER_DESTINATION)
        mnl_attr_put_u32(header, CTA_IP_V4_DST, tuple->destination);
    mnl_attr_nest_end(header, ip);
    if (flags & FILTER_PROTOCOL) {
        struct nlattr *protocol = mnl_attr_nest_start(header, CTA_TUPLE_PROTO);
        mnl_attr_put_u8(header, CTA_PROTO_NUM, tuple->protocol);
        if (flags & FILTER_DESTINATION_PORT)
            mnl_attr_put_u16(header, CTA_PROTO_DST_PORT, htons(tuple->destination_port));
        mnl_attr_nest_end(header, protocol);
    }
    mnl_attr_nest_end(header, outer);
}

static void put_filter(struct nlmsghdr *header, const struct filter *filter)
{
    put_tuple(header, CTA_TUPLE_ORIG, filter->original_flags, &filter->original);
    put_tuple(header, CTA_TUPLE_REPLY, filter->reply_flags, &filter->reply);
    struct nlattr *flags = mnl_attr_nest_start(header, CTA_FILTER);
    mnl_attr_put_u32(header, CTA_FILTER_ORIG_FLAGS, filter->original_flags);
    mnl_attr_put_u32(header, CTA_FILTER_REPLY_FLAGS, filter->reply_flags);
    mnl_attr_nest_end(header, flags);
}

static int visit_statistics(const struct nlmsghdr *header, void *arg)
{
    const struct nlattr *attribute;
    mnl_attr_for_each(attribute, header, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attribute) == CTA_STATS_GLOBAL_ENTRIES)
            *(int64_t *)arg = ntohl(mnl_attr_get_u32(attribute));
    }
    return MNL_CB_OK;
}

/* How many flows there are; -1: error. */
static int64_t count_flows(struct err **err)
{
    auto_nl nl = {0};
    struct nl_message message;
    int64_t count = FEW_FLOWS + 1; /* if it is not said */
    if (nl_open(&nl, NETLINK_NETFILTER, -1, err) < 0)
        return -1;
    struct nfgenmsg *info =
        nl_begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, sizeof *info);
    info->nfgen_family = AF_INET;
    info->version = NFNETLINK_V0;
    int failed = nl_call(&nl, &message, visit_statistics, &count);
    return failed ? err_errno(err, failed, "counting flows") : count;
}

static int walk_run(struct walk *walk, const struct filter *filter, struct err **err)
{
    auto_nl nl = {0};
    struct nl_message message;
    if (nl_open(&nl, NETLINK_NETFILTER, -1, err) < 0)
        return -1;
    struct nfgenmsg *info =
        nl_begin(&message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP, sizeof *info);
    info->nfgen_family = AF_INET;
    info->version = NFNETLINK_V0;
    if (filter->original_flags || filter->reply_flags)
        put_filter(message.header, filter);
    int failed = nl_call(&nl, &message, visit_flow, walk);
    if (failed)
        return err_errno(err, failed, "listing flows");
    for (size_t at = 0; at < walk->deletions.len;) {
        memcpy(message.data, walk->deletions.data + at, sizeof(struct nlmsghdr));
        message.header = (struct nlmsghdr *)message.data;
        memcpy(message.data, walk->deletions.data + at, message.header->nlmsg_len);
        at += message.header->nlmsg_len;
        failed = nl_call(&nl, &message, NULL, NULL);
        if (failed && failed != ENOENT) /* it ended by itself */
            return err_errno(err, failed, "deleting a flow");
    }
    return (int)walk->count;
}

static char *original_name(uint32_t address, uint8_t protocol, uint16_t port)
{
    return mem_printf("%x %u %u", address, protocol, port);
}

static bool matches_target(const struct walk *walk, const struct flow *flow)
{
    const struct tuple *original = &flow->original, *reply = &flow->reply;
    auto_free char *name =
        original_name(original->destination, original->protocol, original->destination_port);
    const struct flow_targets *targets = map_get(&walk->targets, name);
    bool translated =
        reply->source != original->destination || reply->source_port != original->destination_port;
    for (size_t i = 0; targets && i < targets->count; i++) {
        const struct net_endpoint *endpoint = &targets->at[i].endpoint;
        if (endpoint->address.s_addr == 0
                ? !translated
                : endpoint->address.s_addr == reply->source && endpoint->port == reply->source_port)
            return true;
    }
    return false;
}

static void free_targets(void *data)
{
    struct flow_targets *targets = data;
    free(targets->at);
    free(targets);
}

int conntrack_forget_targets(const struct flow_targets *targets, struct err **err)
{
    struct walk walk = {.matches = matches_target};
    int64_t count = targets->count ? count_flows(err) : 0;
    if (count <= 0)
        return (int)count;
    map_init(&walk.targets, free_targets);
    struct filter filter = {.original_flags = FILTER_PROTOCOL,
                            .original = {.destination = targets->at[0].address.s_addr,
                                         .destination_port = targets->at[0].port,
                                         .protocol = targets->at[0].protocol}};
    for (size_t i = 0; i < targets->count; i++) {
        const struct flow_target *target = &targets->at[i];
        auto_free char *name = original_name(target->address.s_addr, target->protocol, target->port);
        struct flow_targets *same = map_get(&walk.targets, name);
        if (!same) {
            same = NEW(struct flow_targets);
            map_set(&walk.targets, name, same);
        }
        flow_targets_add(same, target);
        if (target->protocol != filter.original.protocol)
            filter.original_flags = 0;
    }
    if (walk.targets.count == 1)
        filter.original_flags = FILTER_PROTOCOL | FILTER_DESTINATION | FILTER_DESTINATION_PORT;
    int result = walk_run(&walk, &filter, err);
    map_fini(&walk.targets);
    str_free(&walk.deletions);
    return result;
}

static bool matches_range(const struct walk *walk, const struct flow *flow)
{
    return net_cidr_contains(walk->range, (struct in_addr){flow->original.source}) ||
           net_cidr_contains(walk->range, (struct in_addr){flow->reply.source});
}

int conntrack_forget_range(const struct net_cidr *range, struct err **err)
{
    struct walk walk = {.matches = matches_range, .range = range};
    struct filter from = {0}, to = {0};
    int64_t count = count_flows(err);
    bool twice = range->prefix == 32 && count > FEW_FLOWS; /* a filter compares one direction only */
    if (count <= 0)
        return (int)count;
    if (twice) {
        from = (struct filter){.original_flags = FILTER_SOURCE, .original.source = range->address.s_addr};
        to = (struct filter){.reply_flags = FILTER_SOURCE, .reply.source = range->address.s_addr};
    }
    int result = walk_run(&walk, &from, err);
    if (result >= 0 && twice) {
        str_clear(&walk.deletions);
        result = walk_run(&walk, &to, err);
    }
    str_free(&walk.deletions);
    return result;
}
