/* Figures of this process, read when somebody asks; the names are those that Prometheus' own libraries use.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "metrics/metrics.h"

static double cpu_seconds(void *arg UNUSED)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static double resident_bytes(void *arg UNUSED)
{
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double open_files(void *arg UNUSED)
{
    DIR *directory = opendir("/proc/self/fd");
    double count = -1; /* the directory itself */
    if (!directory)
        return 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static double max_files(void *arg UNUSED)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : 0;
}

void metrics_add_process(struct metrics *metrics)
{
    metric_set(metrics_gauge(metrics, "process_start_time_seconds", "When it began, since the epoch.", NULL),
               (int64_t)time(NULL));
    metrics_function(metrics, "process_cpu_seconds_total", "CPU time used so far.", NULL, cpu_seconds, NULL);
    metrics_function(metrics, "process_resident_memory_bytes", "Memory in use.", NULL, resident_bytes, NULL);
    metrics_function(metrics, "process_open_fds", "Open files and connections.", NULL, open_files, NULL);
    metrics_function(metrics, "process_max_fds", "How many may be open.", NULL, max_files, NULL);
}
