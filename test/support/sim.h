/*
 * sim: a whole cluster in one process, on one virtual loop, from one seed: API server on a real store
 * (inline, in /dev/shm), manager with the real Lua, and agents over fake machines and a fake network
 * (contract 24).
 *
 * Every part can be killed between any two callbacks and started again; what is durable survives: the store's
 * folder, an agent's folder, a machine with its containers, what a node's network has in force. The same seed
 * and the same calls give the same run: sim_hash says so.
 *
 * Ownership: sim_shared outlives its worlds. Threads: none. Errors: sim_fail (or a broken law, see below) is
 * remembered in `failure`, the first one stays; texts belong to the world.
 *
 * Laws that hold at any time are checked as the run goes: no container of a pod twice on a machine, no
 * SIGTERM for a pod that a live, reachable node still sends traffic to (but after the bounded wait), every
 * watch complete and in order, a committed object unchanged by a server's death. Laws that hold once all is
 * quiet: sim_unsettled.
 */
#ifndef M8_TEST_SUPPORT_SIM_H
#define M8_TEST_SUPPORT_SIM_H

#include <netinet/in.h>

#include "base/json.h"
#include "base/map.h"
#include "fake_net.h"
#include "fake_runtime.h"
#include "loop/loop.h"
#include "watch_checker.h"

#define SIM_MAX_NODES 16
#define SIM_WATCHES 3

/* What every world needs and none changes: kinds, keys. */
struct sim_shared;
struct sim_shared *sim_shared_new(struct err **err);
void sim_shared_free(struct sim_shared *shared);

struct sim_options {
    unsigned nodes;  /* 0: 3 */
    bool quiet;      /* the manager makes no Events */
    bool objects;    /* the laws of sim_workloads.c are judged */
    int64_t later_s; /* the world begins so much after 15:06:40 */
};

struct sim_node {
    struct sim_world *world;
    char name[24], address[24];
    char *directory;
    struct fake_machine *machine;
    struct http_client *http;
    struct runtime *runtime;
    struct net *net;
    struct node *agent; /* NULL: not running */
    bool cut, off;      /* line to everybody else; power */
    int64_t reachable_since_ms;
};

struct sim_watch {
    struct watch_reader *reader; /* NULL while the server is down */
    struct watch_checker *checker;
    uint64_t position;
    bool awake;
};

/* Per mille of the calls of manager and agents. */
struct sim_line {
    unsigned refuse, lose_answer, delay;
};

enum sim_part { SIM_SERVER, SIM_MANAGER, SIM_AGENT /* + index */ };

struct sim_world {
    struct sim_shared *shared;
    struct sim_options options;
    uint64_t seed;
    struct random_seeded seeded, story_seeded, line_seeded;
    struct random random, story, line_random; /* the product's, the story's, the line's: independent */
    char *directory;
    struct loop *loop;
    struct pool *pool;

    struct store *store; /* NULL: the server is down */
    struct watch_hub *hub;
    struct metrics *metrics;
    struct api *api;
    struct http_client *user, *manager_http;
    struct script_manager *manager; /* NULL: down */
    struct fake_world *net;
    struct sim_node nodes[SIM_MAX_NODES];
    unsigned n_nodes;
    struct sim_line line;

    struct map committed; /* key → struct sim_object: what is durable */
    struct map pods;      /* uid → struct sim_pod: what commits said */
    struct watch_history *history;
    struct sim_watch watches[SIM_WATCHES];

    /* sim_workloads.c */
    struct map objects;   /* key → what is committed, parsed */
    struct map succeeded; /* uid of a pod that has → uid of its owner */
    bool objects_changed, out_of_service[SIM_MAX_NODES];
    int64_t tainted_ms[SIM_MAX_NODES];   /* since when, at the earliest */
    int64_t untainted_ms[SIM_MAX_NODES]; /* when it was taken away last; 0: never */
    int64_t quota, guard;                /* most pods, least ready guarded pods; 0: not in this world */

