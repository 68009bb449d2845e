/*
 * plugin: finds the bundles, reads their manifests, orders them. Does not load their Lua: script does, from
 * the folders that are handed out. Invariant: the lists begin with the core's own folders, so that a bundle
 * can add, and never replace, a module, kind or policy of the core.
 */
#include "plugin/plugin.h"

#include <string.h>

#include "base/file.h"
#include "base/map.h"
#include "base/str.h"
#include "base/yaml.h"

#define MANIFEST "plugin.yaml"
#define MANIFEST_MAX (64u << 10)

struct plugins {
    struct plugin **items; /* in order */
    size_t count;
    const char **lua, **policies;
};

static void plugin_free(struct plugin *plugin)
{
    for (char **name = plugin->requires; name && *name; name++)
        free(*name);
    free(plugin->requires);
    free(plugin->name);
    free(plugin->version);
    free(plugin->description);
    free(plugin->directory);
    free(plugin);
}

static void free_list(const char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free((char *)(uintptr_t)list[i]);
    free(list);
}

void plugins_free(struct plugins *plugins)
{
    if (!plugins)
        return;
    for (size_t i = 0; i < plugins->count; i++)
        plugin_free(plugins->items[i]);
    free(plugins->items);
    free_list(plugins->lua);
    free_list(plugins->policies);
    free(plugins);
}

/* ---- manifests ---- */

static int check_fields(const cJSON *object, const char *where, const char *const *known, struct err **err)
{
    json_each (field, object) {
        const char *const *name = known;
        while (*name && !str_eq(*name, field->string))
            name++;
        if (!*name)
            return err_set(err, ERR_INVALID, "%s%s: unknown field", where, field->string);
    }
    return 0;
}

static int check_manifest(const cJSON *manifest, const char *folder, struct err **err)
{
    static const char *const top[] = {"apiVersion", "kind", "metadata", "spec", NULL};
    static const char *const spec[] = {"abi", "version", "description", "requires", "library", NULL};
    if (check_fields(manifest, "", top, err) < 0 ||
        check_fields(json_get(manifest, "spec"), "spec.", spec, err) < 0)
        return -1;
    if (!str_eq(json_string(manifest, "apiVersion"), "minik8s.io/v1") ||
        !str_eq(json_string(manifest, "kind"), "Plugin"))
        return err_set(err, ERR_INVALID, "apiVersion, kind: must be minik8s.io/v1, Plugin");
    if (!str_eq(json_string(manifest, "metadata.name"), folder))
        return err_set(err, ERR_INVALID, "metadata.name: must be the folder's, \"%s\"", folder);
    int64_t abi = json_int(manifest, "spec.abi", -1);
    if (abi != PLUGIN_ABI)
        return err_set(err, ERR_INVALID, "spec.abi: is %lld, this program has %d", (long long)abi,
                       PLUGIN_ABI);
    if (str_empty(json_string(manifest, "spec.version")))
        return err_set(err, ERR_INVALID, "spec.version: a text is needed");
    json_each (name, json_at(manifest, "spec.requires"))
        if (!cJSON_IsString(name))
            return err_set(err, ERR_INVALID, "spec.requires: must be a list of names");
    const cJSON *library = json_at(manifest, "spec.library");
    if (library && !cJSON_IsBool(library))
        return err_set(err, ERR_INVALID, "spec.library: must be true or false");
    return 0;
}

static struct plugin *read_manifest(const char *directory, const char *folder, struct err **err)
{
    auto_free char *path = file_join(directory, MANIFEST), *text = NULL;
    size_t len;
    if (file_read(path, MANIFEST_MAX, &text, &len, err) < 0)
        return NULL;
    auto_json manifest = yaml_parse(text, len, err);
    if (!manifest || check_manifest(manifest, folder, err) < 0) {
        err_wrap(err, "%s", path);
        return NULL;
    }
    struct plugin *plugin = NEW(struct plugin);
    plugin->name = mem_strdup(folder);
    plugin->directory = mem_strdup(directory);
    plugin->version = mem_strdup(json_string(manifest, "spec.version"));
    plugin->description = mem_strdup(json_string_or(manifest, "spec.description", ""));
    plugin->library = json_bool(manifest, "spec.library", false);
    const cJSON *requires = json_at(manifest, "spec.requires");
    plugin->requires = mem_array((size_t)cJSON_GetArraySize(requires) + 1, sizeof(char *));
    size_t n = 0;
    json_each (name, requires)
    plugin->requires[n++] = mem_strdup(name->valuestring);
    return plugin;
}

