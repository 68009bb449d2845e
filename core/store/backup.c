#include "store/backup.h"

#include <errno.h>
#include <stdio.h>

#include "base/file.h"

/* The store first: a blob was on the disk before its object named it, and what is dropped from here on stays.
 */
static int copy_both(struct store *store, struct blobs *blobs, const char *directory, struct err **err)
{
    auto_free char *objects = file_join(directory, "store"), *bytes = file_join(directory, "blobs"),
                   *file = file_join(objects, "store.mdb");
    if (file_make_dirs(objects, 0700, err) < 0 || store->ops->backup(store, file, err) < 0 ||
        file_sync_directory(objects, err) < 0)
        return -1;
    return blobs_copy(blobs, bytes, err) < 0 ? -1 : file_sync_directory(directory, err);
}

int store_backup(struct store *store, struct blobs *blobs, const char *directory, struct err **err)
{
    auto_free char *part = mem_printf("%s.part", directory);
    if (file_exists(directory))
        return err_set(err, ERR_ALREADY_EXISTS, "%s is there already", directory);
    if (file_remove_tree(part, err) < 0) /* of a backup that was interrupted */
        return -1;
    blobs_hold(blobs);
    int result = copy_both(store, blobs, part, err);
    blobs_release(blobs);
    if (result == 0 && rename(part, directory) < 0)
        result = err_errno(err, errno, "rename %s", part);
    auto_free char *parent = mem_printf("%s/..", directory);
    if (result == 0)
        result = file_sync_directory(parent, err);
    else
        file_remove_tree(part, NULL);
    return result;
}
