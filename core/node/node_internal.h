/*
 * node_internal: private to core/node. The agent's structures and what its files offer each other.
 * Everything is touched on the loop only; jobs on the pool own copies of what they need.
 */
#ifndef M8_NODE_INTERNAL_H
#define M8_NODE_INTERNAL_H

#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "base/str.h"
#include "loop/helper.h"
#include "node/node.h"
#include "node/pod_plan.h"

#define NODE_LABEL "io.minik8s."
#define NODE_LABEL_ADDRESS                                                                                   \
    NODE_LABEL "pod.address" /* on the sandbox: a new agent adopts the address without its disk */
#define NODE_APPLIED_ANNOTATION "minik8s.io/applied-revision"
#define NODE_POLICIES_ANNOTATION "minik8s.io/policies" /* versions that decide on the node */
#define NODE_BALANCE_ANNOTATION "minik8s.io/balance"   /* of a Service: then nobody is asked */
#define NODE_SLICES "endpointslices.discovery.k8s.io"
#define NODE_DRAINS "drains.minik8s.io"
#define NODE_SERVICE_LABEL "kubernetes.io/service-name"
#define NODE_SERVICE_LABEL_PATH "metadata.labels['" NODE_SERVICE_LABEL "']"

/* ---- node_lane.c: one job at a time on the pool */
struct node_lane;
/* work on a pool thread; done on the loop, after the lane was closed with closed == true (to free only). */
struct node_job {
    struct list node;
    void (*work)(struct node_job *job);
    void (*done)(struct node_job *job, bool closed);
    struct node_lane *lane;
    struct err *err; /* freed after done */
};
struct node_lane *node_lane_new(struct loop *loop, struct pool *pool);
void node_lane_run(struct node_lane *lane, struct node_job *job);
void node_lane_close(struct node_lane *lane); /* queued jobs are dropped, a running one ends by itself */

/* ---- a pod's worker */
struct pod_ended { /* how a container ended: state.terminated or lastState.terminated */
    bool valid;
    int exit_code;
    bool oom;
    int64_t started_ns, finished_ns;
    char *id, *reason, *message;
};

struct pod_probe;
enum { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS, PROBE_COUNT };

struct container {
    struct pod *pod;
    char *name;
    size_t index;
    const cJSON *spec; /* inside pod->object; NULL while the pod is unknown */
    struct plan_container plan;
    unsigned attempt, restarts;
    char *id, *image_id, *hash;
    int pid;
    int stop_signal; /* what asks it to end: its own or its image's */
    bool oom;
    int64_t created_ns, started_ns, finished_ns; /* wall */
    char *error;                                 /* why it could not be started */
    char *message;                               /* termination message */
    struct pod_ended last;
    char *waiting_reason, *waiting_message; /* while it does not exist */
    unsigned failures;                      /* of the image or the creation, in a row */
    unsigned crashes;                       /* ends in a row that the back-off counts */
    bool uncertain;                         /* whether it was started is being found out; busy meanwhile */
    bool missed;                            /* it was looked at while it was busy: to be looked at again */
    unsigned seen_in; /* number of the list during or after which it was seen by itself */
    bool ready;
    char *ready_id; /* from the disk: the container that an earlier agent had found ready */
    struct pod_probe *probes[PROBE_COUNT];
};

struct pod {
    struct node *node; /* NULL once the agent let go of it */
    unsigned refs;
    char *uid, *namespace, *name;
    cJSON *object;     /* as the API gave it last; NULL while unknown */
    cJSON *references; /* {"configmaps/NAME": {…}, "secrets/NAME": {…}}: what it refers to, as last seen */
    uint64_t revision; /* of the object */
    struct in_addr address;
    bool address_left; /* the pod has ended: others may have its address; the status goes on naming it */
    bool gone, unknown, deleted;
    char *phase;                    /* sticky once Succeeded or Failed */
    char *end_reason, *end_message; /* of a pod that failed as a whole */
    int64_t start_ns;               /* wall; status.startTime */

