/* More streams than libmicrohttpd allows by default, asleep together: they cost nothing, wake at once, and
 * end one by one. */
#include "http_test.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define STREAMS 1200

struct one {
    struct http_exchange *x;
    struct world *w;
    atomic_bool ready; /* a byte waits */
    int fd;            /* the client's socket */
};

struct world {
    struct http_server *server;
    atomic_size_t n_open, n_closed;
    struct one one[STREAMS];
    sem_t opened, closed;
};

static enum http_pull pull(void *arg, struct str *out)
{
    struct one *one = arg;
    if (atomic_exchange(&one->ready, false))
        str_add(out, "x");
    return HTTP_PULL_WAIT;
}

static void closed(void *arg)
{
    struct one *one = arg;
    one->w->n_closed++;
    sem_post(&one->w->closed);
}

static void handle(void *arg, struct http_exchange *x)
{
    static const struct http_stream_ops ops = {.pull = pull, .closed = closed};
    struct world *w = arg;
    struct one *one = &w->one[atoi(x->request.path + 1)];
    one->x = x;
    one->w = w;
    http_stream(x, 200, "text/plain", NULL, 0, &ops, one);
    sem_post(&w->opened);
}

static void wait_for(sem_t *semaphore)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    assert_int_equal(sem_timedwait(semaphore, &until), 0);
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static int64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

static void expect_byte(int fd)
{
    char text[512];
    size_t got = 0;
    while (got < 5 || memcmp(text + got - 3, "x\r\n", 3) != 0) { /* the end of a chunk */
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 10000), 1);
        ssize_t n = recv(fd, text + got, sizeof text - got, 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void open_all(struct world *w)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(http_server_port(w->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < STREAMS; i++) {
        w->one[i].ready = true;
        w->one[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(w->one[i].fd, (struct sockaddr *)&to, sizeof to), 0);
        char head[64];
        int len = snprintf(head, sizeof head, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
        assert_int_equal(send(w->one[i].fd, head, (size_t)len, 0), len);
    }
    for (int i = 0; i < STREAMS; i++) {
        wait_for(&w->opened);
        expect_byte(w->one[i].fd);
    }
}

static void sleeping_streams(void **state UNUSED)
{
    struct world *w = NEW(struct world);
    sem_init(&w->opened, 0, 0);
    sem_init(&w->closed, 0, 0);
    const struct http_server_options options = {.address = "127.0.0.1", .handler = handle, .handler_arg = w};
    w->server = http_server_new(&options, NULL);
    assert_non_null(w->server);
    open_all(w);

    int64_t idle = cpu_us();
    struct timespec second = {.tv_sec = 1};
    nanosleep(&second, NULL); /* what is measured is that nothing happens */
    idle = cpu_us() - idle;
    assert_true(idle < 5000);

    int64_t latency[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        int64_t start = now_us();
        w->one[i].ready = true;
        http_stream_wake(w->one[i].x);
        expect_byte(w->one[i].fd);
        latency[i] = now_us() - start;
    }
    qsort(latency, STREAMS, sizeof latency[0], compare);
    print_message("%d streams: idle %lld us of CPU in a second; wake to read p50 %lld us, p99 %lld us\n",
                  STREAMS, (long long)idle, (long long)latency[STREAMS / 2],
                  (long long)latency[STREAMS * 99 / 100]);

    for (int i = 0; i < STREAMS; i++)
        close(w->one[i].fd);
    for (int i = 0; i < STREAMS; i++)
        wait_for(&w->closed);
    assert_int_equal(w->n_closed, STREAMS);
    http_server_free(w->server);
    sem_destroy(&w->opened);
    sem_destroy(&w->closed);
    free(w);
}

int main(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 4 * STREAMS + 512) {
        print_message("only %llu descriptors allowed: not run\n", (unsigned long long)files.rlim_cur);
        return 0;
    }
    log_set_silent(1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(sleeping_streams)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
