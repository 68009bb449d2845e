/*
 * node_scrape: figures that pods tell about themselves. A pod with the annotation prometheus.io/scrape:
 * "true" is asked for its page (prometheus.io/port, else its first declared port; prometheus.io/path, else
 * /metrics) when, and only when, somebody wants a named figure of it.
 *
 * A name is looked for as it stands; "X_per_second" also means the rate of the counter X_total or X. Samples
 * with several sets of labels are added up. A counter always counts as its rate: a figure since the start of
 * a process says nothing about its load now. The first look at a counter, and one after it went back (the
 * program was restarted), give no figure.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "metrics/metrics.h"
#include "node/node_scrape.h"

#define TIMEOUT_MS 800
#define PAGE_MAX (1u << 20)

struct counter {
    double total;
    int64_t at_ns;
    unsigned round;
};

struct target {
    struct http_client *client;
    unsigned round;
};

struct node_scrape {
    struct node *node;
    struct map targets;  /* base URL → struct target */
    struct map counters; /* "uid name" → struct counter */
    struct map found;    /* uid → cJSON array of {name, value} */
    char **names;
    size_t n_names;
    unsigned round, pending;
    struct list pages; /* under way */
    node_on_scraped *done;
    void *arg;
};

struct page {
    struct list link;
    struct node_scrape *scrape;
    struct http_client *client;
    struct http_pending *pending;
    char *uid, *url;
    struct str text;
};

/* One wanted name while a page is read. */
struct wanted {
    const char *name;
    double gauge, counter;
    bool has_gauge, has_counter;
};

struct reading {
    struct wanted *wanted;
    size_t count;
};

static void free_target(void *value)
{
    struct target *target = value;
    target->client->ops->free(target->client);
    free(target);
}

static void free_json(void *value)
{
    cJSON_Delete(value);
}

struct node_scrape *node_scrape_new(struct node *node)
{
    struct node_scrape *scrape = NEW(struct node_scrape);
    scrape->node = node;
    map_init(&scrape->targets, free_target);
    map_init(&scrape->counters, free);
    map_init(&scrape->found, free_json);
    list_init(&scrape->pages);
    return scrape;
}

static void page_free(struct page *page)
{
    list_remove(&page->link);
    free(page->uid);
    free(page->url);
    str_free(&page->text);
    free(page);
}

void node_scrape_free(struct node_scrape *scrape)
{
    if (!scrape)
        return;
    while (!list_empty(&scrape->pages)) {
        struct page *page = list_first(&scrape->pages, struct page, link);
        page->client->ops->cancel(page->client, page->pending);
        page_free(page);
    }
    map_fini(&scrape->targets);
    map_fini(&scrape->counters);
    map_fini(&scrape->found);
    free(scrape->names);
    free(scrape);
}

/* ---- what a page says ---- */

static void on_sample(void *arg, const struct metrics_sample *sample)
{
    struct reading *reading = arg;
    for (size_t i = 0; i < reading->count; i++) {
        struct wanted *wanted = &reading->wanted[i];
        if (!metrics_is_wanted(sample, wanted->name))
            continue;
        *(sample->counter ? &wanted->counter : &wanted->gauge) += sample->value;
        *(sample->counter ? &wanted->has_counter : &wanted->has_gauge) = true;
    }
}

/* Per second since the last look; false if there is none to compare with. */
static bool rate_of(struct node_scrape *scrape, const char *uid, const struct wanted *wanted, double *rate)
{
    auto_free char *key = mem_printf("%s %s", uid, wanted->name);
    const struct clock *clock = loop_clock(scrape->node->loop);
    int64_t now = clock->monotonic_ns(clock->arg);
    struct counter *last = map_get(&scrape->counters, key);
    bool known = last && now > last->at_ns && wanted->counter >= last->total;
    if (known)
        *rate = (wanted->counter - last->total) * 1e9 / (double)(now - last->at_ns);
    if (!last) {
        last = NEW(struct counter);
        map_set(&scrape->counters, key, last);
    }
    *last = (struct counter){wanted->counter, now, scrape->round};
    return known;
}

static void add_value(cJSON *values, const char *name, double value)
{
    cJSON *one = json_push(values, cJSON_CreateObject());
    auto_free char *text = mem_printf("%.0fm", value * 1000);
    json_set_string(one, "name", name);
    json_set_string(one, "value", text);
}

static void read_page(struct page *page)
{
    struct node_scrape *scrape = page->scrape;
    auto_free struct wanted *wanted = mem_array(scrape->n_names + 1, sizeof(*wanted));
    for (size_t i = 0; i < scrape->n_names; i++)
        wanted[i] = (struct wanted){.name = scrape->names[i]};
    struct reading reading = {wanted, scrape->n_names};
    metrics_scan(str_c(&page->text), page->text.len, on_sample, &reading);
    cJSON *values = cJSON_CreateArray();
    for (size_t i = 0; i < scrape->n_names; i++) {
        double rate;
        if (wanted[i].has_gauge)
            add_value(values, wanted[i].name, wanted[i].gauge);
        else if (wanted[i].has_counter && rate_of(scrape, page->uid, &wanted[i], &rate))
            add_value(values, wanted[i].name, rate);
    }
    map_set(&scrape->found, page->uid, values);
}