    bool sandbox_exists, sandbox_busy, attached;
    bool attach_again;                 /* once it is not busy */
    bool sandbox_died, sandbox_missed; /* while it was busy: its end was told; a list was not looked at */
    bool adopted;                      /* it ran when this agent came: attached as far as anybody can tell */
    unsigned sandbox_attempt;
    unsigned sandbox_seen_in; /* as container.seen_in */
    enum runtime_state sandbox_state;
    int sandbox_pid;
    char *sandbox_id;
    int64_t sandbox_retry_at;
    unsigned sandbox_failures;
    char *sandbox_problem;

    cJSON *tokens; /* {"SECONDS": {"token", "renew": monotonic ms}}: never on the disk */
    bool token_busy;
    int64_t token_missed_at; /* since then the server cannot be asked for them; 0: it answers */
    char *token_problem;
    struct loop_timer *renewal;

    bool volumes_busy, volumes_made, volumes_left, volumes_stale;
    bool volume_asked; /* a PersistentVolume is being asked for */
    int64_t volumes_retry_at;
    char *volumes_problem;

    struct node_lane *files; /* what is made and removed of its files, in order; no other pod waits for it */
    char **old;              /* names of containers that nobody needs */
    size_t n_old;
    bool old_busy;

    struct container *containers;
    size_t n_containers, containers_room;

    char *host_ports_problem; /* what its last Event said of them */

    bool drained;
    uint64_t left_slices_at; /* revision at which the last slice let go of it; 0: in none */
    int64_t drain_until;
    int64_t stop_by; /* when the grace period of the pod as a whole is over; 0: it does not end */

    bool api_busy;
    int64_t api_retry_at;
    struct loop_timer *wake;
    struct loop_timer *usage; /* when its volumes are measured next */
    bool look_posted;

    cJSON *conditions;  /* the status conditions that this agent keeps */
    cJSON *status_sent; /* what the API has, as far as known */
    bool status_busy, status_wanted;
    uint64_t status_revision; /* of the object from which the one under way was made */
    struct loop_timer *status_retry;

    bool disk_busy, disk_wanted;
    unsigned long long disk_hash; /* of what the file holds */
};

/* ---- the agent ---- */
struct node_services;
struct node_peers;
struct node_register;
struct node_heartbeat;
struct node_decisions;
struct node_requests;
struct node_stats;

struct node {
    struct node_options options;
    struct loop *loop;
    struct client *client;
    struct client_stream *stream;
    struct cache *cache;
    struct recorder *recorder;
    struct runtime *runtime;
    struct net *net;
    struct ipam *ipam;
    struct net_cidr pod_range;
    bool net_ready, net_busy;
    bool net_again, net_lost; /* setup is due once more; pods, too, are to be attached again after it */
    int64_t net_began;        /* setup, last */
    int64_t net_failed_at;    /* first of the failures in a row */
    char *net_problem;        /* why the network is not set up */
    struct loop_timer *net_retry;
    struct node_lane *net_lane, *name_lane, *disk_lane; /* disk: so that an fsync never delays a start */
    struct node_lane *mount_lane;                       /* a server that hangs delays nothing else */
    struct node_lane *usage_lane;                       /* large volumes delay no pod's start */
    struct map mounts, removals; /* volume → struct node_mount; volume → struct removal */
    struct loop_fd *mount_watch; /* of mount_fd, /proc/self/mountinfo */
    int mount_fd;
    struct map pods;         /* uid → struct pod */
    struct map in_slices;    /* uid of a pod of this node → number of slices that list it, as uintptr_t */
    bool listed, list_again; /* the runtime's containers are known */
    struct list_call *list_call;
    unsigned list_number; /* of the list under way or the last one: what was seen during it is newer than its
                             answer */
    struct loop_timer *list_retry;
    bool connected, trusted, synced; /* trusted: the stream is of our cluster; synced: its list is complete */
    char *distrust; /* why nothing is taken from a server of this cluster; NULL: nothing is wrong */
    char *cluster_id;
    uint64_t known_revision; /* newest that the disk knows of */
    uint64_t drain_revision; /* status.revision of the Drain object */
    uint64_t event_revision; /* of the event that is being applied */
    struct node_services *services;
    struct node_extensions *extensions;
    struct node_peers *peers;
    struct node_register *registration;
    struct node_heartbeat *heartbeat;
    struct node_decisions *decisions;
    struct node_requests *requests;
    struct node_stats *stats;
    struct list followers; /* of logs */
    struct map rotations;  /* container's name → struct rotation */
    int log_inotify;       /* of all of them; -1: none */
    struct loop_fd *log_watch;
    atomic_uint pressure; /* NODE_PRESSURE_ bits, by the heart-beat */
    bool leaving;         /* the Node object was deleted */
    bool closing;
};

