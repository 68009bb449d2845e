/*
 * LimitRange: what a container gets that does not ask, and what a container, a pod or a claim may ask for.
 * Pods are judged when they are made, claims also when they change. Wording after Kubernetes' admission.
 */
#include <string.h>

#include "api/api_usage.h"

struct judged { /* one container, pod or claim against one entry of a range */
    const char *type;
    struct amounts requests, limits;
    struct str *faults;
    size_t *n_faults;
};

static void fault(const struct judged *judged, const char *text)
{
    str_addf(judged->faults, "%s%s", (*judged->n_faults)++ ? ", " : "", text);
}

/* ---- defaults ---- */

static void add_names(struct str *all, const struct str *names, const char *what, const char *title,
                      const char *container)
{
    if (names->len)
        str_addf(all, "%s%s %s for %s %s", all->len ? "; " : "", str_c(names), what, title, container);
}

static void fill(cJSON *container, const char *field, const cJSON *defaults, struct str *names)
{
    if (!defaults || !defaults->child)
        return;
    auto_json_keys keys;
    json_keys_init(&keys, json_ensure_object(json_ensure_object(container, "resources"), field),
                   (size_t)cJSON_GetArraySize(defaults));
    json_each (entry, defaults) {
        if (json_keys_get(&keys, entry->string))
            continue;
        json_keys_set(&keys, entry->string, json_copy(entry));
        str_addf(names, "%s%s", names->len ? ", " : "", entry->string);
    }
}

static void fill_containers(cJSON *containers, const cJSON *item, const char *title, struct str *all)
{
    json_each (container, containers) {
        auto_str requests = {0}, limits = {0};
        const char *name = json_string_or(container, "name", "");
        fill(container, "requests", json_get(item, "defaultRequest"), &requests);
        fill(container, "limits", json_get(item, "default"), &limits);
        add_names(all, &requests, "request", title, name);
        add_names(all, &limits, "limit", title, name);
    }
}

static void set_defaults(cJSON *pod, const cJSON *ranges)
{
    auto_str all = {0};
    json_each (range, ranges)
        json_each (item, json_at(range, "spec.limits")) {
            if (!str_eq(json_string(item, "type"), "Container"))
                continue;
            fill_containers(json_at(pod, "spec.containers"), item, "container", &all);
            fill_containers(json_at(pod, "spec.initContainers"), item, "init container", &all);
        }
    if (!all.len)
        return;
    auto_free char *text = mem_printf("LimitRanger plugin set: %s", str_c(&all));
    json_set_string(json_ensure_object(object_meta(pod), "annotations"), "kubernetes.io/limit-ranger", text);
}

/* ---- bounds ---- */

struct bound { /* one entry of min, max or maxLimitRequestRatio */
    const char *name, *text;
    int64_t value;
};

static char *printed(const struct bound *bound, const struct amount *amount)
{
    return amount_print(bound->name, amount->value, amount->binary);
}

/* "minimum cpu usage per Container is 100m, but request is 50m" */
static void check_side(const struct judged *judged, const struct bound *bound, bool least,
                       const struct amount *amount, const char *what)
{
    if (!amount || (least ? amount->value >= bound->value : amount->value <= bound->value))
        return;
    auto_free char *value = printed(bound, amount);
    auto_free char *text = mem_printf("%s %s usage per %s is %s, but %s is %s", least ? "minimum" : "maximum",
                                      bound->name, judged->type, bound->text, what, value);
    fault(judged, text);
}

static void check_bound(const struct judged *judged, const struct bound *bound, bool least)
{
    bool claim = str_eq(judged->type, "PersistentVolumeClaim");
    const struct amount *request = amounts_find(&judged->requests, bound->name);
    const struct amount *limit = claim ? NULL : amounts_find(&judged->limits, bound->name);
    bool by_request = least || claim;
    if (by_request ? !request : !limit) {
        auto_free char *text =
            mem_printf("%s %s usage per %s is %s.  No %s is specified", least ? "minimum" : "maximum",
                       bound->name, judged->type, bound->text, by_request ? "request" : "limit");
        fault(judged, text);
        return;
    }
    size_t before = *judged->n_faults;
    check_side(judged, bound, least, by_request ? request : limit, by_request ? "request" : "limit");
    if (*judged->n_faults == before)
        check_side(judged, bound, least, by_request ? limit : request, by_request ? "limit" : "request");
}

