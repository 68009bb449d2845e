/*
 * pod_sub_paths: a subPath of a volume, as a mount of the agent's own: DIRECTORY/sub/CONTAINER-ATTEMPT/INDEX.
 * The part is opened so that no link leads out of the volume, and the descriptor is mounted; podman gets that
 * place, which no container can rename or replace, while the names inside the volume are theirs to change at
 * any time. Invariants: nothing is removed recursively here, so whatever is still mounted keeps its files; an
 * attempt's mounts go when it has ended, those of attempts that an agent left when the next is made or the
 * pod goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/file_beneath.h"
#include "base/log.h"
#include "node/node_internal.h"

/* ---- on the pool */

static char *folder_of(const char *directory, const char *container, unsigned attempt)
{
    return mem_printf("%s/sub/%s-%u", directory, container, attempt);
}

/* A folder or file that nothing is mounted on; else EBUSY. */
static int remove_point(const char *point)
{
    if (rmdir(point) == 0 || errno == ENOENT)
        return 0;
    return errno == ENOTDIR ? unlink(point) : -1;
}

static int unmount_point(const char *point, struct err **err)
{
    /* What is mounted below a shared one would be taken from the volume itself too. Others are not looked at:
     * a server that is away would hold up the lane. */
    bool shared = str_ends(point, NODE_SHARED_PART);
    while ((!shared || mount(NULL, point, NULL, MS_REC | MS_PRIVATE, NULL) == 0) &&
           umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        ;
    return remove_point(point) < 0 ? err_errno(err, errno, "remove %s", point) : 0;
}

/* only_left: what is mounted stays. */
static int clear_folder(const char *folder, bool only_left, struct err **err)
{
    if (!file_exists(folder))
        return 0;
    size_t count = 0, kept = 0;
    auto_free char **names = file_list(folder, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        auto_free char *point = file_join(folder, names[i]);
        if (!only_left && unmount_point(point, err) < 0)
            return -1;
        kept += only_left && remove_point(point) < 0;
    }
    return kept == 0 && rmdir(folder) < 0 ? err_errno(err, errno, "remove %s", folder) : 0;
}

int pod_sub_paths_unmount(const char *directory, const char *container, unsigned attempt, struct err **err)
{
    auto_free char *folder = folder_of(directory, container, attempt);
    return clear_folder(folder, false, err);
}

/* container NULL: of all. */
static int clear_attempts(const char *directory, const char *container, bool only_left, struct err **err)
{
    auto_free char *all = file_join(directory, "sub");
    size_t count = 0;
    auto_free char **names = file_exists(all) ? file_list(all, &count, err) : NULL;
    if (!names)
        return file_exists(all) ? -1 : 0;
    for (size_t i = 0; i < count; i++) {
        const char *dash = strrchr(names[i], '-');
        size_t len = dash ? (size_t)(dash - names[i]) : 0;
        auto_free char *folder = file_join(all, names[i]);
        bool meant = !container || (strlen(container) == len && strncmp(names[i], container, len) == 0);
        if (meant && clear_folder(folder, only_left, err) < 0)
            return -1;
    }
    return 0;
}

int pod_sub_paths_unmount_all(const char *directory, struct err **err)
{
    return clear_attempts(directory, NULL, false, err);
}

int pod_sub_paths_clear_left(const char *directory, struct err **err)
{
    return clear_attempts(directory, NULL, true, err);
}

static int make_point(const char *point, int part, struct err **err)
{
    struct stat st;
    if (fstat(part, &st) < 0)
        return err_errno(err, errno, "look at a subPath");
    if (S_ISDIR(st.st_mode))
        return mkdir(point, 0700) < 0 ? err_errno(err, errno, "make %s", point) : 0;
    auto_fd fd = open(point, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? err_errno(err, errno, "make %s", point) : 0;
}

/* What others mount in the volume is seen in the part too; only a Bidirectional one gives back. */
static int mount_part(int part, const char *point, bool gives_back, struct err **err)
{
    auto_free char *source = mem_printf("/proc/self/fd/%d", part);
    if (make_point(point, part, err) < 0)
        return -1;
    if (mount(source, point, NULL, MS_BIND | MS_REC, NULL) < 0)
        return err_errno(err, errno, "mount a subPath at %s", point);
    if (!gives_back && mount(NULL, point, NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return err_errno(err, errno, "make the mount at %s follow its volume", point);
    return 0;
}

static int open_part(const struct runtime_mount *mount, struct err **err)
{
    auto_err cause = NULL;
    auto_fd root = open(mount->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_errno(err, errno, "subPath \"%.128s\": open the volume", mount->sub_path);
    int part = file_make_beneath(root, mount->sub_path, &cause);
    if (err_code(cause) == ERR_INVALID)
        return err_set(err, ERR_INVALID, "subPath \"%.128s\" leads out of the volume", mount->sub_path);
    if (part < 0)
        err_move(err, &cause);
    return part < 0 ? err_wrap(err, "subPath \"%.128s\"", mount->sub_path) : part;
}

static int give_source(struct runtime_mount *mount, const char *folder, size_t index, struct err **err)
{
    auto_fd part = open_part(mount, err);
    if (part < 0 || file_make_dirs(folder, 0700, err) < 0)
        return -1;
    bool gives_back = mount->propagation == RUNTIME_PROPAGATE_BOTH;
    auto_free char *point = mem_printf("%s/%zu%s", folder, index, gives_back ? NODE_SHARED_PART : "");
    if (mount_part(part, point, gives_back, err) < 0)
        return -1;
    free(mount->source);
    free(steal(&mount->sub_path));
    mount->source = steal(&point);
    return 0;
}

int pod_sub_paths_mount(struct runtime_spec *spec, const char *directory, const char *container,
                        unsigned attempt, struct err **err)
{
    auto_free char *folder = folder_of(directory, container, attempt);
    if (clear_attempts(directory, container, false, err) < 0) /* also of an earlier try of this one */
        return -1;
    for (size_t i = 0; i < spec->n_mounts; i++)
        if (spec->mounts[i].sub_path && give_source(&spec->mounts[i], folder, i, err) < 0)
            return -1;
    return 0;
}

/* ---- on the loop */

struct unmount_job {
    struct node_job job;
    char *directory, *container;
    unsigned attempt;
    int result;
};

static void unmount_work(struct node_job *base)
{
    struct unmount_job *job = CONTAINER_OF(base, struct unmount_job, job);
    job->result = pod_sub_paths_unmount(job->directory, job->container, job->attempt, &base->err);
}

static void unmount_done(struct node_job *base, bool closed UNUSED)
{
    struct unmount_job *job = CONTAINER_OF(base, struct unmount_job, job);
    if (job->result < 0) /* the next attempt or the pod's end tries again */
        log_warn("node", "sub paths of %s: %s", job->container, err_message(base->err));
    free(job->directory);
    free(job->container);
    free(job);
}

void pod_sub_paths_ended(struct container *c)
{
    auto_free char *directory = pod_directory(c->pod);
    auto_free char *folder = folder_of(directory, c->name, c->attempt);
    if (!file_exists(folder))
        return;
    struct unmount_job *job = NEW(struct unmount_job);
    job->job.work = unmount_work;
    job->job.done = unmount_done;
    job->directory = steal(&directory);
    job->container = mem_strdup(c->name);
    job->attempt = c->attempt;
    node_lane_run(c->pod->files, &job->job);
}
