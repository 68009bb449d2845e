/*
 * diff: what apply would change, as a unified diff of YAML between what is there and what a dry run makes of
 * it. Exit code 0: nothing, 1: something, more: it went wrong. No diff program is started.
 */
#include <stdio.h>
#include <string.h>

#include "base/yaml.h"
#include "kubectl.h"

#define CONTEXT 3
#define MAX_CELLS (16u << 20) /* of the table; beyond, the whole middle counts as changed */

struct lines {
    char **at;
    size_t count;
};

struct change {
    char mark; /* ' ', '-', '+' */
    const char *text;
};

struct changes {
    struct change *list;
    size_t count;
};

static void add(struct changes *changes, char mark, const char *text)
{
    changes->list = mem_resize(changes->list, changes->count + 1, sizeof(*changes->list));
    changes->list[changes->count++] = (struct change){mark, text};
}

/* Longest common subsequence of what lies between the common beginning and end. */
static void compare_middle(struct changes *out, char **a, size_t n, char **b, size_t m)
{
    size_t width = m + 1;
    bool whole = (n + 1) * width > MAX_CELLS;
    auto_free unsigned *table = whole ? NULL : mem_array((n + 1) * width, sizeof(unsigned));
    for (size_t i = n; !whole && i-- > 0;)
        for (size_t j = m; j-- > 0;) {
            unsigned down = table[(i + 1) * width + j], right = table[i * width + j + 1];
            table[i * width + j] = str_eq(a[i], b[j]) ? table[(i + 1) * width + j + 1] + 1
                                   : down >= right    ? down
                                                      : right;
        }
    size_t i = 0, j = 0;
    while (i < n || j < m) {
        if (!whole && i < n && j < m && str_eq(a[i], b[j])) {
            add(out, ' ', a[i++]);
            j++;
        } else if (i < n && (whole || j == m || table[(i + 1) * width + j] >= table[i * width + j + 1])) {
            add(out, '-', a[i++]);
        } else {
            add(out, '+', b[j++]);
        }
    }
}

static void compare(struct changes *out, const struct lines *a, const struct lines *b)
{
    size_t start = 0, end = 0;
    while (start < a->count && start < b->count && str_eq(a->at[start], b->at[start]))
        add(out, ' ', a->at[start++]);
    while (end < a->count - start && end < b->count - start &&
           str_eq(a->at[a->count - 1 - end], b->at[b->count - 1 - end]))
        end++;
    compare_middle(out, a->at + start, a->count - start - end, b->at + start, b->count - start - end);
    for (size_t i = a->count - end; i < a->count; i++)
        add(out, ' ', a->at[i]);
}

/* True if a changed line is within CONTEXT of line i. */
static bool is_near(const struct changes *c, size_t i)
{
    for (size_t j = i > CONTEXT ? i - CONTEXT : 0; j <= i + CONTEXT && j < c->count; j++)
        if (c->list[j].mark != ' ')
            return true;
    return false;
}

static void print_hunks(const struct changes *c)
{
    size_t old_line = 1, new_line = 1;
    for (size_t i = 0; i < c->count;) {
        if (!is_near(c, i)) {
            old_line++;
            new_line++;
            i++;
            continue;
        }
        size_t end = i, old_count = 0, new_count = 0;
        for (; end < c->count && is_near(c, end); end++) {
            old_count += c->list[end].mark != '+';
            new_count += c->list[end].mark != '-';
        }
        printf("@@ -%zu,%zu +%zu,%zu @@\n", old_count ? old_line : old_line - 1, old_count,
               new_count ? new_line : new_line - 1, new_count);
        for (; i < end; i++)
            printf("%c%s\n", c->list[i].mark, c->list[i].text);
        old_line += old_count;
        new_line += new_count;
    }
}

static char *yaml_of(const cJSON *object)
{
    if (!object)
        return mem_strdup("");
    auto_json shown = json_copy(object);
    cJSON *metadata = json_get(shown, "metadata"), *annotations = json_get(metadata, "annotations");
    json_remove(metadata, "managedFields");
    json_remove(annotations, "kubectl.kubernetes.io/last-applied-configuration");
    if (annotations && !annotations->child)
        json_remove(metadata, "annotations");
    json_sort_keys(shown);
    if (str_eq(json_string(shown, "kind"), "Secret"))
        json_each (value, json_get(shown, "data"))
            json_set_string(json_get(shown, "data"), value->string, "***");
    return yaml_print(shown);
}

static struct lines lines_of(char *text)
{
    struct lines lines = {0};
    lines.at = str_split(text, '\n', &lines.count);
    if (lines.count && !*lines.at[lines.count - 1])
        lines.count--; /* what follows the last line feed */
    return lines;
}

int kubectl_print_diff(const char *before, const char *after, const char *before_name, const char *after_name)
{
    if (str_eq(before, after))
        return 0;
    auto_free char *old_text = mem_strdup(before), *new_text = mem_strdup(after);
    struct lines old_lines = lines_of(old_text), new_lines = lines_of(new_text);
    struct changes changes = {0};
    compare(&changes, &old_lines, &new_lines);
    printf("--- %s\n+++ %s\n", before_name, after_name);
    print_hunks(&changes);
    free(changes.list);
    free(old_lines.at);
    free(new_lines.at);
    return 1;
}

/* 1: they differ, printed. */
static int print_difference(const cJSON *before, const cJSON *after, const char *name)
{
    auto_free char *old_text = yaml_of(before), *new_text = yaml_of(after);
    auto_free char *live = mem_printf("LIVE/%s", name), *merged = mem_printf("MERGED/%s", name);
    return kubectl_print_diff(old_text, new_text, live, merged);
}

static int diff_one(struct kubectl *k, const cJSON *object)
{
    auto_err err = NULL;
    cJSON *before = NULL, *after = NULL;
    k->flags.dry_run = "server";
    int code = 2;
    if (kubectl_apply_object(k, object, &before, &after, &err) < 0) {
        kubectl_fail(err, NULL);
    } else {
        auto_free char *name = mem_printf(
            "%s.%s.%s.%s", json_string_or(object, "apiVersion", ""), json_string_or(object, "kind", ""),
            json_string_or(after, "metadata.namespace", ""), json_string_or(after, "metadata.name", ""));
        for (char *slash = strchr(name, '/'); slash; slash = strchr(slash, '/'))
            *slash = '.';
        code = print_difference(before, after, name);
    }
    cJSON_Delete(before);
    cJSON_Delete(after);
    return code;
}

int verb_diff(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json manifests = kubectl_load_manifests(k, &err);
    if (!manifests) {
        kubectl_refuse(err);
        return 2;
    }
    int code = 0;
    json_each (object, manifests) {
        int one = diff_one(k, object);
        code = one > code ? one : code;
    }
    return code;
}
