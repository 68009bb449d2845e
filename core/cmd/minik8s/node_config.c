/* Reading a node's configuration file. */
#include "node_config.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/quantity.h"
#include "base/yaml.h"
#include "process.h"

#define MAX_FILE (1u << 20)
#define API_VERSION "minik8s.io/v1"

struct source {
    const char *path, *text;
    size_t len, document;
};

/* ---- errors with path and line ---- */

/* The field that a message of core/schema speaks of: `unknown field "a.b"` or `a.b: must be …`. Caller frees.
 */
static char *field_of(const char *message)
{
    const char *quoted = strstr(message, "field \"");
    if (quoted) {
        quoted += strlen("field \"");
        return mem_strndup(quoted, strcspn(quoted, "\""));
    }
    return mem_strndup(message, strcspn(message, ": "));
}

static int fail_at(const struct source *source, const char *field, const char *message, struct err **err)
{
    size_t line = yaml_line(source->text, source->len, source->document, field);
    return err_set(err, ERR_INVALID, "%s:%zu: %s", source->path, line, message);
}

/* The first thing that is wrong, with its line; the others follow on lines of their own. */
static int fail_schema(const struct source *source, const struct err *wrong, struct err **err)
{
    if (!wrong->n_causes) {
        auto_free char *field = field_of(err_message(wrong));
        return fail_at(source, field, err_message(wrong), err);
    }
    auto_str all = {0};
    for (size_t i = 0; i < wrong->n_causes; i++) {
        const struct err_cause *cause = &wrong->causes[i];
        size_t line = yaml_line(source->text, source->len, source->document, cause->field);
        str_addf(&all, "%s%s:%zu: %s: %s", i ? "\n" : "", source->path, line, cause->field, cause->message);
    }
    return err_set(err, ERR_INVALID, "%s", str_c(&all));
}

/* ---- documents ---- */

static int check_document(struct schema *schema, const struct source *source, cJSON *object, struct err **err)
{
    const struct schema_kind *kind = schema_find_kind(schema, json_string_or(object, "apiVersion", ""),
                                                      json_string_or(object, "kind", ""));
    auto_err wrong = NULL;
    if (schema_check(kind, object, SCHEMA_STRICT, NULL, &wrong) < 0)
        return fail_schema(source, wrong, err);
    schema_default(kind, object);
    if (schema_validate(kind, object, NULL, false, &wrong) < 0)
        return fail_schema(source, wrong, err);
    return 0;
}

static int add_document(struct schema *schema, const struct source *source, cJSON *object,
                        struct node_config *config, struct err **err)
{
    const char *kind = json_string_or(object, "kind", ""),
               *version = json_string_or(object, "apiVersion", "");
    bool is_node = str_eq(kind, "Node") && str_eq(version, "v1");
    if (!is_node && (!str_eq(kind, "NodeConfiguration") || !str_eq(version, API_VERSION)))
        return fail_at(source, "kind",
                       "a node's file holds a Node (v1) and a NodeConfiguration (" API_VERSION ") only", err);
    cJSON **slot = is_node ? &config->node : &config->settings;
    if (*slot)
        return fail_at(source, "kind", "a second object of this kind: one machine, one of each", err);
    if (is_node && str_empty(json_string(object, "metadata.name")))
        return fail_at(source, "metadata", "metadata.name: the machine needs a name", err);
    cJSON *metadata = json_ensure_object(object, "metadata"); /* of a NodeConfiguration it says nothing */
    if (!is_node && str_empty(json_string(metadata, "name")))
        json_set_string(metadata, "name", "node");
    if (check_document(schema, source, object, err) < 0)
        return -1;
    *slot = json_copy(object);
    return 0;
}

static int read_documents(const char *path, struct schema *schema, struct node_config *config,
                          struct err **err)
{
    auto_free char *text = NULL;
    struct source source = {.path = path};
    if (file_read(path, MAX_FILE, &text, &source.len, err) < 0)
        return err_wrap(err, "%s", path);
    source.text = text;
    auto_json documents = yaml_parse_all(text, source.len, err);
    if (!documents)
        return err_wrap(err, "%s", path);
    json_each (object, documents) {
        if (!cJSON_IsObject(object))
            return fail_at(&source, "", "a document is not an object", err);
        if (add_document(schema, &source, object, config, err) < 0)
            return -1;
        source.document++;
    }
    return config->node || config->settings
               ? 0
               : err_set(err, ERR_INVALID, "%s: holds neither a Node nor a NodeConfiguration", path);
}

int node_config_read(const char *path, struct node_config *config, struct err **err)
{
    *config = (struct node_config){0};
    struct schema *schema = process_own_schema(err);
    if (!schema)
        return -1;
    int result = path ? read_documents(path, schema, config, err) : 0;
    if (result == 0 && !config->settings) {
        config->settings = cJSON_CreateObject();
        json_set_string(config->settings, "apiVersion", API_VERSION);
        json_set_string(config->settings, "kind", "NodeConfiguration");
        schema_default(schema_find_kind(schema, API_VERSION, "NodeConfiguration"), config->settings);
    }
    schema_free(schema);
    if (result < 0)
        node_config_fini(config);
    return result;
}

void node_config_fini(struct node_config *config)
{
    cJSON_Delete(config->node);
    cJSON_Delete(config->settings);
    free(config->restart);
    *config = (struct node_config){0};
}

/* ---- what it means ---- */

static enum net_routing routing_of(const char *word)
{
    return str_eq(word, "routes")  ? NET_ROUTING_ROUTES
           : str_eq(word, "vxlan") ? NET_ROUTING_VXLAN
                                   : NET_ROUTING_AUTO;
}

void node_config_settings(const struct node_config *config, struct node_settings *settings)
{
    const cJSON *own = config->settings;
    *settings = (struct node_settings){.labels = json_at(config->node, "metadata.labels"),
                                       .taints = json_at(config->node, "spec.taints"),
                                       .pod_range = json_string(config->node, "spec.podCIDR"),
                                       .capacity = json_get(own, "capacity"),
                                       .reserved = json_get(own, "reserved"),
                                       .log_max_files = json_int(own, "logs.maxFiles", 0),
                                       .max_pods = json_int(own, "maxPods", 0),
                                       .heartbeat_ms = json_int(own, "heartbeatSeconds", 1) * 1000,
                                       .routing = routing_of(json_string(own, "network")),
                                       .managed = config->node != NULL,
                                       .restart = config->restart};
    const char *size = json_string(own, "logs.maxSize");
    if (size)
        quantity_value(size, &settings->log_max_bytes, NULL);
}

static void add_if_different(struct str *names, const cJSON *a, const cJSON *b, const char *path)
{
    const cJSON *before = json_at(a, path), *now = json_at(b, path);
    if (before != now && (!before || !now || !json_equal(before, now)))
        str_addf(names, "%s%s", names->len ? ", " : "", path);
}

char *node_config_needs_restart(const struct node_config *running, const struct node_config *now)
{
    static const char *const paths[] = {"server", "address", "interface", "port", "runtime", "storage"};
    auto_str names = {0};
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        add_if_different(&names, running->settings, now->settings, paths[i]);
    add_if_different(&names, running->node, now->node, "metadata.name");
    add_if_different(&names, running->node, now->node, "spec.podCIDR");
    return names.len ? str_take(&names) : NULL;
}
