/* top: what nodes, pods and containers use, from metrics.k8s.io. */
#include <stdio.h>
#include <string.h>

#include "base/quantity.h"
#include "kubectl.h"

#define METRICS "/apis/metrics.k8s.io/v1beta1"
#define MIB (1 << 20)

struct usage {
    int64_t cpu, memory; /* milli, bytes */
};

struct row {
    char *cells[5];
    struct usage usage;
};

struct rows {
    struct kubectl *k;
    struct row *list;
    size_t count, columns;
};

static void add_usage(struct usage *sum, const cJSON *usage)
{
    int64_t cpu = 0, memory = 0;
    quantity_milli(json_string_or(usage, "cpu", "0"), &cpu, NULL);
    quantity_value(json_string_or(usage, "memory", "0"), &memory, NULL);
    sum->cpu += cpu;
    sum->memory += memory;
}

static struct row *add_row(struct rows *rows, struct usage usage)
{
    rows->list = mem_resize(rows->list, rows->count + 1, sizeof(*rows->list));
    struct row *row = &rows->list[rows->count++];
    *row = (struct row){.usage = usage};
    return row;
}

static int by_cpu(const void *a, const void *b)
{
    int64_t x = ((const struct row *)a)->usage.cpu, y = ((const struct row *)b)->usage.cpu;
    return (x < y) - (x > y);
}

static int by_memory(const void *a, const void *b)
{
    int64_t x = ((const struct row *)a)->usage.memory, y = ((const struct row *)b)->usage.memory;
    return (x < y) - (x > y);
}

static int print_rows(struct rows *rows, const char *const *head)
{
    const char *order = rows->k->flags.sort_by;
    struct kubectl_grid grid = {.columns = rows->columns};
    if (order && rows->count)
        qsort(rows->list, rows->count, sizeof(*rows->list), str_eq(order, "cpu") ? by_cpu : by_memory);
    if (!rows->k->flags.no_headers && rows->count)
        kubectl_grid_row(&grid, head);
    for (size_t i = 0; i < rows->count; i++) {
        kubectl_grid_row(&grid, (const char *const *)rows->list[i].cells);
        for (size_t j = 0; j < rows->columns; j++)
            free(rows->list[i].cells[j]);
    }
    kubectl_grid_print(&grid, NULL, NULL);
    free(rows->list);
    return 0;
}

static cJSON *read_metrics(struct kubectl *k, const char *path, struct err **err)
{
    auto_str target = {0};
    str_add(&target, path);
    if (k->flags.selector)
        http_query_add(&target, "labelSelector", k->flags.selector);
    if (k->flags.field_selector)
        http_query_add(&target, "fieldSelector", k->flags.field_selector);
    auto_err failed = NULL;
    cJSON *answer = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, &failed);
    if (!answer && err_code(failed) == ERR_NOT_FOUND && !strstr(err_message(failed), "\""))
        err_set(err, ERR_UNAVAILABLE, "Metrics API not available");
    else if (!answer)
        err_move(err, &failed);
    return answer;
}

static char *percent(int64_t used, const char *of, bool milli)
{
    int64_t all = 0;
    if (of && (milli ? quantity_milli(of, &all, NULL) : quantity_value(of, &all, NULL)) == 0 && all > 0)
        return mem_printf("%lld%%", (long long)(used * 100 / all));
    return mem_strdup("<unknown>");
}

