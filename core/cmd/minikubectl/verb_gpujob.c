/*
 * gpujob: a folder becomes a GPUJob. First the object, which names the digest of the folder's list; then the
 * blobs, the list last; then the annotation that lets the job begin. What is broken off can be done again.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "client/fileset.h"
#include "kubectl.h"
#include "submitter/script.h"

#define UPLOADED "minik8s.io/uploaded"
#define MAX_UPLOAD (INT64_C(256) << 20)
#define OWN_FILE "gpujob.yaml"

/* ---- blobs of one job ---- */

struct blob_target {
    struct kubectl *k;
    char *path; /* of the object */
};

static int put_blob(void *arg, const char *digest, const void *data, size_t len, struct err **err)
{
    struct blob_target *to = arg;
    struct str answer = {0};
    auto_free char *target = mem_printf("%s/blobs/%s", to->path, digest);
    int result = kubectl_request_bytes(to->k, "PUT", target, len ? data : "", len, &answer, err);
    str_free(&answer);
    return result;
}

static int get_blob(void *arg, const char *digest, char **data, size_t *len, struct err **err)
{
    struct blob_target *from = arg;
    struct str answer = {0};
    auto_free char *target = mem_printf("%s/blobs/%s", from->path, digest);
    if (kubectl_request_bytes(from->k, "GET", target, NULL, 0, &answer, err) < 0)
        return -1;
    *len = answer.len;
    *data = str_take(&answer);
    return 0;
}

static const struct kubectl_resource *jobs(struct kubectl *k, struct err **err)
{
    return kubectl_find_resource(k, "gpujobs.minik8s.io", err);
}

/* ---- submit ---- */

/* -f FILE, else FOLDER/gpujob.yaml, else an empty one. */
static cJSON *load_job(struct kubectl *k, const char *folder, struct err **err)
{
    auto_free char *own = folder ? file_join(folder, OWN_FILE) : NULL;
    const char *files[] = {own};
    bool implied = !k->flags.n_files && own && file_exists(own);
    if (implied) {
        k->flags.files = files;
        k->flags.n_files = 1;
    }
    auto_json all = k->flags.n_files ? kubectl_load_manifests(k, err) : cJSON_CreateArray();
    if (implied) {
        k->flags.files = NULL;
        k->flags.n_files = 0;
    }
    if (!all)
        return NULL;
    cJSON *job = cJSON_DetachItemFromArray(all, 0);
    if (!job)
        return kubectl_object_new("minik8s.io/v1", "GPUJob", k->flags.name);
    if (all->child || !str_eq(json_string(job, "kind"), "GPUJob")) {
        cJSON_Delete(job);
        err_set(err, ERR_INVALID, "one GPUJob is wanted in -f");
        return NULL;
    }
    return job;
}

/* What stands behind -- is the command. */
static void set_command(struct kubectl *k, cJSON *job)
{
    struct str text = {0};
    for (int i = 0; i < k->n_rest; i++) {
        if (i)
            str_add_char(&text, ' ');
        slurm_quote(&text, k->rest[i]);
    }
    if (text.len)
        json_set_string(json_ensure_object(job, "spec"), "run", str_c(&text));
    str_free(&text);
}

static cJSON *make_job(struct kubectl *k, const char *folder, struct err **err)
{
    auto_json job = load_job(k, folder, err);
    if (!job)
        return NULL;
    if (k->flags.name)
        json_set_string(json_ensure_object(job, "metadata"), "name", k->flags.name);
    if (str_empty(json_string(job, "metadata.name"))) {
        err_set(err, ERR_INVALID, "--name=NAME is needed, or metadata.name in -f");
        return NULL;
    }
    set_command(k, job);
    if (folder) {
        struct fileset_sum sum;
        const struct fileset_place nowhere = {0};
        if (fileset_send(folder, MAX_UPLOAD, &nowhere, &sum, err) < 0)
            return NULL;
        json_set_at(job, "spec.sources.upload.digest", cJSON_CreateString(sum.digest));
    }
    return steal(&job);
}

/* Checked and defaulted by the server; nothing is made. */
static int show_script(struct kubectl *k, const cJSON *job)
{
    auto_err err = NULL;
    const struct kubectl_resource *resource = jobs(k, &err);
    auto_free char *path =
        resource ? kubectl_target(k, resource, json_string(job, "metadata.namespace"), NULL, NULL) : NULL;
    auto_free char *target = path ? mem_printf("%s?dryRun=All&fieldValidation=Strict", path) : NULL;
    auto_json checked = target ? kubectl_request(k, "POST", target, NULL, NULL, job, &err) : NULL;
    if (!checked)
        return kubectl_fail(err, NULL);
    const char *namespace = json_string_or(checked, "metadata.namespace", k->namespace);
    auto_free char *cluster_target =
        mem_printf("/apis/minik8s.io/v1/namespaces/%s/slurmclusters/%s", namespace,
                   json_string_or(checked, "spec.cluster", "default"));
    auto_json cluster = kubectl_request(k, "GET", cluster_target, NULL, NULL, NULL, &err);
    auto_free char *folder =
        mem_printf("%s/%s.%s.UID", json_string_or(cluster, "spec.directory", "DIRECTORY"), namespace,
                   json_string_or(checked, "metadata.name", ""));
    if (!cluster)
        fprintf(stderr, "Warning: %s: DIRECTORY stands for its folder\n", err_message(err));
    const struct slurm_place place = {
        .name = json_string_or(checked, "metadata.name", ""), .uid = "UID", .folder = folder};
    struct str script = {0};
    slurm_script(&script, json_get(checked, "spec"), &place);
    printf("%s", str_c(&script));
    str_free(&script);
    return 0;
}

