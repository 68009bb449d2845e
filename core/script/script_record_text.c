/*
 * script_record_text: see the header.
 *
 * Invariant: a decision that was read gives the same when it is taken again, or says (past) that it cannot
 * be: it needs the sources of those who decided; one of scheduling also the nodes as they were, of which
 * whoever reads must say where they stand (segment).
 */
#include "script/script_record_text.h"

#include <string.h>

#include "script/script_journal.h"
#include "script/script_policies.h"

/* ---- writing ---- */

static void add_name(struct str *out, const char *field)
{
    str_addf(out, "%s\"%s\":", out->len && out->data[out->len - 1] == '{' ? "" : ",", field);
}

static void add_string(struct str *out, const char *field, const char *value)
{
    if (!value)
        return;
    add_name(out, field);
    str_add_json(out, value);
}

static void add_raw(struct str *out, const char *field, const char *json)
{
    if (!json)
        return;
    add_name(out, field);
    str_add(out, json);
}

void record_text_list_key(const struct record_list *list, char key[24])
{
    snprintf(key, 24, "%llu", list->number);
}

void record_text_source(const struct record_source *source, struct str *out)
{
    str_add_char(out, '{');
    add_string(out, "hash", source->hash);
    add_string(out, "name", source->name);
    add_string(out, "source", source->source);
    str_add_char(out, '}');
}

void record_text_list(const struct record_list *list, struct str *out)
{
    char key[24];
    record_text_list_key(list, key);
    str_add_char(out, '{');
    add_string(out, "list", key);
    add_string(out, "point", list->point->name);
    str_add(out, ",\"entries\":[");
    for (size_t i = 0; i < list->count; i++) {
        const struct record_entry *entry = &list->entries[i];
        str_add(out, i ? ",{" : "{");
        add_string(out, "name", entry->source->name);
        add_string(out, "hash", entry->source->hash);
        str_addf(out, ",\"weight\":%.17g,\"settings\":", entry->weight);
        json_print_to(out, entry->settings);
        str_add_char(out, '}');
    }
    str_add(out, "]}");
}

static void add_lists(struct str *out, const struct decision *decision)
{
    str_add(out, ",\"lists\":[");
    for (size_t i = 0, n = 0; i < RECORD_LISTS; i++) {
        char key[24];
        if (!decision->lists[i])
            continue;
        record_text_list_key(decision->lists[i], key);
        str_addf(out, "%s\"%s\"", n++ ? "," : "", key);
    }
    str_add_char(out, ']');
}

static void add_shadows(struct str *out, const struct decision *decision)
{
    if (decision->n_shadows)
        str_add(out, ",\"shadows\":[");
    for (size_t i = 0; i < decision->n_shadows; i++) {
        str_add(out, i ? ",{" : "{");
        add_string(out, "by", decision->shadows[i].who);
        add_raw(out, "result", decision->shadows[i].result);
        str_add(out, decision->shadows[i].differs ? ",\"differs\":true}" : "}");
    }
    if (decision->n_shadows)
        str_add_char(out, ']');
}

static void add_placement(struct str *out, const struct decision *decision)
{
    char class[17];
    class_text_key(decision->class, class);
    add_string(out, "class", class);
    add_string(out, "uid", decision->uid);
    str_addf(out, ",\"nominated\":%d,\"resources\":%zu", decision->nominated, decision->n_resources);
}

void record_text_decision(const struct decision *decision, struct str *out)
{
    str_addf(
        out,
        "{\"decision\":%llu,\"at\":\"%lld\",\"revision\":%llu,\"seed\":\"%llx\",\"now\":%.17g,\"cpu\":%u",
        (unsigned long long)decision->seq, (long long)decision->at_ns, (unsigned long long)decision->revision,
        (unsigned long long)decision->seed, decision->now, decision->cpu_us);
    add_string(out, "point", decision->point);
    add_string(out, "object", decision->object);
    add_lists(out, decision);
    add_raw(out, "ctx", decision->ctx);
    add_raw(out, "candidates", decision->candidates);
    add_raw(out, "states", decision->states);
    add_raw(out, "result", decision->result);
    add_raw(out, "reasons", decision->reasons);
    add_string(out, "failure", decision->failure);
    if (decision->class)
        add_placement(out, decision);
    add_string(out, "node", decision->node);
    add_string(out, "agent", decision->agent);
    if (decision->node)
        str_addf(out, ",\"nodeSeq\":%llu", (unsigned long long)decision->node_seq);
    add_shadows(out, decision);
    if (decision->past)
        str_add(out, ",\"past\":true");
    str_add_char(out, '}');
}

/* ---- reading ---- */

static void source_free(void *source)
{
    record_source_unref(source);
}

static void list_free(void *list)
{
    record_list_unref(list);
}

static void class_free(void *class)
{
    class_text_unref(class);
}

void record_reader_init(struct record_reader *reader, const struct policies *policies)
{
    *reader = (struct record_reader){.policies = policies};
    map_init(&reader->sources, source_free);
    map_init(&reader->lists, list_free);
    map_init(&reader->classes, class_free);
}

void record_reader_fini(struct record_reader *reader)
{
    map_fini(&reader->sources);
    map_fini(&reader->lists);
    map_fini(&reader->classes);
}

void record_read_source(struct record_reader *reader, const cJSON *json)
{
    const char *name = json_string(json, "name"), *hash = json_string(json, "hash"),
               *source = json_string(json, "source");
    char own[17];
    if (!name || !hash || !source)
        return;
    snprintf(own, sizeof(own), "%016llx", str_hash(source, strlen(source)));
    if (!str_eq(own, hash))
        return;
    auto_free char *key = mem_printf("%s@%s", name, hash);
    if (!map_has(&reader->sources, key))
        map_set(&reader->sources, key, record_source_new(name, hash, source, strlen(source)));
}

