/* Protobuf bodies: every special form, Go's zero values, and bodies that are cut, bent or nested without end.
 */
#include "schema_test.h"

/* --- a small encoder --- */

static void varint(struct str *s, uint64_t value)
{
    while (value >= 0x80) {
        str_add_char(s, (char)(value | 0x80));
        value >>= 7;
    }
    str_add_char(s, (char)value);
}

static void number(struct str *s, unsigned field, int64_t value)
{
    varint(s, field << 3);
    varint(s, (uint64_t)value);
}

static void bytes(struct str *s, unsigned field, const void *data, size_t len)
{
    varint(s, field << 3 | 2);
    varint(s, len);
    str_add_n(s, data, len);
}

static void text(struct str *s, unsigned field, const char *value)
{
    bytes(s, field, value, strlen(value));
}

static void message(struct str *s, unsigned field, struct str *inner)
{
    bytes(s, field, str_c(inner), inner->len);
    str_free(inner);
}

static void envelope(struct str *out, const char *api_version, const char *kind, struct str *raw)
{
    struct str meta = {0};
    text(&meta, 1, api_version);
    text(&meta, 2, kind);
    str_add_n(out, "k8s\0", 4);
    message(out, 1, &meta);
    message(out, 2, raw);
    text(out, 3, "");
    text(out, 4, "");
}

static void expect(const char *api_version, const char *kind, struct str *raw, const char *wanted)
{
    auto_str body = {0};
    struct err *err = NULL;
    envelope(&body, api_version, kind, raw);
    auto_json json = schema_protobuf_decode(body.data, body.len, &err);
    if (!json)
        fail_msg("%s", err_message(err));
    assert_json(json, wanted);
}

/* --- what clients send --- */

static void metadata(struct str *raw, const char *name)
{
    struct str meta = {0}, time = {0}, label = {0};
    text(&meta, 1, name);
    text(&meta, 2, ""); /* generateName: Go writes it empty */
    number(&meta, 7, 0);
    message(&meta, 8, &time); /* creationTimestamp: the zero time */
    text(&label, 1, "app");
    text(&label, 2, "web");
    message(&meta, 11, &label);
    message(raw, 1, &meta);
}

static void test_secret(void **state)
{
    struct str raw = {0}, entry = {0}, empty = {0};
    metadata(&raw, "s");
    text(&entry, 1, "key");
    bytes(&entry, 2, "\x00\xff", 2);
    message(&raw, 2, &entry);
    text(&empty, 1, "nothing");
    message(&raw, 2, &empty);
    text(&raw, 3, "Opaque");
    expect("v1", "Secret", &raw,
           "{'apiVersion':'v1','kind':'Secret','metadata':{'name':'s','generation':0,'labels':{'app':'web'}},"
           "'data':{'key':'AP8=','nothing':''},'type':'Opaque'}");
    (void)state;
}

