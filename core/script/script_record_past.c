/*
 * script_record_past: see the header. Invariant: the engine stands where the last line before `at` left it;
 * NULL: the nodes as a whole have not come yet, or a line was not whole.
 */
#include "script/script_record_past.h"

#include <string.h>

#include "base/file.h"
#include "script/script_journal.h"
#include "script/script_placement.h"

#define FILE_MAX (256u << 20)
#define WORLD "{\"world\":"
#define CHANGES "{\"changes\":"
#define CLASS "{\"class\":"

struct record_past {
    const struct placement *like;
    struct policies *policies;
    struct record_segment *segment; /* that was read, or NULL */
    char *text;
    size_t len, at;
    struct map classes; /* key → class text */
    struct placement *engine;
};

bool record_past_is_world(const char *line)
{
    return str_starts(line, WORLD);
}

bool record_past_is(const char *line)
{
    return record_past_is_world(line) || str_starts(line, CHANGES);
}

static void class_free(void *class)
{
    class_text_unref(class);
}

struct record_past *record_past_new(const struct placement *like, struct policies *policies)
{
    struct record_past *past = NEW(struct record_past);
    past->like = like;
    past->policies = policies;
    map_init(&past->classes, class_free);
    return past;
}

static void drop_engine(struct record_past *past)
{
    placement_free(steal(&past->engine));
}

static void begin(struct record_past *past, struct record_segment *segment)
{
    drop_engine(past);
    map_fini(&past->classes);
    map_init(&past->classes, class_free);
    past->at = 0;
    if (past->segment == segment)
        return;
    free(steal(&past->text));
    past->len = 0;
    record_segment_unref(past->segment);
    past->segment = segment ? record_segment_ref(segment) : NULL;
    if (segment && file_read(segment->path, FILE_MAX, &past->text, &past->len, NULL) < 0)
        past->text = NULL;
}

void record_past_free(struct record_past *past)
{
    if (!past)
        return;
    begin(past, NULL);
    map_fini(&past->classes);
    free(past);
}

static void read_class(struct record_past *past, const cJSON *json)
{
    struct pod_class_text *class = class_text_read(json);
    if (class)
        map_set(&past->classes, json_string_or(json, "class", ""), class);
}

static void follow(struct record_past *past, const char *line, size_t len)
{
    if (!record_past_is(line) && !str_starts(line, CLASS))
        return;
    auto_json json = json_parse_trusted(line, len);
    const cJSON *world = json_get(json, "world");
    if (json_get(json, "class")) {
        read_class(past, json);
    } else if (world) {
        drop_engine(past);
        past->engine = placement_past(world, &past->classes, past->like, past->policies);
    } else if (past->engine &&
               !placement_past_change(past->engine, json_get(json, "changes"), &past->classes)) {
        drop_engine(past);
    }
}

struct placement *record_past_bring(struct record_past *past, const struct decision *decision)
{
    if (past->segment != decision->segment || decision->offset < past->at)
        begin(past, decision->segment);
    while (past->at < decision->offset && past->at < past->len) {
        const char *line = past->text + past->at, *end = memchr(line, '\n', past->len - past->at);
        if (!end)
            return NULL;
        follow(past, line, (size_t)(end - line));
        past->at = (size_t)(end - past->text) + 1;
    }
    return past->at == decision->offset ? past->engine : NULL;
}
