/*
 * podman_cgroup: counters and clean-up of cgroups, v1 and v2 alike. Paths are those below a hierarchy's mount
 * point; on v1 (and hybrid) each controller is a hierarchy of its own, and /sys/fs/cgroup/unified one more.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/file.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define MOUNT "/sys/fs/cgroup"

static bool is_type(const char *path, long type)
{
    struct statfs s;
    return statfs(path, &s) == 0 && s.f_type == type;
}

enum podman_cgroups podman_cgroups_detect(void)
{
    if (is_type(MOUNT, CGROUP2_SUPER_MAGIC))
        return PODMAN_CGROUPS_V2;
    if (!is_type(MOUNT "/memory", CGROUP_SUPER_MAGIC))
        return PODMAN_CGROUPS_NONE;
    return is_type(MOUNT "/unified", CGROUP2_SUPER_MAGIC) ? PODMAN_CGROUPS_HYBRID : PODMAN_CGROUPS_V1;
}

/* "" on v2, else "/CONTROLLER". */
static const char *hierarchy(const char *controller)
{
    return is_type(MOUNT, CGROUP2_SUPER_MAGIC) ? "" : controller;
}

static char *read_counter_file(const char *controller, const char *cgroup, const char *name)
{
    auto_free char *path = mem_printf(MOUNT "%s%s/%s", hierarchy(controller), cgroup, name);
    char *text = NULL;
    return file_read(path, 65536, &text, NULL, NULL) == 0 ? text : NULL;
}

/* "name value" lines; -1 if absent. */
static int64_t counter_in(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; line && *line;) {
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            return strtoll(line + len + 1, NULL, 10);
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return -1;
}

int64_t podman_cgroup_oom_kills(const char *cgroup)
{
    bool v2 = is_type(MOUNT, CGROUP2_SUPER_MAGIC);
    auto_free char *text = read_counter_file("/memory", cgroup, v2 ? "memory.events" : "memory.oom_control");
    return counter_in(text, "oom_kill");
}

int podman_cgroup_usage(const char *cgroup, int64_t *cpu_ns, int64_t *memory_bytes)
{
    bool v2 = is_type(MOUNT, CGROUP2_SUPER_MAGIC);
    auto_free char *cpu = read_counter_file("/cpuacct", cgroup, v2 ? "cpu.stat" : "cpuacct.usage");
    auto_free char *used =
        read_counter_file("/memory", cgroup, v2 ? "memory.current" : "memory.usage_in_bytes");
    auto_free char *stat = read_counter_file("/memory", cgroup, "memory.stat");
    if (!cpu || !used || !stat)
        return -1;
    *cpu_ns = v2 ? counter_in(cpu, "usage_usec") * 1000 : strtoll(cpu, NULL, 10);
    /* The working set: what the kernel could not give back at once. */
    int64_t idle = counter_in(stat, v2 ? "inactive_file" : "total_inactive_file");
    int64_t all = strtoll(used, NULL, 10);
    *memory_bytes = idle > 0 && idle < all ? all - idle : all;
    return 0;
}

size_t podman_cgroup_folders(const char *cgroup, char *folders[PODMAN_OWN_CGROUPS])
{
    /* v1: "systemd" so that ending the agent's unit spares it; "unified" for whoever kills by it */
    static const char *const names[PODMAN_OWN_CGROUPS] = {"/memory", "/systemd", "/unified"};
    size_t n = 0;
    if (is_type(MOUNT, CGROUP2_SUPER_MAGIC)) {
        folders[n++] = mem_printf(MOUNT "%s", cgroup);
        return n;
    }
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        auto_free char *root = mem_printf(MOUNT "%s", names[i]);
        if (is_type(root, CGROUP_SUPER_MAGIC) || is_type(root, CGROUP2_SUPER_MAGIC))
            folders[n++] = mem_printf("%s%s", root, cgroup);
    }
    return n;
}

/* Calls `each` with the path of `cgroup` in every hierarchy. */
static void for_hierarchies(const char *cgroup, void (*each)(const char *path))
{
    if (is_type(MOUNT, CGROUP2_SUPER_MAGIC)) {
        auto_free char *path = mem_printf(MOUNT "%s", cgroup);
        each(path);
        return;
    }
    size_t count = 0;
    auto_free char **names = file_list(MOUNT, &count, NULL);
    for (size_t i = 0; names && i < count; i++) {
        auto_free char *path = mem_printf(MOUNT "/%s%s", names[i], cgroup);
        each(path);
    }
}

static void remove_one(const char *path)
{
    rmdir(path);
}

static void walk(const char *path, bool remove)
{
    auto_free char *processes = mem_printf("%s/cgroup.procs", path), *text = NULL;
    DIR *directory = opendir(path);
    if (!directory)
        return;
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        auto_free char *child = file_join(path, entry->d_name);
        walk(child, remove);
    }
    closedir(directory);
    if (remove) {
        rmdir(path);
        return;
    }
    if (file_read(processes, 1 << 20, &text, NULL, NULL) < 0)
        return;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        kill((pid_t)strtol(line, NULL, 10), SIGKILL);
}

static void kill_all(const char *path)
{
    walk(path, false);
}

static void remove_all(const char *path)
{
    walk(path, true);
}

void podman_cgroup_remove(const char *cgroup)
{
    for_hierarchies(cgroup, remove_one);
}

void podman_cgroup_kill_tree(const char *cgroup)
{
    for_hierarchies(cgroup, kill_all);
}

void podman_cgroup_remove_tree(const char *cgroup)
{
    for_hierarchies(cgroup, remove_all);
}
