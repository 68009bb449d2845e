/*
 * Pulling from a registry: this program is the registry (the few calls of the distribution API that a pull
 * makes, with a password for one repository), podman pulls from it over loopback.
 */
#include "runtime_world.h"

#include <gnutls/crypto.h>

struct registry {
    struct http_server *server;
    char *host; /* 127.0.0.1:PORT */
    struct str layer, config, manifest;
    char *layer_digest, *config_digest, *manifest_digest;
    atomic_uint manifest_requests;
    const char *insecure[2];
};

static struct registry registry;
static struct world *world;

static char *digest(const struct str *data)
{
    unsigned char sum[32];
    gnutls_hash_fast(GNUTLS_DIG_SHA256, data->data, data->len, sum);
    auto_free char *hex = str_hex(sum, sizeof(sum));
    return mem_printf("sha256:%s", hex);
}

/* One file "hello" in a ustar archive. */
static void make_layer(struct str *out)
{
    char header[512] = "hello";
    memcpy(header + 100, "0000644\0000000000\0000000000\00000000000006\00000000000000\000", 48);
    memcpy(header + 257, "ustar\00000", 8);
    header[156] = '0';
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(header); i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    str_add_n(out, header, sizeof(header));
    char content[512] = "world\n", end[1024] = "";
    str_add_n(out, content, sizeof(content));
    str_add_n(out, end, sizeof(end));
}

static void make_image(void)
{
    make_layer(&registry.layer);
    registry.layer_digest = digest(&registry.layer);
    str_addf(&registry.config,
             "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/"
             "x\"]},\"rootfs\":{\"type\":\"layers\","
             "\"diff_ids\":[\"%s\"]}}",
             registry.layer_digest);
    registry.config_digest = digest(&registry.config);
    str_addf(&registry.manifest,
             "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{"
             "\"mediaType\":\"application/"
             "vnd.oci.image.config.v1+json\",\"size\":%zu,\"digest\":\"%s\"},\"layers\":[{"
             "\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"size\":%zu,\"digest\":\"%s\"}]}",
             registry.config.len, registry.config_digest, registry.layer.len, registry.layer_digest);
    registry.manifest_digest = digest(&registry.manifest);
}

static void answer(struct http_exchange *x, int status, const char *type, const struct str *body)
{
    const struct http_pair headers[] = {{"Docker-Distribution-Api-Version", "registry/2.0"},
                                        {"WWW-Authenticate", "Basic realm=\"test\""}};
    http_respond(x, status, type, bytes_from(str_c(body), body->len), headers, status == 401 ? 2 : 1);
}

static void on_request(void *arg, struct http_exchange *x)
{
    (void)arg;
    static const struct str empty;
    auto_str unknown = {0}, denied = {0};
    str_add(&unknown, "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}");
    str_add(&denied, "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}");
    const char *path = x->request.path, *login = http_request_header(&x->request, "authorization");
    bool private = strstr(path, "/private/");
    bool greeting = str_eq(path, "/v2/"); /* where a client learns how to log in */
    if ((greeting || private) && !str_eq(login, "Basic dXNlcjpzZXNhbWU=")) /* user:sesame */
        answer(x, 401, "application/json", &denied);
    else if (greeting)
        answer(x, 200, "application/json", &empty);
    else if (str_ends(path, "/manifests/1") || str_ends(path, registry.manifest_digest)) {
        registry.manifest_requests++;
        answer(x, 200, "application/vnd.oci.image.manifest.v1+json", &registry.manifest);
    } else if (str_ends(path, registry.config_digest))
        answer(x, 200, "application/octet-stream", &registry.config);
    else if (str_ends(path, registry.layer_digest))
        answer(x, 200, "application/octet-stream", &registry.layer);
    else
        answer(x, 404, "application/json", &unknown);
}

static enum err_code pull(const char *image, enum runtime_pull policy, const char *auth)
{
    auto_free char *reference = mem_printf("%s/%s", registry.host, image);
    world_forget(world);
    world->runtime->ops->image(world->runtime, reference, policy, auth, world_on_image, world);
    return world_wait(world);
}