static int upload(struct kubectl *k, const char *folder, const cJSON *job, struct err **err)
{
    const char *digest = json_string(job, "spec.sources.upload.digest");
    struct fileset_sum sum;
    struct blob_target to = {.k = k};
    const struct kubectl_resource *resource = jobs(k, err);
    if (!resource)
        return -1;
    to.path = kubectl_target(k, resource, json_string(job, "metadata.namespace"),
                             json_string(job, "metadata.name"), NULL);
    auto_free char *path = to.path;
    const struct fileset_place place = {.put = put_blob, .arg = &to};
    if (fileset_send(folder, MAX_UPLOAD, &place, &sum, err) < 0)
        return -1;
    if (!str_eq(sum.digest, digest))
        return err_set(err, ERR_CONFLICT, "the files of %s have changed while they were sent", folder);
    auto_json patch = cJSON_CreateObject();
    json_set_string(json_ensure_object(json_ensure_object(patch, "metadata"), "annotations"), UPLOADED,
                    digest);
    auto_json done = kubectl_request(k, "PATCH", path, NULL, "application/merge-patch+json", patch, err);
    if (done)
        printf("sent %zu files, %lld bytes\n", sum.files, (long long)sum.bytes);
    return done ? 0 : -1;
}

static int submit(struct kubectl *k)
{
    auto_err err = NULL;
    const char *folder = k->n_args > 1 ? k->args[1] : NULL;
    if (!folder && !k->flags.n_files && !k->n_rest)
        return kubectl_refuse_text("a FOLDER, -f FILE or -- COMMAND is needed");
    auto_json job = make_job(k, folder, &err);
    if (!job)
        return kubectl_refuse(err);
    if (k->flags.dry_run)
        return show_script(k, job);
    int code = kubectl_create_as(k, job, NULL, "created");
    if (code || !folder)
        return code;
    if (upload(k, folder, job, &err) < 0) {
        fprintf(stderr, "the files of %s have not been sent; delete the GPUJob and submit again\n", folder);
        return kubectl_fail(err, NULL);
    }
    return 0;
}

/* ---- results, cancel ---- */

static int results(struct kubectl *k, const char *name)
{
    auto_err err = NULL;
    const char *folder = k->flags.output;
    const struct kubectl_resource *resource = jobs(k, &err);
    if (!resource)
        return kubectl_refuse(err);
    if (!folder)
        return kubectl_refuse_text("-o FOLDER is needed: where the results are to lie");
    const struct kubectl_reference reference = {resource, name, NULL};
    struct blob_target from = {.k = k, .path = kubectl_target(k, resource, NULL, name, NULL)};
    auto_free char *path = from.path;
    auto_json job = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
    if (!job)
        return kubectl_fail_named(k, err, NULL, &reference);
    const char *digest = json_string(job, "status.results.digest");
    if (!digest)
        return kubectl_refuse_text("gpujob/%s has no results yet: it is %s (%s)", name,
                                   json_string_or(job, "status.state", "Pending"),
                                   json_string_or(job, "status.reason", ""));
    struct fileset_sum sum;
    const struct fileset_place place = {.get = get_blob, .arg = &from};
    if (fileset_receive(digest, &place, folder, &sum, &err) < 0)
        return kubectl_fail(err, NULL);
    const char *incomplete = json_string(job, "status.results.message");
    if (incomplete)
        fprintf(stderr, "Warning: %s\n", incomplete);
    printf("%zu files, %lld bytes in %s\n", sum.files, (long long)sum.bytes, folder);
    return 0;
}

static int cancel(struct kubectl *k, const char *name)
{
    auto_err err = NULL;
    const struct kubectl_reference reference = {jobs(k, &err), name, NULL};
    if (!reference.resource)
        return kubectl_refuse(err);
    auto_json patch = cJSON_CreateObject();
    json_set_bool(json_ensure_object(patch, "spec"), "cancel", true);
    return kubectl_patch_and_tell(k, &reference, "application/merge-patch+json", patch, "cancelled");
}

int verb_gpujob(struct kubectl *k)
{
    static const char *const words[] = {"submit", "results", "cancel"};
    const char *what = k->n_args ? k->args[0] : "";
    if (str_eq(what, "submit") && k->n_args <= 2)
        return submit(k);
    if (str_eq(what, "results") && k->n_args == 2)
        return results(k, k->args[1]);
    int code = 0;
    if (str_eq(what, "cancel") && k->n_args > 1) {
        for (int i = 1; i < k->n_args; i++)
            code |= cancel(k, k->args[i]);
        return code;
    }
    const char *nearest = str_nearest(what, words, COUNT_OF(words));
    return kubectl_refuse_text(
        "usage: gpujob (submit [FOLDER] [-f FILE] | results NAME -o FOLDER | cancel NAME…)%s%s",
        nearest ? "; did you mean " : "", nearest ? nearest : "");
}
