/*
 * script_record_file: see the header.
 *
 * Invariant: each segment can be read by itself: what its decisions share stands in it before them, and
 * before one of scheduling everything that happened to the nodes since they stand there as a whole
 * (script_record_past.c reads that). A line that was cut off is at the end of the last segment only, and is
 * taken away before it grows again.
 */
#include "script/script_record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "script/script_journal.h"
#include "script/script_record_past.h"

#define SEGMENTS 8
#define SEGMENT_BYTES (RECORD_BYTES / SEGMENTS)
#define SEGMENT_NAME "%016llx.decisions"
#define SUFFIX ".decisions"
#define READ_MAX (256u << 20) /* of one: the nodes come on top */
#define BUFFER_MAX (4u << 20) /* of a turn; more is written at once */
#define RETRY_MS 5000         /* after a write that failed; what is decided meanwhile is in memory only */

struct segment {
    unsigned long long number;
    uint64_t bytes, worlds; /* worlds: of bytes, the nodes as a whole */
};

struct record_file {
    char *directory;
    struct record *record;
    int lock, fd; /* fd: of the last segment, -1: none */
    struct segment segments[SEGMENTS];
    size_t count;
    struct map written; /* keys of what is shared and stands in the last segment */
    struct past_writer writer;
    bool has_world; /* so do the nodes, as they were at the writer's position */
    struct str buffer;
    struct loop *loop;
    struct loop_timer *flush;
    bool failing;
    int64_t retry_ms;
};

static char *path_of(const struct record_file *file, unsigned long long number)
{
    auto_free char *name = mem_printf(SEGMENT_NAME, number);
    return file_join(file->directory, name);
}

/* ---- segments ---- */

static void forget_oldest(struct record_file *file)
{
    auto_free char *path = path_of(file, file->segments[0].number);
    unlink(path);
    memmove(&file->segments[0], &file->segments[1], (file->count - 1) * sizeof(file->segments[0]));
    file->count--;
}

static void add_segment(struct record_file *file, unsigned long long number, uint64_t bytes)
{
    if (file->count == SEGMENTS)
        forget_oldest(file);
    file->segments[file->count++] = (struct segment){.number = number, .bytes = bytes};
}

static struct segment *last_segment(struct record_file *file)
{
    return file->count ? &file->segments[file->count - 1] : NULL;
}

static int open_last(struct record_file *file)
{
    auto_free char *path = path_of(file, last_segment(file)->number);
    file->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    map_fini(&file->written);
    file->has_world = false;
    return file->fd;
}

static void next_segment(struct record_file *file)
{
    const struct segment *last = last_segment(file);
    if (file->fd >= 0)
        close(file->fd);
    if (!last || last->bytes) /* nothing goes for one that could not be begun */
        add_segment(file, last ? last->number + 1 : 1, 0);
    open_last(file);
}

/* ---- writing ---- */

static void fail(struct record_file *file)
{
    if (!file->failing)
        log_warn("script", "decisions cannot be kept in %s: %s", file->directory, strerror(errno));
    file->failing = true;
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1; /* the next one is a new segment: what stands in this one is not known */
    file->retry_ms = loop_now_ms(file->loop) + RETRY_MS;
}