/* node_pressure.c: which of memory, disk and PIDs run short; `before`: what did last time, because a
 * condition ends only when there is clearly more room than at its beginning. Any thread. */
enum { NODE_PRESSURE_MEMORY = 1, NODE_PRESSURE_DISK = 2, NODE_PRESSURE_PIDS = 4 };
unsigned node_pressure_read(const struct node_options *options, unsigned before);
int64_t node_memory_figure(const char *name); /* "MemTotal:", bytes; 0: unknown */

/* node.c */
void node_check_left(struct node *node); /* a pod ended: was it the last of a node that is to go? */
void node_net_use(struct node *node, const char *pod_range); /* the range became known */
/* What the kernel has is not known: setup, then Services and peers once more. */
void node_net_again(struct node *node);
bool node_net_usable(const struct node *node); /* set up, and not about to be once more */
void node_list_containers(struct node *node);
void node_reachable_again(struct node *node); /* the heart-beat got through after it had failed */
void node_pull_finished(struct node *node);   /* the list of images may have changed */

/* pod.c */
struct pod *pod_new(struct node *node, const char *uid, const char *namespace, const char *name);
void pod_unref(struct pod *pod);
void pod_close(struct pod *pod); /* the agent lets go: timers and probes end, what is under way is ignored */
void pod_set_object(struct pod *pod, cJSON *object, uint64_t revision); /* takes it */
void pod_set_gone(struct pod *pod);
bool pod_refers_to(const struct pod *pod, const char *resource, const char *name);
/* Copies what the cache has of the objects that the pod refers to. True if something changed. */
bool pod_collect_references(struct pod *pod);
struct container *pod_container(struct pod *pod, const char *name);
void pod_add_old(struct pod *pod, const char *container_name);
char *pod_container_name(const struct pod *pod, const char *container,
                         unsigned attempt); /* container NULL: sandbox */
char *pod_directory(const struct pod *pod); /* of its volumes and files; caller frees */
char *pod_log_path(const struct pod *pod, const char *container, unsigned attempt);
bool pod_host_network(const struct pod *pod);
const char *pod_ip(const struct pod *pod, char text[INET_ADDRSTRLEN]); /* NULL: none yet */
void pod_event(struct pod *pod, const struct container *container, const char *type, const char *reason,
               const char *format, ...) __attribute__((format(printf, 5, 6)));
int64_t node_now(const struct node *node);  /* monotonic ms */
int64_t node_wall(const struct node *node); /* ns */

/* pod_worker.c */
void pod_look(struct pod *pod); /* soon, once */
void pod_describe(const struct pod *pod, struct plan_pod *view, struct plan_container *containers);
/* The pod as a whole fails: its containers end within their grace period, then the phase is Failed. The first
 * reason stays. type: of the Event. */
