/* Several threads at once, with the store's own writer: no update of a contended object is lost, creates of
 * one name have one winner, addresses are given out once, and a quota is filled and not exceeded. Worth
 * running under tsan too. */
#include "api_test.h"

#define THREADS 4
#define ROUNDS 60
#define CONFIGMAPS "/api/v1/namespaces/default/configmaps"

struct waiting { /* an exchange that a thread waits for */
    struct http_exchange x;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    int status;
    struct bytes *body;
};

static void waiting_respond(struct http_exchange *x, int status, const char *type, struct bytes *body,
                            const struct http_pair *headers, size_t n)
{
    (void)type;
    (void)headers;
    (void)n;
    struct waiting *waiting = CONTAINER_OF(x, struct waiting, x);
    pthread_mutex_lock(&waiting->lock);
    waiting->status = status;
    waiting->body = body;
    pthread_cond_signal(&waiting->answered);
    pthread_mutex_unlock(&waiting->lock);
}

static const struct http_exchange_ops waiting_ops = {.respond = waiting_respond};

static int request(struct api *api, const char *method, const char *path, const char *type, const char *body,
                   struct bytes **answer)
{
    struct waiting waiting = {.x.ops = &waiting_ops};
    pthread_mutex_init(&waiting.lock, NULL);
    pthread_cond_init(&waiting.answered, NULL);
    auto_free char *text = quoted(body);
    const struct http_pair header = {"content-type", type};
    waiting.x.request = (struct http_request){.method = method,
                                              .path = path,
                                              .target = path,
                                              .headers = &header,
                                              .n_headers = 1,
                                              .body = text,
                                              .body_len = strlen(text),
                                              .certificate_user = "admin",
                                              .certificate_groups = masters,
                                              .remote = "test"};
    api_handle(api, &waiting.x);
    pthread_mutex_lock(&waiting.lock);
    while (!waiting.status)
        pthread_cond_wait(&waiting.answered, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    pthread_mutex_destroy(&waiting.lock);
    pthread_cond_destroy(&waiting.answered);
    if (answer)
        *answer = waiting.body;
    else
        bytes_unref(waiting.body);
    return waiting.status;
}

struct worker {
    struct api *api;
    int index;
    unsigned won, failed, within;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct worker *worker = arg;
    for (int i = 0; i < ROUNDS; i++) {
        auto_free char *patch = mem_printf("{'data':{'t%d-%d':'x'}}", worker->index, i);
        if (request(worker->api, "PATCH", CONFIGMAPS "/shared", "application/merge-patch+json", patch,
                    NULL) != 200)
            worker->failed++;
        auto_free char *once = mem_printf("{'metadata':{'name':'once-%d'}}", i);
        int status = request(worker->api, "POST", CONFIGMAPS, "application/json", once, NULL);
        worker->won += status == 201;
        worker->failed += status != 201 && status != 409;
        auto_free char *counted = mem_printf("{'metadata':{'name':'c%d-%d'}}", worker->index, i);
        status = request(worker->api, "POST", "/api/v1/namespaces/default/secrets", "application/json",
                         counted, NULL);
        worker->within += status == 201;
        worker->failed += status != 201 && status != 403;
        auto_free char *service =
            mem_printf("{'metadata':{'name':'s%d-%d'},'spec':{'ports':[{'port':80}]}}", worker->index, i);
        worker->failed += request(worker->api, "POST", "/api/v1/namespaces/default/services",
                                  "application/json", service, NULL) != 201;
    }
    return NULL;
}

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void check_addresses(struct api *api)
{
    auto_bytes answer = NULL;
    assert_int_equal(request(api, "GET", "/api/v1/namespaces/default/services", "", "", &answer), 200);
    auto_json list = json_parse(answer->data, answer->len, NULL);
    auto_map seen = {0};
    size_t count = 0;
    const cJSON *items = json_get(list, "items");
    json_each (service, items) {
        const char *ip = json_string(service, "spec.clusterIP");
        assert_non_null(ip);
        assert_false(map_has(&seen, ip));
        map_set(&seen, ip, (void *)ip);
        count++;
    }
    assert_int_equal(count, THREADS * ROUNDS + 1);
}

static void test_contention(void **state)
{
    struct world *w = *state;
    pthread_t loop_thread;
    expect(w, 201, "POST", CONFIGMAPS, "{'metadata':{'name':'shared'}}");
    expect(w, 201, "POST", "/api/v1/namespaces/default/resourcequotas",
           "{'metadata':{'name':'q'},'spec':{'hard':{'count/secrets':'100'}}}");
    assert_int_equal(pthread_create(&loop_thread, NULL, run_loop, w->loop), 0);
    struct worker workers[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.api = w->api, .index = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    unsigned won = 0, within = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failed, 0);
        won += workers[i].won;
        within += workers[i].within;
    }
    assert_int_equal(won, ROUNDS);
    assert_int_equal(within, 100);
    auto_bytes answer = NULL;
    assert_int_equal(request(w->api, "GET", CONFIGMAPS "/shared", "", "", &answer), 200);
    auto_json shared = json_parse(answer->data, answer->len, NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(shared, "data")), THREADS * ROUNDS);
    check_addresses(w->api);
    loop_stop(w->loop);
    pthread_join(loop_thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contention, setup_threads, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
