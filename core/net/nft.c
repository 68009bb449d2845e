/*
 * nft: runs nftables commands through libnftables, lists maps straight from the kernel.
 * Listing does not go through libnftables: its text of 100,000 elements takes a second and 100 MB.
 * Invariant: the context belongs to the namespace in which it was made.
 */
#include <endian.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <malloc.h>
#include <nftables/libnftables.h>
#include <string.h>

#include "net/net_internal.h"

#define TRIM_ABOVE_BYTES 262144

struct nft {
    struct nft_ctx *context;
    struct nl nl;
    char *table;
};

static int read_handle(const struct nlmsghdr *header, void *arg)
{
    const struct nlattr *attribute;
    mnl_attr_for_each(attribute, header, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attribute) == NFTA_TABLE_HANDLE)
            *(uint64_t *)arg = be64toh(mnl_attr_get_u64(attribute));
    }
    return MNL_CB_OK;
}

int nft_table_handle(struct nl *nl, const char *table, uint64_t *handle)
{
    struct nl_message message;
    struct nfgenmsg *info = nl_begin(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, sizeof *info);
    info->nfgen_family = AF_INET; /* NFPROTO_IPV4 has the same value */
    info->version = NFNETLINK_V0;
    mnl_attr_put_strz(message.header, NFTA_TABLE_NAME, table);
    *handle = 0;
    return nl_call(nl, &message, read_handle, handle);
}

struct nft *nft_new(const char *table, struct err **err)
{
    struct nft *nft = NEW(struct nft);
    nft->table = mem_strdup(table);
    nft->context = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!nft->context || nft_ctx_buffer_output(nft->context) || nft_ctx_buffer_error(nft->context)) {
        err_set(err, ERR_INTERNAL, "no nftables context");
        nft_free(nft);
        return NULL;
    }
    if (nl_open(&nft->nl, NETLINK_NETFILTER, -1, err) < 0) {
        nft_free(nft);
        return NULL;
    }
    return nft;
}

void nft_free(struct nft *nft)
{
    if (!nft)
        return;
    nl_close(&nft->nl);
    if (nft->context)
        nft_ctx_free(nft->context);
    free(nft->table);
    free(nft);
}

const char *nft_table(const struct nft *nft)
{
    return nft->table;
}

int nft_run(struct nft *nft, const char *commands, struct err **err)
{
    size_t length = strlen(commands);
    int failed = nft_run_cmd_from_buffer(nft->context, commands);
    int result = 0;
    if (failed) {
        const char *text = nft_ctx_get_error_buffer(nft->context);
        const char *begin = text ? strstr(text, "Error: ") : NULL;
        begin = begin ? begin + strlen("Error: ") : "no reason given";
        result = err_set(err, ERR_INTERNAL, "nftables: %.*s", (int)strcspn(begin, "\n"), begin);
    }
    if (length > TRIM_ABOVE_BYTES)
        malloc_trim(0); /* a big load leaves tens of megabytes in the allocator */
    return result;
}

struct listing {
    nft_element *each;
    void *arg;
};

struct value {
    const unsigned char *data;
    size_t length;
    const char *chain;
};

static void read_verdict(const struct nlattr *verdict, struct value *value)
{
    const struct nlattr *inner;
    mnl_attr_for_each_nested(inner, verdict)
    {
        if (mnl_attr_get_type(inner) == NFTA_VERDICT_CHAIN)
            value->chain = mnl_attr_get_str(inner);
    }
}

static void read_value(const struct nlattr *attribute, struct value *value)
{
    const struct nlattr *inner;
    mnl_attr_for_each_nested(inner, attribute)
    {
        if (mnl_attr_get_type(inner) == NFTA_DATA_VALUE) {
            value->data = mnl_attr_get_payload(inner);
            value->length = mnl_attr_get_payload_len(inner);
        } else if (mnl_attr_get_type(inner) == NFTA_DATA_VERDICT) {
            read_verdict(inner, value);
        }
    }
}

static void read_element(const struct nlattr *element, const struct listing *listing)
{
    struct value key = {0}, data = {0};
    const struct nlattr *attribute;
    mnl_attr_for_each_nested(attribute, element)
    {
        if (mnl_attr_get_type(attribute) == NFTA_SET_ELEM_KEY)
            read_value(attribute, &key);
        else if (mnl_attr_get_type(attribute) == NFTA_SET_ELEM_DATA)
            read_value(attribute, &data);
    }
    if (key.data)
        listing->each(listing->arg, key.data, key.length, data.data, data.length, data.chain);
}

static int read_message(const struct nlmsghdr *header, void *arg)
{
    const struct nlattr *attribute, *element;
    mnl_attr_for_each(attribute, header, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attribute) != NFTA_SET_ELEM_LIST_ELEMENTS)
            continue;
        mnl_attr_for_each_nested(element, attribute)
        {
            read_element(element, arg);
        }
    }
    return MNL_CB_OK;
}

int nft_list(struct nft *nft, const char *map, nft_element *each, void *arg, struct err **err)
{
    struct listing listing = {each, arg};
    struct nl_message message;
    struct nfgenmsg *info =
        nl_begin(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM, NLM_F_DUMP, sizeof *info);
    info->nfgen_family = AF_INET; /* NFPROTO_IPV4 has the same value */
    info->version = NFNETLINK_V0;
    mnl_attr_put_strz(message.header, NFTA_SET_ELEM_LIST_TABLE, nft->table);
    mnl_attr_put_strz(message.header, NFTA_SET_ELEM_LIST_SET, map);
    int failed = nl_call(&nft->nl, &message, read_message, &listing);
    if (failed == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "table %s has no map %s", nft->table, map);
    return failed ? err_errno(err, failed, "listing map %s", map) : 0;
}
