/*
 * What needs no podman: the translation of a spec, the meaning of answers, pull streams, registry logins, the
 * files that configure the service.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../support/exchange.c"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

static const struct runtime_podman_options options = {
    .directory = "/d", .storage = "/s", .cluster = "c1", .node = "n1"};
static const struct podman_facts facts = {
    .max_files = 20000, .max_processes = 30000, .swap_accounting = true};

static struct runtime_spec plain(void)
{
    return (struct runtime_spec){
        .name = (char *)"x", .image = (char *)"i", .security = {.user = -1, .group = -1}};
}

static void test_sandbox(void **state)
{
    (void)state;
    struct runtime_pair uid = {(char *)"io.minik8s.pod.uid", (char *)"u-1"};
    struct runtime_spec spec = plain();
    spec.image = NULL;
    spec.hostname = (char *)"web-0";
    spec.labels = &uid;
    spec.n_labels = 1;
    auto_json json = podman_spec_translate(&spec, &options, &facts);
    assert_string_equal(json_string(json, "rootfs"), "/d/pause");
    assert_null(json_get(json, "image"));
    assert_string_equal(json_string(json, "command[0]"), "/pause");
    assert_string_equal(json_string(json, "netns.nsmode"), "none");
    assert_string_equal(json_string(json, "hostname"), "web-0");
    assert_string_equal(json_string(json, "log_configuration.driver"), "none");
    assert_string_equal(json_string(json, "cgroup_parent"), "/minik8s/c1/n1/podu-1");
    spec.host_network = true;
    auto_json host = podman_spec_translate(&spec, &options, &facts);
    assert_string_equal(json_string(host, "netns.nsmode"), "host");
    assert_string_equal(json_string(host, "utsns.nsmode"), "host");
    assert_null(json_get(host, "hostname")); /* podman refuses a name in the machine's own namespace */
}

static void test_command_and_arguments(void **state)
{
    (void)state;
    char *words[] = {(char *)"a", (char *)"b c", NULL};
    struct runtime_spec spec = plain();
    auto_json neither = podman_spec_translate(&spec, &options, &facts);
    assert_null(json_get(neither, "entrypoint"));
    assert_null(json_get(neither, "command"));
    spec.arguments = words;
    auto_json arguments = podman_spec_translate(&spec, &options, &facts);
    assert_null(json_get(arguments, "entrypoint")); /* the image's stays */
    assert_string_equal(json_string(arguments, "command[1]"), "b c");
    spec.command = words;
    spec.arguments = NULL;
    auto_json command = podman_spec_translate(&spec, &options, &facts);
    assert_string_equal(json_string(command, "entrypoint[0]"), "a");
    assert_null(json_get(command, "command"));
}

static void test_limits(void **state)
{
    (void)state;
    struct runtime_spec spec = plain();
    auto_json none = podman_spec_translate(&spec, &options, &facts);
    assert_null(json_at(none, "resource_limits.memory"));
    assert_null(json_at(none, "resource_limits.cpu"));
    assert_string_equal(json_string(none, "r_limits[0].type"),
                        "nofile"); /* always: podman's default cannot be set */
    assert_int_equal(json_int(none, "r_limits[0].hard", 0), 20000);
    assert_int_equal(json_int(none, "r_limits[1].soft", 0), 30000);
    spec.limits = (struct runtime_limits){
        .memory_bytes = (int64_t)5 << 40, .cpu_milli_limit = 1500, .cpu_milli_request = 250};
    auto_json all = podman_spec_translate(&spec, &options, &facts);
    assert_int_equal(json_int(all, "resource_limits.memory.limit", 0), (int64_t)5 << 40);
    assert_int_equal(json_int(all, "resource_limits.memory.swap", 0), (int64_t)5 << 40);
    assert_int_equal(json_int(all, "resource_limits.cpu.quota", 0), 150000);
    assert_int_equal(json_int(all, "resource_limits.cpu.period", 0), 100000);
    assert_int_equal(json_int(all, "resource_limits.cpu.shares", 0), 256);
    spec.limits = (struct runtime_limits){.cpu_milli_limit = 1}; /* below what the kernel takes */
    auto_json tiny = podman_spec_translate(&spec, &options, &facts);
    assert_int_equal(json_int(tiny, "resource_limits.cpu.quota", 0), 1000);
    assert_int_equal(json_int(tiny, "resource_limits.cpu.shares", 0), 2);
    struct podman_facts no_swap = facts;
    no_swap.swap_accounting = false;
    spec.limits.memory_bytes = 1 << 20;
    auto_json without = podman_spec_translate(&spec, &options, &no_swap);
    assert_null(json_at(without, "resource_limits.memory.swap"));
}

