/*
 * script_placement_journal: see script_journal.h.
 *
 * Invariant: undoing the entries of a journal from the last to position p, on a copy of the engine as it is,
 * gives the counts and node views that the engine had at p. Trials that are put back at once (preemption) are
 * entries like any other.
 */
#include <string.h>

#include "script/script_placement_private.h"
#include "script/script_trial.h"

struct pod_class_text {
    unsigned refs;
    struct amounts requests;
    char *view;
};

struct journal_node {
    char *name;
    cJSON *view;
    struct amounts allocatable;
};

/* ---- classes by their text ---- */

struct pod_class_text *class_text_new(const char *view, const struct amounts *requests)
{
    struct pod_class_text *text = NEW(struct pod_class_text);
    text->refs = 1;
    text->requests = *requests;
    text->view = mem_strdup(view);
    return text;
}

const char *class_text_of(const struct pod_class_text *text)
{
    return text->view;
}

const struct amounts *class_text_requests(const struct pod_class_text *text)
{
    return &text->requests;
}

struct pod_class_text *class_text_ref(struct pod_class_text *text)
{
    text->refs++;
    return text;
}

void class_text_unref(struct pod_class_text *text)
{
    if (!text || --text->refs)
        return;
    free(text->view);
    free(text);
}

/* ---- the journal ---- */

static void node_free(struct journal_node *node)
{
    if (!node)
        return;
    free(node->name);
    cJSON_Delete(node->view);
    free(node);
}

static void entry_fini(struct journal_entry *entry)
{
    class_text_unref(entry->class);
    node_free(entry->node);
}

void journal_fini(struct journal *journal)
{
    for (size_t i = 0; i < journal->count; i++)
        entry_fini(&journal->entries[journal->first + i]);
    free(journal->entries);
    *journal = (struct journal){0};
}

uint64_t journal_position(const struct journal *journal)
{
    return journal->base + journal->count;
}

void journal_forget(struct journal *journal, uint64_t position)
{
    while (journal->count && journal->base < position) {
        journal->nodes -= journal->entries[journal->first].node != NULL;
        entry_fini(&journal->entries[journal->first++]);
        journal->count--;
        journal->base++;
    }
}

/* Room for one more at the end; moves what is kept to the front when half of the room is free. */
static struct journal_entry *add_entry(struct journal *journal)
{
    if (journal->count == JOURNAL_ENTRIES)
        journal_forget(journal, journal->base + JOURNAL_ENTRIES / 4);
    if (journal->first + journal->count == journal->room) {
        if (journal->first > journal->room / 2) {
            memmove(journal->entries, &journal->entries[journal->first],
                    journal->count * sizeof(*journal->entries));
            journal->first = 0;
        } else {
            journal->room = journal->room ? journal->room * 2 : 256;
            journal->entries = mem_resize(journal->entries, journal->room, sizeof(*journal->entries));
        }
    }
    return &journal->entries[journal->first + journal->count++];
}

void journal_count(struct placement *placement, int slot, struct pod_class_text *class, int change,
                   int leaving)
{
    if (!placement->journal.wanted) {
        placement->journal.base++;
        return;
    }
    *add_entry(&placement->journal) = (struct journal_entry){
        .slot = slot, .change = change, .leaving = leaving, .class = class_text_ref(class)};
}

static struct journal_node *node_as_it_is(const struct node_slot *slot)
{
    struct journal_node *node = NEW(struct journal_node);
    node->name = slot->name ? mem_strdup(slot->name) : NULL;
    node->view = slot->view ? json_copy(slot->view) : NULL;
    node->allocatable = slot->allocatable;
    return node;
}

void journal_node(struct placement *placement, int slot)
{
    if (!placement->journal.wanted) {
        placement->journal.base++;
        return;
    }
    struct journal *journal = &placement->journal;
    if (journal->nodes >= JOURNAL_NODES)
        journal_forget(journal, journal->base + journal->count / 4 + 1);
    *add_entry(journal) =
        (struct journal_entry){.slot = slot, .node = node_as_it_is(&placement->slots[slot])};
    journal->nodes++;
}

void journal_turn(struct placement *placement, int slot, uint32_t turn)
{
    if (!placement->journal.wanted) {
        placement->journal.base++;
        return;
    }
    *add_entry(&placement->journal) =
        (struct journal_entry){.slot = slot, .turn = turn, .turn_before = placement->slots[slot].turn};
}

/* ---- the record ---- */

static void on_forgotten(void *arg, uint64_t position)
{
    journal_forget(&((struct placement *)arg)->journal, position);
}

void placement_record(struct placement *placement, struct record *record)
{
    record->on_forgotten = on_forgotten;
    record->arg = placement;
    record->placement = placement;
}

uint64_t placement_journal_position(const struct placement *placement)
{
    return journal_position(&placement->journal);
}

