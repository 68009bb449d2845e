/* What the bundle dns-ingress writes for the proxies: map files, and a configuration that the real HAProxy
 * accepts; the changes that its socket is told. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../plugins/dns-ingress/node/ingress_listen.c"
#include "../../../plugins/dns-ingress/node/ingress_metrics.c"
#include "../../../plugins/dns-ingress/node/ingress_render.c"
#include "../../../plugins/dns-ingress/node/ingress_socket.c"
#include "base/file.h"

static void add(struct map *routes, const char *key, const char *text)
{
    auto_free char *spec = mem_printf("{\"routes\":[%s]}", text);
    cJSON *parsed = json_parse(spec, strlen(spec), NULL);
    assert_non_null(parsed);
    map_set(routes, key, parsed);
}

static void free_json(void *value)
{
    cJSON_Delete(value);
}

#define ROUTE(host, type, path, more)                                                                        \
    "{\"host\":\"" host "\",\"type\":\"" type "\",\"path\":\"" path                                          \
    "\",\"service\":\"d/s:80\",\"address\":\"10.96.0.1\",\"port\":80" more "}"

static void fill(struct map *routes)
{
    map_init(routes, free_json);
    add(routes, "d/a",
        ROUTE("a.test", "Prefix", "/api", "") "," ROUTE("a.test", "Exact", "/x", "") "," ROUTE(
            "*.w.test", "Prefix", "/", "") "," ROUTE("", "Default", "/", ""));
    add(routes, "d/b",
        ROUTE("b.test", "Prefix", "/v1/items/", ",\"target\":\"/in/\"") "," ROUTE(
            "b.test", "Exact", "/e",
            ",\"target\":\"/\",\"redirect\":true") "," ROUTE("b.test", "Regex", "/r[0-9]",
                                                             "") "," ROUTE("*.w.test", "Regex",
                                                                           "/longer[0-9]+", ""));
    add(routes, "d/c", "{\"host\":\"c.test\",\"type\":\"Prefix\",\"path\":\"/\",\"service\":\"d/none:1\"}");
}

static void test_maps(void **state UNUSED)
{
    struct map routes;
    struct str maps[MAP_COUNT] = {{0}};
    fill(&routes);
    ingress_render_maps(&routes, maps);
    assert_string_equal(str_c(&maps[MAP_EXACT]), "a.test/x d/s:80|10.96.0.1|80||||a\n"
                                                 "-default- d/s:80|10.96.0.1|80||||a\n"
                                                 "b.test/e d/s:80|10.96.0.1|80|x||r|b\n");
    assert_string_equal(str_c(&maps[MAP_PREFIX]), "a.test/api/ d/s:80|10.96.0.1|80||||a\n"
                                                  "*.w.test/ d/s:80|10.96.0.1|80||||a\n"
                                                  "b.test/v1/items/ d/s:80|10.96.0.1|80|s2|/in||b\n"
                                                  "c.test/ d/none:1||0||||c\n");
    assert_string_equal(str_c(&maps[MAP_REGEX]), /* the longest first */
                        "^[^./]+\\.w\\.test(?:/longer[0-9]+) d/s:80|10.96.0.1|80||||b\n"
                        "^b\\.test(?:/r[0-9]) d/s:80|10.96.0.1|80||||b\n");
    for (int i = 0; i < MAP_COUNT; i++)
        str_free(&maps[i]);
    map_fini(&routes);
}

static void write_text(const char *folder, const char *name, const struct str *text)
{
    auto_free char *path = file_join(folder, name);
    assert_int_equal(file_write_atomic(path, str_c(text), text->len, 0600, NULL), 0);
}