void pod_fail(struct pod *pod, const char *type, const char *reason, const char *message);
struct pod_call { /* an asynchronous action: keeps the pod in memory */
    struct pod *pod;
    size_t container;
    enum plan_action_type type;
    void *data;
};
struct pod_call *pod_call_new(struct pod *pod, enum plan_action_type type, size_t container);
/* Frees the call; NULL if the agent let go of the pod meanwhile, else the pod (borrowed). */
struct pod *pod_call_end(struct pod_call *call);
/* pod_sandbox.c, pod_image.c */
void pod_sandbox_action(struct pod *pod, enum plan_action_type type);
void pod_attach_again(struct pod *pod); /* one that is attached; it stays so meanwhile */
void pod_image_action(struct pod *pod, struct container *c);
/* pod_actions.c */
#define POD_FIRST_RETRY_MS 1000
int64_t pod_retry_at(const struct pod *pod, unsigned failures); /* back-off; monotonic ms */
void pod_set_waiting(struct container *c, const char *reason, const char *message);
void pod_container_action(struct pod *pod, enum plan_action_type type, size_t index);
/* pod_stop.c */
void pod_remove_old(struct pod *pod);
void pod_stop_action(struct pod *pod, enum plan_action_type type, size_t index);
void pod_delete_object(struct pod *pod);
void pod_stop_sooner(struct pod *pod, int64_t grace_ms); /* what is stopping has this time at most */

/* pod_observe.c */
void pod_observe(struct pod *pod, struct runtime_container **containers,
                 size_t count); /* all of this pod, from a list */
void pod_observe_container(struct pod *pod, struct container *container,
                           const struct runtime_container *observed);
void pod_container_ended(struct pod *pod, struct container *container);
void pod_ended_fini(struct pod_ended *ended);
/* A container of this name died or was removed: finds out how it ended. */
void pod_inspect(struct pod *pod, const char *container_name);
/* What was under way for the container is done; what happened to it meanwhile is looked at now. */
void pod_container_idle(struct pod *pod, struct container *c);

/* pod_spec.c: ERR_NOT_FOUND/ERR_INVALID → CreateContainerConfigError */
struct runtime_spec *pod_spec_container(const struct container *container, struct err **err);
struct runtime_spec *pod_spec_sandbox(const struct pod *pod);
/* pod_environment.c */
int pod_environment(const struct container *container, struct map *environment, struct err **err);
char *pod_expand(const char *text, const struct map *environment); /* $(NAME) */
char *pod_field(const struct pod *pod, const char *path, struct err **err);
char *pod_resource_field(const struct container *container, const cJSON *selector, struct err **err);
char *pod_token_expand(const char *text, const struct map *environment);

/* pod_volumes.c, pod_files.c */
void pod_volumes_make(struct pod *pod); /* also again after a change of what is in them */
void pod_volumes_remove(struct pod *pod);
/* Pure: what the pod's own files say. Caller frees. */
char *pod_file_hosts(const struct pod *pod);
char *pod_file_resolv(const struct pod *pod);
const char *pod_hostname(const struct pod *pod);
/* The files of a configMap, secret, downwardAPI or projected volume: {"path": {"data": base64, "mode": n}}.
 */
cJSON *pod_volume_files(const struct pod *pod, const cJSON *volume, struct err **err);

/* pod_sub_paths.c: parts of volumes, as mounts of the agent's own in `directory` (the pod's). All but the
 * last on the pool. */
/* Gives every mount of the spec that has a sub_path a source that no link leads elsewhere; what earlier
 * attempts of the container had goes. */
int pod_sub_paths_mount(struct runtime_spec *spec, const char *directory, const char *container,
                        unsigned attempt, struct err **err);
int pod_sub_paths_unmount(const char *directory, const char *container, unsigned attempt, struct err **err);
int pod_sub_paths_unmount_all(const char *directory, struct err **err);
/* Places whose mounts a restart of the machine took: a container that was made before it fails for want of
 * them instead of writing beside the volume. */
int pod_sub_paths_clear_left(const char *directory, struct err **err);
void pod_sub_paths_ended(struct container *container); /* this attempt needs its mounts no more */

