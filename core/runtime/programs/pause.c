/*
 * pause: the only process of a pod's sandbox. It holds the pod's namespaces and ends at once on SIGTERM.
 * Where containers share its process namespace it is their first process and reaps what they leave behind.
 * Built static, so that the sandbox's root holds this file alone.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    for (;;) {
        int number;
        if (sigwait(&awaited, &number) != 0)
            continue;
        if (number != SIGCHLD)
            _exit(0);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}
