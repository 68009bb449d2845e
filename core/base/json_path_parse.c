/*
 * json_path_parse: the grammar of kubectl's JSONPath templates (kubernetes.io, "JSONPath Support").
 * An expression without any brace is taken as one path ("metadata.name", ".metadata.name"), as custom-columns
 * and
 * --sort-by write it. Invariant: what is returned is complete; each range has its end.
 */
#include <string.h>

#include "base/json_path.h"

struct parser {
    const char *text, *p;
    unsigned nesting;
    struct err **err;
};

static bool refuse(struct parser *parser, const char *problem)
{
    err_set(parser->err, ERR_BAD_REQUEST, "jsonpath \"%.200s\": %s at position %zu", parser->text, problem,
            (size_t)(parser->p - parser->text) + 1);
    return false;
}

static void path_fini(struct path *path);

static void operand_fini(struct path_operand *operand)
{
    path_fini(&operand->path);
    cJSON_Delete(operand->literal);
}

static void path_fini(struct path *path)
{
    for (size_t i = 0; i < path->n_steps; i++) {
        struct path_step *step = &path->steps[i];
        free(step->key);
        for (size_t j = 0; j < step->n_members; j++)
            path_fini(&step->members[j]);
        free(step->members);
        if (step->filter) {
            operand_fini(&step->filter->left);
            operand_fini(&step->filter->right);
            free(step->filter);
        }
    }
    free(path->steps);
}

void path_template_free(struct path_template *template)
{
    if (!template)
        return;
    for (size_t i = 0; i < template->n_items; i++) {
        free(template->items[i].text);
        path_fini(&template->items[i].path);
        path_template_free(template->items[i].body);
    }
    free(template->items);
    free(template);
}

static void skip_space(struct parser *parser)
{
    parser->p += strspn(parser->p, " \t\r\n");
}

static bool take(struct parser *parser, const char *token)
{
    if (!str_starts(parser->p, token))
        return false;
    parser->p += strlen(token);
    return true;
}

static struct path_step *add_step(struct path *path, enum path_kind kind)
{
    path->steps = mem_resize(path->steps, path->n_steps + 1, sizeof(*path->steps));
    struct path_step *step = &path->steps[path->n_steps++];
    *step = (struct path_step){.kind = kind, .step = 1};
    return step;
}

/* At a quote: the text up to the same quote. keep_escapes leaves backslashes in (the text is a path). */
static char *quoted(struct parser *parser, bool keep_escapes)
{
    auto_str text = {0};
    char quote = *parser->p++;
    for (; *parser->p && *parser->p != quote; parser->p++) {
        if (*parser->p != '\\' || !parser->p[1]) {
            str_add_char(&text, *parser->p);
            continue;
        }
        static const char from[] = "nrt", to[] = "\n\r\t";
        if (keep_escapes)
            str_add_char(&text, '\\');
        char c = *++parser->p;
        const char *special = strchr(from, c);
        str_add_char(&text, special && !keep_escapes ? to[special - from] : c);
    }
    if (!*parser->p) {
        refuse(parser, "unterminated quote");
        return NULL;
    }
    parser->p++;
    return str_take(&text);
}

/* A key of the dotted form: backslash takes the next character as it is. Empty if there is none. */
static char *field_name(struct parser *parser)
{
    auto_str name = {0};
    for (; *parser->p && !strchr(" \t\r\n.,[]{}()$@=!<>'\"", *parser->p); parser->p++) {
        if (*parser->p == '\\' && parser->p[1])
            parser->p++;
        str_add_char(&name, *parser->p);
    }
    return str_take(&name);
}

static bool parse_path(struct parser *parser, struct path *path);

/* ['a.b']: kubectl reads the quoted text as a path. The evaluation tries it as one key first. */
static bool quoted_member(struct parser *parser, struct path *member)
{
    auto_free char *text = quoted(parser, true);
    if (!text)
        return false;
    struct parser inner = {.text = text, .p = text, .err = parser->err};
    struct path_step *alternative = add_step(member, PATH_UNION);
    struct path whole = {0};
    auto_str plain = {0};
    for (const char *p = text; *p; p++)
        str_add_char(&plain, *p == '\\' && p[1] ? *++p : *p);
    add_step(&whole, PATH_FIELD)->key = str_take(&plain);
    alternative->members = mem_array(2, sizeof(struct path));
    alternative->single = true; /* the first member that finds something counts */
    alternative->n_members = 2;
    alternative->members[0] = whole;
    while (*inner.p) {
        char *name = field_name(&inner);
        add_step(&alternative->members[1], PATH_FIELD)->key = name;
        if (*inner.p && *inner.p != '.') {
            /* not a dotted path: it is the one key and nothing else */
            path_fini(&alternative->members[1]);
            alternative->members[1] = (struct path){0};
            alternative->n_members = 1;
            return true;
        }
        inner.p += *inner.p == '.';
    }
    return true;
}

