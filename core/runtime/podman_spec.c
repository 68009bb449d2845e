/*
 * podman_spec: struct runtime_spec → the body of POST containers/create. Pure but for the paths that it
 * names.
 *
 * Choices that make a start cheap, each measured: a seccomp profile of forbidden calls instead of the long
 * list of allowed ones (25 ms less in the container runtime), no cgroup for conmon, no sandbox that podman
 * knows. Limits of open files and processes are always sent: podman's defaults are beyond what an
 * unprivileged root may set.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define CPU_PERIOD_US 100000
#define MIN_CPU_QUOTA_US 1000
#define DEFAULT_LOG_BYTES (10 << 20)
#define LIMIT_UNBOUNDED 1048576

static int64_t limit_from_text(const char *text, const char *name, int64_t fallback)
{
    const char *line = strstr(text, name);
    char soft[32], hard[32];
    long long value;
    if (!line || sscanf(line + strlen(name), " %31s %31s", soft, hard) != 2 || str_to_int64(hard, &value) < 0)
        return fallback;
    return value;
}

void podman_facts_read(pid_t service, struct podman_facts *facts)
{
    auto_free char *path =
        service ? mem_printf("/proc/%d/limits", (int)service) : mem_strdup("/proc/self/limits");
    auto_free char *text = NULL, *pids = NULL;
    long long pid_max = 32768;
    if (file_read("/proc/sys/kernel/pid_max", 64, &pids, NULL, NULL) == 0) {
        pids[strcspn(pids, "\n")] = 0;
        str_to_int64(pids, &pid_max);
    }
    facts->max_files = facts->max_processes = 1024;
    if (file_read(path, 65536, &text, NULL, NULL) == 0) {
        facts->max_files = limit_from_text(text, "Max open files", LIMIT_UNBOUNDED);
        facts->max_processes = limit_from_text(text, "Max processes", pid_max);
    }
    if (facts->max_processes > pid_max) /* podman lowers its own limit so far before it starts conmon */
        facts->max_processes = pid_max;
    facts->swap_accounting = podman_cgroups_detect() == PODMAN_CGROUPS_V2 ||
                             file_exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes");
}

static void add_texts(cJSON *body, const char *key, char **texts)
{
    if (!texts)
        return;
    cJSON *array = json_ensure_array(body, key);
    for (size_t i = 0; texts[i]; i++)
        json_push_string(array, texts[i]);
}

static void add_pairs(cJSON *body, const char *key, const struct runtime_pair *pairs, size_t count)
{
    cJSON *object = json_ensure_object(body, key);
    for (size_t i = 0; i < count; i++)
        json_set_string(object, pairs[i].name, pairs[i].value ? pairs[i].value : "");
}

static void add_namespace(cJSON *body, const char *key, const char *mode, const char *value)
{
    cJSON *ns = json_ensure_object(body, key);
    json_set_string(ns, "nsmode", mode);
    if (value)
        json_set_string(ns, "value", value);
}

static cJSON *add_mount(cJSON *mounts, const char *type, const char *source, const char *destination)
{
    cJSON *mount = json_push(mounts, cJSON_CreateObject());
    json_set_string(mount, "destination", destination);
    json_set_string(mount, "type", type);
    json_set_string(mount, "source", source);
    return json_ensure_array(mount, "options");
}

static void add_bind(cJSON *mounts, const char *source, const char *destination,
                     enum runtime_propagation propagation, bool read_only)
{
    static const char *const propagations[] = {"rprivate", "rslave", "rshared"};
    cJSON *options = add_mount(mounts, "bind", source, destination);
    json_push_string(options, "rbind");
    json_push_string(options, propagations[propagation]);
    json_push_string(options, read_only ? "ro" : "rw");
}

static void add_tmpfs(cJSON *mounts, const struct runtime_mount *m)
{
    cJSON *options = add_mount(mounts, "tmpfs", "tmpfs", m->destination);
    json_push_string(options, "mode=1777");
    if (m->tmpfs_bytes > 0) {
        auto_free char *size = mem_printf("size=%lld", (long long)m->tmpfs_bytes);
        json_push_string(options, size);
    }
    json_push_string(options, m->read_only ? "ro" : "rw");
}

static void add_mounts(cJSON *body, const struct runtime_spec *spec)
{
    if (spec->n_mounts == 0)
        return;
    cJSON *mounts = json_ensure_array(body, "mounts");
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const struct runtime_mount *m = &spec->mounts[i];
        if (m->source)
            add_bind(mounts, m->source, m->destination, m->propagation, m->read_only);
        else
            add_tmpfs(mounts, m);
    }
}

