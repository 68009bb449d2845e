/* Field sets and what apply makes of an object: what is in a set, differences, algebra, lists by their keys,
 * what goes and what stays, what clients send. Wanted sets are those that Kubernetes writes for the same
 * objects. */
#include "base/random.h"
#include "schema/fieldset.h"
#include "schema_test.h"

#define SEEDS 300

static void assert_set(const cJSON *set, const char *text)
{
    auto_free char *is = json_print(set);
    auto_free char *wanted = mem_strdup(text);
    for (char *p = wanted; *p; p++) {
        if (*p == '\'')
            *p = '"';
    }
    assert_string_equal(is, wanted); /* with the order */
}

static cJSON *set_of(void **state, const char *word, const char *object)
{
    auto_json json = from_text(object);
    return fieldset_of(kind_of(*state, word), json);
}

static void expect_set(void **state, const char *word, const char *object, const char *wanted)
{
    auto_json set = set_of(state, word, object);
    assert_set(set, wanted);
}

static void test_sets_of_objects(void **state)
{
    expect_set(state, "deploy",
               "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'w','namespace':'d','uid':'u',"
               "'labels':{'b':'2','a':'1'}},'spec':{'replicas':3,'selector':{'matchLabels':{'a':'1'}},"
               "'template':{'spec':{'containers':[{'name':'c','image':'i','ports':[{'containerPort':80}],"
               "'resources':{'limits':{'cpu':'1'}},'args':['x','y']}]}}}}",
               "{'f:metadata':{'f:labels':{'f:a':{},'f:b':{}}},'f:spec':{'f:replicas':{},'f:selector':{},"
               "'f:template':{'f:spec':{'f:containers':{'k:{\\'name\\':\\'c\\'}':{'.':{},'f:args':{},"
               "'f:image':{},'f:name':{},'f:ports':{'k:{\\'containerPort\\':80,\\'protocol\\':\\'TCP\\'}':"
               "{'.':{},'f:containerPort':{}}},'f:resources':{'f:limits':{'f:cpu':{}}}}}}}}}");
    expect_set(
        state, "pod", "{'metadata':{'finalizers':['b/c','a/b']},'spec':{'tolerations':[{'key':'k'}]}}",
        "{'f:metadata':{'f:finalizers':{'v:\\'a/b\\'':{},'v:\\'b/c\\'':{}}},'f:spec':{'f:tolerations':{"
        "}}}");
    expect_set(state, "cm", "{'data':{},'metadata':{'annotations':null}}", "{'f:data':{}}");
    expect_set(state, "cm", "{'metadata':{},'data':{'a':''}}", "{'f:data':{'f:a':{}}}");
    expect_set(state, "svc",
               "{'spec':{'selector':{'a':'b'},'ports':[{'port':1},{'port':1,'protocol':'UDP'}]}}",
               "{'f:spec':{'f:ports':{'k:{\\'port\\':1,\\'protocol\\':\\'TCP\\'}':{'.':{},'f:port':{}},"
               "'k:{\\'port\\':1,\\'protocol\\':\\'UDP\\'}':{'.':{},'f:port':{},'f:protocol':{}}},"
               "'f:selector':{}}}");
}

static void expect_difference(void **state, const char *word, const char *old, const char *object,
                              const char *changed, const char *removed)
{
    auto_json before = from_text(old), *after = from_text(object), *more = NULL, *less = NULL;
    fieldset_compare(kind_of(*state, word), before, after, &more, &less);
    assert_set(more, changed);
    assert_set(less, removed);
}

