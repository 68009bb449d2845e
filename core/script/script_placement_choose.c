/*
 * script_placement_choose: from verdicts to a node, and to the words that say why this one, or why none.
 */
#include <string.h>

#include "script/script_placement_private.h"

#define NODES_TEXT 4096 /* of reasons per node; more nodes are counted only */

static unsigned long long mix(unsigned long long a, unsigned long long b)
{
    a ^= b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2);
    a *= 0xbf58476d1ce4e5b9ull;
    return a ^ (a >> 29);
}

/* Better by score; a tie by a hash of seed, pod and node, so that a run repeats under its seed. */
struct candidate {
    double score;
    unsigned long long hash;
};

static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->hash > b->hash);
}

size_t choose_top(const struct placement *placement, const struct waiting_pod *pod, int top[TOP])
{
    unsigned long long salt = mix(placement->seed, str_hash(pod->uid, strlen(pod->uid)));
    struct candidate best[TOP];
    size_t count = 0;
    for (size_t i = 0; i < placement->n_slots; i++) {
        if (!placement->slots[i].name || slot_reason(pod->class, i))
            continue;
        struct candidate candidate = {.score = slot_score(pod->class, i)};
        if (count == TOP && candidate.score < best[TOP - 1].score)
            continue;
        candidate.hash = mix(salt, placement->slots[i].hash);
        if (count == TOP && !better(&candidate, &best[TOP - 1]))
            continue;
        size_t at = count < TOP ? count++ : TOP - 1;
        for (; at > 0 && better(&candidate, &best[at - 1]); at--) {
            best[at] = best[at - 1];
            top[at] = top[at - 1];
        }
        best[at] = candidate;
        top[at] = (int)i;
    }
    return count;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* As users know it: "0/3 nodes are available: 1 Insufficient memory, 2 node(s) were unschedulable." */
char *explain_message(const struct placement *placement, const struct pod_class *class)
{
    auto_str text = {0};
    auto_free const char **reasons = mem_array(placement->n_slots + 1, sizeof(*reasons));
    size_t count = 0;
    for (size_t i = 0; i < placement->n_slots; i++)
        if (placement->slots[i].name && slot_reason(class, i))
            reasons[count++] = slot_reason(class, i);
    qsort(reasons, count, sizeof(*reasons), compare_texts);
    str_addf(&text, "0/%zu nodes are available", placement->n_nodes);
    for (size_t i = 0, from = 0; i < count; i++) {
        if (i + 1 < count && reasons[i + 1] == reasons[i])
            continue;
        str_addf(&text, "%s%zu %s", from ? ", " : ": ", i + 1 - from, reasons[i]);
        from = i + 1;
    }
    str_add_char(&text, '.');
    return str_take(&text);
}

/* "node-1: Insufficient cpu; node-2: …" */
char *explain_nodes(const struct placement *placement, const struct pod_class *class)
{
    auto_str text = {0};
    size_t left = 0;
    for (size_t i = 0; i < placement->n_slots; i++) {
        if (!placement->slots[i].name || !slot_reason(class, i))
            continue;
        if (text.len > NODES_TEXT)
            left++;
        else
            str_addf(&text, "%s%s: %s", text.len ? "; " : "", placement->slots[i].name,
                     slot_reason(class, i));
    }
    if (left)
        str_addf(&text, "; and %zu more nodes", left);
    return str_take(&text);
}

struct policy_list *list_for(const struct placement *placement, const struct pod_class *class,
                             const char *name, bool fallback)
{
    struct policy_point *point = policies_point(placement->policies, name);
    return fallback ? &point->shipped
                    : policies_active_in(point, cJSON_GetStringValue(json_get(class->view, "namespace")));
}

static void add_policies(struct str *text, const struct placement *placement, const struct pod_class *class,
                         const char *point, bool fallback)
{
    auto_free char *list = policies_list_text(list_for(placement, class, point, fallback));
    str_addf(text, "%s%s", text->len && text->data[text->len - 1] != ' ' ? "," : "", list);
}

char *explain_policies(const struct placement *placement, const struct pod_class *class, const int top[TOP],
                       size_t count, bool fallback)
{
    auto_str text = {0};
    bool near = class->near.n_of_slot > 0;
    str_add(&text, "filter ");
    add_policies(&text, placement, class, POINT_FILTER, fallback);
    if (near)
        add_policies(&text, placement, class, POINT_FILTER_NEAR, fallback);
    str_add(&text, "; score ");
    add_policies(&text, placement, class, POINT_SCORE, fallback);
    if (near)
        add_policies(&text, placement, class, POINT_SCORE_NEAR, fallback);
    str_addf(&text, ": %.6g", slot_score(class, (size_t)top[0]));
    if (count > 1)
        str_addf(&text, ", next %.6g", slot_score(class, (size_t)top[1]));
    if (fallback)
        str_add(&text, "; fallback");
    return str_take(&text);
}

static void add_shares(struct str *text, const struct policy_list *list, const float shares[SHARES])
{
    for (size_t i = 0; i < list->count && i < SHARES; i++)
        str_addf(text, "%s%s %.6g", str_c(text)[text->len - 1] == '(' ? "" : " + ",
                 list->items[i].version->name, (double)shares[i]);
}

char *explain_scores(const struct placement *placement, const struct pod_class *class, const int top[TOP],
                     size_t count, bool fallback)
{
    auto_str text = {0};
    for (size_t i = 0; i < count; i++) {
        size_t slot = (size_t)top[i];
        str_addf(&text, "%s%s %.6g (", i ? "; " : "", placement->slots[slot].name, slot_score(class, slot));
        add_shares(&text, list_for(placement, class, POINT_SCORE, fallback), class->shares[slot]);
        if (class->near.n_of_slot)
            add_shares(&text, list_for(placement, class, POINT_SCORE_NEAR, fallback),
                       class->near.of_slot[slot]->shares);
        str_add_char(&text, ')');
    }
    return str_take(&text);
}
