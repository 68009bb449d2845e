/*
 * script_record: see the header. Does not: decide, or take a decision again (script_trial.c).
 *
 * Invariant: bytes is the sum over the ring; a decision is counted once, with the share of the inputs that is
 * its own.
 */
#include "script/script_record.h"

#include <string.h>
#include <strings.h>

#include "base/time.h"
#include "script/script_journal.h"
#include "script/script_policies.h"

/* ---- who decided ---- */

struct record_source *record_source_new(const char *name, const char *hash, const char *source, size_t len)
{
    struct record_source *text = NEW(struct record_source);
    text->refs = 1;
    text->name = mem_strdup(name);
    text->source = mem_strndup(source, len);
    text->len = len;
    snprintf(text->hash, sizeof(text->hash), "%s", hash);
    return text;
}

struct record_source *record_source_ref(struct record_source *source)
{
    source->refs++;
    return source;
}

void record_source_unref(struct record_source *source)
{
    if (!source || --source->refs)
        return;
    free(source->name);
    free(source->source);
    free(source);
}

struct record_list *record_list_new(const struct policy_point *point, size_t room)
{
    static _Atomic(unsigned long long) number; /* sessions of the REPL have records of their own */
    struct record_list *list = NEW(struct record_list);
    list->refs = 1;
    list->number = ++number;
    list->point = point;
    list->entries = mem_array(room + 1, sizeof(*list->entries));
    return list;
}

struct record_list *record_list_of(const struct policy_point *point, const struct policy_list *list,
                                   uint64_t left_out)
{
    struct record_list *copy = record_list_new(point, list->count);
    for (size_t i = 0; i < list->count; i++) {
        if (i < 64 && left_out >> i & 1)
            continue;
        copy->entries[copy->count++] =
            (struct record_entry){.source = record_source_ref(list->items[i].version->text),
                                  .settings = json_copy(list->items[i].settings),
                                  .weight = list->items[i].weight};
    }
    return copy;
}

struct record_list *record_list_ref(struct record_list *list)
{
    list->refs++;
    return list;
}

void record_list_unref(struct record_list *list)
{
    if (!list || --list->refs)
        return;
    for (size_t i = 0; i < list->count; i++) {
        record_source_unref(list->entries[i].source);
        cJSON_Delete(list->entries[i].settings);
    }
    free(list->entries);
    free(list);
}

char *record_list_text(const struct record_list *list)
{
    auto_str text = {0};
    for (size_t i = 0; list && i < list->count; i++)
        str_addf(&text, "%s%s@%.8s", i ? "," : "", list->entries[i].source->name,
                 list->entries[i].source->hash);
    return str_take(&text);
}

struct record_segment *record_segment_new(const char *path)
{
    struct record_segment *segment = NEW(struct record_segment);
    segment->refs = 1;
    segment->path = mem_strdup(path);
    return segment;
}

struct record_segment *record_segment_ref(struct record_segment *segment)
{
    segment->refs++;
    return segment;
}

void record_segment_unref(struct record_segment *segment)
{
    if (!segment || --segment->refs)
        return;
    free(segment->path);
    free(segment);
}

/* ---- the ring ---- */

void decision_free(struct decision *decision)
{
    if (!decision)
        return;
    for (size_t i = 0; i < RECORD_LISTS; i++)
        record_list_unref(decision->lists[i]);
    char *const texts[] = {decision->object, decision->ctx,     decision->candidates, decision->states,
                           decision->result, decision->reasons, decision->failure,    decision->uid,
                           decision->node,   decision->agent};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        free(texts[i]);
    for (size_t i = 0; i < decision->n_shadows; i++) {
        free(decision->shadows[i].who);
        free(decision->shadows[i].result);
    }
    class_text_unref(decision->class);
    record_segment_unref(decision->segment);
    free(decision);
}

void record_init(struct record *record, size_t most, size_t most_bytes)
{
    *record = (struct record){.most = most, .most_bytes = most_bytes, .next_seq = 1};
}

void record_fini(struct record *record)
{
    for (size_t i = 0; i < record->count; i++)
        decision_free(record_at(record, i));
    free(record->ring);
    *record = (struct record){0};
}

struct decision *record_at(const struct record *record, size_t index)
{
    return record->ring[(record->first + index) % record->most];
}

struct decision *record_find(const struct record *record, uint64_t seq)
{
    uint64_t oldest = record->next_seq - record->count;
    return seq >= oldest && seq < record->next_seq ? record_at(record, seq - oldest) : NULL;
}