static void test_differences(void **state)
{
    expect_difference(state, "cm", "{'data':{'a':'1','b':'2','c':'3'}}", "{'data':{'a':'1','b':'x','d':'4'}}",
                      "{'f:data':{'f:b':{},'f:d':{}}}", "{'f:data':{'f:c':{}}}");
    expect_difference(state, "cm", "{'metadata':{'uid':'a','resourceVersion':'1','generation':1}}",
                      "{'metadata':{'uid':'b','resourceVersion':'2','generation':2}}", "{}", "{}");
    expect_difference(
        state, "pod", "{'spec':{'containers':[{'name':'a','image':'1'},{'name':'b','image':'1'}]}}",
        "{'spec':{'containers':[{'name':'b','image':'2'},{'name':'c'}]}}",
        "{'f:spec':{'f:containers':{'k:{\\'name\\':\\'b\\'}':{'f:image':{}},'k:{\\'name\\':\\'c\\'}':{'.':{},"
        "'f:name':{}}}}}",
        "{'f:spec':{'f:containers':{'k:{\\'name\\':\\'a\\'}':{'.':{},'f:image':{},'f:name':{}}}}}");
    expect_difference(state, "pod", "{'spec':{'containers':[{'name':'a'},{'name':'b'}]}}",
                      "{'spec':{'containers':[{'name':'b'},{'name':'a'}]}}", "{}",
                      "{}"); /* order is nobody's */
    expect_difference(state, "deploy", "{'spec':{'selector':{'matchLabels':{'a':'1'}}}}",
                      "{'spec':{'selector':{'matchLabels':{'a':'2'}}}}", "{'f:spec':{'f:selector':{}}}",
                      "{}");
    auto_json now = from_text("{'data':{'a':'1'}}"), *more = NULL, *less = NULL;
    fieldset_compare(kind_of(*state, "cm"), NULL, now, &more, &less);
    assert_set(more, "{'f:data':{'f:a':{}}}");
    assert_set(less, "{}");
}

static void test_algebra(void **state UNUSED)
{
    auto_json a = from_text("{'f:x':{'.':{},'f:y':{}},'f:z':{}}"), *b = from_text("{'f:x':{'f:w':{}}}");
    auto_json sum = fieldset_union(a, b), *shared = fieldset_intersection(a, b);
    auto_json left = fieldset_difference(a, b), *nothing = fieldset_difference(a, a);
    assert_set(sum, "{'f:x':{'.':{},'f:w':{},'f:y':{}},'f:z':{}}");
    assert_set(shared, "{}");
    assert_set(left, "{'f:x':{'.':{},'f:y':{}},'f:z':{}}");
    assert_true(fieldset_is_empty(nothing));
    auto_json mark = from_text("{'f:x':{}}"), *below = fieldset_difference(a, mark);
    assert_set(below, "{'f:x':{'f:y':{}},'f:z':{}}");
    auto_json of_none = fieldset_union(NULL, b);
    assert_true(json_equal(of_none, b));
}

/* A tree of random steps, three deep. */
static void grow(const struct random *random, cJSON *set, int depth)
{
    static const char *const names[] = {"f:a", "f:b", "f:c", "k:{\"name\":\"x\"}", "v:1"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (random_below(random, 2))
            continue;
        cJSON *step = json_set(set, names[i], cJSON_CreateObject());
        if (depth == 0)
            continue;
        if (random_below(random, 2))
            json_set(step, ".", cJSON_CreateObject());
        grow(random, step, depth - 1);
    }
}

static cJSON *random_set(const struct random *random)
{
    auto_json grown = cJSON_CreateObject(), *none = cJSON_CreateObject();
    grow(random, grown, 2);
    auto_json sorted = fieldset_accept(grown);
    return fieldset_union(sorted, none); /* its plainest form */
}

static void test_laws_of_algebra(void **state UNUSED)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_seeded seeded;
        struct random random;
        random_seeded_init(&seeded, seed, &random);
        auto_json a = random_set(&random), *b = random_set(&random), *c = random_set(&random);
        auto_json without = fieldset_difference(a, b), *shared = fieldset_intersection(a, b);
        auto_json whole = fieldset_union(without, shared), *none = fieldset_intersection(without, b);
        auto_json ab = fieldset_union(a, b), *bc = fieldset_union(b, c);
        auto_json left = fieldset_union(ab, c), *right = fieldset_union(a, bc);
        auto_json twice = fieldset_difference(without, c), *once = fieldset_difference(a, bc);
        if (!json_equal(whole, a) || !fieldset_is_empty(none) || !json_equal(left, right) ||
            !json_equal(twice, once))
            fail_msg("seed %d", (int)seed);
    }
}

/* Both as text; the set that is owned beside config's own. */
static cJSON *applied(void **state, const char *word, const char *object, const char *config,
                      const char *last, const char *others)
{
    const struct schema_kind *kind = kind_of(*state, word);
    auto_json wanted = from_text(config), *before = from_text(last), *foreign = from_text(others);
    auto_json own = fieldset_of(kind, wanted), *dropped = fieldset_of(kind, before);
    auto_json theirs = fieldset_of(kind, foreign), *owned = fieldset_union(own, theirs);
    cJSON *result = from_text(object);
    assert_int_equal(fieldset_check(kind, wanted, NULL), 0);
    fieldset_apply(kind, result, wanted, dropped, owned);
    return result;
}

