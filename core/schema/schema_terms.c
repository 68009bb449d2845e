/*
 * schema_terms: what the store needs to select an object without parsing it (store.h "Terms"), and which
 * fields a field selector may name. Order is of no meaning and repeats are allowed: the store sorts and
 * dedups. Invariant: an indexed or matched field that is absent gives the term with an empty value, so that
 * "=" and "!=" work.
 */
#include <string.h>

#include "schema/schema_private.h"

struct terms {
    struct str text; /* the strings behind each other, each with its 0 */
    size_t count;
};

static void add(struct terms *terms, const char *before, const char *key, const char *value)
{
    str_add(&terms->text, before);
    str_add(&terms->text, key);
    str_add_char(&terms->text, '=');
    str_add(&terms->text, value);
    str_add_char(&terms->text, 0);
    terms->count++;
}

static const cJSON *follow(const cJSON *json, const struct schema_steps *steps)
{
    for (size_t i = 0; json && i < steps->count; i++)
        json = json_get(json, steps->names[i]);
    return json;
}

static void add_field(struct terms *terms, const char *before, const cJSON *object,
                      const struct schema_steps *steps)
{
    const cJSON *value = follow(object, steps);
    if (cJSON_IsString(value)) {
        add(terms, before, steps->text, value->valuestring);
    } else if (cJSON_IsNumber(value) || cJSON_IsBool(value) || cJSON_IsRaw(value)) {
        auto_free char *text = json_print(value);
        add(terms, before, steps->text, text);
    } else {
        add(terms, before, steps->text, "");
    }
}

static void add_references(struct terms *terms, const cJSON *json, const struct schema_reference *reference,
                           size_t step, const cJSON *metadata)
{
    bool last = step + 1 == reference->steps.count;
    if (!json)
        return;
    if (step == reference->steps.count) {
        if (!cJSON_IsString(json) || !*json->valuestring)
            return;
        str_addf(&terms->text, "r:%s/%s/", reference->resource, json_string_or(metadata, "namespace", ""));
        if (reference->beside)
            str_addf(&terms->text, "%s-", json_string_or(metadata, "name", ""));
        str_addf(&terms->text, "%s=", json->valuestring);
        str_add_char(&terms->text, 0);
        terms->count++;
    } else if (strcmp(reference->steps.names[step], "*") != 0) {
        if (!last || !reference->beside || json_get(json, reference->beside))
            add_references(terms, json_get(json, reference->steps.names[step]), reference, step + 1,
                           metadata);
    } else if (cJSON_IsArray(json) || cJSON_IsObject(json)) {
        json_each (item, json)
            add_references(terms, item, reference, step + 1, metadata);
    }
}

char **schema_terms(const struct schema_kind *kind, const cJSON *object, size_t *count)
{
    struct terms terms = {0};
    const cJSON *metadata = json_get(object, "metadata");
    const char *uid = json_string(metadata, "uid");
    if (uid)
        add(&terms, "u:", "", uid);
    if (json_string(metadata, "deletionTimestamp"))
        add(&terms, "d:", "", "");
    json_each (label, json_get(metadata, "labels")) {
        if (cJSON_IsString(label))
            add(&terms, "l:", label->string, label->valuestring);
    }
    json_each (owner, json_get(metadata, "ownerReferences")) {
        const char *owner_uid = json_string(owner, "uid");
        if (owner_uid)
            add(&terms, "o:", "", owner_uid);
    }
    for (size_t i = 0; i < kind->n_indexed; i++)
        add_field(&terms, "f:", object, &kind->indexed[i]);
    for (size_t i = 0; i < kind->n_matched; i++)
        add_field(&terms, "F:", object, &kind->matched[i]);
    const char *node = kind->node ? json_string(object, kind->node) : NULL;
    if (!str_empty(node))
        add(&terms, "f:", "spec.nodeName", node);
    for (size_t i = 0; i < kind->n_references; i++)
        add_references(&terms, object, &kind->references[i], 0, metadata);

    size_t head = (terms.count + 1) * sizeof(char *);
    char **array = mem_alloc(head + terms.text.len + 1);
    char *text = (char *)array + head;
    if (terms.text.len)
        memcpy(text, terms.text.data, terms.text.len);
    for (size_t i = 0; i < terms.count; i++) {
        array[i] = text;
        text += strlen(text) + 1;
    }
    *count = terms.count;
    str_free(&terms.text);
    return array;
}

bool schema_field_selectable(const struct schema_kind *kind, const char *path)
{
    if (strcmp(path, "metadata.name") == 0 || strcmp(path, "metadata.namespace") == 0)
        return true;
    for (size_t i = 0; i < kind->n_indexed; i++) {
        if (strcmp(kind->indexed[i].text, path) == 0)
            return true;
    }
    for (size_t i = 0; i < kind->n_matched; i++) {
        if (strcmp(kind->matched[i].text, path) == 0)
            return true;
    }
    return false;
}
