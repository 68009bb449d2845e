/*
 * kubectl.h: what the verbs of minikubectl share. A verb is one file with `int verb_NAME(struct kubectl *k)`;
 * it returns the exit code (kubectl's: 0 done, 1 failed, 2 wrong use where kubectl says so).
 */
#ifndef M8_CMD_KUBECTL_H
#define M8_CMD_KUBECTL_H

#include <stdio.h>

#include "base/json.h"
#include "base/map.h"
#include "client/client.h"
#include "http/http.h"
#include "loop/loop.h"
#include "verbs.h"

/* Flags of all verbs in one struct: a flag means the same everywhere. Numbers that were not given are -1. */
struct kubectl_flags {
    const char *kubeconfig, *server, *token, *as, *as_uid, *namespace, *output, *selector, *field_selector,
        *container, *image, *cascade, *dry_run, *patch, *type, *for_condition, *name, *target_port,
        *subresource, *sort_by, *raw, *since_time, *address, *from, *requests, *limits, *containers,
        *prefix_text, *labels, *annotations, *restart, *overrides, *image_pull_policy, *target, *copy_to,
        *pod_selector, *schedule, *cluster_ip, *external_name, *ingress_class, *default_backend, *hard,
        *min_available, *max_unavailable, *description, *preemption_policy, *role, *cluster_role, *cert, *key,
        *cpu, *memory, *point, *kind, *object, *manager, *bound_kind, *bound_name, *bound_uid;
    const char **files, **from_literals, **from_files, **label_columns, **env, **tcp, **rules, **verbs,
        **resources, **resource_names, **non_resource_urls, **users, **groups, **accounts, **expressions,
        **as_groups, **audiences;
    size_t n_files, n_from_literals, n_from_files, n_label_columns, n_env, n_tcp, n_rules, n_verbs,
        n_resources, n_resource_names, n_non_resource_urls, n_users, n_groups, n_accounts, n_expressions,
        n_as_groups, n_audiences;
    long long tail, timeout_s, since_s, request_timeout_s, replicas, grace, revision, port, current_replicas,
        limit_bytes, max_log_requests, pod_timeout_s, node_port, value, min, max, replay_s, duration_s;
    bool all_namespaces, watch, watch_only, follow, previous, timestamps, all_containers, prefix, stdin_open,
        tty, reusable, all, force, wait, no_headers, show_labels, show_kind, ignore_not_found, recursive, now,
        help, overwrite, quiet, list, client, no_preserve, ignore_daemonsets, delete_emptydir_data,
        disable_eviction, rm, command, attach, same_node, share_processes, replace, global_default,
        containers_flag, raw_config, plot, server_side, force_conflicts, show_managed;
};

/* One line of discovery. */
struct kubectl_resource {
    const char *group, *version, *plural, *singular, *kind;
    char *name; /* "deployments.apps" */
    bool namespaced;
    const cJSON *short_names, *categories;
};

struct kubectl {
    struct kubectl_flags flags;
    char **args; /* after the verb, without flags */
    int n_args;
    char **rest; /* after -- */
    int n_rest;
    struct kubeconfig config;
    char *namespace; /* the one in force */
    struct loop *loop;
    struct http_client *http;
    cJSON *discovery; /* parsed documents that `resources` points into */
    struct kubectl_resource *resources;
    size_t n_resources;
    char **sources; /* of manifests: the file of each object of kubectl_load_manifests */
    size_t n_sources;
};

/* ---- flags.c */
int kubectl_parse(struct kubectl *k, int argc, char **argv, const char **verb, struct err **err);
void kubectl_print_flags(FILE *out, const char *verb, bool of_all_verbs);
void kubectl_flags_free(struct kubectl *k);

/* ---- connection.c: requests */
int kubectl_connect(struct kubectl *k, struct err **err);
void kubectl_disconnect(struct kubectl *k);
/* The answer, owned by the caller; NULL and err for transport failures and Status answers ≥ 400. */
cJSON *kubectl_request(struct kubectl *k, const char *method, const char *target, const char *accept,
                       const char *content_type, const cJSON *body, struct err **err);
/* The same with bytes both ways; out is the caller's. */
int kubectl_request_bytes(struct kubectl *k, const char *method, const char *target, const void *data,
                          size_t len, struct str *out, struct err **err);
