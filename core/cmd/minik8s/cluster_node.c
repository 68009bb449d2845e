/* One node's machine: network namespace, folders, storage; and taking all of it back. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cluster.h"
#include "node/node.h"
#include "runtime/runtime.h"

#define TMPFS_MAGIC 0x01021994

static bool is_mount_point(const char *path)
{
    auto_free char *parent = mem_printf("%s/..", path);
    struct stat inner, outer;
    return stat(path, &inner) == 0 && stat(parent, &outer) == 0 && inner.st_dev != outer.st_dev;
}

static int mount_storage(const char *path, bool tmpfs, struct err **err)
{
    if (file_make_dirs(path, 0711, err) < 0)
        return -1;
    if (!tmpfs || is_mount_point(path))
        return 0;
    if (mount("minik8s", path, "tmpfs", 0, "mode=0711") < 0)
        return err_errno(err, errno, "mounting a tmpfs at %s", path);
    return 0;
}

int cluster_make_machine(const struct cluster *cluster, const cJSON *node, bool tmpfs, struct err **err)
{
    const char *name = json_string_or(node, "name", "");
    auto_free char *directory = cluster_path(cluster, "nodes/%s", name);
    auto_free char *netns = cluster_path(cluster, "nodes/%s/netns", name);
    auto_free char *storage = cluster_path(cluster, "nodes/%s/storage", name);
    auto_free char *resolv = cluster_path(cluster, "nodes/%s/resolv.conf", name);
    if (file_make_dirs(directory, 0755, err) < 0 || mount_storage(storage, tmpfs, err) < 0)
        return -1;
    static const char resolver[] = "nameserver " CLUSTER_DNS "\nnameserver " CLUSTER_DNS_SPARE
                                   "\nsearch default.svc.cluster.local svc.cluster.local "
                                   "cluster.local\noptions ndots:5 timeout:1\n";
    if (file_write_atomic(resolv, resolver, strlen(resolver), 0644, err) < 0)
        return -1;
    struct in_addr address;
    unsigned index = (unsigned)json_int(node, "index", 0);
    if (cluster_network_attach_node(&cluster->network, index, netns, &address, err) < 0)
        return err_wrap(err, "network of %s", name);
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &address, text, sizeof(text));
    json_set_string((cJSON *)(uintptr_t)node, "address", text);
    return 0;
}

/* Mounts below the folder (container overlays, tmpfs volumes, the storage itself), innermost first. */
static void unmount_below(const char *directory)
{
    for (int round = 0; round < 64; round++) {
        auto_free char *text = NULL;
        size_t len;
        if (file_read("/proc/self/mountinfo", 16u << 20, &text, &len, NULL) < 0)
            return;
        bool found = false;
        char *last = NULL, *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            char *field_rest = NULL, *field = strtok_r(line, " ", &field_rest);
            for (int i = 0; field && i < 4; i++)
                field = strtok_r(NULL, " ", &field_rest);
            if (field && str_starts(field, directory) && field[strlen(directory)] == '/') {
                last = field;
                found = true;
                if (str_ends(last, NODE_SHARED_PART))
                    mount(NULL, last, NULL, MS_REC | MS_PRIVATE, NULL);
                umount2(last, MNT_DETACH | UMOUNT_NOFOLLOW);
            }
        }
        if (!found)
            return;
    }
}

int cluster_remove_machine(const struct cluster *cluster, const cJSON *node, struct err **err)
{
    const char *name = json_string_or(node, "name", "");
    auto_free char *directory = cluster_path(cluster, "nodes/%s", name);
    auto_free char *netns = cluster_path(cluster, "nodes/%s/netns", name);
    unsigned index = (unsigned)json_int(node, "index", 0);
    if (cluster_network_detach_node(&cluster->network, index, netns, err) < 0)
        return -1;
    unmount_below(directory);
    return file_remove_tree(directory, err);
}

void cluster_podman_options(const struct cluster *cluster, const cJSON *node,
                            struct runtime_podman_options *options, char *texts[4])
{
    const char *name = json_string_or(node, "name", "");
    texts[0] = cluster_path(cluster, "nodes/%s/podman", name);
    texts[1] = cluster_path(cluster, "nodes/%s/storage", name);
    texts[2] = cluster_path(cluster, "images");
    texts[3] = NULL;
    *options = (struct runtime_podman_options){.directory = texts[0],
                                               .storage = texts[1],
                                               .cluster = json_string_or(cluster->state, "id", ""),
                                               .node = name,
                                               .shared_images = texts[2]};
}