/* ---- asking ---- */

static void forget_unused(struct node_scrape *scrape)
{
    map_each (entry, &scrape->targets) {
        if (((struct target *)entry->value)->round != scrape->round)
            map_remove(&scrape->targets, entry->key);
    }
    map_each (entry, &scrape->counters) {
        if (((struct counter *)entry->value)->round + 8 < scrape->round) /* a late answer is forgiven */
            map_remove(&scrape->counters, entry->key);
    }
}

static void one_less(struct node_scrape *scrape)
{
    if (--scrape->pending > 0)
        return;
    forget_unused(scrape);
    node_on_scraped *done = scrape->done;
    scrape->done = NULL;
    done(scrape->arg);
}

static bool on_data(void *arg, int status, const char *data, size_t len)
{
    struct page *page = arg;
    if (status != 200 || page->text.len + len > PAGE_MAX)
        return false;
    str_add_n(&page->text, data, len);
    return true;
}

static void on_end(void *arg, const struct http_response *response, struct err *err)
{
    struct page *page = arg;
    struct node_scrape *scrape = page->scrape;
    if (!err && response->status == 200)
        read_page(page);
    else
        log_info("node", "%s gives no metrics: %s", page->url,
                 err ? err_message(err) : "the answer is not 200 or too long");
    page_free(page);
    one_less(scrape);
}

static char *url_of(const struct pod *pod, const char **path)
{
    char text[INET_ADDRSTRLEN];
    const cJSON *annotations = json_at(pod->object, "metadata.annotations");
    const cJSON *wanted = json_get(annotations, "prometheus.io/scrape");
    const cJSON *port = json_get(annotations, "prometheus.io/port");
    const cJSON *page = json_get(annotations, "prometheus.io/path");
    const char *ip = pod_ip(pod, text);
    if (!cJSON_IsString(wanted) || !str_eq(wanted->valuestring, "true") || !ip || pod->gone)
        return NULL;
    int64_t number = cJSON_IsString(port) ? atoll(port->valuestring) : 0;
    if (!port)
        number = json_int(pod->object, "spec.containers[0].ports[0].containerPort", 0);
    *path = cJSON_IsString(page) && *page->valuestring == '/' ? page->valuestring : "/metrics";
    return number > 0 && number < 65536 ? mem_printf("http://%s:%d", ip, (int)number) : NULL;
}

static struct http_client *client_for(struct node_scrape *scrape, const char *url)
{
    struct target *target = map_get(&scrape->targets, url);
    auto_err err = NULL;
    if (!target) {
        const struct http_client_options options = {.base_url = url};
        struct http_client *client = http_client_curl_new(scrape->node->loop, &options, &err);
        if (!client) {
            log_warn("node", "no client for %s: %s", url, err_message(err));
            return NULL;
        }
        target = NEW(struct target);
        target->client = client;
        map_set(&scrape->targets, url, target);
    }
    target->round = scrape->round;
    return target->client;
}

static void ask(struct node_scrape *scrape, const struct pod *pod)
{
    const char *path = NULL;
    auto_free char *url = url_of(pod, &path);
    struct http_client *client = url ? client_for(scrape, url) : NULL;
    if (!client)
        return;
    struct page *page = NEW(struct page);
    *page = (struct page){
        .scrape = scrape, .client = client, .uid = mem_strdup(pod->uid), .url = mem_strdup(url)};
    list_add_tail(&scrape->pages, &page->link);
    scrape->pending++;
    const struct http_call call = {.method = "GET",
                                   .target = path,
                                   .timeout_ms = TIMEOUT_MS,
                                   .on_data = on_data,
                                   .on_response = on_end,
                                   .arg = page};
    page->pending = client->ops->call(client, &call);
}

void node_scrape_run(struct node_scrape *scrape, const char *names, node_on_scraped *done, void *arg)
{
    scrape->done = done;
    scrape->arg = arg;
    scrape->round++;
    free(scrape->names);
    scrape->names = str_split(names, ',', &scrape->n_names);
    map_fini(&scrape->found);
    map_init(&scrape->found, free_json);
    scrape->pending = 1;
    map_each (entry, &scrape->node->pods) {
        const struct pod *pod = entry->value;
        if (pod->object)
            ask(scrape, pod);
    }
    one_less(scrape);
}

bool node_scrape_busy(const struct node_scrape *scrape)
{
    return scrape->done != NULL;
}

const cJSON *node_scrape_values(const struct node_scrape *scrape, const char *uid)
{
    return map_get(&scrape->found, uid);
}
