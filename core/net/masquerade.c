/*
 * masquerade: one table that lets a private range out through this namespace's addresses.
 * For the single-VM cluster; a node's own pods are served by nft_base.c. Does not turn forwarding on.
 */
#include <string.h>

#include "net/net_internal.h"

static int run_once(const char *table, const struct str *text, struct err **err)
{
    struct nft *nft = nft_new(table, err);
    int result = nft ? nft_run(nft, str_c(text), err) : -1;
    nft_free(nft);
    return result;
}

static void render_empty(struct str *text, const char *table)
{
    /* add before delete: deleting what is not there would fail */
    str_addf(text, "add table ip %s\ndelete table ip %s\n", table, table);
}

int net_masquerade(const char *table, const struct net_cidr *source, const char *except, struct err **err)
{
    auto_str text = {0};
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &source->address, address, sizeof address);
    render_empty(&text, table);
    str_addf(&text, "add table ip %s\n", table);
    str_addf(&text, "add chain ip %s postrouting { type nat hook postrouting priority 100; }\n", table);
    str_addf(&text, "add rule ip %s postrouting ip saddr %s/%u oifname != \"%s\" masquerade\n", table,
             address, source->prefix, except);
    return run_once(table, &text, err);
}

int net_masquerade_delete(const char *table, struct err **err)
{
    auto_str text = {0};
    render_empty(&text, table);
    return run_once(table, &text, err);
}
