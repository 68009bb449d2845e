/*
 * script_policies: versions and profiles. Asking is in script_ask.c, the checks of a source in
 * script_stage.c.
 *
 * Invariants: a policy_version lives until its policy is gone or it falls out of the last three; `active` and
 * `shipped` lists are rebuilt after every change and hold no version that is bad; epoch moves with them.
 */
#include <string.h>

#include "script/script_policies.h"
#include "script/script_stage.h"
#include "script/script_trial.h"

static void list_fini(struct policy_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        cJSON_Delete(list->items[i].settings);
    free(list->items);
    record_list_unref(list->who);
    *list = (struct policy_list){0};
}

static void space_free(void *value)
{
    struct policy_space *space = value;
    list_fini(&space->active);
    cJSON_Delete(space->chosen);
    free(space);
}

static void point_free(void *value)
{
    struct policy_point *point = value;
    list_fini(&point->active);
    list_fini(&point->shipped);
    cJSON_Delete(point->chosen);
    cJSON_Delete(point->standard);
    map_fini(&point->spaces);
    free(point->fallback);
    free(point->about);
    free(point->name);
    free(point);
}

static void policy_free(void *value)
{
    struct policy *policy = value;
    stage_version_free(policy->shipped);
    for (int i = 0; i < POLICIES_KEPT; i++)
        stage_version_free(policy->versions[i]);
    cJSON_Delete(policy->settings);
    free(policy->name);
    free(policy);
}

static void state_free(void *value)
{
    cJSON_Delete(value);
}

void policies_init(struct policies *policies, bool simulated, uint64_t seed,
                   const struct policies_hooks *hooks)
{
    *policies = (struct policies){.seed = seed, .epoch = 1, .hooks = *hooks};
    map_init(&policies->points, point_free);
    map_init(&policies->names, policy_free);
    map_init(&policies->states, state_free);
    map_init(&policies->shadows, shadow_free);
    sandbox_init(&policies->sandbox, simulated);
}

void policies_fini(struct policies *policies)
{
    map_fini(&policies->points);
    map_fini(&policies->names);
    map_fini(&policies->states);
    map_fini(&policies->shadows);
    cJSON_Delete(policies->spaces);
    sandbox_fini(&policies->sandbox);
}

int policies_add_point(struct policies *policies, const char *name, const char *shape, const char *about,
                       const char *fallback, struct err **err)
{
    static const char *const shapes[] = {"one", "first", "filter", "score", "order"};
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        if (!str_eq(shape, shapes[i]))
            continue;
        struct policy_point *point = NEW(struct policy_point);
        point->name = mem_strdup(name);
        point->about = mem_strdup(about);
        point->shape = (enum policy_shape)i;
        point->fallback = mem_strdup(fallback);
        map_init(&point->spaces, space_free);
        map_set(&policies->points, name, point);
        return 0;
    }
    return err_set(err, ERR_INVALID, "point %s: shape must be one, first, filter, score or order", name);
}

struct policy_point *policies_point(const struct policies *policies, const char *name)
{
    return name ? map_get(&policies->points, name) : NULL;
}

const struct policy *policies_find(const struct policies *policies, const char *name)
{
    return map_get(&policies->names, name);
}

struct policy_version *policies_current(const struct policy *policy)
{
    for (int i = 0; policy && i < POLICIES_KEPT; i++)
        if (policy->versions[i] && !policy->versions[i]->bad)
            return policy->versions[i];
    return policy ? policy->shipped : NULL;
}

/* ---- lists ---- */

static bool names_include(const cJSON *names, const char *name)
{
    json_each (item, names) {
        if (cJSON_IsString(item) && str_eq(item->valuestring, name))
            return true;
    }
    return false;
}

static bool goes_before(const struct policy_version *a, const struct policy_version *b)
{
    return names_include(a->before, b->name) || names_include(b->after, a->name);
}

/* Stable: each round takes the first one that nothing left must precede. False on a cycle. */
static bool order_list(struct policy_list *list)
{
    for (size_t done = 0; done < list->count; done++) {
        size_t pick = done;
        for (; pick < list->count; pick++) {
            bool free_to_go = true;
            for (size_t other = done; other < list->count && free_to_go; other++)
                free_to_go =
                    other == pick || !goes_before(list->items[other].version, list->items[pick].version);
            if (free_to_go)
                break;
        }
        if (pick == list->count)
            return false;
        struct policy_active taken = list->items[pick];
        memmove(&list->items[done + 1], &list->items[done], (pick - done) * sizeof(taken));
        list->items[done] = taken;
    }
    return true;
}