/* Every bundle of the folder by name; those that are read are the map's. */
static int read_all(const char *folder, struct map *found, struct err **err)
{
    size_t count = 0;
    if (!file_exists(folder))
        return 0;
    auto_free char **names = file_list(folder, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        auto_free char *directory = file_join(folder, names[i]);
        auto_free char *manifest = file_join(directory, MANIFEST);
        if (names[i][0] == '.' || !file_exists(manifest))
            continue;
        struct plugin *plugin = read_manifest(directory, names[i], err);
        if (!plugin)
            return -1;
        map_set(found, names[i], plugin);
    }
    return 0;
}

/* ---- order ---- */

/* What a bundle requires comes before it. on_way: those whose requirements are being placed. */
static int place(struct plugins *plugins, const struct map *found, struct map *on_way, const char *name,
                 const char *wanted_by, struct err **err)
{
    struct plugin *plugin = map_get(found, name);
    if (!plugin)
        return err_set(err, ERR_INVALID, "plugin %s requires %s, which is not there", wanted_by, name);
    for (size_t i = 0; i < plugins->count; i++)
        if (plugins->items[i] == plugin)
            return 0;
    if (map_has(on_way, name))
        return err_set(err, ERR_INVALID, "plugin %s requires itself in a circle", name);
    map_set(on_way, name, plugin);
    for (char **next = plugin->requires; *next; next++)
        if (place(plugins, found, on_way, *next, name, err) < 0)
            return -1;
    plugins->items[plugins->count++] = plugin;
    return 0;
}

static int place_all(struct plugins *plugins, const struct map *found, struct err **err)
{
    auto_free const char **names = map_sorted_keys(found);
    auto_map on_way = {0};
    size_t count = 0;
    while (names[count])
        count++;
    plugins->items = mem_array(count + 1, sizeof(*plugins->items));
    for (size_t i = 0; i < count; i++)
        if (place(plugins, found, &on_way, names[i], names[i], err) < 0)
            return -1;
    return 0;
}

static void make_lists(struct plugins *plugins, const char *share)
{
    size_t n = 1;
    plugins->lua = mem_array(plugins->count + 2, sizeof(*plugins->lua));
    plugins->policies = mem_array(plugins->count + 2, sizeof(*plugins->policies));
    plugins->lua[0] = file_join(share, "lua");
    plugins->policies[0] = file_join(share, "policies");
    for (size_t i = 0; i < plugins->count; i++) {
        plugins->lua[i + 1] = mem_strdup(plugins->items[i]->directory);
        char *policies = file_join(plugins->items[i]->directory, "policies");
        if (file_exists(policies))
            plugins->policies[n++] = policies;
        else
            free(policies);
    }
}

struct plugins *plugins_open(const char *share, struct err **err)
{
    struct plugins *plugins = NEW(struct plugins);
    auto_free char *folder = file_join(share, "plugins");
    auto_map found = {0};
    if (read_all(folder, &found, err) == 0 && place_all(plugins, &found, err) == 0) {
        make_lists(plugins, share);
        return plugins;
    }
    map_each (entry, &found)
        plugin_free(entry->value);
    plugins->count = 0; /* the map's */
    plugins_free(plugins);
    return NULL;
}

const struct plugin *plugins_at(const struct plugins *plugins, size_t index)
{
    return index < plugins->count ? plugins->items[index] : NULL;
}

const char *const *plugins_lua(const struct plugins *plugins)
{
    return plugins->lua;
}

const char *const *plugins_policies(const struct plugins *plugins)
{
    return plugins->policies;
}
