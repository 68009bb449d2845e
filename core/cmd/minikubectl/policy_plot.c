/*
 * policy_plot: recorded decisions as charts: how many at each point over time, where pods were put, and every
 * figure that was decided (replicas) or measured on the way (load in percent) over time. The same data as
 * JSON: policy log -o json.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/time.h"
#include "policy.h"

#define MAX_WIDTH 100
#define MIN_WIDTH 20
#define HEIGHT 8
#define MARGIN 24
#define MAX_CHARTS 12

struct series {
    double *values; /* a bucket each; the last value in it; < 0: none */
    size_t count;   /* decisions */
};

struct plot {
    size_t width; /* buckets */
    int64_t from_ns, to_ns;
    struct map points, nodes, figures; /* name → struct series */
};

static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

static void series_free(void *value)
{
    struct series *series = value;
    free(series->values);
    free(series);
}

static struct series *series_of(const struct plot *plot, struct map *map, const char *name, double empty)
{
    struct series *series = map_get(map, name);
    if (series)
        return series;
    series = NEW(struct series);
    series->values = mem_array(plot->width, sizeof(*series->values));
    for (size_t i = 0; i < plot->width; i++)
        series->values[i] = empty;
    map_set(map, name, series);
    return series;
}

static int64_t time_of(const cJSON *decision)
{
    int64_t ns = 0;
    return time_parse(json_string_or(decision, "time", ""), &ns, NULL) < 0 ? 0 : ns;
}

static size_t bucket_of(const struct plot *plot, const cJSON *decision)
{
    int64_t span = plot->to_ns - plot->from_ns + 1, at = time_of(decision) - plot->from_ns;
    at = at < 0 ? 0 : at >= span ? span - 1 : at;
    return (size_t)((double)at / (double)span * (double)plot->width);
}

static void count_in(struct plot *plot, struct map *map, const char *name, size_t bucket)
{
    struct series *series = series_of(plot, map, name, 0);
    series->values[bucket]++;
    series->count++;
}

static void set_figure(struct plot *plot, const cJSON *decision, const char *what, double value,
                       size_t bucket)
{
    auto_free char *name = mem_printf("%s: %s", json_string_or(decision, "object", "?"), what);
    struct series *series = series_of(plot, &plot->figures, name, -1);
    series->values[bucket] = value;
    series->count++;
}

static void take(struct plot *plot, const cJSON *decision)
{
    size_t bucket = bucket_of(plot, decision);
    const cJSON *result = json_get(decision, "result");
    const char *point = json_string_or(decision, "point", "?"), *node = json_string(result, "node");
    const cJSON *replicas = json_get(result, "replicas"), *ratio = json_get(result, "ratio");
    count_in(plot, &plot->points, point, bucket);
    if (node)
        count_in(plot, &plot->nodes, node, bucket);
    auto_free char *what = mem_printf("replicas (%s)", point);
    if (cJSON_IsNumber(replicas))
        set_figure(plot, decision, what, replicas->valuedouble, bucket);
    if (cJSON_IsNumber(ratio))
        set_figure(plot, decision, "load, % of the target", ratio->valuedouble * 100, bucket);
}

/* ---- drawing ---- */

static double highest(const struct plot *plot, const struct series *series)
{
    double most = 0;
    for (size_t i = 0; i < plot->width; i++)
        most = series->values[i] > most ? series->values[i] : most;
    return most;
}

static void print_axis(const struct plot *plot)
{
    char from[TIME_TEXT], to[TIME_TEXT];
    time_print(plot->from_ns, from);
    time_print(plot->to_ns, to);
    printf("%*s %.8s%*s%.8s\n", MARGIN, "", from + 11, (int)plot->width - 16, "", to + 11);
}

/* One line: how many decisions in each piece of the time. */
static void print_counts(const struct plot *plot, const char *title, const struct map *map)
{
    if (!map->count)
        return;
    auto_free const char **names = map_sorted_keys(map);
    printf("%s\n", title);
    for (size_t n = 0; n < map->count; n++) {
        const struct series *series = map_get(map, names[n]);
        double most = highest(plot, series);
        printf("%*.*s ", MARGIN, MARGIN, names[n]);
        for (size_t i = 0; i < plot->width; i++) {
            int level = (int)(series->values[i] / most * 8 + 0.5);
            fputs(blocks[series->values[i] > 0 && !level ? 1 : level], stdout);
        }
        printf(" %zu\n", series->count);
    }
    print_axis(plot);
    printf("\n");
}

/* A value holds until the next one. */
static void print_figure(const struct plot *plot, const char *name, const struct series *series)
{
    double most = highest(plot, series);
    most = most > 0 ? most : 1;
    printf("%s\n", name);
    for (int row = HEIGHT - 1; row >= 0; row--) {
        double value = -1;
        if (row == HEIGHT - 1)
            printf("%*.4g ", MARGIN, most);
        else
            printf("%*s ", MARGIN, row ? "" : "0");
        for (size_t i = 0; i < plot->width; i++) {
            value = series->values[i] >= 0 ? series->values[i] : value;
            double level = value < 0 ? 0 : value / most * HEIGHT * 8 - row * 8;
            int block = level <= 0 ? 0 : level >= 8 ? 8 : (int)(level + 0.5);
            fputs(blocks[block ? block : value >= 0 && !row ? 1 : 0], stdout);
        }
        printf("\n");
    }
    print_axis(plot);
    printf("\n");
}

static size_t chart_width(void)
{
    struct winsize size = {0};
    size_t columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : MAX_WIDTH;
    size_t width = columns > MARGIN + 10 ? columns - MARGIN - 10 : MIN_WIDTH;
    return width < MIN_WIDTH ? MIN_WIDTH : width > MAX_WIDTH ? MAX_WIDTH : width;
}

void policy_plot(const cJSON *decisions)
{
    struct plot plot = {.width = chart_width()};
    map_init(&plot.points, series_free);
    map_init(&plot.nodes, series_free);
    map_init(&plot.figures, series_free);
    plot.from_ns = plot.to_ns = time_of(decisions ? decisions->child : NULL);
    json_each (decision, decisions)
        plot.to_ns = time_of(decision) > plot.to_ns ? time_of(decision) : plot.to_ns;
    json_each (decision, decisions)
        take(&plot, decision);
    if (!plot.points.count)
        printf("no decisions\n");
    print_counts(&plot, "Decisions at each point", &plot.points);
    print_counts(&plot, "Pods put on each node", &plot.nodes);
    auto_free const char **names = map_sorted_keys(&plot.figures);
    for (size_t i = 0; i < plot.figures.count && i < MAX_CHARTS; i++)
        print_figure(&plot, names[i], map_get(&plot.figures, names[i]));
    if (plot.figures.count > MAX_CHARTS)
        printf("%zu more figures: --object shows those of one object\n", plot.figures.count - MAX_CHARTS);
    map_fini(&plot.points);
    map_fini(&plot.nodes);
    map_fini(&plot.figures);
}
