/*
 * ipam: addresses of one node's pod range, in memory.
 * Does not persist: the agent restores it from its pod files. Invariant: network, gateway and broadcast
 * addresses are never handed out; the search goes on where the last one ended, so that an address rests
 * before it is used again.
 */
#include <arpa/inet.h>

#include "net/net.h"

#define MAX_ADDRESSES 65536u

struct ipam {
    uint32_t first; /* host order */
    uint32_t count, next, used;
    unsigned char taken[];
};

struct ipam *ipam_new(const struct net_cidr *range)
{
    must(range->prefix >= 1 && range->prefix <= 30);
    uint32_t size = 1u << (32 - range->prefix);
    uint32_t network = ntohl(range->address.s_addr) & ~(size - 1);
    uint32_t count = size - 3 < MAX_ADDRESSES ? size - 3 : MAX_ADDRESSES;
    struct ipam *ipam = mem_alloc(sizeof *ipam + count);
    ipam->first = network + 2;
    ipam->count = count;
    return ipam;
}

int ipam_take(struct ipam *ipam, struct in_addr *address, struct err **err)
{
    if (ipam->used == ipam->count)
        return err_set(err, ERR_UNAVAILABLE, "all %u pod addresses of this node are in use", ipam->count);
    while (ipam->taken[ipam->next])
        ipam->next = (ipam->next + 1) % ipam->count;
    ipam->taken[ipam->next] = 1;
    ipam->used++;
    address->s_addr = htonl(ipam->first + ipam->next);
    ipam->next = (ipam->next + 1) % ipam->count;
    return 0;
}

static bool find_index(const struct ipam *ipam, struct in_addr address, uint32_t *index)
{
    *index = ntohl(address.s_addr) - ipam->first; /* wraps to a large number below the range */
    return *index < ipam->count;
}

bool ipam_reserve(struct ipam *ipam, struct in_addr address)
{
    uint32_t index;
    if (!find_index(ipam, address, &index) || ipam->taken[index])
        return false;
    ipam->taken[index] = 1;
    ipam->used++;
    return true;
}

void ipam_release(struct ipam *ipam, struct in_addr address)
{
    uint32_t index;
    if (!find_index(ipam, address, &index) || !ipam->taken[index])
        return;
    ipam->taken[index] = 0;
    ipam->used--;
}

void ipam_free(struct ipam *ipam)
{
    free(ipam);
}
