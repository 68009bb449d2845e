/*
 * podman_config: the folder that a node's podman service lives in, and how the service is started.
 *
 * Everything that podman reads is written here, so that nothing of the machine's own container configuration
 * has a say and several services live side by side. Transient state (run, libpod) of an earlier boot is
 * dropped, because podman would take the containers of that boot for alive. Invariant: a file is only written
 * when its content differs.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define MAX_SOCKET_PATH 100 /* sun_path holds 108 with its NUL */
#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

char *podman_socket_path(const struct runtime_podman_options *options)
{
    return options->socket ? mem_strdup(options->socket) : file_join(options->directory, "podman.sock");
}

char *podman_pid_path(const struct runtime_podman_options *options)
{
    return file_join(options->directory, "podman.pid");
}

char *podman_seccomp_path(const struct runtime_podman_options *options)
{
    return file_join(options->directory, "seccomp.json");
}

char *podman_pause_root(const struct runtime_podman_options *options)
{
    return file_join(options->directory, "pause");
}

char *podman_exits_path(const struct runtime_podman_options *options)
{
    return file_join(options->storage, "libpod/exits");
}

char *podman_oom_path(const struct runtime_podman_options *options)
{
    return file_join(options->storage, "oom");
}

char *podman_leaving_path(const struct runtime_podman_options *options)
{
    return file_join(options->storage, "leaving");
}

char *podman_sandboxes_path(const struct runtime_podman_options *options)
{
    return file_join(options->storage, "sandboxes");
}

char *podman_log_path(const struct runtime_podman_options *options)
{
    return file_join(options->directory, "podman.log");
}

char *podman_cgroup_root(const struct runtime_podman_options *options)
{
    return mem_printf("/minik8s/%s/%s", options->cluster, options->node);
}

bool podman_program_find(const char *name, char **path)
{
    auto_free char **folders = str_split(SEARCH_PATH, ':', NULL);
    for (size_t i = 0; folders[i]; i++) {
        auto_free char *candidate = file_join(folders[i], name);
        if (access(candidate, X_OK) == 0) {
            if (path)
                *path = steal(&candidate);
            return true;
        }
    }
    return false;
}

const char *podman_oci_detect(const char *wanted)
{
    const char *const known[] = {"crun", "runc"}; /* crun first: it starts a container in half the time */
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if ((!wanted || str_eq(wanted, known[i])) && podman_program_find(known[i], NULL))
            return known[i];
    return NULL;
}

/* ---- files ---- */

static int write_file(const char *directory, const char *name, const void *data, size_t len, mode_t mode,
                      struct err **err)
{
    auto_free char *path = file_join(directory, name), *old = NULL;
    size_t old_len = 0;
    struct stat st;
    if (stat(path, &st) == 0 && (size_t)st.st_size == len && (st.st_mode & 07777) == mode &&
        file_read(path, len + 1, &old, &old_len, NULL) == 0 && old_len == len && memcmp(old, data, len) == 0)
        return 0;
    return file_write_atomic(path, data, len, mode, err);
}

static int write_text(const char *directory, const char *name, const struct str *text, mode_t mode,
                      struct err **err)
{
    return write_file(directory, name, str_c(text), text->len, mode, err);
}

/* The calls that a container never needs, unless it was given the capability that guards them. Everything
 * else is decided by the kernel's own checks. Kubernetes' default is no profile at all. */
