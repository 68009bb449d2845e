/*
 * script_placement_past: the engine's view as text, for a process that comes later: all of it once ("world"),
 * then what changed ("changes") before each decision that is kept. Reading them in order gives a copy that
 * stands where the engine stood (script_journal.h).
 *
 * Invariant: whatever text describes a slot describes it as it is when the text is made, so changes are
 * written before anything else happens to the engine.
 */
#include <string.h>

#include "script/script_placement_private.h"

/* ---- writing ---- */

static void add_amounts(struct str *out, const char *field, const struct amounts *amounts)
{
    size_t count = RESOURCES_MAX;
    while (count && !amounts->of[count - 1])
        count--;
    str_addf(out, ",\"%s\":[", field);
    for (size_t i = 0; i < count; i++)
        str_addf(out, "%s%lld", i ? "," : "", (long long)amounts->of[i]);
    str_add_char(out, ']');
}

static void add_resources(struct str *out, const struct placement *placement)
{
    str_add(out, "\"resources\":[");
    for (size_t i = 0; i < placement->n_resources; i++) {
        str_add(out, i ? "," : "");
        str_add_json(out, placement->resources[i]);
    }
    str_add_char(out, ']');
}

/* Without what pods change. */
static void add_node(struct str *out, const struct placement *placement, size_t at)
{
    const struct node_slot *slot = &placement->slots[at];
    str_addf(out, "{\"slot\":%zu,\"hash\":\"%llx\"", at, slot->hash);
    if (slot->name) {
        str_add(out, ",\"name\":");
        str_add_json(out, slot->name);
    }
    if (slot->view) {
        str_add(out, ",\"view\":");
        json_print_to(out, slot->view);
    }
    add_amounts(out, "allocatable", &slot->allocatable);
}

/* What is taken there is what the pods come to. */
static void add_slot(struct str *out, const struct placement *placement, size_t at)
{
    add_node(out, placement, at);
    str_addf(out, ",\"turn\":%u}", placement->slots[at].turn);
}

void class_text_key(const struct pod_class_text *text, char key[17])
{
    const char *view = class_text_of(text);
    snprintf(key, 17, "%016llx", str_hash(view, strlen(view)));
}

static void add_move(struct str *out, const struct past_writer *writer, const struct pod_class_text *class,
                     const struct peer *peer)
{
    char key[17];
    writer->need(writer->arg, class);
    class_text_key(class, key);
    str_addf(out, "%s[%d,%d,%d,\"%s\"]", str_c(out)[out->len - 1] == '[' ? "" : ",", peer->slot, peer->count,
             peer->leaving, key);
}

void placement_text_world(const struct placement *placement, struct past_writer *writer, struct str *out)
{
    writer->position = journal_position(&placement->journal);
    writer->resources = placement->n_resources;
    str_addf(out, "{\"world\":{\"seed\":\"%llx\",", (unsigned long long)placement->seed);
    add_resources(out, placement);
    str_add(out, ",\"nodes\":[");
    for (size_t i = 0; i < placement->n_slots; i++) {
        str_add(out, i ? "," : "");
        add_slot(out, placement, i);
    }
    str_add(out, "],\"pods\":[");
    map_each (entry, &placement->classes) {
        const struct pod_class *class = entry->value;
        for (size_t i = 0; i < class->n_peers; i++)
            add_move(out, writer, class->text, &class->peers[i]);
    }
    str_add(out, "]}}");
}

/* What the entries from `index` on come to. Moves: one per slot and class. */
struct changes {
    struct map nodes, turns; /* slot as text */
    struct map moves;        /* "slot class" → struct move */
};

struct move {
    struct pod_class_text *class;
    struct peer sum;
};

static void add_entry(struct changes *changes, const struct journal_entry *entry)
{
    char slot[16], key[48], class[17];
    snprintf(slot, sizeof(slot), "%d", entry->slot);
    if (!entry->class) {
        map_set(entry->node ? &changes->nodes : &changes->turns, slot, changes);
        return;
    }
    class_text_key(entry->class, class);
    snprintf(key, sizeof(key), "%d %s", entry->slot, class);
    struct move *move = map_get(&changes->moves, key);
    if (!move) {
        move = NEW(struct move);
        *move = (struct move){.class = entry->class, .sum = {.slot = entry->slot}};
        map_set(&changes->moves, key, move);
    }
    move->sum.count += entry->change;
    move->sum.leaving += entry->leaving;
}

static void add_changes(const struct placement *placement, const struct changes *changes,
                        const struct past_writer *writer, struct str *out)
{
    str_add(out, "{\"changes\":{");
    add_resources(out, placement);
    str_add(out, ",\"nodes\":[");
    map_each (entry, &changes->nodes) {
        str_add(out, entry == changes->nodes.first ? "" : ",");
        add_node(out, placement, strtoul(entry->key, NULL, 10));
        str_add_char(out, '}');
    }
    str_add(out, "],\"pods\":[");
    map_each (entry, &changes->moves) {
        const struct move *move = entry->value;
        if (move->sum.count || move->sum.leaving)
            add_move(out, writer, move->class, &move->sum);
    }
    str_add(out, "],\"turns\":[");
    map_each (entry, &changes->turns) {
        size_t slot = strtoul(entry->key, NULL, 10);
        str_addf(out, "%s[%zu,%u]", entry == changes->turns.first ? "" : ",", slot,
                 placement->slots[slot].turn);
    }
    str_add(out, "]}}");
}

