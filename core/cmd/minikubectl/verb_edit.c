/*
 * edit: objects as YAML in an editor ($KUBE_EDITOR, $EDITOR, vi); what was changed becomes a merge patch with
 * the read revision as its precondition, so that nobody else's change is lost. What the server refuses comes
 * back into the editor with the reason on top.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/yaml.h"
#include "kubectl.h"

/* What has to be merged into `before` to get `after` (RFC 7386); NULL: nothing. */
static cJSON *difference(const cJSON *before, const cJSON *after)
{
    cJSON *patch = NULL;
    json_each (field, before) {
        if (json_get(after, field->string))
            continue;
        patch = patch ? patch : cJSON_CreateObject();
        json_set(patch, field->string, cJSON_CreateNull());
    }
    json_each (field, after) {
        const cJSON *old = json_get(before, field->string);
        if (json_equal(old, field))
            continue;
        cJSON *change =
            cJSON_IsObject(old) && cJSON_IsObject(field) ? difference(old, field) : json_copy(field);
        if (!change)
            continue;
        patch = patch ? patch : cJSON_CreateObject();
        json_set(patch, field->string, change);
    }
    return patch;
}

/* The user's own choice of a program, as with kubectl; vi when nothing is chosen. */
static int run_editor(const char *path, struct err **err)
{
    const char *words = getenv("KUBE_EDITOR");
    if (str_empty(words))
        words = getenv("EDITOR");
    auto_free char **argv = str_split(str_empty(words) ? "vi" : words, ' ', NULL);
    size_t count = 0;
    while (argv[count])
        count++;
    auto_free char **full = mem_array(count + 2, sizeof(char *));
    memcpy(full, argv, count * sizeof(char *));
    full[count] = (char *)path;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execvp(full[0], full);
        fprintf(stderr, "error: unable to launch the editor \"%s\": %s\n", full[0], strerror(errno));
        _exit(127);
    }
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (pid < 0)
        return err_errno(err, errno, "starting the editor");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, ERR_CANCELLED, "there was a problem with the editor \"%s\"", full[0]);
    return 0;
}

static char *text_of(const cJSON *object, const char *problem)
{
    auto_json shown = json_copy(object);
    json_remove(json_get(shown, "metadata"), "managedFields");
    json_sort_keys(shown);
    auto_free char *yaml = yaml_print(shown);
    struct str text = {0};
    str_add(&text,
            "# Please edit the object below. Lines beginning with a '#' will be ignored,\n"
            "# and an empty file will abort the edit. If an error occurs while saving this file will be\n"
            "# reopened with the relevant failures.\n#\n");
    auto_free char **lines = str_split(problem ? problem : "", '\n', NULL);
    for (size_t i = 0; problem && lines[i]; i++)
        str_addf(&text, "# %s\n", lines[i]);
    str_addf(&text, "%s%s", problem ? "#\n" : "", yaml);
    return str_take(&text);
}

static bool is_empty(const char *text)
{
    auto_free char **lines = str_split(text, '\n', NULL);
    for (size_t i = 0; lines[i]; i++)
        if (lines[i][0] != '#' && lines[i][strspn(lines[i], " \t\r")])
            return false;
    return true;
}

/* Writes the text, lets it be edited, reads it back. */
static char *edit_text(const char *path, const char *text, struct err **err)
{
    char *edited = NULL;
    size_t len;
    if (file_write_atomic(path, text, strlen(text), 0600, err) < 0 || run_editor(path, err) < 0 ||
        file_read(path, YAML_MAX_BYTES, &edited, &len, err) < 0)
        return NULL;
    return edited;
}

static cJSON *send(struct kubectl *k, const struct kubectl_reference *ref, const cJSON *object,
                   const cJSON *patch, struct err **err)
{
    auto_json whole = json_copy(patch);
    if (!json_get(json_get(whole, "metadata"), "resourceVersion"))
        json_set_string(json_ensure_object(whole, "metadata"), "resourceVersion",
                        json_string(object, "metadata.resourceVersion"));
    auto_free char *path = kubectl_target(k, ref->resource, ref->namespace, ref->name, NULL);
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "fieldManager", "kubectl-edit");
    http_query_add(&target, "fieldValidation", "Strict");
    return kubectl_request(k, "PATCH", str_c(&target), NULL, "application/merge-patch+json", whole, err);
}

static int edit_object(struct kubectl *k, const struct kubectl_reference *ref, const cJSON *object,
                       const char *path)
{
    auto_free char *shown = kubectl_display_name(k, object);
    auto_free char *text = text_of(object, NULL);
    for (;;) {
        auto_err err = NULL;
        auto_free char *edited = edit_text(path, text, &err);
        if (!edited)
            return kubectl_refuse(err);
        if (is_empty(edited) || str_eq(edited, text)) {
            fprintf(stderr, "Edit cancelled, no %schanges made.\n", strstr(text, "# error:") ? "valid " : "");
            return strstr(text, "# error:") != NULL;
        }
        auto_json after = yaml_parse(edited, strlen(edited), &err);
        auto_json patch = NULL;
        auto_json done = NULL;
        if (after) {
            auto_json before = json_copy(object);
            json_remove(json_get(before, "metadata"), "managedFields");
            patch = difference(before, after);
            if (!patch) {
                fprintf(stderr, "Edit cancelled, no changes made.\n");
                return 0;
            }
            done = send(k, ref, object, patch, &err);
        }
        if (done) {
            printf("%s edited\n", shown);
            return 0;
        }
        auto_free char *problem = mem_printf("error: %s", err_message(err));
        fprintf(stderr, "%s\n", problem);
        free(text);
        text = text_of(after ? after : object, problem);
    }
}

int verb_edit(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    int code = 0;
    if (kubectl_references(k, 0, &refs, &count, &err) < 0)
        return kubectl_refuse(err);
    if (!refs[0].name && !k->flags.selector)
        return kubectl_refuse_text("resource(s) were provided, but no name was specified");
    auto_json objects = kubectl_read_all(k, refs, count, &code, &err);
    if (!objects)
        return kubectl_fail(err, NULL);
    const char *folder = getenv("TMPDIR");
    auto_free char *path =
        mem_printf("%s/minikubectl-edit-%d.yaml", str_empty(folder) ? "/tmp" : folder, (int)getpid());
    json_each (object, objects) {
        const struct kubectl_reference ref = kubectl_reference_of(k, object);
        code |= edit_object(k, &ref, object, path);
    }
    unlink(path);
    return code;
}
