/* policy.h: what the files of `minikubectl policy` share. */
#ifndef M8_CMD_POLICY_H
#define M8_CMD_POLICY_H

#include "kubectl.h"

#define POLICY_MAX (256u << 10)
#define PREVIOUS_SOURCE "minik8s.io/previous-source"
#define SOURCE_TIME "minik8s.io/previous-source-until"
#define PREVIOUS_CHOICE "minik8s.io/previous-choice."
#define CHOICE_TIME "minik8s.io/previous-choice-until."

/* ---- policy_profile.c: which policies decide */

/* The profile of the whole cluster, whose status lists all policies; and the one that the command is about:
 * the same, or with --namespace the one in force there, which may not be there yet (no uid). */
struct policy_profiles {
    cJSON *list; /* of all, as the server has them */
    const cJSON *cluster;
    cJSON *own;            /* to be changed */
    const char *namespace; /* NULL: the cluster */
};
int policy_load(struct kubectl *k, struct policy_profiles *profiles); /* 0, or an exit code (told) */
void policy_profiles_fini(struct policy_profiles *profiles);
#define auto_profiles __attribute__((cleanup(policy_profiles_fini))) struct policy_profiles

cJSON *policy_named(const cJSON *list, const char *name);  /* entry of a list of {name, …}, or NULL */
cJSON *policy_point(const cJSON *list, const char *point); /* entry of a list of {point, …}, or NULL */
/* What the manager says of the point, where the command looks: {point, shape, policies}, or NULL. */
const cJSON *policy_status(const struct policy_profiles *profiles, const char *point);
/* What the profile in force there says of it, or NULL. */
const cJSON *policy_chosen(const struct policy_profiles *profiles, const char *point);
/* Errors that say what is near. The second one also tells of a policy that is stored, but that no manager has
 * accepted. */
int policy_check_point(const struct policy_profiles *profiles, const char *point, struct err **err);
int policy_check_name(struct kubectl *k, const struct policy_profiles *profiles, const char *point,
                      const char *name, struct err **err);
/* Those that decide at the point, as a profile would list them (each with its weight, mode and settings),
 * then those that are disabled; caller owns. */
cJSON *policy_active(const struct policy_profiles *profiles, const char *point);
/* Sets the policies of a point (NULL: the default) and remembers what was there; takes policies. Exit code.
 */
int policy_choose(struct kubectl *k, struct policy_profiles *profiles, const char *point, cJSON *policies);
/* Stores profiles->own and waits for what the manager says of the point; before: to go back to. Exit code. */
int policy_put_profile(struct kubectl *k, const struct policy_profiles *profiles, const cJSON *before,
                       const char *point);
void policy_set_now(cJSON *annotations, const char *name); /* the order of changes is what rollback goes by */

/* What the manager says of the written generation of an object. */
struct policy_verdict {
    int64_t generation;
    char *state, *message;
};
int policy_wait_for_verdict(struct kubectl *k, const char *resource, const cJSON *object,
                            struct policy_verdict *verdict, struct err **err);
void policy_verdict_fini(struct policy_verdict *verdict);

/* ---- verb_policy.c */
char *policy_path(const char *name);
/* The string that FIELD = "…" gives in a policy's table, or NULL; caller frees. */
char *policy_field(const char *source, const char *field);
/* The object that a file (or what was before) becomes; before may be NULL. */
cJSON *policy_make(const char *path, const char *source, const cJSON *before, struct err **err);
int policy_put(struct kubectl *k, const cJSON *policy, bool exists); /* and the verdict; exit code */
/* Stores what the file says as an object and waits for the verdict; exit code. */
int policy_apply_file(struct kubectl *k, const char *path);

/* ---- verb_policy_record.c */
int policy_log(struct kubectl *k);
int policy_test(struct kubectl *k);
/* A policy as the manager has it, also a shipped one: {name, point, from, hash, source}; caller owns. */
cJSON *policy_known(struct kubectl *k, const char *name, struct err **err);
int policy_print_json(const cJSON *json);

/* policy_plot.c: the decisions (of PolicyQuery's answer, oldest first) as charts over time. */
void policy_plot(const cJSON *decisions);

/* ---- verb_policy_change.c */
int policy_use(struct kubectl *k);
int policy_rollback(struct kubectl *k);
int policy_shadow(struct kubectl *k);
int policy_diff(struct kubectl *k);
int policy_disable(struct kubectl *k);
int policy_settings(struct kubectl *k);

#endif
