/*
 * script_policy_files: folders into which an operator puts policies (NAME.lua, also one level down). Files
 * that appear, change or go while the manager runs take effect through inotify; on a virtual loop they are
 * read once.
 *
 * Does not: read default.lua (which policies decide is the PolicyProfile's), or tests. Invariants: a file
 * that is refused changes nothing, the version before stays; a Policy object wins over a file of the same
 * name; a folder that is missing is waited for.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "script/script_manager_private.h"
#include "script/script_node.h"

#define SETTLE_MS 50                 /* editors write in several steps */
#define FILES_FOR_NODES (512u << 10) /* bytes of sources that travel to the nodes in one object */
#define CHANGES                                                                                              \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF)

struct policy_file {
    char *path;
    char hash[17]; /* of the text that was staged last; "" to stage it again */
    char *refused; /* why, or NULL */
    bool told, seen, accepted;
};

struct policy_files {
    struct script_manager *manager;
    const char *const *directories;
    struct map files; /* by name of the policy */
    int fd;
    struct loop_fd *handle;
    struct loop_timer *timer;
};

static void file_free(void *value)
{
    struct policy_file *file = value;
    free(file->path);
    free(file->refused);
    free(file);
}

/* ---- staging ---- */

static void tell(struct script_manager *manager, struct policy_file *file)
{
    if (file->told || !file->refused || !manager_active(manager))
        return;
    file->told = true;
    manager_policies_event(manager, "Warning", "PolicyFileRefused", file->refused);
}

static void stage(struct policy_files *files, const char *name, struct policy_file *file, const char *source,
                  size_t len)
{
    struct script_manager *manager = files->manager;
    auto_err err = NULL;
    free(steal(&file->refused));
    file->told = false;
    manager_policies_wake(manager);
    if (policies_apply(&manager->policies, name, source, len, false, NULL, &err) == 0) {
        file->accepted = true;
        policies_find(&manager->policies, name)->versions[0]->from_file = true;
        log_info("script", "policy %s taken from %s", name, file->path);
        return;
    }
    file->refused = mem_printf("%s: %s; what was in force before stays", file->path, err_message(err));
    log_warn("script", "policy file refused: %s", file->refused);
    tell(manager, file);
}

static void look_at(struct policy_files *files, const char *directory, const char *base)
{
    auto_free char *path = file_join(directory, base), *name = mem_strndup(base, strlen(base) - 4);
    auto_free char *source = NULL;
    auto_err err = NULL;
    size_t len;
    struct policy_file *file = map_get(&files->files, name);
    if (file && file->seen) {
        log_warn("script", "%s is left out: %s has the same name", path, file->path);
        return;
    }
    if (file_read(path, SCRIPT_MAX_SOURCE, &source, &len, &err) < 0) {
        log_warn("script", "policy file %s: %s", path, err_message(err));
        if (file && err_code(err) != ERR_NOT_FOUND)
            file->seen = true;
        return;
    }
    if (!file) {
        file = NEW(struct policy_file);
        map_set(&files->files, name, file);
    }
    file->seen = true;
    if (!file->path || !str_eq(file->path, path)) {
        free(file->path);
        file->path = mem_strdup(path);
    }
    char hash[17];
    snprintf(hash, sizeof(hash), "%016llx", str_hash(source, len));
    if (str_eq(hash, file->hash) || manager_policies_object(files->manager, name))
        return;
    memcpy(file->hash, hash, sizeof(hash));
    stage(files, name, file, source, len);
}

/* ---- folders ---- */

/* True when the directory itself is watched; a missing one is waited for in the nearest folder that exists.
 */
static bool watch(struct policy_files *files, const char *directory)
{
    if (files->fd < 0)
        return file_exists(directory);
    if (inotify_add_watch(files->fd, directory, CHANGES | IN_ONLYDIR) >= 0)
        return true;
    auto_free char *parent = mem_strdup(directory);
    char *slash;
    while ((slash = strrchr(parent, '/')) && slash > parent) {
        *slash = 0;
        if (inotify_add_watch(files->fd, parent, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) >= 0)
            break;
    }
    return false;
}