/* With two listening sockets, as the proxies have them. */
static int run(const char *const *argv)
{
    int status = -1, fds[] = {socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(listen(fds[0], 1) | listen(fds[1], 1), 0); /* ports of the kernel's choice */
    pid_t pid = file_spawn_program(&(struct file_program){.argv = argv, .fds = fds, .n_fds = 2}, NULL);
    close(fds[0]);
    close(fds[1]);
    assert_true(pid > 0);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_configuration(void **state UNUSED)
{
    char folder[] = "/tmp/minik8s-ingress-XXXXXX";
    struct map routes;
    struct str texts[MAP_COUNT] = {{0}};
    auto_str configuration = {0}, page = {0}, unavailable = {0}, empty = {0};
    assert_non_null(mkdtemp(folder));
    auto_free char *pem = file_join(folder, "default.pem"), *path = file_join(folder, "proxy-1.cfg");
    const char *const certificate[] = {
        "openssl", "req",   "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes",  "-subj", "/CN=x", "-keyout", pem,  "-out",     pem,
        NULL};
    const char *const check[] = {"haproxy", "-c", "-q", "-f", path, NULL};
    fill(&routes);
    ingress_render_maps(&routes, texts);
    for (int i = 0; i < MAP_COUNT; i++)
        write_text(folder, ingress_map_names[i], &texts[i]);
    ingress_render_config(&configuration, folder, (const char *const[]){"127.0.0.1", NULL}, 1);
    ingress_render_page(&page, "404", "x");
    ingress_render_unavailable(&unavailable);
    write_text(folder, "404.html", &page);
    write_text(folder, "missing.html", &page);
    write_text(folder, "nobody.html", &page);
    write_text(folder, "503.http", &unavailable);
    write_text(folder, "certificates.list", &empty);
    write_text(folder, "proxy-1.cfg", &configuration);
    assert_int_equal(run(certificate), 0);
    assert_int_equal(run(check), 0);
    for (int i = 0; i < MAP_COUNT; i++)
        str_free(&texts[i]);
    map_fini(&routes);
    file_remove_tree(folder, NULL);
}

static void test_changes(void **state UNUSED)
{
    const struct str before = {.data = "a 1\nb 2\nc 3\n", .len = 12},
                     now = {.data = "a 1\nb 9\nd 4\n", .len = 12};
    const struct str odd = {.data = "a;b 1\n", .len = 6};
    auto_str command = {0}, more = {0};
    bool plain = true;
    assert_int_equal(changes_of("M", &before, &now, &command, &plain), 3);
    assert_string_equal(command.data, "set map M b 9;add map M d 4;del map M c");
    assert_true(plain);
    assert_int_equal(changes_of("M", &now, &now, &more, &plain), 0);
    changes_of("M", &before, &odd, &more, &plain);
    assert_false(plain); /* such a key is not for a command line: the whole map is told */
}

static void test_pieces(void **state UNUSED)
{
    auto_str text = {0};
    for (int i = 0; i < 2000; i++)
        str_addf(&text, "host%d.test/path/ value\n", i);
    size_t total = 0;
    for (size_t at = 0; at < text.len;) {
        size_t len = piece_of(text.data + at, text.len - at);
        assert_true(len > 0 && len <= PIECE && text.data[at + len - 1] == '\n');
        at += len;
        total += len;
    }
    assert_int_equal(total, text.len);
}

/* A socket that answers one command with a text, in a child. */
static pid_t answering(const char *path, const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char command[64];
        int peer = accept(fd, NULL, NULL);
        if (read(peer, command, sizeof(command)) > 0 && write(peer, text, strlen(text)) > 0)
            _exit(0);
        _exit(1);
    }
    close(fd);
    return pid;
}

static void test_metrics(void **state UNUSED)
{
    char folder[] = "/tmp/minik8s-ingress-XXXXXX";
    auto_str page = {0}, silent = {0};
    struct str maps[MAP_COUNT] = {{0}};
    struct map routes;
    int status;
    assert_non_null(mkdtemp(folder));
    fill(&routes);
    ingress_render_maps(&routes, maps);
    for (int i = 0; i < MAP_COUNT; i++)
        write_text(folder, ingress_map_names[i], &maps[i]);
    ingress_metrics(folder, &silent);
    assert_string_equal(str_c(&silent), ""); /* no proxy answers: nothing is known, which is not 0 */
    auto_free char *path = file_join(folder, "2.sock");
    pid_t pid = answering(
        path, "# table: services, type: string, size:20480, used:3\n"
              "0x1: key=d/s:80|a use=0 exp=9 http_req_cnt=12 http_err_cnt=1 http_fail_cnt=2 "
              "bytes_out_cnt=99\n0x2: key=d/gone:80|a use=0 http_req_cnt=5\n0x3: key=odd use=0\n\n");
    ingress_metrics(folder, &page);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
#define SAMPLE(family, ingress, service, port, value)                                                        \
    "minik8s_ingress_" family "_total{namespace=\"d\",ingress=\"" ingress "\",service=\"" service            \
    "\",port=\"" port "\",proxy=\"2\"} " value "\n"
    assert_non_null(strstr(page.data, SAMPLE("requests", "a", "s", "80", "12")));
    assert_non_null(strstr(page.data, SAMPLE("server_errors", "a", "s", "80", "2")));
    assert_non_null(strstr(page.data, SAMPLE("sent_bytes", "a", "s", "80", "99")));
    assert_non_null(strstr(page.data, SAMPLE("requests", "c", "none", "1", "0"))); /* nobody asked yet */
    assert_null(strstr(page.data, "gone"));
    for (int i = 0; i < MAP_COUNT; i++)
        str_free(&maps[i]);
    map_fini(&routes);
    file_remove_tree(folder, NULL);
}

static ino_t socket_of(int fd)
{
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    return status.st_ino;
}

/* The sockets live on in a proxy; the next agent has the same ones, and takes no others for them. */
static void test_sockets(void **state UNUSED)
{
    char folder[] = "/tmp/minik8s-ingress-XXXXXX";
    int fds[] = {-1, -1};
    auto_err err = NULL;
    assert_non_null(mkdtemp(folder));
    auto_free char *address = mem_printf("127.91.%d.%d", getpid() / 250 % 250, getpid() % 250 + 1);
    auto_free char *pid_file = ingress_pid_file(folder, 2);
    assert_int_equal(ingress_listen(fds, folder, address, NULL), 0);
    ino_t http = socket_of(fds[INGRESS_HTTP]), https = socket_of(fds[INGRESS_HTTPS]);
    assert_int_not_equal(http, https);
    int others[] = {-1, -1};
    assert_int_equal(ingress_listen(others, folder, address, &err), -1); /* taken, and by no proxy */
    assert_non_null(strstr(err_message(err), "listening on port 80"));
    assert_int_equal(others[0], -1);
    const char *const sleeper[] = {"sleep", "1000", NULL};
    pid_t pid = file_spawn_program(&(struct file_program){.argv = sleeper, .fds = fds, .n_fds = 2}, NULL);
    auto_free char *identity = mem_printf("%d %llu 0\n", pid, file_process_start_time(pid));
    assert_int_equal(file_write_atomic(pid_file, identity, strlen(identity), 0600, NULL), 0);
    ingress_listen_close(fds);
    assert_int_equal(fds[0], -1);
    assert_int_equal(ingress_listen(fds, folder, address, NULL), 0);
    assert_int_equal(socket_of(fds[INGRESS_HTTP]), http);
    assert_int_equal(socket_of(fds[INGRESS_HTTPS]), https);
    assert_int_equal(ingress_listen(others, folder, "127.91.251.1", NULL),
                     0); /* not those of another address */
    assert_int_not_equal(socket_of(others[INGRESS_HTTP]), http);
    ingress_listen_close(others);
    ingress_listen_close(fds);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    file_remove_tree(folder, NULL);
}

/* Answers each connection with the next text, and ends. */
static pid_t answer_with(const char *path, const char *const *answers, size_t count)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (const struct sockaddr *)(const void *)&address, sizeof address), 0);
    assert_int_equal(listen(listening, 8), 0);
    pid_t pid = fork();
    if (pid) {
        close(listening);
        return pid;
    }
    for (size_t i = 0; i < count; i++) {
        char request[512];
        int fd = accept(listening, NULL, NULL);
        if (recv(fd, request, sizeof request, 0) < 0 || send(fd, answers[i], strlen(answers[i]), 0) < 0)
            _exit(1);
        close(fd);
    }
    _exit(0);
}

/* A worker that is about to end may close a connection without having done anything: no success. */
static void test_half_answers(void **state UNUSED)
{
    static const char *const answers[] = {"\n\n", "\n", "", "Key not found.\n\n\n", ""};
    char folder[] = "/tmp/minik8s-ingress-XXXXXX";
    assert_non_null(mkdtemp(folder));
    auto_free char *path = file_join(folder, "1.sock");
    pid_t pid = answer_with(path, answers, COUNT_OF(answers));
    auto_str before = {0}, now = {0};
    str_add(&before, "a.test/ 1\n");
    str_add(&now, "a.test/ 2\nb.test/ 3\n");
    for (size_t i = 0; i + 1 < COUNT_OF(answers); i++)
        assert_int_equal(socket_change_map(path, "m", &before, &now, NULL), i ? -1 : 0);
    assert_int_equal(socket_set_map(path, "m", &now, NULL), -1);
    waitpid(pid, NULL, 0);
    file_remove_tree(folder, NULL);
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps),        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_changes),     cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_metrics),     cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_half_answers)};
    return cmocka_run_group_tests_name("plugin ingress", tests, NULL, NULL);
}
