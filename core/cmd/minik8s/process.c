/* The common part of the daemons. */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/file.h"
#include "base/log.h"
#include "net/netlink.h"
#include "script/script.h"

#define MAX_FILE (1u << 20)
#define RENEWAL_LOOK_MS (INT64_C(24) * 3600 * 1000)
#define RENEWAL_RETRY_NS (INT64_C(30) * 1000000000)

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

struct process_renewal {
    struct loop *loop;
    struct loop_timer *timer;
    int64_t at_ns;
    bool *again;
};

static void renewal_wait(struct process_renewal *renewal)
{
    int64_t wait_ms = (renewal->at_ns - clock_wall_ns(&clock_system)) / 1000000 + 1;
    loop_timer_start(renewal->timer, wait_ms < 1000              ? 1000
                                     : wait_ms > RENEWAL_LOOK_MS ? RENEWAL_LOOK_MS
                                                                 : wait_ms);
}

static void on_renewal_timer(void *arg)
{
    struct process_renewal *renewal = arg;
    if (clock_wall_ns(&clock_system) < renewal->at_ns) {
        renewal_wait(renewal);
        return;
    }
    log_info("cmd", "starting again to renew the certificate");
    *renewal->again = true;
    loop_stop(renewal->loop);
}

struct process_renewal *process_renewal_new(struct loop *loop, int64_t at_ns, bool *again)
{
    struct process_renewal *renewal = NEW(struct process_renewal);
    *renewal = (struct process_renewal){.loop = loop, .at_ns = at_ns, .again = again};
    renewal->timer = loop_timer_new(loop, on_renewal_timer, renewal);
    renewal_wait(renewal);
    return renewal;
}

void process_renewal_free(struct process_renewal *renewal)
{
    if (!renewal)
        return;
    loop_timer_free(renewal->timer);
    free(renewal);
}

int64_t process_renewal_retry(const char *certificate_pem)
{
    int64_t now = clock_wall_ns(&clock_system), ends = now;
    auth_pem_expiry(certificate_pem, &ends, NULL);
    return now + (ends > now ? (ends - now) / 3 : 0) + RENEWAL_RETRY_NS;
}

int process_again(char **argv)
{
    auto_err err = NULL;
    execv("/proc/self/exe", argv - 1); /* the program's own name stands before */
    err_errno(&err, errno, "starting again");
    return process_fail(err);
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
