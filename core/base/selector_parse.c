/*
 * selector_parse: the query forms of label and field selectors (apimachinery labels.Parse,
 * fields.ParseSelector). labels:  a  !a  a=b  a==b  a!=b  a in (b,c)  a notin (b,c)  a>1  a<1, joined by
 * commas fields:  a=b  a==b  a!=b with \\ before a comma, an equals sign or a backslash in the value Keys and
 * values are checked against the rules for labels; which fields a kind offers, core/api knows.
 */
#include <string.h>

#include "base/selector_internal.h"

struct parser {
    const char *text, *p;
    struct err **err;
};

static int refuse(struct parser *parser, const char *expected)
{
    return err_set(parser->err, ERR_BAD_REQUEST, "selector \"%.200s\": expected %s at position %zu",
                   parser->text, expected, (size_t)(parser->p - parser->text) + 1);
}

static void skip_space(struct parser *parser)
{
    parser->p += strspn(parser->p, " \t\r\n");
}

/* A key or a value: everything up to a special character. Empty if there is none. */
static char *word(struct parser *parser)
{
    skip_space(parser);
    size_t len = strcspn(parser->p, " \t\r\n,()!=<>");
    char *text = mem_strndup(parser->p, len);
    parser->p += len;
    skip_space(parser);
    return text;
}

static bool take(struct parser *parser, const char *token)
{
    if (!str_starts(parser->p, token))
        return false;
    parser->p += strlen(token);
    return true;
}

static int check_value(struct parser *parser, const char *value)
{
    const char *problem = str_check_label_value(value);
    if (!problem)
        return 0;
    return err_set(parser->err, ERR_BAD_REQUEST, "selector \"%.200s\": value \"%.100s\": %s", parser->text,
                   value, problem);
}

static void free_values(char **values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(values[i]);
    free(values);
}

/* "(a,b,c)": takes the closing parenthesis too. */
static int value_list(struct parser *parser, char ***values, size_t *n)
{
    skip_space(parser);
    if (!take(parser, "("))
        return refuse(parser, "'('");
    for (;;) {
        auto_free char *value = word(parser);
        if (check_value(parser, value) < 0)
            return -1;
        *values = mem_resize(*values, *n + 1, sizeof(**values));
        (*values)[(*n)++] = steal(&value);
        if (take(parser, ")"))
            return 0;
        if (!take(parser, ","))
            return refuse(parser, "',' or ')'");
    }
}

static int one_value(struct parser *parser, enum selector_operator operator, char *** values, size_t *n)
{
    auto_free char *value = word(parser);
    long long number;
    bool compares = operator== SELECTOR_GT || operator== SELECTOR_LT;
    if (compares && str_to_int64(value, &number) < 0)
        return refuse(parser, "an integer");
    if (!compares && check_value(parser, value) < 0)
        return -1;
    *values = mem_array(1, sizeof(**values));
    (*values)[0] = steal(&value);
    *n = 1;
    return 0;
}

/* The word operators need a space before them; "in" directly behind a key is part of the key. */
static bool take_word(struct parser *parser, const char *token)
{
    size_t len = strlen(token);
    if (strncmp(parser->p, token, len) != 0 || !parser->p[len] || !strchr(" \t\r\n(", parser->p[len]))
        return false;
    parser->p += len;
    return true;
}

static int parse_operator(struct parser *parser, enum selector_operator *operator, char *** values, size_t *n)
{
    static const struct {
        const char *text;
        enum selector_operator operator;
    } symbols[] = {{"==", SELECTOR_IN},
                   {"=", SELECTOR_IN},
                   {"!=", SELECTOR_NOT_IN},
                   {">", SELECTOR_GT},
                   {"<", SELECTOR_LT}};
    if (!*parser->p || *parser->p == ',') {
        *operator= SELECTOR_EXISTS;
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(symbols); i++) {
        if (take(parser, symbols[i].text)) {
            *operator= symbols[i].operator;
            return one_value(parser, *operator, values, n);
        }
    }
    if (take_word(parser, "in"))
        *operator= SELECTOR_IN;
    else if (take_word(parser, "notin"))
        *operator= SELECTOR_NOT_IN;
    else
        return refuse(parser, "an operator");
    return value_list(parser, values, n);
}

static int parse_term(struct parser *parser, struct selector *selector)
{
    skip_space(parser);
    bool absent = take(parser, "!");
    auto_free char *key = word(parser);
    const char *problem = str_check_label_key(key);
    if (problem)
        return err_set(parser->err, ERR_BAD_REQUEST, "selector \"%.200s\": key \"%.100s\": %s", parser->text,
                       key, problem);
    enum selector_operator operator= SELECTOR_NOT_EXISTS;
    char **values = NULL;
    size_t n = 0;
    if (!absent && parse_operator(parser, &operator, & values, &n) < 0) {
        free_values(values, n);
        return -1;
    }
    selector_add_term(selector, steal(&key), operator, values, n);
    return 0;
}

struct selector *selector_parse(const char *text, struct err **err)
{
    struct parser parser = {.text = text ? text : "", .p = text ? text : "", .err = err};
    auto_selector selector = NEW(struct selector);
    skip_space(&parser);
    while (*parser.p) {
        if (parse_term(&parser, selector) < 0)
            return NULL;
        skip_space(&parser);
        if (!*parser.p)
            break;
        if (!take(&parser, ",")) {
            refuse(&parser, "','");
            return NULL;
        }
        skip_space(&parser);
        if (!*parser.p) {
            refuse(&parser, "a key");
            return NULL;
        }
    }
    return steal(&selector);
}

/* A field's value, with its escapes taken away, up to the comma. */
static char *field_value(struct parser *parser)
{
    struct str value = {0};
    for (; *parser->p && *parser->p != ','; parser->p++) {
        char c = *parser->p;
        if (c == '=' || (c == '\\' && (!parser->p[1] || !strchr("\\,=", parser->p[1])))) {
            str_free(&value);
            refuse(parser, "an escaped character (\\\\ \\, \\=)");
            return NULL;
        }
        if (c == '\\')
            c = *++parser->p;
        str_add_char(&value, c);
    }
    return str_take(&value);
}

struct selector *selector_parse_fields(const char *text, struct err **err)
{
    struct parser parser = {.text = text ? text : "", .p = text ? text : "", .err = err};
    auto_selector selector = NEW(struct selector);
    while (*parser.p) {
        if (take(&parser, ","))
            continue;
        size_t len = strcspn(parser.p, "=!,");
        auto_free char *key = mem_strndup(parser.p, len);
        parser.p += len;
        bool differs = take(&parser, "!=");
        if (len == 0 || (!differs && !take(&parser, "==") && !take(&parser, "="))) {
            refuse(&parser, "field=value or field!=value");
            return NULL;
        }
        char *value = field_value(&parser);
        if (!value)
            return NULL;
        char **values = mem_array(1, sizeof(*values));
        values[0] = value;
        selector_add_term(selector, steal(&key), differs ? SELECTOR_NOT_IN : SELECTOR_IN, values, 1);
    }
    return steal(&selector);
}
