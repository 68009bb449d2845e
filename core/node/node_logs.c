/*
 * node_logs: /containerLogs: reads what the runtime wrote ("TIME STREAM F|P text" a line) and gives the text,
 * from the beginning, the last lines or a moment on, once or as it grows, over all files of the log.
 * Followers are woken by inotify and by the end of the container.
 *
 * Threads: the stream is pulled on the server's threads under its lock; inotify and ends come on the loop. A
 * follower lives until both the exchange and the loop have let go of it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

#define CHUNK 32768
#define LOG_MAX_BYTES (64u << 20)
#define LINE_MAX_BYTES (1u << 20)

struct log_stream {
    pthread_mutex_t lock;
    unsigned refs;
    struct http_exchange *x;
    struct loop *loop;
    char *path;
    int fd;          /* -1: not begun */
    uint64_t number; /* of the file that it reads, or of the one before that */
    ino_t inode;
    bool follow, timestamps, ended, closed, partial, turned;
    int64_t since_ns, tail, limit; /* tail, limit: -1 none */
    struct str line;               /* an unfinished one */
    /* on the loop only */
    struct list node;
    char *name; /* of the container in the runtime */
    int inotify;
    struct loop_fd *watch;
};

static void stream_unref(struct log_stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    if (s->fd >= 0)
        close(s->fd);
    if (s->inotify >= 0)
        close(s->inotify);
    pthread_mutex_destroy(&s->lock);
    str_free(&s->line);
    free(s->path);
    free(s->name);
    free(s);
}

/* ---- text ---- */

/* Appends one line's text. False: the limit is reached. */
static bool add_line(struct log_stream *s, const char *line, size_t len, struct str *out)
{
    const char *end = line + len, *stream = memchr(line, ' ', len);
    const char *tag = stream ? memchr(stream + 1, ' ', (size_t)(end - stream - 1)) : NULL;
    if (!tag || tag + 2 > end || (tag[1] != 'F' && tag[1] != 'P') || (tag + 2 < end && tag[2] != ' '))
        return true; /* no line of ours */
    bool partial = tag[1] == 'P';
    const char *text = tag + 2 < end ? tag + 3 : tag + 2;
    auto_free char *time = mem_strndup(line, (size_t)(stream - line));
    if (s->since_ns) {
        int64_t at;
        if (time_parse(time, &at, NULL) == 0 && at < s->since_ns)
            return true;
    }
    size_t before = out->len;
    bool utc = str_ends(time, "+00:00"); /* Kubernetes' logs say Z */
    if (s->timestamps && !s->partial)
        str_addf(out, "%.*s%s ", (int)(strlen(time) - (utc ? 6 : 0)), time, utc ? "Z" : "");
    str_add_n(out, text, (size_t)(end - text));
    if (!partial)
        str_add_char(out, '\n');
    s->partial = partial;
    if (s->limit < 0)
        return true;
    size_t added = out->len - before;
    if ((int64_t)added >= s->limit) {
        out->len = before + (size_t)s->limit;
        out->data[out->len] = 0;
        s->limit = 0;
        return false;
    }
    s->limit -= (int64_t)added;
    return true;
}

static bool add_chunk(struct log_stream *s, const char *data, size_t len, struct str *out)
{
    while (len) {
        const char *newline = memchr(data, '\n', len);
        size_t part = newline ? (size_t)(newline - data) : len;
        if (s->line.len + part <= LINE_MAX_BYTES)
            str_add_n(&s->line, data, part);
        if (!newline)
            return true;
        bool more = add_line(s, str_c(&s->line), s->line.len, out);
        str_clear(&s->line);
        if (!more)
            return false;
        data += part + 1;
        len -= part + 1;
    }
    return true;
}

/* Where the last *tail whole lines begin; -1: before this file, and *tail of them lie before. */
static off_t tail_offset(int fd, int64_t *tail)
{
    char block[CHUNK];
    off_t end = lseek(fd, 0, SEEK_END);
    while (end > 0) {
        off_t begin = end > (off_t)sizeof(block) ? end - (off_t)sizeof(block) : 0;
        ssize_t n = pread(fd, block, (size_t)(end - begin), begin);
        if (n <= 0)
            return 0;
        for (ssize_t i = n - 1; i >= 0; i--)
            if (block[i] == '\n' && (*tail)-- == 0)
                return begin + i + 1;
        end = begin;
    }
    return -1;
}

