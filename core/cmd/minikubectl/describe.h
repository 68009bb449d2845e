/*
 * describe: what its files share: lines of the same look, and one function per kind that has a layout of its
 * own. All of them print to standard output; objects are borrowed, parts that are absent are left out or
 * "<none>".
 */
#ifndef M8_CMD_DESCRIBE_H
#define M8_CMD_DESCRIBE_H

#include "kubectl.h"

#define DESCRIBE_PER_NODE                                                                                    \
    "minik8s.io/Nodes" /* a pod's condition that is not among the others, but a list of nodes */

/* ---- describe_fields.c ---- */
void describe_field(const char *name, const char *value); /* "Name:    value" */
void describe_path(const char *name, const cJSON *object, const char *path);
void describe_map(const char *name, const cJSON *map);                  /* one entry a line */
void describe_block(const char *title, const cJSON *value, int indent); /* anything, as YAML */
void describe_conditions(const cJSON *object);
char *describe_text(const cJSON *value); /* on one line; caller frees */
char *describe_age(const char *time);    /* "5m", "<unknown>"; caller frees */

/* ---- kinds, each in describe_*.c of its name; those that make pods in describe_workloads.c ---- */
typedef void describe_kind(struct kubectl *k, const cJSON *object);
describe_kind describe_node, describe_service, describe_workload, describe_stateful_set, describe_daemon_set,
    describe_job, describe_cron_job, describe_ingress, describe_dns, describe_quota, describe_limits,
    describe_namespace;
describe_kind describe_scaling;               /* the first lines of an autoscaler … */
void describe_decisions(const cJSON *object); /* … and what was decided */

#endif
