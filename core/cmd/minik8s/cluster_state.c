/* cluster.json and the paths below a cluster's folder. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cluster.h"

#define STATE_MAX (1u << 20)

char *cluster_absolute(const char *directory)
{
    if (directory[0] == '/')
        return mem_strdup(directory);
    char here[PATH_MAX];
    if (!getcwd(here, sizeof(here)))
        return mem_strdup(directory);
    return file_join(here, directory);
}

char *cluster_path(const struct cluster *cluster, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct str path = {0};
    str_addf(&path, "%s/", cluster->directory);
    str_vaddf(&path, format, arguments);
    va_end(arguments);
    return str_take(&path);
}

int cluster_open(struct cluster *cluster, const char *directory, struct err **err)
{
    *cluster = (struct cluster){.directory = cluster_absolute(directory)};
    auto_free char *path = cluster_path(cluster, "cluster.json");
    auto_free char *text = NULL;
    size_t len;
    if (!file_exists(path)) {
        err_set(err, ERR_NOT_FOUND, "there is no cluster in %s (start one with: minik8s cluster up --dir %s)",
                cluster->directory, cluster->directory);
        goto fail;
    }
    if (file_read(path, STATE_MAX, &text, &len, err) < 0)
        goto fail;
    cluster->state = json_parse(text, len, err);
    if (!cluster->state) {
        err_wrap(err, "reading %s", path);
        goto fail;
    }
    if (cluster_network_find(cluster->directory, &cluster->network, NULL) < 0)
        cluster->network.bridge[0] = 0; /* after a reboot: `cluster up` makes it again */
    return 0;
fail:
    cluster_fini(cluster);
    return -1;
}

int cluster_save(const struct cluster *cluster, struct err **err)
{
    auto_free char *path = cluster_path(cluster, "cluster.json");
    auto_free char *text = json_print_pretty(cluster->state);
    return file_write_durable(path, text, strlen(text), 0600, err);
}

void cluster_fini(struct cluster *cluster)
{
    free(cluster->directory);
    cJSON_Delete(cluster->state);
    *cluster = (struct cluster){0};
}

const cJSON *cluster_nodes(const struct cluster *cluster)
{
    return json_get(cluster->state, "nodes");
}

const cJSON *cluster_node(const struct cluster *cluster, const char *name, struct err **err)
{
    const char *names[256];
    size_t count = 0;
    json_each (node, cluster_nodes(cluster)) {
        const char *known = json_string_or(node, "name", "");
        if (str_eq(known, name))
            return node;
        if (count < COUNT_OF(names))
            names[count++] = known;
    }
    const char *nearest = name ? str_nearest(name, names, count) : NULL;
    err_set(err, ERR_NOT_FOUND, "no node \"%s\" in this cluster%s%s", name ? name : "",
            nearest ? "; did you mean " : "", nearest ? nearest : "");
    return NULL;
}

cJSON *cluster_add_node_entry(struct cluster *cluster, unsigned index)
{
    cJSON *node = json_push(json_ensure_array(cluster->state, "nodes"), cJSON_CreateObject());
    auto_free char *name = mem_printf("node-%u", index);
    json_set_string(node, "name", name);
    json_set_int(node, "index", index);
    return node;
}

const char *cluster_server_address(const struct cluster *cluster)
{
    return json_string_or(cluster->state, "nodes[0].address", "");
}
