/*
 * runtime: what every runtime shares: freeing of specs and containers, label look-up. No podman here.
 */
#include "runtime/runtime.h"

#include "base/str.h"

static void free_pairs(struct runtime_pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts && texts[i]; i++)
        free(texts[i]);
    free(texts);
}

void runtime_spec_free(struct runtime_spec *spec)
{
    if (!spec)
        return;
    free(spec->name);
    free(spec->image);
    free_texts(spec->command);
    free_texts(spec->arguments);
    free(spec->working_directory);
    free_pairs(spec->environment, spec->n_environment);
    free_pairs(spec->labels, spec->n_labels);
    for (size_t i = 0; i < spec->n_mounts; i++) {
        free(spec->mounts[i].source);
        free(spec->mounts[i].sub_path);
        free(spec->mounts[i].destination);
    }
    free(spec->mounts);
    free(spec->security.supplemental_groups);
    free_texts(spec->security.capabilities_add);
    free_texts(spec->security.capabilities_drop);
    free(spec->sandbox);
    free(spec->hostname);
    free(spec->cgroup_parent);
    free(spec->share_pid_of);
    free_pairs(spec->sysctls, spec->n_sysctls);
    free(spec->log_path);
    free_texts(spec->devices);
    free(spec);
}

const char *runtime_container_label(const struct runtime_container *container, const char *name)
{
    for (size_t i = 0; i < container->n_labels; i++)
        if (str_eq(container->labels[i].name, name))
            return container->labels[i].value;
    return NULL;
}

void runtime_container_free(struct runtime_container *container)
{
    if (!container)
        return;
    free(container->id);
    free(container->name);
    free(container->image);
    free(container->image_id);
    free_pairs(container->labels, container->n_labels);
    free(container->log_path);
    free(container->error);
    free(container);
}