static void expect_applied(void **state, const char *word, const char *object, const char *config,
                           const char *last, const char *others, const char *wanted)
{
    auto_json result = applied(state, word, object, config, last, others);
    assert_json(result, wanted);
}

#define PORTS(list) "{'spec':{'ports':[" list "]}}"
#define CONTAINERS(list) "{'spec':{'containers':[" list "]}}"

static void test_lists_are_laid_by_their_keys(void **state)
{
    expect_applied(
        state, "svc", PORTS("{'port':1,'nodePort':30001},{'port':1,'protocol':'UDP','nodePort':30002}"),
        PORTS("{'port':1,'protocol':'UDP','name':'u'},{'port':1,'protocol':'TCP','name':'t'}"), "{}", "{}",
        PORTS("{'port':1,'protocol':'UDP','nodePort':30002,'name':'u'},"
              "{'port':1,'nodePort':30001,'protocol':'TCP','name':'t'}"));
    expect_applied(state, "pod", CONTAINERS("{'name':'x'},{'name':'a'},{'name':'b'},{'name':'y'}"),
                   CONTAINERS("{'name':'b'},{'name':'n'},{'name':'a'}"), "{}", "{}",
                   CONTAINERS("{'name':'x'},{'name':'b'},{'name':'n'},{'name':'a'},{'name':'y'}"));
    expect_applied(
        state, "pod", "{'metadata':{'finalizers':['a/a','b/b']},'spec':{'imagePullSecrets':[{'name':'s'}]}}",
        "{'metadata':{'finalizers':['b/b','c/c']},'spec':{'imagePullSecrets':[{'name':'s'}]}}", "{}", "{}",
        "{'metadata':{'finalizers':['a/a','b/b','c/c']},'spec':{'imagePullSecrets':[{'name':'s'}]}}");
    expect_applied(state, "pod", "{'spec':{'tolerations':[{'key':'a'}],'nodeSelector':{'a':'1'}}}",
                   "{'spec':{'tolerations':[{'key':'b'}],'nodeSelector':{'b':'1'}}}", "{}", "{}",
                   "{'spec':{'tolerations':[{'key':'b'}],'nodeSelector':{'b':'1'}}}");
}

/* A null where nothing is known of the type stays in the store, and is no member: not a second one beside it.
 */
static void test_stored_nulls(void **state)
{
    expect_applied(state, "pod", "{'spec':{'securityContext':{'seLinuxOptions':{'level':null,'user':'u'}}}}",
                   "{'spec':{'securityContext':{'seLinuxOptions':{'level':'s0'}}}}", "{}", "{}",
                   "{'spec':{'securityContext':{'seLinuxOptions':{'level':'s0','user':'u'}}}}");
}

static void test_empty_keys_are_the_default(void **state)
{
    expect_applied(state, "pod", CONTAINERS("{'name':'c','ports':[{'containerPort':80,'protocol':'TCP'}]}"),
                   CONTAINERS("{'name':'c','ports':[{'containerPort':80,'protocol':''}]}"), "{}", "{}",
                   CONTAINERS("{'name':'c','ports':[{'containerPort':80,'protocol':''}]}"));
}

static void test_reversed_lists_take_no_quadratic_time(void **state)
{
    auto_json object = from_text(CONTAINERS("{'name':'c','env':[]}")), *config = json_copy(object);
    cJSON *forth = json_at(object, "spec.containers[0].env"),
          *back = json_at(config, "spec.containers[0].env");
    for (int i = 0; i < 60000; i++) {
        auto_free char *name = mem_printf("a%05d", i), *other = mem_printf("a%05d", 59999 - i);
        json_set_string(json_push(forth, cJSON_CreateObject()), "name", name);
        json_set_string(json_push(back, cJSON_CreateObject()), "name", other);
    }
    auto_json none = cJSON_CreateObject();
    fieldset_apply(kind_of(*state, "pod"), object, config, none, none);
    assert_true(json_equal(object, config));
}

