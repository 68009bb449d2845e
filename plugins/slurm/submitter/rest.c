/*
 * rest: a Slurm behind slurmrestd. Files travel through the folder that the cluster's nodes share and that is
 * mounted here.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "http/http.h"
#include "submitter/site.h"

#define CALL_MS 10000
#define TOKEN_SECONDS 600
#define MAX_ANSWER_LOG 200

struct rest {
    struct slurm_site site;
    char *url, *version, *user, *secret, *mount, *directory;
};

static struct rest *rest_of(struct slurm_site *site)
{
    return CONTAINER_OF(site, struct rest, site);
}

static char *secret_file(const struct rest *rest, const char *name, size_t *len)
{
    auto_free char *path = file_join(rest->secret, name);
    char *data = NULL;
    size_t n = 0;
    if (file_read(path, 65536, &data, &n, NULL) < 0)
        return NULL;
    if (len)
        *len = n;
    return data;
}

/* Read anew at each call: Secrets change, tokens end. Caller frees. */
static char *token_of(const struct rest *rest, struct err **err)
{
    size_t len = 0;
    auto_free char *key = secret_file(rest, "jwt_hs256.key", &len);
    if (key)
        return slurm_token(key, len, rest->user, clock_wall_ns(&clock_system) / 1000000000, TOKEN_SECONDS);
    char *token = secret_file(rest, "token", NULL);
    if (!token) {
        err_set(err, ERR_UNAUTHORIZED, "the Secret of the SlurmCluster has neither jwt_hs256.key nor token");
        return NULL;
    }
    token[strcspn(token, " \r\n")] = 0;
    return token;
}

static struct http_response *call(const struct rest *rest, const char *method, const char *path,
                                  const cJSON *body, struct err **err)
{
    auto_free char *token = token_of(rest, err);
    if (!token)
        return NULL;
    const struct http_pair headers[] = {{"X-SLURM-USER-NAME", rest->user}, {"X-SLURM-USER-TOKEN", token}};
    const struct http_client_options options = {.base_url = rest->url, .max_connections = 1};
    auto_free char *target = mem_printf("/slurm/%s/%s", rest->version, path),
                   *text = body ? json_print(body) : NULL;
    const struct http_call request = {.method = method,
                                      .target = target,
                                      .content_type = body ? "application/json" : NULL,
                                      .body = text,
                                      .body_len = text ? strlen(text) : 0,
                                      .headers = headers,
                                      .n_headers = COUNT_OF(headers),
                                      .timeout_ms = CALL_MS};
    return http_client_call_blocking(&options, &request, err);
}

static int rest_submit(struct slurm_site *site, const cJSON *spec, const struct slurm_place *place,
                       int64_t *id, struct err **err)
{
    auto_json body = slurm_submission(spec, place);
    struct http_response *answer = call(rest_of(site), "POST", "job/submit", body, err);
    int result = answer ? slurm_submitted_rest(id, answer->status, answer->body, answer->len, err) : -1;
    http_response_free(answer);
    return result;
}

static int rest_find(struct slurm_site *site, const char *comment, int64_t *id, struct err **err)
{
    struct http_response *answer = call(rest_of(site), "GET", "jobs", NULL, err);
    int result = answer ? slurm_find_rest(id, comment, answer->status, answer->body, answer->len, err) : -1;
    http_response_free(answer);
    return result;
}

static int rest_look(struct slurm_site *site, int64_t id, const struct slurm_known *known,
                     struct slurm_view *view, struct err **err)
{
    auto_free char *path = mem_printf("job/%lld", (long long)id);
    struct http_response *answer = call(rest_of(site), "GET", path, NULL, err);
    int result = answer ? slurm_view_rest(view, known, answer->status, answer->body, answer->len, err) : -1;
    http_response_free(answer);
    return result;
}

static int rest_cancel(struct slurm_site *site, int64_t id, struct err **err)
{
    auto_free char *path = mem_printf("job/%lld", (long long)id);
    struct http_response *answer = call(rest_of(site), "DELETE", path, NULL, err);
    if (!answer)
        return -1;
    int status = answer->status;
    http_response_free(answer);
    return status < 300 ? 0
                        : err_set(err, ERR_UNAVAILABLE, "slurmrestd answered %d to the cancellation", status);
}

