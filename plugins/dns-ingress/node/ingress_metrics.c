/*
 * ingress_metrics: requests per Ingress and Service as each proxy has counted them, as Prometheus text. Each
 * counts from its start, or from the last time that its configuration was read anew; so theirs are counters
 * of their own. Which routes there are say the map files: a route that nobody asked for yet counts 0, one
 * that is gone is told no more.
 */
#include "ingress.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define MAP_FILE_MAX (64u << 20)

enum { REQUESTS, CLIENT_ERRORS, SERVER_ERRORS, BYTES, FIGURES };
static const char *const table_names[FIGURES] = {
    " http_req_cnt=", " http_err_cnt=", " http_fail_cnt=", " bytes_out_cnt="};
static const struct {
    const char *name, *help;
} families[FIGURES] = {
    {"minik8s_ingress_requests_total", "Requests that an Ingress led to a Service."},
    {"minik8s_ingress_client_errors_total", "Of these, answered with 4xx, or broken off by the client."},
    {"minik8s_ingress_server_errors_total", "Of these, answered with 5xx, or by nobody."},
    {"minik8s_ingress_sent_bytes_total", "Bytes sent to clients."},
};

struct figures {
    unsigned long long values[FIGURES];
};

/* ---- which routes there are ---- */

/* The field of a map's value, which ends at '|', a blank or the end. */
static char *field_of(const char *value, unsigned number)
{
    while (--number && *value) {
        value += strcspn(value, "|");
        value += *value == '|';
    }
    return mem_strndup(value, strcspn(value, "| \t"));
}

/* A counter at 0 for each: "SERVICE|INGRESS", as the proxies call them. */
static void add_routes(const char *directory, struct map *counters)
{
    for (int i = 0; i < MAP_COUNT; i++) {
        auto_free char *path = file_join(directory, ingress_map_names[i]), *text = NULL;
        char *rest = NULL;
        size_t len;
        if (file_read(path, MAP_FILE_MAX, &text, &len, NULL) < 0)
            continue; /* no route, no file */
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            const char *value = strchr(line, ' ');
            if (!value)
                continue;
            auto_free char *service = field_of(value + 1, 1), *ingress = field_of(value + 1, 7);
            auto_free char *key = mem_printf("%s|%s", service, ingress);
            if (!map_has(counters, key))
                map_set(counters, key, NEW(struct figures));
        }
    }
}

/* ---- what a proxy has counted ---- */

/* "0x…: key=default/api:http|shop use=0 exp=0 … http_req_cnt=5 …" */
static void read_line(struct map *counters, const char *line)
{
    const char *key = strstr(line, " key=");
    if (!key)
        return;
    key += 5;
    auto_free char *name = mem_strndup(key, strcspn(key, " "));
    struct figures *figures = map_get(counters, name);
    for (int i = 0; i < FIGURES && figures; i++) {
        const char *value = strstr(line, table_names[i]);
        figures->values[i] = value ? strtoull(value + strlen(table_names[i]), NULL, 10) : 0;
    }
}

/* False: it does not answer. */
static bool ask(const char *directory, unsigned instance, struct map *counters)
{
    static const char command[] = "show table services\n";
    auto_free char *name = mem_printf("%u.sock", instance), *path = file_join(directory, name);
    auto_str answer = {0};
    char *rest = NULL;
    if (!file_exists(path) || socket_command(path, command, strlen(command), &answer, NULL) < 0)
        return false;
    add_routes(directory, counters);
    for (char *line = answer.data ? strtok_r(answer.data, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest))
        read_line(counters, line);
    return true;
}

/* ---- text ---- */

/* key: NAMESPACE/NAME:PORT|INGRESS */
static void add_sample(struct str *out, const char *family, const char *key, unsigned instance,
                       unsigned long long value)
{
    int slash = (int)strcspn(key, "/"), colon = (int)strcspn(key, ":"), bar = (int)strcspn(key, "|");
    if (!key[bar] || slash > colon || colon > bar)
        return; /* none of ours */
    str_addf(out, "%s{namespace=\"%.*s\",ingress=\"%s\",service=\"%.*s\",port=\"%.*s\",proxy=\"%u\"} %llu\n",
             family, slash, key, key + bar + 1, colon - slash - 1, key + slash + 1, bar - colon - 1,
             key + colon + 1, instance, value);
}

void ingress_metrics(const char *directory, struct str *out)
{
    struct map counters[INGRESS_PROXIES];
    const char **keys[INGRESS_PROXIES] = {NULL};
    bool any = false;
    for (unsigned i = 0; i < INGRESS_PROXIES; i++) {
        map_init(&counters[i], free);
        any |= ask(directory, i + 1, &counters[i]);
        keys[i] = map_sorted_keys(&counters[i]);
    }
    for (int f = 0; f < FIGURES && any; f++) {
        str_addf(out, "# HELP %s %s\n# TYPE %s counter\n", families[f].name, families[f].help,
                 families[f].name);
        for (unsigned i = 0; i < INGRESS_PROXIES; i++)
            for (size_t n = 0; keys[i][n]; n++)
                add_sample(out, families[f].name, keys[i][n], i + 1,
                           ((struct figures *)map_get(&counters[i], keys[i][n]))->values[f]);
    }
    for (unsigned i = 0; i < INGRESS_PROXIES; i++) {
        map_fini(&counters[i]);
        free(keys[i]);
    }
}