char *kubectl_request_text(struct kubectl *k, const char *target, struct err **err);
/* Streams lines to on_line (false ends it). timeout_ms 0: none. 0 at the end; -1 with err. */
int kubectl_stream_lines(struct kubectl *k, const char *target, const char *accept, int64_t timeout_ms,
                         bool (*on_line)(void *arg, const char *line, size_t len), void *arg,
                         struct err **err);
#define KUBECTL_STREAMS_MAX 60
char *kubectl_config_path(const struct kubectl *k); /* of the kubeconfig in force; caller frees */
/* Texts to stdout at the same time, line by line with their prefixes (each may be NULL); the end of all. */
int kubectl_stream_text(struct kubectl *k, const char *const *targets, const char *const *prefixes,
                        size_t count, struct err **err);

#define KUBECTL_TABLE "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

/* ---- resources.c: words → kinds */
/* "po", "pods", "pod", "Pod", "deployments.apps"; ERR_NOT_FOUND with a suggestion. */
const struct kubectl_resource *kubectl_find_resource(struct kubectl *k, const char *word, struct err **err);
const struct kubectl_resource *kubectl_find_kind(struct kubectl *k, const char *api_version, const char *kind,
                                                 struct err **err);
char *kubectl_target(struct kubectl *k, const struct kubectl_resource *resource, const char *namespace,
                     const char *name, const char *subresource);
/* What arguments name: "pod a b", "pod/a svc/b", "pods,svc" (no names). */
struct kubectl_reference {
    const struct kubectl_resource *resource;
    const char *name;      /* NULL: all */
    const char *namespace; /* NULL: the one in force */
};
int kubectl_references(struct kubectl *k, int first, struct kubectl_reference **list, size_t *count,
                       struct err **err);

/* Reads what the references name, one by one, or by -l, --all, field selector: an array of whole objects,
 * each with kind and apiVersion. Names that are not there are reported and set *code; NULL: nothing could be
 * asked. */
cJSON *kubectl_read_all(struct kubectl *k, const struct kubectl_reference *refs, size_t count, int *code,
                        struct err **err);
/* The reference of an object that the server sent; borrows from it. */
struct kubectl_reference kubectl_reference_of(struct kubectl *k, const cJSON *object);
char *kubectl_singular(const struct kubectl_resource *resource); /* "deployment.apps"; caller frees */

/* ---- pods.c */
/* The pod that "POD", "pod/POD" or "deployment/NAME" (its first running one) means; 0, or an exit code
 * (told). */
int kubectl_find_pod(struct kubectl *k, const char *word, cJSON **pod);
/* --container, the pod's default, or its first one, saying so when there are several. Caller frees. */
char *kubectl_choose_container(struct kubectl *k, const cJSON *pod);

/* ---- remote.c: the streams of a program in a container */
struct kubectl_remote {
    const char *target;     /* of the exec or attach subresource */
    bool input, tty, quiet; /* quiet: failures are not told */
    const char *prompt;     /* to standard error once it is connected; NULL: none */
    /* Instead of standard input (0: the end) and of standard output. */
    ssize_t (*source)(void *arg, char *data, size_t len);
    void (*sink)(void *arg, const char *data, size_t len);
    void *arg;
};
char *kubectl_remote_target(struct kubectl *k, const cJSON *pod, const char *subresource,
                            const char *container, char *const *command, int n_command);
int kubectl_remote(struct kubectl *k, const struct kubectl_remote *remote); /* the program's exit code */
void kubectl_write(int fd, const char *data, size_t len); /* all of it, unless nobody reads any more */
bool kubectl_want_terminal(struct kubectl *k);            /* -t without a terminal is taken back, and told */
/* verb_exec.c: to what runs in the container already. Exit code. */
int kubectl_attach(struct kubectl *k, const cJSON *pod, const char *container);

/* ---- manifests.c: -f */
/* All objects of all -f files, folders, and "-" as one array; Lists are flattened. Errors name the file. */
cJSON *kubectl_load_manifests(struct kubectl *k, struct err **err);
/* Does this with each of them, also after one has failed; the verb's exit code. */
int kubectl_each_manifest(struct kubectl *k,
                          int (*act)(struct kubectl *k, const cJSON *object, const char *source));

