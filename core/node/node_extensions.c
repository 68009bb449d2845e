/*
 * node_extensions: hands bundles' data planes what they follow and takes from them the names that they answer
 * for. Knows nothing of what they do. Invariant: `complete` is called only for a list that the agent itself
 * believes.
 */
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

struct extension {
    struct node_extension_host host; /* first: it is what the extension knows us by */
    const struct node_extension *type;
    struct node *node;
    char *directory;
    void *self;
};

struct node_extensions {
    struct extension *items;
    size_t count;
};

static int extension_start(struct extension *extension, struct node *node, const struct node_extension *type,
                           struct err **err)
{
    extension->type = type;
    extension->node = node;
    extension->directory = file_join(node->options.directory, type->name);
    extension->host = (struct node_extension_host){.loop = node->loop,
                                                   .pool = node->options.pool,
                                                   .client = node->client,
                                                   .recorder = node->recorder,
                                                   .cache = node->cache,
                                                   .metrics = node->options.metrics,
                                                   .node = node->options.name,
                                                   .address = node->options.internal_ip,
                                                   .directory = extension->directory,
                                                   .dns_address = node->options.dns_address,
                                                   .dns_spare = node->options.dns_spare};
    if (file_make_dirs(extension->directory, 0711, err) < 0)
        return -1;
    extension->self = type->start(&extension->host, err);
    return extension->self ? 0 : err_wrap(err, "extension %s", type->name);
}

struct node_extensions *node_extensions_new(struct node *node, struct err **err)
{
    struct node_extensions *extensions = NEW(struct node_extensions);
    const struct node_extension *const *types = node->options.extensions;
    size_t count = 0;
    while (types && types[count])
        count++;
    extensions->items = mem_array(count + 1, sizeof(*extensions->items));
    for (size_t i = 0; i < count; i++) {
        extensions->count++;
        if (extension_start(&extensions->items[i], node, types[i], err) < 0) {
            node_extensions_free(extensions);
            return NULL;
        }
        log_info("node", "extension %s", types[i]->name);
    }
    return extensions;
}

static bool follows(const struct node_extension *type, const char *resource)
{
    for (const char *const *name = type->resources; *name; name++)
        if (str_eq(*name, resource))
            return true;
    return false;
}

void node_extensions_changed(struct node_extensions *extensions, const char *resource,
                             const struct cache_item *previous, const struct cache_item *item)
{
    for (size_t i = 0; i < extensions->count; i++)
        if (follows(extensions->items[i].type, resource))
            extensions->items[i].type->changed(extensions->items[i].self, resource, previous, item);
}

void node_extensions_complete(struct node_extensions *extensions)
{
    for (size_t i = 0; i < extensions->count; i++)
        extensions->items[i].type->complete(extensions->items[i].self);
}

void node_extensions_capacity(struct node_extensions *extensions, cJSON *amounts, cJSON *labels)
{
    for (size_t i = 0; i < extensions->count; i++)
        if (extensions->items[i].type->capacity)
            extensions->items[i].type->capacity(extensions->items[i].self, amounts, labels);
}

void node_extensions_withhold(struct node_extensions *extensions, cJSON *allocatable)
{
    for (size_t i = 0; i < extensions->count; i++)
        if (extensions->items[i].type->withhold)
            extensions->items[i].type->withhold(extensions->items[i].self, allocatable);
}

int node_extensions_container(struct node_extensions *extensions, const cJSON *pod, const char *container,
                              struct runtime_spec *spec, struct err **err)
{
    for (size_t i = 0; i < extensions->count; i++) {
        const struct node_extension *type = extensions->items[i].type;
        if (type->container && type->container(extensions->items[i].self, pod, container, spec, err) < 0)
            return -1;
    }
    return 0;
}

void node_extension_names(struct node_extension_host *host, const char *key, const struct net_name *records,
                          size_t count)
{
    struct extension *extension = CONTAINER_OF(host, struct extension, host);
    auto_free char *own = mem_printf("+%s/%s", extension->type->name, key);
    node_services_names(extension->node->services, own, records, count);
}

void node_extension_update(struct node_extension_host *host)
{
    struct extension *extension = CONTAINER_OF(host, struct extension, host);
    node_register_update(extension->node->registration);
}

void node_extension_event(struct node_extension_host *host, const char *type, const char *reason,
                          const char *message)
{
    struct extension *extension = CONTAINER_OF(host, struct extension, host);
    node_event(extension->node, type, reason, "%s", message);
}

void node_extensions_metrics(const struct node_extension *const *types, const char *directory,
                             struct str *out)
{
    for (; types && *types; types++) {
        auto_free char *own = file_join(directory, (*types)->name);
        if ((*types)->metrics)
            (*types)->metrics(own, out);
    }
}

void node_extensions_free(struct node_extensions *extensions)
{
    if (!extensions)
        return;
    for (size_t i = 0; i < extensions->count; i++) {
        if (extensions->items[i].self)
            extensions->items[i].type->stop(extensions->items[i].self);
        free(extensions->items[i].directory);
    }
    free(extensions->items);
    free(extensions);
}