static bool number(struct parser *parser, long *value)
{
    char *end;
    if (*parser->p != '-' && (*parser->p < '0' || *parser->p > '9'))
        return false;
    *value = strtol(parser->p, &end, 10);
    if (end == parser->p || *value > INT32_MAX || *value < -INT32_MAX)
        return false;
    parser->p = end;
    return true;
}

static bool slice(struct parser *parser, struct path_step *step)
{
    step->has_begin = number(parser, &step->begin);
    skip_space(parser);
    step->single = step->has_begin && *parser->p != ':';
    if (step->single)
        return true;
    if (!take(parser, ":"))
        return refuse(parser, "expected an index, a slice, '*', a quoted key or a filter");
    skip_space(parser);
    step->has_end = number(parser, &step->end);
    skip_space(parser);
    if (take(parser, ":")) {
        skip_space(parser);
        if (!number(parser, &step->step) || step->step < 1)
            return refuse(parser, "the step must be at least 1");
    }
    return true;
}

static cJSON *literal(struct parser *parser)
{
    static const char *const words[] = {"true", "false", "null"};
    if (*parser->p == '"' || *parser->p == '\'') {
        auto_free char *text = quoted(parser, false);
        return text ? cJSON_CreateString(text) : NULL;
    }
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (take(parser, words[i]))
            return i == 2 ? cJSON_CreateNull() : cJSON_CreateBool(i == 0);
    size_t len = strspn(parser->p, "+-.0123456789eE");
    auto_json value = len ? json_parse(parser->p, len, NULL) : NULL;
    if (!value) {
        refuse(parser, "expected a path or a literal");
        return NULL;
    }
    parser->p += len;
    return steal(&value);
}

static bool operand(struct parser *parser, struct path_operand *operand)
{
    skip_space(parser);
    bool good;
    if (*parser->p == '@' || *parser->p == '$' || *parser->p == '.')
        good = parse_path(parser, &operand->path);
    else
        good = (operand->literal = literal(parser)) != NULL;
    skip_space(parser);
    return good;
}

/* Behind "?(". */
static bool filter(struct parser *parser, struct path_filter *filter)
{
    static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">"};
    if (!operand(parser, &filter->left))
        return false;
    if (take(parser, ")"))
        return true;
    for (size_t i = 0; i < COUNT_OF(operators) && !filter->operator[0]; i++)
        if (take(parser, operators[i]))
            memcpy(filter->operator, operators[i], strlen(operators[i]) + 1);
    if (!filter->operator[0])
        return refuse(parser, "expected ')' or a comparison");
    if (!operand(parser, &filter->right))
        return false;
    return take(parser, ")") || refuse(parser, "expected ')'");
}

static bool bracket_member(struct parser *parser, struct path *member)
{
    skip_space(parser);
    bool good = true;
    if (*parser->p == '\'' || *parser->p == '"') {
        good = quoted_member(parser, member);
    } else if (take(parser, "*")) {
        add_step(member, PATH_WILDCARD);
    } else if (take(parser, "?(")) {
        struct path_filter *condition = NEW(struct path_filter);
        add_step(member, PATH_FILTER)->filter = condition;
        good = filter(parser, condition);
    } else {
        good = slice(parser, add_step(member, PATH_SLICE));
    }
    skip_space(parser);
    return good;
}

/* Behind '['. */
static bool bracket(struct parser *parser, struct path *path)
{
    struct path_step *step = add_step(path, PATH_UNION);
    do {
        step->members = mem_resize(step->members, step->n_members + 1, sizeof(struct path));
        step->members[step->n_members] = (struct path){0};
        if (!bracket_member(parser, &step->members[step->n_members++]))
            return false;
    } while (take(parser, ","));
    return take(parser, "]") || refuse(parser, "expected ']'");
}