static void test_security(void **state)
{
    (void)state;
    struct runtime_spec spec = plain();
    auto_json json = podman_spec_translate(&spec, &options, &facts);
    assert_null(json_get(json, "user"));
    assert_string_equal(json_string(json, "seccomp_profile_path"), "/d/seccomp.json");
    spec.security.user = 0;
    auto_json root = podman_spec_translate(&spec, &options, &facts);
    assert_string_equal(json_string(root, "user"), "0");
    spec.security.group = 7;
    spec.security.privileged = true;
    auto_json both = podman_spec_translate(&spec, &options, &facts);
    assert_string_equal(json_string(both, "user"), "0:7");
    assert_true(json_bool(both, "privileged", false));
    assert_null(json_get(both, "seccomp_profile_path"));
}

static void test_joined_namespaces(void **state)
{
    (void)state;
    struct runtime_spec spec = plain();
    spec.sandbox = (char *)"box";
    auto_json json = podman_spec_translate(&spec, &options, &facts);
    static const char *const joined[] = {"netns", "ipcns", "utsns"};
    for (size_t i = 0; i < COUNT_OF(joined); i++) {
        assert_string_equal(json_string(json_get(json, joined[i]), "nsmode"), "container");
        assert_string_equal(json_string(json_get(json, joined[i]), "value"), "box");
    }
    assert_null(json_get(json, "pidns"));
    const struct podman_joined own = {.pid = 7, .shm = "/s/shm", .hostname = "h"};
    spec.share_pid = true;
    podman_spec_join(json, &spec, &own);
    assert_string_equal(json_string(json, "netns.nsmode"), "path");
    assert_string_equal(json_string(json, "netns.value"), "/proc/7/ns/net");
    assert_string_equal(json_string(json, "utsns.value"), "/proc/7/ns/uts");
    assert_string_equal(json_string(json, "pidns.value"), "/proc/7/ns/pid");
    assert_string_equal(json_string(json, "mounts[0].source"), "/s/shm");
    assert_string_equal(json_string(json, "mounts[0].destination"), "/dev/shm");
    assert_string_equal(json_string(json, "env.HOSTNAME"), "h");
    struct runtime_mount shm = {.destination = (char *)"/dev/shm"}; /* the container's own goes before */
    struct runtime_pair hostname = {(char *)"HOSTNAME", (char *)"given"};
    spec.mounts = &shm;
    spec.environment = &hostname;
    spec.n_mounts = spec.n_environment = 1;
    auto_json other = podman_spec_translate(&spec, &options, &facts);
    podman_spec_join(other, &spec, &own);
    assert_int_equal(cJSON_GetArraySize(json_get(other, "mounts")), 1);
    assert_string_equal(json_string(other, "env.HOSTNAME"), "given");
}

static enum err_code meaning(int status, const char *body, char **message)
{
    struct http_response response = {.status = status, .body = body, .len = strlen(body)};
    auto_err error = NULL;
    podman_reply_error(&response, "start", &error);
    if (message)
        *message = mem_strdup(err_message(error));
    return err_code(error);
}

