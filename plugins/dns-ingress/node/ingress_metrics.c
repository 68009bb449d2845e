/*
 * ingress_metrics: requests per Service as both proxies have counted them, as Prometheus text. They count
 * from their start, or from the last time that their configuration was read anew.
 */
#include "ingress.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

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

/* "0x…: key=default/api:http use=0 exp=0 … http_req_cnt=5 …" */
static void add_line(struct map *services, const char *line)
{
    const char *key = strstr(line, " key=");
    if (!key)
        return;
    key += 5;
    auto_free char *name = mem_strndup(key, strcspn(key, " "));
    struct figures *figures = map_get(services, name);
    if (!figures) {
        figures = NEW(struct figures);
        map_set(services, name, figures);
    }
    for (int i = 0; i < FIGURES; i++) {
        const char *value = strstr(line, table_names[i]);
        figures->values[i] += value ? strtoull(value + strlen(table_names[i]), NULL, 10) : 0;
    }
}

static void add_proxy(struct map *services, const char *socket_path)
{
    static const char command[] = "show table services\n";
    auto_str answer = {0};
    char *rest = NULL;
    if (!file_exists(socket_path) || socket_command(socket_path, command, strlen(command), &answer, NULL) < 0)
        return;
    for (char *line = answer.data ? strtok_r(answer.data, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest))
        add_line(services, line);
}

/* NAMESPACE/NAME:PORT */
static void add_labels(struct str *out, const char *service)
{
    int slash = (int)strcspn(service, "/"), colon = (int)strcspn(service, ":");
    if (!service[slash] || !service[colon] || colon < slash)
        return;
    str_addf(out, "{namespace=\"%.*s\",service=\"%.*s\",port=\"%s\"}", slash, service, colon - slash - 1,
             service + slash + 1, service + colon + 1);
}

void ingress_metrics(const char *directory, struct str *out)
{
    auto_map services = {.free_value = free};
    for (unsigned i = 1; i <= 2; i++) {
        auto_free char *name = mem_printf("%u.sock", i), *path = file_join(directory, name);
        add_proxy(&services, path);
    }
    auto_free const char **names = map_sorted_keys(&services);
    for (int i = 0; i < FIGURES && services.count; i++) {
        str_addf(out, "# HELP %s %s\n# TYPE %s counter\n", families[i].name, families[i].help,
                 families[i].name);
        for (size_t n = 0; names[n]; n++) {
            const struct figures *figures = map_get(&services, names[n]);
            str_add(out, families[i].name);
            add_labels(out, names[n]);
            str_addf(out, " %llu\n", figures->values[i]);
        }
    }
}
