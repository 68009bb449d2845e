/* Manifests from files, folders (*.yaml, *.yml, *.json) and standard input. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/yaml.h"
#include "kubectl.h"

static int add_object(struct kubectl *k, cJSON *all, const char *source, cJSON *object, struct err **err)
{
    auto_json owned = object;
    if (!cJSON_IsObject(object))
        return err_set(err, ERR_BAD_REQUEST, "error parsing %s: a document is not an object", source);
    const char *missing = str_empty(json_string(object, "kind"))         ? "kind"
                          : str_empty(json_string(object, "apiVersion")) ? "apiVersion"
                                                                         : NULL;
    if (missing)
        return err_set(err, ERR_BAD_REQUEST, "error validating \"%s\": error validating data: %s not set",
                       source, missing);
    if (str_eq(json_string(object, "kind"), "NodeConfiguration")) {
        fprintf(stderr,
                "%s: NodeConfiguration is for the machine, not for the cluster: minik8s node --config %s\n",
                source, source);
        return 0;
    }
    const char *namespace = json_string(object, "metadata.namespace");
    if (namespace && k->flags.namespace && !str_eq(namespace, k->flags.namespace))
        return err_set(
            err, ERR_BAD_REQUEST,
            "the namespace from the provided object \"%s\" does not match the namespace \"%s\". You "
            "must pass '--namespace=%s' to perform this operation.",
            namespace, k->flags.namespace, namespace);
    k->sources = mem_resize(k->sources, k->n_sources + 1, sizeof(char *));
    k->sources[k->n_sources++] = mem_strdup(source);
    json_push(all, steal(&owned));
    return 0;
}

static int add_text(struct kubectl *k, cJSON *all, const char *source, const char *text, size_t len,
                    struct err **err)
{
    auto_json documents = yaml_parse_all(text, len, err);
    if (!documents)
        return err_wrap(err, "error parsing %s", source);
    cJSON *document;
    while ((document = cJSON_DetachItemFromArray(documents, 0))) {
        auto_json owned = document;
        cJSON *items = json_get(document, "items"), *item;
        if (!str_ends(json_string_or(document, "kind", ""), "List") || !cJSON_IsArray(items)) {
            if (add_object(k, all, source, steal(&owned), err) < 0)
                return -1;
            continue;
        }
        while ((item = cJSON_DetachItemFromArray(items, 0)))
            if (add_object(k, all, source, item, err) < 0)
                return -1;
    }
    return 0;
}

static int add_stdin(struct kubectl *k, cJSON *all, struct err **err)
{
    auto_str text = {0};
    char part[65536];
    size_t n;
    while ((n = fread(part, 1, sizeof(part), stdin)) > 0 && text.len <= YAML_MAX_BYTES)
        str_add_n(&text, part, n);
    return add_text(k, all, "STDIN", str_c(&text), text.len, err);
}

static bool is_manifest(const char *name)
{
    return str_ends(name, ".yaml") || str_ends(name, ".yml") || str_ends(name, ".json");
}

static int add_path(struct kubectl *k, cJSON *all, const char *path, bool top, struct err **err)
{
    struct stat info;
    if (stat(path, &info) < 0)
        return err_set(err, ERR_NOT_FOUND, "the path \"%s\" does not exist", path);
    if (!S_ISDIR(info.st_mode)) {
        auto_free char *text = NULL;
        size_t len;
        if (file_read(path, YAML_MAX_BYTES, &text, &len, err) < 0)
            return -1;
        return add_text(k, all, path, text, len, err);
    }
    if (!top && !k->flags.recursive)
        return 0;
    size_t count;
    auto_free char **names = file_list(path, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        auto_free char *inner = file_join(path, names[i]);
        bool directory = stat(inner, &info) == 0 && S_ISDIR(info.st_mode);
        if ((directory || is_manifest(names[i])) && add_path(k, all, inner, false, err) < 0)
            return -1;
    }
    return 0;
}

cJSON *kubectl_load_manifests(struct kubectl *k, struct err **err)
{
    auto_json all = cJSON_CreateArray();
    if (!k->flags.n_files) {
        err_set(err, ERR_BAD_REQUEST, "must specify -f: a file, a folder, or - for standard input");
        return NULL;
    }
    for (size_t i = 0; i < k->flags.n_files; i++) {
        const char *path = k->flags.files[i];
        int result = str_eq(path, "-") ? add_stdin(k, all, err) : add_path(k, all, path, true, err);
        if (result < 0)
            return NULL;
    }
    if (!all->child) {
        err_set(err, ERR_BAD_REQUEST, "no objects passed: %s holds none", k->flags.files[0]);
        return NULL;
    }
    return steal(&all);
}

int kubectl_each_manifest(struct kubectl *k,
                          int (*act)(struct kubectl *k, const cJSON *object, const char *source))
{
    auto_err err = NULL;
    auto_json manifests = kubectl_load_manifests(k, &err);
    if (!manifests)
        return kubectl_refuse(err);
    int code = 0;
    size_t i = 0;
    json_each (object, manifests)
        code |= act(k, object, k->sources[i++]);
    return code;
}
