/*
 * script_record_text: recorded decisions as JSON texts, one object each without a line break: as they lie in
 * the manager's files and as agents send theirs. What decisions share (sources, lists of who was asked, texts
 * of pods) is a text of its own that comes before the first one that names it, by a key that is unique where
 * they lie together. One thread per reader.
 */
#ifndef M8_SCRIPT_RECORD_TEXT_H
#define M8_SCRIPT_RECORD_TEXT_H

#include "script/script_record.h"

struct policies;

/* {"hash", "name", "source"} */
void record_text_source(const struct record_source *source, struct str *out);
/* {"list": key, "point", "entries": [{"name", "hash", "weight", "settings"}]} */
void record_text_list(const struct record_list *list, struct str *out);
/* {"decision": seq, …, "lists": [keys], "class": class_text_key}. */
void record_text_decision(const struct decision *decision, struct str *out);
void record_text_list_key(const struct record_list *list, char key[24]);

struct record_reader {
    const struct policies *policies; /* knows the points, and sources that need not come along */
    struct map sources, lists;       /* "name@hash", key → refs */
    struct map classes;              /* key → refs of class texts */
};
void record_reader_init(struct record_reader *reader, const struct policies *policies);
void record_reader_fini(struct record_reader *reader);
/* All of them take any JSON; what is not a text of that kind is left out. */
void record_read_source(struct record_reader *reader, const cJSON *json);
void record_read_list(struct record_reader *reader, const cJSON *json);
/* Of class_text_print. */
void record_read_class(struct record_reader *reader, const cJSON *json);
/* Caller owns. NULL: it is none, or its point is not known here. One with a class has no segment yet. */
struct decision *record_read_decision(struct record_reader *reader, const cJSON *json);

#endif