static void test_error_meanings(void **state)
{
    (void)state;
    auto_free char *message = NULL;
    assert_int_equal(
        meaning(500,
                "{\"cause\":\"OCI runtime attempted to invoke a command that was not found\","
                "\"message\":\"crun: executable file `/nope` not found in $PATH: No such file or "
                "directory: OCI runtime attempted to invoke a command that was not found\"}",
                &message),
        ERR_INVALID);
    assert_string_equal(message,
                        "start: crun: executable file `/nope` not found in $PATH: No such file or directory");
    assert_int_equal(
        meaning(404,
                "{\"cause\":\"no such container\",\"message\":\"no container with name or ID \\\"x\\\" "
                "found: no such container\"}",
                NULL),
        ERR_NOT_FOUND);
    assert_int_equal(
        meaning(500, "{\"message\":\"the container name \\\"x\\\" is already in use by 1\"}", NULL),
        ERR_ALREADY_EXISTS);
    assert_int_equal(meaning(500, "{\"message\":\"write: no space left on device\"}", NULL), ERR_INTERNAL);
    assert_int_equal(meaning(500, "not json at all", NULL), ERR_INTERNAL);
    assert_int_equal(meaning(500, "", NULL), ERR_INTERNAL);
    assert_int_equal(meaning(409, "{}", NULL), ERR_CONFLICT);
    assert_int_equal(meaning(500, "{\"message\":7,\"cause\":[]}", NULL), ERR_INTERNAL);
}

static void test_pull_streams(void **state)
{
    (void)state;
    static const char good[] = "{\"stream\":\"Trying to pull\\n\"}\n{\"images\":[\"ab\"],\"id\":\"ab\"}\n";
    auto_free char *id = podman_reply_pull(good, strlen(good), "r", NULL);
    assert_string_equal(id, "ab");
    static const struct {
        const char *text;
        enum err_code code;
    } bad[] = {
        {"{\"stream\":\"x\"}\n{\"error\":\"manifest unknown\"}\n", ERR_NOT_FOUND},
        {"{\"error\":\"unauthorized: authentication required\"}", ERR_UNAUTHORIZED},
        {"{\"error\":\"dial tcp 127.0.0.1:1: connect: connection refused\"}\n", ERR_UNAVAILABLE},
        {"{\"id\":\"ab\"}\n{\"error\":\"write: no space left on device\"}\n", ERR_INTERNAL},
        {"", ERR_INTERNAL},
        {"{\"stream\":\"Trying", ERR_INTERNAL},
        {"\n\n\n[]\n", ERR_INTERNAL},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        auto_err error = NULL;
        assert_null(podman_reply_pull(bad[i].text, strlen(bad[i].text), "reg/img:1", &error));
        assert_int_equal(err_code(error), bad[i].code);
        assert_non_null(strstr(err_message(error), "\"reg/img:1\""));
    }
}

static void test_registry_logins(void **state)
{
    (void)state;
    auto_free char *encoded = podman_reply_auth("{\"auths\":{\"r:5000\":{\"auth\":\"dTpw\"}}}", NULL);
    unsigned char *decoded = NULL;
    size_t len;
    assert_int_equal(str_unbase64(encoded, strlen(encoded), &decoded, &len), 0);
    auto_json json = json_parse((char *)decoded, len, NULL);
    free(decoded);
    const cJSON *login = json_get(json, "r:5000");
    assert_string_equal(json_string(login, "username"), "u");
    assert_string_equal(json_string(login, "password"), "p");
    auto_err error = NULL;
    assert_null(podman_reply_auth("{secret-word", &error));
    assert_int_equal(err_code(error), ERR_INVALID);
    assert_null(strstr(err_message(error), "secret-word")); /* never repeated */
    auto_free char *odd = podman_reply_auth("{\"auths\":{\"r\":{\"auth\":\"!!\"},\"s\":7}}", NULL);
    assert_non_null(odd);
}

