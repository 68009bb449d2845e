/*
 * labelSelector and fieldSelector of a request → store terms for its indexes, and a match for the rest. Works
 * on terms only: selecting never parses an object (contract 8).
 */
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"

static int check_fields(const struct call *call, const struct selector *fields, struct err **err)
{
    for (size_t i = 0; i < fields->n_terms; i++) {
        const char *key = fields->terms[i].key;
        if (!schema_field_selectable(call->kind, key))
            return err_set(err, ERR_BAD_REQUEST, "field label not supported: %s", key);
    }
    return 0;
}

static void add_term(struct selection *selection, char *term)
{
    selection->terms = mem_resize(selection->terms, selection->n_terms + 2, sizeof(char *));
    selection->terms[selection->n_terms++] = term;
    selection->terms[selection->n_terms] = NULL;
}

static bool is_meta(const char *key)
{
    return str_eq(key, "metadata.name") || str_eq(key, "metadata.namespace");
}

/* Only equalities with a value become terms: an absent field equals "" in a selector and has no term. Fields
 * may be indexed ("f:") or only matched ("F:"), which the request cannot know, so they are left to the match,
 * except those that are looked up most. */
static void choose_terms(struct selection *selection)
{
    for (size_t i = 0; selection->labels && i < selection->labels->n_terms; i++) {
        const struct selector_term *term = &selection->labels->terms[i];
        if (term->operator== SELECTOR_IN && term->n_values == 1 && * term->values[0])
            add_term(selection, mem_printf("l:%s=%s", term->key, term->values[0]));
    }
    const char *node = selection->fields ? selector_equality(selection->fields, "spec.nodeName") : NULL;
    if (!str_empty(node))
        add_term(selection, mem_printf("f:spec.nodeName=%s", node));
}

int selection_read(const struct call *call, struct selection *selection, struct err **err)
{
    *selection = (struct selection){0};
    const char *labels = http_request_query(call->request, "labelSelector");
    const char *fields = http_request_query(call->request, "fieldSelector");
    if (!str_empty(labels) && !(selection->labels = selector_parse(labels, err)))
        return -1;
    if (!str_empty(fields)) {
        if (!(selection->fields = selector_parse_fields(fields, err)) ||
            check_fields(call, selection->fields, err) < 0) {
            selection_fini(selection);
            return -1;
        }
        selection->name = selector_equality(selection->fields, "metadata.name");
        selection->namespace = selector_equality(selection->fields, "metadata.namespace");
    }
    choose_terms(selection);
    if (call->identity.node && str_eq(call->info->resource, "pods"))
        add_term(selection, mem_printf("f:spec.nodeName=%s", call->identity.node));
    return 0;
}

static const char *look_up_label(void *arg, const char *key)
{
    const struct store_object *object = arg;
    char prefix[512];
    snprintf(prefix, sizeof(prefix), "l:%s=", key);
    return store_terms_get(object->terms, prefix);
}

struct field_view {
    const struct store_object *object;
    char text[512];
};

static const char *look_up_field(void *arg, const char *key)
{
    struct field_view *view = arg;
    if (is_meta(key)) {
        struct store_key_parts parts;
        if (!store_key_split(view->object->key, &parts))
            return NULL;
        bool name = str_eq(key, "metadata.name");
        snprintf(view->text, sizeof(view->text), "%.*s", (int)(name ? parts.name_len : parts.namespace_len),
                 name ? parts.name : parts.namespace);
        return view->text;
    }
    snprintf(view->text, sizeof(view->text), "f:%s=", key);
    const char *value = store_terms_get(view->object->terms, view->text);
    if (!value) {
        view->text[0] = 'F';
        value = store_terms_get(view->object->terms, view->text);
    }
    return value ? value : "";
}

bool selection_matches(void *arg, const struct store_object *object)
{
    const struct selection *selection = arg;
    if (selection->labels && !selector_matches(selection->labels, look_up_label, (void *)object))
        return false;
    struct field_view view = {object, ""};
    return !selection->fields || selector_matches(selection->fields, look_up_field, &view);
}

void selection_fini(struct selection *selection)
{
    selector_free(selection->labels);
    selector_free(selection->fields);
    for (size_t i = 0; i < selection->n_terms; i++)
        free(selection->terms[i]);
    free(selection->terms);
    *selection = (struct selection){0};
}
