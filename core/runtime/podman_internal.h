/* podman_internal: what the podman_*.c files share. Everything here belongs to the runtime's loop. */
#ifndef M8_RUNTIME_PODMAN_INTERNAL_H
#define M8_RUNTIME_PODMAN_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "loop/helper.h"
#include "runtime/runtime.h"

#define PODMAN_API "/v4.0.0/libpod"
#define PODMAN_LABEL "io.minik8s."

/* ---- podman_programs.c: embedded programs ---- */
struct podman_program {
    const char *data;
    size_t len;
};
struct podman_program podman_program_pause(void);
struct podman_program podman_program_oci(void);
struct podman_program podman_program_monitor(void);

/* ---- podman_config.c: files and command line of the service ---- */
/* Paths under options->directory; caller frees. */
char *podman_socket_path(const struct runtime_podman_options *options);
char *podman_pid_path(const struct runtime_podman_options *options);
char *podman_seccomp_path(const struct runtime_podman_options *options);
char *podman_pause_root(const struct runtime_podman_options *options);
char *podman_exits_path(const struct runtime_podman_options *options);
char *podman_oom_path(const struct runtime_podman_options *options);
char *podman_sandboxes_path(const struct runtime_podman_options *options);
char *podman_leaving_path(const struct runtime_podman_options *options);
char *podman_log_path(const struct runtime_podman_options *options);
/* "/minik8s/CLUSTER/NODE": all our containers' cgroups lie below. */
char *podman_cgroup_root(const struct runtime_podman_options *options);
/* Writes all configuration that the service reads; nothing of the machine's own configuration is used. */
int podman_config_write(const struct runtime_podman_options *options, struct err **err);
/* argv and environment of the service, NULL-terminated, texts and arrays owned by the caller
 * (podman_texts_free). */
char **podman_service_argv(const struct runtime_podman_options *options);
char **podman_service_environment(const struct runtime_podman_options *options);
void podman_texts_free(char **texts);

enum podman_cgroups { PODMAN_CGROUPS_V1, PODMAN_CGROUPS_HYBRID, PODMAN_CGROUPS_V2, PODMAN_CGROUPS_NONE };
enum podman_cgroups podman_cgroups_detect(void);
/* Name of the OCI runtime to use ("crun", "runc"), NULL if none is installed. Static text. */
const char *podman_oci_detect(const char *wanted);
bool podman_program_find(const char *name,
                         char **path); /* in the usual folders; *path (may be NULL) is the caller's */

/* ---- podman_spec.c: pure translation ---- */
/* What of the machine enters a spec. */
struct podman_facts {
    int64_t max_files, max_processes; /* hard limits of the service: a container may not have more */
    bool swap_accounting;
};
void podman_facts_read(pid_t service, struct podman_facts *facts); /* pid 0: this process */
cJSON *podman_spec_translate(const struct runtime_spec *spec, const struct runtime_podman_options *options,
                             const struct podman_facts *facts);
/* "/minik8s/CLUSTER/NODE/podUID", or what the caller asked for; caller frees. */
char *podman_spec_cgroup_parent(const struct runtime_spec *spec,
                                const struct runtime_podman_options *options);
/* A sandbox that runs, as its containers need it. */
struct podman_joined {
    int pid;
    const char *shm; /* the folder that is /dev/shm */
    const char *hostname;
};
/* The body joins that process's namespaces instead of those of a container of podman's. */
void podman_spec_join(cJSON *body, const struct runtime_spec *spec, const struct podman_joined *sandbox);

/* ---- podman_reply.c: pure reading of answers ---- */
/* ERR from a failed answer: `what` says what was tried. Always returns -1. */
int podman_reply_error(const struct http_response *response, const char *what, struct err **err);
struct runtime_container *podman_reply_container(const cJSON *inspected, struct err **err); /* caller owns */
/* The less that a list's entry says, for a container that podman cannot describe. */
struct runtime_container *podman_reply_listed(const cJSON *listed, struct err **err); /* caller owns */
/* A pull's JSON lines: the image id (caller frees), or NULL and the registry's error. */
char *podman_reply_pull(const char *text, size_t len, const char *reference, struct err **err);
cJSON *podman_reply_images(const cJSON *listed);                  /* Node.status.images; caller owns */
char *podman_reply_auth(const char *auth_json, struct err **err); /* X-Registry-Auth's value; caller frees */