static void scan_directory(struct policy_files *files, const char *directory, bool nested)
{
    size_t count = 0;
    if (!watch(files, directory))
        return;
    auto_free char **names = file_list(directory, &count, NULL);
    for (size_t i = 0; names && i < count; i++) {
        const char *name = names[i];
        if (*name == '.' || str_eq(name, "default.lua") || str_ends(name, "_test.lua"))
            continue;
        auto_free char *path = file_join(directory, name);
        if (strlen(name) > 4 && str_ends(name, ".lua"))
            look_at(files, directory, name);
        else if (!nested && !strchr(name, '.'))
            scan_directory(files, path, true);
    }
}

static void scan(void *arg)
{
    struct policy_files *files = arg;
    struct script_manager *manager = files->manager;
    map_each (entry, &files->files)
        ((struct policy_file *)entry->value)->seen = false;
    for (size_t i = 0; files->directories[i]; i++)
        scan_directory(files, files->directories[i], false);
    map_each (entry, &files->files) {
        const struct policy_file *file = entry->value;
        if (file->seen)
            continue;
        log_info("script", "policy file %s is gone", file->path);
        if (file->accepted && !manager_policies_object(manager, entry->key)) {
            policies_remove(&manager->policies, entry->key);
            manager_policies_wake(manager);
        }
        map_remove(&files->files, entry->key);
    }
}

static void on_readable(void *arg, unsigned events UNUSED)
{
    struct policy_files *files = arg;
    char buffer[4096] __attribute__((aligned(8)));
    while (read(files->fd, buffer, sizeof(buffer)) > 0) {
    }
    if (!loop_timer_running(files->timer))
        loop_timer_start(files->timer, SETTLE_MS);
}

/* ---- life ---- */

void manager_files_open(struct script_manager *manager, const char *const *directories)
{
    struct policy_files *files = NEW(struct policy_files);
    manager->files = files;
    files->manager = manager;
    files->directories = directories;
    map_init(&files->files, file_free);
    files->timer = loop_timer_new(manager->options.loop, scan, files);
    files->fd = manager->options.simulated ? -1 : inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    auto_err err = NULL;
    if (files->fd >= 0) {
        files->handle = loop_fd_add(manager->options.loop, files->fd, EPOLLIN, on_readable, files, &err);
        if (!files->handle)
            log_warn("script", "folders of policies are read once only: %s", err_message(err));
    } else if (!manager->options.simulated) {
        log_warn("script", "folders of policies are read once only: %s", strerror(errno));
    }
    scan(files);
}

void manager_files_close(struct script_manager *manager)
{
    struct policy_files *files = steal(&manager->files);
    if (!files)
        return;
    loop_fd_remove(files->handle);
    loop_timer_free(files->timer);
    if (files->fd >= 0)
        close(files->fd);
    map_fini(&files->files);
    free(files);
}

void manager_files_restore(struct script_manager *manager, const char *name)
{
    struct policy_file *file = manager->files ? map_get(&manager->files->files, name) : NULL;
    if (!file)
        return;
    file->hash[0] = 0;
    scan(manager->files);
}

bool manager_files_for_nodes(const struct script_manager *manager, cJSON *status)
{
    cJSON *list = json_set(status, "files", cJSON_CreateArray());
    auto_free const char **names = map_sorted_keys(&manager->policies.names);
    size_t bytes = 0;
    bool all = true;
    for (size_t i = 0; names[i]; i++) {
        const struct policy_version *version = policies_current(policies_find(&manager->policies, names[i]));
        if (!version || !version->from_file || !script_node_asks(version->point))
            continue;
        bytes += version->len;
        all = all && bytes <= FILES_FOR_NODES;
        if (bytes > FILES_FOR_NODES)
            continue;
        cJSON *entry = json_push(list, cJSON_CreateObject());
        json_set_string(entry, "name", version->name);
        json_set_string(entry, "point", version->point);
        json_set_string(entry, "hash", version->hash);
        json_set_string(entry, "source", version->source);
    }
    return all;
}

void manager_files_tell(struct script_manager *manager)
{
    if (!manager->files)
        return;
    map_each (entry, &manager->files->files)
        tell(manager, entry->value);
}
