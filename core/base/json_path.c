/*
 * json_path: evaluates kubectl's JSONPath templates. What is not there prints nothing (kubectl's
 * allow-missing-keys). Does not sort and does not print Go's <nil>: null is printed as null. Invariant: an
 * expression yields at most so many nodes and bytes, so `..` cannot be stacked into a
 * bomb.
 */
#include "base/json_path.h"

#include <string.h>

#define RESULTS_MAX 1000000
#define OUTPUT_MAX (256u << 20)

struct nodes {
    const cJSON **items;
    size_t n, capacity;
};

static void nodes_cleanup(struct nodes *nodes)
{
    free(nodes->items);
}
#define auto_nodes __attribute__((cleanup(nodes_cleanup))) struct nodes

struct evaluation {
    const cJSON *root;
    size_t results, results_max; /* nodes found so far by all steps */
    size_t output_max;
    bool too_many;
};

static void add_node(struct evaluation *evaluation, struct nodes *nodes, const cJSON *json)
{
    if (!json || evaluation->too_many)
        return;
    evaluation->too_many = ++evaluation->results > evaluation->results_max;
    if (nodes->n == nodes->capacity) {
        nodes->capacity = nodes->capacity ? nodes->capacity * 2 : 8;
        nodes->items = mem_resize(nodes->items, nodes->capacity, sizeof(*nodes->items));
    }
    nodes->items[nodes->n++] = json;
}

static void add_descendants(struct evaluation *evaluation, struct nodes *nodes, const cJSON *json)
{
    if (evaluation->too_many)
        return;
    add_node(evaluation, nodes, json);
    json_each (child, json)
        add_descendants(evaluation, nodes, child);
}

static void add_slice(struct evaluation *evaluation, struct nodes *nodes, const cJSON *json,
                      const struct path_step *step)
{
    if (!cJSON_IsArray(json))
        return;
    long size = cJSON_GetArraySize(json), begin = step->has_begin ? step->begin : 0;
    long end = step->has_end ? step->end : size;
    begin += begin < 0 ? size : 0;
    end += end < 0 ? size : 0;
    if (step->single) {
        if (begin >= 0 && begin < size)
            add_node(evaluation, nodes, cJSON_GetArrayItem(json, (int)begin));
        return;
    }
    begin = begin < 0 ? 0 : begin;
    long i = 0;
    json_each (child, json) {
        if (i >= begin && i < end && (i - begin) % step->step == 0)
            add_node(evaluation, nodes, child);
        i++;
    }
}

static void evaluate(struct evaluation *evaluation, const struct path *path, const cJSON *current,
                     struct nodes *result);

/* -1, 0, 1 as strcmp; 2 if the two cannot be ordered. */
static int compare(const cJSON *a, const cJSON *b)
{
    if (json_equal(a, b))
        return 0;
    if (cJSON_IsString(a) && cJSON_IsString(b))
        return strcmp(a->valuestring, b->valuestring) < 0 ? -1 : 1;
    if (json_is_integer(a) && json_is_integer(b))
        return json_int(a, "", 0) < json_int(b, "", 0) ? -1 : 1;
    if ((cJSON_IsNumber(a) || json_is_integer(a)) && (cJSON_IsNumber(b) || json_is_integer(b)))
        return a->valuedouble < b->valuedouble ? -1 : 1;
    return 2;
}

static bool holds(struct evaluation *evaluation, const struct path_filter *filter, const cJSON *item)
{
    auto_nodes left = {0}, right = {0};
    const struct path_operand *operands[] = {&filter->left, &filter->right};
    struct nodes *sides[] = {&left, &right};
    for (size_t i = 0; i < 2; i++) {
        if (operands[i]->literal)
            add_node(evaluation, sides[i], operands[i]->literal);
        else
            evaluate(evaluation, &operands[i]->path, item, sides[i]);
    }
    const char *operator= filter->operator;
    if (!*operator)
        return left.n > 0;
    if (!left.n || !right.n)
        return false;
    int order = compare(left.items[0], right.items[0]);
    if (operator[0] == '=')
        return order == 0;
    if (operator[0] == '!')
        return order != 0;
    if (order == 2)
        return false;
    if (order == 0)
        return operator[1] == '=';
    return operator[0] == '<' ? order < 0 : order> 0;
}

static void apply_step(struct evaluation *evaluation, const struct path_step *step, const cJSON *json,
                       struct nodes *result)
{
    switch (step->kind) {
    case PATH_FIELD:
        add_node(evaluation, result, json_get(json, step->key));
        break;
    case PATH_WILDCARD:
        json_each (child, json)
            add_node(evaluation, result, child);
        break;
    case PATH_RECURSE:
        add_descendants(evaluation, result, json);
        break;
    case PATH_SLICE:
        add_slice(evaluation, result, json, step);
        break;
    case PATH_FILTER:
        json_each (child, json) {
            if (holds(evaluation, step->filter, child))
                add_node(evaluation, result, child);
        }
        break;
    case PATH_UNION:
        for (size_t i = 0, before = result->n; i < step->n_members && !evaluation->too_many; i++) {
            evaluate(evaluation, &step->members[i], json, result);
            if (step->single && result->n > before)
                break;
        }
        break;
    }
}

/* Appends to result. */
static void evaluate(struct evaluation *evaluation, const struct path *path, const cJSON *current,
                     struct nodes *result)
{
    auto_nodes here = {0};
    add_node(evaluation, &here, path->from_root ? evaluation->root : current);
    for (size_t i = 0; i < path->n_steps; i++) {
        struct nodes following = {0};
        for (size_t j = 0; j < here.n && !evaluation->too_many; j++)
            apply_step(evaluation, &path->steps[i], here.items[j], &following);
        nodes_cleanup(&here);
        here = following;
    }
    for (size_t i = 0; i < here.n; i++)
        add_node(evaluation, result, here.items[i]);
}

static void print_template(struct evaluation *evaluation, const struct path_template *template,
                           const cJSON *current, struct str *out)
{
    for (size_t i = 0; i < template->n_items && !evaluation->too_many; i++) {
        const struct path_item *item = &template->items[i];
        if (item->text) {
            str_add(out, item->text);
            continue;
        }
        auto_nodes found = {0};
        evaluate(evaluation, &item->path, current, &found);
        for (size_t j = 0; j < found.n; j++) {
            if (item->range) {
                print_template(evaluation, item->body, found.items[j], out);
                continue;
            }
            if (j)
                str_add_char(out, ' ');
            if (cJSON_IsString(found.items[j]))
                str_add(out, found.items[j]->valuestring);
            else
                json_print_to(out, found.items[j]);
            evaluation->too_many |= out->len > evaluation->output_max;
            if (evaluation->too_many)
                return;
        }
    }
}

int json_path_print_bounded(const cJSON *json, const char *expression, size_t results_max, size_t output_max,
                            struct str *out, struct err **err)
{
    struct path_template *template = path_template_parse(expression, err);
    if (!template)
        return -1;
    struct evaluation evaluation = {.root = json, .results_max = results_max, .output_max = output_max};
    print_template(&evaluation, template, json, out);
    path_template_free(template);
    if (evaluation.too_many)
        return err_set(err, ERR_TOO_LARGE, "jsonpath \"%.200s\": finds too much", expression);
    return 0;
}

int json_path_print(const cJSON *json, const char *expression, struct str *out, struct err **err)
{
    return json_path_print_bounded(json, expression, RESULTS_MAX, OUTPUT_MAX, out, err);
}