static size_t text_bytes(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static size_t decision_bytes(const struct decision *decision)
{
    size_t shadows = 0;
    for (size_t i = 0; i < decision->n_shadows; i++)
        shadows += text_bytes(decision->shadows[i].who) + text_bytes(decision->shadows[i].result);
    return sizeof(*decision) + shadows + text_bytes(decision->object) + text_bytes(decision->ctx) +
           text_bytes(decision->candidates) + text_bytes(decision->states) + text_bytes(decision->result) +
           text_bytes(decision->reasons) + text_bytes(decision->failure) + text_bytes(decision->uid) +
           text_bytes(decision->node) + text_bytes(decision->agent) +
           (decision->uid && !decision->segment ? JOURNAL_BYTES_PER_DECISION : 0);
}

static void forget_oldest(struct record *record)
{
    struct decision *oldest = record_at(record, 0);
    record->bytes -= oldest->bytes;
    record->first = (record->first + 1) % record->most;
    record->count--;
    record->forgotten++;
    decision_free(oldest);
}

void record_add(struct record *record, struct decision *decision)
{
    if (!record->ring)
        record->ring = mem_array(record->most, sizeof(struct decision *));
    decision->bytes = decision_bytes(decision);
    decision->seq = record->next_seq++;
    bool full = false;
    while (record->count &&
           (record->count == record->most || record->bytes + decision->bytes > record->most_bytes)) {
        forget_oldest(record);
        full = true;
    }
    record->ring[(record->first + record->count++) % record->most] = decision;
    record->bytes += decision->bytes;
    if (record->on_added)
        record->on_added(record->keeper, decision);
    for (size_t i = 0; full && record->on_forgotten && i < record->count; i++) {
        if (!record_at(record, i)->uid || record_at(record, i)->segment)
            continue;
        record->on_forgotten(record->arg, record_at(record, i)->journal);
        break;
    }
}

struct decision *record_take(struct record *record)
{
    if (!record->count)
        return NULL;
    struct decision *newest = record_at(record, --record->count);
    record->bytes -= newest->bytes;
    record->next_seq--;
    return newest;
}

bool decision_about(const struct decision *decision, const char *kind, const char *object)
{
    size_t len = object ? strlen(object) : 0;
    if (kind && decision->kind && strcasecmp(kind, decision->kind) != 0)
        return false;
    if (!object || str_eq(decision->object, object))
        return true;
    if (len && object[len - 1] == '/') /* all of a namespace */
        return str_starts(decision->object, object);
    return strchr(object, '/') && str_starts(decision->object, object) && decision->object[len] == '/';
}

/* ---- words ---- */

static void add_json(cJSON *to, const char *field, const char *text)
{
    if (text)
        json_set(to, field, json_parse_trusted(text, strlen(text)));
}

static void add_settings(cJSON *to, const struct decision *decision)
{
    cJSON *all = json_set(to, "settings", cJSON_CreateObject());
    for (size_t l = 0; l < RECORD_LISTS; l++)
        for (size_t i = 0; decision->lists[l] && i < decision->lists[l]->count; i++)
            json_set(all, decision->lists[l]->entries[i].source->name,
                     json_copy(decision->lists[l]->entries[i].settings));
}

/* The first one beside the decision's own fields, and all as a list. */
static void add_shadows(cJSON *json, const struct decision *decision)
{
    if (!decision->n_shadows)
        return;
    const struct decision_shadow *first = &decision->shadows[0];
    json_set_string(json, "shadow", first->who);
    add_json(json, "shadowResult", first->result);
    json_set_bool(json, "shadowDiffers", first->differs);
    cJSON *all = json_set(json, "shadows", cJSON_CreateArray());
    for (size_t i = 0; i < decision->n_shadows; i++) {
        cJSON *one = json_push(all, cJSON_CreateObject());
        json_set_string(one, "by", decision->shadows[i].who);
        add_json(one, "result", decision->shadows[i].result);
        json_set_bool(one, "differs", decision->shadows[i].differs);
    }
}

cJSON *decision_json(const struct decision *decision, bool with_inputs)
{
    cJSON *json = cJSON_CreateObject();
    char at[TIME_TEXT];
    auto_str by = {0};
    time_print_micro(decision->at_ns, at);
    for (size_t i = 0; i < RECORD_LISTS; i++) {
        auto_free char *text = record_list_text(decision->lists[i]);
        str_addf(&by, "%s%s", by.len && *text ? "," : "", text);
    }
    json_set_int(json, "seq", (int64_t)decision->seq);
    json_set_string(json, "time", at);
    json_set_int(json, "revision", (int64_t)decision->revision);
    json_set_string(json, "point", decision->point);
    json_set_string(json, "kind", decision->kind);
    json_set_string(json, "object", decision->object);
    json_set_string(json, "by", str_c(&by));
    json_set_string(json, "node", decision->node);
    add_json(json, "result", decision->result);
    add_json(json, "reasons", decision->reasons);
    json_set_string(json, "failure", decision->failure);
    json_set_int(json, "cpuMicros", decision->cpu_us);
    add_shadows(json, decision);
    if (!with_inputs)
        return json;
    auto_free char *seed = mem_printf("%016llx", (unsigned long long)decision->seed);
    json_set_string(json, "seed", seed);
    add_json(json, "ctx", decision->class ? class_text_of(decision->class) : decision->ctx);
    add_json(json, "candidates", decision->candidates);
    add_json(json, "states", decision->states);
    add_settings(json, decision);
    return json;
}