static const struct {
    const char *capability; /* NULL: always refused */
    const char *calls;      /* JSON strings */
    int number;             /* errno */
} refused_calls[] = {
    {NULL,
     "\"add_key\",\"keyctl\",\"request_key\",\"userfaultfd\",\"nfsservctl\",\"uselib\",\"ustat\",\"sysfs\","
     "\"_sysctl\",\"create_module\",\"get_kernel_syms\",\"query_module\",\"vm86\",\"vm86old\"",
     1},
    {"CAP_SYS_ADMIN",
     "\"bpf\",\"fanotify_init\",\"fsconfig\",\"fsmount\",\"fsopen\",\"fspick\",\"mount\",\"mount_setattr\","
     "\"move_mount\",\"open_tree\",\"perf_event_open\",\"pivot_root\",\"quotactl\",\"quotactl_fd\","
     "\"setdomainname\",\"sethostname\",\"setns\",\"swapon\",\"swapoff\",\"umount\",\"umount2\",\"unshare\","
     "\"lookup_dcookie\"",
     1},
    {"CAP_SYS_MODULE", "\"delete_module\",\"finit_module\",\"init_module\"", 1},
    {"CAP_SYS_BOOT", "\"kexec_file_load\",\"kexec_load\",\"reboot\"", 1},
    {"CAP_SYS_PACCT", "\"acct\"", 1},
    {"CAP_SYS_PTRACE", "\"kcmp\",\"process_vm_readv\",\"process_vm_writev\"", 1},
    {"CAP_SYS_RAWIO", "\"ioperm\",\"iopl\"", 1},
    {"CAP_SYS_TIME", "\"clock_adjtime\",\"clock_settime\",\"settimeofday\",\"stime\"", 1},
    {"CAP_SYS_TTY_CONFIG", "\"vhangup\"", 1},
    {"CAP_DAC_READ_SEARCH", "\"open_by_handle_at\"", 1},
    {"CAP_SYSLOG", "\"syslog\"", 1},
};

static void render_seccomp(struct str *out)
{
    str_add(
        out,
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"archMap\":["
        "{\"architecture\":\"SCMP_ARCH_X86_64\",\"subArchitectures\":[\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"]},"
        "{\"architecture\":\"SCMP_ARCH_AARCH64\",\"subArchitectures\":[\"SCMP_ARCH_ARM\"]}],\"syscalls\":[");
    for (size_t i = 0; i < COUNT_OF(refused_calls); i++) {
        str_addf(out, "{\"names\":[%s],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":%d", refused_calls[i].calls,
                 refused_calls[i].number);
        if (refused_calls[i].capability)
            str_addf(out, ",\"excludes\":{\"caps\":[\"%s\"]}", refused_calls[i].capability);
        str_add(out, "},");
    }
    /* No new user namespaces: clone's flags can be seen (CLONE_NEWUSER), clone3's cannot, and ENOSYS makes
     * libc fall back to clone. */
    str_add(out, "{\"names\":[\"clone\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1,\"args\":[{\"index\":0,"
                 "\"value\":268435456,\"valueTwo\":268435456,\"op\":\"SCMP_CMP_MASKED_EQ\"}],"
                 "\"excludes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}},"
                 "{\"names\":[\"clone3\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38,"
                 "\"excludes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}}]}\n");
}

static void render_containers(struct str *out, const struct runtime_podman_options *o, const char *oci)
{
    auto_free char *wrapper = mem_printf("%s/bin/%s", o->directory, oci);
    str_addf(out,
             "[containers]\nlog_driver = \"k8s-file\"\nhttp_proxy = false\npids_limit = 0\n"
             "default_sysctls = []\nno_hosts = true\ndefault_ulimits = []\n"
             "[network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"%s/networks\"\n",
             o->directory);
    /* events_logger none: podman's file back end is polled every 250 ms; the ends of containers are watched
     * directly. lock_type file: the shared-memory locks are one name for the whole machine.
     * exit_command_delay: how long an ended exec session keeps its monitor process; 300 s would be one per
     * probe. */
    str_addf(
        out,
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\n"
        "exit_command_delay = 3\nimage_default_transport = \"docker://\"\n"
        "static_dir = \"%s/graph/libpod\"\ntmp_dir = \"%s/libpod\"\nvolume_path = \"%s/graph/volumes\"\n"
        "conmon_path = [\"%s/bin/conmon\"]\n"
        "runtime = \"%s\"\nruntime_supports_json = [\"crun\", \"runc\"]\n[engine.runtimes]\n%s = [\"%s\"]\n",
        o->storage, o->storage, o->storage, o->directory, oci, oci, wrapper);
}

static void render_registries(struct str *out, const struct runtime_podman_options *o)
{
    str_add(out, "unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"disabled\"\n");
    for (size_t i = 0; o->insecure_registries && o->insecure_registries[i]; i++)
        str_addf(out, "[[registry]]\nlocation = \"%s\"\ninsecure = true\n", o->insecure_registries[i]);
}

