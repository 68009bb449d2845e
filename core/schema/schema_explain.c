/*
 * schema_explain: the text of `explain`: what a kind or field is, and the fields below it. Format as
 * kubectl's.
 */
#include <string.h>

#include "schema/schema_private.h"

#define MAX_RECURSION 16
#define WIDTH 80

const char *schema_type_word(const struct schema_type *type)
{
    static const char *const words[] = {
        [TYPE_ANY] = "Object",    [TYPE_OBJECT] = "Object",  [TYPE_LIST] = "[]",
        [TYPE_MAP] = "map",       [TYPE_STRING] = "string",  [TYPE_INTEGER] = "integer",
        [TYPE_NUMBER] = "number", [TYPE_BOOLEAN] = "boolean"};
    return words[type->kind];
}

/* "[]Container", "map[string]Quantity", "Probe", "string" */
static void add_type_name(struct str *out, const struct schema_type *type)
{
    if (type->kind == TYPE_LIST) {
        str_add(out, "[]");
        add_type_name(out, type->items);
    } else if (type->kind == TYPE_MAP) {
        str_add(out, "map[string]");
        if (type->items)
            add_type_name(out, type->items);
        else
            str_add(out, "Object");
    } else if (type->kind == TYPE_OBJECT && type->name) {
        str_add(out, type->name);
    } else if (type->format == FORMAT_QUANTITY) {
        str_add(out, "Quantity");
    } else if (schema_format_takes_number(type->format)) {
        str_add(out, "IntOrString");
    } else {
        str_add(out, schema_type_word(type));
    }
}

/* Words of text, wrapped, each line after `indent` spaces. */
static void add_wrapped(struct str *out, const char *text, int indent)
{
    int column = 0;
    while (*text) {
        int len = (int)strcspn(text, " ");
        if (column && column + 1 + len > WIDTH - indent) {
            str_add_char(out, '\n');
            column = 0;
        }
        if (column)
            str_addf(out, " %.*s", len, text);
        else
            str_addf(out, "%*s%.*s", indent, "", len, text);
        column += len + (column ? 1 : 0);
        text += len;
        text += *text == ' ';
    }
    str_add_char(out, '\n');
}

static const struct schema_type *object_below(const struct schema_type *type)
{
    while (type && (type->kind == TYPE_LIST || type->kind == TYPE_MAP))
        type = type->items;
    return type && type->kind == TYPE_OBJECT ? type : NULL;
}

static void add_notes(struct str *out, const struct schema_field *field, int indent)
{
    auto_str notes = {0};
    if (field->type->values) {
        str_add(&notes, "One of");
        json_each (value, field->type->values) {
            auto_free char *text = json_print(value);
            str_addf(&notes, "%s %s", value == field->type->values->child ? "" : ",", text);
        }
        str_add_char(&notes, '.');
    }
    if (field->fallback) {
        auto_free char *text = json_print(field->fallback);
        str_addf(&notes, "%sDefault: %s.", notes.len ? " " : "", text);
    }
    if (field->immutable)
        str_addf(&notes, "%sCannot be changed.", notes.len ? " " : "");
    if (field->pending)
        str_addf(&notes, "%sNot yet in effect.", notes.len ? " " : "");
    if (notes.len)
        add_wrapped(out, str_c(&notes), indent);
}

static void add_field_line(struct str *out, const struct schema_field *field, int indent)
{
    str_addf(out, "%*s%s\t<", indent, "", field->name);
    add_type_name(out, field->type);
    str_addf(out, ">%s\n", field->required ? " -required-" : "");
}

static void add_tree(struct str *out, const struct schema_type *type, int depth)
{
    for (size_t i = 0; i < type->n_fields && depth < MAX_RECURSION; i++) {
        const struct schema_field *field = &type->fields[i];
        add_field_line(out, field, 2 + 2 * depth);
        const struct schema_type *below = object_below(field->type);
        if (below)
            add_tree(out, below, depth + 1);
    }
}

static void add_fields(struct str *out, const struct schema_type *type)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct schema_field *field = &type->fields[i];
        add_field_line(out, field, 2);
        const char *description = field->description ? field->description : field->type->description;
        if (description)
            add_wrapped(out, description, 4);
        add_notes(out, field, 4);
        str_add_char(out, '\n');
    }
}

static int unknown_field(const struct schema_type *type, const char *name, struct err **err)
{
    const char **names = mem_array(type->n_fields + 1, sizeof(*names));
    for (size_t i = 0; i < type->n_fields; i++)
        names[i] = type->fields[i].name;
    const char *near = str_nearest(name, names, type->n_fields);
    free(names);
    if (near)
        return err_set(err, ERR_NOT_FOUND, "field \"%s\" does not exist; did you mean \"%s\"?", name, near);
    return err_set(err, ERR_NOT_FOUND, "field \"%s\" does not exist", name);
}

/* The field that path leads to; NULL for the kind itself. -1 if there is none. */
static int find_field(const struct schema_kind *kind, const char *path, const struct schema_field **found,
                      struct err **err)
{
    const struct schema_type *type = kind->root;
    size_t n;
    auto_free char **steps = str_split(path, '.', &n);
    *found = NULL;
    for (size_t i = 0; i < n && *path; i++) {
        steps[i][strcspn(steps[i], "[")] = 0; /* containers[0] is containers */
        const struct schema_field *field = type ? schema_type_field(type, steps[i]) : NULL;
        if (!field)
            return type ? unknown_field(type, steps[i], err)
                        : err_set(err, ERR_NOT_FOUND, "field \"%s\" does not exist", steps[i]);
        *found = field;
        type = object_below(field->type);
    }
    return 0;
}

char *schema_explain(const struct schema_kind *kind, const char *path, bool recursive, struct err **err)
{
    const struct schema_field *field;
    if (find_field(kind, path, &field, err))
        return NULL;
    const struct schema_type *type = field ? object_below(field->type) : kind->root;
    struct str out = {0};
    if (*kind->info.group)
        str_addf(&out, "GROUP:      %s\n", kind->info.group);
    str_addf(&out, "KIND:       %s\nVERSION:    %s\n\n", kind->info.kind, kind->info.version);
    if (field) {
        str_addf(&out, "FIELD: %s <", field->name);
        add_type_name(&out, field->type);
        str_addf(&out, ">%s\n\n", field->required ? " -required-" : "");
    }
    str_add(&out, "DESCRIPTION:\n");
    const char *description = field && field->description ? field->description
                              : type                      ? type->description
                                                          : NULL;
    add_wrapped(&out, description ? description : "<empty>", 4);
    if (field)
        add_notes(&out, field, 4);
    if (type && type->n_fields) {
        str_add(&out, "\nFIELDS:\n");
        if (recursive)
            add_tree(&out, type, 0);
        else
            add_fields(&out, type);
    }
    return str_take(&out);
}