static void test_deployment(void **state)
{
    struct str raw = {0}, spec = {0}, template = {0}, pod = {0}, container = {0}, resources = {0},
               entry = {0}, quantity = {0}, strategy = {0}, rolling = {0}, surge = {0}, unavailable = {0},
               probe = {0}, handler = {0}, get = {0}, port = {0}, volume = {0}, source = {0}, config = {0},
               reference = {0};
    metadata(&raw, "d");
    number(&spec, 1, 0); /* replicas: 0 must survive */
    text(&quantity, 1, "100m");
    text(&entry, 1, "cpu");
    message(&entry, 2, &quantity);
    message(&resources, 1, &entry);
    text(&container, 1, "c");
    text(&container, 2, "nginx");
    text(&container, 3, "");
    text(&container, 3, "sh");
    message(&container, 8, &resources);
    number(&port, 1, 1);
    text(&port, 3, "http");
    message(&get, 2, &port);
    message(&handler, 2, &get);
    message(&probe, 1, &handler);
    number(&probe, 2, 0);
    message(&container, 10, &probe);
    number(&container, 16, 0);
    message(&pod, 2, &container);
    text(&volume, 1, "v");
    text(&reference, 1, "cm");
    message(&config, 1, &reference);
    message(&source, 19, &config);
    message(&volume, 2, &source);
    message(&pod, 1, &volume);
    message(&template, 2, &pod);
    message(&spec, 3, &template);
    number(&unavailable, 1, 1);
    text(&unavailable, 3, "25%");
    message(&rolling, 1, &unavailable);
    number(&surge, 1, 0);
    number(&surge, 2, 2);
    message(&rolling, 2, &surge);
    text(&strategy, 1, "RollingUpdate");
    message(&strategy, 2, &rolling);
    message(&spec, 4, &strategy);
    message(&raw, 2, &spec);
    expect("apps/v1", "Deployment", &raw,
           "{'apiVersion':'apps/"
           "v1','kind':'Deployment','metadata':{'name':'d','generation':0,'labels':{'app':'web'}},'spec':{'"
           "replicas':0,"
           "'template':{'spec':{'volumes':[{'name':'v','configMap':{'name':'cm'}}],'containers':[{'name':'c',"
           "'image':'nginx','command':['','sh'],"
           "'resources':{'limits':{'cpu':'100m'}},'livenessProbe':{'httpGet':{'port':'http'},'"
           "initialDelaySeconds':0},'stdin':false}]}},"
           "'strategy':{'type':'RollingUpdate','rollingUpdate':{'maxUnavailable':'25%','maxSurge':2}}}}");
    (void)state;
}

static void test_times_and_raw_json(void **state)
{
    struct str raw = {0}, spec = {0}, time = {0};
    number(&time, 1, 1767225600);
    number(&time, 2, 5000);
    message(&spec, 4, &time);
    number(&spec, 2, -1); /* a negative int32 takes ten bytes */
    message(&raw, 2, &spec);
    expect(
        "coordination.k8s.io/v1", "Lease", &raw,
        "{'apiVersion':'coordination.k8s.io/"
        "v1','kind':'Lease','spec':{'leaseDurationSeconds':-1,'renewTime':'2026-01-01T00:00:00.000005Z'}}");
    struct str revision = {0}, data = {0};
    text(&data, 1, "{\"spec\":[1,2]}");
    message(&revision, 2, &data);
    number(&revision, 3, 7);
    expect("apps/v1", "ControllerRevision", &revision,
           "{'apiVersion':'apps/v1','kind':'ControllerRevision','data':{'spec':[1,2]},'revision':7}");
    (void)state;
}

static void test_kinds_of_apimachinery_and_reviews(void **state)
{
    struct str raw = {0};
    number(&raw, 1, 30);
    text(&raw, 4, "Background");
    expect("apps/v1", "DeleteOptions", &raw,
           "{'apiVersion':'apps/"
           "v1','kind':'DeleteOptions','gracePeriodSeconds':30,'propagationPolicy':'Background'}");
    struct str eviction = {0};
    expect("policy/v1", "Eviction", &eviction, "{'apiVersion':'policy/v1','kind':'Eviction'}");
    (void)state;
}

static void test_unknown_fields_are_skipped(void **state)
{
    struct str raw = {0};
    number(&raw, 900, 1);
    bytes(&raw, 901, "junk", 4);
    varint(&raw, 902 << 3 | 1);
    str_add_n(&raw, "12345678", 8);
    varint(&raw, 903 << 3 | 5);
    str_add_n(&raw, "1234", 4);
    metadata(&raw, "x");
    expect("v1", "ConfigMap", &raw,
           "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'x','generation':0,'labels':{'app':'web'"
           "}}}");
    (void)state;
}

/* --- what attackers send --- */

static void refuse(const void *data, size_t len)
{
    struct err *err = NULL;
    auto_json json = schema_protobuf_decode(data, len, &err);
    assert_null(json);
    assert_int_equal(err_code(err), ERR_BAD_REQUEST);
    err_free(err);
}

static void refuse_raw(const char *kind, struct str *raw)
{
    auto_str body = {0};
    envelope(&body, "v1", kind, raw);
    refuse(body.data, body.len);
}

