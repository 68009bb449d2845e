/*
 * repl_edit: the prompt: line editing, history, completion (libedit), commands of several lines.
 *
 * While a line is edited the terminal makes no signals: Ctrl-C is a key that drops what was typed. While a
 * command runs it is a signal that stops the command there (repl_session.c). In between there is no moment in
 * which Ctrl-C would end the program. Nor does the terminal ever gather lines: of a Ctrl-D between the prompt
 * and the editor's own mode it would make a zero byte, which quotes the next key.
 */
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "repl.h"

#define HISTORY ".minik8s_history"
#define HISTORY_LINES 2000
#define RECONNECT_MS 500
#define RECONNECT_TRIES 20
#define SHOWN 200

struct prompt {
    struct kubectl *k;
    struct repl *repl;
    EditLine *el;
    History *history;
    char *history_path; /* NULL: no home */
    struct str pending; /* lines of a command that is not complete */
    bool dropped;       /* by Ctrl-C */
};

static char *prompt_text(EditLine *el)
{
    static char first[] = "minik8s> ", more[] = "     ..> ";
    struct prompt *p = NULL;
    el_get(el, EL_CLIENTDATA, &p);
    return p->pending.len ? more : first;
}

/* ---- completion ---- */

static size_t common_length(const cJSON *words)
{
    const char *first = words->child->valuestring;
    size_t len = strlen(first);
    json_each (word, words) {
        size_t n = 0;
        while (n < len && word->valuestring[n] == first[n])
            n++;
        len = n;
    }
    while (len && ((unsigned char)first[len] & 0xc0) == 0x80)
        len--; /* not in the middle of a character */
    return len;
}

static void list_words(const cJSON *words)
{
    size_t widest = 0, n = 0, shown = 0;
    json_each (word, words) {
        size_t len = strlen(word->valuestring);
        widest = len > widest ? len : widest;
    }
    size_t columns = 80 / (widest + 2);
    printf("\n");
    json_each (word, words) {
        if (shown++ == SHOWN) {
            printf("\n… and %d more", cJSON_GetArraySize(words) - SHOWN);
            break;
        }
        printf("%-*s", (int)widest + 2, word->valuestring);
        if (++n % (columns ? columns : 1) == 0)
            printf("\n");
    }
    printf("\n");
}

static unsigned char complete_word(EditLine *el, int key UNUSED)
{
    struct prompt *p = NULL;
    el_get(el, EL_CLIENTDATA, &p);
    const LineInfo *line = el_line(el);
    auto_str text = {0};
    str_add_n(&text, str_c(&p->pending), p->pending.len);
    str_add_n(&text, line->buffer, (size_t)(line->cursor - line->buffer));
    auto_json answer = repl_complete(p->repl, str_c(&text));
    const cJSON *words = json_get(answer, "completions");
    int64_t from = json_int(answer, "from", (int64_t)text.len);
    json_each (word, words) {
        if (!cJSON_IsString(word))
            return CC_ERROR;
    }
    if (!words || !words->child || from < 0 || (size_t)from > text.len)
        return CC_ERROR;
    size_t typed = text.len - (size_t)from, len = common_length(words);
    if (len > typed) {
        auto_free char *rest = mem_strndup(words->child->valuestring + typed, len - typed);
        return el_insertstr(el, rest) < 0 ? CC_ERROR : CC_REFRESH;
    }
    if (!words->child->next)
        return CC_ERROR;
    list_words(words);
    return CC_REDISPLAY;
}

static unsigned char drop_line(EditLine *el, int key UNUSED)
{
    struct prompt *p = NULL;
    el_get(el, EL_CLIENTDATA, &p);
    p->dropped = true;
    return CC_NEWLINE;
}

/* ---- history ---- */

static void save_history(struct prompt *p)
{
    HistEvent event;
    if (!p->history_path)
        return;
    mode_t before = umask(077);
    history(p->history, &event, H_SAVE, p->history_path);
    umask(before);
    chmod(p->history_path, 0600);
}

static void remember(struct prompt *p, const char *line)
{
    HistEvent event;
    if (strspn(line, " \t\n") == strlen(line))
        return;
    history(p->history, &event, H_ENTER, line);
    save_history(p);
}