static cJSON *merged_settings(const struct policy *policy, const struct policy_version *version,
                              const cJSON *entry)
{
    cJSON *settings = version->settings ? json_copy(version->settings) : cJSON_CreateObject();
    if (policy->settings)
        settings = json_merge_patch(settings, policy->settings);
    if (json_get(entry, "settings"))
        settings = json_merge_patch(settings, json_get(entry, "settings"));
    return settings;
}

/* Returns NULL, or why the list cannot be used. */
static const char *build_list(const struct policies *policies, const struct policy_point *point,
                              const cJSON *chosen, bool shipped, struct policy_list *list)
{
    list_fini(list);
    list->items = mem_array((size_t)cJSON_GetArraySize(chosen) + 1, sizeof(*list->items));
    json_each (entry, chosen) {
        if (str_eq(json_string(entry, "mode"), "Disabled"))
            continue;
        const struct policy *policy = policies_find(policies, json_string_or(entry, "name", ""));
        struct policy_version *version = !policy   ? NULL
                                         : shipped ? policy->shipped
                                                   : policies_current(policy);
        if (!version || !str_eq(version->point, point->name)) {
            log_warn("script", "point %s: no policy \"%s\" that works", point->name,
                     json_string_or(entry, "name", "?"));
            return "the profile names a policy that does not exist, is broken, or is of another point";
        }
        const cJSON *weight = json_get(entry, "weight");
        list->items[list->count++] = (struct policy_active){
            .version = version,
            .weight = cJSON_IsNumber(weight) ? weight->valuedouble : 1,
            .optional = str_eq(json_string(entry, "mode"), "Optional"),
            .settings = merged_settings(policy, version, entry),
        };
    }
    if (!list->count)
        return "the profile names no policy";
    if (point->shape == SHAPE_ONE && list->count > 1)
        return "exactly one policy must be chosen for this point";
    return order_list(list) ? NULL : "before and after of its policies form a cycle";
}

static void rebuild(struct policies *policies)
{
    policies->epoch++;
    map_each (entry, &policies->points) {
        struct policy_point *point = entry->value;
        if (point->standard && build_list(policies, point, point->standard, true, &point->shipped))
            list_fini(&point->shipped);
        const cJSON *chosen = point->chosen ? point->chosen : point->standard;
        point->trouble = chosen ? build_list(policies, point, chosen, false, &point->active) : NULL;
        if (point->trouble)
            build_list(policies, point, point->standard, true, &point->active);
        map_each (s, &point->spaces) {
            struct policy_space *space = s->value;
            space->trouble = build_list(policies, point, space->chosen, false, &space->active);
        }
    }
}

struct policy_list *policies_active_in(struct policy_point *point, const char *namespace)
{
    struct policy_space *space =
        point->spaces.count && !str_empty(namespace) ? map_get(&point->spaces, namespace) : NULL;
    return space && !space->trouble ? &space->active : &point->active;
}

/* A point that the standard profile does not list falls back to the one policy it names. */
static cJSON *fallback_list(const struct policy_point *point)
{
    cJSON *list = cJSON_CreateArray();
    if (point->fallback)
        json_set_string(json_push(list, cJSON_CreateObject()), "name", point->fallback);
    return list;
}

static void set_standard(struct policies *policies, const cJSON *points)
{
    map_each (entry, &policies->points) {
        struct policy_point *point = entry->value;
        const cJSON *given = json_get(json_get(points, point->name), "policies");
        if (!cJSON_IsArray(given) && point->standard)
            continue; /* another folder's point */
        cJSON_Delete(point->standard);
        point->standard = cJSON_IsArray(given) ? json_copy(given) : fallback_list(point);
    }
    rebuild(policies);
}

/* ---- settings ---- */

static const char *kind_of(const cJSON *value)
{
    return cJSON_IsNumber(value)   ? "a number"
           : cJSON_IsString(value) ? "a text"
           : cJSON_IsBool(value)   ? "true or false"
                                   : "a table";
}

/* A default of true or false may stand for "none". */
static bool may_be(const cJSON *value, const cJSON *declared)
{
    return !cJSON_IsNull(value) && (cJSON_IsBool(declared) || str_eq(kind_of(value), kind_of(declared)));
}

