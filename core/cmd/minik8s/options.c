/* Parsing of command lines from tables; prints help; knows no command. */
#include "options.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static void print_help(const char *usage, const struct option_spec *specs, size_t n_specs)
{
    printf("Usage: minik8s %s\n", usage);
    if (n_specs)
        printf("\nOptions:\n");
    for (size_t i = 0; i < n_specs; i++) {
        static const char *const values[] = {" TEXT", " N", ""};
        auto_free char *flag = mem_printf("--%s%s", specs[i].name, values[specs[i].type]);
        printf("  %-28s %s\n", flag, specs[i].help);
    }
}

static const struct option_spec *find(const struct option_spec *specs, size_t n_specs, const char *name,
                                      size_t len)
{
    for (size_t i = 0; i < n_specs; i++)
        if (strlen(specs[i].name) == len && memcmp(specs[i].name, name, len) == 0)
            return &specs[i];
    return NULL;
}

static int unknown(const struct option_spec *specs, size_t n_specs, const char *name, struct err **err)
{
    auto_free const char **names = mem_array(n_specs + 1, sizeof(*names));
    for (size_t i = 0; i < n_specs; i++)
        names[i] = specs[i].name;
    const char *nearest = str_nearest(name, names, n_specs);
    if (nearest)
        return err_set(err, ERR_BAD_REQUEST, "unknown option --%s; did you mean --%s?", name, nearest);
    return err_set(err, ERR_BAD_REQUEST, "unknown option --%s; see --help", name);
}

static int set_value(const struct option_spec *spec, const char *text, struct err **err)
{
    switch (spec->type) {
    case OPTION_FLAG:
        *(bool *)spec->value = !text || str_eq(text, "true");
        return 0;
    case OPTION_TEXT:
        *(const char **)spec->value = text;
        return 0;
    case OPTION_INTEGER:
        if (str_to_int64(text, spec->value) < 0)
            return err_set(err, ERR_BAD_REQUEST, "--%s wants a number, not \"%s\"", spec->name, text);
        return 0;
    }
    return 0;
}

int options_parse(int argc, char **argv, int first, const char *usage, const struct option_spec *specs,
                  size_t n_specs, struct arguments *arguments, struct err **err)
{
    *arguments = (struct arguments){.at = mem_array((size_t)argc + 1, sizeof(char *))};
    for (int i = first; i < argc; i++) {
        const char *word = argv[i];
        if (str_eq(word, "--")) {
            arguments->rest = argv + i + 1;
            arguments->n_rest = argc - i - 1;
            break;
        }
        if (str_eq(word, "-h") || str_eq(word, "--help")) {
            print_help(usage, specs, n_specs);
            exit(0);
        }
        if (!str_starts(word, "--")) {
            arguments->at[arguments->count++] = argv[i];
            continue;
        }
        const char *name = word + 2, *equals = strchr(name, '=');
        size_t len = equals ? (size_t)(equals - name) : strlen(name);
        const struct option_spec *spec = find(specs, n_specs, name, len);
        auto_free char *plain = mem_strndup(name, len);
        if (!spec)
            return unknown(specs, n_specs, plain, err);
        const char *value = equals ? equals + 1 : NULL;
        if (!value && spec->type != OPTION_FLAG && i + 1 < argc)
            value = argv[++i];
        if (!value && spec->type != OPTION_FLAG)
            return err_set(err, ERR_BAD_REQUEST, "--%s wants a value", plain);
        if (set_value(spec, value, err) < 0)
            return -1;
    }
    return 0;
}

void arguments_fini(struct arguments *arguments)
{
    free(arguments->at);
    *arguments = (struct arguments){0};
}
