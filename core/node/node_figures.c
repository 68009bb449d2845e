/*
 * node_figures: see the header. State: for each name and object when it was last looked at and what each of
 * its counters said then; what was not wanted for a while is forgotten.
 */
#include <ctype.h>
#include <string.h>

#include "metrics/metrics.h"
#include "node/node_figures.h"

#define FORGET_ROUNDS 8 /* a question that was lost does not make a counter unknown */

struct counted {
    int64_t at_ns;     /* of the last look; 0: never */
    struct map totals; /* labels → double */
    unsigned round;    /* in which it was last found */
    /* in this round */
    double increase, gauge;
    bool has_counter, has_gauge;
};

struct figures_job {
    struct node_figures *figures; /* NULL: nobody waits any more */
    const struct node_extension *const *types;
    char *directory;
    struct str text;
};

struct node_figures {
    struct node *node;
    char **names, **objects;
    size_t n_names, n_objects;
    struct map counted; /* "OBJECT NAME" → struct counted */
    cJSON *found;
    unsigned round;
    struct figures_job *job;
    node_on_figures *done;
    void *arg;
};

static void counted_free(void *value)
{
    struct counted *counted = value;
    map_fini(&counted->totals);
    free(counted);
}

struct node_figures *node_figures_new(struct node *node)
{
    struct node_figures *figures = NEW(struct node_figures);
    figures->node = node;
    map_init(&figures->counted, counted_free);
    return figures;
}

void node_figures_free(struct node_figures *figures)
{
    if (!figures)
        return;
    if (figures->job)
        figures->job->figures = NULL;
    map_fini(&figures->counted);
    cJSON_Delete(figures->found);
    free(figures->names);
    free(figures->objects);
    free(figures);
}

void node_figures_want(struct node_figures *figures, const char *names, const char *objects)
{
    free(figures->names);
    free(figures->objects);
    figures->names = str_split(names, ',', &figures->n_names);
    figures->objects = str_split(objects, ',', &figures->n_objects);
    figures->round++;
}

/* ---- one page ---- */