/* ---- files ---- */

/* The mounted path of a folder that lies below `directory` on the cluster. */
static char *mounted(const struct rest *rest, const char *folder)
{
    size_t len = strlen(rest->directory);
    return mem_printf("%s%s", rest->mount,
                      strncmp(folder, rest->directory, len) == 0 ? folder + len : folder);
}

static int rest_prepare(struct slurm_site *site, const char *staged, const char *folder, struct err **err)
{
    auto_free char *to = mounted(rest_of(site), folder), *claim = file_join(to, SLURM_CLAIM);
    struct stat status;
    if (lstat(claim, &status) == 0)
        return 0;
    if (file_make_dirs(to, 0700, err) < 0)
        return err_wrap(err, "making the job's folder");
    return files_copy_tree(staged, to, err);
}

static int rest_read(struct slurm_site *site, const char *folder, const char *file, int64_t offset,
                     size_t max, struct str *out, struct err **err)
{
    auto_free char *base = mounted(rest_of(site), folder), *path = file_join(base, file);
    auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_errno(err, errno, "opening %s", file);
    char buffer[65536];
    while (max) {
        ssize_t n = pread(fd, buffer, max < sizeof buffer ? max : sizeof buffer, offset);
        if (n < 0)
            return err_errno(err, errno, "reading %s", file);
        if (n == 0)
            break;
        str_add_n(out, buffer, (size_t)n);
        offset += n;
        max -= (size_t)n;
    }
    return 0;
}

static int rest_list(struct slurm_site *site, const char *folder, struct str *out, struct err **err)
{
    auto_free char *base = mounted(rest_of(site), folder), *path = file_join(base, SLURM_PRIVATE);
    auto_fd fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    auto_free char **names = fd < 0 ? NULL : file_list(path, NULL, err);
    if (!names)
        return fd < 0 ? err_errno(err, errno, "listing %s", path) : -1;
    for (char **name = names; *name; name++) {
        struct stat status;
        if (fstatat(fd, *name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode))
            str_addf(out, "%lld %s\n", (long long)status.st_size, *name);
    }
    return 0;
}

static int rest_collect(struct slurm_site *site, const char *folder, const cJSON *globs, int64_t max,
                        const char *into, struct str *refused, struct err **err)
{
    auto_free char *from = mounted(rest_of(site), folder);
    return files_collect(from, globs, max, into, refused, err);
}

static int rest_remove(struct slurm_site *site, const char *folder, struct err **err)
{
    auto_free char *path = mounted(rest_of(site), folder);
    return file_remove_tree(path, err);
}

static void rest_free(struct slurm_site *site)
{
    struct rest *rest = rest_of(site);
    free(rest->url);
    free(rest->version);
    free(rest->user);
    free(rest->secret);
    free(rest->mount);
    free(rest->directory);
    free(rest);
}

struct slurm_site *slurm_rest_new(const cJSON *spec, const char *secret, const char *mount, struct err **err)
{
    static const struct slurm_site_ops ops = {.prepare = rest_prepare,
                                              .submit = rest_submit,
                                              .find = rest_find,
                                              .look = rest_look,
                                              .cancel = rest_cancel,
                                              .read = rest_read,
                                              .list = rest_list,
                                              .collect = rest_collect,
                                              .remove = rest_remove,
                                              .free = rest_free};
    const char *url = json_string(spec, "rest.url");
    if (!url) {
        err_set(err, ERR_INVALID, "the SlurmCluster has no rest.url");
        return NULL;
    }
    struct rest *rest = NEW(struct rest);
    rest->site.ops = &ops;
    rest->url = mem_strndup(url, strlen(url) - (str_ends(url, "/") ? 1 : 0));
    rest->version = mem_strdup(json_string_or(spec, "rest.version", "v0.0.38"));
    rest->user = mem_strdup(json_string_or(spec, "user", "root"));
    rest->secret = mem_strdup(secret);
    rest->mount = mem_strdup(mount);
    rest->directory = mem_strdup(json_string_or(spec, "directory", "/"));
    return &rest->site;
}
