/*
 * services_pick: the chains that pick an endpoint, one per distinct (balance, count, affinity, lane), made on
 * demand. Does not know Services. Invariants: a pick's mark never changes while it is in the kernel; a
 * referenced pick is in the kernel after every transaction that succeeded; unreferenced ones stay until the
 * next resync (they cost nothing, and counts come back).
 */
#include <stdio.h>
#include <string.h>

#include "net/net_internal.h"

/* Round robin counts per chain. Ports that share a chain disturb each other's order (two that are called in
 * turn would each see every second number only), so each gets a chain of its own as long as there are lanes.
 */
#define LANES 64
#define LAST_MARK (MARK_STICKY - 1)

static const char *const balance_names[] = {
    [NET_BALANCE_RANDOM] = "random", [NET_BALANCE_ROUND_ROBIN] = "inc", [NET_BALANCE_SOURCE_HASH] = "hash"};

void picks_init(struct picks *picks)
{
    map_init(&picks->by_name, free);
    picks->last_mark = MARK_BASE;
}

void picks_fini(struct picks *picks)
{
    map_fini(&picks->by_name);
}

static void name_pick(struct pick *pick)
{
    snprintf(pick->name, sizeof pick->name, "pick_%s_%u_%u_%u", balance_names[pick->balance], pick->count,
             pick->affinity_seconds, pick->lane);
}

static bool parse_name(const char *name, struct pick *pick)
{
    char balance[16];
    *pick = (struct pick){0};
    if (sscanf(name, "pick_%15[a-z]_%u_%u_%u", balance, &pick->count, &pick->affinity_seconds, &pick->lane) !=
        4)
        return false;
    for (unsigned i = 0; i < COUNT_OF(balance_names); i++) {
        if (!str_eq(balance, balance_names[i]))
            continue;
        pick->balance = i;
        name_pick(pick);
        return str_eq(pick->name, name);
    }
    return false;
}

static bool mark_taken(const struct picks *picks, uint32_t mark)
{
    map_each (entry, &picks->by_name) {
        if (((struct pick *)entry->value)->mark == mark)
            return true;
    }
    return false;
}

static uint32_t free_mark(struct picks *picks)
{
    do
        picks->last_mark = picks->last_mark >= LAST_MARK ? MARK_BASE + 1 : picks->last_mark + 1;
    while (mark_taken(picks, picks->last_mark));
    return picks->last_mark;
}

struct pick *picks_take(struct picks *picks, const struct net_service_port *port)
{
    struct pick wanted = {.balance = port->balance, .count = (unsigned)port->n_endpoints};
    struct pick *best = NULL;
    unsigned best_lane = 0;
    unsigned lanes = port->balance == NET_BALANCE_ROUND_ROBIN && port->n_endpoints > 1 ? LANES : 1;
    wanted.affinity_seconds = port->affinity_seconds;
    if (port->n_endpoints == 1)
        wanted.balance = NET_BALANCE_RANDOM;
    for (wanted.lane = 0; wanted.lane < lanes; wanted.lane++) {
        name_pick(&wanted);
        struct pick *found = map_get(&picks->by_name, wanted.name);
        if (!found || found->refs == 0) {
            best = found;
            best_lane = wanted.lane;
            break;
        }
        if (!best || found->refs < best->refs) {
            best = found;
            best_lane = wanted.lane;
        }
    }
    if (!best) {
        wanted.lane = best_lane;
        name_pick(&wanted);
        wanted.mark = free_mark(picks);
        best = mem_copy(&wanted, sizeof wanted);
        map_set(&picks->by_name, best->name, best);
    }
    best->refs++;
    return best;
}

void picks_release(struct pick *pick)
{
    if (pick)
        pick->refs--;
}

#define KEY "ip daddr . meta l4proto . th dport"
#define CLIENT "ip saddr . ip daddr . meta l4proto . th dport"

static void add_rule(struct str *out, const char *table, const struct pick *pick, const char *statements)
{
    str_addf(out, "add rule ip %s %s meta l4proto { tcp, udp } %s\n", table, pick->name, statements);
}

static void add_slot(struct str *out, const struct pick *pick)
{
    if (pick->count == 1)
        str_addf(out, "meta mark set 0x%x", MARK_BASE);
    else if (pick->balance == NET_BALANCE_SOURCE_HASH)
        str_addf(out, "meta mark set jhash ip saddr mod %u seed 0x6d38 offset %u", pick->count, MARK_BASE);
    else
        str_addf(out, "meta mark set numgen %s mod %u offset %u", balance_names[pick->balance], pick->count,
                 MARK_BASE);
}

/* A commit may come between the look-up of the pick and this one, so that the slot is gone (fewer endpoints)
 * or the affinity is. Slot 0 exists in both states as long as there is an endpoint: without this, one
 * connection in a thousand was refused while endpoints changed. */
static void add_fallback(struct str *out, const char *table, const struct pick *pick)
{
    auto_str rule = {0};
    str_addf(&rule, "meta mark set 0x%x dnat ip to " KEY " . meta mark map @endpoints", MARK_BASE);
    add_rule(out, table, pick, str_c(&rule));
}

