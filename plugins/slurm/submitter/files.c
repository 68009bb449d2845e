/* files: copying local folders. Links are not followed: what a job leaves is not trusted. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "submitter/site.h"

static int copy_bytes(int from, int to)
{
    char buffer[65536];
    ssize_t n;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0; done < n;) {
            ssize_t written = write(to, buffer + done, (size_t)(n - done));
            if (written < 0)
                return -1;
            done += written;
        }
    return (int)n;
}

static int copy_file(const char *from, const char *to, struct err **err)
{
    struct stat status;
    auto_fd in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (in < 0 || fstat(in, &status) < 0)
        return err_errno(err, errno, "reading %s", from);
    if (!S_ISREG(status.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", from);
    char *slash = strrchr(to, '/');
    auto_free char *folder = slash ? mem_strndup(to, (size_t)(slash - to)) : NULL;
    if (folder && file_make_dirs(folder, 0700, err) < 0)
        return -1;
    auto_free char *part = file_join(folder ? folder : ".",
                                     SLURM_PRIVATE ".part"); /* whoever has the file open keeps it whole */
    if (unlink(part) < 0 && errno != ENOENT)
        return err_errno(err, errno, "replacing %s", part);
    auto_fd out = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, status.st_mode & 0777);
    if (out < 0 || copy_bytes(in, out) < 0 || rename(part, to) < 0)
        return err_errno(err, errno, "writing %s", to);
    return 0;
}

/* A walk over the regular files of a folder, by their names below it. */
struct walk {
    int (*visit)(struct walk *walk, const char *path, const char *name, const struct stat *status);
    const char *root, *into;
    const cJSON *globs;
    int64_t max;
    struct str *refused;
    struct err **err;
};
static __thread struct walk *walking; /* nftw hands no argument on */

static int on_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type != FTW_F || !S_ISREG(status->st_mode))
        return 0;
    return walking->visit(walking, path, path + strlen(walking->root) + 1, status);
}

static int walk_files(struct walk *walk)
{
    walking = walk;
    int result = nftw(walk->root, on_entry, 16, FTW_PHYS);
    walking = NULL;
    if (result < 0 && walk->err && !*walk->err)
        return err_errno(walk->err, errno, "looking through %s", walk->root);
    return result ? -1 : 0;
}

static int visit_copy(struct walk *walk, const char *path, const char *name, const struct stat *status)
{
    (void)status;
    auto_free char *to = file_join(walk->into, name);
    return copy_file(path, to, walk->err) < 0 ? 1 : 0;
}

int files_copy_tree(const char *from, const char *to, struct err **err)
{
    struct walk walk = {.visit = visit_copy, .root = from, .into = to, .err = err};
    return walk_files(&walk);
}

bool files_match(const cJSON *globs, const char *name)
{
    bool private = str_starts(name, SLURM_PRIVATE "/");
    json_each (glob, globs)
        if (cJSON_IsString(glob) && private == str_starts(glob->valuestring, SLURM_PRIVATE "/") &&
            fnmatch(glob->valuestring, name, FNM_PATHNAME) == 0)
            return true;
    return false;
}

static int visit_collect(struct walk *walk, const char *path, const char *name, const struct stat *status)
{
    if (!files_match(walk->globs, name))
        return 0;
    if (status->st_size > walk->max) {
        str_addf(walk->refused, "%s (%lld bytes)\n", name, (long long)status->st_size);
        return 0;
    }
    return visit_copy(walk, path, name, status);
}

int files_collect(const char *folder, const cJSON *globs, int64_t max, const char *into, struct str *refused,
                  struct err **err)
{
    if (!globs || !globs->child)
        return 0;
    struct walk walk = {.visit = visit_collect,
                        .root = folder,
                        .into = into,
                        .globs = globs,
                        .max = max,
                        .refused = refused,
                        .err = err};
    return walk_files(&walk);
}