/* As it is in use here, else as it was read, else without a text. */
static struct record_source *source_of(struct record_reader *reader, const char *name, const char *hash)
{
    const struct policy *policy = policies_find(reader->policies, name);
    const struct policy_version *version = policies_current(policy);
    if (version && str_eq(version->hash, hash))
        return record_source_ref(version->text);
    if (policy && policy->shipped && str_eq(policy->shipped->hash, hash))
        return record_source_ref(policy->shipped->text);
    auto_free char *key = mem_printf("%s@%s", name, hash);
    struct record_source *source = map_get(&reader->sources, key);
    return source ? record_source_ref(source) : record_source_new(name, hash, "", 0);
}

void record_read_list(struct record_reader *reader, const cJSON *json)
{
    const char *key = json_string(json, "list");
    const struct policy_point *point = policies_point(reader->policies, json_string(json, "point"));
    const cJSON *entries = json_get(json, "entries");
    if (!key || !point || !cJSON_IsArray(entries))
        return;
    struct record_list *list = record_list_new(point, (size_t)cJSON_GetArraySize(entries));
    json_each (entry, entries) {
        const char *name = json_string(entry, "name"), *hash = json_string(entry, "hash");
        const cJSON *weight = json_get(entry, "weight"), *settings = json_get(entry, "settings");
        if (!name || !hash)
            continue;
        list->entries[list->count++] = (struct record_entry){
            .source = source_of(reader, name, hash),
            .settings = cJSON_IsObject(settings) ? json_copy(settings) : cJSON_CreateObject(),
            .weight = cJSON_IsNumber(weight) ? weight->valuedouble : 1};
    }
    map_set(&reader->lists, key, list);
}

void record_read_class(struct record_reader *reader, const cJSON *json)
{
    const char *key = json_string(json, "class");
    struct pod_class_text *class = key ? class_text_read(json) : NULL;
    if (class)
        map_set(&reader->classes, key, class);
}

static char *raw(const cJSON *json, const char *field)
{
    const cJSON *value = json_get(json, field);
    return value ? json_print(value) : NULL;
}

static char *text(const cJSON *json, const char *field)
{
    const char *value = cJSON_GetStringValue(json_get(json, field));
    return value ? mem_strdup(value) : NULL;
}

static bool has_sources(const struct record_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (!list->entries[i].source->len)
            return false;
    return true;
}

static void take_lists(struct record_reader *reader, struct decision *decision, const cJSON *json)
{
    size_t n = 0;
    json_each (key, json_get(json, "lists")) {
        struct record_list *list = cJSON_IsString(key) ? map_get(&reader->lists, key->valuestring) : NULL;
        if (!list || n == RECORD_LISTS) {
            decision->past = true;
            continue;
        }
        decision->past = decision->past || !has_sources(list);
        decision->lists[n++] = record_list_ref(list);
    }
    decision->past = decision->past || !n;
}

static void take_shadows(struct decision *decision, const cJSON *shadows)
{
    json_each (shadow, shadows) {
        if (decision->n_shadows == SHADOWS_MAX)
            return;
        decision->shadows[decision->n_shadows++] =
            (struct decision_shadow){.who = mem_strdup(json_string_or(shadow, "by", "")),
                                     .result = raw(shadow, "result"),
                                     .differs = json_bool(shadow, "differs", false)};
    }
}

static void take_placement(struct record_reader *reader, struct decision *decision, const cJSON *json)
{
    struct pod_class_text *class = map_get(&reader->classes, json_string(json, "class"));
    if (!class || !json_string(json, "uid")) {
        decision->past = true;
        return;
    }
    decision->uid = text(json, "uid");
    decision->nominated = (int)json_int(json, "nominated", -1);
    decision->n_resources = (size_t)json_int(json, "resources", 0);
    decision->class = class_text_ref(class);
}

struct decision *record_read_decision(struct record_reader *reader, const cJSON *json)
{
    const struct policy_point *point = policies_point(reader->policies, json_string(json, "point"));
    const cJSON *now = json_get(json, "now");
    if (!point || !json_get(json, "decision"))
        return NULL;
    struct decision *decision = NEW(struct decision);
    decision->point = point->name;
    decision->kind = point->about;
    decision->object = mem_strdup(json_string_or(json, "object", ""));
    decision->at_ns = strtoll(json_string_or(json, "at", "0"), NULL, 10);
    decision->revision = (uint64_t)json_int(json, "revision", 0);
    decision->seed = strtoull(json_string_or(json, "seed", "0"), NULL, 16);
    decision->now = cJSON_IsNumber(now) ? now->valuedouble : 0;
    decision->cpu_us = (unsigned)json_int(json, "cpu", 0);
    decision->past = json_bool(json, "past", false);
    take_lists(reader, decision, json);
    decision->ctx = raw(json, "ctx");
    if (json_string(json, "class"))
        take_placement(reader, decision, json);
    decision->candidates = raw(json, "candidates");
    decision->states = raw(json, "states");
    decision->result = raw(json, "result");
    decision->reasons = raw(json, "reasons");
    decision->failure = text(json, "failure");
    decision->node = text(json, "node");
    decision->agent = text(json, "agent");
    decision->node_seq = (uint64_t)json_int(json, "nodeSeq", 0);
    take_shadows(decision, json_get(json, "shadows"));
    return decision;
}