static void test_what_is_dropped_goes(void **state)
{
    expect_applied(state, "cm", "{'data':{'a':'1','b':'2'}}", "{'data':{'a':'1'}}",
                   "{'data':{'a':'1','b':'2'}}", "{}", "{'data':{'a':'1'}}");
    /* what another owns stays, also what it stands in */
    expect_applied(state, "cm", "{'data':{'a':'1','b':'2','c':'3'}}", "{}", "{'data':{'a':'1','b':'2'}}",
                   "{'data':{'b':'2','c':'3'}}", "{'data':{'b':'2','c':'3'}}");
    /* an element goes with its defaults; one in which another owns something loses only what was dropped */
    expect_applied(state, "pod",
                   CONTAINERS("{'name':'a','image':'1'},{'name':'b','image':'1','imagePullPolicy':'Always'},"
                              "{'name':'s','image':'1','tty':true}"),
                   CONTAINERS("{'name':'a','image':'2'}"),
                   CONTAINERS("{'name':'a','image':'1'},{'name':'b','image':'1'},{'name':'s','image':'1'}"),
                   CONTAINERS("{'name':'s','tty':true}"),
                   CONTAINERS("{'name':'a','image':'2'},{'name':'s','tty':true}"));
    /* of a list without keys, and of an atomic map, everything or nothing */
    expect_applied(state, "pod",
                   "{'spec':{'tolerations':[{'key':'a'}],'nodeSelector':{'a':'1'},'nodeName':'n'}}",
                   "{'spec':{'nodeName':'n'}}",
                   "{'spec':{'tolerations':[{'key':'a'}],'nodeSelector':{'a':'1'},'nodeName':'n'}}", "{}",
                   "{'spec':{'nodeName':'n'}}");
    /* a struct that was named goes with what nobody owns in it; the server's own metadata never */
    expect_applied(
        state, "deploy",
        "{'metadata':{'name':'d','uid':'u','labels':{'a':'1'}},'spec':{'replicas':1,'strategy':{"
        "'type':'RollingUpdate','rollingUpdate':{'maxSurge':1}}}}",
        "{'spec':{'replicas':1}}",
        "{'metadata':{'labels':{'a':'1'}},'spec':{'replicas':1,'strategy':{'type':'RollingUpdate'}}}", "{}",
        "{'metadata':{'name':'d','uid':'u'},'spec':{'replicas':1}}");
    /* of a list that was dropped what the server put there stays */
    expect_applied(state, "pvc", "{'metadata':{'finalizers':['a/b','kubernetes.io/pvc-protection']}}", "{}",
                   "{'metadata':{'finalizers':['a/b']}}", "{}",
                   "{'metadata':{'finalizers':['kubernetes.io/pvc-protection']}}");
    expect_applied(state, "pvc", "{'metadata':{'name':'n','finalizers':['a/b']}}", "{}",
                   "{'metadata':{'finalizers':['a/b']}}", "{}", "{'metadata':{'name':'n'}}");
    /* never what this manager did not have */
    expect_applied(state, "cm", "{'data':{'a':'1','b':'2'}}", "{'data':{'a':'3'}}", "{}", "{}",
                   "{'data':{'a':'3','b':'2'}}");
}

static void test_one_or_the_other(void **state)
{
    expect_applied(
        state, "deploy", "{'spec':{'strategy':{'type':'RollingUpdate','rollingUpdate':{'maxSurge':1}}}}",
        "{'spec':{'strategy':{'type':'Recreate'}}}", "{}", "{}", "{'spec':{'strategy':{'type':'Recreate'}}}");
}

static void expect_refused(void **state, const char *word, const char *config, const char *wanted)
{
    auto_json json = from_text(config);
    struct err *err = NULL;
    assert_int_equal(fieldset_check(kind_of(*state, word), json, &err), -1);
    auto_free char *causes = causes_of(err);
    assert_string_equal(causes, wanted);
}

static void test_what_cannot_be_told_apart(void **state)
{
    expect_refused(state, "pod", CONTAINERS("{'name':'a'},{'name':'a'},{'image':'x'}"),
                   "spec.containers[1]: Duplicate value: {\"name\":\"a\"}\n"
                   "spec.containers[2]: Required value: elements are told apart by name");
    expect_refused(state, "svc", PORTS("{'port':1},{'port':1,'protocol':'TCP'},{'protocol':'UDP'}"),
                   "spec.ports[1]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\"}\n"
                   "spec.ports[2]: Required value: elements are told apart by [\"port\",\"protocol\"]");
    expect_refused(state, "cm", "{'metadata':{'finalizers':['a/b','a/b']}}",
                   "metadata.finalizers[1]: Duplicate value: \"a/b\"");
}

