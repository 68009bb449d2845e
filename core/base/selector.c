/*
 * selector: matching, LabelSelector objects and printing (selector.h). The query grammar is in
 * selector_parse.c. Semantics of apimachinery labels.Requirement: `!=` and `notin` also match what has no
 * such key, Gt and Lt compare whole integers and match nothing else. Invariant: terms are complete (operator
 * and values fit each other).
 */
#include "base/selector.h"

#include <string.h>

#include "base/selector_internal.h"

void selector_add_term(struct selector *selector, char *key, enum selector_operator operator, char ** values,
                       size_t n_values)
{
    selector->terms = mem_resize(selector->terms, selector->n_terms + 1, sizeof(*selector->terms));
    selector->terms[selector->n_terms++] =
        (struct selector_term){.key = key, .operator= operator, .values = values, .n_values = n_values};
}

void selector_free(struct selector *selector)
{
    if (!selector)
        return;
    for (size_t i = 0; i < selector->n_terms; i++) {
        struct selector_term *term = &selector->terms[i];
        for (size_t j = 0; j < term->n_values; j++)
            free(term->values[j]);
        free(term->values);
        free(term->key);
    }
    free(selector->terms);
    free(selector);
}

static bool has_value(const struct selector_term *term, const char *value)
{
    for (size_t i = 0; i < term->n_values; i++)
        if (strcmp(term->values[i], value) == 0)
            return true;
    return false;
}

static bool term_matches(const struct selector_term *term, const char *value)
{
    long long left, right;
    switch (term->operator) {
    case SELECTOR_IN:
        return value && has_value(term, value);
    case SELECTOR_NOT_IN:
        return !value || !has_value(term, value);
    case SELECTOR_EXISTS:
        return value != NULL;
    case SELECTOR_NOT_EXISTS:
        return value == NULL;
    case SELECTOR_GT:
    case SELECTOR_LT:
        if (!value || str_to_int64(value, &left) < 0 || str_to_int64(term->values[0], &right) < 0)
            return false;
        return term->operator== SELECTOR_GT ? left > right : left<right;
    }
    return false;
}

bool selector_matches(const struct selector *selector, selector_lookup *lookup, void *arg)
{
    for (size_t i = 0; selector && i < selector->n_terms; i++)
        if (!term_matches(&selector->terms[i], lookup(arg, selector->terms[i].key)))
            return false;
    return true;
}

static const char *lookup_label(void *arg, const char *key)
{
    const cJSON *value = json_get(arg, key);
    return cJSON_IsString(value) ? value->valuestring : NULL;
}

bool selector_matches_labels(const struct selector *selector, const cJSON *labels)
{
    return selector_matches(selector, lookup_label, (void *)labels);
}

static void add_equality(struct selector *selector, const char *key, const char *value)
{
    char **values = mem_array(1, sizeof(*values));
    values[0] = mem_strdup(value);
    selector_add_term(selector, mem_strdup(key), SELECTOR_IN, values, 1);
}

struct selector *selector_from_map(const cJSON *map)
{
    struct selector *selector = NEW(struct selector);
    json_each (entry, map) {
        if (cJSON_IsString(entry))
            add_equality(selector, entry->string, entry->valuestring);
    }
    return selector;
}

static int operator_from_name(const char *name, enum selector_operator *operator)
{
    static const struct {
        const char *name;
        enum selector_operator operator;
    } operators[] = {{"In", SELECTOR_IN},         {"NotIn", SELECTOR_NOT_IN},
                     {"Exists", SELECTOR_EXISTS}, {"DoesNotExist", SELECTOR_NOT_EXISTS},
                     {"Gt", SELECTOR_GT},         {"Lt", SELECTOR_LT}};
    for (size_t i = 0; i < COUNT_OF(operators); i++) {
        if (str_eq(name, operators[i].name)) {
            *operator= operators[i].operator;
            return 0;
        }
    }
    return -1;
}