    uint64_t steps, hash;
    int64_t moment_ms; /* of the last step, and how many steps it has had */
    uint64_t moment_steps;
    uint64_t crash_at; /* step after which crash_part dies; 0: never */
    unsigned crash_part;
    char *trace[64]; /* ring of what happened last */
    unsigned n_trace;
    char *failure;
};
struct sim_object {
    uint64_t revision, hash;
};
struct sim_pod {
    int64_t deleting_since_ms; /* -1: it is not being deleted */
    bool gone;
    struct in_addr address; /* 0: none yet */
};

struct sim_world *sim_world_new(struct sim_shared *shared, uint64_t seed, const struct sim_options *options);
void sim_world_free(struct sim_world *world);

/* One callback of anybody; false when a law was broken. */
bool sim_step(struct sim_world *world);
bool sim_run_for(struct sim_world *world, int64_t ms);
/* Runs until condition() holds, asked every 10 virtual ms; the ms it took, or -1 after timeout_ms. */
int64_t sim_run_until(struct sim_world *world, int64_t timeout_ms,
                      bool (*condition)(struct sim_world *world));
uint64_t sim_hash(const struct sim_world *world);
void sim_note(struct sim_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_fail(struct sim_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_print_trace(const struct sim_world *world);

/* As an administrator with kubectl; runs the world until the answer is there. Texts may use ' for ". The
 * status, 0 if there was no answer (the server died or is down); *answer (may be NULL) is the caller's. */
int sim_request(struct sim_world *world, const char *method, const char *target, const char *body,
                cJSON **answer);
/* The committed objects of a resource ("deployments.apps"), an array that the caller owns; from the store, so
 * nothing runs. Needs a running server. */
cJSON *sim_list(struct sim_world *world, const char *resource);

/* Killing what is down and starting what runs do nothing. An agent does not start on a machine without power.
 */
void sim_kill(struct sim_world *world, unsigned part);
void sim_start(struct sim_world *world, unsigned part);
void sim_crash_after(struct sim_world *world, unsigned part, uint64_t steps);
void sim_cut(struct sim_world *world, unsigned node, bool cut);
void sim_power(struct sim_world *world, unsigned node, bool on); /* off: its containers end, its agent too */
void sim_server_lose_store(struct sim_world *world);             /* the server must be down */
void sim_all_well(struct sim_world *world);                      /* ends all faults, starts everything */

/* NULL: every law of a quiet cluster holds. Else what does not; caller frees. */
char *sim_unsettled(struct sim_world *world);
/* Called by sim.c; in sim_laws.c. */
void sim_laws_on_commit(struct sim_world *world, struct store_event *const *events, size_t count);
void sim_laws_on_signal(void *node, const struct runtime_container *container, int signal_number);
void sim_laws_check_machines(struct sim_world *world);
void sim_laws_check_store(struct sim_world *world);
void sim_laws_watch_open(struct sim_world *world);
void sim_laws_watch_close(struct sim_world *world, bool last);
void sim_laws_watch_read(struct sim_world *world);

/* sim_workloads.c: users of workloads, limits and budgets; options.objects judges their laws at every commit.
 */
void sim_workloads_act(struct sim_world *world);
void sim_cron_begin(struct sim_world *world); /* a CronJob, due at each full minute */
void sim_limits_begin(struct sim_world *world);
bool sim_limits_act(struct sim_world *world); /* false: nothing was done */
void sim_budget_begin(struct sim_world *world);
void sim_budget_act(struct sim_world *world);
void sim_objects_end(struct sim_world *world); /* what keeps a world from coming to rest goes */
char *sim_objects_unsettled(struct sim_world *world);
void sim_objects_on_event(struct sim_world *world, const struct store_event *event);
void sim_objects_check(struct sim_world *world);
void sim_objects_free(struct sim_world *world);

/* Running containers (without sandboxes) of pods whose name begins so, over all machines. */
unsigned sim_running(struct sim_world *world, const char *pod_prefix);

#endif