bool placement_text_changes(const struct placement *placement, struct past_writer *writer, struct str *out)
{
    const struct journal *journal = &placement->journal;
    struct changes changes = {0};
    if (writer->position < journal->base)
        return false;
    map_init(&changes.moves, free);
    for (size_t i = (size_t)(writer->position - journal->base); i < journal->count; i++)
        add_entry(&changes, &journal->entries[journal->first + i]);
    if (changes.nodes.count || changes.moves.count || changes.turns.count ||
        writer->resources != placement->n_resources)
        add_changes(placement, &changes, writer, out);
    writer->position = journal_position(journal);
    writer->resources = placement->n_resources;
    map_fini(&changes.nodes);
    map_fini(&changes.turns);
    map_fini(&changes.moves);
    return true;
}

void class_text_print(const struct pod_class_text *text, struct str *out)
{
    char key[17];
    class_text_key(text, key);
    str_addf(out, "{\"class\":\"%s\",\"view\":%s", key, class_text_of(text));
    add_amounts(out, "requests", class_text_requests(text));
    str_add_char(out, '}');
}

/* ---- reading ---- */

static void read_amounts(struct amounts *amounts, const cJSON *array)
{
    size_t i = 0;
    *amounts = (struct amounts){0};
    json_each (number, array)
        if (i < RESOURCES_MAX)
            amounts->of[i++] = json_int(number, "", 0);
}

struct pod_class_text *class_text_read(const cJSON *json)
{
    auto_free char *view = json_get(json, "view") ? json_print(json_get(json, "view")) : NULL;
    struct amounts requests;
    if (!view || !cJSON_IsArray(json_get(json, "requests")))
        return NULL;
    read_amounts(&requests, json_get(json, "requests"));
    return class_text_new(view, &requests);
}

static void read_resources(struct placement *past, const cJSON *resources)
{
    json_each (name, resources)
        if (cJSON_IsString(name))
            view_resource(past, name->valuestring);
}

/* The place of this number, made if there is none; NULL: not one of a text of ours. */
static struct node_slot *slot_at(struct placement *past, const cJSON *number)
{
    double at = cJSON_IsNumber(number) ? number->valuedouble : -1;
    if (at < 0 || at > (double)past->n_slots)
        return NULL;
    if ((size_t)at == past->n_slots) {
        past->slots = mem_resize(past->slots, past->n_slots + 1, sizeof(*past->slots));
        past->slots[past->n_slots++] = (struct node_slot){.revision = 1, .view_ref = LUA_NOREF};
    }
    return &past->slots[(size_t)at];
}

static bool read_node(struct placement *past, const cJSON *json)
{
    struct node_slot *slot = slot_at(past, json_get(json, "slot"));
    if (!slot)
        return false;
    const char *name = json_string(json, "name");
    const cJSON *view = json_get(json, "view");
    past->n_nodes += (name != NULL) - (slot->name != NULL);
    free(slot->name);
    cJSON_Delete(slot->view);
    slot->name = name ? mem_strdup(name) : NULL;
    slot->view = view ? json_copy(view) : NULL;
    slot->hash = strtoull(json_string_or(json, "hash", "0"), NULL, 16);
    slot->turn = (uint32_t)json_int(json, "turn", slot->turn);
    read_amounts(&slot->allocatable, json_get(json, "allocatable"));
    if (slot->view)
        near_node_changed(past, (int)(slot - past->slots));
    slot_moved(past, (int)(slot - past->slots));
    return true;
}

static bool read_move(struct placement *past, const cJSON *move, const struct map *classes)
{
    const cJSON *slot = move ? move->child : NULL, *count = slot ? slot->next : NULL,
                *leaving = count ? count->next : NULL, *key = leaving ? leaving->next : NULL;
    struct pod_class_text *text = cJSON_IsString(key) ? map_get(classes, key->valuestring) : NULL;
    if (!text || !cJSON_IsNumber(count) || !cJSON_IsNumber(leaving) || !slot_at(past, slot))
        return false;
    count_class(past, class_by_text(past, text), (int)slot->valuedouble, (int)count->valuedouble,
                (int)leaving->valuedouble);
    return true;
}

static bool read_turn(struct placement *past, const cJSON *turn)
{
    const cJSON *number = turn ? turn->child : NULL;
    struct node_slot *slot = slot_at(past, number);
    if (!slot || !cJSON_IsNumber(number->next))
        return false;
    slot->turn = (uint32_t)number->next->valuedouble;
    slot_moved(past, (int)(slot - past->slots));
    return true;
}

bool placement_past_change(struct placement *past, const cJSON *changes, const struct map *classes)
{
    bool whole = true;
    read_resources(past, json_get(changes, "resources"));
    json_each (node, json_get(changes, "nodes"))
        whole = whole && read_node(past, node);
    json_each (move, json_get(changes, "pods"))
        whole = whole && read_move(past, move, classes);
    json_each (turn, json_get(changes, "turns"))
        whole = whole && read_turn(past, turn);
    return whole;
}

struct placement *placement_past(const cJSON *world, const struct map *classes, const struct placement *like,
                                 struct policies *policies)
{
    uint64_t seed = strtoull(json_string_or(world, "seed", "0"), NULL, 16);
    struct placement *past = placement_new(like->cache, policies, seed);
    if (placement_past_change(past, world, classes)) /* all of it is new to an empty one */
        return past;
    placement_free(past);
    return NULL;
}
