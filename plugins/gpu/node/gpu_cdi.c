/*
 * gpu_cdi: device nodes, mounts and environment for a container, in the form of CDI specifications (version
 * 0.5: containerEdits). Hooks are not run: a library that is mounted lies where the linker looks.
 */
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/yaml.h"
#include "gpu.h"

#define MAX_SPEC (4u << 20)

/* ---- the vendor's ---- */

static cJSON *read_spec(const char *path, struct err **err)
{
    auto_free char *text = NULL;
    size_t len = 0;
    if (file_read(path, MAX_SPEC, &text, &len, err) < 0)
        return NULL;
    auto_json documents = yaml_parse_all(text, len, err); /* JSON is YAML */
    cJSON *spec = documents ? cJSON_DetachItemFromArray(documents, 0) : NULL;
    if (!spec && documents)
        err_set(err, ERR_INVALID, "it is empty");
    return spec;
}

static cJSON *find_spec(const char *root, struct err **err)
{
    static const char *const folders[] = {"etc/cdi", "var/run/cdi"};
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        auto_free char *folder = mem_printf("%s/%s", root, folders[i]);
        auto_free char **names = file_list(folder, NULL, NULL);
        for (char **name = names; name && *name; name++) {
            if (!str_ends(*name, ".yaml") && !str_ends(*name, ".json"))
                continue;
            auto_free char *path = file_join(folder, *name);
            auto_json spec = read_spec(path, err);
            if (!spec) {
                err_wrap(err, "%s", path);
                return NULL;
            }
            if (str_eq(json_string(spec, "kind"), GPU_RESOURCE))
                return steal(&spec);
        }
    }
    return NULL;
}

/* ---- our own ---- */

static void add_node(cJSON *edits, const char *root, const char *path)
{
    auto_free char *host = mem_printf("%s%s", root, path);
    if (!file_exists(host))
        return;
    cJSON *node = json_push(json_ensure_array(edits, "deviceNodes"), cJSON_CreateObject());
    json_set_string(node, "path", path);
    json_set_string(node, "hostPath", host);
}

static void add_library(cJSON *edits, const char *root, const char *name)
{
    static const char *const places[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
                                         "/usr/lib64"};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        auto_free char *path = mem_printf("%s/%s", places[i], name), *host = mem_printf("%s%s", root, path);
        if (!file_exists(host))
            continue;
        cJSON *mount = json_push(json_ensure_array(edits, "mounts"), cJSON_CreateObject());
        json_set_string(mount, "hostPath", host);
        json_set_string(mount, "containerPath", path);
        json_push_string(json_ensure_array(mount, "options"), "ro");
        return;
    }
}

static cJSON *make_spec(const char *root, const struct gpu_list *list)
{
    static const char *const shared[] = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"};
    static const char *const libraries[] = {"libcuda.so.1", "libnvidia-ml.so.1",
                                            "libnvidia-ptxjitcompiler.so.1"};
    cJSON *spec = cJSON_CreateObject();
    json_set_string(spec, "cdiVersion", "0.5.0");
    json_set_string(spec, "kind", GPU_RESOURCE);
    cJSON *common = json_ensure_object(spec, "containerEdits"), *devices = json_ensure_array(spec, "devices");
    for (size_t i = 0; i < COUNT_OF(shared); i++)
        add_node(common, root, shared[i]);
    for (size_t i = 0; i < COUNT_OF(libraries); i++)
        add_library(common, root, libraries[i]);
    for (size_t i = 0; i < list->count; i++) {
        cJSON *device = json_push(devices, cJSON_CreateObject());
        auto_free char *name = mem_printf("%d", list->items[i].minor);
        auto_free char *path = mem_printf("/dev/nvidia%d", list->items[i].minor);
        json_set_string(device, "name", name);
        add_node(json_ensure_object(device, "containerEdits"), root, path);
    }
    return spec;
}