static void add_limits(cJSON *body, const struct runtime_limits *limits, const struct podman_facts *facts)
{
    cJSON *resources = json_ensure_object(body, "resource_limits");
    if (limits->memory_bytes > 0) {
        cJSON *memory = json_ensure_object(resources, "memory");
        json_set_int(memory, "limit", limits->memory_bytes);
        if (facts->swap_accounting)
            json_set_int(memory, "swap", limits->memory_bytes); /* memory + swap: so no swap at all */
    }
    if (limits->cpu_milli_limit > 0 || limits->cpu_milli_request > 0) {
        cJSON *cpu = json_ensure_object(resources, "cpu");
        if (limits->cpu_milli_limit > 0) {
            int64_t quota = limits->cpu_milli_limit * (CPU_PERIOD_US / 1000);
            json_set_int(cpu, "quota", quota < MIN_CPU_QUOTA_US ? MIN_CPU_QUOTA_US : quota);
            json_set_int(cpu, "period", CPU_PERIOD_US);
        }
        int64_t shares = limits->cpu_milli_request * 1024 / 1000;
        json_set_int(cpu, "shares", shares < 2 ? 2 : shares);
    }
    json_set_int(json_ensure_object(resources, "pids"), "limit", limits->pids > 0 ? limits->pids : 0);

    cJSON *process_limits = json_ensure_array(body, "r_limits");
    const struct {
        const char *type;
        int64_t value;
    } all[] = {{"nofile", facts->max_files}, {"nproc", facts->max_processes}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        cJSON *limit = json_push(process_limits, cJSON_CreateObject());
        json_set_string(limit, "type", all[i].type);
        json_set_int(limit, "soft", all[i].value);
        json_set_int(limit, "hard", all[i].value);
    }
}

static void add_security(cJSON *body, const struct runtime_spec *spec,
                         const struct runtime_podman_options *options)
{
    const struct runtime_security *s = &spec->security;
    if (s->user >= 0 || s->group >= 0) {
        auto_str user = {0};
        if (s->user >= 0)
            str_addf(&user, "%lld", (long long)s->user);
        if (s->group >= 0)
            str_addf(&user, ":%lld", (long long)s->group);
        json_set_string(body, "user", str_c(&user));
    }
    for (size_t i = 0; i < s->n_supplemental_groups; i++) {
        auto_free char *group = mem_printf("%lld", (long long)s->supplemental_groups[i]);
        json_push_string(json_ensure_array(body, "groups"), group);
    }
    if (s->privileged) {
        json_set_bool(body, "privileged", true);
    } else {
        auto_free char *seccomp = podman_seccomp_path(options);
        json_set_string(body, "seccomp_profile_path", seccomp);
    }
    if (s->read_only_root)
        json_set_bool(body, "read_only_filesystem", true);
    if (s->no_new_privileges)
        json_set_bool(body, "no_new_privileges", true);
    add_texts(body, "cap_add", s->capabilities_add);
    add_texts(body, "cap_drop", s->capabilities_drop);
}

static void add_devices(cJSON *body, char **devices)
{
    for (size_t i = 0; devices && devices[i]; i++)
        json_set_string(json_push(json_ensure_array(body, "devices"), cJSON_CreateObject()), "path",
                        devices[i]);
}

static void add_log(cJSON *body, const struct runtime_spec *spec)
{
    cJSON *log = json_ensure_object(body, "log_configuration");
    if (!spec->log_path) {
        json_set_string(log, "driver", "none");
        return;
    }
    json_set_string(log, "driver", "k8s-file");
    json_set_string(log, "path", spec->log_path);
    json_set_int(log, "size", spec->log_max_bytes > 0 ? spec->log_max_bytes : DEFAULT_LOG_BYTES);
}

/* A sandbox without image runs the built-in pause program from a folder: nothing to pull, no layer to mount.
 * The runtime makes these without podman (podman_sandbox.c); benches compare with what podman would do. */
static void add_sandbox(cJSON *body, const struct runtime_spec *spec,
                        const struct runtime_podman_options *options)
{
    if (str_empty(spec->image)) {
        auto_free char *root = podman_pause_root(options);
        json_set_string(body, "rootfs", root);
        json_push_string(json_ensure_array(body, "command"), "/pause");
    }
    add_namespace(body, "netns", spec->host_network ? "host" : "none", NULL);
    if (spec->host_ipc)
        add_namespace(body, "ipcns", "host", NULL);
    if (spec->n_sysctls)
        add_pairs(body, "sysctl", spec->sysctls, spec->n_sysctls);
    if (spec->host_network)
        add_namespace(body, "utsns", "host", NULL);
    else if (spec->hostname)
        json_set_string(body, "hostname", spec->hostname);
}