/* ---- podman.c: the service and its calls ---- */
struct podman;
/* err or (status, json): json is borrowed, NULL if the body is not JSON; response as received. */
typedef void podman_on_reply(void *arg, const struct http_response *response, cJSON *json, struct err *err);

struct podman_request {
    const char *method;
    char *target;              /* after PODMAN_API; taken */
    cJSON *body;               /* taken; NULL: none */
    bool heavy;                /* counts against the limit of simultaneous creates and starts */
    unsigned priority;         /* among those that wait: what finishes a pod goes before what begins one */
    int64_t timeout_ms;        /* 0: 60 s */
    const char *registry_auth; /* header, copied; NULL: none */
    http_on_data *on_data;     /* a streamed body, with `arg`; NULL: collected */
    podman_on_reply *reply;
    void *arg;
};
/* `reply` is called exactly once, never from inside this call. */
void podman_request(struct podman *p, const struct podman_request *request);
/* Calls back from the loop with no answer and the given error (taken; NULL: none): results that need no call.
 */
void podman_reply_later(struct podman *p, podman_on_reply *reply, void *arg, struct err *error);
char *podman_target(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One container that this process has seen; by name in podman.records. */
struct podman_record {
    struct podman *podman;
    char *name, *id, *cgroup; /* cgroup: path below a hierarchy's mount point, NULL until known */
    bool sandbox, oom, oom_read, died;
    bool own;           /* a sandbox without podman: podman_sandbox.c */
    bool started;       /* by this process, so its end must be told */
    bool unreadable;    /* podman could not describe it: said once */
    int exit_code;      /* -1: not known */
    int pid, pidfd;     /* pidfd -1: not watched */
    unsigned questions; /* asked of podman since the process ended */
    struct loop_fd *watch;
    struct loop_timer *patience; /* the process has ended and the exit code is late */
    void *removal;               /* waits for the end; see podman_removal_continue */
};

struct podman {
    struct runtime base;
    struct runtime_podman_options options; /* texts are copies */
    struct loop *loop;
    struct http_client *http;
    struct helper *helper;
    struct loop_timer *ping, *later, *health;
    int64_t health_interval_ms;
    bool health_asked; /* and not yet answered */
    unsigned silent;   /* looks without an answer */
    bool up, closing, was_up;
    int64_t down_since_ms;
    unsigned heavy;                     /* under way */
    struct list waiting, active, ready; /* struct podman_call */
    struct podman_facts facts;
    runtime_on_event *on_event;
    void *on_event_arg;
    struct map records; /* name → struct podman_record, owned */
    int inotify;
    struct loop_fd *inotify_watch;
    struct map images;                             /* reference → image id, owned */
    struct list pulls;                             /* under way; struct image_pull */
    struct list streams;                           /* tunnels under way; struct podman_stream */
    struct list sandbox_waiting, sandbox_starting; /* struct podman_sandbox_start */
    unsigned sandbox_starts_open;
};
/* Runs the runtime's loop until the service answers; for commands. */
int podman_wait_up(struct runtime *r, struct err **err);
void podman_emit(struct podman *p, enum runtime_event_type type, const char *name, int exit_code);

/* ---- podman_health.c ---- */
void podman_health_start(struct podman *p, int64_t interval_ms); /* 0: as usual */

/* ---- podman_watch.c: the end of containers, without polling ---- */
int podman_watch_open(struct podman *p, struct err **err); /* inotify on conmon's exit files */
void podman_watch_close(struct podman *p);
struct podman_record *podman_record_get(struct podman *p, const char *name); /* made if new */
void podman_record_free(void *record);
void podman_record_forget(struct podman *p, const char *name); /* also its marks on disk */
/* Brings the record up to date with what podman says, begins to watch a running process, adds oom_killed to
 * container. */
void podman_record_update(struct podman *p, struct runtime_container *container);

/* Is this number still the process of the container with this id? Its cgroup bears the id; after a reboot, or
 * when numbers came round, the process is somebody else's. */
bool podman_is_process_of(int pid, const char *id);

/* ---- podman_sandbox.c: sandboxes that podman does not know; spec->image is empty ---- */
bool podman_sandbox_exists(struct podman *p, const char *name);
int podman_sandbox_create(struct podman *p, const struct runtime_spec *spec, struct err **err);
/* Also brings its record up to date. ERR_NOT_FOUND: there is none. Caller owns. */
struct runtime_container *podman_sandbox_describe(struct podman *p, const char *name, struct err **err);
/* Appends all to a list of `count`; the new count. */
size_t podman_sandboxes(struct podman *p, struct runtime_container ***list, size_t count);
void podman_sandbox_start(struct podman *p, const char *name, runtime_on_container *done, void *arg);
void podman_sandbox_cancel(struct podman *p); /* answers the starts that are open */
/* Makes a container's create body join the sandbox that spec names. */
int podman_sandbox_join(struct podman *p, const struct runtime_spec *spec, cJSON *body, struct err **err);
int podman_sandbox_remove(struct podman *p, const char *name, struct err **err); /* its process has ended */

/* ---- operations ---- */
void podman_op_list(struct runtime *r, runtime_on_list *done, void *arg);
void podman_op_create(struct runtime *r, const struct runtime_spec *spec, runtime_on_done *done, void *arg);
void podman_op_start(struct runtime *r, const char *name, runtime_on_container *done, void *arg);
void podman_op_inspect(struct runtime *r, const char *name, runtime_on_container *done, void *arg);
void podman_op_signal(struct runtime *r, const char *name, int signal_number, runtime_on_done *done,
                      void *arg);
void podman_op_leaving(struct runtime *r, const char *name);
void podman_op_remove(struct runtime *r, const char *name, runtime_on_done *done, void *arg);
/* The container that a removal waited for has ended; or (err) never will, as the runtime closes. Takes
 * `removal`. */
void podman_removal_continue(void *removal, struct err *err);
void podman_op_image(struct runtime *r, const char *reference, enum runtime_pull policy,
                     const char *auth_json, runtime_on_image *done, void *arg);
void podman_op_images(struct runtime *r, runtime_on_json *done, void *arg);
void podman_image_forget(struct podman *p, const char *reference);
/* podman_account.c */
struct podman_account { /* as in runtime_security; -1: the image's */
    int64_t user, group;
    bool strict;
};
bool podman_account_needed(const struct runtime_security *security); /* podman alone would do it otherwise */
/* image: podman's description. Sets user and groups of a create body as numbers. */
void podman_account_apply(cJSON *body, const struct podman_account *wanted, const cJSON *image);
void podman_pulls_free(struct podman *p);
void podman_op_exec(struct runtime *r, const struct runtime_exec *exec, int64_t timeout_ms,
                    runtime_on_exec *done, void *arg);
void podman_op_exec_stream(struct runtime *r, const struct runtime_exec *exec,
                           void (*started)(void *arg, const char *exec_id, struct http_duplex *duplex,
                                           struct err *err),
                           void *arg);
void podman_streams_cancel(struct podman *p);
void podman_op_exec_resize(struct runtime *r, const char *exec_id, unsigned width, unsigned height);
void podman_op_exec_exit(struct runtime *r, const char *exec_id, runtime_on_exit_code *done, void *arg);
void podman_op_attach(struct runtime *r, const char *name, bool stdin_open, runtime_on_socket *done,
                      void *arg);
void podman_op_resize(struct runtime *r, const char *name, unsigned width, unsigned height);
bool podman_op_reopen_log(struct runtime *r, const char *name);
void podman_op_stats(struct runtime *r, runtime_on_json *done, void *arg);
void podman_op_info(struct runtime *r, runtime_on_json *done, void *arg);

/* ---- podman_cgroup.c: counters of one container ---- */
/* `cgroup` is the path below a mount point. -1 if it is gone. */
int64_t podman_cgroup_oom_kills(const char *cgroup);
int podman_cgroup_usage(const char *cgroup, int64_t *cpu_ns, int64_t *memory_bytes);
/* The folders of `cgroup` by which a process of our own is known, ended and counted; texts are the caller's.
 */
#define PODMAN_OWN_CGROUPS 3
size_t podman_cgroup_folders(const char *cgroup, char *folders[PODMAN_OWN_CGROUPS]);
void podman_cgroup_remove(const char *cgroup);      /* this one in all hierarchies; busy or absent is fine */
void podman_cgroup_kill_tree(const char *cgroup);   /* SIGKILL to everything below; for shutdown */
void podman_cgroup_remove_tree(const char *cgroup); /* bottom up */

#endif