static void flush(void *arg)
{
    struct record_file *file = arg;
    struct segment *last = last_segment(file);
    size_t done = 0;
    while (file->fd >= 0 && done < file->buffer.len) {
        ssize_t n = write(file->fd, file->buffer.data + done, file->buffer.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail(file);
        else
            done += (size_t)n;
    }
    if (file->fd >= 0)
        file->failing = false;
    last->bytes += done;
    str_clear(&file->buffer);
}

/* True, and noted: it does not stand in this segment yet. */
static bool is_new(struct record_file *file, const char *key)
{
    if (map_has(&file->written, key))
        return false;
    map_set(&file->written, key, file);
    return true;
}

static void end_line(struct record_file *file)
{
    str_add_char(&file->buffer, '\n');
}

static void add_list(struct record_file *file, const struct record_list *list)
{
    char number[24];
    record_text_list_key(list, number);
    auto_free char *key = mem_printf("list %s", number);
    if (!is_new(file, key))
        return;
    for (size_t i = 0; i < list->count; i++) {
        const struct record_source *source = list->entries[i].source;
        auto_free char *name = mem_printf("source %s@%s", source->name, source->hash);
        if (!source->len || !is_new(file, name))
            continue;
        record_text_source(source, &file->buffer);
        end_line(file);
    }
    record_text_list(list, &file->buffer);
    end_line(file);
}

static void add_class(void *arg, const struct pod_class_text *class)
{
    struct record_file *file = arg;
    char key[17];
    class_text_key(class, key);
    auto_free char *name = mem_printf("class %s", key);
    if (!is_new(file, name))
        return;
    class_text_print(class, &file->buffer);
    end_line(file);
}

/* The nodes as they are now: what changed, or all. */
static void add_world(struct record_file *file)
{
    const struct placement *placement = file->record->placement;
    auto_str text = {0};
    file->has_world = file->has_world && placement && placement_text_changes(placement, &file->writer, &text);
    if (!file->has_world && placement) {
        placement_text_world(placement, &file->writer, &text);
        file->has_world = true;
        last_segment(file)->worlds += text.len;
    }
    if (!text.len)
        return;
    str_add(&file->buffer, str_c(&text));
    end_line(file);
}

static void on_added(void *arg, const struct decision *decision)
{
    struct record_file *file = arg;
    const struct segment *last = last_segment(file);
    if (file->fd < 0 && file->failing && loop_now_ms(file->loop) < file->retry_ms)
        return;
    if (file->fd < 0 || last->bytes + file->buffer.len - last->worlds >= SEGMENT_BYTES) {
        flush(file);
        next_segment(file);
        if (file->fd < 0) {
            fail(file);
            return;
        }
    }
    for (size_t i = 0; i < RECORD_LISTS; i++)
        if (decision->lists[i])
            add_list(file, decision->lists[i]);
    if (decision->class) {
        add_class(file, decision->class);
        add_world(file);
    }
    record_text_decision(decision, &file->buffer);
    end_line(file);
    if (file->buffer.len > BUFFER_MAX)
        flush(file);
    else if (!loop_timer_running(file->flush))
        loop_timer_start(file->flush, 0);
}

/* ---- reading ---- */

struct reading {
    struct record_file *file;
    struct record_reader *reader;
    struct record_segment *segment;
    bool has_world;
    uint64_t worlds;
};

static void read_line(struct reading *reading, const char *line, size_t len, size_t offset)
{
    if (record_past_is_world(line)) {
        reading->has_world = true;
        reading->worlds += len;
    }
    if (record_past_is(line))
        return;
    auto_json json = json_parse_trusted(line, len);
    struct decision *decision = NULL;
    if (json_get(json, "decision"))
        decision = record_read_decision(reading->reader, json);
    else if (json_get(json, "list"))
        record_read_list(reading->reader, json);
    else if (json_get(json, "class"))
        record_read_class(reading->reader, json);
    else
        record_read_source(reading->reader, json);
    if (!decision)
        return;
    if (decision->class) {
        decision->past = decision->past || !reading->has_world;
        decision->segment = record_segment_ref(reading->segment);
        decision->offset = offset;
    }
    record_add(reading->file->record, decision);
}

/* Returns how many bytes are whole lines. */
static size_t read_segment(struct record_file *file, struct record_reader *reader, const char *path,
                           uint64_t *worlds)
{
    auto_free char *text = NULL;
    auto_err err = NULL;
    size_t len, done = 0;
    if (file_read(path, READ_MAX, &text, &len, &err) < 0) {
        log_warn("script", "recorded decisions: %s", err_message(err));
        return 0;
    }
    struct reading reading = {.file = file, .reader = reader, .segment = record_segment_new(path)};
    for (const char *end; (end = memchr(text + done, '\n', len - done)); done = (size_t)(end - text) + 1)
        read_line(&reading, text + done, (size_t)(end - text) - done, done);
    *worlds = reading.worlds;
    record_segment_unref(reading.segment);
    return done;
}

static void read_all(struct record_file *file, const struct policies *policies)
{
    struct record_reader reader;
    size_t count = 0, whole = 0;
    uint64_t worlds = 0;
    auto_free char **names = file_list(file->directory, &count, NULL);
    auto_free char *last = NULL;
    record_reader_init(&reader, policies);
    for (size_t i = 0; names && i < count; i++) {
        if (!str_ends(names[i], SUFFIX))
            continue;
        auto_free char *path = file_join(file->directory, names[i]);
        whole = read_segment(file, &reader, path, &worlds);
        add_segment(file, strtoull(names[i], NULL, 16), whole);
        last_segment(file)->worlds = worlds;
        free(last);
        last = steal(&path);
    }
    record_reader_fini(&reader);
    if (!last)
        next_segment(file);
    else if (truncate(last, (off_t)whole) < 0 || open_last(file) < 0)
        next_segment(file);
}

/* ---- life ---- */

static int take_folder(struct record_file *file, struct err **err)
{
    if (file_make_dirs(file->directory, 0700, err) < 0)
        return -1;
    auto_free char *path = file_join(file->directory, "lock");
    file->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file->lock >= 0 && flock(file->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, "%s: %s", path,
                   errno == EWOULDBLOCK ? "another manager keeps its decisions there" : strerror(errno));
}

struct record_file *record_file_open(const char *directory, struct loop *loop, struct record *record,
                                     const struct policies *policies)
{
    struct record_file *file = NEW(struct record_file);
    auto_err err = NULL;
    file->directory = mem_strdup(directory);
    file->loop = loop;
    file->record = record;
    file->lock = file->fd = -1;
    file->writer = (struct past_writer){.need = add_class, .arg = file};
    if (take_folder(file, &err) < 0) {
        log_warn("script", "decisions are kept in memory only: %s", err_message(err));
        record_file_close(file);
        return NULL;
    }
    file->flush = loop_timer_new(loop, flush, file);
    read_all(file, policies);
    record->on_added = on_added;
    record->keeper = file;
    return file;
}

void record_file_close(struct record_file *file)
{
    if (!file)
        return;
    if (file->count)
        flush(file);
    if (file->record->keeper == file)
        file->record->on_added = NULL;
    loop_timer_free(file->flush);
    if (file->fd >= 0)
        close(file->fd);
    if (file->lock >= 0)
        close(file->lock);
    map_fini(&file->written);
    str_free(&file->buffer);
    free(file->directory);
    free(file);
}

uint64_t record_file_bytes(const struct record_file *file)
{
    uint64_t bytes = file ? file->buffer.len : 0;
    for (size_t i = 0; file && i < file->count; i++)
        bytes += file->segments[i].bytes;
    return bytes;
}