static const char *pod_uid(const struct runtime_spec *spec)
{
    for (size_t i = 0; i < spec->n_labels; i++)
        if (str_eq(spec->labels[i].name, PODMAN_LABEL "pod.uid"))
            return spec->labels[i].value;
    return NULL;
}

char *podman_spec_cgroup_parent(const struct runtime_spec *spec, const struct runtime_podman_options *options)
{
    auto_free char *root = podman_cgroup_root(options);
    const char *uid = pod_uid(spec);
    return spec->cgroup_parent ? mem_strdup(spec->cgroup_parent)
           : uid               ? mem_printf("%s/pod%s", root, uid)
                               : mem_strdup(root);
}

static void add_cgroup(cJSON *body, const struct runtime_spec *spec,
                       const struct runtime_podman_options *options)
{
    auto_free char *parent = podman_spec_cgroup_parent(spec, options);
    json_set_string(body, "cgroup_parent", parent);
    json_set_string(body, "cgroups_mode", "no-conmon");
}

cJSON *podman_spec_translate(const struct runtime_spec *spec, const struct runtime_podman_options *options,
                             const struct podman_facts *facts)
{
    cJSON *body = cJSON_CreateObject();
    json_set_string(body, "name", spec->name);
    if (!str_empty(spec->image))
        json_set_string(body, "image", spec->image);
    add_texts(body, "entrypoint", spec->command);
    add_texts(body, "command", spec->arguments);
    if (spec->working_directory)
        json_set_string(body, "work_dir", spec->working_directory);
    add_pairs(body, "env", spec->environment, spec->n_environment);
    add_pairs(body, "labels", spec->labels, spec->n_labels);
    add_mounts(body, spec);
    add_limits(body, &spec->limits, facts);
    add_security(body, spec, options);
    add_devices(body, spec->devices);
    add_log(body, spec);
    add_cgroup(body, spec, options);
    if (spec->sandbox) {
        const char *const joined[] = {"netns", "ipcns", "utsns"};
        for (size_t i = 0; i < COUNT_OF(joined); i++)
            add_namespace(body, joined[i], "container", spec->sandbox);
        if (spec->share_pid || spec->share_pid_of)
            add_namespace(body, "pidns", "container",
                          spec->share_pid_of ? spec->share_pid_of : spec->sandbox);
    } else {
        add_sandbox(body, spec, options);
    }
    if (spec->host_pid)
        add_namespace(body, "pidns", "host", NULL);
    if (spec->stdin_open)
        json_set_bool(body, "stdin", true);
    if (spec->tty)
        json_set_bool(body, "terminal", true);
    if (spec->stop_signal > 0)
        json_set_int(body, "stop_signal", spec->stop_signal);
    /* The node mounts its own hosts and resolv.conf; podman's would be written and copied for nothing. */
    json_set_bool(body, "use_image_hosts", true);
    json_set_bool(body, "use_image_resolve_conf", true);
    json_set_string(body, "systemd", "false");
    json_set_bool(body, "volatile",
                  true); /* no fsync when the layer is unmounted: nothing in it survives a pod */
    /* An image's HEALTHCHECK would need systemd timers; probes are the pod's. */
    json_push_string(json_ensure_array(json_ensure_object(body, "healthconfig"), "Test"), "NONE");
    return body;
}

static bool is_mounted(const struct runtime_spec *spec, const char *destination)
{
    for (size_t i = 0; i < spec->n_mounts; i++)
        if (str_eq(spec->mounts[i].destination, destination))
            return true;
    return false;
}

void podman_spec_join(cJSON *body, const struct runtime_spec *spec, const struct podman_joined *sandbox)
{
    static const char *const joined[][2] = {
        {"netns", "net"}, {"ipcns", "ipc"}, {"utsns", "uts"}, {"pidns", "pid"}};
    for (size_t i = 0; i < COUNT_OF(joined); i++) {
        auto_free char *path = mem_printf("/proc/%d/ns/%s", sandbox->pid, joined[i][1]);
        if (!str_eq(joined[i][1], "pid") || spec->share_pid)
            add_namespace(body, joined[i][0], "path", path);
    }
    if (!is_mounted(spec, "/dev/shm"))
        add_bind(json_ensure_array(body, "mounts"), sandbox->shm, "/dev/shm", RUNTIME_PROPAGATE_NONE, false);
    if (!json_string(json_ensure_object(body, "env"), "HOSTNAME"))
        json_set_string(json_get(body, "env"), "HOSTNAME", sandbox->hostname);
}

cJSON *runtime_podman_spec(const struct runtime_spec *spec, const struct runtime_podman_options *options)
{
    struct podman_facts facts;
    podman_facts_read(0, &facts);
    return podman_spec_translate(spec, options, &facts);
}
