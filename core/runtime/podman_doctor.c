/*
 * podman_doctor: can this machine run containers, and if not, what is to be done. The last check starts a
 * real sandbox in a folder of its own, so a green list means that podman, the container runtime, cgroups and
 * limits work together.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "base/file.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define MIN_KERNEL_MAJOR 5
#define MIN_KERNEL_MINOR 10 /* pidfds, close_range */
#define MIN_FILES 4096
#define MIN_INOTIFY 32
#define TRIAL_TIMEOUT_MS 20000
#define CAP_SYS_RESOURCE_BIT 24

static void add(cJSON *checks, const char *check, bool ok, const char *found, const char *remedy)
{
    cJSON *line = json_push(checks, cJSON_CreateObject());
    json_set_string(line, "check", check);
    json_set_bool(line, "ok", ok);
    json_set_string(line, "found", found);
    json_set_string(line, "remedy", ok ? "" : remedy);
}

static void check_kernel(cJSON *checks)
{
    struct utsname name;
    int major = 0, minor = 0;
    uname(&name);
    sscanf(name.release, "%d.%d", &major, &minor);
    bool ok = major > MIN_KERNEL_MAJOR || (major == MIN_KERNEL_MAJOR && minor >= MIN_KERNEL_MINOR);
    add(checks, "kernel", ok, name.release, "needs Linux 5.10 or newer");
    auto_free char *filesystems = NULL;
    bool overlay = file_read("/proc/filesystems", 65536, &filesystems, NULL, NULL) == 0 &&
                   strstr(filesystems, "\toverlay\n");
    add(checks, "overlayfs", overlay, overlay ? "present" : "absent", "load it: modprobe overlay");
    auto_fd netfilter = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    add(checks, "nftables", netfilter >= 0, netfilter >= 0 ? "present" : strerror(errno),
        "load it: modprobe nf_tables nfnetlink");
}

static void check_rights(cJSON *checks)
{
    add(checks, "root", geteuid() == 0, geteuid() == 0 ? "yes" : "no",
        "run as root: containers and networks need it");
    struct podman_facts facts;
    podman_facts_read(0, &facts);
    auto_free char *status = NULL;
    unsigned long long effective = 0;
    if (file_read("/proc/self/status", 65536, &status, NULL, NULL) == 0) {
        const char *line = strstr(status, "CapEff:");
        if (line)
            sscanf(line, "CapEff: %llx", &effective);
    }
    bool may_raise = effective >> CAP_SYS_RESOURCE_BIT & 1;
    auto_free char *files = mem_printf("at most %lld open files, %lld processes per user; %s",
                                       (long long)facts.max_files, (long long)facts.max_processes,
                                       may_raise ? "CAP_SYS_RESOURCE is held"
                                                 : "no CAP_SYS_RESOURCE: containers get no more than this");
    add(checks, "limits", facts.max_files >= MIN_FILES, files, "raise it: ulimit -Hn 65536 before the start");
    auto_free char *text = NULL;
    long long instances = 0;
    if (file_read("/proc/sys/fs/inotify/max_user_instances", 64, &text, NULL, NULL) == 0)
        instances = strtoll(text, NULL, 10);
    auto_free char *found = mem_printf("%lld instances", instances);
    add(checks, "inotify", instances >= MIN_INOTIFY, found,
        "raise it: sysctl fs.inotify.max_user_instances=1024");
}

static void check_cgroups(cJSON *checks)
{
    static const char *const layouts[] = {"v1", "hybrid: v1 controllers with a v2 tree beside them", "v2",
                                          "none mounted"};
    static const char *const needed[] = {"memory", "cpu", "pids", "devices"};
    enum podman_cgroups layout = podman_cgroups_detect();
    add(checks, "cgroups", layout != PODMAN_CGROUPS_NONE, layouts[layout], "mount cgroups at /sys/fs/cgroup");
    auto_free char *controllers = NULL;
    auto_str missing = {0};
    if (layout == PODMAN_CGROUPS_V2)
        file_read("/sys/fs/cgroup/cgroup.controllers", 4096, &controllers, NULL, NULL);
    for (size_t i = 0; i < COUNT_OF(needed); i++) {
        auto_free char *path = mem_printf("/sys/fs/cgroup/%s/cgroup.procs", needed[i]);
        bool have = layout == PODMAN_CGROUPS_V2
                        ? str_eq(needed[i], "devices") || (controllers && strstr(controllers, needed[i]))
                        : file_exists(path);
        if (!have)
            str_addf(&missing, "%s%s", missing.len ? ", " : "", needed[i]);
    }
    auto_free char *found =
        missing.len ? mem_printf("missing: %s", str_c(&missing)) : mem_strdup("memory, cpu, pids");
    add(checks, "cgroup controllers", missing.len == 0, found,
        "enable them in the kernel or its command line");
}