static void test_sets_of_clients(void **state UNUSED)
{
    auto_json sent = from_text("{'f:b':{'f:d':7,'f:c':{'.':{'f:x':{}}}},'f:a':[1],'x':{},'':{},'i:0':{}}");
    auto_json set = fieldset_accept(sent);
    assert_set(set, "{'f:a':{},'f:b':{'f:c':{'.':{}},'f:d':{}}}");
    auto_json keys = from_text("{'k:nonsense':{},'k:7':{},'v:nonsense':{},'v:7':{},'k:{}':{}}");
    auto_json usable = fieldset_accept(keys);
    assert_set(usable, "{'k:{}':{},'v:7':{}}");
    auto_json deep = cJSON_CreateObject();
    cJSON *at = deep;
    for (int i = 0; i < 1000; i++)
        at = json_set(at, "f:x", cJSON_CreateObject());
    auto_json cut = fieldset_accept(deep);
    int depth = 0;
    for (at = cut; at->child; at = at->child)
        depth++;
    assert_int_equal(depth, FIELDSET_DEPTH);
}

static void collect(void *arg, const char *path)
{
    str_addf(arg, "%s\n", path);
}

static void test_paths(void **state UNUSED)
{
    auto_json set =
        from_text("{'f:m':{'f:fin':{'v:\\'a\\'':{}},'f:labels':{'f:x.y/z':{}}},'f:s':{'f:c':{"
                  "'k:{\\'name\\':\\'c\\'}':{'.':{},'f:i':{}},'k:{\\'p\\':1,\\'q\\':\\'T\\'}':{}}}}");
    auto_str text = {0};
    fieldset_each(set, collect, &text);
    assert_string_equal(str_c(&text),
                        ".m.fin[=\"a\"]\n.m.labels.x.y/z\n.s.c[name=\"c\"]\n.s.c[name=\"c\"].i\n"
                        ".s.c[p=1,q=\"T\"]\n");
}

static void test_large_objects_take_no_quadratic_time(void **state)
{
    auto_json object = cJSON_CreateObject(), *other = cJSON_CreateObject(), *more = NULL, *less = NULL;
    cJSON *data = json_set(object, "data", cJSON_CreateObject());
    cJSON *changed = json_set(other, "data", cJSON_CreateObject());
    for (int i = 0; i < 60000; i++) {
        auto_free char *key = mem_printf("k%d", (i * 7919) % 60000);
        cJSON_AddItemToObject(data, key, cJSON_CreateString("a"));
        cJSON_AddItemToObject(changed, key, cJSON_CreateString(i % 2 ? "a" : "b"));
    }
    const struct schema_kind *kind = kind_of(*state, "cm");
    fieldset_compare(kind, object, other, &more, &less);
    assert_int_equal(cJSON_GetArraySize(more->child), 30000);
    auto_json all = fieldset_of(kind, object), *left = fieldset_difference(all, more);
    assert_int_equal(cJSON_GetArraySize(left->child), 30000);
    fieldset_apply(kind, object, other, all, left);
    assert_int_equal(cJSON_GetArraySize(json_get(object, "data")), 30000);
}

static void test_enormous_list_is_refused_quickly(void **state)
{
    auto_json config = from_text("{'spec':{'containers':[]}}");
    for (int i = 0; i < 60000; i++)
        json_set_int(json_push(json_at(config, "spec.containers"), cJSON_CreateObject()), "name", i);
    struct err *err = NULL;
    assert_int_equal(fieldset_check(kind_of(*state, "pod"), config, &err), -1);
    auto_free char *causes = causes_of(err);
    assert_string_equal(causes, "spec.containers: Too many: 60000: must have at most 128 items");
    auto_json nameless = from_text(CONTAINERS("{'name':'c','env':[]}"));
    for (int i = 0; i < 1000; i++)
        json_push(json_at(nameless, "spec.containers[0].env"), cJSON_CreateObject());
    err = NULL;
    assert_int_equal(fieldset_check(kind_of(*state, "pod"), nameless, &err), -1);
    assert_int_equal(err->n_causes, 64);
    err_free(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets_of_objects),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_algebra),
        cmocka_unit_test(test_laws_of_algebra),
        cmocka_unit_test(test_lists_are_laid_by_their_keys),
        cmocka_unit_test(test_stored_nulls),
        cmocka_unit_test(test_empty_keys_are_the_default),
        cmocka_unit_test(test_reversed_lists_take_no_quadratic_time),
        cmocka_unit_test(test_what_is_dropped_goes),
        cmocka_unit_test(test_one_or_the_other),
        cmocka_unit_test(test_what_cannot_be_told_apart),
        cmocka_unit_test(test_sets_of_clients),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_large_objects_take_no_quadratic_time),
        cmocka_unit_test(test_enormous_list_is_refused_quickly),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
