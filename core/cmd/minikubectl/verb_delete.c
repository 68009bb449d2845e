/* delete: by name, selector, --all or -f; waits until the objects are gone unless --wait=false. */
#include <stdio.h>

#include "kubectl.h"

#define PATIENCE_S 600 /* a wait without --timeout ends too: nothing here may hang for ever */

static cJSON *delete_options(struct kubectl *k)
{
    cJSON *options = cJSON_CreateObject();
    json_set_string(options, "apiVersion", "v1");
    json_set_string(options, "kind", "DeleteOptions");
    const char *cascade = k->flags.cascade;
    json_set_string(options, "propagationPolicy",
                    str_eq(cascade, "foreground") ? "Foreground"
                    : str_eq(cascade, "orphan")   ? "Orphan"
                                                  : "Background");
    long long grace = k->flags.now ? 1 : k->flags.grace >= 0 ? k->flags.grace : k->flags.force ? 0 : -1;
    if (grace >= 0)
        json_set_int(options, "gracePeriodSeconds", grace);
    if (str_eq(k->flags.dry_run, "server"))
        json_push_string(json_ensure_array(options, "dryRun"), "All");
    return options;
}

struct gone {
    const char *uid;
    bool seen;
};

static bool on_event(void *arg, const char *line, size_t len)
{
    struct gone *gone = arg;
    auto_json event = json_parse_trusted(line, len);
    const char *uid = json_string(event, "object.metadata.uid");
    if (!str_eq(json_string(event, "type"), "DELETED") || (gone->uid && !str_eq(uid, gone->uid)))
        return true;
    gone->seen = true;
    return false;
}

/* A list at a revision, then a watch from it: nothing can slip through between the two. A watch that the
 * server ends is begun again. */
int kubectl_wait_gone(struct kubectl *k, const struct kubectl_reference *ref, const char *uid,
                      struct err **err)
{
    auto_free char *path = kubectl_target(k, ref->resource, ref->namespace, NULL, NULL);
    auto_free char *selector = mem_printf("metadata.name=%s", ref->name);
    int64_t wait_ms = (k->flags.timeout_s > 0 ? k->flags.timeout_s : PATIENCE_S) * 1000;
    int64_t deadline = clock_monotonic_ms(&clock_system) + wait_ms;
    for (;;) {
        auto_str target = {0};
        str_add(&target, path);
        http_query_add(&target, "fieldSelector", selector);
        auto_json list = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, err);
        if (!list)
            return -1;
        const cJSON *items = json_get(list, "items");
        if (!items || !items->child || (uid && !str_eq(json_string(items->child, "metadata.uid"), uid)))
            return 0;
        http_query_add(&target, "watch", "true");
        http_query_add(&target, "resourceVersion", json_string_or(list, "metadata.resourceVersion", "0"));
        struct gone gone = {.uid = uid};
        int64_t left = deadline - clock_monotonic_ms(&clock_system);
        auto_err failed = NULL;
        if (left > 0 && kubectl_stream_lines(k, str_c(&target), NULL, left, on_event, &gone, &failed) < 0 &&
            err_code(failed) != ERR_TIMEOUT)
            return err_move(err, &failed);
        if (gone.seen)
            return 0;
        if (clock_monotonic_ms(&clock_system) >= deadline)
            return err_set(err, ERR_TIMEOUT, "timed out waiting for the condition on %s/%s: it is not gone",
                           ref->resource->plural, ref->name);
    }
}

static void tell(struct kubectl *k, const struct kubectl_reference *ref)
{
    auto_free char *singular = kubectl_singular(ref->resource);
    if (str_eq(k->flags.output, "name")) {
        printf("%s/%s\n", singular, ref->name);
    } else {
        printf("%s \"%s\" %sdeleted", singular, ref->name, k->flags.force ? "force " : "");
        if (ref->resource->namespaced)
            printf(" from %s namespace", ref->namespace ? ref->namespace : k->namespace);
        printf("%s\n", !k->flags.dry_run                    ? ""
                       : str_eq(k->flags.dry_run, "server") ? " (server dry run)"
                                                            : " (dry run)");
    }
    fflush(stdout);
}

/* Objects that were told to go: all are told first, then waited for, so that their grace periods overlap. */
struct going {
    struct kubectl_reference ref;
    char *uid;
};
struct goings {
    struct going *list;
    size_t count;
};

static int wait_all(struct kubectl *k, struct goings *goings)
{
    int code = 0;
    for (size_t i = 0; i < goings->count; i++) {
        auto_err err = NULL;
        if (kubectl_wait_gone(k, &goings->list[i].ref, goings->list[i].uid, &err) < 0)
            code = kubectl_refuse(err);
        free(goings->list[i].uid);
    }
    free(goings->list);
    return code;
}

