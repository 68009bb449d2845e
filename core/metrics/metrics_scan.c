/*
 * Reading of what metrics.c writes, from anybody: the samples of a page in Prometheus' text form (exposition
 * format 0.0.4; OpenMetrics differs in nothing that is looked at here). Histograms and summaries count by
 * their plain parts (_count, _sum, _bucket). A line that is none is passed over: pages come from strangers.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "metrics/metrics.h"

static const char *word_end(const char *at, const char *end)
{
    while (at < end && (isalnum((unsigned char)*at) || *at == '_' || *at == ':'))
        at++;
    return at;
}

static const char *skip_spaces(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* Behind the closing brace; NULL if there is none. Quoted values may hold anything. */
static const char *skip_labels(const char *at, const char *end)
{
    bool quoted = false;
    for (at++; at < end; at++) {
        if (quoted && *at == '\\')
            at++;
        else if (*at == '"')
            quoted = !quoted;
        else if (*at == '}' && !quoted)
            return at + 1;
    }
    return NULL;
}

/* "# TYPE name counter": remembers the name. */
static void read_comment(struct map *counters, const char *at, const char *end)
{
    at = skip_spaces(at + 1, end);
    if (end - at < 5 || memcmp(at, "TYPE ", 5) != 0)
        return;
    const char *name = skip_spaces(at + 5, end), *name_end = word_end(name, end);
    const char *type = skip_spaces(name_end, end);
    if (name_end == name || end - type < 7 || memcmp(type, "counter", 7) != 0)
        return;
    auto_free char *text = mem_strndup(name, (size_t)(name_end - name));
    map_set(counters, text, counters);
}

static bool is_counter(const struct map *counters, const char *name)
{
    size_t len = strlen(name);
    return map_has(counters, name) || (len > 6 && strcmp(name + len - 6, "_total") == 0);
}

static void read_sample(const struct map *counters, const char *at, const char *end,
                        metrics_on_sample *on_sample, void *arg)
{
    const char *name_end = word_end(at, end);
    if (name_end == at)
        return;
    auto_free char *name = mem_strndup(at, (size_t)(name_end - at));
    auto_free char *labels = NULL;
    const char *rest = skip_spaces(name_end, end);
    if (rest < end && *rest == '{') {
        const char *labels_end = skip_labels(rest, end);
        if (!labels_end)
            return;
        labels = mem_strndup(rest + 1, (size_t)(labels_end - rest - 2));
        rest = labels_end;
    }
    auto_free char *number = mem_strndup(rest, (size_t)(end - rest));
    char *number_end;
    double value = strtod(number, &number_end);
    const struct metrics_sample sample = {name, labels ? labels : "", value, is_counter(counters, name)};
    if (number_end != number && isfinite(value))
        on_sample(arg, &sample);
}

void metrics_scan(const char *text, size_t len, metrics_on_sample *on_sample, void *arg)
{
    auto_map counters = {0};
    const char *end = text + len;
    for (const char *line = text; line < end;) {
        const char *line_end = memchr(line, '\n', (size_t)(end - line));
        if (!line_end)
            line_end = end;
        const char *at = skip_spaces(line, line_end);
        if (at < line_end && *at == '#')
            read_comment(&counters, at, line_end);
        else
            read_sample(&counters, at, line_end, on_sample, arg);
        line = line_end + 1;
    }
}

/* ---- what a sample is about ---- */

/* `at` is behind the opening quote; returns the closing one, or the end of the text. */
static const char *read_quoted(const char *at, struct str *value)
{
    for (; *at && *at != '"'; at++) {
        if (*at == '\\' && at[1])
            at++;
        str_add_char(value, *at == 'n' && at[-1] == '\\' ? '\n' : *at);
    }
    return at;
}

char *metrics_label(const struct metrics_sample *sample, const char *name)
{
    const char *at = sample->labels, *end = at + strlen(at);
    size_t len = strlen(name);
    while (*at) {
        at += strspn(at, " \t,");
        const char *key = at, *key_end = word_end(at, end);
        auto_str value = {0};
        at = skip_spaces(key_end, end);
        if (*at != '=' || *(at = skip_spaces(at + 1, end)) != '"')
            return NULL;
        at = read_quoted(at + 1, &value);
        if ((size_t)(key_end - key) == len && memcmp(key, name, len) == 0)
            return str_take(&value);
        at += *at == '"';
    }
    return NULL;
}

#define RATE_SUFFIX "_per_second"

bool metrics_is_wanted(const struct metrics_sample *sample, const char *wanted)
{
    if (str_eq(sample->name, wanted))
        return true;
    if (!sample->counter || !str_ends(wanted, RATE_SUFFIX))
        return false;
    size_t len = strlen(wanted) - strlen(RATE_SUFFIX);
    return strncmp(sample->name, wanted, len) == 0 &&
           (!sample->name[len] || str_eq(sample->name + len, "_total"));
}
