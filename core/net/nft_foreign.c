/*
 * nft_foreign: chains of others that drop what minik8s forwards or lets in: base chains with policy drop, as
 * firewalls have them, without a rule of the kind that `doctor` names. Our own rules cannot help: a packet
 * that one chain accepts still passes the others. Changes nothing; rules of the older iptables-legacy are not
 * seen.
 */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "net/net_internal.h"

static uint32_t get_be32(const struct nlattr *attribute)
{
    return ntohl(mnl_attr_get_u32(attribute));
}

static uint32_t hook_of(const struct nlattr *hook)
{
    const struct nlattr *inner;
    uint32_t number = NF_INET_NUMHOOKS;
    mnl_attr_for_each_nested(inner, hook)
    {
        if (mnl_attr_get_type(inner) == NFTA_HOOK_HOOKNUM)
            number = get_be32(inner);
    }
    return number;
}

static int read_chain(const struct nlmsghdr *header, void *arg)
{
    const struct nfgenmsg *info = mnl_nlmsg_get_payload(header);
    const struct nlattr *attribute;
    const char *table = "", *chain = "";
    uint32_t hook = NF_INET_NUMHOOKS, policy = NF_ACCEPT;
    mnl_attr_for_each(attribute, header, sizeof *info)
    {
        int type = mnl_attr_get_type(attribute);
        if (type == NFTA_CHAIN_TABLE)
            table = mnl_attr_get_str(attribute);
        else if (type == NFTA_CHAIN_NAME)
            chain = mnl_attr_get_str(attribute);
        else if (type == NFTA_CHAIN_HOOK)
            hook = hook_of(attribute);
        else if (type == NFTA_CHAIN_POLICY)
            policy = get_be32(attribute);
    }
    bool ours = info->nfgen_family == NFPROTO_IPV4 || info->nfgen_family == NFPROTO_INET;
    if (!ours || policy != NF_DROP || (hook != NF_INET_FORWARD && hook != NF_INET_LOCAL_IN))
        return MNL_CB_OK;
    cJSON *entry = json_push(arg, cJSON_CreateObject());
    json_set_string(entry, "family", info->nfgen_family == NFPROTO_IPV4 ? "ip" : "inet");
    json_set_string(entry, "table", table);
    json_set_string(entry, "chain", chain);
    json_set_string(entry, "hook", hook == NF_INET_FORWARD ? "forward" : "input");
    return MNL_CB_OK;
}

static int read_rule(const struct nlmsghdr *header, void *arg)
{
    const struct nlattr *attribute;
    mnl_attr_for_each(attribute, header, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attribute) == NFTA_RULE_USERDATA &&
            memmem(mnl_attr_get_payload(attribute), mnl_attr_get_payload_len(attribute), NFT_FOREIGN_COMMENT,
                   strlen(NFT_FOREIGN_COMMENT)))
            *(bool *)arg = true;
    }
    return MNL_CB_OK;
}

static struct nfgenmsg *begin_dump(struct nl_message *message, uint16_t type, uint8_t family)
{
    struct nfgenmsg *info =
        nl_begin(message, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_DUMP, sizeof *info);
    info->nfgen_family = family;
    info->version = NFNETLINK_V0;
    return info;
}

static int has_our_rule(struct nl *nl, const cJSON *chain, bool *found)
{
    struct nl_message message;
    bool ip = str_eq(json_string(chain, "family"), "ip");
    begin_dump(&message, NFT_MSG_GETRULE, ip ? NFPROTO_IPV4 : NFPROTO_INET);
    mnl_attr_put_strz(message.header, NFTA_RULE_TABLE, json_string(chain, "table"));
    mnl_attr_put_strz(message.header, NFTA_RULE_CHAIN, json_string(chain, "chain"));
    *found = false;
    return nl_call(nl, &message, read_rule, found);
}

cJSON *nft_foreign_drops(struct nl *nl, struct err **err)
{
    struct nl_message message;
    auto_json all = cJSON_CreateArray();
    auto_json left = cJSON_CreateArray();
    begin_dump(&message, NFT_MSG_GETCHAIN, NFPROTO_UNSPEC);
    int failed = nl_call(nl, &message, read_chain, all);
    json_each (chain, all) {
        bool found = false;
        failed = failed ? failed : has_our_rule(nl, chain, &found);
        if (!found)
            json_push(left, json_copy(chain));
    }
    if (failed) {
        err_errno(err, failed, "listing chains of other tables");
        return NULL;
    }
    return steal(&left);
}

char *nft_foreign_remedy(const cJSON *chain, const char *range)
{
    auto_free char *insert = mem_printf("nft 'insert rule %s %s %s", json_string(chain, "family"),
                                        json_string(chain, "table"), json_string(chain, "chain"));
    const char *accept = "accept comment " NFT_FOREIGN_COMMENT "'";
    if (str_eq(json_string(chain, "hook"), "input"))
        return mem_printf("%s iifname \"m8*\" %s", insert, accept);
    return mem_printf("%s ip saddr %s %s && %s ip daddr %s %s", insert, range, accept, insert, range, accept);
}
