/*
 * podman_programs: the small static programs (programs/) that travel inside this library, so that one
 * binary is all a machine needs. CMake builds them and names the files.
 */
#include "base/embed.h"
#include "runtime/podman_internal.h"

EMBED("pause", M8_PROGRAM_PAUSE);
EMBED("oci", M8_PROGRAM_OCI);
EMBED("monitor", M8_PROGRAM_MONITOR);

extern const char m8_program_pause_begin[], m8_program_pause_end[];
extern const char m8_program_oci_begin[], m8_program_oci_end[];
extern const char m8_program_monitor_begin[], m8_program_monitor_end[];

static struct podman_program between(const char *begin, const char *end)
{
    return (struct podman_program){begin, (size_t)(end - begin)};
}

struct podman_program podman_program_pause(void)
{
    return between(m8_program_pause_begin, m8_program_pause_end);
}

struct podman_program podman_program_oci(void)
{
    return between(m8_program_oci_begin, m8_program_oci_end);
}

struct podman_program podman_program_monitor(void)
{
    return between(m8_program_monitor_begin, m8_program_monitor_end);
}
