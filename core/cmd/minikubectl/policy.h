/* policy.h: what the files of `minikubectl policy` share. */
#ifndef M8_CMD_POLICY_H
#define M8_CMD_POLICY_H

#include "kubectl.h"

#define POLICY_MAX (256u << 10)
#define PREVIOUS_SOURCE "minik8s.io/previous-source"

cJSON *policy_profile(struct kubectl *k, struct err **err);
char *policy_path(const char *name);
/* The string that FIELD = "…" gives in a policy's table, or NULL; caller frees. */
char *policy_field(const char *source, const char *field);
cJSON *policy_point(cJSON *list, const char *point); /* entry of a list of {point, …}, or NULL */
/* Whether the point is known, and the policies in k->args from `first` on. */
int policy_check_names(struct kubectl *k, const cJSON *profile, const char *point, int first,
                       struct err **err);
/* Stores what the file says as an object and waits for the verdict; exit code. */
int policy_apply_file(struct kubectl *k, const char *path);
/* Sets the policies of a point (NULL: the built-in default) and remembers what was there; takes policies. */
int policy_choose(struct kubectl *k, cJSON *profile, const char *point, cJSON *policies);
/* The same for one namespace: in the profile of its name, which is made if need be. Exit code; takes
 * policies. */
int policy_choose_in(struct kubectl *k, const char *namespace, const char *point, cJSON *policies);
/* Stores the profile and waits for what the manager says of the point; before: to go back to. Exit code. */
int policy_put_profile(struct kubectl *k, const cJSON *profile, const cJSON *before, const char *point);
/* The policies that are active at the point as a profile would list them, each with its weight and settings;
 * caller owns. */
cJSON *policy_active(const cJSON *profile, const char *point);

/* verb_policy_record.c */
int policy_log(struct kubectl *k);
int policy_test(struct kubectl *k);
/* A policy that is no object, as the manager has it; exit code. */
int policy_show_other(struct kubectl *k, const char *name);
/* policy_plot.c: the decisions (of PolicyQuery's answer, oldest first) as charts over time. */
void policy_plot(const cJSON *decisions);
/* verb_policy_change.c */
int policy_shadow(struct kubectl *k);
int policy_diff(struct kubectl *k);
int policy_disable(struct kubectl *k);
int policy_settings(struct kubectl *k);

#endif
