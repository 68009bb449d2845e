/* repl: Lua in the control plane, typed, from -e, from files, or from standard input. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "repl.h"

#define MAX_SCRIPT (256u << 10)

/* 0, or 1 after telling the error. */
static int run_all(struct repl *repl, const char *source, const char *name)
{
    auto_json answer = repl_run(repl, source, name);
    fflush(stdout);
    if (!answer)
        return kubectl_refuse_text("the session has ended: the manager or the server has gone");
    if (json_string(answer, "note"))
        fprintf(stderr, "note: %s\n", json_string(answer, "note"));
    return json_string(answer, "error") ? kubectl_refuse_text("%s", json_string(answer, "error")) : 0;
}

static int read_stdin(struct str *text, struct err **err)
{
    char chunk[16384];
    for (ssize_t n; (n = read(STDIN_FILENO, chunk, sizeof(chunk))) > 0;) {
        str_add_n(text, chunk, (size_t)n);
        if (text->len > MAX_SCRIPT)
            return err_set(err, ERR_TOO_LARGE, "standard input: larger than %u bytes", MAX_SCRIPT);
    }
    return 0;
}

static int run_file(struct repl *repl, const char *path)
{
    auto_err err = NULL;
    auto_str input = {0};
    auto_free char *text = NULL;
    size_t len = 0;
    bool standard = str_eq(path, "-");
    if (standard ? read_stdin(&input, &err) < 0 : file_read(path, MAX_SCRIPT, &text, &len, &err) < 0)
        return kubectl_refuse(err);
    const char *source = standard ? str_c(&input) : text;
    if (str_starts(source, "#!")) /* #!/usr/bin/env …: not Lua; lines keep their numbers */
        source += strcspn(source, "\n");
    return run_all(repl, source, standard ? "stdin" : path);
}

int verb_repl(struct kubectl *k)
{
    auto_err err = NULL;
    struct kubectl_flags *flags = &k->flags;
    if (flags->output && !str_eq(flags->output, "json"))
        return kubectl_refuse_text("--output must be json, not \"%s\"", flags->output);
    struct repl *repl = repl_open(k, &err);
    if (!repl)
        return kubectl_fail(err, NULL);
    int code = 0;
    for (size_t i = 0; i < flags->n_expressions && code == 0; i++)
        code = run_all(repl, flags->expressions[i], "-e");
    for (int i = 0; i < k->n_args && code == 0; i++)
        code = run_file(repl, k->args[i]);
    if (!flags->n_expressions && !k->n_args) {
        if (!isatty(STDIN_FILENO))
            code = run_file(repl, "-");
        else
            return repl_interact(k, repl);
    }
    repl_close(repl);
    return code;
}
