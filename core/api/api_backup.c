/*
 * POST /apis/minik8s.io/v1/backups {"name": NAME}: store and blobs of one moment as a folder on the server's
 * machine, which a server can start from. It stays there, and Secrets in it are sealed as they are in the
 * store. Who may create "backups" of minik8s.io may make one; one is made at a time, beside all other work.
 */
#include <string.h>

#include "api/api_internal.h"
#include "base/file.h"
#include "base/time.h"
#include "store/backup.h"

struct backup_call {
    struct call *call;
    char *directory;
    struct err *error;
};

static void work(void *arg)
{
    struct backup_call *b = arg;
    const struct api *api = b->call->api;
    if (file_make_dirs(api->options.backups, 0700, &b->error) == 0)
        store_backup(api->store, api->options.blobs, b->directory, &b->error);
}

static void done(void *arg)
{
    struct backup_call *b = arg;
    if (b->error) {
        call_fail(b->call, b->error);
    } else {
        cJSON *answer = cJSON_CreateObject();
        json_set_string(answer, "directory", b->directory);
        call_answer_json(b->call, 201, answer);
    }
    free(b->directory);
    free(b);
}

/* Without a name: the time, "20261129154800". */
static char *name_of(const struct call *call, const cJSON *wish, struct err **err)
{
    char text[TIME_TEXT];
    auto_str digits = {0};
    const char *name = json_string(wish, "name"), *wrong = name ? str_check_dns_subdomain(name) : NULL;
    if (wrong) {
        err_set(err, ERR_BAD_REQUEST, "name: %s", wrong);
        return NULL;
    }
    if (name)
        return mem_strdup(name);
    time_print(api_wall(call->api), text);
    for (const char *p = text; *p && *p != '.'; p++)
        if (*p >= '0' && *p <= '9')
            str_add_char(&digits, *p);
    return str_take(&digits);
}

static char *directory_of(struct call *call, struct err **err)
{
    const struct access access = {.verb = "create", .group = "minik8s.io", .resource = "backups"};
    if (identity_allows(call->api, &call->identity, &access, err) < 0)
        return NULL;
    if (!call->api->backup_pool) {
        err_set(err, ERR_UNAVAILABLE, "this server has no folder for backups");
        return NULL;
    }
    auto_json wish = call->request->body_len ? body_object(call, err) : cJSON_CreateObject();
    auto_free char *name = wish ? name_of(call, wish, err) : NULL;
    return name ? file_join(call->api->options.backups, name) : NULL;
}

void handle_backup(struct call *call)
{
    struct err *err = NULL;
    char *directory = directory_of(call, &err);
    if (!directory) {
        call_fail(call, err);
        return;
    }
    struct backup_call *b = NEW(struct backup_call);
    b->call = call;
    b->directory = directory;
    pool_run(call->api->backup_pool, call->api->options.loop, work, done, b);
}