static void render_storage(struct str *out, const struct runtime_podman_options *o)
{
    str_addf(out,
             "[storage]\ndriver = \"%s\"\ngraphroot = \"%s/graph\"\nrunroot = "
             "\"%s/run\"\n[storage.options]\n",
             o->driver ? o->driver : "overlay", o->storage, o->storage);
    if (o->shared_images)
        str_addf(out, "additionalimagestores = [\"%s/graph\"]\n", o->shared_images);
}

/* A command for people: the node's podman with its own configuration. */
static void render_command(struct str *out, const struct runtime_podman_options *o)
{
    char **environment = podman_service_environment(o);
    str_add(out, "#!/bin/sh\n# podman as this node runs it\n");
    for (size_t i = 0; environment[i]; i++) {
        char *value = strchr(environment[i], '=');
        str_addf(out, "export %.*s'%s'\n", (int)(value + 1 - environment[i]), environment[i], value + 1);
    }
    str_add(out, "exec podman \"$@\"\n");
    podman_texts_free(environment);
}

/* How the programs in `bin` find what lies in the storage. */
static int link_to(const char *bin, const char *name, const char *target, struct err **err)
{
    auto_free char *link = file_join(bin, name);
    char found[MAX_SOCKET_PATH * 4];
    ssize_t n = readlink(link, found, sizeof(found));
    if (n >= 0 && (size_t)n == strlen(target) && memcmp(found, target, (size_t)n) == 0)
        return 0;
    unlink(link);
    return symlink(target, link) < 0 ? err_errno(err, errno, "link %s", link) : 0;
}

static int write_programs(const struct runtime_podman_options *o, struct err **err)
{
    static const char *const folders[] = {"proc", "sys", "dev", "etc", "run", "tmp"};
    auto_free char *bin = file_join(o->directory, "bin"), *pause = podman_pause_root(o);
    if (file_make_dirs(bin, 0755, err) < 0)
        return -1;
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        auto_free char *path = file_join(pause, folders[i]);
        if (file_make_dirs(path, 0755, err) < 0)
            return -1;
    }
    struct podman_program oci = podman_program_oci(), program = podman_program_pause(),
                          monitor = podman_program_monitor();
    auto_free char *oci_state = file_join(o->storage, "oci"), *leaving = podman_leaving_path(o);
    if (link_to(bin, "state", oci_state, err) < 0 || link_to(bin, "leaving", leaving, err) < 0)
        return -1;
    if (write_file(bin, "crun", oci.data, oci.len, 0755, err) < 0 ||
        write_file(bin, "runc", oci.data, oci.len, 0755, err) < 0 ||
        write_file(bin, "conmon", monitor.data, monitor.len, 0755, err) < 0 ||
        write_file(bin, "ended", monitor.data, monitor.len, 0755, err) < 0)
        return -1;
    return write_file(pause, "pause", program.data, program.len, 0755, err);
}

/* Drops what podman keeps for one boot, if it is of another. */
static int check_boot(const struct runtime_podman_options *o, struct err **err)
{
    auto_free char *now = NULL, *then = NULL, *path = file_join(o->storage, "boot-id");
    size_t len = 0;
    if (file_read("/proc/sys/kernel/random/boot_id", 128, &now, &len, err) < 0)
        return -1;
    if (file_read(path, 128, &then, NULL, NULL) == 0 && str_eq(now, then))
        return 0;
    static const char *const transient[] = {"run", "libpod", "oom", "oci", "leaving"};
    for (size_t i = 0; i < COUNT_OF(transient); i++) {
        auto_free char *old = file_join(o->storage, transient[i]);
        if (file_remove_tree(old, err) < 0)
            return -1;
    }
    return file_write_durable(path, now, len, 0644, err);
}

