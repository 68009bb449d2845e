/*
 * ingress_socket: HAProxy's runtime interface on its local socket: one connection per command, the answer
 * ends with the connection. Blocking, for the pool; a process that does not answer is given up after
 * TIMEOUT_S.
 */
#include "ingress.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define TIMEOUT_S 2
#define PIECE 12000 /* a command must fit into HAProxy's buffer of 16 KiB */
#define ANSWER_MAX (1u << 20)

static int socket_open(const char *path, struct err **err)
{
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return err_set(err, ERR_INVALID, "%s: too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) < 0)
        return err_errno(err, errno, "connecting to %s", path);
    int opened = fd;
    fd = -1;
    return opened;
}

static int send_all(int fd, const char *data, size_t len, struct err **err)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(err, errno, "sending to the proxy");
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int socket_command(const char *path, const char *command, size_t len, struct str *answer, struct err **err)
{
    auto_fd fd = socket_open(path, err);
    char piece[4096];
    if (fd < 0 || send_all(fd, command, len, err) < 0)
        return -1;
    for (;;) {
        ssize_t n = recv(fd, piece, sizeof(piece), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "the proxy's answer");
        if (n == 0)
            return 0;
        str_add_n(answer, piece, (size_t)n);
        if (answer->len > ANSWER_MAX)
            return err_set(err, ERR_TOO_LARGE, "the proxy's answer is too long");
    }
}

/* Commands whose answer is a blank line each when they worked. No line at all: a worker that is about to end
 * took the connection and closed it. */
static int silent(const char *path, const struct str *command, size_t count, struct err **err)
{
    auto_str answer = {0};
    if (socket_command(path, command->data, command->len, &answer, err) < 0)
        return -1;
    bool blank = strspn(str_c(&answer), "\n") == answer.len;
    if (blank && answer.len >= count)
        return 0;
    if (blank)
        return err_set(err, ERR_UNAVAILABLE, "the proxy has answered %zu of %zu commands", answer.len, count);
    return err_set(err, ERR_INTERNAL, "the proxy says: %.200s", str_c(&answer));
}

static int begin_version(const char *path, const char *map, unsigned *version, struct err **err)
{
    auto_str answer = {0};
    auto_free char *command = mem_printf("prepare map %s\n", map);
    if (socket_command(path, command, strlen(command), &answer, err) < 0)
        return -1;
    if (sscanf(str_c(&answer), "New version created: %u", version) == 1)
        return 0;
    return err_set(err, ERR_INTERNAL, "the proxy says: %.200s", str_c(&answer));
}

/* Whole lines of up to PIECE bytes. */
static size_t piece_of(const char *text, size_t left)
{
    if (left <= PIECE)
        return left;
    size_t len = PIECE;
    while (len && text[len - 1] != '\n')
        len--;
    return len;
}

int socket_set_map(const char *socket_path, const char *map_path, const struct str *entries, struct err **err)
{
    unsigned version;
    if (begin_version(socket_path, map_path, &version, err) < 0)
        return -1;
    for (size_t at = 0; at < entries->len;) {
        size_t len = piece_of(entries->data + at, entries->len - at);
        auto_str command = {0};
        str_addf(&command, "add map @%u %s <<\n", version, map_path);
        str_add_n(&command, entries->data + at, len);
        str_add(&command, "\n");
        if (silent(socket_path, &command, 1, err) < 0)
            return -1;
        at += len;
    }
    auto_str commit = {0};
    str_addf(&commit, "commit map @%u %s\n", version, map_path);
    return silent(socket_path, &commit, 1, err);
}

/* ---- only what differs ---- */

static void read_entries(const struct str *text, struct map *entries)
{
    auto_free char *copy = mem_strdup(str_c(text));
    char *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *blank = strchr(line, ' ');
        if (!blank)
            continue;
        *blank = 0;
        map_set(entries, line, mem_strdup(blank + 1));
    }
}

/* The interface has its own meaning for some characters. */
static bool is_plain(const char *text)
{
    return text[strspn(text,
                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_*~%+=@:,-|")] == 0;
}

static void add_change(struct str *command, size_t *count, bool *plain, const char *verb, const char *map,
                       const char *key, const char *value)
{
    str_addf(command, "%s%s map %s %s%s%s", command->len ? ";" : "", verb, map, key, value ? " " : "",
             value ? value : "");
    ++*count;
    *plain = *plain && is_plain(key) && (!value || is_plain(value));
}

/* What is new comes before what goes. */
static size_t changes_of(const char *map, const struct str *before, const struct str *now,
                         struct str *command, bool *plain)
{
    auto_map old = {.free_value = free}, fresh = {.free_value = free};
    size_t count = 0;
    read_entries(before, &old);
    read_entries(now, &fresh);
    map_each (entry, &fresh) {
        const char *value = map_get(&old, entry->key);
        if (!str_eq(value, entry->value))
            add_change(command, &count, plain, value ? "set" : "add", map, entry->key, entry->value);
    }
    map_each (entry, &old)
        if (!map_has(&fresh, entry->key))
            add_change(command, &count, plain, "del", map, entry->key, NULL);
    return count;
}

int socket_change_map(const char *socket_path, const char *map_path, const struct str *before,
                      const struct str *now, struct err **err)
{
    bool plain = true;
    auto_str command = {0};
    size_t count = changes_of(map_path, before, now, &command, &plain);
    if (!count)
        return 0;
    if (!plain || command.len > PIECE)
        return socket_set_map(socket_path, map_path, now, err);
    str_add(&command, "\n");
    return silent(socket_path, &command, count, err);
}

int socket_worker(const char *socket_path, struct err **err)
{
    auto_str answer = {0};
    static const char command[] = "show info\n";
    if (socket_command(socket_path, command, strlen(command), &answer, err) < 0)
        return -1;
    const char *at = strstr(str_c(&answer), "\nPid: ");
    int pid = at ? atoi(at + 6) : 0;
    return pid > 0 ? pid : err_set(err, ERR_INTERNAL, "the proxy does not tell its process");
}