int policies_check_settings(const struct policies *policies, const char *name, const cJSON *settings,
                            const char *path, struct err **err)
{
    const struct policy_version *version = policies_current(policies_find(policies, name));
    int rc = 0;
    json_each (value, version ? settings : NULL) {
        const cJSON *declared = json_get(version->settings, value->string);
        auto_free char *field = mem_printf("%s.settings.%s", path, value->string);
        auto_str known = {0};
        json_each (each, version->settings)
            str_addf(&known, "%s%s", known.len ? ", " : "", each->string);
        if (!declared)
            rc = err_add_cause(err, "FieldValueNotSupported", field, "%s has no such setting; it has %s",
                               name, known.len ? str_c(&known) : "none");
        else if (!may_be(value, declared))
            rc = err_add_cause(err, "FieldValueInvalid", field, "must be %s", kind_of(declared));
    }
    return rc;
}

/* What the settings of a list say that its policies do not know: it is told, and they decide all the same. */
static int check_list(const struct policies *policies, const char *path, const cJSON *chosen,
                      struct err **err)
{
    int rc = 0;
    json_each (entry, chosen) {
        const char *name = json_string_or(entry, "name", "");
        auto_free char *place = mem_printf("%s.policies[%s]", path, name);
        if (policies_check_settings(policies, name, json_get(entry, "settings"), place, err) < 0)
            rc = -1;
    }
    return rc;
}

int policies_use(struct policies *policies, const cJSON *points, struct err **err)
{
    int rc = 0;
    bool changed = false;
    map_each (entry, &policies->points) {
        struct policy_point *point = entry->value;
        const cJSON *given = json_get(json_get(points, point->name), "policies");
        given = cJSON_IsArray(given) ? given : NULL;
        if (!given == !point->chosen && json_equal(given, point->chosen))
            continue;
        changed = true;
        cJSON_Delete(point->chosen);
        point->chosen = given ? json_copy(given) : NULL;
    }
    if (changed) /* else nobody has to be asked again */
        rebuild(policies);
    map_each (entry, &policies->points) {
        const struct policy_point *point = entry->value;
        auto_free char *path = mem_printf("spec.points[%s]", point->name);
        if (point->trouble)
            rc = err_add_cause(err, "FieldValueInvalid", path, "%s: the shipped default decides",
                               point->trouble);
        else if (check_list(policies, path, point->chosen, err) < 0)
            rc = -1;
    }
    json_each (given, points) {
        auto_free char *path = mem_printf("spec.points[%s]", given->string);
        if (!policies_point(policies, given->string))
            rc = err_add_cause(err, "FieldValueNotSupported", path, "there is no such point");
    }
    return rc;
}

/* Not about objects of one namespace. */
static bool of_the_cluster(const struct policy_point *point)
{
    return point->shape == SHAPE_ORDER || str_eq(point->about, "Node");
}

int policies_use_in(struct policies *policies, const cJSON *spaces, struct err **err)
{
    int rc = 0;
    bool changed = !policies->spaces || !json_equal(policies->spaces, spaces);
    for (struct map_entry *entry = changed ? policies->points.first : NULL; entry; entry = entry->after)
        map_fini(&((struct policy_point *)entry->value)->spaces);
    json_each (given, spaces) {
        json_each (choice, given) {
            const char *name = choice->string ? choice->string : "";
            struct policy_point *point = policies_point(policies, name);
            auto_free char *path = mem_printf("%s: spec.points[%s]", given->string, name);
            if (!point) {
                rc = err_add_cause(err, "FieldValueNotSupported", path, "there is no such point");
                continue;
            }
            if (!changed)
                continue;
            struct policy_space *space = NEW(struct policy_space);
            space->chosen = json_copy(json_get(choice, "policies"));
            point->spaces.free_value = space_free;
            map_set(&point->spaces, given->string, space);
        }
    }
    if (changed) {
        cJSON_Delete(policies->spaces);
        policies->spaces = spaces ? json_copy(spaces) : cJSON_CreateObject();
        rebuild(policies);
    }
    map_each (entry, &policies->points) {
        map_each (s, &((struct policy_point *)entry->value)->spaces) {
            const struct policy_space *space = s->value;
            auto_free char *path = mem_printf("%s: spec.points[%s]", s->key, entry->key);
            if (space->trouble)
                rc = err_add_cause(err, "FieldValueInvalid", path, "%s: the cluster's policies decide there",
                                   space->trouble);
            else if (of_the_cluster(entry->value))
                rc =
                    err_add_cause(err, "FieldValueNotSupported", path,
                                  "is decided for the whole cluster: only the profile named cluster sets it");
            else if (check_list(policies, path, space->chosen, err) < 0)
                rc = -1;
        }
    }
    return rc;
}

