#include <stdio.h>
#include <string.h>

#include "base/yaml.h"
#include "describe.h"

void describe_field(const char *name, const char *value)
{
    auto_free char *label = mem_printf("%s:", name);
    printf("%-20s %s\n", label, str_empty(value) ? "<none>" : value);
}

void describe_map(const char *name, const cJSON *map)
{
    auto_free char *label = mem_printf("%s:", name);
    const char *lead = label;
    json_each (entry, map) {
        if (str_eq(entry->string, "kubectl.kubernetes.io/last-applied-configuration"))
            continue; /* the whole manifest on one line; -o yaml shows it */
        printf("%-20s %s=%s\n", lead, entry->string, cJSON_IsString(entry) ? entry->valuestring : "");
        lead = "";
    }
    if (*lead)
        printf("%-20s <none>\n", lead);
}

char *describe_text(const cJSON *value)
{
    if (!value)
        return mem_strdup("");
    return cJSON_IsString(value) ? mem_strdup(value->valuestring) : json_print(value);
}

void describe_path(const char *name, const cJSON *object, const char *path)
{
    auto_free char *text = describe_text(json_at(object, path));
    describe_field(name, text);
}

void describe_block(const char *title, const cJSON *value, int indent)
{
    if (!value || !value->child)
        return;
    printf("%s:\n", title);
    auto_free char *text = yaml_print(value);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        printf("%*s%s\n", indent, "", line);
}

char *describe_age(const char *time)
{
    int64_t ns;
    char age[TIME_TEXT];
    if (!time || time_parse(time, &ns, NULL) < 0)
        return mem_strdup("<unknown>");
    time_print_age(clock_wall_ns(&clock_system) - ns, age);
    return mem_strdup(age);
}

void describe_conditions(const cJSON *object)
{
    const cJSON *list = json_at(object, "status.conditions");
    if (!list || !list->child)
        return;
    printf("Conditions:\n  %-28s %-8s %-28s %s\n", "Type", "Status", "Reason", "Message");
    json_each (condition, list)
        if (!str_eq(json_string(condition, "type"), DESCRIBE_PER_NODE))
            printf("  %-28s %-8s %-28s %s\n", json_string_or(condition, "type", ""),
                   json_string_or(condition, "status", ""), json_string_or(condition, "reason", ""),
                   json_string_or(condition, "message", ""));
}
