/*
 * runtime: containers on one machine, behind a vtable. runtime_podman_new (below) speaks podman's REST API
 * over a unix socket; test/support has a fake with fault injection.
 *
 * Every operation is asynchronous: it returns at once and calls its callback exactly once on the runtime's
 * loop, with err == NULL on success (the callee keeps ownership of the error). Names are the identity:
 * operations on a name that is already in the wanted state succeed (create of an existing name, start of a
 * running one, remove of an absent one), so a caller that crashed between any two steps just asks again. The
 * number of concurrent create/start calls is bounded inside (start storm). Lost connection to the service:
 * pending calls fail with ERR_UNAVAILABLE, the service is started again, and on_event gets RUNTIME_RESYNC,
 * after which the caller lists.
 *
 * Labels that tie things together (contract): io.minik8s.cluster, io.minik8s.node, io.minik8s.pod.uid,
 * io.minik8s.pod.namespace, io.minik8s.pod.name, io.minik8s.container (empty for the sandbox),
 * io.minik8s.attempt, io.minik8s.hash (of the container's spec).
 */
#ifndef M8_RUNTIME_RUNTIME_H
#define M8_RUNTIME_RUNTIME_H

#include "base/json.h"
#include "http/http.h"
#include "loop/loop.h"

struct runtime_pair {
    char *name, *value;
};

enum runtime_propagation { /* of mounts made later inside: not at all, from the node, both ways */
                           RUNTIME_PROPAGATE_NONE,
                           RUNTIME_PROPAGATE_IN,
                           RUNTIME_PROPAGATE_BOTH
};

struct runtime_mount {
    char *source; /* host path; NULL for a tmpfs */
    /* A part of source that the caller resolves and clears before create; runtimes know none. NULL: all. */
    char *sub_path;
    char *destination;
    bool read_only;
    enum runtime_propagation propagation;
    int64_t tmpfs_bytes; /* 0: no limit given */
};

struct runtime_limits {
    int64_t memory_bytes;      /* 0: none */
    int64_t cpu_milli_limit;   /* 0: none → CFS quota */
    int64_t cpu_milli_request; /* → shares */
    int64_t pids;              /* 0: none */
};

struct runtime_security {
    int64_t user, group; /* -1: the image's */
    int64_t *supplemental_groups;
    size_t n_supplemental_groups;
    bool non_root; /* user is -1: create fails (ERR_FORBIDDEN) unless the image names a number other than 0 */
    bool strict_groups; /* no groups from the image's /etc/group */
    bool privileged, read_only_root, no_new_privileges;
    char **capabilities_add, **capabilities_drop; /* NULL-terminated, "NET_ADMIN" or "ALL"; NULL: none */
};

/* A container (or the sandbox). Plain data; runtime_spec_free frees all of it. */
struct runtime_spec {
    char *name;  /* unique on the node: m8_<container>_<pod>_<namespace>_<uid>_<attempt> */
    char *image; /* reference as in the Pod; NULL or "" for a sandbox: the built-in pause program, nothing to
                    pull */
    char **command, **arguments; /* NULL-terminated; NULL: the image's entrypoint / cmd */
    char *working_directory;     /* NULL: the image's */
    struct runtime_pair *environment;
    size_t n_environment;
    struct runtime_pair *labels;
    size_t n_labels;
    struct runtime_mount *mounts;
    size_t n_mounts;
    struct runtime_limits limits;
    struct runtime_security security;
    char *sandbox;     /* name of the sandbox to join (net, ipc, uts); NULL: this is a sandbox */
    char *hostname;    /* sandbox only */
    bool host_network; /* sandbox only: the node's network namespace */
    bool host_pid, host_ipc;
    bool share_pid;               /* join the sandbox's process namespace; its first process reaps */
    char *share_pid_of;           /* join that of the container with this name; NULL: none */
    struct runtime_pair *sysctls; /* sandbox only: of the namespaces that are not the node's */
    size_t n_sysctls;
    char *cgroup_parent;   /* NULL: the runtime's default for this pod */
    char *log_path;        /* the container's log file (k8s-file driver, CRI-like lines) */
    int64_t log_max_bytes; /* at which the runtime begins a new file by itself; 0: default 10 MiB */
    bool stdin_open, tty;
    int stop_signal; /* 0: the image's */
    char **devices;  /* NULL-terminated or NULL: "/dev/x", "/dev/x:/dev/y:rwm" or a CDI name
                        "vendor/class=name" */
};
void runtime_spec_free(struct runtime_spec *spec);

