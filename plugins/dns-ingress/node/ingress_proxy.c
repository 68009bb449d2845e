/*
 * ingress_proxy: keeps the two HAProxy processes of this node, their files, and what they know of the maps.
 * Does not know what a route is. Invariants: a file is written before a running process is told, so that one
 * that starts at any moment has it; a process that was started, adopted or read its configuration anew is
 * told everything once more, because it may have read the files a moment before; one that was told to read
 * its configuration anew is told so until another worker answers (a signal may be lost, a file may be gone at
 * the wrong moment), and what changes meanwhile is told to the one that serves; nothing runs while there is
 * no route. A new agent starts what is missing from the files that are there, before it knows any route: who
 * was killed with it serves again as soon as it can.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "client/client.h"
#include "ingress.h"
#include "loop/helper.h"

#define INSTANCES INGRESS_PROXIES
#define RETRY_MS 100
#define START_RETRY_MS 5000
#define RELOAD_RETRY_MS 500 /* to the next signal; twice as long each time, up to … */
#define RELOAD_DOUBLINGS 6
#define RELOADS_QUIET 3  /* signals before it is said */
#define LOOK_MS 1000     /* once it has been said: whether another worker answers */
#define CONFIRM_MS 5000  /* an adopted one may be about to replace its worker */
#define RETRIES_QUIET 50 /* tries before it is said: a process needs a moment to start */
#define TERMINATE_MS 3000
#define LOG_MAX (16 << 20) /* bytes of an access log; one older is kept */
#define LOG_LOOK_MS 5000

struct instance {
    struct proxy *proxy;
    struct helper *helper;
    char *name, *socket;
    bool stale;        /* it may lack something of the maps */
    bool confirm;      /* it is told everything twice */
    int old_worker;    /* its configuration is being read anew: the worker that is to go */
    int worker;        /* that answered last; 0: none since it was started */
    bool reload;       /* as soon as it answers: a signal before would end it */
    int64_t signalled; /* ms: when it was told to read anew */
    unsigned signals;  /* … how often, for this old_worker */
    unsigned starts;   /* who was told before the last one knows nothing */
    unsigned failed;   /* tries in a row */
};

struct proxy {
    struct node_extension_host *host;
    struct instance instances[INSTANCES];
    int sockets[INGRESS_SOCKETS]; /* -1: not open, as no process shall run */
    struct str maps[MAP_COUNT], list;
    struct str known[MAP_COUNT]; /* what every process that is not stale knows */
    struct map certificates;     /* file name → PEM */
    struct helper *holder;
    bool known_routes; /* proxy_set was called */
    bool wanted, dirty, busy, closed;
    bool swept; /* no file is there that the list does not name */
    struct loop_timer *timer, *confirm_timer;
    struct loop_timer *log_timer; /* runs while something is being logged */
    struct loop_fd *log_watch;
    int log_fd; /* inotify on the logs, or -1 */
};

struct proxy_job {
    struct proxy *proxy;
    struct proxy_files files;
    struct str known[MAP_COUNT];
    bool wanted;
    char *sockets[INSTANCES];
    bool ask[INSTANCES], stale[INSTANCES];
    bool sweep; /* nobody reads files that the list does not name */
    int known_worker[INSTANCES];
    unsigned starts[INSTANCES];
    /* results */
    bool reload;
    int worker[INSTANCES]; /* that answered */
    struct err *told[INSTANCES], *err;
};

static char *path_in(const char *directory, const char *format, unsigned instance)
{
    auto_free char *name = mem_printf("%s-%u.%s", "proxy", instance, format);
    return file_join(directory, name);
}

/* ---- on the pool ---- */

static int tell_map(const struct proxy_job *job, unsigned i, int map, bool all, struct err **err)
{
    auto_free char *path = file_join(job->files.directory, ingress_map_names[map]);
    if (all)
        return socket_set_map(job->sockets[i], path, &job->files.maps[map], err);
    if (job->known[map].len == job->files.maps[map].len &&
        memcmp(str_c(&job->known[map]), str_c(&job->files.maps[map]), job->files.maps[map].len) == 0)
        return 0;
    if (map == MAP_REGEX) /* the order of its entries matters */
        return socket_set_map(job->sockets[i], path, &job->files.maps[map], err);
    return socket_change_map(job->sockets[i], path, &job->known[map], &job->files.maps[map], err);
}

