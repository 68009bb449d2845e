/* The parts of describe about quotas and limit ranges; describe namespace shows all of its own. */
#include <stdio.h>
#include <string.h>

#include "describe.h"

static const char *text_or(const cJSON *value, const char *otherwise)
{
    return cJSON_IsString(value) ? value->valuestring : otherwise;
}

/* ---- quotas ---- */

static const char *scope_means(const char *scope)
{
    static const char *const meanings[][2] = {
        {"Terminating",
         "Matches all pods that have an active deadline. These pods have a limited lifespan on a "
         "node before being actively terminated by the system."},
        {"NotTerminating", "Matches all pods that do not have an active deadline. These pods usually include "
                           "long running pods whose container command is not expected to terminate."},
        {"BestEffort", "Matches all pods that do not have resource requirements set. These pods have a best "
                       "effort quality of service."},
        {"NotBestEffort",
         "Matches all pods that have at least one resource requirement set. These pods have a "
         "burstable or guaranteed quality of service."}};
    for (size_t i = 0; i < COUNT_OF(meanings); i++)
        if (str_eq(meanings[i][0], scope))
            return meanings[i][1];
    return NULL;
}

static void print_scopes(const cJSON *quota, const char *lead)
{
    auto_str names = {0}, meanings = {0};
    json_each (scope, json_at(quota, "spec.scopes")) {
        const char *meaning = scope_means(cJSON_GetStringValue(scope));
        str_addf(&names, "%s%s", names.len ? ", " : "", text_or(scope, ""));
        if (meaning)
            str_addf(&meanings, "%s * %s\n", lead, meaning);
    }
    json_each (expression, json_at(quota, "spec.scopeSelector.matchExpressions")) {
        str_addf(&names, "%s%s %s", names.len ? ", " : "", json_string_or(expression, "scopeName", ""),
                 json_string_or(expression, "operator", ""));
        json_each (value, json_get(expression, "values"))
            str_addf(&names, " %s", text_or(value, ""));
    }
    if (names.len)
        printf("%s%-19s %s\n%s", lead, "Scopes:", str_c(&names), str_c(&meanings));
}

static void print_quota(const cJSON *quota, const char *lead)
{
    struct kubectl_grid grid = {.columns = 3};
    auto_free char *title = mem_printf("%sResource", lead), *rule = mem_printf("%s--------", lead);
    const cJSON *hard = json_at(quota, "status.hard"), *used = json_at(quota, "status.used");
    print_scopes(quota, lead);
    kubectl_grid_row(&grid, (const char *const[]){title, "Used", "Hard"});
    kubectl_grid_row(&grid, (const char *const[]){rule, "----", "----"});
    json_each (limit, hard) {
        auto_free char *name = mem_printf("%s%s", lead, limit->string);
        kubectl_grid_row(&grid, (const char *const[]){name, text_or(json_get(used, limit->string), "0"),
                                                      text_or(limit, "")});
    }
    kubectl_grid_print(&grid, NULL, NULL);
}

void describe_quota(struct kubectl *k UNUSED, const cJSON *object)
{
    print_quota(object, "");
}

/* ---- limit ranges ---- */

/* Every resource that one of an entry's maps speaks of, once. */
static void add_limits(struct kubectl_grid *grid, const cJSON *item, const char *lead)
{
    static const char *const maps[] = {"min", "max", "defaultRequest", "default", "maxLimitRequestRatio"};
    auto_map seen = {0};
    auto_free char *type = mem_printf("%s%s", lead, json_string_or(item, "type", ""));
    for (size_t i = 0; i < COUNT_OF(maps); i++)
        json_each (entry, json_get(item, maps[i]))
            map_set(&seen, entry->string, entry);
    auto_free const char **names = map_sorted_keys(&seen);
    for (const char **name = names; *name; name++) {
        const char *cells[2 + COUNT_OF(maps)] = {type, *name};
        for (size_t i = 0; i < COUNT_OF(maps); i++)
            cells[2 + i] = text_or(json_get(json_get(item, maps[i]), *name), "-");
        kubectl_grid_row(grid, cells);
    }
}

static void print_limits(const cJSON *ranges, const char *lead)
{
    struct kubectl_grid grid = {.columns = 7};
    auto_free char *title = mem_printf("%sType", lead), *rule = mem_printf("%s----", lead);
    kubectl_grid_row(&grid, (const char *const[]){title, "Resource", "Min", "Max", "Default Request",
                                                  "Default Limit", "Max Limit/Request Ratio"});
    kubectl_grid_row(&grid, (const char *const[]){rule, "--------", "---", "---", "---------------",
                                                  "-------------", "-----------------------"});
    json_each (range, ranges)
        json_each (item, json_at(range, "spec.limits"))
            add_limits(&grid, item, lead);
    kubectl_grid_print(&grid, NULL, NULL);
}

void describe_limits(struct kubectl *k UNUSED, const cJSON *object)
{
    auto_json one = cJSON_CreateArray();
    json_push(one, json_copy(object));
    print_limits(one, "");
}

/* ---- a namespace ---- */

static cJSON *read_all(struct kubectl *k, const char *resource, const char *namespace)
{
    auto_err err = NULL;
    auto_free char *path = client_path(resource, "v1", namespace, NULL, NULL);
    cJSON *list = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
    if (!list)
        printf("\n%s: <unknown: %s>\n", resource, err_message(err));
    return list;
}

void describe_namespace(struct kubectl *k, const cJSON *object)
{
    const char *name = json_string_or(object, "metadata.name", "");
    printf("%-20s %s\n", "Status:", json_string_or(object, "status.phase", ""));
    describe_conditions(object);
    auto_json quotas = read_all(k, "resourcequotas", name);
    auto_json ranges = read_all(k, "limitranges", name);
    if (quotas)
        printf("\n%s\n", json_at(quotas, "items[0]") ? "Resource Quotas" : "No resource quota.");
    json_each (quota, json_get(quotas, "items")) {
        printf("  %-19s %s\n", "Name:", json_string_or(quota, "metadata.name", ""));
        print_quota(quota, "  ");
    }
    if (ranges)
        printf("\n%s\n", json_at(ranges, "items[0]") ? "Resource Limits" : "No LimitRange resource.");
    if (json_at(ranges, "items[0]"))
        print_limits(json_get(ranges, "items"), "  ");
}
