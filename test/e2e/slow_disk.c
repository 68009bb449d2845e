/*
 * slow_disk: preloaded (LD_PRELOAD), it delays every fsync of a process called minik8s by half of up to one
 * and a half times the milliseconds that stand in the file $SLOW_DISK. No file, no delay: it can be switched
 * on and off while the process runs. Everything else, and every other program, is left alone.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_for_disk(void)
{
    const char *path = getenv("SLOW_DISK");
    FILE *file = path && strcmp(program_invocation_short_name, "minik8s") == 0 ? fopen(path, "re") : NULL;
    if (!file)
        return;
    int ms = 0;
    if (fscanf(file, "%d", &ms) == 1 && ms > 0)
        usleep((useconds_t)(ms / 2 + rand() % ms) * 1000);
    fclose(file);
}

int fsync(int fd)
{
    static int (*next)(int);
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_for_disk();
    return next(fd);
}

int fdatasync(int fd)
{
    static int (*next)(int);
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_for_disk();
    return next(fd);
}
