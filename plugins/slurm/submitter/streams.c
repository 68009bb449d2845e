/*
 * streams: what the job prints → our own output, as it grows. Of an array each task has files of its own:
 * they are listed in one go, those that have grown are read, and whole lines go on with the task's number in
 * front.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "submitter/run.h"

#define CHUNK (1u << 20)
#define MAX_LINE (64u << 10) /* a longer line of a task goes on in pieces */

/* One file of one task. */
struct task_stream {
    int64_t offset;
    struct str line; /* its last line, as long as it has no end */
    bool grew;       /* in this pass */
};

static void task_stream_free(void *arg)
{
    struct task_stream *task = arg;
    str_free(&task->line);
    free(task);
}

void run_open_streams(struct run *run)
{
    run->out = (struct run_stream){.name = "stdout", .fd = STDOUT_FILENO};
    run->errors = (struct run_stream){.name = "stderr", .fd = STDERR_FILENO};
    map_init(&run->task_streams, task_stream_free);
}

static void forward(struct run_stream *stream, const char *text, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(stream->fd, text + done, len - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    str_add_n(&stream->tail, text, len);
    if (stream->tail.len > 2 * RUN_TAIL) {
        struct str kept = {0};
        str_add_n(&kept, stream->tail.data + stream->tail.len - RUN_TAIL, RUN_TAIL);
        str_free(&stream->tail);
        stream->tail = kept;
    }
}

/* The next piece of a file of the job; true: there may be more. Whoever calls frees text. */
static bool read_piece(struct run *run, const char *name, int64_t *offset, struct str *text)
{
    auto_free char *file = mem_printf(SLURM_PRIVATE "/%s", name);
    for (unsigned tries = 0;;) {
        auto_err error = NULL;
        if (run->site->ops->read(run->site, run->folder, file, *offset, CHUNK, text, &error) == 0)
            break;
        str_clear(text); /* what came before the failure is read again */
        if (!run_try_again(run, &tries, error))
            return false;
    }
    *offset += (int64_t)text->len;
    return text->len == CHUNK;
}

static bool read_stream(struct run *run, struct run_stream *stream)
{
    bool any = false;
    for (bool more = true; more;) {
        auto_str text = {0};
        more = read_piece(run, stream->name, &stream->offset, &text);
        forward(stream, str_c(&text), text.len);
        any = any || text.len;
    }
    return any;
}

/* ---- tasks of an array ---- */

static struct run_stream *stream_of(struct run *run, const char *file)
{
    return str_starts(file, "stdout.") ? &run->out : str_starts(file, "stderr.") ? &run->errors : NULL;
}

static void end_line(struct run_stream *to, struct task_stream *task, const char *index)
{
    auto_str line = {0};
    str_addf(&line, "[%s] ", index);
    str_add_n(&line, str_c(&task->line), task->line.len);
    str_add_char(&line, '\n');
    forward(to, line.data, line.len);
    str_free(&task->line);
}

static void forward_lines(struct run_stream *to, struct task_stream *task, const char *index,
                          const char *text, size_t len)
{
    while (len) {
        const char *end = memchr(text, '\n', len);
        size_t n = end ? (size_t)(end - text) : len;
        str_add_n(&task->line, text, n);
        if (end || task->line.len > MAX_LINE)
            end_line(to, task, index);
        n += end != NULL;
        text += n;
        len -= n;
    }
}

static void read_task(struct run *run, const char *file, int64_t size)
{
    struct run_stream *to = stream_of(run, file);
    if (!to)
        return;
    struct task_stream *task = map_get(&run->task_streams, file);
    if (!task)
        map_set(&run->task_streams, file, task = NEW(struct task_stream));
    task->grew = task->offset < size;
    for (bool more = task->grew; more && task->offset < size;) {
        auto_str text = {0};
        more = read_piece(run, file, &task->offset, &text);
        forward_lines(to, task, strchr(file, '.') + 1, str_c(&text), text.len);
    }
    run->any_grew = run->any_grew || task->grew;
}

/* A task that has ended does not go on with its last line. */
static void end_task(struct run *run, const char *file, int64_t size)
{
    (void)size;
    if (!str_starts(file, "rc."))
        return;
    struct run_stream *const streams[] = {&run->out, &run->errors};
    for (size_t i = 0; i < COUNT_OF(streams); i++) {
        auto_free char *name = mem_printf("%s.%s", streams[i]->name, file + strlen("rc."));
        struct task_stream *task = map_get(&run->task_streams, name);
        if (task && !task->grew && task->line.len)
            end_line(streams[i], task, file + strlen("rc."));
    }
}

/* ---- */

void run_each_file(struct run *run, const struct str *list,
                   void (*visit)(struct run *run, const char *name, int64_t size))
{
    size_t n;
    auto_free char **lines = str_split(str_c(list), '\n', &n);
    for (size_t i = 0; i < n; i++) {
        const char *name = strchr(lines[i], ' ');
        if (name)
            visit(run, name + 1, strtoll(lines[i], NULL, 10));
    }
}

bool run_read_streams(struct run *run)
{
    if (!json_get(run_spec(run), "array"))
        return read_stream(run, &run->out) | read_stream(run, &run->errors);
    auto_str list = {0};
    run->any_grew = false;
    for (unsigned tries = 0;;) {
        auto_err error = NULL;
        if (run->site->ops->list(run->site, run->folder, &list, &error) == 0)
            break;
        if (!run_try_again(run, &tries, error))
            return false; /* what it prints is not lost: the next pass reads it */
        str_clear(&list);
    }
    run_each_file(run, &list, read_task);
    run_each_file(run, &list, end_task);
    return run->any_grew;
}

void run_end_streams(struct run *run)
{
    run_read_streams(run);
    map_each (entry, &run->task_streams) {
        struct task_stream *task = entry->value;
        if (task->line.len)
            end_line(stream_of(run, entry->key), task, strchr(entry->key, '.') + 1);
    }
}