static void test_container_descriptions(void **state)
{
    (void)state;
    static const char text[] =
        "{\"Id\":\"i\",\"Name\":\"n\",\"Created\":\"2026-11-23T18:45:42.999998142Z\",\"State\":{\"Status\":"
        "\"exited\","
        "\"ExitCode\":7,\"Pid\":0,\"StartedAt\":\"2026-11-23T18:45:43.5Z\",\"FinishedAt\":\"2026-11-23T18:45:"
        "43.4Z\"},"
        "\"Config\":{\"Labels\":{\"a\":\"b\",\"odd\":7}},\"HostConfig\":{\"LogConfig\":{\"Path\":\"/l\"}}}";
    auto_json json = json_parse(text, strlen(text), NULL);
    struct runtime_container *c = podman_reply_container(json, NULL);
    assert_int_equal(c->state, RUNTIME_EXITED);
    assert_int_equal(c->exit_code, 7);
    assert_true(c->finished_ns == c->started_ns); /* an end before the start is podman's, not time's */
    assert_string_equal(runtime_container_label(c, "a"), "b");
    assert_null(runtime_container_label(c, "odd"));
    assert_string_equal(c->log_path, "/l");
    runtime_container_free(c);
    auto_json empty = cJSON_CreateObject();
    auto_err error = NULL;
    assert_null(podman_reply_container(empty, &error));
    assert_int_equal(err_code(error), ERR_INTERNAL);
}

static void test_configuration(void **state)
{
    (void)state;
    char base[] = "/tmp/m8-config-XXXXXX";
    assert_non_null(mkdtemp(base));
    auto_free char *directory = file_join(base, "d"), *storage = file_join(base, "s");
    static const char *const insecure[] = {"127.0.0.1:5000", NULL};
    struct runtime_podman_options own = {.directory = directory,
                                         .storage = storage,
                                         .cluster = "c",
                                         .node = "n",
                                         .insecure_registries = insecure};
    assert_int_equal(podman_config_write(&own, NULL), 0);
    auto_free char *conf = file_join(directory, "registries.conf"), *text = NULL;
    struct stat before, after;
    assert_int_equal(file_read(conf, 65536, &text, NULL, NULL), 0);
    assert_non_null(strstr(text, "location = \"127.0.0.1:5000\"\ninsecure = true"));
    auto_free char *seccomp = file_join(directory, "seccomp.json"), *profile = NULL;
    size_t len;
    assert_int_equal(file_read(seccomp, 65536, &profile, &len, NULL), 0);
    auto_json parsed = json_parse(profile, len, NULL);
    assert_non_null(parsed);
    /* the same again changes nothing; state of another boot goes, images stay */
    auto_free char *alive = file_join(storage, "libpod/alive"), *image = file_join(storage, "graph/image"),
                   *boot = file_join(storage, "boot-id");
    assert_int_equal(file_write_atomic(alive, "", 0, 0600, NULL), 0);
    assert_int_equal(file_write_atomic(image, "", 0, 0600, NULL), 0);
    stat(conf, &before);
    assert_int_equal(podman_config_write(&own, NULL), 0);
    stat(conf, &after);
    assert_true(before.st_ino == after.st_ino);
    assert_true(file_exists(alive));
    assert_int_equal(file_write_atomic(boot, "another", 7, 0600, NULL), 0);
    assert_int_equal(podman_config_write(&own, NULL), 0);
    assert_false(file_exists(alive));
    assert_true(file_exists(image));

    auto_err error = NULL;
    own.oci_runtime = "no-such-runtime";
    assert_int_equal(podman_config_write(&own, &error), -1);
    assert_non_null(strstr(err_message(error), "no-such-runtime"));
    err_free(steal(&error));
    own.oci_runtime = NULL;
    auto_free char *deep = mem_printf("%s/%0100d", base, 0);
    own.directory = deep;
    assert_int_equal(podman_config_write(&own, &error), -1); /* no socket can have such a path */
    assert_int_equal(err_code(error), ERR_INVALID);
    assert_int_equal(file_remove_tree(base, NULL), 0);
}

