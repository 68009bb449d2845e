/*
 * results: what is kept of a job: stdout, stderr (with .INDEX for an array), accounting.json, and the files
 * that spec.outputs names, below files/. They are the job object's blobs and go with it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/quantity.h"
#include "client/fileset.h"
#include "submitter/run.h"

#define MAX_ALL (INT64_C(256) << 20)
#define MAX_FILE (INT64_C(64) << 20) /* unless spec.maxOutputSize says another */

static int put_blob(void *arg, const char *digest, const void *data, size_t len, struct err **err)
{
    return home_put_blob(arg, digest, data, len, err);
}

static int64_t limit_of(const struct run *run)
{
    int64_t limit = 0;
    const char *text = json_string(run_spec(run), "maxOutputSize");
    return text && quantity_value(text, &limit, NULL) == 0 ? limit : MAX_FILE;
}

/* .minik8s/stdout → stdout */
static void lift_streams(const char *folder)
{
    auto_free char *private = file_join(folder, SLURM_PRIVATE);
    auto_free char **names = file_list(private, NULL, NULL);
    for (char **name = names; name && *name; name++) {
        auto_free char *from = file_join(private, *name), *to = file_join(folder, *name);
        if (rename(from, to) < 0)
            log_warn("submitter", "%s: %s", *name, strerror(errno));
    }
    file_remove_tree(private, NULL);
}

static int collect_once(struct run *run, const char *folder, struct str *refused, struct err **err)
{
    auto_json streams = cJSON_CreateArray();
    auto_free char *files = file_join(folder, "files");
    json_push_string(streams, SLURM_PRIVATE "/stdout*");
    json_push_string(streams, SLURM_PRIVATE "/stderr*");
    const struct slurm_site_ops *ops = run->site->ops;
    if (ops->collect(run->site, run->folder, streams, limit_of(run), folder, refused, err) < 0)
        return -1;
    lift_streams(folder);
    return ops->collect(run->site, run->folder, json_get(run_spec(run), "outputs"), limit_of(run), files,
                        refused, err);
}

static int collect(struct run *run, const char *folder, struct str *refused, struct err **err)
{
    for (unsigned tries = 0;;) {
        auto_err error = NULL;
        str_clear(refused);
        if (collect_once(run, folder, refused, &error) == 0)
            return 0;
        if (!run_try_again(run, &tries, error))
            return err_move(err, &error);
    }
}

static void write_accounting(const cJSON *status, const char *folder)
{
    static const char *const fields[] = {"slurmId",        "state",    "nodes",  "submitTime", "startTime",
                                         "completionTime", "exitCode", "signal", "accounting"};
    auto_json all = cJSON_CreateObject();
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (json_get(status, fields[i]))
            json_set(all, fields[i], json_copy(json_get(status, fields[i])));
    auto_free char *text = json_print_pretty(all), *path = file_join(folder, "accounting.json");
    file_write_atomic(path, text, strlen(text), 0644, NULL);
}

static int send_all(struct run *run, const char *folder, struct fileset_sum *sum, struct err **err)
{
    const struct fileset_place place = {.put = put_blob, .arg = run->home};
    for (unsigned tries = 0;;) {
        auto_err error = NULL;
        if (fileset_send(folder, MAX_ALL, &place, sum, &error) == 0)
            return 0;
        if (!run_try_again(run, &tries, error))
            return err_move(err, &error);
    }
}

static void add_message(struct str *message, const char *what, const char *why)
{
    str_addf(message, "%s%s%s", message->len ? "; " : "", what, why);
}

/* One line of what was left out. */
static void add_refused(struct str *message, const struct run *run, struct str *refused)
{
    for (char *p = refused->data; p && *p; p++)
        if (*p == '\n')
            *p = p[1] ? ',' : 0;
    auto_free char *what = mem_printf("above spec.maxOutputSize (%s), not kept: ",
                                      json_string_or(run_spec(run), "maxOutputSize", "64Mi"));
    if (refused->len)
        add_message(message, what, str_c(refused));
}

/* All of it, or without the outputs if that is too much. */
static int send_what_fits(struct run *run, const char *folder, struct fileset_sum *sum, struct str *message)
{
    auto_err error = NULL;
    auto_err again = NULL;
    if (send_all(run, folder, sum, &error) == 0)
        return 0;
    if (err_code(error) == ERR_TOO_LARGE) {
        auto_free char *files = file_join(folder, "files");
        add_message(message, "the outputs are not kept: ", err_message(error));
        file_remove_tree(files, NULL);
        if (send_all(run, folder, sum, &again) == 0)
            return 0;
    }
    add_message(message, "the results are not kept: ", err_message(again ? again : error));
    return -1;
}

void run_keep_results(struct run *run, cJSON *status)
{
    auto_free char *folder = mem_printf("%s/results-XXXXXX", run->scratch);
    struct str refused = {0}, message = {0};
    struct fileset_sum sum = {0};
    auto_err error = NULL;
    if (!mkdtemp(folder)) {
        auto_free char *why = mem_printf("the results are not kept: %s: %s", folder, strerror(errno));
        json_set_string(json_ensure_object(status, "results"), "message", why);
        return;
    }
    if (collect(run, folder, &refused, &error) < 0)
        add_message(&message, "the outputs are not kept: ", err_message(error));
    add_refused(&message, run, &refused);
    auto_json whole = json_merge_patch(json_copy(run->reported), status);
    write_accounting(whole, folder);
    int result = send_what_fits(run, folder, &sum, &message);
    cJSON *results = json_ensure_object(status, "results");
    if (result == 0) {
        json_set_string(results, "digest", sum.digest);
        json_set_int(results, "files", (int64_t)sum.files);
        json_set_int(results, "bytes", sum.bytes);
    }
    if (message.len) {
        add_message(&message, "it stays in ", run->folder);
        json_set_string(results, "message", str_c(&message));
    }
    str_free(&refused);
    str_free(&message);
    file_remove_tree(folder, NULL);
}
