/*
 * plugin_library: a bundle's shared object. Does not unload any: the agent's callbacks may point into it
 * until the process ends.
 */
#include <dlfcn.h>

#include "base/file.h"
#include "base/str.h"
#include "plugin/plugin.h"

static int check(const struct plugin_library *library, const char *name, const char *path, struct err **err)
{
    if (!library)
        return err_set(err, ERR_INVALID, "%s: it has no symbol " PLUGIN_LIBRARY_SYMBOL, path);
    if (library->abi != PLUGIN_LIBRARY_ABI || library->struct_size != sizeof(struct node_extension))
        return err_set(err, ERR_INVALID, "%s: it was built for interface %u, this program has %d", path,
                       library->abi, PLUGIN_LIBRARY_ABI);
    if (!str_eq(library->name, name))
        return err_set(err, ERR_INVALID, "%s: it is of bundle \"%s\"", path, library->name);
    return 0;
}

static const struct plugin_library *load(const char *name, const char *folder, struct err **err)
{
    auto_free char *file = mem_printf("%s.so", name);
    auto_free char *path = file_join(folder, file);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        err_set(err, ERR_INVALID, "plugin %s: %s", name, dlerror());
        return NULL;
    }
    const struct plugin_library *library = dlsym(handle, PLUGIN_LIBRARY_SYMBOL);
    if (check(library, name, path, err) == 0)
        return library;
    dlclose(handle);
    return NULL;
}

const struct node_extension **plugins_load(const struct plugins *plugins, const char *folder,
                                           struct err **err)
{
    const struct node_extension **extensions = mem_array(1, sizeof(*extensions));
    size_t count = 0;
    for (size_t i = 0; plugins_at(plugins, i); i++) {
        const struct plugin *plugin = plugins_at(plugins, i);
        if (!plugin->library)
            continue;
        const struct plugin_library *library = load(plugin->name, folder, err);
        if (!library) {
            free(extensions);
            return NULL;
        }
        if (!library->node)
            continue;
        extensions = mem_resize(extensions, count + 2, sizeof(*extensions));
        extensions[count++] = library->node;
        extensions[count] = NULL;
    }
    return extensions;
}