/* ---- the loop ---- */

static void reconnect(struct prompt *p)
{
    fprintf(stderr,
            "note: the session has ended (the manager or the server has gone); its variables are lost\n");
    repl_close(steal(&p->repl));
    for (int i = 0; i < RECONNECT_TRIES && !p->repl; i++) {
        auto_err err = NULL;
        p->repl = repl_open(p->k, &err);
        if (!p->repl && i == RECONNECT_TRIES - 1)
            kubectl_fail(err, NULL);
        if (p->repl)
            repl_own_terminal(p->repl, true);
        else
            usleep(RECONNECT_MS * 1000);
    }
    if (p->repl)
        fprintf(stderr, "note: a new session has begun\n");
}

static void run_pending(struct prompt *p)
{
    auto_json answer = repl_run(p->repl, str_c(&p->pending), "stdin");
    fflush(stdout);
    if (answer && json_bool(answer, "incomplete", false))
        return;
    str_clear(&p->pending);
    if (!answer) {
        reconnect(p);
        return;
    }
    if (json_string(answer, "error"))
        fprintf(stderr, "error: %s\n", json_string(answer, "error"));
    if (json_string(answer, "note"))
        fprintf(stderr, "note: %s\n", json_string(answer, "note"));
}

static void open_editor(struct prompt *p)
{
    HistEvent event;
    const char *home = getenv("HOME");
    setlocale(LC_CTYPE, "");
    p->history_path = str_empty(home) ? NULL : file_join(home, HISTORY);
    p->history = history_init();
    history(p->history, &event, H_SETSIZE, HISTORY_LINES);
    history(p->history, &event, H_SETUNIQUE, 1);
    if (p->history_path)
        history(p->history, &event, H_LOAD, p->history_path);
    repl_own_terminal(p->repl, true); /* before libedit looks at it: it restores what it has found */
    p->el = el_init("minikubectl", stdin, stdout, stderr);
    el_set(p->el, EL_CLIENTDATA, p);
    el_set(p->el, EL_PROMPT, prompt_text);
    el_set(p->el, EL_EDITOR, "emacs");
    el_set(p->el, EL_HIST, history, p->history);
    el_set(p->el, EL_ADDFN, "m8-complete", "complete a word", complete_word);
    el_set(p->el, EL_ADDFN, "m8-drop", "drop the line", drop_line);
    el_set(p->el, EL_BIND, "^I", "m8-complete", NULL);
    el_set(p->el, EL_BIND, "^C", "m8-drop", NULL);
    el_set(p->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(p->el, EL_SETTY, "-d", "-isig", NULL);
    el_set(p->el, EL_SETTY, "-x", "-icanon", NULL);
}

/* What people type who do not know Ctrl-D. */
static bool wants_to_leave(const char *line)
{
    static const char *const words[] = {"exit", "quit", "exit()", "quit()"};
    size_t start = strspn(line, " \t"), len = strcspn(line + start, " \t\r\n");
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strlen(words[i]) == len && memcmp(words[i], line + start, len) == 0)
            return true;
    }
    return false;
}

int repl_interact(struct kubectl *k, struct repl *repl)
{
    struct prompt p = {.k = k, .repl = repl};
    printf("Lua in the control plane. help() tells what there is; Ctrl-D leaves.\n");
    open_editor(&p);
    while (p.repl) {
        int count = 0;
        const char *line = el_gets(p.el, &count);
        if (p.dropped) {
            p.dropped = false;
            str_clear(&p.pending);
            printf("^C\n");
            continue;
        }
        if (!line || count <= 0) {
            printf("\n");
            break;
        }
        remember(&p, line);
        if (!p.pending.len && wants_to_leave(line))
            break;
        str_add(&p.pending, line);
        if (strspn(str_c(&p.pending), " \t\n") == p.pending.len)
            str_clear(&p.pending);
        else
            run_pending(&p);
    }
    int code = p.repl ? 0 : 1;
    el_end(p.el);
    if (p.repl)
        repl_own_terminal(p.repl, false);
    history_end(p.history);
    free(p.history_path);
    str_free(&p.pending);
    repl_close(p.repl);
    return code;
}