/* ---- the stream ---- */

static bool open_file(struct log_stream *s, const struct node_log_file *file)
{
    int fd = node_log_file_open(s->path, file);
    if (fd < 0)
        return false;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = fd;
    if (file->number)
        s->number = file->number;
    s->inode = file->inode;
    s->turned = false;
    return true;
}

/* The file with the first line that is asked for: by number of lines, by time. */
static bool begin(struct log_stream *s)
{
    struct node_log_files files;
    node_log_files_list(s->path, &files);
    size_t first = 0, i = files.count;
    int64_t tail = s->tail;
    off_t offset = -1;
    while (tail >= 0 && offset < 0 && i > 0) {
        auto_fd fd = node_log_file_open(s->path, &files.files[--i]);
        offset = fd >= 0 ? tail_offset(fd, &tail) : 0;
        first = i;
    }
    while (first + 1 < files.count && files.files[first].changed + 1 < s->since_ns / 1000000000) {
        first++;
        offset = -1;
    }
    if (first > 0)
        s->number = files.files[first - 1].number; /* if it has none itself, it comes after this */
    bool found = first < files.count && open_file(s, &files.files[first]);
    if (found && offset > 0)
        lseek(s->fd, offset, SEEK_SET);
    free(files.files);
    return found;
}

/* The file was read to its end: goes on with the one after it, if there is one. */
static bool go_on(struct log_stream *s)
{
    struct stat live;
    if (stat(s->path, &live) == 0 && live.st_ino == s->inode)
        return false;
    struct node_log_files files;
    node_log_files_list(s->path, &files);
    const struct node_log_file *next = NULL;
    for (size_t i = 0; i < files.count && !next; i++)
        if (files.files[i].inode != s->inode && (!files.files[i].number || files.files[i].number > s->number))
            next = &files.files[i];
    bool more = next != NULL;
    if (more && !s->turned)
        s->turned = true; /* it may have grown between its end and this look: read it once more */
    else if (more)
        more = open_file(s, next);
    free(files.files);
    return more;
}

static enum http_pull pull_locked(struct log_stream *s, struct str *out)
{
    char data[CHUNK];
    if (s->fd < 0 && !begin(s))
        return HTTP_PULL_END;
    for (;;) {
        bool ended = s->ended; /* before reading: what was written before the end is read */
        ssize_t n = read(s->fd, data, sizeof(data));
        if (n > 0) {
            if (!add_chunk(s, data, (size_t)n, out))
                return HTTP_PULL_END;
            if (out->len)
                return HTTP_PULL_MORE;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 && go_on(s))
            continue;
        if (n < 0 || !s->follow || ended)
            return HTTP_PULL_END;
        struct stat st;
        if (fstat(s->fd, &st) == 0 && lseek(s->fd, 0, SEEK_CUR) >= st.st_size)
            return HTTP_PULL_WAIT;
    }
}

static enum http_pull pull(void *arg, struct str *out)
{
    struct log_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    enum http_pull result = pull_locked(s, out);
    pthread_mutex_unlock(&s->lock);
    return result;
}

static void loop_let_go(void *arg)
{
    struct log_stream *s = arg;
    if (list_linked(&s->node))
        list_remove(&s->node);
    loop_fd_remove(s->watch);
    s->watch = NULL;
    stream_unref(s);
}

static void on_closed(void *arg)
{
    struct log_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    pthread_mutex_unlock(&s->lock);
    if (s->follow)
        loop_post(s->loop, loop_let_go, s);
    stream_unref(s);
}

static void wake(struct log_stream *s, bool ended)
{
    pthread_mutex_lock(&s->lock);
    s->ended |= ended;
    if (!s->closed)
        http_stream_wake(s->x);
    pthread_mutex_unlock(&s->lock);
}

static void on_inotify(void *arg, unsigned events UNUSED)
{
    struct log_stream *s = arg;
    char data[4096];
    while (read(s->inotify, data, sizeof(data)) > 0)
        ;
    wake(s, false);
}

void node_logs_ended(struct node *node, const char *container_name)
{
    struct log_stream *s;
    list_each (s, &node->followers, node)
        if (!container_name || str_eq(s->name, container_name))
            wake(s, true);
}

