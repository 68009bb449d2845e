/*
 * holder: has the descriptors open that it was started with, and does nothing else, until a signal ends it.
 * What arrives at a listening socket waits in the kernel while everybody is killed who serves it. Without the
 * C library, whose start alone would take 700 KB: two or three pages are all that it needs.
 */
#include <sys/syscall.h>

/* ppoll of nothing, without end. */
static void wait_for_ever(void)
{
#if defined(__x86_64__)
    long number = SYS_ppoll;
    register long mask __asm__("r10") = 0;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(0L), "S"(0L), "d"(0L), "r"(mask)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long number __asm__("x8") = SYS_ppoll;
    register long first __asm__("x0") = 0, count __asm__("x1") = 0, time __asm__("x2") = 0,
                        mask __asm__("x3") = 0;
    __asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(count), "r"(time), "r"(mask) : "memory");
#else
#error "ppoll of this processor is missing"
#endif
}

void _start(void);
void _start(void)
{
    for (;;)
        wait_for_ever();
}
