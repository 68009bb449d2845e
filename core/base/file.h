/*
 * file: whole files, atomically; directories; processes' helpers that more than one folder needs.
 */
#ifndef M8_BASE_FILE_H
#define M8_BASE_FILE_H

#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"

/* Whole file, NUL-terminated; ERR_TOO_LARGE above max bytes. */
int file_read(const char *path, size_t max, char **data, size_t *len, struct err **err);
/* temp + fsync + rename + fsync of the directory: after a crash the old or the new content, never a mixture.
 */
int file_write_durable(const char *path, const void *data, size_t len, mode_t mode, struct err **err);
/* temp + rename without fsync (tmpfs, caches, resolver files). The temp name begins with a dot. */
int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err **err);
int file_sync_directory(const char *path, struct err **err);         /* names in it are durable */
int file_make_dirs(const char *path, mode_t mode, struct err **err); /* mkdir -p */
int file_remove_tree(const char *path,
                     struct err **err); /* does not follow links nor cross mounts; absent is fine */
/* Group and its rights (read, write; directories also set-group-id and search) for a whole tree, the root
 * last; follows no links. */
int file_give_to_group(const char *path, gid_t group, struct err **err);
bool file_exists(const char *path);
bool file_is_mounted(const char *path); /* a mount point, as the kernel lists it: asks no file system */
char *file_join(const char *directory, const char *name); /* caller frees */

/* Names that a directory holds, sorted, without "." and ".."; NULL-terminated, one allocation. */
char **file_list(const char *directory, size_t *count, struct err **err);

/* fork + exec of a helper program (podman service, dnsmasq, …) in a new session with stdin from /dev/null and
 * stdout/stderr appended to log_path (NULL: inherited). Returns the pid or -1. The child outlives the caller.
 */
pid_t file_spawn(const char *const *argv, const char *const *environment, const char *log_path,
                 struct err **err);
enum { FILE_SPAWN_PASSED = 8 };
struct file_program {
    const char *const *argv, *const *environment; /* NULL-terminated; environment NULL: inherited */
    const char *log_path;
    const int *fds; /* it has them as 3, 4, …; they stay the caller's. n_fds ≤ FILE_SPAWN_PASSED */
    size_t n_fds;
    /* NULL, or where "PID START_TIME TAG\n" (tag in hexadecimal) stands before its first instruction, so that
     * nobody who finds no such file need fear that it runs. Its owner removes it; a failed start does. */
    const char *pid_file;
    unsigned long long tag;
};
pid_t file_spawn_program(const struct file_program *program, struct err **err);
/* Start time of a process from /proc (clock ticks since boot), 0 if it is gone or a zombie: identifies pid
 * reuse. */
unsigned long long file_process_start_time(pid_t pid);

#endif