cJSON *placement_result_json(const char *node, double score)
{
    cJSON *json = cJSON_CreateObject();
    if (!node)
        return json;
    json_set_string(json, "node", node);
    json_set(json, "score", cJSON_CreateNumber(score));
    return json;
}

static void record_lists(struct placement *placement, const struct waiting_pod *pod,
                         struct decision *decision)
{
    static const char *const points[RECORD_LISTS] = {POINT_FILTER, POINT_SCORE, POINT_FILTER_NEAR,
                                                     POINT_SCORE_NEAR};
    size_t count = pod->class->near.n_of_slot ? RECORD_LISTS : 2;
    for (size_t i = 0; i < count; i++)
        decision->lists[i] =
            policies_who_decided(placement->policies, policies_point(placement->policies, points[i]),
                                 list_for(placement, pod->class, points[i], placement->fell_back[i / 2]),
                                 placement->fell_back[i / 2] ? 0 : placement->left_out[i]);
}

void record_placement(struct placement *placement, const struct waiting_pod *pod,
                      const struct placement_result *result, double now, int64_t cpu_ns)
{
    struct policies *policies = placement->policies;
    if (!policies->record)
        return;
    placement->journal.wanted = true;
    struct decision *decision = NEW(struct decision);
    auto_json json = placement_result_json(result->node, result->score);
    decision->point = policies_point(policies, POINT_SCORE)->name;
    decision->kind = policies_point(policies, POINT_SCORE)->about;
    decision->object = mem_strdup(pod->key);
    decision->revision = policies->revision;
    decision->at_ns = (int64_t)(now * 1e6) * 1000;
    decision->now = now;
    decision->seed = placement->seed;
    record_lists(placement, pod, decision);
    decision->result = json_print(json);
    decision->failure =
        result->fallback ? mem_strdup("an active policy failed: the shipped ones decided") : NULL;
    decision->cpu_us = (unsigned)(cpu_ns / 1000);
    decision->class = class_text_ref(pod->class->text);
    decision->uid = mem_strdup(pod->uid);
    decision->nominated = pod->nominated;
    decision->n_resources = placement->n_resources;
    decision->journal = placement_journal_position(placement);
    auto_json reasons = cJSON_CreateArray();
    json_push_string(reasons, result->scores ? result->scores : result->message);
    decision->reasons = json_print(reasons);
    static const char *const points[] = {POINT_SCORE, POINT_FILTER, POINT_SCORE_NEAR, POINT_FILTER_NEAR};
    placement->judged = pod->class;
    for (size_t i = 0; policies->shadows.count && i < COUNT_OF(points); i++)
        shadow_decision(policies, points[i], decision);
    placement->judged = NULL;
    record_add(policies->record, decision);
}

/* ---- copies ---- */

struct pod_class *class_by_text(struct placement *copy, struct pod_class_text *text)
{
    struct pod_class *class = map_get(&copy->classes, text->view);
    if (class)
        return class;
    class = class_new(copy, json_parse_trusted(text->view, strlen(text->view)), text->view, &text->requests);
    class->pods = 1; /* stays as long as the copy */
    return class;
}

static void copy_slot(const struct node_slot *from, struct node_slot *to)
{
    to->name = from->name ? mem_strdup(from->name) : NULL;
    to->view = from->view ? json_copy(from->view) : NULL;
    to->allocatable = from->allocatable;
    to->requested = from->requested;
    to->used_ports = from->used_ports ? json_copy(from->used_ports) : NULL;
    to->revision = 1;
    to->turn = from->turn;
    to->hash = from->hash;
    to->view_ref = LUA_NOREF;
}

struct placement *placement_copy(const struct placement *placement, struct policies *policies)
{
    struct placement *copy = placement_new(placement->cache, policies, placement->seed);
    for (size_t i = 0; i < placement->n_resources; i++)
        view_resource(copy, placement->resources[i]);
    copy->slots = mem_array(placement->n_slots + 1, sizeof(*copy->slots));
    copy->n_slots = placement->n_slots;
    copy->n_nodes = placement->n_nodes;
    for (size_t i = 0; i < placement->n_slots; i++)
        copy_slot(&placement->slots[i], &copy->slots[i]);
    map_each (entry, &placement->classes) {
        const struct pod_class *class = entry->value;
        struct pod_class *twin = class_by_text(copy, class->text);
        twin->peers = mem_array(class->n_peers + 1, sizeof(*twin->peers));
        if (class->n_peers)
            memcpy(twin->peers, class->peers, class->n_peers * sizeof(*twin->peers));
        twin->n_peers = class->n_peers;
    }
    return copy;
}