static int top_nodes(struct kubectl *k, const char *name)
{
    static const char *const head[] = {"NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"};
    auto_err err = NULL;
    auto_free char *path = mem_printf(METRICS "/nodes%s%s", name ? "/" : "", name ? name : "");
    auto_json metrics = read_metrics(k, path, &err);
    auto_json nodes = metrics ? kubectl_request(k, "GET", "/api/v1/nodes", NULL, NULL, NULL, &err) : NULL;
    if (!nodes)
        return kubectl_fail(err, NULL);
    struct rows rows = {.k = k, .columns = 5};
    const cJSON *items = json_get(metrics, "items");
    for (const cJSON *item = items  ? items->child
                             : name ? metrics
                                    : NULL;
         item; item = name ? NULL : item->next) {
        const char *node_name = json_string_or(item, "metadata.name", "");
        const cJSON *node = NULL;
        json_each (each, json_get(nodes, "items"))
            if (str_eq(json_string(each, "metadata.name"), node_name))
                node = each;
        struct usage usage = {0};
        add_usage(&usage, json_get(item, "usage"));
        struct row *row = add_row(&rows, usage);
        row->cells[0] = mem_strdup(node_name);
        row->cells[1] = mem_printf("%lldm", (long long)usage.cpu);
        row->cells[2] = percent(usage.cpu, json_string(node, "status.allocatable.cpu"), true);
        row->cells[3] = mem_printf("%lldMi", (long long)(usage.memory / MIB));
        row->cells[4] = percent(usage.memory, json_string(node, "status.allocatable.memory"), false);
    }
    return print_rows(&rows, head);
}

static void add_pod_row(struct rows *rows, const cJSON *pod, const cJSON *container, struct usage usage)
{
    struct row *row = add_row(rows, usage);
    size_t at = 0;
    if (rows->k->flags.all_namespaces)
        row->cells[at++] = mem_strdup(json_string_or(pod, "metadata.namespace", ""));
    row->cells[at++] = mem_strdup(json_string_or(pod, "metadata.name", ""));
    if (container)
        row->cells[at++] = mem_strdup(json_string_or(container, "name", ""));
    row->cells[at++] = mem_printf("%lldm", (long long)usage.cpu);
    row->cells[at] = mem_printf("%lldMi", (long long)(usage.memory / MIB));
}

static void add_pod(struct rows *rows, const cJSON *pod)
{
    struct usage sum = {0};
    json_each (container, json_get(pod, "containers")) {
        struct usage usage = {0};
        add_usage(&usage, json_get(container, "usage"));
        add_usage(&sum, json_get(container, "usage"));
        if (rows->k->flags.containers_flag)
            add_pod_row(rows, pod, container, usage);
    }
    if (!rows->k->flags.containers_flag)
        add_pod_row(rows, pod, NULL, sum);
}

static int top_pods(struct kubectl *k, const char *name)
{
    auto_err err = NULL;
    bool all = k->flags.all_namespaces, containers = k->flags.containers_flag;
    auto_free char *path =
        all ? mem_strdup(METRICS "/pods")
            : mem_printf(METRICS "/namespaces/%s/pods%s%s", k->namespace, name ? "/" : "", name ? name : "");
    auto_json metrics = read_metrics(k, path, &err);
    if (!metrics)
        return kubectl_fail(err, NULL);
    struct rows rows = {.k = k, .columns = 3u + all + containers};
    const char *head[5];
    size_t at = 0;
    if (all)
        head[at++] = "NAMESPACE";
    head[at++] = containers ? "POD" : "NAME";
    if (containers)
        head[at++] = "NAME";
    head[at++] = "CPU(cores)";
    head[at] = "MEMORY(bytes)";
    if (name && !all)
        add_pod(&rows, metrics);
    else
        json_each (pod, json_get(metrics, "items"))
            add_pod(&rows, pod);
    if (!rows.count)
        fprintf(stderr, all ? "No resources found\n" : "No resources found in %s namespace.\n", k->namespace);
    return print_rows(&rows, head);
}

int verb_top(struct kubectl *k)
{
    static const char *const words[] = {"node", "pod", "nodes", "pods", "no", "po"};
    const char *what = k->n_args ? k->args[0] : "", *name = k->n_args > 1 ? k->args[1] : NULL;
    const char *order = k->flags.sort_by;
    if (order && !str_eq(order, "cpu") && !str_eq(order, "memory"))
        return kubectl_refuse_text("--sort-by accepts only cpu or memory");
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (str_eq(what, words[i]))
            return i % 2 ? top_pods(k, name) : top_nodes(k, name);
    const char *nearest = str_nearest(what, words, 2);
    return kubectl_refuse_text("usage: top (node | pod) [NAME]%s%s", nearest ? "; did you mean " : "",
                               nearest ? nearest : "");
}
