/* schema_columns: shared by the files with column functions. */
#ifndef M8_SCHEMA_SCHEMA_COLUMNS_H
#define M8_SCHEMA_SCHEMA_COLUMNS_H

#include "schema/schema_private.h"

/* "5m" since an RFC 3339 time, "<unknown>" when there is none; caller frees. */
char *schema_age_text(const char *timestamp, int64_t now_wall_ns);

/* A cell that owns no text: copies it. */
static inline cJSON *cell_text(const char *text)
{
    return cJSON_CreateString(text);
}
/* Takes the builder's text; `empty` if there is none. */
static inline cJSON *cell_from(struct str *text, const char *empty)
{
    cJSON *cell = cJSON_CreateString(text->len ? str_c(text) : empty);
    str_free(text);
    return cell;
}
/* One more item of a list a,b,c. */
static inline void cell_comma(struct str *text, const char *item)
{
    str_addf(text, "%s%s", text->len ? "," : "", item);
}

#endif