static int make_folders(const struct runtime_podman_options *o, struct err **err)
{
    if (o->shared_images) { /* podman does not start without it */
        auto_free char *shared = file_join(o->shared_images, "graph");
        if (file_make_dirs(shared, 0700, err) < 0)
            return -1;
    }
    static const char *const in_storage[] = {"graph", "run", "libpod", "libpod/exits", "oom",
                                             "oci",   "tmp", "xdg",    "sandboxes",    "leaving"};
    static const char *const in_directory[] = {"networks", ".config/containers"};
    for (size_t i = 0; i < COUNT_OF(in_storage); i++) {
        auto_free char *path = file_join(o->storage, in_storage[i]);
        if (file_make_dirs(path, 0700, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < COUNT_OF(in_directory); i++) {
        auto_free char *path = file_join(o->directory, in_directory[i]);
        if (file_make_dirs(path, 0755, err) < 0)
            return -1;
    }
    return 0;
}

int podman_config_write(const struct runtime_podman_options *o, struct err **err)
{
    auto_free char *socket = podman_socket_path(o);
    if (o->directory[0] != '/' || o->storage[0] != '/')
        return err_set(err, ERR_INVALID, "runtime: directory and storage must be absolute paths");
    if (strlen(socket) > MAX_SOCKET_PATH)
        return err_set(err, ERR_INVALID, "runtime: the path %s is too long for a socket (%d bytes at most)",
                       socket, MAX_SOCKET_PATH);
    if (!podman_program_find("podman", NULL))
        return err_set(err, ERR_NOT_FOUND, "podman is not installed");
    const char *oci = podman_oci_detect(o->oci_runtime);
    if (!oci)
        return err_set(err, ERR_NOT_FOUND, "container runtime %s is not installed",
                       o->oci_runtime ? o->oci_runtime : "(crun or runc)");
    if (file_make_dirs(o->directory, 0755, err) < 0 || file_make_dirs(o->storage, 0700, err) < 0 ||
        check_boot(o, err) < 0 || make_folders(o, err) < 0 || write_programs(o, err) < 0)
        return err_wrap(err, "prepare podman's folder");
    auto_str containers = {0}, storage = {0}, registries = {0}, seccomp = {0}, command = {0}, policy = {0};
    render_containers(&containers, o, oci);
    render_storage(&storage, o);
    render_registries(&registries, o);
    render_seccomp(&seccomp);
    render_command(&command, o);
    str_add(&policy, "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}\n");
    if (write_text(o->directory, "containers.conf", &containers, 0644, err) < 0 ||
        write_text(o->directory, "storage.conf", &storage, 0644, err) < 0 ||
        write_text(o->directory, "registries.conf", &registries, 0644, err) < 0 ||
        write_text(o->directory, "seccomp.json", &seccomp, 0644, err) < 0 ||
        write_text(o->directory, ".config/containers/policy.json", &policy, 0644, err) < 0 ||
        write_text(o->directory, "podman", &command, 0755, err) < 0)
        return err_wrap(err, "write podman's configuration");
    return 0;
}

/* ---- the service's process ---- */

void podman_texts_free(char **texts)
{
    for (size_t i = 0; texts && texts[i]; i++)
        free(texts[i]);
    free(texts);
}

char **podman_service_argv(const struct runtime_podman_options *options)
{
    auto_free char *socket = podman_socket_path(options);
    char **argv = mem_array(10, sizeof(char *));
    size_t n = 0;
    /* env becomes podman, in our folder: conmon leaves a file "oom" wherever it was started. */
    argv[n++] = mem_strdup("env");
    argv[n++] = mem_strdup("--chdir");
    argv[n++] = mem_strdup(options->directory);
    argv[n++] = mem_strdup("podman");
    argv[n++] = mem_strdup("--log-level=warn");
    argv[n++] = mem_strdup("system");
    argv[n++] = mem_strdup("service");
    argv[n++] = mem_strdup("--time=0");
    argv[n++] = mem_printf("unix://%s", socket);
    return argv;
}

char **podman_service_environment(const struct runtime_podman_options *o)
{
    char **environment = mem_array(10, sizeof(char *));
    environment[0] = mem_strdup("PATH=" SEARCH_PATH);
    environment[1] = mem_printf("HOME=%s", o->directory); /* where podman looks for policy.json first */
    environment[2] = mem_printf("CONTAINERS_CONF=%s/containers.conf", o->directory);
    environment[3] = mem_printf("CONTAINERS_STORAGE_CONF=%s/storage.conf", o->directory);
    environment[4] = mem_printf("CONTAINERS_REGISTRIES_CONF=%s/registries.conf", o->directory);
    environment[5] = mem_printf("XDG_RUNTIME_DIR=%s/xdg", o->storage);
    environment[6] = mem_printf("TMPDIR=%s/tmp", o->storage);
    environment[7] = mem_printf("REGISTRY_AUTH_FILE=%s/auth.json", o->directory);
    environment[8] = mem_strdup("GOGC=200"); /* half as many collections: a tenth less time for a start */
    return environment;
}
