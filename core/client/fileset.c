#include "client/fileset.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

#define MAX_DEPTH 32

static void digest_of(const void *data, size_t len, char digest[FILESET_DIGEST])
{
    unsigned char hash[32];
    must(gnutls_hash_fast(GNUTLS_DIG_SHA256, data, len, hash) == 0);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(digest + 2 * i, 3, "%02x", hash[i]);
}

/* ---- sending ---- */

struct sending {
    const struct fileset_place *place;
    struct fileset_sum *sum;
    int64_t max_bytes;
    cJSON *files;
};

static int send_piece(const struct sending *s, const void *data, size_t len, char digest[FILESET_DIGEST],
                      struct err **err)
{
    digest_of(data, len, digest);
    return s->place->put ? s->place->put(s->place->arg, digest, data, len, err) : 0;
}

static ssize_t read_piece(int fd, char *buffer)
{
    size_t have = 0;
    while (have < FILESET_PIECE) {
        ssize_t n = read(fd, buffer + have, FILESET_PIECE - have);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

static int send_file(struct sending *s, int fd, const char *name, mode_t mode, struct err **err)
{
    auto_free char *buffer = mem_alloc(FILESET_PIECE);
    cJSON *file = json_push(s->files, cJSON_CreateObject());
    int64_t size = 0;
    json_set_string(file, "path", name);
    json_set_int(file, "mode", mode & 0777);
    cJSON *pieces = json_ensure_array(file, "pieces");
    for (;;) {
        char digest[FILESET_DIGEST];
        ssize_t n = read_piece(fd, buffer);
        if (n < 0)
            return err_errno(err, errno, "reading %s", name);
        if (n == 0)
            break;
        size += n;
        s->sum->bytes += n;
        if (s->sum->bytes > s->max_bytes)
            return err_set(err, ERR_TOO_LARGE, "the files have more than %lld bytes",
                           (long long)s->max_bytes);
        if (send_piece(s, buffer, (size_t)n, digest, err) < 0)
            return err_wrap(err, "sending %s", name);
        json_push_string(pieces, digest);
    }
    json_set_int(file, "size", size);
    s->sum->files++;
    return 0;
}

static int send_folder(struct sending *s, const char *folder, const char *below, int depth, struct err **err);

static int send_entry(struct sending *s, const char *path, const char *name, int depth, struct err **err)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        return err_errno(err, errno, "looking at %s", name);
    if (S_ISDIR(status.st_mode))
        return depth < MAX_DEPTH ? send_folder(s, path, name, depth + 1, err)
                                 : err_set(err, ERR_INVALID, "%s: folders are too deep", name);
    if (!S_ISREG(status.st_mode))
        return 0;
    auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, errno, "opening %s", name);
    return send_file(s, fd, name, status.st_mode, err);
}

static int send_folder(struct sending *s, const char *folder, const char *below, int depth, struct err **err)
{
    auto_free char **names = file_list(folder, NULL, err);
    if (!names)
        return -1;
    for (char **name = names; *name; name++) {
        auto_free char *path = file_join(folder, *name);
        auto_free char *full = *below ? mem_printf("%s/%s", below, *name) : mem_strdup(*name);
        if (send_entry(s, path, full, depth, err) < 0)
            return -1;
    }
    return 0;
}

int fileset_send(const char *folder, int64_t max_bytes, const struct fileset_place *place,
                 struct fileset_sum *sum, struct err **err)
{
    auto_json list = cJSON_CreateObject();
    *sum = (struct fileset_sum){0};
    struct sending sending = {
        .place = place, .sum = sum, .max_bytes = max_bytes, .files = json_ensure_array(list, "files")};
    if (send_folder(&sending, folder, "", 0, err) < 0)
        return -1;
    auto_free char *text = json_print(list);
    if (strlen(text) > FILESET_PIECE)
        return err_set(err, ERR_TOO_LARGE, "%zu files are too many", sum->files);
    return send_piece(&sending, text, strlen(text), sum->digest, err);
}

/* ---- receiving ---- */

static int get_piece(const struct fileset_place *place, const char *digest, char **data, size_t *len,
                     struct err **err)
{
    char real[FILESET_DIGEST];
    if (!digest || strlen(digest) != FILESET_DIGEST - 1)
        return err_set(err, ERR_INVALID, "the list of files is malformed");
    if (place->get(place->arg, digest, data, len, err) < 0)
        return -1;
    digest_of(*data, *len, real);
    return strcmp(real, digest) == 0 ? 0 : err_set(err, ERR_INVALID, "the blob %s has other bytes", digest);
}

static bool leads_out(const char *name)
{
    return !*name || *name == '/' || str_eq(name, "..") || str_starts(name, "../") || strstr(name, "/../") ||
           str_ends(name, "/..") || str_ends(name, "/");
}

static int receive_file(const cJSON *file, const struct fileset_place *place, const char *folder,
                        struct fileset_sum *sum, struct err **err)
{
    const char *name = json_string_or(file, "path", "");
    if (leads_out(name))
        return err_set(err, ERR_INVALID, "\"%s\" is no name of a file below the folder", name);
    auto_free char *path = file_join(folder, name);
    auto_free char *parent = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    if (file_make_dirs(parent, 0755, err) < 0)
        return -1;
    unlink(path); /* it may be a link that leads elsewhere */
    auto_fd fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                      (mode_t)json_int(file, "mode", 0644) & 0777);
    if (fd < 0)
        return err_errno(err, errno, "writing %s", name);
    json_each (piece, json_get(file, "pieces")) {
        auto_free char *data = NULL;
        size_t len = 0;
        if (get_piece(place, cJSON_GetStringValue(piece), &data, &len, err) < 0)
            return -1;
        for (size_t done = 0; done < len;) {
            ssize_t n = write(fd, data + done, len - done);
            if (n < 0)
                return err_errno(err, errno, "writing %s", name);
            done += (size_t)n;
        }
        sum->bytes += (int64_t)len;
    }
    sum->files++;
    return 0;
}

int fileset_receive(const char *digest, const struct fileset_place *place, const char *folder,
                    struct fileset_sum *sum, struct err **err)
{
    auto_free char *text = NULL;
    size_t len = 0;
    *sum = (struct fileset_sum){0};
    if (get_piece(place, digest, &text, &len, err) < 0)
        return -1;
    auto_json list = json_parse(text, len, err);
    if (!list)
        return -1;
    snprintf(sum->digest, sizeof sum->digest, "%s", digest);
    json_each (file, json_get(list, "files"))
        if (receive_file(file, place, folder, sum, err) < 0)
            return -1;
    return 0;
}
