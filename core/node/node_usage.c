/*
 * node_usage: what the kernel counts about a pod's network, a container's files and the machine, read from
 * /proc and the file system. Pure look-ups: nothing is kept, nothing is asked of the runtime.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "node/node_usage.h"

#define WALK_MAX 200000 /* files of one layer; more are not counted */
#define WALK_DEPTH 64

/* ---- network ---- */

static void add_interface(cJSON *interfaces, char *line)
{
    char *colon = strchr(line, ':');
    int64_t rx[8], tx[8];
    if (!colon ||
        sscanf(colon + 1,
               "%" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64
               " %" SCNd64 " %" SCNd64 " %" SCNd64,
               &rx[0], &rx[1], &rx[2], &rx[3], &rx[4], &rx[5], &rx[6], &rx[7], &tx[0], &tx[1], &tx[2]) != 11)
        return;
    *colon = 0;
    const char *name = line + strspn(line, " ");
    if (strcmp(name, "lo") == 0)
        return;
    cJSON *one = json_push(interfaces, cJSON_CreateObject());
    json_set_string(one, "name", name);
    json_set_int(one, "rxBytes", rx[0]);
    json_set_int(one, "rxErrors", rx[2]);
    json_set_int(one, "txBytes", tx[0]);
    json_set_int(one, "txErrors", tx[2]);
}

cJSON *node_usage_network(int pid)
{
    auto_free char *path = mem_printf("/proc/%d/net/dev", pid), *text = NULL;
    if (pid <= 0 || file_read(path, 1 << 20, &text, NULL, NULL) < 0)
        return NULL;
    cJSON *network = cJSON_CreateObject(), *interfaces = json_ensure_array(network, "interfaces");
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        add_interface(interfaces, line);
    json_each (one, interfaces) { /* the figures of the first one stand for the pod, as in Kubernetes */
        json_each (figure, one)
            json_set(network, figure->string, json_copy(figure));
        break;
    }
    return network;
}

/* ---- files ---- */

static void walk(int directory, unsigned depth, int64_t *bytes, int64_t *files)
{
    DIR *stream = fdopendir(directory);
    if (!stream) {
        close(directory);
        return;
    }
    for (struct dirent *entry; (entry = readdir(stream)) && *files < WALK_MAX;) {
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        *bytes += (int64_t)status.st_blocks * 512;
        (*files)++;
        if (!S_ISDIR(status.st_mode) || depth >= WALK_DEPTH)
            continue;
        int below = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0)
            walk(below, depth + 1, bytes, files);
    }
    closedir(stream);
}

/* The layer that a container writes to, from its mount table: "… / / rw - overlay overlay rw,…,upperdir=P,…".
 */
static char *upper_layer(int pid)
{
    auto_free char *path = mem_printf("/proc/%d/mountinfo", pid), *text = NULL;
    if (pid <= 0 || file_read(path, 4 << 20, &text, NULL, NULL) < 0)
        return NULL;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *upper = strstr(line, "upperdir=");
        if (strstr(line, " / / ") && strstr(line, " - overlay ") && upper)
            return mem_strndup(upper + 9, strcspn(upper + 9, ","));
    }
    return NULL;
}

int node_usage_layer(int pid, int64_t *bytes, int64_t *files)
{
    auto_free char *layer = upper_layer(pid);
    int directory = layer ? open(layer, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (directory < 0)
        return -1;
    *bytes = *files = 0;
    walk(directory, 0, bytes, files);
    return 0;
}

cJSON *node_usage_disk(const char *path)
{
    struct statvfs disk;
    if (statvfs(path, &disk) < 0)
        return NULL;
    int64_t unit = (int64_t)disk.f_frsize;
    cJSON *usage = cJSON_CreateObject();
    json_set_int(usage, "availableBytes", (int64_t)disk.f_bavail * unit);
    json_set_int(usage, "capacityBytes", (int64_t)disk.f_blocks * unit);
    json_set_int(usage, "usedBytes", (int64_t)(disk.f_blocks - disk.f_bfree) * unit);
    json_set_int(usage, "inodes", (int64_t)disk.f_files);
    json_set_int(usage, "inodesFree", (int64_t)disk.f_ffree);
    return usage;
}

/* ---- the machine ---- */

static int64_t amount(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found ? strtoll(found + strlen(name), NULL, 10) : 0;
}

int node_usage_machine(int64_t *cpu_ns, int64_t *memory_bytes)
{
    auto_free char *stat = NULL, *memory = NULL;
    int64_t user, nice, system, idle, iowait, irq, softirq;
    if (file_read("/proc/stat", 1 << 20, &stat, NULL, NULL) < 0 ||
        file_read("/proc/meminfo", 1 << 16, &memory, NULL, NULL) < 0 ||
        sscanf(stat, "cpu %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64,
               &user, &nice, &system, &idle, &iowait, &irq, &softirq) != 7)
        return -1;
    *cpu_ns = (user + nice + system + irq + softirq) * (1000000000 / sysconf(_SC_CLK_TCK));
    *memory_bytes = (amount(memory, "MemTotal:") - amount(memory, "MemAvailable:")) * 1024;
    return 0;
}