/* pod_token.c: tokens for projected volumes. Not ready: they are being asked for, and a look follows. */
bool pod_tokens_ready(struct pod *pod);
bool pod_tokens_out_of_reach(const struct pod *pod); /* the server is away: nobody waits for them */
const char *pod_token(const struct pod *pod, const cJSON *source); /* of a projected source; NULL: none yet */

/* pod_usage.c: emptyDir volumes with a sizeLimit; nothing happens for a pod without */
void pod_usage_measure(struct pod *pod); /* now, and from time to time while it lives */
void pod_usage_empty(struct pod *pod);   /* it was evicted and nothing of it runs */
void pod_volumes_failed(struct pod *pod, const struct err *err);

/* node_volumes.c: what the claims of pods stand for on this node; folders that this node keeps */
/* Name of the claim behind a volume; NULL: it has none. Caller frees. */
char *pod_claim_name(const struct pod *pod, const cJSON *volume);
/* The PersistentVolume behind a volume of the pod; NULL: none, or not known yet. */
const cJSON *pod_volume_object(const struct pod *pod, const cJSON *volume);
/* Where that lies on this node; caller frees. */
char *node_volume_path(const struct node *node, const cJSON *persistent);
bool node_volume_read_only(const cJSON *persistent);
/* 1: *persistent can be used. 0: it is on its way, the pod will be looked at. -1: err. */
int node_volume_ready(struct pod *pod, const cJSON *volume, const cJSON **persistent, struct err **err);
/* Says on the claim whether its volume can be mounted here; err NULL: it can (again). */
void node_volumes_condition(struct pod *pod, const char *persistent, const struct err *err,
                            const char *reason);
void node_volumes_changed(struct node *node, const char *name,
                          const struct cache_item *item); /* a volume that this node keeps; NULL: gone */
void node_volumes_init(struct node *node);
void node_volumes_fini(struct node *node);

/* node_mounts.c: network volumes, mounted once per node */
struct node_mount {
    struct node *node;
    char *name, *directory;
    cJSON *spec; /* of the volume; NULL: left by an earlier agent */
    enum { MOUNT_STARTING, MOUNT_READY, MOUNT_WAITING, MOUNT_RELEASING } state;
    bool busy, asking; /* a job is under way; the Secret is */
    bool remove;       /* wanted for the removal of its folder */
    struct helper *helper;
    struct loop_timer *timer;
    char *problem;
};
struct node_mount *node_mount_get(struct node *node, const char *name, const cJSON *spec);
void node_mount_release(struct node_mount *mount);
void node_mounts_unused(struct node *node);
/* The pods are known, or one let go of its volumes: ends what nobody wants, also what an earlier agent left.
 */
void node_mounts_sweep(struct node *node);
void node_mounts_init(struct node *node);
void node_mounts_fini(struct node *node);
/* The volume of a removal is mounted, or could not be (it will be tried again). */
void node_volumes_mounted(struct node_mount *mount, const struct err *err);

/* pod_status.c */
cJSON *pod_status_build(struct pod *pod);
void pod_status_report(struct pod *pod); /* sends if it differs */
const char *pod_qos(const cJSON *pod);

/* pod_probes.c */
void pod_probes_begin(struct container *container); /* it runs, postStart is over */
void pod_probes_end(struct container *container);
void pod_probes_pause(struct pod *pod); /* deletion has begun: no liveness any more */

/* pod_handlers.c */
/* A hook of the container's present attempt; done is not called when that is over by then. */
void pod_hook_run(struct container *container, const cJSON *handler, int64_t timeout_ms,
                  void (*done)(struct pod *pod, struct container *container, const char *failure));
/* failure NULL: well. unknown: the runtime could not run it, which says nothing of the container. */
typedef void pod_on_hook(void *arg, struct pod *pod, const char *failure, bool unknown);
/* Runs an exec, httpGet or tcpSocket handler (of a hook or a probe); the pod stays in memory until the call.
 */
