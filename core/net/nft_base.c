/*
 * nft_base: text of the constant part of the node's table: maps, hooks, refusal, hairpin and outgoing
 * translation. Pure. Loading it again replaces the rules in one transaction and leaves the elements of the
 * maps alone.
 *
 * A new flow to a virtual address: `services` gives (address, protocol, port) → mark of a pick; `picks` jumps
 * to that pick's chain, which puts a slot number into the mark and translates by `endpoints`. So the only
 * verdict map has an entry per kind of pick, not per Service: the kernel validates chains again whenever a
 * verdict map changes.
 */
#include "net/net_internal.h"

static void add_range(struct str *out, const char *before, const struct net_cidr *range)
{
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &range->address, text, sizeof text);
    str_addf(out, "%s %s/%u", before, text, range->prefix);
}

static void render_maps(struct str *out, const char *table)
{
    str_addf(out, "add table ip %s\n", table);
    str_addf(out, "add map ip %s services { type ipv4_addr . inet_proto . inet_service : mark; }\n", table);
    str_addf(out,
             "add map ip %s endpoints { type ipv4_addr . inet_proto . inet_service . mark "
             ": ipv4_addr . inet_service; }\n",
             table);
    str_addf(out, "add map ip %s sticky { type ipv4_addr . inet_proto . inet_service . mark : mark; }\n",
             table);
    str_addf(out,
             "add map ip %s affinity { type ipv4_addr . ipv4_addr . inet_proto . inet_service : mark; "
             "flags dynamic,timeout; size 262144; }\n",
             table);
    str_addf(out, "add map ip %s picks { type mark : verdict; }\n", table);
    str_addf(out, "add set ip %s nodes { type ipv4_addr; }\n", table);
}

static void begin_chain(struct str *out, const char *table, const char *name, const char *hook)
{
    str_addf(out, "add chain ip %s %s %s\nflush chain ip %s %s\n", table, name, hook, table, name);
}

static void render_dispatch(struct str *out, const char *table)
{
    begin_chain(out, table, "dispatch", "");
    /* Twice: while an element is replaced, a look-up that began before may find neither the old nor the new
     * one (kernels before 6.17 do not repeat it), and one in a million connections would be refused. */
    for (int i = 0; i < 2; i++)
        str_addf(out,
                 "add rule ip %s dispatch meta l4proto { tcp, udp } "
                 "meta mark set ip daddr . meta l4proto . th dport map @services meta mark vmap @picks\n",
                 table);
    begin_chain(out, table, "prerouting", "{ type nat hook prerouting priority -100; }");
    str_addf(out, "add rule ip %s prerouting jump dispatch\n", table);
    begin_chain(out, table, "output", "{ type nat hook output priority -100; }");
    str_addf(out, "add rule ip %s output jump dispatch\n", table);
    /* Our marks live only until here, on the first packet of a flow. */
    const char *hooks[] = {"prerouting", "output"};
    for (size_t i = 0; i < COUNT_OF(hooks); i++) {
        auto_free char *name = mem_printf("unmark_%s", hooks[i]);
        auto_free char *hook = mem_printf("{ type filter hook %s priority -99; }", hooks[i]);
        begin_chain(out, table, name, hook);
        str_addf(out,
                 "add rule ip %s %s meta mark and 0xff000000 == 0x%x meta mark != 0x%x meta mark set 0\n",
                 table, name, MARK_BASE, MARK_REFUSE);
    }
}

static void render_refusal(struct str *out, const struct net_config *config)
{
    const char *table = config->table;
    begin_chain(out, table, "refuse", "");
    str_addf(out, "add rule ip %s refuse meta l4proto tcp reject with tcp reset\n", table);
    str_addf(out, "add rule ip %s refuse reject with icmp port-unreachable\n", table);
    begin_chain(out, table, "forward", "{ type filter hook forward priority -1; }");
    /* The answer would not come back through this node: the destination is reached by the link that the
     * packet came from (a pod that calls itself, an outsider on the nodes' own network). */
    str_addf(
        out,
        "add rule ip %s forward ct state new ct status dnat fib daddr . iif oif exists meta mark set 0x%x\n",
        table, MARK_HAIRPIN);
    /* The same for whoever came by another link than leads to the pod's node, and for pods of a third node.
     */
    str_addf(out, "add rule ip %s forward ct state new ct status dnat oifname != \"" NET_VXLAN_LINK "\"",
             table);
    add_range(out, " ip saddr !=", &config->pod_range);
    add_range(out, " ip daddr !=", &config->pod_range);
    add_range(out, " ip daddr", &config->cluster_range);
    str_addf(out, " meta mark set 0x%x\n", MARK_HAIRPIN);
    /* Here a virtual address was not translated: no such port, or no endpoint. */
    str_addf(out, "add rule ip %s forward meta mark 0x%x meta mark set 0 jump refuse\n", table, MARK_REFUSE);
    str_addf(out, "add rule ip %s forward", table);
    add_range(out, " ip daddr", &config->service_range);
    str_add(out, " jump refuse\n");
    begin_chain(out, table, "refuse_output", "{ type filter hook output priority -1; }");
    str_addf(out, "add rule ip %s refuse_output meta mark 0x%x meta mark set 0 jump refuse\n", table,
             MARK_REFUSE);
    str_addf(out, "add rule ip %s refuse_output", table);
    add_range(out, " ip daddr", &config->service_range);
    str_add(out, " fib daddr type != local jump refuse\n");
}

/* A port of the node is also at 127.0.0.1, for programs of the node: such a flow leaves with an address that
 * can be answered. route_localnet, which lets it leave to pods (net_pod.c), would let pods reach the node's
 * own loopback: hence the first rule, before anything is translated back. */
static void render_loopback(struct str *out, const char *table)
{
    begin_chain(out, table, "loopback", "{ type filter hook prerouting priority -300; }");
    str_addf(out, "add rule ip %s loopback iif != lo ip daddr 127.0.0.0/8 drop\n", table);
}

static void render_postrouting(struct str *out, const struct net_config *config)
{
    char gateway[INET_ADDRSTRLEN];
    const struct in_addr address = net_gateway(&config->pod_range);
    inet_ntop(AF_INET, &address, gateway, sizeof gateway);
    begin_chain(out, config->table, "postrouting", "{ type nat hook postrouting priority 100; }");
    /* What enters the tunnel comes from this node's range: answers to other addresses would go around the
     * tunnel and this node. */
    str_addf(out, "add rule ip %s postrouting oifname \"" NET_VXLAN_LINK "\"", config->table);
    add_range(out, " ip saddr !=", &config->pod_range);
    str_addf(out, " snat to %s\n", gateway);
    str_addf(out, "add rule ip %s postrouting meta mark 0x%x meta mark set 0 masquerade\n", config->table,
             MARK_HAIRPIN);
    str_addf(out, "add rule ip %s postrouting ip saddr 127.0.0.0/8 oif != lo masquerade\n", config->table);
    str_addf(out, "add rule ip %s postrouting", config->table);
    add_range(out, " ip saddr", &config->pod_range);
    add_range(out, " ip daddr !=", &config->cluster_range);
    str_add(out, " ip daddr != @nodes masquerade\n");
}

void nft_base_render(struct str *out, const struct net_config *config)
{
    render_maps(out, config->table);
    render_dispatch(out, config->table);
    render_refusal(out, config);
    render_loopback(out, config->table);
    render_postrouting(out, config);
}
