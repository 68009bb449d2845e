/*
 * embed: a file that travels inside the program: EMBED("NAME", "path") once in a .c file, then
 * `extern const char m8_program_NAME_begin[], m8_program_NAME_end[]`.
 */
#ifndef M8_BASE_EMBED_H
#define M8_BASE_EMBED_H

/* clang-format off */
#define EMBED(name, file)                                   \
    __asm__(".section .rodata\n"                            \
            ".balign 16\n"                                  \
            ".global m8_program_" name "_begin, m8_program_" name "_end\n" \
            ".hidden m8_program_" name "_begin, m8_program_" name "_end\n" \
            "m8_program_" name "_begin: .incbin \"" file "\"\n"            \
            "m8_program_" name "_end:\n"                    \
            ".previous\n")
/* clang-format on */

#endif