static void test_pull(void **state)
{
    (void)state;
    assert_int_equal(pull("free/image:1", RUNTIME_PULL_NEVER, NULL), ERR_NOT_FOUND);
    if (pull("free/image:1", RUNTIME_PULL_IF_NOT_PRESENT, NULL) != ERR_NONE)
        fail_msg("%s", err_message(world->error));
    assert_string_equal(world->text, registry.config_digest + strlen("sha256:"));
    unsigned before = registry.manifest_requests;
    assert_int_equal(pull("free/image:1", RUNTIME_PULL_IF_NOT_PRESENT, NULL), ERR_NONE);
    assert_int_equal(registry.manifest_requests, before); /* present: nobody is asked */
    assert_int_equal(pull("free/image:1", RUNTIME_PULL_ALWAYS, NULL), ERR_NONE);
    assert_true(registry.manifest_requests > before);
}

static void test_unknown(void **state)
{
    (void)state;
    assert_int_equal(pull("free/image:2", RUNTIME_PULL_IF_NOT_PRESENT, NULL), ERR_NOT_FOUND);
    assert_non_null(strstr(err_message(world->error), "failed to pull image"));
    assert_non_null(strstr(err_message(world->error), "free/image:2"));
}

static void test_password(void **state)
{
    (void)state;
    assert_int_equal(pull("private/image:1", RUNTIME_PULL_IF_NOT_PRESENT, NULL), ERR_UNAUTHORIZED);
    auto_free char *wrong = mem_printf("{\"auths\":{\"%s\":{\"auth\":\"dXNlcjp3cm9uZw==\"}}}", registry.host);
    assert_int_equal(pull("private/image:1", RUNTIME_PULL_IF_NOT_PRESENT, wrong), ERR_UNAUTHORIZED);
    auto_free char *right = mem_printf("{\"auths\":{\"%s\":{\"auth\":\"dXNlcjpzZXNhbWU=\"}}}", registry.host);
    if (pull("private/image:1", RUNTIME_PULL_IF_NOT_PRESENT, right) != ERR_NONE)
        fail_msg("%s", err_message(world->error));
}

struct asker {
    unsigned *left;
    enum err_code code;
};

static void on_asked(void *arg, const char *id, struct err *err)
{
    struct asker *asker = arg;
    (void)id;
    asker->code = err_code(err);
    if (--*asker->left == 0)
        loop_stop(world->loop);
}

static void test_askers_share_a_pull(void **state)
{
    (void)state;
    auto_free char *reference = mem_printf("%s/shared/image:1", registry.host);
    unsigned left = 8, before = registry.manifest_requests;
    struct asker askers[8];
    for (size_t i = 0; i < COUNT_OF(askers); i++) {
        askers[i] = (struct asker){&left, ERR_INTERNAL};
        world->runtime->ops->image(world->runtime, reference, RUNTIME_PULL_ALWAYS, NULL, on_asked,
                                   &askers[i]);
    }
    world_wait(world);
    for (size_t i = 0; i < COUNT_OF(askers); i++)
        assert_int_equal(askers[i].code, ERR_NONE);
    assert_true(registry.manifest_requests - before < 8);
}

static int setup(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        fprintf(stderr, "this test runs a real podman and needs root\n");
        return -1;
    }
    make_image();
    struct http_server_options options = {.address = "127.0.0.1", .handler = on_request};
    registry.server = http_server_new(&options, NULL);
    if (!registry.server)
        return -1;
    registry.host = mem_printf("127.0.0.1:%u", http_server_port(registry.server));
    registry.insecure[0] = registry.host;
    world = world_new(registry.insecure);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_free(world);
    http_server_free(registry.server);
    str_free(&registry.layer);
    str_free(&registry.config);
    str_free(&registry.manifest);
    free(registry.host);
    free(registry.layer_digest);
    free(registry.config_digest);
    free(registry.manifest_digest);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pull),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_askers_share_a_pull),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
