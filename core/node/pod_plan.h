/*
 * pod_plan: private to core/node. What has to be done next for one pod, as a pure function of what is wanted
 * and what was observed. No I/O, no clock, no state: `now` and every observation are given, so start,
 * restart, adoption and deletion are one and the same code, and each can be tested by a table. Times are
 * monotonic milliseconds; 0 means "not set".
 */
#ifndef M8_NODE_POD_PLAN_H
#define M8_NODE_POD_PLAN_H

#include "base/mem.h"
#include "runtime/runtime.h"

enum plan_kind {
    PLAN_INIT,
    PLAN_SIDECAR,
    PLAN_MAIN,
    PLAN_EPHEMERAL
}; /* ephemeral: beside the others, once */
enum plan_restart { PLAN_ALWAYS, PLAN_ON_FAILURE, PLAN_NEVER };

struct plan_container {
    enum plan_kind kind;
    bool busy;         /* an action of this container is under way */
    bool pulling;      /* its image is being looked for or fetched: holds up its start, not the pod's end */
    bool exists;       /* the newest container is known to the runtime */
    bool start_failed; /* created, but it could not be started */
    enum runtime_state state;
    int exit_code;
    bool image_ready;
    bool failed;             /* it has to be stopped and started anew: a probe, a hook, a changed image */
    bool started;            /* its startup probe has succeeded, or there is none */
    bool hook_needed;        /* postStart has not run to its end yet */
    bool post_start_running; /* it does not hold up the end of the container */
    bool has_pre_stop;
    /* How far stopping has got. */
    bool pre_stop_begun, pre_stop_running, signalled, killed;
    int64_t stop_at;   /* when it is killed at last */
    int64_t retry_at;  /* the next attempt (image, create, start, restart) not before */
    int64_t remove_at; /* the removal not before: it failed */
};

struct plan_pod {
    int64_t now;
    enum plan_restart restart;
    bool unknown;        /* found in the runtime; whether it is wanted is not known yet: hands off */
    bool unconfirmed;    /* one with an identity, of which the API has not said yet that it is still wanted */
    bool host_network;   /* no interface of its own */
    bool network_ready;  /* the node has a pod range and its network is set up */
    bool deleting;       /* has a deletionTimestamp */
    bool gone;           /* no longer in the API: end it fast */
    bool terminal;       /* Succeeded or Failed was decided, or will be when nothing runs any more */
    int64_t deadline_at; /* it fails then (activeDeadlineSeconds) */
    bool deleted;        /* the API confirmed the deletion */
    bool drained;        /* no node sends it traffic any more */
    int64_t drain_until;
    int64_t grace_ms;

    bool sandbox_busy, sandbox_exists, attached;
    enum runtime_state sandbox_state;
    int64_t sandbox_retry_at;

    bool volumes_busy, volumes_made, volumes_left; /* left: something of them may lie on the disk */
    int64_t volumes_retry_at;

    bool old_busy;
    size_t n_old; /* containers of earlier attempts that nobody needs */
    bool api_busy;
    int64_t api_retry_at;

    struct plan_container *containers;
    size_t n_containers;
};

enum plan_action_type {
    PLAN_SANDBOX_CREATE,
    PLAN_SANDBOX_START,
    PLAN_SANDBOX_STOP,
    PLAN_SANDBOX_REMOVE,
    PLAN_ATTACH,
    PLAN_DETACH,
    PLAN_VOLUMES_MAKE,
    PLAN_VOLUMES_REMOVE,
    PLAN_REMOVE_OLD,
    PLAN_DELETE_OBJECT, /* the last step: the API may forget the pod */
    PLAN_FORGET,        /* nothing is left: the worker ends */
    PLAN_IMAGE,
    PLAN_CREATE,
    PLAN_START,
    PLAN_POST_START,
    PLAN_PRE_STOP,
    PLAN_SIGNAL,
    PLAN_KILL,
    PLAN_RETIRE, /* the ended container becomes the previous one; the next attempt may begin */
    PLAN_REMOVE,
};

struct plan_action {
    enum plan_action_type type;
    size_t container; /* index, for the container's own actions */
};

#define PLAN_MAX(n_containers) (8 + (n_containers))

/* The actions that may begin now, at most one per container and one each for sandbox, volumes, old containers
 * and API. *wake: when to look again although nothing happened (0: never). out holds PLAN_MAX(n_containers).
 */
size_t pod_plan(const struct plan_pod *pod, struct plan_action *out, int64_t *wake);

enum plan_outcome { PLAN_OPEN, PLAN_SUCCEEDED, PLAN_FAILED };
/* Whether the pod has come to its end by itself. */
enum plan_outcome pod_plan_outcome(const struct plan_pod *pod);
/* No container runs or is about to. */
bool pod_plan_quiet(const struct plan_pod *pod);
/* All init containers are through (sidecars: started). */
bool pod_plan_initialized(const struct plan_pod *pod);
/* Would this ended container be started again? */
bool pod_plan_restarts(const struct plan_pod *pod, const struct plan_container *container);

const char *plan_action_name(enum plan_action_type type);

#endif