void pod_handler_run(struct container *container, const cJSON *handler, int64_t timeout_ms, pod_on_hook *done,
                     void *arg);

/* node_disk.c */
int node_disk_load(struct node *node, struct err **err);
void node_disk_save(struct pod *pod); /* if it differs from what is there */
void node_disk_remove(struct pod *pod);
void node_disk_save_state(struct node *node);
char *node_disk_state_range(const struct node *node); /* the pod range of the last run, or NULL */

/* node_services.c: Services and slices → virtual addresses and names in net; the revision that is in force */
struct node_services *node_services_new(struct node *node);
void node_services_changed(struct node_services *services, const char *resource,
                           const struct cache_item *previous, const struct cache_item *item);
void node_services_all(
    struct node_services *services); /* list and network are complete: hands over everything once */
void node_services_dirty(struct node_services *services, const char *key);
void node_services_ask(struct node_services *services); /* others decide on balance than before */
/* The Service of this key and its slices (array), or NULL; caller owns both. */
cJSON *node_services_read(const struct node *node, const char *key, cJSON **slices);
/* Names beside those of the Services; key: "+…"; none: they are gone. Copied. */
void node_services_names(struct node_services *services, const char *key, const struct net_name *records,
                         size_t count);
/* The pod's address, life or ports on the node changed. */
void node_services_pod(struct node_services *services, const struct pod *pod);
void node_services_free(struct node_services *services);
/* node_balance.c */
struct node_balance {
    enum net_balance mode;
    const cJSON *weights; /* borrowed until the next question about this Service */
};
/* service NULL: it is gone. */
void node_balance_of(struct node_balance *out, struct node *node, const char *key, const cJSON *service,
                     const cJSON *slices);
unsigned node_balance_weight(const struct node_balance *balance, const cJSON *endpoint); /* at least 1 */
void node_balance_handle(struct node *node, struct http_exchange *x, const char *namespace, const char *name);
/* node_service.c: pure; what one Service means. Arrays are freed with node_service_fini. */
struct node_service {
    char *key;
    struct net_service_port *ports; /* endpoints are owned too */
    size_t n_ports;
    struct net_name *records; /* names and targets are owned */
    size_t n_records;
    bool keep_records; /* they are not known yet */
};
/* slices: the parsed EndpointSlices of this Service. service NULL: it is gone. */
void node_service_render(struct node_service *out, const struct node *node, const char *key,
                         const cJSON *service, const cJSON *slices, const struct node_balance *balance);
/* An ExternalName Service: the Service of this cluster ("namespace/name") that it names, or NULL; caller
 * frees. */
char *node_service_target(const struct node *node, const char *external_name);
/* Addresses under its name beside the CNAME. */
void node_service_addresses(struct node_service *out, const struct node *node, const cJSON *service,
                            const struct in_addr *addresses, size_t count);
void node_service_fini(struct node_service *service);
bool node_service_is_headless(const cJSON *service);
/* node_external.c: names from outside */
struct node_external;
struct node_external *node_external_new(struct node *node);
/* What the Service stands for now; NULL: nothing outside. A change makes it dirty in node_services. */
void node_external_use(struct node_external *external, const char *key, const char *name);
const struct in_addr *node_external_addresses(const struct node_external *external, const char *name,
                                              size_t *count); /* NULL: not known yet */
void node_external_free(struct node_external *external);
/* node_host_ports.c: a pod's hostPorts as a node_service; pod NULL: it is gone. node_ports: "PROTOCOL/PORT"
 * (numbers) → key of the Service whose nodePort that is. */
char *node_host_ports_key(const struct pod *pod); /* caller frees */
bool node_host_ports_wanted(const struct pod *pod);
void node_host_ports_render(struct node_service *out, struct pod *pod, const char *key,
                            const struct map *node_ports);