/* A worker that is not the one told before has read the files at some moment: it is told everything. */
static int tell(struct proxy_job *job, unsigned i, struct err **err)
{
    job->worker[i] = socket_worker(job->sockets[i], err);
    if (job->worker[i] < 0)
        return -1;
    bool all = job->stale[i] || job->worker[i] != job->known_worker[i];
    for (int map = 0; map < MAP_COUNT; map++)
        if (tell_map(job, i, map, all, err) < 0)
            return -1;
    return 0;
}

static void job_work(void *arg)
{
    struct proxy_job *job = arg;
    if (!job->wanted) {
        proxy_shutdown(job->files.directory, &job->err);
        return;
    }
    int changed = ingress_write_files(&job->files, &job->err);
    if (changed < 0 || (job->sweep && ingress_sweep_files(&job->files, &job->err) < 0))
        return;
    job->reload = changed > 0;
    for (unsigned i = 0; i < INSTANCES; i++)
        if (job->ask[i])
            tell(job, i, &job->told[i]);
}

/* ---- on the loop ---- */

static void run(struct proxy *proxy);

/* The access logs: looked at LOG_LOOK_MS after something was written, and not while nothing is. */
static void watch_logs(struct proxy *proxy);

/* The processes append, so they go on at the beginning. Not renamed: they keep the file open. */
static void bound_log(const char *path)
{
    struct stat now;
    auto_free char *old = mem_printf("%s.1", path), *text = NULL;
    auto_err err = NULL;
    size_t len;
    if (stat(path, &now) < 0 || now.st_size < LOG_MAX)
        return;
    if (file_read(path, LOG_MAX * 4, &text, &len, &err) < 0 ||
        file_write_atomic(old, text, len, 0640, &err) < 0)
        log_warn("ingress", "%s", err_message(err));
    if (truncate(path, 0) < 0)
        log_warn("ingress", "%s: %s", path, strerror(errno));
}

static void on_log_timer(void *arg)
{
    struct proxy *proxy = arg;
    for (unsigned i = 1; i <= INSTANCES; i++) {
        auto_free char *log = path_in(proxy->host->directory, "log", i);
        bound_log(log);
    }
    watch_logs(proxy);
}

static void unwatch_logs(struct proxy *proxy)
{
    loop_fd_remove(steal(&proxy->log_watch));
    if (proxy->log_fd >= 0)
        close(proxy->log_fd);
    proxy->log_fd = -1;
}

static void on_logged(void *arg, unsigned events UNUSED)
{
    struct proxy *proxy = arg;
    unwatch_logs(proxy);
    loop_timer_start(proxy->log_timer, LOG_LOOK_MS);
}

static void watch_logs(struct proxy *proxy)
{
    if (proxy->log_fd >= 0 || !proxy->wanted || loop_timer_running(proxy->log_timer))
        return;
    proxy->log_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    for (unsigned i = 1; i <= INSTANCES && proxy->log_fd >= 0; i++) {
        auto_free char *log = path_in(proxy->host->directory, "log", i);
        inotify_add_watch(proxy->log_fd, log, IN_MODIFY);
    }
    if (proxy->log_fd >= 0)
        proxy->log_watch = loop_fd_add(proxy->host->loop, proxy->log_fd, EPOLLIN, on_logged, proxy, NULL);
}

static void job_free(struct proxy_job *job)
{
    for (int i = 0; i < MAP_COUNT; i++) {
        str_free(&job->files.maps[i]);
        str_free(&job->known[i]);
    }
    for (int i = 0; i < INSTANCES; i++) {
        err_free(job->told[i]);
        free(job->sockets[i]);
    }
    str_free(&job->files.list);
    map_fini(&job->files.certificates);
    err_free(job->err);
    free(job->files.directory);
    free(job->files.servers[0]);
    free(job->files.servers[1]);
    free(job);
}

static void proxy_destroy(struct proxy *proxy)
{
    for (int i = 0; i < INSTANCES; i++) {
        helper_free(proxy->instances[i].helper);
        free(proxy->instances[i].name);
        free(proxy->instances[i].socket);
    }
    for (int i = 0; i < MAP_COUNT; i++) {
        str_free(&proxy->maps[i]);
        str_free(&proxy->known[i]);
    }
    str_free(&proxy->list);
    map_fini(&proxy->certificates);
    loop_timer_free(proxy->timer);
    loop_timer_free(proxy->confirm_timer);
    loop_timer_free(proxy->log_timer);
    free(proxy);
}

static void again(struct proxy *proxy)
{
    if (!loop_timer_running(proxy->timer))
        loop_timer_start(proxy->timer, RETRY_MS);
}

