/* schema_test: what the tests of core/schema share: the shipped kinds, objects from text, causes of an error.
 */
#ifndef M8_TEST_UNIT_SCHEMA_SCHEMA_TEST_H
#define M8_TEST_UNIT_SCHEMA_SCHEMA_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "schema/schema.h"

/* JSON with ' for ", so that tests stay readable. */
static inline cJSON *from_text(const char *text)
{
    auto_free char *quoted = mem_strdup(text);
    for (char *p = quoted; *p; p++) {
        if (*p == '\'')
            *p = '"';
    }
    struct err *err = NULL;
    cJSON *json = json_parse(quoted, strlen(quoted), &err);
    if (!json)
        fail_msg("%s in %s", err_message(err), text);
    return json;
}

static inline struct schema *load_kinds(void)
{
    struct err *err = NULL;
    auto_str text = {0};
    auto_free char *data = NULL;
    size_t len = 0;
    if (file_read(MINIK8S_KINDS_JSON, 16 << 20, &data, &len, &err))
        fail_msg("%s", err_message(err));
    auto_json kinds = json_parse(data, len, &err);
    if (!kinds)
        fail_msg("kinds.json: %s", err_message(err));
    struct schema *schema = schema_new();
    if (schema_add_all(schema, kinds, &err))
        fail_msg("%s", err_message(err));
    return schema;
}

static inline int setup_schema(void **state)
{
    json_init();
    *state = load_kinds();
    return 0;
}

static inline int teardown_schema(void **state)
{
    schema_free(*state);
    return 0;
}

static inline const struct schema_kind *kind_of(struct schema *schema, const char *word)
{
    const struct schema_kind *kind = schema_find_word(schema, word);
    if (!kind)
        fail_msg("no kind %s", word);
    return kind;
}

/* "field: message" of every cause, one per line, or the message of an error without causes; "" when fine. */
static inline char *causes_of(struct err *err)
{
    auto_str text = {0};
    for (size_t i = 0; err && i < err->n_causes; i++)
        str_addf(&text, "%s%s: %s", i ? "\n" : "", err->causes[i].field, err->causes[i].message);
    if (err && !err->n_causes)
        str_add(&text, err->message);
    char *copy = mem_strdup(str_c(&text));
    err_free(err);
    return copy;
}

/* Defaults and validates; returns causes_of. */
static inline char *validate(const struct schema_kind *kind, cJSON *object, const cJSON *old)
{
    struct err *err = NULL;
    schema_default(kind, object);
    int result = schema_validate(kind, object, old, false, &err);
    assert_int_equal(result != 0, err != NULL);
    return causes_of(err);
}

/* Validates the object as a change of `old`, NULL: as a new one; returns causes_of. */
static inline char *causes_of_change(void **state, const char *word, const char *old, const char *object)
{
    const struct schema_kind *kind = kind_of(*state, word);
    auto_json before = old ? from_text(old) : NULL;
    if (before)
        schema_default(kind, before);
    auto_json json = from_text(object);
    return validate(kind, json, before);
}

/* They are these, all of them; "": the object is fine. */
static inline void expect_causes(void **state, const char *word, const char *old, const char *object,
                                 const char *wanted)
{
    auto_free char *causes = causes_of_change(state, word, old, object);
    assert_string_equal(causes, wanted);
}

/* This is among them; "": the object is fine. */
static inline void expect_cause(void **state, const char *word, const char *old, const char *object,
                                const char *wanted)
{
    auto_free char *causes = causes_of_change(state, word, old, object);
    if (*wanted ? strstr(causes, wanted) == NULL : *causes != '\0')
        fail_msg("%s: %s\n   wanted: %s", object, causes, wanted);
}

static inline void assert_json(const cJSON *json, const char *text)
{
    auto_json wanted = from_text(text);
    if (!json_equal(json, wanted)) {
        auto_free char *is = json ? json_print(json) : mem_strdup("(absent)");
        auto_free char *should = json_print(wanted);
        fail_msg("is      %s\nshould be %s", is, should);
    }
}

#endif
