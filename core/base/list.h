/* list: intrusive doubly linked list; a node lives inside the element. An element is on at most one list per
 * node. */
#ifndef M8_BASE_LIST_H
#define M8_BASE_LIST_H

#include "base/mem.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline bool list_linked(const struct list *node)
{
    return node->next && node->next != node;
}
static inline void list_add_tail(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}
static inline void list_add_head(struct list *head, struct list *node)
{
    list_add_tail(head->next, node);
}
static inline void list_remove(struct list *node) /* harmless on a node that is initialised and on no list */
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
#define list_first(head, type, member) (list_empty(head) ? NULL : CONTAINER_OF((head)->next, type, member))
#define list_each(item, head, member)                                                                        \
    for (item = CONTAINER_OF((head)->next, __typeof__(*item), member); &item->member != (head);              \
         item = CONTAINER_OF(item->member.next, __typeof__(*item), member))
/* the body may remove `item` */
#define list_each_safe(item, following, head, member)                                                        \
    for (item = CONTAINER_OF((head)->next, __typeof__(*item), member),                                       \
        following = CONTAINER_OF(item->member.next, __typeof__(*item), member);                              \
         &item->member != (head);                                                                            \
         item = following, following = CONTAINER_OF(following->member.next, __typeof__(*item), member))

#endif