static void on_start(void *arg, pid_t pid, bool adopted)
{
    struct instance *instance = arg;
    instance->stale = true;
    instance->confirm = adopted;
    instance->old_worker = instance->worker = 0;
    if (!adopted)
        instance->reload = false; /* it has read the newest files */
    instance->failed = 0;
    instance->starts++;
    log_info("ingress", "%s %s, pid %d", instance->name, adopted ? "adopted" : "started", (int)pid);
    again(instance->proxy);
    watch_logs(instance->proxy);
}

/* On the Node: who looks at it sees why its address does not answer. */
static void tell_node(const struct proxy *proxy, const char *what, const char *why)
{
    const struct cache_item *own = cache_get(proxy->host->cache, "nodes", proxy->host->node);
    auto_json node = cJSON_CreateObject();
    json_set_string(node, "apiVersion", "v1");
    json_set_string(node, "kind", "Node");
    json_set_string(node, "name", proxy->host->node);
    json_set_string(node, "uid", own ? own->uid : NULL);
    recorder_event(proxy->host->recorder, node, "Warning", "IngressProxyFailed", "%s: %s", what, why);
}

static void on_exit_proxy(void *arg)
{
    struct instance *instance = arg;
    if (!instance->worker && !instance->proxy->closed)
        tell_node(instance->proxy, instance->name, "it ended before it answered; its log says why");
    instance->worker = 0;
    instance->stale = true;
}

static int start_instance(struct instance *instance, unsigned number, struct err **err)
{
    const char *directory = instance->proxy->host->directory;
    auto_free char *configuration = path_in(directory, "cfg", number);
    auto_free char *pid_file = ingress_pid_file(directory, number), *log = path_in(directory, "log", number);
    const char *const argv[] = {"haproxy" /* uses: haproxy */, "-W", "-f", configuration, NULL};
    const struct helper_options options = {.name = instance->name,
                                           .argv = argv,
                                           .pid_file = pid_file,
                                           .log_path = log,
                                           .fds = instance->proxy->sockets,
                                           .n_fds = INGRESS_SOCKETS,
                                           .loop = instance->proxy->host->loop,
                                           .on_start = on_start,
                                           .on_exit = on_exit_proxy,
                                           .arg = instance};
    instance->helper = helper_new(&options, err);
    return instance->helper ? 0 : -1;
}

static bool listen_all(struct proxy *proxy)
{
    auto_err err = NULL;
    if (proxy->holder)
        return true;
    if (proxy->sockets[0] >= 0 ||
        ingress_listen(proxy->sockets, proxy->host->directory, proxy->host->address, &err) == 0)
        proxy->holder = ingress_hold(proxy->sockets, proxy->host->directory, proxy->host->address,
                                     proxy->host->loop, &err);
    if (proxy->holder)
        return true;
    log_error("ingress", "%s", err_message(err));
    tell_node(proxy, "its sockets", err_message(err));
    loop_timer_start(proxy->timer, START_RETRY_MS);
    return false;
}

static void start_all(struct proxy *proxy)
{
    if (!listen_all(proxy))
        return;
    for (unsigned i = 0; i < INSTANCES; i++) {
        auto_err err = NULL;
        if (proxy->instances[i].helper || start_instance(&proxy->instances[i], i + 1, &err) == 0)
            continue;
        log_error("ingress", "%s: %s", proxy->instances[i].name, err_message(err));
        tell_node(proxy, proxy->instances[i].name, err_message(err));
        loop_timer_start(proxy->timer, START_RETRY_MS);
    }
}

/* Its workers are replaced, and the new ones take the listening sockets over. */
static void signal_reload(struct instance *instance)
{
    auto_err err = NULL;
    instance->signalled = loop_now_ms(instance->proxy->host->loop);
    instance->signals++;
    if (helper_signal(instance->helper, SIGUSR2, &err) < 0)
        log_warn("ingress", "%s", err_message(err));
    again(instance->proxy);
}

static void reload(struct instance *instance)
{
    instance->reload = true;
    if (!instance->worker || instance->stale || instance->old_worker)
        return;
    instance->reload = false;
    instance->old_worker = instance->worker;
    instance->signals = 0;
    signal_reload(instance);
}

