/*
 * services_internal: the elements that a Service port stands for, and the difference between two sets of
 * them. Private to services*.c.
 */
#ifndef M8_NET_SERVICES_INTERNAL_H
#define M8_NET_SERVICES_INTERNAL_H

#include "net/net_internal.h"

enum element_map { ELEMENT_SERVICES, ELEMENT_ENDPOINTS, ELEMENT_STICKY, ELEMENT_MAPS };

/* One element of one of the three maps; every byte is set, so that memcmp orders them. */
struct element {
    uint32_t map;
    uint32_t address; /* network order */
    uint16_t port;    /* host order */
    uint16_t protocol;
    uint32_t slot;      /* a mark; 0 in ELEMENT_SERVICES */
    uint32_t data;      /* a mark, or the endpoint's address */
    uint32_t data_port; /* the endpoint's port, or 0 */
};
#define ELEMENT_KEY_BYTES offsetof(struct element, data)

struct elements {
    struct element *at;
    size_t count, capacity;
};
void elements_add(struct elements *elements, const struct element *element);
void elements_sort(struct elements *elements);
void elements_free(struct elements *elements);
#define auto_elements __attribute__((cleanup(elements_free))) struct elements

/* Text of what turns `from` into `to` (both sorted): deletions and additions apart, one command per map each.
 */
struct element_delta {
    struct str deleted[ELEMENT_MAPS], added[ELEMENT_MAPS];
    bool any;
};
void element_delta_add(struct element_delta *delta, const struct elements *from, const struct elements *to);
void element_delta_render(const struct element_delta *delta, const char *table, struct str *out);
void element_delta_free(struct element_delta *delta);
/* All elements of the three maps as the kernel has them, sorted. */
int elements_list(struct elements *elements, struct nft *nft, struct err **err);

#endif
