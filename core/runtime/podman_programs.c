/*
 * podman_programs: the two small static programs (programs/) that travel inside this library, so that one
 * binary is all a machine needs. CMake builds them and names the files.
 */
#include "runtime/podman_internal.h"

/* clang-format off */
__asm__(".section .rodata\n"
        ".balign 16\n"
        ".global m8_program_pause_begin, m8_program_pause_end, m8_program_oci_begin, m8_program_oci_end\n"
        ".hidden m8_program_pause_begin, m8_program_pause_end, m8_program_oci_begin, m8_program_oci_end\n"
        "m8_program_pause_begin: .incbin \"" M8_PROGRAM_PAUSE "\"\n"
        "m8_program_pause_end:\n"
        ".balign 16\n"
        "m8_program_oci_begin: .incbin \"" M8_PROGRAM_OCI "\"\n"
        "m8_program_oci_end:\n"
        ".previous\n");
/* clang-format on */

extern const char m8_program_pause_begin[], m8_program_pause_end[];
extern const char m8_program_oci_begin[], m8_program_oci_end[];

struct podman_program podman_program_pause(void)
{
    return (struct podman_program){m8_program_pause_begin,
                                   (size_t)(m8_program_pause_end - m8_program_pause_begin)};
}

struct podman_program podman_program_oci(void)
{
    return (struct podman_program){m8_program_oci_begin, (size_t)(m8_program_oci_end - m8_program_oci_begin)};
}
