/*
 * services_element: elements of the Service maps: their order, the difference of two sets as nftables text,
 * and reading the kernel's. Pure but for elements_list.
 */
#include <netinet/in.h>
#include <string.h>

#include "net/services_internal.h"

static const char *const map_names[ELEMENT_MAPS] = {"services", "endpoints", "sticky"};

void elements_add(struct elements *elements, const struct element *element)
{
    if (elements->count == elements->capacity) {
        elements->capacity = elements->capacity ? elements->capacity * 2 : 16;
        elements->at = mem_resize(elements->at, elements->capacity, sizeof *elements->at);
    }
    elements->at[elements->count++] = *element;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct element));
}

void elements_sort(struct elements *elements)
{
    if (elements->count > 1)
        qsort(elements->at, elements->count, sizeof *elements->at, compare);
}

void elements_free(struct elements *elements)
{
    free(elements->at);
    *elements = (struct elements){0};
}

static void add_address(struct str *out, uint32_t address)
{
    const unsigned char *byte = (const unsigned char *)&address;
    str_addf(out, "%u.%u.%u.%u", byte[0], byte[1], byte[2], byte[3]);
}

static void add_key(struct str *out, const struct element *element)
{
    str_add(out, out->len ? ", " : "");
    add_address(out, element->address);
    str_addf(out, " . %s . %u", element->protocol == IPPROTO_UDP ? "udp" : "tcp", element->port);
    if (element->map != ELEMENT_SERVICES)
        str_addf(out, " . 0x%x", element->slot);
}

static void add_element(struct str *out, const struct element *element)
{
    add_key(out, element);
    str_add(out, " : ");
    if (element->map == ELEMENT_ENDPOINTS) {
        add_address(out, element->data);
        str_addf(out, " . %u", element->data_port);
    } else {
        str_addf(out, "0x%x", element->data);
    }
}

void element_delta_add(struct element_delta *delta, const struct elements *from, const struct elements *to)
{
    size_t old = 0, new = 0;
    while (old < from->count || new < to->count) {
        int order = old == from->count ? 1 : new == to->count ? -1 : compare(&from->at[old], &to->at[new]);
        if (order == 0) {
            old++;
            new ++;
            continue;
        }
        delta->any = true;
        if (order < 0) {
            add_key(&delta->deleted[from->at[old].map], &from->at[old]);
            old++;
        } else {
            add_element(&delta->added[to->at[new].map], &to->at[new]);
            new ++;
        }
    }
}

void element_delta_render(const struct element_delta *delta, const char *table, struct str *out)
{
    for (unsigned i = 0; i < ELEMENT_MAPS; i++) {
        if (delta->deleted[i].len)
            str_addf(out, "delete element ip %s %s { %s }\n", table, map_names[i], delta->deleted[i].data);
    }
    for (unsigned i = 0; i < ELEMENT_MAPS; i++) {
        if (delta->added[i].len)
            str_addf(out, "add element ip %s %s { %s }\n", table, map_names[i], delta->added[i].data);
    }
}

void element_delta_free(struct element_delta *delta)
{
    for (unsigned i = 0; i < ELEMENT_MAPS; i++) {
        str_free(&delta->deleted[i]);
        str_free(&delta->added[i]);
    }
}

struct reading {
    struct elements *elements;
    enum element_map map;
};

static uint16_t read_port(const unsigned char *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* The kernel pads each part of a key to 4 bytes; marks are in host order. */
static void read_element(void *arg, const unsigned char *key, size_t key_len, const unsigned char *data,
                         size_t data_len, const char *chain UNUSED)
{
    const struct reading *reading = arg;
    struct element element = {.map = reading->map};
    bool with_slot = reading->map != ELEMENT_SERVICES;
    if (key_len < (with_slot ? 16u : 12u) || data_len < (reading->map == ELEMENT_ENDPOINTS ? 8u : 4u))
        return;
    memcpy(&element.address, key, 4);
    element.protocol = key[4];
    element.port = read_port(key + 8);
    if (with_slot)
        memcpy(&element.slot, key + 12, 4);
    memcpy(&element.data, data, 4);
    if (reading->map == ELEMENT_ENDPOINTS)
        element.data_port = read_port(data + 4);
    elements_add(reading->elements, &element);
}

int elements_list(struct elements *elements, struct nft *nft, struct err **err)
{
    for (unsigned i = 0; i < ELEMENT_MAPS; i++) {
        struct reading reading = {elements, i};
        if (nft_list(nft, map_names[i], read_element, &reading, err) < 0)
            return -1;
    }
    elements_sort(elements);
    return 0;
}