static bool dotted(struct parser *parser, struct path *path)
{
    if (*parser->p == '.') {
        parser->p++;
        add_step(path, PATH_RECURSE);
        if (*parser->p == '[')
            return true;
    }
    if (take(parser, "*")) {
        add_step(path, PATH_WILDCARD);
        return true;
    }
    char *name = field_name(parser);
    if (*name) {
        add_step(path, PATH_FIELD)->key = name;
        return true;
    }
    free(name);
    /* "{.}" is the object itself; a recursion needs something to look for */
    return path->n_steps == 0 || *parser->p == '[' || refuse(parser, "expected a field name");
}

static bool parse_path(struct parser *parser, struct path *path)
{
    if (++parser->nesting > PATH_NESTING_MAX)
        return refuse(parser, "nested too deeply");
    bool good = true;
    if (take(parser, "$"))
        path->from_root = true;
    else
        take(parser, "@");
    while (good && *parser->p) {
        if (take(parser, "."))
            good = dotted(parser, path);
        else if (take(parser, "["))
            good = bracket(parser, path);
        else
            break;
    }
    parser->nesting--;
    return good;
}

static struct path_item *add_item(struct path_template *template)
{
    template->items = mem_resize(template->items, template->n_items + 1, sizeof(*template->items));
    struct path_item *item = &template->items[template->n_items++];
    *item = (struct path_item){0};
    return item;
}

static bool take_word(struct parser *parser, const char *word)
{
    size_t len = strlen(word);
    if (!str_starts(parser->p, word) || !strchr(" \t\r\n}", parser->p[len]) || !parser->p[len])
        return false;
    parser->p += len;
    return true;
}

static bool template_body(struct parser *parser, struct path_template *template, bool in_range);

static bool range(struct parser *parser, struct path_template *template)
{
    struct path_item *item = add_item(template);
    item->range = true;
    item->body = NEW(struct path_template);
    if (++parser->nesting > PATH_NESTING_MAX)
        return refuse(parser, "nested too deeply");
    skip_space(parser);
    if (!parse_path(parser, &item->path))
        return false;
    skip_space(parser);
    if (!take(parser, "}"))
        return refuse(parser, "expected '}'");
    if (!template_body(parser, item->body, true))
        return false;
    parser->nesting--;
    return true;
}

/* Behind '{'. *end: it was {end}. */
static bool action(struct parser *parser, struct path_template *template, bool *end)
{
    *end = false;
    for (;;) {
        skip_space(parser);
        if (take(parser, "}"))
            return true;
        if (take_word(parser, "range"))
            return range(parser, template);
        if (take_word(parser, "end")) {
            *end = true;
            skip_space(parser);
            return take(parser, "}") || refuse(parser, "expected '}'");
        }
        if (*parser->p == '"' || *parser->p == '\'') {
            char *text = quoted(parser, false);
            if (!text)
                return false;
            add_item(template)->text = text;
        } else if (*parser->p && strchr(".[$@", *parser->p)) {
            if (!parse_path(parser, &add_item(template)->path))
                return false;
        } else {
            return refuse(parser, *parser->p ? "unexpected character" : "unterminated '{'");
        }
    }
}

static bool template_body(struct parser *parser, struct path_template *template, bool in_range)
{
    bool end;
    for (;;) {
        size_t len = strcspn(parser->p, "{");
        if (len)
            add_item(template)->text = mem_strndup(parser->p, len);
        parser->p += len;
        if (!*parser->p)
            return !in_range || refuse(parser, "range without end");
        parser->p++;
        if (!action(parser, template, &end))
            return false;
        if (end)
            return in_range || refuse(parser, "end without range");
    }
}

struct path_template *path_template_parse(const char *expression, struct err **err)
{
    struct parser parser = {.text = expression, .p = expression, .err = err};
    struct path_template *template = NEW(struct path_template);
    bool good;
    if (strchr(expression, '{')) {
        good = template_body(&parser, template, false);
    } else {
        auto_free char *dotted_form =
            strchr(".[$@", *expression) ? mem_strdup(expression) : mem_printf(".%s", expression);
        parser.text = parser.p = dotted_form;
        good = parse_path(&parser, &add_item(template)->path) &&
               (!*parser.p || refuse(&parser, "unexpected character"));
    }
    if (good)
        return template;
    path_template_free(template);
    return NULL;
}
