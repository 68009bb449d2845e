/*
 * holder: the program that holds sockets: its file, its process, and how the next owner gets them from it
 * (pidfd_getfd: it need not take part). Does not know what the sockets are. Invariant: the process that the
 * pid file names has the sockets as 3, 4, … for as long as it lives.
 */
#include "loop/holder.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/embed.h"
#include "base/file.h"

#define TERMINATE_MS 1000
#define PROGRAM_MAX (16u << 20)

EMBED("holder", M8_PROGRAM_HOLDER);
extern const char m8_program_holder_begin[], m8_program_holder_end[];

static char *pid_file_of(const char *directory, const char *name)
{
    auto_free char *file = mem_printf("%s.pid", name);
    return file_join(directory, file);
}

static int write_program(const char *path, struct err **err)
{
    auto_free char *now = NULL;
    size_t len = (size_t)(m8_program_holder_end - m8_program_holder_begin), now_len = 0;
    if (file_read(path, PROGRAM_MAX, &now, &now_len, NULL) == 0 && now_len == len &&
        memcmp(now, m8_program_holder_begin, len) == 0)
        return 0;
    return file_write_atomic(path, m8_program_holder_begin, len, 0755, err);
}

struct helper *holder_new(const struct holder_options *options, struct err **err)
{
    auto_free char *program = file_join(options->directory, options->name),
                   *pid_file = pid_file_of(options->directory, options->name);
    const char *const argv[] = {program, options->what, NULL};
    const struct helper_options helper = {.name = options->name,
                                          .argv = argv,
                                          .pid_file = pid_file,
                                          .log_path = "/dev/null", /* it says nothing */
                                          .fds = options->fds,
                                          .n_fds = options->n_fds,
                                          .loop = options->loop};
    return write_program(program, err) < 0 ? NULL : helper_new(&helper, err);
}

int holder_take(const char *directory, const char *name, unsigned index)
{
    auto_free char *pid_file = pid_file_of(directory, name);
    return helper_take_fd(pid_file, index);
}

int holder_shutdown(const char *directory, const char *name, struct err **err)
{
    auto_free char *program = file_join(directory, name), *pid_file = pid_file_of(directory, name);
    if (helper_terminate(pid_file, TERMINATE_MS, err) < 0)
        return -1;
    return unlink(program) == 0 || errno == ENOENT ? 0 : err_errno(err, errno, "removing %s", program);
}