/* The worker that is to go has answered: it is what serves until the other one does. */
static void still_old(struct instance *instance)
{
    unsigned doublings = instance->signals < RELOAD_DOUBLINGS ? instance->signals : RELOAD_DOUBLINGS;
    int64_t waited = loop_now_ms(instance->proxy->host->loop) - instance->signalled;
    if (!loop_timer_running(instance->proxy->timer))
        loop_timer_start(instance->proxy->timer, instance->signals > RELOADS_QUIET ? LOOK_MS : RETRY_MS);
    if (waited < (int64_t)RELOAD_RETRY_MS << doublings >> 1)
        return;
    if (instance->signals % RELOADS_QUIET == 0)
        tell_node(instance->proxy, instance->name,
                  "it does not read its configuration anew; its log says why");
    log_warn("ingress", "%s does not read its configuration anew: told again", instance->name);
    signal_reload(instance);
}

static void note_told(struct instance *instance, const struct proxy_job *job, unsigned i)
{
    if (job->starts[i] != instance->starts || !instance->helper || !helper_pid(instance->helper)) {
        again(instance->proxy); /* another one was told */
        return;
    }
    if (job->told[i]) {
        instance->stale = true;
        if (++instance->failed % RETRIES_QUIET == 0)
            log_warn("ingress", "%s: %s", instance->name, err_message(job->told[i]));
        again(instance->proxy);
        return;
    }
    instance->stale = false;
    instance->failed = 0;
    instance->worker = job->worker[i];
    if (instance->worker == instance->old_worker) {
        still_old(instance);
        return;
    }
    instance->old_worker = 0;
    if (instance->reload)
        reload(instance);
    if (instance->confirm && !loop_timer_running(instance->proxy->confirm_timer))
        loop_timer_start(instance->proxy->confirm_timer, CONFIRM_MS);
}

static bool any_stale(const struct proxy *proxy)
{
    for (unsigned i = 0; i < INSTANCES; i++)
        if (proxy->instances[i].stale || proxy->instances[i].old_worker ||
            (proxy->wanted && !proxy->instances[i].helper))
            return true;
    return false;
}

/* While somebody starts or reads anew it may be reading the list before the last. */
static bool may_sweep(const struct proxy *proxy)
{
    return !proxy->swept && proxy->wanted && !any_stale(proxy);
}

static void job_done(void *arg)
{
    struct proxy_job *job = arg;
    struct proxy *proxy = job->proxy;
    proxy->busy = false;
    if (proxy->closed) {
        proxy_destroy(proxy);
    } else if (job->err) {
        log_error("ingress", "%s", err_message(job->err));
        proxy->dirty = true;
        again(proxy);
    } else {
        for (int i = 0; i < MAP_COUNT; i++) {
            str_free(&proxy->known[i]);
            proxy->known[i] = job->files.maps[i];
            job->files.maps[i] = (struct str){0};
        }
        for (unsigned i = 0; i < INSTANCES; i++) {
            if (job->wanted && job->ask[i])
                note_told(&proxy->instances[i], job, i);
            if (job->reload)
                reload(&proxy->instances[i]);
        }
        proxy->swept = job->sweep || !job->wanted || (proxy->swept && !job->reload);
        if (job->wanted)
            start_all(proxy);
        if (proxy->dirty || may_sweep(proxy))
            run(proxy);
    }
    job_free(job);
}

static void copy_texts(struct map *to, const struct map *from)
{
    map_fini(to);
    map_init(to, free);
    map_each (entry, from)
        map_set(to, entry->key, mem_strdup(entry->value));
}

static void fill_job(struct proxy_job *job, struct proxy *proxy)
{
    job->proxy = proxy;
    job->files.directory = mem_strdup(proxy->host->directory);
    job->files.servers[0] = mem_strdup(proxy->host->dns_address);
    job->files.servers[1] = mem_strdup(proxy->host->dns_spare);
    job->wanted = proxy->wanted;
    job->sweep = may_sweep(proxy);
    for (int i = 0; i < MAP_COUNT; i++) {
        str_add_n(&job->files.maps[i], str_c(&proxy->maps[i]), proxy->maps[i].len);
        str_add_n(&job->known[i], str_c(&proxy->known[i]), proxy->known[i].len);
    }
    str_add_n(&job->files.list, str_c(&proxy->list), proxy->list.len);
    copy_texts(&job->files.certificates, &proxy->certificates);
    for (unsigned i = 0; i < INSTANCES; i++) {
        struct instance *instance = &proxy->instances[i];
        job->sockets[i] = mem_strdup(instance->socket);
        job->ask[i] = instance->helper && helper_pid(instance->helper) > 0;
        job->stale[i] = instance->stale;
        job->known_worker[i] = instance->worker;
        job->starts[i] = instance->starts;
    }
}