static void test_nonsense(void **state)
{
    refuse("", 0);
    refuse("{\"a\":1}", 7);
    refuse("k8s\0", 4);
    struct str unicorn = {0};
    refuse_raw("Unicorn", &unicorn);
    struct str bad_utf8 = {0}, meta = {0};
    text(&meta, 1, "\xff\xfe");
    message(&bad_utf8, 1, &meta);
    refuse_raw("ConfigMap", &bad_utf8);
    struct str nul = {0}, meta2 = {0};
    bytes(&meta2, 1, "a\0b", 3);
    message(&nul, 1, &meta2);
    refuse_raw("ConfigMap", &nul);
    struct str wrong_wire = {0};
    number(&wrong_wire, 1, 5); /* metadata as a number */
    refuse_raw("ConfigMap", &wrong_wire);
    struct str endless = {0};
    for (int i = 0; i < 20; i++)
        str_add_char(&endless, (char)0xff);
    refuse_raw("ConfigMap", &endless);
    struct str long_string = {0};
    varint(&long_string, 1 << 3 | 2);
    varint(&long_string, UINT64_MAX - 2);
    refuse_raw("ConfigMap", &long_string);
    struct str many = {0};
    for (int i = 0; i < 5000; i++) {
        struct str entry = {0};
        auto_free char *key = mem_printf("k%d", i);
        text(&entry, 1, key);
        message(&many, 2, &entry);
    }
    refuse_raw("ConfigMap", &many);
    (void)state;
}

/* JSON within a message may be 64 deep of its own; the object as a whole may not be deeper either. */
static void test_depth_of_raw_json(void **state)
{
    for (int depth = JSON_MAX_DEPTH - 1; depth <= JSON_MAX_DEPTH; depth++) {
        struct str body = {0}, revision = {0}, data = {0};
        auto_str json = {0};
        for (int i = 0; i < depth; i++)
            str_add(&json, i ? "[" : "{\"a\":");
        str_add(&json, "1000000000000000");
        for (int i = 0; i < depth; i++)
            str_add(&json, i < depth - 1 ? "]" : "}");
        text(&data, 1, str_c(&json));
        message(&revision, 2, &data);
        envelope(&body, "apps/v1", "ControllerRevision", &revision);
        if (depth == JSON_MAX_DEPTH) {
            refuse(body.data, body.len);
        } else {
            auto_json object = schema_protobuf_decode(body.data, body.len, NULL);
            assert_int_equal(json_depth(object), JSON_MAX_DEPTH);
        }
        str_free(&body);
    }
    (void)state;
}

static void test_cut_and_bent_bodies(void **state)
{
    struct str raw = {0}, entry = {0};
    metadata(&raw, "x");
    text(&entry, 1, "key");
    text(&entry, 2, "value");
    message(&raw, 2, &entry);
    auto_str body = {0};
    envelope(&body, "v1", "ConfigMap", &raw);
    for (size_t len = 0; len < body.len; len++) {
        auto_free char *cut =
            mem_copy(body.data, len + 1); /* an exact copy, so that asan sees a step too far */
        auto_json json = schema_protobuf_decode(cut, len, NULL);
    }
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        auto_free char *bent = mem_copy(body.data, body.len);
        for (int flips = 0; flips < 3; flips++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bent[4 + seed % (body.len - 4)] = (char)(seed >> 32);
        }
        struct err *err = NULL;
        auto_json json = schema_protobuf_decode(bent, body.len, &err);
        assert_true((json != NULL) != (err != NULL));
        if (json) {
            auto_free char *printed = json_print(json);
            auto_json again = json_parse(printed, strlen(printed), NULL);
            assert_non_null(again); /* whatever comes out is sound JSON */
        }
        err_free(err);
    }
    (void)state;
}

static int setup(void **state)
{
    json_init();
    *state = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_deployment),
        cmocka_unit_test(test_times_and_raw_json),
        cmocka_unit_test(test_kinds_of_apimachinery_and_reviews),
        cmocka_unit_test(test_unknown_fields_are_skipped),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_depth_of_raw_json),
        cmocka_unit_test(test_cut_and_bent_bodies),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
