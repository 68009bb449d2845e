/* The common part of the daemons. */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "net/netlink.h"
#include "script/script.h"

#define MAX_FILE (1u << 20)

int process_enter(const char *name, const char *netns, struct err **err)
{
    log_set_process(name);
    if (!netns)
        return 0;
    auto_fd fd = netns_open(netns, err);
    return fd < 0 ? -1 : netns_enter(fd, err);
}

static void on_signal(void *arg, int signal_number, int pid UNUSED)
{
    log_info("cmd", "signal %d: stopping", signal_number);
    loop_stop(arg);
}

struct loop_signals *process_stop_on_signals(struct loop *loop, struct err **err)
{
    static const int signals[] = {SIGTERM, SIGINT};
    return loop_signals_add(loop, signals, COUNT_OF(signals), on_signal, loop, err);
}

struct plugins *process_plugins(struct err **err)
{
    const char *share = getenv("MINIK8S_SHARE");
    return plugins_open(str_empty(share) ? MINIK8S_SOURCE_DIR : share, err);
}

const struct node_extension **process_extensions(struct err **err)
{
    auto_free char *program = realpath("/proc/self/exe", NULL);
    if (!program) {
        err_errno(err, errno, "the program's own path");
        return NULL;
    }
    *strrchr(program, '/') = 0;
    auto_free char *folder = file_join(program, "plugins");
    struct plugins *plugins = process_plugins(err);
    const struct node_extension **extensions = plugins ? plugins_load(plugins, folder, err) : NULL;
    plugins_free(plugins);
    return extensions;
}

struct schema *process_load_schema(struct err **err)
{
    struct plugins *plugins = process_plugins(err);
    auto_json kinds = plugins ? script_load_kinds(plugins_lua(plugins), err) : NULL;
    plugins_free(plugins);
    if (!kinds)
        return NULL;
    struct schema *schema = schema_new();
    json_each (kind, kinds) {
        if (schema_add(schema, kind, err) == 0)
            continue;
        err_wrap(err, "kind %s", json_string_or(kind, "kind", "without a name"));
        schema_free(schema);
        return NULL;
    }
    return schema;
}

/* clang-format off */
__asm__(".section .rodata\n"
        ".hidden m8_kinds_begin, m8_kinds_end\n"
        ".global m8_kinds_begin, m8_kinds_end\n"
        "m8_kinds_begin: .incbin \"" MINIK8S_KINDS_JSON "\"\n"
        "m8_kinds_end:\n"
        ".previous\n");
/* clang-format on */
extern const char m8_kinds_begin[], m8_kinds_end[];

struct schema *process_own_schema(struct err **err)
{
    auto_json kinds = json_parse_trusted(m8_kinds_begin, (size_t)(m8_kinds_end - m8_kinds_begin));
    struct schema *schema = schema_new();
    if (kinds && schema_add_all(schema, kinds, err) == 0)
        return schema;
    schema_free(schema);
    err_set(err, ERR_INTERNAL, "the kinds inside this program cannot be read");
    return NULL;
}

char *process_read(const char *path, struct err **err)
{
    char *text;
    return file_read(path, MAX_FILE, &text, NULL, err) < 0 ? NULL : text;
}

int process_fail(const struct err *err)
{
    fprintf(stderr, "error: %s\n", err_message(err));
    for (size_t i = 0; err && i < err->n_causes; i++)
        fprintf(stderr, "  %s: %s\n", err->causes[i].field, err->causes[i].message);
    return 1;
}