/* ---- versions ---- */

static struct policy *policy_ensure(struct policies *policies, const char *name)
{
    struct policy *policy = map_get(&policies->names, name);
    if (policy)
        return policy;
    policy = NEW(struct policy);
    policy->name = mem_strdup(name);
    map_set(&policies->names, name, policy);
    return policy;
}

static void keep_version(struct policy *policy, struct policy_version *version)
{
    int same = POLICIES_KEPT - 1;
    for (int i = 0; i < POLICIES_KEPT; i++)
        if (policy->versions[i] && str_eq(policy->versions[i]->hash, version->hash))
            same = i;
    stage_version_free(policy->versions[same]);
    memmove(&policy->versions[1], &policy->versions[0], (size_t)same * sizeof(policy->versions[0]));
    policy->versions[0] = version;
}

int policies_apply(struct policies *policies, const char *name, const char *source, size_t len, bool shipped,
                   char *hash_out, struct err **err)
{
    struct policy_version *version = stage_version(policies, name, source, len, err);
    if (!version)
        return -1;
    version->shipped = shipped;
    if (hash_out)
        memcpy(hash_out, version->hash, sizeof(version->hash));
    struct policy *policy = policy_ensure(policies, version->name);
    if (shipped) {
        stage_version_free(policy->shipped);
        policy->shipped = version;
    } else {
        keep_version(policy, version);
    }
    rebuild(policies);
    return 0;
}

int policies_check(struct policies *policies, const char *name, const char *source, size_t len,
                   struct err **err)
{
    struct policy_version *version = stage_version(policies, name, source, len, err);
    stage_version_free(version);
    return version ? 0 : -1;
}

void policies_set_settings(struct policies *policies, const char *name, const cJSON *settings)
{
    struct policy *policy = policy_ensure(policies, name);
    if (json_equal(policy->settings, settings))
        return;
    cJSON_Delete(policy->settings);
    policy->settings = settings ? json_copy(settings) : NULL;
    rebuild(policies);
}

void policies_remove(struct policies *policies, const char *name)
{
    struct policy *policy = map_get(&policies->names, name);
    if (!policy)
        return;
    for (int i = 0; i < POLICIES_KEPT; i++) {
        struct policy_version *version = policy->versions[i];
        policy->versions[i] = NULL;
        rebuild(policies); /* before it is freed: no list holds it then */
        stage_version_free(version);
    }
    if (!policy->shipped)
        map_remove(&policies->names, name);
}

void policies_note(struct policies *policies, struct policy_version *version, const struct err *failure)
{
    version->asked++;
    version->failed += failure != NULL;
    if (++version->calls > 100) {
        version->calls = 1;
        version->failures = 0;
    }
    if (!failure) {
        version->row = 0;
        return;
    }
    version->row++;
    version->failures++;
    const char *reason = err_message(failure);
    bool out = !version->shipped &&
               (version->row >= POLICIES_FAILURES_ROW || version->failures >= POLICIES_FAILURES_100);
    if (out && !version->bad) {
        version->bad = true;
        free(version->reason);
        version->reason = mem_strdup(reason);
    }
    if (policies->hooks.on_trouble)
        policies->hooks.on_trouble(policies->hooks.arg, version, out, reason);
}

static bool holds_bad(const struct policy_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].version->bad)
            return true;
    return false;
}

void policies_recover(struct policies *policies)
{
    struct sandbox *sandbox = &policies->sandbox;
    bool lost = sandbox->cut || sandbox->starved; /* nothing in it is worth to be collected */
    if (!lost && sandbox->used > SANDBOX_MEMORY / 4 * 3)
        lua_gc(sandbox->L, LUA_GCCOLLECT, 0);
    if (sandbox_spoiled(sandbox))
        sandbox_rebuild(sandbox);
    bool changed = false;
    map_each (entry, &policies->points) {
        struct policy_point *point = entry->value;
        changed = changed || holds_bad(&point->active);
        map_each (s, &point->spaces)
            changed = changed || holds_bad(&((struct policy_space *)s->value)->active);
    }
    if (changed)
        rebuild(policies);
}

