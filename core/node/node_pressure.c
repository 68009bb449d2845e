/*
 * node_pressure: whether memory, disk space or process numbers run short on this machine. A handful of reads
 * from /proc and two statvfs, some ten microseconds, now and then with a heart-beat: none of the three
 * announces itself.
 */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "node/node_internal.h"

#define MEMORY_LOW (INT64_C(100) << 20)
#define MEMORY_ENOUGH (INT64_C(150) << 20)
#define DISK_LOW_PERCENT 5
#define DISK_ENOUGH_PERCENT 7
#define PIDS_HIGH_PERCENT 90
#define PIDS_FINE_PERCENT 80

int64_t node_memory_figure(const char *name)
{
    auto_free char *text = NULL;
    if (file_read("/proc/meminfo", 65536, &text, NULL, NULL) < 0)
        return 0;
    const char *line = strstr(text, name);
    return line ? strtoll(line + strlen(name), NULL, 10) * 1024 : 0;
}

static bool memory_short(bool before)
{
    int64_t available = node_memory_figure("MemAvailable:");
    return available && available < (before ? MEMORY_ENOUGH : MEMORY_LOW);
}

static bool disk_short(const char *path, bool before)
{
    struct statvfs fs;
    if (!path || statvfs(path, &fs) < 0 || !fs.f_blocks)
        return false;
    return fs.f_bavail * 100 / fs.f_blocks < (before ? DISK_ENOUGH_PERCENT : DISK_LOW_PERCENT);
}

static long long number_in(const char *path, const char *format)
{
    auto_free char *text = NULL;
    long long number = 0;
    if (file_read(path, 4096, &text, NULL, NULL) < 0 || sscanf(text, format, &number) != 1)
        return 0;
    return number;
}

static bool pids_short(bool before)
{
    long long tasks = number_in("/proc/loadavg", "%*f %*f %*f %*d/%lld");
    long long most = number_in("/proc/sys/kernel/pid_max", "%lld");
    long long threads = number_in("/proc/sys/kernel/threads-max", "%lld");
    if (threads && threads < most)
        most = threads;
    return most && tasks * 100 / most >= (before ? PIDS_FINE_PERCENT : PIDS_HIGH_PERCENT);
}

unsigned node_pressure_read(const struct node_options *options, unsigned before)
{
    if (!options->watch_pressure)
        return 0;
    bool disk = before & NODE_PRESSURE_DISK;
    return (memory_short(before & NODE_PRESSURE_MEMORY) ? NODE_PRESSURE_MEMORY : 0) |
           (disk_short(options->directory, disk) || disk_short(options->storage, disk) ? NODE_PRESSURE_DISK
                                                                                       : 0) |
           (pids_short(before & NODE_PRESSURE_PIDS) ? NODE_PRESSURE_PIDS : 0);
}
