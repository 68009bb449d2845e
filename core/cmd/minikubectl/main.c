/* minikubectl: finds the verb, connects, runs it; help texts. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

struct verb {
    const char *name, *group, *help, *usage, *examples;
    int (*run)(struct kubectl *k);
};

static const struct verb verbs[] = {
#define VERB(name, group, help, usage, examples) {#name, group, help, usage, examples, verb_##name},
    KUBECTL_VERBS(VERB)
#undef VERB
};

/* The first word of the usage is what one types: "api-resources" for verb_api_resources. */
static char *name_of(const struct verb *verb)
{
    return mem_strndup(verb->usage, strcspn(verb->usage, " "));
}

static const struct verb *find_verb(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        auto_free char *name = name_of(&verbs[i]);
        if (str_eq(name, word))
            return &verbs[i];
    }
    return NULL;
}

static void print_overview(FILE *out)
{
    fprintf(out, "minikubectl talks to a minik8s cluster.\n\nUsage: minikubectl VERB [ARGUMENTS] [FLAGS]\n");
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        bool first = true;
        for (size_t j = 0; j < i; j++)
            first = first && !str_eq(verbs[j].group, verbs[i].group);
        if (!first)
            continue;
        fprintf(out, "\n%s:\n", verbs[i].group);
        for (size_t j = i; j < COUNT_OF(verbs); j++)
            if (str_eq(verbs[j].group, verbs[i].group))
                fprintf(out, "  %-13.*s %s\n", (int)strcspn(verbs[j].usage, " "), verbs[j].usage,
                        verbs[j].help);
    }
    fprintf(out, "\nFlags of all verbs:\n");
    kubectl_print_flags(out, NULL, true);
    fprintf(out, "\n\"minikubectl VERB --help\" shows arguments, flags and examples of a verb.\n");
}

static void print_help(const struct verb *verb)
{
    auto_free char *name = name_of(verb);
    printf("%c%s.\n\nUsage: minikubectl %s [FLAGS]\n\nExamples:\n  %s\n", verb->help[0] - 'a' + 'A',
           verb->help + 1, verb->usage, verb->examples);
    printf("\nFlags:\n");
    kubectl_print_flags(stdout, name, false);
    printf("\nFlags of all verbs:\n");
    kubectl_print_flags(stdout, NULL, true);
}

static int unknown_verb(const char *word)
{
    char *names[COUNT_OF(verbs)];
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        names[i] = name_of(&verbs[i]);
    const char *nearest = str_nearest(word, (const char *const *)names, COUNT_OF(verbs));
    fprintf(stderr, "error: unknown command \"%s\" for \"minikubectl\"\n", word);
    if (nearest)
        fprintf(stderr, "\nDid you mean this?\n\t%s\n", nearest);
    fprintf(stderr, "\nRun 'minikubectl --help' for usage.\n");
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        free(names[i]);
    return 1;
}

static int run(struct kubectl *k, const struct verb *verb)
{
    auto_err err = NULL;
    int code = 1;
    bool local = (verb->run == verb_version && k->flags.client) || verb->run == verb_completion ||
                 verb->run == verb_config;
    if (!local && kubectl_connect(k, &err) < 0)
        kubectl_refuse(err);
    else
        code = verb->run(k);
    kubectl_disconnect(k);
    if (fflush(stdout) != 0 && code == 0)
        code = 1;
    return code;
}

static int dispatch(struct kubectl *k, int argc, char **argv)
{
    auto_err err = NULL;
    const char *word = NULL;
    int parsed = kubectl_parse(k, argc, argv, &word, &err);
    if (str_eq(word, "help")) {
        k->flags.help = true;
        word = k->n_args ? k->args[0] : NULL;
    }
    const struct verb *verb = find_verb(word);
    if (word && !verb)
        return unknown_verb(word);
    if (parsed < 0) {
        fprintf(stderr, "error: %s\nSee 'minikubectl %s%s--help' for usage.\n", err_message(err),
                word ? word : "", word ? " " : "");
        return 1;
    }
    if (verb && k->flags.help) {
        print_help(verb);
        return 0;
    }
    if (!verb) {
        print_overview(stdout);
        return 0;
    }
    return run(k, verb);
}

int main(int argc, char **argv)
{
    json_init();
    signal(SIGPIPE, SIG_IGN);
    struct kubectl k = {.flags = {.tail = -1,
                                  .grace = -1,
                                  .replicas = -1,
                                  .current_replicas = -1,
                                  .wait = true,
                                  .since_s = -1,
                                  .limit_bytes = -1,
                                  .timeout_s = -1}};
    int code = dispatch(&k, argc, argv);
    kubectl_flags_free(&k);
    return code;
}