static int delete_one(struct kubectl *k, struct goings *goings, const struct kubectl_reference *ref,
                      const char *source)
{
    auto_err err = NULL;
    bool dry_client = str_eq(k->flags.dry_run, "client");
    auto_free char *target = kubectl_target(k, ref->resource, ref->namespace, ref->name, NULL);
    auto_json options = dry_client ? NULL : delete_options(k);
    auto_json answer = kubectl_request(k, dry_client ? "GET" : "DELETE", target, NULL, NULL, options, &err);
    auto_free char *what = source ? mem_printf("error when deleting \"%s\"", source) : NULL;
    if (!answer)
        return err_code(err) == ERR_NOT_FOUND && k->flags.ignore_not_found
                   ? 0
                   : kubectl_fail_named(k, err, what, ref);
    tell(k, ref);
    const char *uid = json_string(answer, "metadata.uid");
    if (!uid)
        uid = json_string(answer, "details.uid");
    if (k->flags.wait && !k->flags.dry_run) {
        goings->list = mem_resize(goings->list, goings->count + 1, sizeof(goings->list[0]));
        goings->list[goings->count++] = (struct going){*ref, mem_strdup(uid)};
    }
    return 0;
}

static int delete_selected(struct kubectl *k, const struct kubectl_reference *refs, size_t count)
{
    auto_err err = NULL;
    int code = 0;
    struct goings goings = {0};
    auto_json items = kubectl_read_all(k, refs, count, &code, &err);
    if (!items)
        return kubectl_fail(err, NULL);
    if (!items->child)
        printf("No resources found\n");
    k->flags.ignore_not_found = true; /* who went meanwhile is gone, as wanted */
    json_each (item, items) {
        struct kubectl_reference ref = kubectl_reference_of(k, item);
        code |= delete_one(k, &goings, &ref, NULL);
    }
    return code | wait_all(k, &goings);
}

static int delete_manifests(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json manifests = kubectl_load_manifests(k, &err);
    if (!manifests)
        return kubectl_refuse(err);
    int code = 0;
    struct goings goings = {0};
    size_t i = 0;
    json_each (object, manifests) {
        auto_err unknown = NULL;
        const char *source = k->sources[i++];
        struct kubectl_reference ref = kubectl_reference_of(k, object);
        if (!kubectl_find_kind(k, json_string(object, "apiVersion"), json_string(object, "kind"), &unknown))
            code |= kubectl_refuse(unknown);
        else if (!ref.name)
            code |= kubectl_refuse_text("%s: an object without metadata.name cannot be deleted", source);
        else
            code |= delete_one(k, &goings, &ref, source);
    }
    return code | wait_all(k, &goings);
}

static int check(struct kubectl *k)
{
    const char *cascade = k->flags.cascade;
    if (cascade && !str_eq(cascade, "background") && !str_eq(cascade, "foreground") &&
        !str_eq(cascade, "orphan"))
        return kubectl_refuse_text(
            "invalid cascade value (%s). Must be \"background\", \"foreground\", or \"orphan\"", cascade);
    if (k->flags.force && k->flags.grace > 0)
        return kubectl_refuse_text("--force and --grace-period greater than 0 cannot be specified together");
    if (k->flags.now && k->flags.grace >= 0)
        return kubectl_refuse_text("--now and --grace-period cannot be specified together");
    return 0;
}

int verb_delete(struct kubectl *k)
{
    if (check(k))
        return 1;
    if (k->flags.force && !k->flags.dry_run)
        fprintf(stderr,
                "Warning: Immediate deletion does not wait for confirmation that the running resource has "
                "been terminated. The resource may continue to run on the cluster indefinitely.\n");
    if (k->flags.n_files)
        return delete_manifests(k);
    auto_err err = NULL;
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    bool selected = k->flags.all || k->flags.selector || k->flags.field_selector;
    if (kubectl_references(k, 0, &refs, &count, &err) < 0)
        return kubectl_refuse(err);
    if (refs[0].name && selected)
        return kubectl_refuse_text("name cannot be provided when a selector is specified");
    if (!refs[0].name && !selected)
        return kubectl_refuse_text("resource(s) were provided, but no name was specified");
    if (selected)
        return delete_selected(k, refs, count);
    int code = 0;
    struct goings goings = {0};
    for (size_t i = 0; i < count; i++)
        code |= delete_one(k, &goings, &refs[i], NULL);
    return code | wait_all(k, &goings);
}