static void slot_of_new_node(struct placement *copy, const struct placement *original)
{
    for (size_t i = copy->n_slots; i < original->n_slots; i++) {
        copy->slots = mem_resize(copy->slots, i + 1, sizeof(*copy->slots));
        copy->slots[i] =
            (struct node_slot){.revision = 1, .hash = original->slots[i].hash, .view_ref = LUA_NOREF};
        copy->n_slots = i + 1;
    }
}

/* The slot becomes `node`, and *was what it has been. */
static void put_node(struct placement *copy, int at, const struct journal_node *node)
{
    struct node_slot *slot = &copy->slots[at];
    copy->n_nodes += (node->name != NULL) - (slot->name != NULL);
    free(slot->name);
    cJSON_Delete(slot->view);
    slot->name = node->name ? mem_strdup(node->name) : NULL;
    slot->view = node->view ? json_copy(node->view) : NULL;
    slot->allocatable = node->allocatable;
    if (slot->view)
        near_node_changed(copy, at);
    slot_moved(copy, at);
}

/* What the node was like after the entry: as the next entry about it says, or as it is now. */
static struct journal_node *node_after(const struct placement *original, size_t index)
{
    const struct journal *journal = &original->journal;
    const struct journal_entry *entry = &journal->entries[journal->first + index];
    for (size_t i = index + 1; i < journal->count; i++) {
        const struct journal_entry *later = &journal->entries[journal->first + i];
        if (later->node && later->slot == entry->slot) {
            struct journal_node *node = NEW(struct journal_node);
            node->name = later->node->name ? mem_strdup(later->node->name) : NULL;
            node->view = later->node->view ? json_copy(later->node->view) : NULL;
            node->allocatable = later->node->allocatable;
            return node;
        }
    }
    return node_as_it_is(&original->slots[entry->slot]);
}

bool placement_travel(struct placement *copy, const struct placement *original, uint64_t from, uint64_t to)
{
    const struct journal *journal = &original->journal;
    if (from == to)
        return true;
    if (from < journal->base || to < journal->base || from > journal_position(journal) ||
        to > journal_position(journal))
        return false;
    slot_of_new_node(copy, original);
    int sign = to < from ? -1 : 1;
    for (uint64_t at = from; at != to; at += (uint64_t)(int64_t)sign) {
        size_t index = (size_t)(at - journal->base) - (sign < 0);
        const struct journal_entry *entry = &journal->entries[journal->first + index];
        if (entry->class) {
            count_class(copy, class_by_text(copy, entry->class), entry->slot, sign * entry->change,
                        sign * entry->leaving);
        } else if (!entry->node) {
            copy->slots[entry->slot].turn = sign < 0 ? entry->turn_before : entry->turn;
            slot_moved(copy, entry->slot);
        } else if (sign < 0) {
            put_node(copy, entry->slot, entry->node);
        } else {
            struct journal_node *after = node_after(original, index);
            put_node(copy, entry->slot, after);
            node_free(after);
        }
    }
    return true;
}

void placement_try(struct placement *copy, struct pod_class_text *class, const char *uid, int nominated,
                   size_t n_resources, struct placement_verdict *verdict)
{
    struct waiting_pod pod = {
        .uid = mem_strdup(uid), .class = class_by_text(copy, class), .slot = -1, .nominated = nominated};
    int top[TOP];
    size_t count;
    if (copy->n_resources != n_resources) { /* policies may walk over all of them */
        copy->n_resources = n_resources;
        for (size_t i = 0; i < copy->n_slots; i++)
            slot_moved(copy, (int)i);
    }
    *verdict = (struct placement_verdict){0};
    int best = choose_slot(copy, &pod, 0, top, &count, &verdict->failed);
    if (best >= 0) {
        verdict->node = copy->slots[best].name;
        verdict->score = slot_score(pod.class, (size_t)best);
    }
    free(pod.uid);
}

bool placement_take_over(struct placement *copy, const struct placement *original)
{
    copy->judge = original->judged;
    return copy->judge != NULL;
}

static int slot_by_name(const struct placement *placement, const char *node)
{
    for (size_t i = 0; i < placement->n_slots; i++)
        if (placement->slots[i].name && str_eq(placement->slots[i].name, node))
            return (int)i;
    return -1;
}

bool placement_refuses(struct placement *copy, struct pod_class_text *class, const char *node)
{
    int slot = slot_by_name(copy, node);
    return slot < 0 || slot_reason(class_by_text(copy, class), (size_t)slot) != NULL;
}

double placement_node_number(const struct placement *placement, const char *node, const char *label)
{
    intptr_t slot = (intptr_t)map_get(&placement->slots_by_name, node);
    const cJSON *view = slot ? placement->slots[slot - 1].view : NULL;
    const char *text = cJSON_GetStringValue(json_get(json_get(view, "labels"), label));
    return text ? strtod(text, NULL) : 0;
}