static void render_plain(struct str *out, const char *table, const struct pick *pick)
{
    auto_str rule = {0};
    add_slot(&rule, pick);
    str_add(&rule, " dnat ip to " KEY " . meta mark map @endpoints");
    add_rule(out, table, pick, str_c(&rule));
    add_fallback(out, table, pick);
}

/* A client keeps the endpoint (not the slot: slots move) that it got last, as long as that one is there. */
static void render_affinity(struct str *out, const char *table, const struct pick *pick)
{
    auto_str rule = {0};
    str_addf(&rule,
             "meta mark set " CLIENT " map @affinity update @affinity { " CLIENT " timeout %us : meta mark }",
             pick->affinity_seconds);
    add_rule(out, table, pick, str_c(&rule));
    add_rule(out, table, pick, "dnat ip to " KEY " . meta mark map @endpoints");
    str_clear(&rule);
    add_slot(&rule, pick);
    str_add(&rule, " meta mark set " KEY " . meta mark map @sticky");
    add_rule(out, table, pick, str_c(&rule));
    if (pick->count > 1) {
        str_addf(out,
                 "add rule ip %s %s meta mark and 0xff800000 == 0x%x meta l4proto { tcp, udp } "
                 "meta mark set 0x%x meta mark set " KEY " . meta mark map @sticky\n",
                 table, pick->name, MARK_BASE, MARK_BASE);
    }
    /* An update of an element that exists keeps its old data, hence the delete. */
    add_rule(out, table, pick, "delete @affinity { " CLIENT " : meta mark }");
    str_clear(&rule);
    str_addf(&rule, "add @affinity { " CLIENT " timeout %us : meta mark }", pick->affinity_seconds);
    add_rule(out, table, pick, str_c(&rule));
    add_rule(out, table, pick, "dnat ip to " KEY " . meta mark map @endpoints");
    add_fallback(out, table, pick);
}

static void render_chain(struct str *out, const char *table, const struct pick *pick)
{
    str_addf(out, "add chain ip %s %s\nflush chain ip %s %s\n", table, pick->name, table, pick->name);
    if (pick->affinity_seconds)
        render_affinity(out, table, pick);
    else
        render_plain(out, table, pick);
}

static void render_jump(struct str *out, const char *table, const struct pick *pick)
{
    str_addf(out, "add element ip %s picks { 0x%x : jump %s }\n", table, pick->mark, pick->name);
}

void picks_render_new(struct picks *picks, const char *table, struct str *out)
{
    map_each (entry, &picks->by_name) {
        struct pick *pick = entry->value;
        if (!pick->refs || pick->in_kernel)
            continue;
        render_chain(out, table, pick);
        render_jump(out, table, pick);
    }
}

void picks_sent(struct picks *picks)
{
    map_each (entry, &picks->by_name) {
        struct pick *pick = entry->value;
        if (pick->refs)
            pick->in_kernel = true;
    }
}

struct kernel_picks {
    struct picks *picks;
    struct map found; /* chain name → mark */
};

static void read_pick(void *arg, const unsigned char *key, size_t key_len, const unsigned char *data UNUSED,
                      size_t data_len UNUSED, const char *chain)
{
    struct kernel_picks *kernel = arg;
    uint32_t mark;
    if (key_len != sizeof mark || !chain)
        return;
    memcpy(&mark, key, sizeof mark);
    map_set(&kernel->found, chain, (void *)(uintptr_t)mark);
}

/* Unused chains go; the used ones are written again, so that a newer program's rules replace an older one's.
 */
static void reconcile_pick(struct picks *picks, const char *table, const char *name, uint32_t mark,
                           struct str *before, struct str *after)
{
    struct pick parsed;
    struct pick *pick = map_get(&picks->by_name, name);
    if (pick && pick->refs) {
        pick->mark = mark;
        pick->in_kernel = true;
        render_chain(before, table, pick);
        return;
    }
    str_addf(after, "delete element ip %s picks { 0x%x }\n", table, mark);
    if (parse_name(name, &parsed))
        str_addf(after, "delete chain ip %s %s\n", table, name);
}

int picks_resync(struct picks *picks, struct nft *nft, struct str *before, struct str *after,
                 struct err **err)
{
    struct kernel_picks kernel = {.picks = picks};
    map_init(&kernel.found, NULL);
    if (nft_list(nft, "picks", read_pick, &kernel, err) < 0) {
        map_fini(&kernel.found);
        return -1;
    }
    map_each (entry, &picks->by_name) {
        struct pick *pick = entry->value;
        pick->in_kernel = false;
        pick->mark = 0;
        if (!pick->refs)
            map_remove(&picks->by_name, pick->name);
    }
    picks->last_mark = MARK_BASE;
    map_each (entry, &kernel.found) {
        uint32_t mark = (uint32_t)(uintptr_t)entry->value;
        reconcile_pick(picks, nft_table(nft), entry->key, mark, before, after);
        picks->last_mark = mark > picks->last_mark && mark < MARK_STICKY ? mark : picks->last_mark;
    }
    map_each (entry, &picks->by_name) {
        struct pick *pick = entry->value;
        if (!pick->mark)
            pick->mark = free_mark(picks);
    }
    map_fini(&kernel.found);
    picks_render_new(picks, nft_table(nft), before);
    return 0;
}
