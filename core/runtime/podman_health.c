/*
 * podman_health: the service is known to leak memory and descriptors, and might hang. It is looked at from
 * time to time: one that has stopped answering is killed, one that has grown too large is ended when no call
 * is under way. The helper starts it again at once; containers do not notice.
 */
#include <signal.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "runtime/podman_internal.h"

#define INTERVAL_MS 10000
#define ANSWER_MS 10000
#define MAX_SILENT 3 /* looks without an answer */
#define MAX_MEMORY_KB (512 << 10)
#define MAX_FILES_PERCENT 60

static int64_t memory_kb(pid_t pid)
{
    auto_free char *path = mem_printf("/proc/%d/status", (int)pid), *text = NULL;
    if (file_read(path, 65536, &text, NULL, NULL) < 0)
        return 0;
    const char *line = strstr(text, "VmRSS:");
    return line ? strtoll(line + strlen("VmRSS:"), NULL, 10) : 0;
}

static bool grown(const struct podman *p, pid_t pid)
{
    auto_free char *path = mem_printf("/proc/%d/fd", (int)pid);
    size_t files = 0;
    auto_free char **names = file_list(path, &files, NULL);
    int64_t memory = memory_kb(pid);
    if (memory < MAX_MEMORY_KB && (int64_t)files * 100 < p->facts.max_files * MAX_FILES_PERCENT)
        return false;
    log_warn("runtime", "podman's service has grown to %lld MiB and %zu open files: it is started anew",
             (long long)(memory >> 10), files);
    return true;
}

static void on_answer(void *arg, const struct http_response *response, struct err *err)
{
    struct podman *p = arg;
    p->health_asked = false;
    if (!err && response->status == 200) {
        p->silent = 0;
        return;
    }
    if (!p->up || ++p->silent < MAX_SILENT)
        return;
    log_warn("runtime", "podman's service does not answer: it is killed and started anew");
    p->silent = 0;
    helper_signal(p->helper, SIGKILL, NULL); /* gone already: all the better */
}

static void look(void *arg)
{
    struct podman *p = arg;
    loop_timer_start(p->health, p->health_interval_ms);
    pid_t pid = helper_pid(p->helper);
    if (!p->up || !pid)
        return;
    if (list_empty(&p->active) && list_empty(&p->streams) && grown(p, pid)) {
        helper_signal(p->helper, SIGTERM, NULL);
        return;
    }
    if (p->health_asked)
        return;
    struct http_call call = {.method = "GET",
                             .target = PODMAN_API "/_ping",
                             .timeout_ms =
                                 ANSWER_MS < p->health_interval_ms ? ANSWER_MS : p->health_interval_ms,
                             .on_response = on_answer,
                             .arg = p};
    p->health_asked = true;
    p->http->ops->call(p->http, &call);
}

void podman_health_start(struct podman *p, int64_t interval_ms)
{
    p->health_interval_ms = interval_ms ? interval_ms : INTERVAL_MS;
    if (!p->health)
        p->health = loop_timer_new(p->loop, look, p);
    loop_timer_start(p->health, p->health_interval_ms);
}