/* node_slices.c: which pods of this node stand in slices */
void node_slices_changed(struct node *node, const struct cache_item *previous, const struct cache_item *item);
bool node_slices_hold(const struct node *node, const struct pod *pod);
/* node_extensions.c: data planes of bundles */
struct node_extensions *node_extensions_new(struct node *node, struct err **err);
void node_extensions_changed(struct node_extensions *extensions, const char *resource,
                             const struct cache_item *previous, const struct cache_item *item);
void node_extensions_complete(struct node_extensions *extensions);
void node_extensions_capacity(struct node_extensions *extensions, cJSON *amounts, cJSON *labels);
void node_extensions_withhold(struct node_extensions *extensions, cJSON *allocatable);
int node_extensions_container(struct node_extensions *extensions, const cJSON *pod, const char *container,
                              struct runtime_spec *spec, struct err **err);
void node_extensions_metrics(const struct node_extension *const *types, const char *directory,
                             struct str *out); /* on the pool; directory: the agent's */
void node_extensions_free(struct node_extensions *extensions);
/* node_peers.c: the other nodes */
struct node_peers *node_peers_new(struct node *node);
void node_peers_changed(struct node_peers *peers);
void node_peers_forget(struct node_peers *peers); /* the next call hands all over again */
void node_peers_free(struct node_peers *peers);

/* node_configure.c */
void node_settings_copy(struct node_settings *to, const struct node_settings *from); /* to: uninitialized */
void node_settings_fini(struct node_settings *settings);
/* Pure: the merge patch that gives the Node object the labels and taints of its file and takes away those
 * that an earlier file gave; machine_labels are given once, extension_labels always (null: taken away).
 * NULL: they are in force. Caller owns. */
cJSON *node_settings_patch(const struct node_settings *settings, const cJSON *object,
                           const cJSON *machine_labels, const cJSON *extension_labels);