static void check_programs(cJSON *checks)
{
    static const char *const needed[][2] = {{"podman", "install it: apt-get install podman"},
                                            {"conmon", "install it: apt-get install conmon"}};
    for (size_t i = 0; i < COUNT_OF(needed); i++) {
        auto_free char *path = NULL;
        bool ok = podman_program_find(needed[i][0], &path);
        add(checks, needed[i][0], ok, ok ? path : "not installed", needed[i][1]);
    }
    bool crun = podman_program_find("crun", NULL), runc = podman_program_find("runc", NULL);
    bool hybrid = podman_cgroups_detect() == PODMAN_CGROUPS_HYBRID;
    auto_str found = {0};
    str_addf(&found, "crun %s, runc %s; %s is used", crun ? "found" : "absent", runc ? "found" : "absent",
             crun   ? "crun"
             : runc ? "runc"
                    : "none");
    if (crun && hybrid)
        str_add(&found, " (crun refuses hybrid cgroups, so it runs where the v2 tree is hidden from it)");
    add(checks, "container runtime", crun || runc, str_c(&found), "install one: apt-get install crun");
}

static void check_space(cJSON *checks)
{
    struct statvfs s;
    double gib = statvfs("/dev/shm", &s) == 0 ? (double)s.f_bavail * (double)s.f_frsize / (1 << 30) : 0;
    auto_free char *found = mem_printf("%.1f GiB free in /dev/shm", gib);
    add(checks, "memory file system", gib >= 1, found,
        "1 GiB is needed where a cluster keeps its containers in memory; else choose a folder on disk");
}

/* ---- the trial ---- */

struct trial {
    struct loop *loop;
    struct runtime *runtime;
    struct runtime_spec *spec;
    int64_t began_ms, took_ms;
    char *version;
    struct err *error;
};

static void trial_end(struct trial *t, struct err *err)
{
    if (err && !t->error)
        t->error = err_copy(err);
    loop_stop(t->loop);
}

static void on_trial_started(void *arg, struct runtime_container *container, struct err *err)
{
    struct trial *t = arg;
    t->took_ms = loop_now_ms(t->loop) - t->began_ms;
    runtime_container_free(container);
    trial_end(t, err);
}

static void on_trial_created(void *arg, struct err *err)
{
    struct trial *t = arg;
    if (err)
        trial_end(t, err);
    else
        t->runtime->ops->start(t->runtime, t->spec->name, on_trial_started, t);
}

static void on_trial_info(void *arg, cJSON *json, struct err *err)
{
    struct trial *t = arg;
    t->began_ms = loop_now_ms(t->loop);
    t->version = mem_strdup(json_string_or(json, "version", "unknown"));
    cJSON_Delete(json);
    if (err)
        trial_end(t, err);
    else
        t->runtime->ops->create(t->runtime, t->spec, on_trial_created, t);
}

static void on_trial_late(void *arg)
{
    struct trial *t = arg;
    auto_err error = NULL;
    err_set(&error, ERR_TIMEOUT, "no container started within %d s", TRIAL_TIMEOUT_MS / 1000);
    trial_end(t, error);
}

static void run_trial(struct trial *t, struct runtime_podman_options *options)
{
    t->loop = options->loop = loop_new(&t->error);
    if (!t->loop)
        return;
    t->runtime = runtime_podman_new(options, &t->error);
    if (t->runtime) {
        struct loop_timer *late = loop_timer_new(t->loop, on_trial_late, t);
        loop_timer_start(late, TRIAL_TIMEOUT_MS);
        t->runtime->ops->info(t->runtime, on_trial_info, t);
        loop_run(t->loop);
        loop_timer_free(late);
        t->runtime->ops->free(t->runtime);
    }
    loop_free(t->loop);
}

static void check_trial(cJSON *checks)
{
    char folder[] = "/dev/shm/minik8s-doctor-XXXXXX";
    if (!mkdtemp(folder)) {
        add(checks, "trial", false, strerror(errno), "/dev/shm must be writable");
        return;
    }
    auto_free char *storage = file_join(folder, "s"), *name = mem_printf("%d", (int)getpid());
    struct runtime_pair labels[] = {{(char *)PODMAN_LABEL "cluster", (char *)"doctor"},
                                    {(char *)PODMAN_LABEL "node", name}};
    struct runtime_spec spec = {.name = (char *)"doctor",
                                .labels = labels,
                                .n_labels = COUNT_OF(labels),
                                .security = {.user = -1, .group = -1},
                                .limits = {.memory_bytes = 64 << 20, .cpu_milli_limit = 500}};
    struct runtime_podman_options options = {
        .directory = folder, .storage = storage, .cluster = "doctor", .node = name, .concurrency = 1};
    struct trial t = {.spec = &spec};
    run_trial(&t, &options);
    auto_free char *found =
        t.error ? mem_strdup(err_message(t.error))
                : mem_printf("podman %s started a container in %lld ms", t.version, (long long)t.took_ms);
    add(checks, "trial", !t.error, found, "see the message; the checks above often name the cause");
    runtime_podman_shutdown(&options, true, NULL);
    file_remove_tree(folder, NULL);
    err_free(t.error);
    free(t.version);
}

cJSON *runtime_podman_doctor(void)
{
    cJSON *checks = cJSON_CreateArray();
    check_kernel(checks);
    check_rights(checks);
    check_cgroups(checks);
    check_programs(checks);
    check_space(checks);
    bool ready = geteuid() == 0;
    json_each (line, checks)
        ready = ready && (json_bool(line, "ok", false) || str_eq(json_string(line, "check"), "limits"));
    if (ready)
        check_trial(checks);
    return checks;
}
