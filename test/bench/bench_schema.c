/*
 * bench_schema: what admission of one pod costs in core/schema: check, default, validate, terms. Prints
 * microseconds per call (median of five rounds) for a pod of about 1.5 KB. Needs nothing but the kinds that
 * the build wrote.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "schema/schema.h"

#define ROUNDS 5
#define CALLS 20000
#define BATCH 50

static const char pod_text[] =
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"web-7d4b9c6f5-x2x9q\",\"namespace\":"
    "\"default\",\"labels\":{\"app\":\"web\",\"tier\":"
    "\"front\",\"pod-template-hash\":\"7d4b9c6f5\"},\"annotations\":{\"team\":\"a\"},\"ownerReferences\":[{"
    "\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\","
    "\"name\":\"web-7d4b9c6f5\",\"uid\":\"0f7e3c1a-9d8b-4c3e-8f11-22aa33bb44cc\",\"controller\":true,"
    "\"blockOwnerDeletion\":true}]},\"spec\":{\"containers\":[{"
    "\"name\":\"web\",\"image\":\"registry.local/web:1.4.2\",\"command\":[\"/bin/"
    "web\"],\"args\":[\"--listen\",\":8080\"],\"ports\":[{\"name\":\"http\","
    "\"containerPort\":8080}],\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"2\"},{"
    "\"name\":\"IP\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":"
    "\"status.podIP\"}}},{\"name\":\"P\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"db\",\"key\":"
    "\"password\"}}}],\"resources\":{\"requests\":{\"cpu\":\"100m\","
    "\"memory\":\"64Mi\"},\"limits\":{\"cpu\":\"500m\",\"memory\":\"128Mi\"}},\"volumeMounts\":[{\"name\":"
    "\"cfg\",\"mountPath\":\"/etc/web\",\"readOnly\":true},{\"name\":"
    "\"tmp\",\"mountPath\":\"/tmp\"}],\"readinessProbe\":{\"httpGet\":{\"path\":\"/"
    "ready\",\"port\":\"http\"},\"periodSeconds\":2}},{\"name\":\"log\",\"image\":\"registry.local/"
    "log:2\",\"volumeMounts\":[{\"name\":\"tmp\",\"mountPath\":\"/"
    "tmp\"}]}],\"volumes\":[{\"name\":\"cfg\",\"configMap\":{\"name\":\"web\"}},{\"name\":\"tmp\","
    "\"emptyDir\":"
    "{}}],\"tolerations\":[{\"key\":\"node.kubernetes.io/"
    "not-ready\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300}],"
    "\"nodeSelector\":{\"disk\":"
    "\"ssd\"},\"restartPolicy\":\"Always\"}}";

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

struct cost {
    double check, fill, validate, terms;
};

/* A batch of pods goes through one step at a time, so that reading the clock costs nothing against it. */
static void one_batch(const struct schema_kind *kind, const cJSON *model, struct cost *cost)
{
    cJSON *pods[BATCH], *warnings[BATCH];
    char **terms[BATCH];
    size_t count;
    for (int i = 0; i < BATCH; i++) {
        pods[i] = json_copy(model);
        warnings[i] = cJSON_CreateArray();
    }
    double start = now_us();
    for (int i = 0; i < BATCH; i++)
        must(schema_check(kind, pods[i], SCHEMA_STRICT, warnings[i], NULL) == 0);
    double checked = now_us();
    for (int i = 0; i < BATCH; i++)
        schema_default(kind, pods[i]);
    double filled = now_us();
    for (int i = 0; i < BATCH; i++)
        must(schema_validate(kind, pods[i], NULL, false, NULL) == 0);
    double validated = now_us();
    for (int i = 0; i < BATCH; i++)
        terms[i] = schema_terms(kind, pods[i], &count);
    double end = now_us();
    cost->check += checked - start;
    cost->fill += filled - checked;
    cost->validate += validated - filled;
    cost->terms += end - validated;
    for (int i = 0; i < BATCH; i++) {
        cJSON_Delete(pods[i]);
        cJSON_Delete(warnings[i]);
        free(terms[i]);
    }
}

static struct cost one_round(const struct schema_kind *kind, const cJSON *model)
{
    struct cost cost = {0};
    for (int i = 0; i < CALLS / BATCH; i++)
        one_batch(kind, model, &cost);
    return cost;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *name, double *rounds)
{
    qsort(rounds, ROUNDS, sizeof(*rounds), by_value);
    printf("%-10s %6.2f us\n", name, rounds[ROUNDS / 2] / CALLS);
}

int main(void)
{
    json_init();
    auto_free char *data = NULL;
    size_t len;
    must(file_read(MINIK8S_KINDS_JSON, 16 << 20, &data, &len, NULL) == 0);
    auto_json kinds = json_parse(data, len, NULL);
    struct schema *schema = schema_new();
    must(schema_add_all(schema, kinds, NULL) == 0);
    const struct schema_kind *kind = schema_find_word(schema, "pod");
    auto_json model = json_parse(pod_text, strlen(pod_text), NULL);
    must(model);
    double check[ROUNDS], fill[ROUNDS], validate[ROUNDS], terms[ROUNDS], sum[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        struct cost cost = one_round(kind, model);
        check[i] = cost.check;
        fill[i] = cost.fill;
        validate[i] = cost.validate;
        terms[i] = cost.terms;
        sum[i] = cost.check + cost.fill + cost.validate;
    }
    printf("pod of %zu bytes, medians of %d rounds of %d calls\n", strlen(pod_text), ROUNDS, CALLS);
    report("check", check);
    report("default", fill);
    report("validate", validate);
    report("together", sum);
    report("terms", terms);
    schema_free(schema);
    return 0;
}