/* ---- a list, of which podman cannot describe one */

static void on_request(void *arg, struct http_exchange *x)
{
    const bool *away = arg;
    static const char list[] =
        "[{\"Id\":\"i1\"},{\"Id\":\"i3\"},{\"Id\":\"i2\",\"Names\":[\"broken\"],\"State\":\"exited\","
        "\"ExitCode\":3,\"ExitedAt\":7,\"Labels\":{\"io.minik8s.pod.uid\":\"u\"}}]";
    static const char whole[] = "{\"Id\":\"i1\",\"Name\":\"whole\",\"State\":{\"Status\":\"created\"}}";
    static const char problem[] = "{\"message\":\"layer not known\"}";
    const char *path = x->request.path;
    const char *text = strstr(path, "/i1/") ? whole : strstr(path, "containers/json") ? list : problem;
    int status = text != problem ? 200 : strstr(path, "/i3/") ? 404 : 500;
    if (*away && text == problem) {
        text = "{\"message\":\"no such host\"}"; /* means unavailable */
        status = 500;
    }
    http_respond(x, status, "application/json", bytes_from(text, strlen(text)), NULL, 0);
}

struct listed {
    struct runtime_container **containers;
    size_t count, answers;
    enum err_code code;
};

static void on_list(void *arg, struct runtime_container **containers, size_t count, struct err *err)
{
    struct listed *listed = arg;
    *listed = (struct listed){containers, count, listed->answers + 1, err_code(err)};
}

static void test_list_without_description(void **state)
{
    (void)state;
    bool away = false;
    struct listed listed = {0};
    struct podman p = {.options = options, .up = true, .loop = loop_new_virtual(1), .inotify = -1};
    const struct http_local_identity nobody = {0};
    p.http = http_local_client_new(p.loop, on_request, &away, &nobody);
    list_init(&p.waiting);
    list_init(&p.active);
    list_init(&p.ready);
    map_init(&p.records, podman_record_free);
    log_set_silent(1);
    podman_op_list(&p.base, on_list, &listed);
    loop_run_until(p.loop, 1000);
    assert_int_equal(listed.answers, 1);
    assert_int_equal(listed.code, ERR_NONE);
    assert_int_equal(listed.count, 2);
    bool first = strcmp(listed.containers[0]->name, "broken") == 0;
    const struct runtime_container *broken = listed.containers[!first];
    assert_string_equal(broken->name, "broken");
    assert_string_equal(broken->id, "i2");
    assert_int_equal(broken->state, RUNTIME_EXITED);
    assert_int_equal(broken->exit_code, 3);
    assert_int_equal(broken->finished_ns, 7000000000);
    assert_string_equal(runtime_container_label(broken, "io.minik8s.pod.uid"), "u");
    for (size_t i = 0; i < listed.count; i++)
        runtime_container_free(listed.containers[i]);
    free(listed.containers);
    away = true; /* nothing is known of the machine then */
    podman_op_list(&p.base, on_list, &listed);
    loop_run_until(p.loop, 2000);
    assert_int_equal(listed.answers, 2);
    assert_int_equal(listed.code, ERR_UNAVAILABLE);
    assert_int_equal(listed.count, 0);
    map_fini(&p.records);
    p.http->ops->free(p.http);
    loop_free(p.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox),
        cmocka_unit_test(test_command_and_arguments),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_security),
        cmocka_unit_test(test_joined_namespaces),
        cmocka_unit_test(test_error_meanings),
        cmocka_unit_test(test_pull_streams),
        cmocka_unit_test(test_registry_logins),
        cmocka_unit_test(test_container_descriptions),
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_list_without_description),
    };
    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
