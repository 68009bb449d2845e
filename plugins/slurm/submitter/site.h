/*
 * site: a Slurm as the submitter reaches it: slurmrestd and a shared folder, or a login node over SSH.
 * Blocking; one thread. Errors: ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_UNAUTHORIZED may pass; ERR_INVALID is
 * Slurm's refusal, in its words.
 */
#ifndef M8_SLURM_SITE_H
#define M8_SLURM_SITE_H

#include "base/str.h"
#include "submitter/answer.h"
#include "submitter/script.h"

struct slurm_site;
struct slurm_site_ops {
    /* Makes the job's folder hold what the local folder `staged` holds. May be repeated; a folder in which
     * the job works already (SLURM_CLAIM) stays as it is. */
    int (*prepare)(struct slurm_site *site, const char *staged, const char *folder, struct err **err);
    /* ERR_INVALID: refused, nothing was submitted. Any other error: unknown. */
    int (*submit)(struct slurm_site *site, const cJSON *spec, const struct slurm_place *place, int64_t *id,
                  struct err **err);
    int (*find)(struct slurm_site *site, const char *comment, int64_t *id, struct err **err); /* 0: none */
    int (*look)(struct slurm_site *site, int64_t id, const struct slurm_known *known, struct slurm_view *view,
                struct err **err);
    int (*cancel)(struct slurm_site *site, int64_t id, struct err **err);
    /* Appends at most max bytes of a file in the job's folder from offset on. ERR_NOT_FOUND. */
    int (*read)(struct slurm_site *site, const char *folder, const char *file, int64_t offset, size_t max,
                struct str *out, struct err **err);
    /* Appends a line "SIZE NAME" for each file in SLURM_PRIVATE of the job's folder. */
    int (*list)(struct slurm_site *site, const char *folder, struct str *out, struct err **err);
    /* Copies what matches a glob from the job's folder into a local one; at most max bytes of each file are
     * taken, of larger ones nothing: their names are appended to refused, one a line. */
    int (*collect)(struct slurm_site *site, const char *folder, const cJSON *globs, int64_t max,
                   const char *into, struct str *refused, struct err **err);
    int (*remove)(struct slurm_site *site, const char *folder, struct err **err); /* the job's folder */
    void (*free)(struct slurm_site *site);
};
struct slurm_site {
    const struct slurm_site_ops *ops;
};

/* spec: of the SlurmCluster; secret: folder with the Secret's files; mount: where `directory` is mounted. */
struct slurm_site *slurm_rest_new(const cJSON *spec, const char *secret, const char *mount, struct err **err);
struct slurm_site *slurm_ssh_new(const cJSON *spec, const char *secret, struct err **err);

/* A JWT as slurmrestd takes it. Caller frees. */
char *slurm_token(const void *key, size_t key_len, const char *user, int64_t now, int64_t seconds);

/* files.c: local folders. */
bool files_match(const cJSON *globs, const char *name); /* what is ours only by globs of ours */
int files_copy_tree(const char *from, const char *to, struct err **err);
int files_collect(const char *folder, const cJSON *globs, int64_t max, const char *into, struct str *refused,
                  struct err **err);

#endif
