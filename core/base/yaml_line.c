/* yaml_line: where in a YAML text a field stands, so that an error found in the parsed object can name the
 * line. */
#include <string.h>
#include <yaml.h>

#include "base/yaml.h"

#define DEPTH_MAX 64

struct finder {
    yaml_parser_t parser;
    yaml_event_t event;
    const char *wanted;
    size_t best; /* length of the longest path met that leads to what is wanted */
    size_t line;
};

static bool next(struct finder *f)
{
    yaml_event_delete(&f->event);
    return yaml_parser_parse(&f->parser, &f->event);
}

static void note(struct finder *f, const char *path)
{
    size_t len = strlen(path);
    bool leads = strncmp(f->wanted, path, len) == 0 && (!f->wanted[len] || strchr(".[", f->wanted[len]));
    if (leads && (len > f->best || !f->line)) {
        f->best = len;
        f->line = f->event.start_mark.line + 1;
    }
}

static char *below(const char *path, const char *key)
{
    if (strpbrk(key, "./"))
        return mem_printf("%s['%s']", path, key);
    return mem_printf("%s%s%s", path, *path ? "." : "", key);
}

/* Passes the node whose first event is at hand. False: the text cannot be read further. */
static bool pass(struct finder *f, const char *path, unsigned depth)
{
    yaml_event_type_t type = f->event.type;
    if (depth > DEPTH_MAX)
        return false;
    if (type == YAML_SEQUENCE_START_EVENT) {
        for (size_t i = 0; next(f) && f->event.type != YAML_SEQUENCE_END_EVENT; i++) {
            auto_free char *here = mem_printf("%s[%zu]", path, i);
            note(f, here);
            if (!pass(f, here, depth + 1))
                return false;
        }
        return f->event.type == YAML_SEQUENCE_END_EVENT;
    }
    if (type != YAML_MAPPING_START_EVENT)
        return type == YAML_SCALAR_EVENT || type == YAML_ALIAS_EVENT;
    while (next(f) && f->event.type == YAML_SCALAR_EVENT) {
        auto_free char *here = below(path, (const char *)f->event.data.scalar.value);
        note(f, here);
        if (!next(f) || !pass(f, here, depth + 1))
            return false;
    }
    return f->event.type == YAML_MAPPING_END_EVENT;
}

static bool is_empty(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0 &&
           event->data.scalar.plain_implicit;
}

size_t yaml_line(const char *text, size_t len, size_t document, const char *path)
{
    struct finder f = {.wanted = path};
    if (!yaml_parser_initialize(&f.parser))
        return 0;
    yaml_parser_set_input_string(&f.parser, (const unsigned char *)text, len);
    bool begins = false;
    while (next(&f) && f.event.type != YAML_STREAM_END_EVENT) {
        bool root = begins;
        begins = f.event.type == YAML_DOCUMENT_START_EVENT;
        if (!root || is_empty(&f.event))
            continue;
        if (document == 0)
            f.line = f.event.start_mark.line + 1;
        const char *wanted = f.wanted;
        f.wanted = document == 0 ? wanted : "\n"; /* no path */
        bool passed = pass(&f, "", 0);
        f.wanted = wanted;
        if (!passed || document-- == 0)
            break;
    }
    yaml_event_delete(&f.event);
    yaml_parser_delete(&f.parser);
    return f.line;
}