static void run(struct proxy *proxy)
{
    if (proxy->busy || proxy->closed || !proxy->known_routes ||
        (!proxy->dirty && !any_stale(proxy) && !may_sweep(proxy)))
        return;
    if (!proxy->wanted) {
        unwatch_logs(proxy);
        loop_timer_stop(proxy->log_timer);
        for (unsigned i = 0; i < INSTANCES; i++) {
            helper_free(steal(&proxy->instances[i].helper));
            proxy->instances[i].stale = proxy->instances[i].reload = false;
            proxy->instances[i].old_worker = 0;
        }
        helper_free(steal(&proxy->holder));
        ingress_listen_close(proxy->sockets);
    }
    struct proxy_job *job = NEW(struct proxy_job);
    fill_job(job, proxy);
    proxy->dirty = false;
    proxy->busy = true;
    pool_run(proxy->host->pool, proxy->host->loop, job_work, job_done, job);
}

static void on_timer(void *arg)
{
    run(arg);
}

static void on_confirm(void *arg)
{
    struct proxy *proxy = arg;
    for (unsigned i = 0; i < INSTANCES; i++) {
        struct instance *instance = &proxy->instances[i];
        instance->stale = instance->stale || (instance->confirm && instance->worker);
        instance->confirm = instance->confirm && !instance->worker;
    }
    run(proxy);
}

/* The configurations are written last. */
static bool files_are_there(const struct proxy *proxy)
{
    bool all = true;
    for (unsigned i = 1; i <= INSTANCES; i++) {
        auto_free char *configuration = path_in(proxy->host->directory, "cfg", i);
        all = all && file_exists(configuration);
    }
    return all;
}

struct proxy *proxy_new(struct node_extension_host *host)
{
    struct proxy *proxy = NEW(struct proxy);
    proxy->host = host;
    proxy->timer = loop_timer_new(host->loop, on_timer, proxy);
    proxy->confirm_timer = loop_timer_new(host->loop, on_confirm, proxy);
    proxy->log_timer = loop_timer_new(host->loop, on_log_timer, proxy);
    proxy->log_fd = -1;
    for (int i = 0; i < INGRESS_SOCKETS; i++)
        proxy->sockets[i] = -1;
    for (unsigned i = 0; i < INSTANCES; i++) {
        auto_free char *socket = mem_printf("%u.sock", i + 1);
        proxy->instances[i].proxy = proxy;
        proxy->instances[i].name = mem_printf("ingress proxy %u", i + 1);
        proxy->instances[i].socket = file_join(host->directory, socket);
    }
    if (files_are_there(proxy))
        start_all(proxy);
    return proxy;
}

void proxy_set(struct proxy *proxy, struct str maps[MAP_COUNT], const struct map *certificates,
               struct str *list, bool wanted)
{
    for (int i = 0; i < MAP_COUNT; i++) {
        str_free(&proxy->maps[i]);
        proxy->maps[i] = maps[i];
        maps[i] = (struct str){0};
    }
    str_free(&proxy->list);
    proxy->list = *list;
    *list = (struct str){0};
    copy_texts(&proxy->certificates, certificates);
    proxy->wanted = wanted;
    proxy->known_routes = proxy->dirty = true;
    run(proxy);
}

void proxy_free(struct proxy *proxy)
{
    proxy->closed = true;
    loop_timer_stop(proxy->timer);
    loop_timer_stop(proxy->confirm_timer);
    loop_timer_stop(proxy->log_timer);
    unwatch_logs(proxy);
    helper_free(steal(&proxy->holder));
    ingress_listen_close(proxy->sockets);
    if (!proxy->busy)
        proxy_destroy(proxy);
}

int proxy_shutdown(const char *directory, struct err **err)
{
    for (unsigned i = 1; i <= INSTANCES; i++) {
        auto_free char *pid_file = ingress_pid_file(directory, i);
        if (helper_terminate(pid_file, TERMINATE_MS, err) < 0)
            return -1;
    }
    if (ingress_let_go(directory, err) < 0)
        return -1;
    size_t count;
    auto_free char **files = file_exists(directory) ? file_list(directory, &count, err) : NULL;
    for (size_t i = 0; files && i < count; i++) {
        auto_free char *path = file_join(directory, files[i]);
        if (file_remove_tree(path, err) < 0)
            return -1;
    }
    return 0;
}
