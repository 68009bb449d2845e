/*
 * nameserver_zone: what the files say, by name. Does not watch them. Invariant: a name is in the map exactly
 * while a record or a name below it needs it.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "net/nameserver_internal.h"

#define CHANGE_MAX 1048576 /* records of one file */

struct zone_file {
    struct map names; /* those in which it has records */
};

static void name_free(void *value)
{
    struct zone_name *name = value;
    for (size_t i = 0; i < name->count; i++)
        free(name->records[i].target);
    free(name->records);
    free(name->name);
    free(name);
}

static void file_free(void *value)
{
    map_fini(&((struct zone_file *)value)->names);
    free(value);
}

struct zone *zone_new(const char *domain, const struct net_cidr *pods)
{
    struct zone *zone = NEW(struct zone);
    zone->domain = mem_strdup(domain);
    zone->pods = *pods;
    map_init(&zone->names, name_free);
    map_init(&zone->files, file_free);
    return zone;
}

void zone_free(struct zone *zone)
{
    if (!zone)
        return;
    map_fini(&zone->files);
    map_fini(&zone->names);
    free(zone->domain);
    free(zone);
}

/* ---- changing ---- */

static struct zone_name *name_at(struct zone *zone, const char *text)
{
    struct zone_name *name = map_get(&zone->names, text);
    if (!name) {
        name = NEW(struct zone_name);
        name->name = mem_strdup(text);
        map_set(&zone->names, text, name);
    }
    return name;
}

static void drop_if_unused(struct zone *zone, struct zone_name *name)
{
    if (name->count || name->below)
        return;
    auto_free char *key = mem_strdup(name->name);
    map_remove(&zone->names, key);
}

/* The names above, inside the cluster's domain: they exist as long as something below them does. */
static void count_above(struct zone *zone, const char *text, int by)
{
    for (const char *dot = strchr(text, '.'); dot && zone_contains(zone, dot + 1);
         dot = strchr(dot + 1, '.')) {
        struct zone_name *above = name_at(zone, dot + 1);
        above->below += (unsigned)by;
        drop_if_unused(zone, above);
    }
}

static void add_record(struct zone *zone, struct zone_file *file, const char *text, struct zone_record record)
{
    struct zone_name *name = name_at(zone, text);
    for (size_t i = 0; i < name->count; i++) {
        const struct zone_record *other = &name->records[i];
        if (other->file == file && other->type == record.type && other->port == record.port &&
            other->address.s_addr == record.address.s_addr && str_eq(other->target, record.target))
            return;
    }
    record.file = file;
    record.target = mem_strdup(record.target);
    name->records = mem_resize(name->records, name->count + 1, sizeof(*name->records));
    name->records[name->count++] = record;
    map_set(&file->names, text, NULL);
    count_above(zone, text, 1);
}

static void remove_records(struct zone *zone, const struct zone_file *file)
{
    map_each (entry, &file->names) {
        struct zone_name *name = map_get(&zone->names, entry->key);
        size_t kept = 0;
        for (size_t i = 0; name && i < name->count; i++) {
            if (name->records[i].file != file) {
                name->records[kept++] = name->records[i];
                continue;
            }
            free(name->records[i].target);
            count_above(zone, entry->key, -1);
        }
        if (name) {
            name->count = kept;
            drop_if_unused(zone, name);
        }
    }
}

static bool clean_name(const char *text, char out[DNS_NAME_MAX + 1])
{
    size_t len = strlen(text);
    if (len && text[len - 1] == '.')
        len--;
    if (!len || len > 253)
        return false;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)tolower((unsigned char)text[i]);
    out[len] = 0;
    return true;
}

static void add_line(struct zone *zone, struct zone_file *file, const char *line)
{
    char first[64], second[512], third[512], fourth[512], name[DNS_NAME_MAX + 1], target[DNS_NAME_MAX + 1];
    struct zone_record record = {.type = DNS_A};
    int n = sscanf(line, "%63s %511s %511s %511s", first, second, third, fourth);
    if (n < 2 || *first == '#' || !clean_name(second, name))
        return;
    if (inet_pton(AF_INET, first, &record.address) == 1) {
        add_record(zone, file, name, record);
        unsigned char *a = (unsigned char *)&record.address;
        auto_free char *reverse = mem_printf("%u.%u.%u.%u.in-addr.arpa", a[3], a[2], a[1], a[0]);
        if (*name != '*')
            add_record(zone, file, reverse, (struct zone_record){.type = DNS_PTR, .target = name});
    } else if (str_eq(first, "srv") && n == 4 && clean_name(fourth, target)) {
        record = (struct zone_record){.type = DNS_SRV, .port = (uint16_t)atoi(third), .target = target};
        add_record(zone, file, name, record);
    } else if (str_eq(first, "cname") && n == 3 && clean_name(third, target)) {
        add_record(zone, file, name, (struct zone_record){.type = DNS_CNAME, .target = target});
    }
}

void zone_load(struct zone *zone, const char *file, const char *text)
{
    struct zone_file *fresh = NEW(struct zone_file), *old = map_get(&zone->files, file);
    auto_free char *copy = mem_strdup(text);
    char *rest = NULL;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        add_line(zone, fresh, line);
    if (old)
        remove_records(zone, old);
    map_set(&zone->files, file, fresh);
}

void zone_drop(struct zone *zone, const char *file)
{
    struct zone_file *old = map_get(&zone->files, file);
    if (!old)
        return;
    remove_records(zone, old);
    map_remove(&zone->files, file);
}

/* ---- looking up ---- */

struct zone_name *zone_find(const struct zone *zone, const char *name)
{
    struct zone_name *found = map_get(&zone->names, name);
    const char *dot = strchr(name, '.');
    if (found || !dot)
        return found;
    char wildcard[DNS_NAME_MAX + 3];
    snprintf(wildcard, sizeof(wildcard), "*%s", dot);
    return map_get(&zone->names, wildcard);
}

bool zone_contains(const struct zone *zone, const char *name)
{
    size_t len = strlen(name), domain = strlen(zone->domain);
    return len >= domain && str_eq(name + len - domain, zone->domain) &&
           (len == domain || name[len - domain - 1] == '.');
}

bool zone_pod(const struct zone *zone, const char *name, struct in_addr *address)
{
    unsigned a[4];
    int used = 0;
    if (sscanf(name, "%3u-%3u-%3u-%3u.%n", &a[0], &a[1], &a[2], &a[3], &used) != 4 || !used || a[0] > 255 ||
        a[1] > 255 || a[2] > 255 || a[3] > 255)
        return false;
    const char *rest = strchr(name + used, '.'); /* after the namespace */
    auto_free char *ending = mem_printf(".pod.%s", zone->domain);
    address->s_addr = htonl(a[0] << 24 | a[1] << 16 | a[2] << 8 | a[3]);
    return rest && str_eq(rest, ending) && zone->pods.prefix && net_cidr_contains(&zone->pods, *address);
}