void node_logs_free(struct node *node)
{
    struct log_stream *s, *following;
    node_logs_ended(node, NULL);
    list_each_safe (s, following, &node->followers, node)
        list_remove(&s->node); /* the exchange's end frees it */
}

static void begin_following(struct node *node, struct log_stream *s)
{
    auto_free char *directory = mem_strdup(s->path);
    *strrchr(directory, '/') = 0;
    s->refs++;
    list_add_tail(&node->followers, &s->node);
    s->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    /* The folder, not the file: the runtime may begin a new one under the same name. */
    if (s->inotify < 0 || inotify_add_watch(s->inotify, directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        return; /* a virtual loop or no inotify: the end of the container still wakes it */
    auto_err err = NULL;
    s->watch = loop_fd_add(node->loop, s->inotify, EPOLLIN, on_inotify, s, &err);
}

char *node_log_tail(const char *path, int64_t lines, size_t max_bytes)
{
    struct log_stream s = {.fd = -1, .path = mem_strdup(path), .tail = lines, .limit = -1};
    auto_str out = {0};
    while (pull_locked(&s, &out) == HTTP_PULL_MORE)
        if (out.len > 2 * CHUNK) {
            memmove(out.data, out.data + out.len - CHUNK, CHUNK);
            out.len = CHUNK;
        }
    bool found = s.fd >= 0;
    if (found)
        close(s.fd);
    str_free(&s.line);
    free(s.path);
    if (!found)
        return NULL;
    size_t skipped = out.len > max_bytes ? out.len - max_bytes : 0;
    return mem_strndup(str_c(&out) + skipped, out.len - skipped);
}

/* ---- the request ---- */

static int64_t number(const struct http_request *request, const char *name, int64_t fallback)
{
    const char *text = http_request_query(request, name);
    long long value;
    return text && str_to_int64(text, &value) == 0 && value >= 0 ? value : fallback;
}

static int64_t since(const struct node *node, const struct http_request *request)
{
    int64_t seconds = number(request, "sinceSeconds", -1), at = 0;
    if (seconds >= 0)
        return node_wall(node) - seconds * 1000000000;
    const char *text = http_request_query(request, "sinceTime");
    return text && time_parse(text, &at, NULL) == 0 ? at : 0;
}

void node_logs_handle(struct node *node, struct http_exchange *x, struct pod *pod, struct container *c)
{
    const struct http_request *request = &x->request;
    bool previous = http_request_flag(request, "previous");
    if (previous && c->attempt == 0) {
        node_answer_error(x, ERR_BAD_REQUEST, "previous terminated container \"%s\" in pod \"%s\" not found",
                          c->name, pod->name);
        return;
    }
    bool exists = c->plan.exists && (c->plan.state != RUNTIME_CREATED || c->plan.start_failed);
    bool older = previous || (!exists && c->attempt > 0); /* between two attempts: the last one's */
    auto_free char *path = pod_log_path(pod, c->name, older ? c->attempt - 1 : c->attempt);
    if (!(exists || older) || !file_exists(path)) {
        if (exists) /* it has not written anything */
            node_answer_text(x, 200, "text/plain", mem_strdup(""));
        else
            node_answer_error(x, ERR_BAD_REQUEST, "container \"%s\" in pod \"%s\" is waiting to start: %s",
                              c->name, pod->name,
                              c->waiting_reason ? c->waiting_reason : "ContainerCreating");
        return;
    }
    struct log_stream *s = NEW(struct log_stream);
    pthread_mutex_init(&s->lock, NULL);
    s->refs = 1;
    s->x = x;
    s->loop = node->loop;
    s->path = steal(&path);
    s->name = pod_container_name(pod, c->name, c->attempt);
    s->fd = -1;
    s->inotify = -1;
    s->follow = http_request_flag(request, "follow") && !previous;
    s->ended = older || !(c->plan.exists && c->plan.state == RUNTIME_RUNNING);
    s->timestamps = http_request_flag(request, "timestamps");
    s->tail = number(request, "tailLines", -1);
    s->limit = number(request, "limitBytes", -1);
    s->since_ns = since(node, request);
    list_init(&s->node);
    if (s->follow)
        begin_following(node, s);
    static const struct http_stream_ops ops = {.pull = pull, .closed = on_closed};
    http_stream(x, 200, "text/plain", NULL, 0, &ops, s);
}