enum runtime_state { RUNTIME_CREATED, RUNTIME_RUNNING, RUNTIME_EXITED };

struct runtime_container {
    char *id, *name, *image, *image_id;
    enum runtime_state state;
    int pid;                                     /* 0 unless running */
    int exit_code;                               /* when exited: 0-255, 128+signal */
    bool oom_killed;                             /* from the cgroup's own counter */
    int64_t created_ns, started_ns, finished_ns; /* wall */
    struct runtime_pair *labels;
    size_t n_labels;
    char *log_path;
    int stop_signal; /* what asks it to end: the spec's or the image's, else SIGTERM */
    char *error;     /* start error text or NULL */
};
const char *runtime_container_label(const struct runtime_container *container, const char *name);
void runtime_container_free(struct runtime_container *container);

enum runtime_event_type { RUNTIME_STARTED, RUNTIME_DIED, RUNTIME_REMOVED, RUNTIME_RESYNC };
struct runtime_event {
    enum runtime_event_type type;
    const char *name; /* NULL for RESYNC; valid during the call */
    int exit_code;    /* DIED */
};
typedef void runtime_on_event(void *arg, const struct runtime_event *event);

typedef void runtime_on_done(void *arg, struct err *err);
typedef void runtime_on_container(void *arg, struct runtime_container *container,
                                  struct err *err); /* owned by callee */
typedef void runtime_on_list(void *arg, struct runtime_container **containers, size_t count,
                             struct err *err); /* owned */
typedef void runtime_on_exec(void *arg, int exit_code, const char *output, size_t len, struct err *err);
typedef void runtime_on_socket(void *arg, struct http_duplex *duplex,
                               struct err *err); /* duplex owned by callee */
typedef void runtime_on_exit_code(void *arg, int exit_code, struct err *err);
typedef void runtime_on_image(void *arg, const char *image_id, struct err *err);
typedef void runtime_on_json(void *arg, cJSON *json, struct err *err); /* json owned by callee */

enum runtime_pull { RUNTIME_PULL_IF_NOT_PRESENT, RUNTIME_PULL_ALWAYS, RUNTIME_PULL_NEVER };

struct runtime_exec {
    const char *container;
    const char *const *command; /* NULL-terminated */
    bool stdin_open, tty;
};

