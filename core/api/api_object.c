/*
 * The form in which objects are stored and sent: kind, apiVersion, metadata with resourceVersion first, then
 * the rest. resourceVersion is a gap that the store fills at commit; it comes first so that its place is
 * known without searching.
 */
#include <string.h>

#include "api/api_internal.h"

static void add_member(struct str *out, const cJSON *member)
{
    str_add_json(out, member->string);
    str_add_char(out, ':');
    json_print_to(out, member);
}

static void add_string_member(struct str *out, const char *key, const cJSON *object)
{
    const char *value = json_string(object, key);
    if (!value)
        return;
    if (out->len > 1)
        str_add_char(out, ',');
    str_addf(out, "\"%s\":", key);
    str_add_json(out, value);
}

static void print_meta(const cJSON *meta, struct str *out, size_t *revision_at, bool with_revision)
{
    bool first = true;
    str_add(out, ",\"metadata\":{");
    if (with_revision) {
        str_add(out, "\"resourceVersion\":\"");
        *revision_at = out->len;
        str_add_char(out, '"');
        first = false;
    }
    json_each (member, meta) {
        if (strcmp(member->string, "resourceVersion") == 0)
            continue;
        if (!first)
            str_add_char(out, ',');
        first = false;
        add_member(out, member);
    }
    str_add_char(out, '}');
}

void object_print(const cJSON *object, struct str *out, size_t *revision_at, bool with_revision)
{
    size_t start = out->len;
    must(start == 0);
    str_reserve(out, 2048);
    str_add_char(out, '{');
    add_string_member(out, "kind", object);
    add_string_member(out, "apiVersion", object);
    print_meta(json_get(object, "metadata"), out, revision_at, with_revision);
    json_each (member, object) {
        const char *key = member->string;
        if (strcmp(key, "kind") == 0 || strcmp(key, "apiVersion") == 0 || strcmp(key, "metadata") == 0)
            continue;
        str_add_char(out, ',');
        add_member(out, member);
    }
    str_add_char(out, '}');
}

/* Whether a custom object was written in another version than it is asked for in, and where that stands: kind
 * and apiVersion come first, so it is found without a parse. */
static bool other_version(const struct schema_kind_info *info, const char *text, size_t len, size_t *from,
                          size_t *to)
{
    static const char head[] = "{\"kind\":\"", next[] = "\",\"apiVersion\":\"";
    size_t at = strlen(head) + strlen(info->kind);
    if (!info->custom || len < at + sizeof(next) || memcmp(text + at, next, strlen(next)) != 0)
        return false;
    *from = at + strlen(next);
    const char *end = memchr(text + *from, '"', len - *from);
    if (!end)
        return false;
    *to = (size_t)(end - text);
    return *to - *from != strlen(info->api_version) ||
           memcmp(text + *from, info->api_version, *to - *from) != 0;
}

void object_add_as(struct str *out, const struct schema_kind_info *info, const char *text, size_t len)
{
    size_t from = 0, to = 0;
    if (!other_version(info, text, len, &from, &to)) {
        str_add_n(out, text, len);
        return;
    }
    str_add_n(out, text, from);
    str_add(out, info->api_version);
    str_add_n(out, text + to, len - to);
}

struct bytes *object_bytes_as(const struct schema_kind_info *info, struct bytes *bytes)
{
    size_t from = 0, to = 0;
    if (!other_version(info, bytes->data, bytes->len, &from, &to))
        return bytes_ref(bytes);
    auto_str text = {0};
    object_add_as(&text, info, bytes->data, bytes->len);
    return bytes_from(text.data, text.len);
}

void object_add_partial(struct str *out, const cJSON *object, bool beta)
{
    str_addf(out, "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1%s\",\"metadata\":",
             beta ? "beta1" : "");
    const cJSON *meta = json_get(object, "metadata");
    if (meta)
        json_print_to(out, meta);
    else
        str_add(out, "{}");
    str_add_char(out, '}');
}

cJSON *object_meta(const cJSON *object)
{
    cJSON *meta = json_get(object, "metadata");
    return cJSON_IsObject(meta) ? meta : NULL;
}

bool meta_has_finalizers(const cJSON *object)
{
    const cJSON *finalizers = json_get(object_meta(object), "finalizers");
    return cJSON_IsArray(finalizers) && finalizers->child;
}

int64_t api_wall(const struct api *api)
{
    return clock_wall_ns(api->clock);
}

int object_check_depth(const cJSON *object, const cJSON *old, struct err **err)
{
    unsigned depth = json_depth(object);
    if (depth <= JSON_MAX_DEPTH || (old && depth <= json_depth(old)))
        return 0;
    return err_add_cause(err, "FieldValueInvalid", NULL, "Invalid value: nested deeper than %d",
                         JSON_MAX_DEPTH);
}