/* {resource: quantity} with what was found, and what the settings put in its place. */
cJSON *node_settings_capacity(const struct node_options *options);
cJSON *node_settings_allocatable(const struct node_options *options, const cJSON *capacity);
/* An Event on the Node object. */
void node_event(struct node *node, const char *type, const char *reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* node_register.c */
struct node_register *node_register_new(struct node *node);
void node_register_synced(struct node_register *registration);
void node_register_changed(struct node_register *registration,
                           const struct cache_item *item); /* our Node object */
void node_register_update(
    struct node_register *registration); /* something that it reports may have changed */
cJSON *
node_register_labels(const struct node_options *options); /* that every machine has by itself; caller owns */
void node_register_settings(struct node_register *registration);             /* they are others now */
const cJSON *node_register_object(const struct node_register *registration); /* as the API has it, or NULL */
void node_register_images(struct node_register *registration);               /* one was pulled */
void node_register_free(struct node_register *registration);
void node_register_capacity(struct node_options *options); /* fills in what is 0 */

/* node_policies.c */
void node_policies_sync(struct node *node); /* the objects are complete, or changed since */
void node_policies_listen(struct node *node, bool listens);
/* node_decisions.c */
struct node_decisions *node_decisions_new(struct node *node);
void node_decisions_changed(struct node_decisions *decisions);   /* something was decided */
void node_decisions_connected(struct node_decisions *decisions); /* the server can be reached */
void node_decisions_free(struct node_decisions *decisions);

/* node_heartbeat.c */
struct node_heartbeat *node_heartbeat_new(struct node *node);
void node_heartbeat_policies(struct node_heartbeat *heartbeat, const char *versions); /* said in the Lease */
void node_heartbeat_applied(struct node_heartbeat *heartbeat, uint64_t revision);
void node_heartbeat_period(struct node_heartbeat *heartbeat, int64_t period_ms); /* 0: the default */
void node_heartbeat_stop(struct node_heartbeat *heartbeat);                      /* for good */
void node_heartbeat_free(struct node_heartbeat *heartbeat);

/* node_handle.c */
struct node_requests *node_requests_new(struct node *node);
void node_requests_free(struct node_requests *requests);
/* Answers with a Kubernetes Status. */
void node_answer_error(struct http_exchange *x, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void node_answer_text(struct http_exchange *x, int status, const char *type, char *text); /* takes text */
/* node_channels.c: the streams of an exec or attach, over WebSocket or SPDY */
enum node_channel { NODE_STDIN, NODE_STDOUT, NODE_STDERR, NODE_ERROR, NODE_RESIZE, NODE_CHANNELS };
struct node_channels;
struct node_channels_options {
    unsigned wanted; /* 1 << NODE_STDIN | …: what the request asks for */
    void (*on_ready)(void *arg);
    void (*on_data)(void *arg, enum node_channel channel, const char *data, size_t len); /* stdin, resize */
    void (*on_end)(void *arg);                                                           /* of stdin */
    void (*on_drain)(void *arg);
    void (*on_closed)(void *arg); /* the client is gone, perhaps before on_ready; last call */
    void *arg;
};
/* NULL: the request offers no protocol that we speak. */
struct node_channels *node_channels_new(struct loop *loop, const struct http_request *request,
                                        const struct node_channels_options *options);
void node_channels_upgrade(struct node_channels *channels, struct http_exchange *x); /* answers 101 */
/* Returns the bytes that wait. Channels that nobody asked for take everything. */
size_t node_channels_send(struct node_channels *channels, enum node_channel channel, const char *data,
                          size_t len);
void node_channels_pause(struct node_channels *channels, bool paused); /* stdin */
void node_channels_close(struct node_channels *channels); /* what was sent goes out; no more callbacks */
/* The first of `known` that a header of this name lists. */
const char *node_offered(const struct http_request *request, const char *header, const char *const *known,
                         size_t count);
/* node_logs.c, node_exec.c, node_forward.c: on the loop */
void node_logs_handle(struct node *node, struct http_exchange *x, struct pod *pod,
                      struct container *container);
void node_exec_handle(struct node *node, struct http_exchange *x, struct pod *pod,
                      struct container *container, bool attach);
void node_logs_ended(struct node *node,
                     const char *container_name); /* followers read the rest and end; NULL: all */
void node_logs_free(struct node *node);
/* node_log_files.c: the files of a log whose name is `path`; any thread */
struct node_log_file {
    uint64_t number; /* greater: newer; 0: only under the log's own name */
    ino_t inode;
    int64_t size, changed; /* seconds since the epoch */
};
struct node_log_files {
    struct node_log_file *files; /* in the order in which they were written; the caller frees */
    size_t count;
};
void node_log_files_list(const char *path, struct node_log_files *files);
int node_log_file_open(const char *path, const struct node_log_file *file); /* -1: errno */
/* Gives a number to the file that grows, prepares the next one and removes those that max_bytes of newer ones
 * follow, the one that grows not counted. The size of the file that grows; -1: there is none. */
int64_t node_log_files_keep(const char *path, int64_t max_bytes);
/* The next file, empty and with that number; false: there is none. Part of node_log_files_keep. */
bool node_log_files_make_spare(const char *path, uint64_t number);
void node_log_files_close(const char *path);  /* it will not grow: the next file is not needed */
void node_log_files_forget(const char *path); /* logs of the attempts before the previous one */
/* node_rotation.c */
void node_rotation_begin(struct node *node, const char *container_name, const char *path); /* it runs */
void node_rotation_end(struct node *node, const char *container_name);
int64_t node_log_bound(const struct node *node); /* bytes at which the runtime itself begins a new file */
void node_rotation_init(struct node *node);
void node_rotation_fini(struct node *node);
/* The last lines of a log as text, the last max_bytes of it at most; NULL: there is none. Caller frees. */
char *node_log_tail(const char *path, int64_t lines, size_t max_bytes);
struct node_stats *node_stats_new(struct node *node);
void node_stats_free(struct node_stats *stats); /* what is under way is answered with an error */
void node_stats_handle(struct node *node, struct http_exchange *x);
void node_forward_handle(struct node *node, struct http_exchange *x, struct pod *pod);

#endif