/* "Service/default/api": is the sample about it? */
static bool is_about(const struct metrics_sample *sample, const char *namespace, const char *object)
{
    size_t kind_len = strcspn(object, "/"), space_len = strcspn(object + kind_len + 1, "/");
    const char *space = object + kind_len + 1, *name = space + space_len + 1;
    if (strlen(namespace) != space_len || memcmp(namespace, space, space_len) != 0)
        return false;
    auto_free char *label = mem_strndup(object, kind_len);
    for (char *at = label; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    auto_free char *value = metrics_label(sample, label);
    return value && strcmp(value, name) == 0;
}

static void count(struct node_figures *figures, const char *object, const char *name,
                  const struct metrics_sample *sample)
{
    auto_free char *key = mem_printf("%s %s", object, name);
    struct counted *counted = map_get(&figures->counted, key);
    if (!counted) {
        counted = NEW(struct counted);
        map_init(&counted->totals, free);
        map_set(&figures->counted, key, counted);
    }
    counted->round = figures->round;
    if (!sample->counter) {
        counted->gauge += sample->value;
        counted->has_gauge = true;
        return;
    }
    double *total = map_get(&counted->totals, sample->labels);
    double before = total && sample->value >= *total ? *total : 0;
    if (!total) {
        total = NEW(double);
        map_set(&counted->totals, sample->labels, total);
    }
    *total = sample->value;
    counted->increase += sample->value - before;
    counted->has_counter = true;
}

static void on_sample(void *arg, const struct metrics_sample *sample)
{
    struct node_figures *figures = arg;
    auto_free char *namespace = NULL;
    for (size_t n = 0; n < figures->n_names; n++) {
        if (!metrics_is_wanted(sample, figures->names[n]))
            continue;
        if (!namespace && !(namespace = metrics_label(sample, "namespace")))
            return;
        for (size_t i = 0; i < figures->n_objects; i++)
            if (is_about(sample, namespace, figures->objects[i]))
                count(figures, figures->objects[i], figures->names[n], sample);
    }
}

static void add_value(cJSON *metrics, const char *name, const double *value)
{
    cJSON *one = json_push(metrics, cJSON_CreateObject());
    json_set_string(one, "name", name);
    if (!value)
        return;
    auto_free char *text = mem_printf("%.0fm", *value * 1000);
    json_set_string(one, "value", text);
}

/* Ends the round for one name of one object. */
static void tell(struct counted *counted, cJSON *metrics, const char *name, int64_t now_ns)
{
    if (counted->has_gauge) {
        add_value(metrics, name, &counted->gauge);
    } else if (counted->has_counter) {
        double rate = counted->increase * 1e9 / (double)(now_ns - counted->at_ns);
        add_value(metrics, name, counted->at_ns && now_ns > counted->at_ns ? &rate : NULL);
        counted->at_ns = now_ns;
    }
    counted->increase = counted->gauge = 0;
    counted->has_counter = counted->has_gauge = false;
}

static void tell_object(struct node_figures *figures, const char *object, int64_t now_ns)
{
    auto_json metrics = cJSON_CreateArray();
    for (size_t n = 0; n < figures->n_names; n++) {
        auto_free char *key = mem_printf("%s %s", object, figures->names[n]);
        struct counted *counted = map_get(&figures->counted, key);
        if (counted && counted->round == figures->round)
            tell(counted, metrics, figures->names[n], now_ns);
    }
    if (!metrics->child)
        return;
    size_t count;
    auto_free char **parts = str_split(object, '/', &count);
    cJSON *one = json_push(figures->found, cJSON_CreateObject());
    json_set_string(one, "kind", parts[0]);
    json_set_string(one, "namespace", parts[1]);
    json_set_string(one, "name", parts[2]);
    json_set(one, "metrics", steal(&metrics));
}

static bool is_object(const char *text)
{
    size_t count;
    auto_free char **parts = str_split(text, '/', &count);
    return count == 3 && *parts[0] && *parts[1] && *parts[2];
}

void node_figures_read(struct node_figures *figures, const char *page, int64_t now_ns)
{
    size_t kept = 0;
    for (size_t i = 0; i < figures->n_objects; i++)
        if (is_object(figures->objects[i]))
            figures->objects[kept++] = figures->objects[i];
    figures->n_objects = kept;
    cJSON_Delete(figures->found);
    figures->found = cJSON_CreateArray();
    metrics_scan(page, strlen(page), on_sample, figures);
    for (size_t i = 0; i < figures->n_objects; i++)
        tell_object(figures, figures->objects[i], now_ns);
    map_each (entry, &figures->counted)
        if (((struct counted *)entry->value)->round + FORGET_ROUNDS < figures->round)
            map_remove(&figures->counted, entry->key);
}

/* ---- asking ---- */

static void job_work(void *arg)
{
    struct figures_job *job = arg;
    node_extensions_metrics(job->types, job->directory, &job->text);
}

static void job_done(void *arg)
{
    struct figures_job *job = arg;
    struct node_figures *figures = job->figures;
    if (figures) {
        const struct clock *clock = loop_clock(figures->node->loop);
        figures->job = NULL;
        node_figures_read(figures, str_c(&job->text), clock->monotonic_ns(clock->arg));
        figures->done(figures->arg);
    }
    str_free(&job->text);
    free(job->directory);
    free(job);
}

void node_figures_run(struct node_figures *figures, const char *names, const char *objects,
                      node_on_figures *done, void *arg)
{
    const struct node_options *options = &figures->node->options;
    node_figures_want(figures, names, objects);
    figures->done = done;
    figures->arg = arg;
    figures->job = NEW(struct figures_job);
    *figures->job = (struct figures_job){
        .figures = figures, .types = options->extensions, .directory = mem_strdup(options->directory)};
    pool_run(options->pool, figures->node->loop, job_work, job_done, figures->job);
}

bool node_figures_busy(const struct node_figures *figures)
{
    return figures->job != NULL;
}

const cJSON *node_figures_objects(const struct node_figures *figures)
{
    return figures->found;
}