cJSON *gpu_cdi_spec(const char *root, const struct gpu_list *list, struct err **err)
{
    struct err *error = NULL;
    cJSON *spec = find_spec(root, &error);
    if (error) {
        err_move(err, &error);
        return NULL;
    }
    return spec ? spec : make_spec(root, list);
}

/* ---- applying ---- */

static void add_device(struct runtime_spec *spec, const cJSON *node)
{
    size_t n = 0;
    const char *path = json_string(node, "path"), *host = json_string_or(node, "hostPath", path);
    if (!path)
        return;
    while (spec->devices && spec->devices[n])
        n++;
    spec->devices = mem_resize(spec->devices, n + 2, sizeof(char *));
    spec->devices[n] = mem_printf("%s:%s:%s", host, path, json_string_or(node, "permissions", "rwm"));
    spec->devices[n + 1] = NULL;
}

static void add_mount(struct runtime_spec *spec, const cJSON *mount)
{
    const char *host = json_string(mount, "hostPath"), *inside = json_string(mount, "containerPath");
    bool read_only = false;
    json_each (option, json_get(mount, "options"))
        read_only = read_only || str_eq(cJSON_GetStringValue(option), "ro");
    if (!host || !inside)
        return;
    spec->mounts = mem_resize(spec->mounts, spec->n_mounts + 1, sizeof(*spec->mounts));
    spec->mounts[spec->n_mounts++] = (struct runtime_mount){
        .source = mem_strdup(host), .destination = mem_strdup(inside), .read_only = read_only};
}

static void add_variable(struct runtime_spec *spec, const char *name, const char *value)
{
    spec->environment = mem_resize(spec->environment, spec->n_environment + 1, sizeof(*spec->environment));
    spec->environment[spec->n_environment++] = (struct runtime_pair){mem_strdup(name), mem_strdup(value)};
}

static void apply_edits(struct runtime_spec *spec, const cJSON *edits)
{
    json_each (node, json_get(edits, "deviceNodes"))
        add_device(spec, node);
    json_each (mount, json_get(edits, "mounts"))
        add_mount(spec, mount);
    json_each (variable, json_get(edits, "env")) {
        const char *text = cJSON_GetStringValue(variable), *equals = text ? strchr(text, '=') : NULL;
        if (!equals)
            continue;
        auto_free char *name = mem_strndup(text, (size_t)(equals - text));
        add_variable(spec, name, equals + 1);
    }
}

/* By its number, or by its UUID, as nvidia-ctk can name them. */
static const cJSON *find_device(const cJSON *cdi, const struct gpu_device *device)
{
    auto_free char *number = mem_printf("%d", device->minor);
    json_each (entry, json_get(cdi, "devices")) {
        const char *name = json_string(entry, "name");
        if (str_eq(name, number) || (*device->uuid && str_eq(name, device->uuid)))
            return entry;
    }
    return NULL;
}

int gpu_cdi_apply(const cJSON *cdi, const struct gpu_list *list, const int *minors, size_t count,
                  struct runtime_spec *spec, struct err **err)
{
    struct str visible = {0};
    apply_edits(spec, json_get(cdi, "containerEdits"));
    for (size_t i = 0; i < count; i++) {
        const struct gpu_device *device = NULL;
        for (size_t j = 0; j < list->count; j++)
            device = list->items[j].minor == minors[i] ? &list->items[j] : device;
        const cJSON *entry = device ? find_device(cdi, device) : NULL;
        if (!entry) {
            str_free(&visible);
            return err_set(err, ERR_NOT_FOUND, "the CDI specification has no GPU %d", minors[i]);
        }
        apply_edits(spec, json_get(entry, "containerEdits"));
        if (*device->uuid)
            str_addf(&visible, "%s%s", visible.len ? "," : "", device->uuid);
        else
            str_addf(&visible, "%s%d", visible.len ? "," : "", minors[i]);
    }
    add_variable(spec, "NVIDIA_VISIBLE_DEVICES", str_c(&visible));
    str_free(&visible);
    return 0;
}