static void check_ratio(const struct judged *judged, const struct bound *bound)
{
    const struct amount *request = amounts_find(&judged->requests, bound->name);
    const struct amount *limit = amounts_find(&judged->limits, bound->name);
    auto_free char *head =
        mem_printf("%s max limit to request ratio per %s is %s, but", bound->name, judged->type, bound->text);
    auto_free char *text = NULL;
    double most = 0;
    int64_t milli = 0;
    amount_read("cpu", bound->text, &milli);
    most = (double)milli / 1000;
    if (!request || request->value == 0)
        text = mem_printf("%s no request is specified or request is 0", head);
    else if (!limit || limit->value == 0)
        text = mem_printf("%s no limit is specified or limit is 0", head);
    else if ((double)limit->value / (double)request->value > most)
        text = mem_printf("%s provided ratio is %f", head, (double)limit->value / (double)request->value);
    if (text)
        fault(judged, text);
}

static void check_item(const struct judged *judged, const cJSON *item)
{
    static const char *const fields[] = {"min", "max", "maxLimitRequestRatio"};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        json_each (entry, json_get(item, fields[i])) {
            struct bound bound = {.name = entry->string, .text = cJSON_GetStringValue(entry)};
            if (!amount_read(bound.name, bound.text, &bound.value))
                continue; /* refused at admission */
            if (i == 2)
                check_ratio(judged, &bound);
            else
                check_bound(judged, &bound, i == 0);
        }
}

static void amounts_of(struct amounts *amounts, const cJSON *map)
{
    json_each (entry, map) {
        int64_t value = 0;
        const char *text = cJSON_GetStringValue(entry);
        if (amount_read(entry->string, text, &value))
            amounts_add(amounts, entry->string, value, str_ends(text, "i"));
    }
}

static void judge_end(struct judged *judged)
{
    amounts_fini(&judged->requests);
    amounts_fini(&judged->limits);
}

static void judge_containers(struct judged judged, const cJSON *containers, const cJSON *item)
{
    json_each (container, containers) {
        amounts_of(&judged.requests, json_at(container, "resources.requests"));
        amounts_of(&judged.limits, json_at(container, "resources.limits"));
        check_item(&judged, item);
        judge_end(&judged);
    }
}

static void judge(struct judged judged, const cJSON *object, const cJSON *item)
{
    if (str_eq(judged.type, "PersistentVolumeClaim")) {
        amounts_of(&judged.requests, json_at(object, "spec.resources.requests"));
    } else if (str_eq(judged.type, "Pod")) {
        amounts_of_pod(&judged.requests, json_get(object, "spec"), "requests");
        amounts_of_pod(&judged.limits, json_get(object, "spec"), "limits");
    } else {
        judge_containers(judged, json_at(object, "spec.containers"), item);
        judge_containers(judged, json_at(object, "spec.initContainers"), item);
        return;
    }
    check_item(&judged, item);
    judge_end(&judged);
}

/* ---- the ranges of a namespace ---- */

static cJSON *read_ranges(const struct op *op)
{
    struct store *store = op->api->store;
    auto_free char *prefix = store_key_prefix("limitranges", op->namespace);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    if (store->ops->list(store, &request, &list, NULL) < 0 || list.count == 0)
        return NULL;
    cJSON *ranges = cJSON_CreateArray();
    for (size_t i = 0; i < list.count; i++)
        json_push(ranges, json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len));
    store_list_fini(&list);
    return ranges;
}

int limits_admit(const struct op *op, cJSON *object, struct err **err)
{
    auto_json ranges = read_ranges(op);
    if (!ranges)
        return 0;
    bool pod = str_eq(op->info->resource, "pods");
    auto_str faults = {0};
    size_t n = 0;
    if (pod)
        set_defaults(object, ranges);
    json_each (range, ranges)
        json_each (item, json_at(range, "spec.limits")) {
            const char *type = json_string_or(item, "type", "");
            const struct judged judged = {.type = type, .faults = &faults, .n_faults = &n};
            if (pod ? !str_eq(type, "PersistentVolumeClaim") : str_eq(type, "PersistentVolumeClaim"))
                judge(judged, object, item);
        }
    if (n == 0)
        return 0;
    return err_set(err, ERR_FORBIDDEN, "%s \"%s\" is forbidden: %s%s%s", op->info->resource, op->name,
                   n > 1 ? "[" : "", str_c(&faults), n > 1 ? "]" : "");
}