static int check_values(enum selector_operator operator, const cJSON * values, const char *key,
                        struct err **err)
{
    size_t n = 0;
    json_each (value, values) {
        if (!cJSON_IsString(value))
            return err_set(err, ERR_BAD_REQUEST, "selector: values of \"%s\" must be strings", key);
        n++;
    }
    long long number;
    switch (operator) {
    case SELECTOR_IN:
    case SELECTOR_NOT_IN:
        return n ? 0 : err_set(err, ERR_BAD_REQUEST, "selector: In and NotIn of \"%s\" need values", key);
    case SELECTOR_EXISTS:
    case SELECTOR_NOT_EXISTS:
        return n ? err_set(err, ERR_BAD_REQUEST, "selector: Exists and DoesNotExist of \"%s\" take no values",
                           key)
                 : 0;
    default:
        if (n == 1 && str_to_int64(values->child->valuestring, &number) == 0)
            return 0;
        return err_set(err, ERR_BAD_REQUEST, "selector: Gt and Lt of \"%s\" need one integer", key);
    }
}

static int add_expression(struct selector *selector, const cJSON *expression, struct err **err)
{
    const char *key = json_string(expression, "key"), *name = json_string(expression, "operator");
    const char *problem = str_check_label_key(key);
    if (problem)
        return err_set(err, ERR_BAD_REQUEST, "selector: key \"%s\": %s", key ? key : "", problem);
    enum selector_operator operator;
    if (operator_from_name(name, &operator) < 0)
        return err_set(err, ERR_BAD_REQUEST, "selector: \"%s\" is not an operator", name ? name : "");
    const cJSON *values = json_get(expression, "values");
    if (check_values(operator, values, key, err) < 0)
        return -1;
    size_t n = 0;
    char **copies = mem_array((size_t)cJSON_GetArraySize(values), sizeof(*copies));
    json_each (value, values)
        copies[n++] = mem_strdup(value->valuestring);
    selector_add_term(selector, mem_strdup(key), operator, copies, n);
    return 0;
}

struct selector *selector_from_json(const cJSON *label_selector, struct err **err)
{
    const cJSON *labels = json_get(label_selector, "matchLabels");
    const cJSON *expressions = json_get(label_selector, "matchExpressions");
    if (!cJSON_IsObject(labels) && !cJSON_IsArray(expressions))
        return selector_from_map(label_selector);
    auto_selector selector = selector_from_map(labels);
    json_each (expression, expressions) {
        if (add_expression(selector, expression, err) < 0)
            return NULL;
    }
    return steal(&selector);
}

static void print_values(struct str *out, const char *word, const struct selector_term *term)
{
    str_addf(out, "%s %s (", term->key, word);
    for (size_t i = 0; i < term->n_values; i++)
        str_addf(out, "%s%s", i ? "," : "", term->values[i]);
    str_add_char(out, ')');
}

static void print_term(struct str *out, const struct selector_term *term)
{
    switch (term->operator) {
    case SELECTOR_IN:
        if (term->n_values == 1)
            str_addf(out, "%s=%s", term->key, term->values[0]);
        else
            print_values(out, "in", term);
        break;
    case SELECTOR_NOT_IN:
        if (term->n_values == 1)
            str_addf(out, "%s!=%s", term->key, term->values[0]);
        else
            print_values(out, "notin", term);
        break;
    case SELECTOR_EXISTS:
        str_add(out, term->key);
        break;
    case SELECTOR_NOT_EXISTS:
        str_addf(out, "!%s", term->key);
        break;
    case SELECTOR_GT:
    case SELECTOR_LT:
        str_addf(out, "%s%c%s", term->key, term->operator== SELECTOR_GT ? '>' : '<', term->values[0]);
        break;
    }
}

char *selector_print(const struct selector *selector)
{
    struct str out = {0};
    for (size_t i = 0; selector && i < selector->n_terms; i++) {
        if (i)
            str_add_char(&out, ',');
        print_term(&out, &selector->terms[i]);
    }
    return str_take(&out);
}

const char *selector_equality(const struct selector *selector, const char *key)
{
    for (size_t i = 0; selector && i < selector->n_terms; i++) {
        const struct selector_term *term = &selector->terms[i];
        if (term->operator== SELECTOR_IN && term->n_values == 1 && strcmp(term->key, key) == 0)
            return term->values[0];
    }
    return NULL;
}
