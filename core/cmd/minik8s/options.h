/*
 * options: command lines of minik8s. A command declares its flags in a table; --flag value and --flag=value
 * both work; what is not a flag is an argument. Unknown flags get a suggestion. Exit code of a wrong command
 * line: 2.
 */
#ifndef M8_CMD_OPTIONS_H
#define M8_CMD_OPTIONS_H

#include "base/err.h"
#include "base/mem.h"

enum option_type { OPTION_TEXT, OPTION_INTEGER, OPTION_FLAG };
struct option_spec {
    const char *name; /* "dir" for --dir */
    enum option_type type;
    void *value; /* const char **, long long *, bool * */
    const char *help;
};

struct arguments {
    char **at; /* what is not a flag; borrowed from argv */
    int count;
    char **rest; /* after "--" */
    int n_rest;
};

/* Parses argv[first…]. -1: err set. --help prints usage and the table on stdout and exits with 0. */
int options_parse(int argc, char **argv, int first, const char *usage, const struct option_spec *specs,
                  size_t n_specs, struct arguments *arguments, struct err **err);
void arguments_fini(struct arguments *arguments);

#endif
