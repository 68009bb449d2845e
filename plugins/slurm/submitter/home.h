/*
 * home: the submitter's own cluster: its GPUJob, read, reported and watched with the pod's service account.
 */
#ifndef M8_SLURM_HOME_H
#define M8_SLURM_HOME_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "base/err.h"

struct home;
/* From the pod's environment and /var/run/secrets: KUBERNETES_SERVICE_HOST, …_PORT. */
struct home *home_new(const char *namespace, const char *name, struct err **err);

/* ERR_NOT_FOUND: the job is gone. Caller owns. */
cJSON *home_job(struct home *home, struct err **err);
/* Merge patch of the status; revision: NULL or what the job must still have (ERR_CONFLICT). */
int home_report(struct home *home, const cJSON *status, const char *revision, struct err **err);
/* Blobs of the job, by their SHA-256; at most HOME_MAX_BLOB bytes each. */
#define HOME_MAX_BLOB (1u << 20)
int home_put_blob(struct home *home, const char *digest, const void *data, size_t len, struct err **err);
int home_get_blob(struct home *home, const char *digest, char **data, size_t *len, struct err **err);

/* Waits at most ms for the job to change to one that is to end; true at once from then on. */
enum home_wish { HOME_GO_ON, HOME_CANCEL, HOME_GONE };
enum home_wish home_wait(struct home *home, int64_t ms);
void home_pause(struct home *home, int64_t ms); /* whatever the job becomes meanwhile */

#endif
