/* cp: files and folders into and out of containers, as tar streams of exec (the container needs tar). */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "kubectl.h"
#include "tar.h"

struct place {
    char *pod; /* NULL: here */
    char *path;
};

/* [[NAMESPACE/]POD:]PATH; a path with "/" or "." in front of its first colon is a local one. */
static int parse_place(struct kubectl *k, const char *word, struct place *place, struct err **err)
{
    const char *colon = strchr(word, ':');
    if (!colon || *word == '/' || *word == '.') {
        place->path = mem_strdup(word);
        return 0;
    }
    auto_free char *front = mem_strndup(word, (size_t)(colon - word));
    char *slash = strchr(front, '/');
    if (slash && strchr(slash + 1, '/'))
        return err_set(err, ERR_BAD_REQUEST,
                       "Filespec must match the canonical format: "
                       "[[namespace/]pod:]file/path");
    if (slash) {
        *slash = 0;
        free(k->namespace);
        k->namespace = mem_strdup(front);
    }
    if (!colon[1])
        return err_set(err, ERR_BAD_REQUEST, "filepath can not be empty");
    place->pod = mem_strdup(slash ? slash + 1 : front);
    place->path = mem_strdup(colon + 1);
    return 0;
}

/* The last part of a path, and what is before it ("." if nothing is). */
static void split_path(const char *path, char **folder, char **base)
{
    auto_free char *copy = mem_strdup(path);
    size_t len = strlen(copy);
    while (len > 1 && copy[len - 1] == '/')
        copy[--len] = 0;
    char *slash = strrchr(copy, '/');
    *base = mem_strdup(slash && slash[1] ? slash + 1 : slash ? "" : copy);
    *folder = slash == copy ? mem_strdup("/")
              : slash       ? mem_strndup(copy, (size_t)(slash - copy))
                            : mem_strdup(".");
}

static int run(struct kubectl *k, const cJSON *pod, const char *container, char *const *command, int count,
               struct kubectl_remote *remote)
{
    k->flags.stdin_open = remote->source != NULL;
    auto_free char *target = kubectl_remote_target(k, pod, "exec", container, command, count);
    remote->target = target;
    remote->input = remote->source != NULL;
    return kubectl_remote(k, remote);
}

static ssize_t read_archive(void *arg, char *data, size_t len)
{
    return tar_writer_read(arg, data, len);
}

static void feed_archive(void *arg, const char *data, size_t len)
{
    tar_reader_feed(arg, data, len);
}

static int upload(struct kubectl *k, const cJSON *pod, const char *container, const char *from,
                  const char *to)
{
    auto_err err = NULL;
    auto_free char *folder = NULL, *base = NULL, *from_folder = NULL, *from_base = NULL;
    split_path(from, &from_folder, &from_base);
    char *test[] = {"test", "-d", (char *)to};
    struct kubectl_remote probe = {.quiet = true};
    if (run(k, pod, container, test, 3, &probe) == 0) {
        folder = mem_strdup(to);
        base = mem_strdup(from_base);
    } else {
        split_path(to, &folder, &base);
    }
    struct tar_writer *writer = tar_writer_new(from, base, &err);
    if (!writer)
        return kubectl_refuse(err);
    char *unpack[] = {"tar", "-xmf", "-", "-C", folder, "--no-same-permissions", "--no-same-owner"};
    struct kubectl_remote remote = {.source = read_archive, .arg = writer};
    int code = run(k, pod, container, unpack, k->flags.no_preserve ? 7 : 5, &remote);
    if (tar_writer_error(writer))
        code = kubectl_refuse(tar_writer_error(writer));
    tar_writer_free(writer);
    return code;
}

static int download(struct kubectl *k, const cJSON *pod, const char *container, const char *from,
                    const char *to)
{
    auto_err err = NULL;
    struct stat st;
    auto_free char *folder = NULL, *base = NULL;
    split_path(from, &folder, &base);
    bool into = stat(to, &st) == 0 && S_ISDIR(st.st_mode) && *base && !str_eq(base, ".");
    auto_free char *destination = into ? file_join(to, base) : mem_strdup(to);
    struct tar_reader *reader = tar_reader_new(from, destination);
    char *pack[] = {"tar", "cf", "-", (char *)from};
    struct kubectl_remote remote = {.sink = feed_archive, .arg = reader};
    int code = run(k, pod, container, pack, 4, &remote);
    if (code == 0 && tar_reader_finish(reader, &err) < 0)
        code = kubectl_refuse(err);
    tar_reader_free(reader);
    return code;
}

static int copy(struct kubectl *k, const struct place *from, const struct place *to)
{
    struct stat st;
    if (!from->pod && !to->pod)
        return kubectl_refuse_text("one of src or dest must be a remote file specification: POD:PATH");
    if (from->pod && to->pod)
        return kubectl_refuse_text("src and dest cannot both be remote");
    if (!from->pod && lstat(from->path, &st) < 0)
        return kubectl_refuse_text("%s doesn't exist in local filesystem", from->path);
    auto_json pod = NULL;
    if (kubectl_find_pod(k, from->pod ? from->pod : to->pod, &pod) != 0)
        return 1;
    auto_free char *container = kubectl_choose_container(k, pod);
    return from->pod ? download(k, pod, container, from->path, to->path)
                     : upload(k, pod, container, from->path, to->path);
}

int verb_cp(struct kubectl *k)
{
    auto_err err = NULL;
    struct place from = {0}, to = {0};
    if (k->n_args != 2)
        return kubectl_refuse_text(
            "source and destination are required: cp SOURCE [NAMESPACE/]POD:PATH, or the "
            "other way round");
    int code = parse_place(k, k->args[0], &from, &err) < 0 || parse_place(k, k->args[1], &to, &err) < 0
                   ? kubectl_refuse(err)
                   : copy(k, &from, &to);
    free(from.pod);
    free(from.path);
    free(to.pod);
    free(to.path);
    return code;
}