/* ---- print.c */
enum kubectl_format {
    FORMAT_TABLE,
    FORMAT_WIDE,
    FORMAT_YAML,
    FORMAT_JSON,
    FORMAT_NAME,
    FORMAT_JSONPATH,
    FORMAT_COLUMNS
};
int kubectl_format(struct kubectl *k, enum kubectl_format *format, const char **expression, struct err **err);
/* How rows of a server-side table are shown. widths: kept between calls, so that the rows of a watch stay
 * below their headers; the caller frees. */
struct kubectl_columns {
    bool headers, wide, with_namespace;
    const char *name_prefix; /* "pod/" or NULL */
    size_t *widths, n_widths;
};
void kubectl_print_table(struct kubectl *k, const cJSON *table, struct kubectl_columns *columns);
/* Cells row after row, in columns; widths may be NULL. */
struct kubectl_grid {
    char **cells;
    size_t columns, rows;
};
void kubectl_grid_row(struct kubectl_grid *grid, const char *const *cells);
void kubectl_grid_print(struct kubectl_grid *grid, size_t **widths,
                        size_t *n_widths); /* and frees the cells */
int kubectl_print_object(struct kubectl *k, const cJSON *object,
                         struct err **err);                         /* yaml, json, name, jsonpath */
char *kubectl_display_name(struct kubectl *k, const cJSON *object); /* "deployment.apps/web" */

/* kubectl's words for a failed request; returns 1. what: `error when creating "f.yaml"`, or NULL. */
int kubectl_fail(const struct err *err, const char *what);
/* The same for a named object; a name that is not there gets a suggestion from those that are. */
int kubectl_fail_named(struct kubectl *k, const struct err *err, const char *what,
                       const struct kubectl_reference *reference);
/* "error: …": something that this program found itself; returns 1. */
int kubectl_refuse(const struct err *err);
int kubectl_refuse_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* verb_diff.c: a unified diff of two texts on standard output; 1: they differ. */
int kubectl_print_diff(const char *before, const char *after, const char *before_name,
                       const char *after_name);

/* ---- verbs */
#define KUBECTL_DECLARE(name, group, help, usage, examples) int verb_##name(struct kubectl *k);
KUBECTL_VERBS(KUBECTL_DECLARE)
#undef KUBECTL_DECLARE

int kubectl_token_create(struct kubectl *k); /* `token create`, also `create token` */
/* A Node whose machine has not joined yet: makes a token for it and prints the command to type there. source:
 * the manifest, or NULL. Exit code. */
int kubectl_tell_join(struct kubectl *k, const cJSON *object, const char *source);

/* One PATCH of one object (namespace NULL: the one in force); prints "KIND/NAME WORD", with "(no change)" if
 * it changed nothing. Exit code. */
int kubectl_patch_and_tell(struct kubectl *k, const struct kubectl_reference *reference,
                           const char *content_type, const cJSON *patch, const char *word);
/* The same on a subresource (or NULL); before: the object if it is known, for "(no change)". */
int kubectl_patch(struct kubectl *k, const struct kubectl_reference *reference, const char *subresource,
                  const char *content_type, const cJSON *patch, const cJSON *before, const char *word);
int kubectl_cordon(struct kubectl *k, const char *node, bool cordoned);
/* "KIND/NAME WORD", or the object with -o. Exit code. */
int kubectl_tell(struct kubectl *k, const cJSON *object, const char *word);
cJSON *kubectl_object_new(const char *api_version, const char *kind, const char *name);
/* POST; source: the manifest's file, or NULL. Exit code. */
int kubectl_create_object(struct kubectl *k, const cJSON *object, const char *source);
int kubectl_create_as(struct kubectl *k, const cJSON *object, const char *source, const char *word);
/* create_kinds.c: what flags say, for "create KIND NAME". */
cJSON *kubectl_make(struct kubectl *k, const char *word, const char *name, struct err **err);
/* What is there (NULL: nothing) and what apply makes of it; both the caller's. */
int kubectl_apply_object(struct kubectl *k, const cJSON *object, cJSON **before, cJSON **after,
                         struct err **err);
/* Until the object is gone, or another of its name is there (uid may be NULL); at most --timeout. */
int kubectl_wait_gone(struct kubectl *k, const struct kubectl_reference *reference, const char *uid,
                      struct err **err);

#endif