char *policies_list_text(const struct policy_list *list)
{
    auto_str text = {0};
    for (size_t i = 0; i < list->count; i++)
        str_addf(&text, "%s%s@%.8s", i ? "," : "", list->items[i].version->name,
                 list->items[i].version->hash);
    return str_take(&text);
}

static void add_figures(struct map *figures, const cJSON *uses)
{
    json_each (name, uses) {
        if (cJSON_IsString(name))
            map_set(figures, name->valuestring, figures);
    }
}

static void add_list_figures(struct map *figures, const struct policy_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        add_figures(figures, list->items[i].version->uses);
}

cJSON *policies_figures(const struct policies *policies)
{
    auto_map figures = {0};
    map_each (entry, &policies->points) {
        struct policy_point *point = entry->value;
        add_list_figures(&figures, &point->active);
        map_each (s, &point->spaces)
            add_list_figures(&figures, &((struct policy_space *)s->value)->active);
    }
    map_each (entry, &policies->shadows)
        for (const struct shadow *shadow = entry->value; shadow; shadow = shadow->next)
            add_figures(&figures, shadow->uses);
    auto_free const char **names = map_sorted_keys(&figures);
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; names[i]; i++)
        json_push_string(array, names[i]);
    return array;
}

bool policies_use_figures(const struct policies *policies, const char *name)
{
    auto_json figures = policies_figures(policies);
    return names_include(figures, name);
}

struct record_list *policies_who(struct policies *policies, const struct policy_point *point,
                                 struct policy_list *list)
{
    if (list->who && list->who_epoch == policies->epoch)
        return list->who;
    record_list_unref(list->who);
    list->who = record_list_of(point, list, 0);
    list->who_epoch = policies->epoch;
    return list->who;
}

struct record_list *policies_who_decided(struct policies *policies, const struct policy_point *point,
                                         struct policy_list *list, uint64_t left_out)
{
    return left_out ? record_list_of(point, list, left_out)
                    : record_list_ref(policies_who(policies, point, list));
}

/* ---- files ---- */

static int load_file(struct policies *policies, const char *path, const char *name, struct err **err)
{
    auto_free char *text = NULL;
    size_t len;
    if (file_read(path, SCRIPT_MAX_SOURCE, &text, &len, err) < 0)
        return -1;
    return policies_apply(policies, name, text, len, true, NULL, err);
}

int policies_load_folder(struct policies *policies, const char *directory, struct err **err)
{
    size_t count = 0;
    auto_free char **names = file_list(directory, &count, NULL);
    for (size_t i = 0; names && i < count; i++) {
        if (!str_ends(names[i], ".lua") || str_ends(names[i], "_test.lua") || names[i][0] == '.')
            continue;
        auto_free char *path = file_join(directory, names[i]);
        auto_free char *name = mem_strndup(names[i], strlen(names[i]) - 4);
        if (load_file(policies, path, name, err) < 0)
            return err_wrap(err, "shipped policy %s", path);
    }
    return 0;
}

void policies_use_fallbacks(struct policies *policies)
{
    set_standard(policies, NULL);
}

static int load_profile(struct policies *policies, const char *directory, struct err **err)
{
    auto_free char *path = file_join(directory, "default.lua"), *text = NULL;
    struct sandbox *sandbox = &policies->sandbox;
    size_t len;
    if (!file_exists(path))
        return 0;
    if (file_read(path, SCRIPT_MAX_SOURCE, &text, &len, err) < 0)
        return -1;
    sandbox_begin(sandbox, SANDBOX_BUDGET_MS);
    if (sandbox_evaluate(sandbox, "default.lua", text, len, err) < 0)
        return -1;
    auto_json points = value_take_safe(sandbox->L, -1, VALUE_MAX_NODES, err);
    lua_pop(sandbox->L, 1);
    if (!cJSON_IsObject(points))
        return err_set(err, ERR_INVALID, "%s: must return a table of points", path);
    set_standard(policies, points);
    return 0;
}

int policies_load_directory(struct policies *policies, const char *directory, struct err **err)
{
    size_t count = 0;
    auto_free char **names = file_list(directory, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        auto_free char *path = file_join(directory, names[i]);
        if (names[i][0] != '.' && !strchr(names[i], '.') && policies_load_folder(policies, path, err) < 0)
            return -1;
    }
    return load_profile(policies, directory, err);
}