struct runtime;
struct runtime_ops {
    void (*set_on_event)(struct runtime *r, runtime_on_event *on_event, void *arg);
    /* Everything on this machine that carries our cluster's and node's labels, running or not. */
    void (*list)(struct runtime *r, runtime_on_list *done, void *arg);
    /* ERR_NOT_FOUND: not present and may not be pulled (reason ErrImageNeverPull) or the registry has no such
     * image. */
    void (*image)(struct runtime *r, const char *reference, enum runtime_pull policy, const char *auth_json,
                  runtime_on_image *done, void *arg);
    void (*images)(struct runtime *r, runtime_on_json *done,
                   void *arg); /* [{names, sizeBytes}] as Node.status.images */
    /* Creates without starting. ERR_INVALID: the spec cannot work (bad mount, bad user …), message precise.
     */
    void (*create)(struct runtime *r, const struct runtime_spec *spec, runtime_on_done *done, void *arg);
    /* Starts; gives the container with its pid. ERR_INVALID: command not found or not executable, … */
    void (*start)(struct runtime *r, const char *name, runtime_on_container *done, void *arg);
    void (*inspect)(struct runtime *r, const char *name, runtime_on_container *done, void *arg);
    void (*signal)(struct runtime *r, const char *name, int signal_number, runtime_on_done *done, void *arg);
    /* A hint before it is asked to end: it will be removed as soon as it has ended, so nothing need tidy up
     * after it until then. Should it not be removed after all, its layer and cgroup stay until it is. */
    void (*leaving)(struct runtime *r, const char *name);
    void (*remove)(struct runtime *r, const char *name, runtime_on_done *done,
                   void *arg); /* kills if running */
    /* Runs a command to its end within timeout_ms; output is stdout+stderr, at most 64 KiB. ERR_TIMEOUT. */
    void (*exec)(struct runtime *r, const struct runtime_exec *exec, int64_t timeout_ms,
                 runtime_on_exec *done, void *arg);
    /* Interactive: a duplex that carries podman's multiplexed frames (8-byte header: stream, 0,0,0, length
     * BE) unless tty. exec_id is to be freed by the callee through exec_exit/exec_resize users; see
     * runtime_exec_started below. */
    void (*exec_stream)(struct runtime *r, const struct runtime_exec *exec,
                        void (*started)(void *arg, const char *exec_id, struct http_duplex *duplex,
                                        struct err *err),
                        void *arg);
    void (*exec_resize)(struct runtime *r, const char *exec_id, unsigned width, unsigned height);
    void (*exec_exit)(struct runtime *r, const char *exec_id, runtime_on_exit_code *done, void *arg);
    void (*attach)(struct runtime *r, const char *name, bool stdin_open, runtime_on_socket *done, void *arg);
    void (*resize)(struct runtime *r, const char *name, unsigned width, unsigned height);
    /* Its monitor goes on in a new file: it opens "LOG.tmp" (made by the caller or not, emptied) and renames
     * it to LOG, which is how the caller learns of it, after an fsync of the old file. True: it was told, and
     * each telling begins a file. False: it does not run, or does not listen yet. */
    bool (*reopen_log)(struct runtime *r, const char *name);
    /* CPU time so far and working set of all our containers in one call: [{name, cpuNano, memoryBytes}]; name
     * "" is all of them together with those that have ended. */
    void (*stats)(struct runtime *r, runtime_on_json *done, void *arg);
    void (*info)(struct runtime *r, runtime_on_json *done,
                 void *arg); /* {version, runtime, cgroupVersion, …} for Node.status */
    void (*free)(struct runtime
                     *r); /* pending callbacks are called with ERR_CANCELLED; containers and service go on */
};
struct runtime {
    const struct runtime_ops *ops;
};

/* How podman is to be run on this machine; the node's configuration may override what is detected. */
struct runtime_podman_options {
    const char *directory;      /* node's folder: socket, pid file, logs, containers.conf; absolute */
    const char *storage;        /* images, layers, podman's own state (a tmpfs in test clusters); absolute */
    const char *cluster, *node; /* label values, valid in paths */
    const char *oci_runtime;    /* "crun", "runc"; NULL: detect */
    const char *socket;         /* where the service listens; NULL: in directory */
    const char *driver;         /* of the images: "overlay", "vfs"; NULL: overlay */
    const char *const
        *insecure_registries; /* "host:port" spoken to without TLS; NULL-terminated; NULL: none */
    const char
        *shared_images; /* a folder of images read by several nodes, see runtime_podman_load; or NULL */
    struct loop *loop;
    unsigned concurrency; /* starts at a time; 0: 4 */
};
/* Starts or adopts the `podman system service`; usable at once (calls wait until the service answers). */
struct runtime *runtime_podman_new(const struct runtime_podman_options *options, struct err **err);
/* Ends the service process (the cluster's `down`, stop-node); containers first if asked. Blocking; for
 * commands only. */
int runtime_podman_shutdown(const struct runtime_podman_options *options, bool remove_containers,
                            struct err **err);

/* Loads an image archive (`podman save`, `docker save`, plain or gzip), or all "*.tar" and "*.tar.gz" of a
 * folder, into the node's storage, whose service must run; with shared_images into that folder, once for all
 * nodes that name it (a service of its own lives as long as the call; running nodes see the images at once).
 * Blocking; for commands only. */
int runtime_podman_load(const struct runtime_podman_options *options, const char *path, struct err **err);

/* What `minik8s doctor` says: a list of {check, ok, found, remedy}. Blocking; for commands only. */
cJSON *runtime_podman_doctor(void);

/* Pure: the body of POST /libpod/containers/create. Caller owns. */
cJSON *runtime_podman_spec(const struct runtime_spec *spec, const struct runtime_podman_options *options);

#endif
