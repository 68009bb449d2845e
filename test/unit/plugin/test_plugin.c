/* Bundles: found, ordered, refused with file and reason; their kinds, points, policies and controllers load.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/str.h"
#include "plugin/plugin.h"
#include "script/script.h"

static char share[] = "/tmp/minik8s-share-XXXXXX";

static void write_file(const char *path, const char *text)
{
    auto_free char *whole = file_join(share, path), *folder = mem_strdup(whole);
    *strrchr(folder, '/') = 0;
    assert_int_equal(file_make_dirs(folder, 0700, NULL), 0);
    assert_int_equal(file_write_atomic(whole, text, strlen(text), 0600, NULL), 0);
}

static void write_manifest(const char *name, const char *spec)
{
    auto_free char *path = mem_printf("plugins/%s/plugin.yaml", name);
    auto_free char *text =
        mem_printf("apiVersion: minik8s.io/v1\nkind: Plugin\nmetadata: {name: %s}\nspec: %s\n", name, spec);
    write_file(path, text);
}

static int setup(void **state UNUSED)
{
    strcpy(share + strlen(share) - 6, "XXXXXX");
    assert_non_null(mkdtemp(share));
    return 0;
}

static int teardown(void **state UNUSED)
{
    return file_remove_tree(share, NULL);
}

static struct plugins *opened(void)
{
    auto_err err = NULL;
    struct plugins *plugins = plugins_open(share, &err);
    if (!plugins)
        fail_msg("%s", err_message(err));
    return plugins;
}

static void refused(const char *part)
{
    auto_err err = NULL;
    assert_null(plugins_open(share, &err));
    assert_int_equal(err_code(err), ERR_INVALID);
    if (!strstr(err_message(err), part))
        fail_msg("\"%s\" does not say \"%s\"", err_message(err), part);
}

static void test_none(void **state UNUSED)
{
    struct plugins *plugins = opened();
    assert_null(plugins_at(plugins, 0));
    assert_true(str_ends(plugins_lua(plugins)[0], "/lua"));
    assert_null(plugins_lua(plugins)[1]);
    assert_true(str_ends(plugins_policies(plugins)[0], "/policies"));
    assert_null(plugins_policies(plugins)[1]);
    plugins_free(plugins);
}

static void test_order(void **state UNUSED)
{
    write_manifest("a", "{abi: 1, version: '1', requires: [c]}");
    write_manifest("b", "{abi: 1, version: '2', description: second}");
    write_manifest("c", "{abi: 1, version: '3', requires: [b]}");
    write_file("plugins/c/policies/x/y.lua", "return {}");
    write_file("plugins/README.md", "no bundle");
    write_file("plugins/draft/kinds/x.lua", "no manifest, no bundle");
    struct plugins *plugins = opened();
    assert_string_equal(plugins_at(plugins, 0)->name, "b");
    assert_string_equal(plugins_at(plugins, 0)->description, "second");
    assert_string_equal(plugins_at(plugins, 1)->name, "c");
    assert_string_equal(plugins_at(plugins, 2)->name, "a");
    assert_null(plugins_at(plugins, 3));
    assert_true(str_ends(plugins_lua(plugins)[3], "/plugins/a"));
    assert_true(str_ends(plugins_policies(plugins)[1], "/plugins/c/policies"));
    assert_null(plugins_policies(plugins)[2]);
    plugins_free(plugins);
}

static void test_refused(void **state UNUSED)
{
    write_manifest("a", "{abi: 2, version: '1'}");
    refused("plugins/a/plugin.yaml: spec.abi: is 2, this program has 1");
    write_manifest("a", "{abi: 1}");
    refused("spec.version");
    write_manifest("a", "{abi: 1, version: '1', libary: x}");
    refused("spec.libary: unknown field");
    write_manifest("a", "{abi: 1, version: '1', requires: [1]}");
    refused("spec.requires");
    write_file("plugins/a/plugin.yaml", "apiVersion: minik8s.io/v1\nkind: Plugin\nmetadata: {name: b}\n");
    refused("metadata.name: must be the folder's, \"a\"");
    write_file("plugins/a/plugin.yaml", "kind: Pod\n");
    refused("must be minik8s.io/v1, Plugin");
    write_manifest("a", "{abi: 1, version: '1', requires: [b]}");
    refused("plugin a requires b, which is not there");
    write_manifest("b", "{abi: 1, version: '1', requires: [a]}");
    refused("in a circle");
}

static void test_malformed(void **state UNUSED)
{
    write_file("plugins/a/plugin.yaml", "kind: [\n");
    auto_err err = NULL;
    assert_null(plugins_open(share, &err));
    assert_non_null(strstr(err_message(err), "plugins/a/plugin.yaml"));
    assert_non_null(strstr(err_message(err), "line"));
}

/* What a bundle brings is in force: its controller asks its policy at its point. */
static void link_core(const char *name)
{
    auto_free char *to = file_join(share, name), *from = file_join(MINIK8S_SOURCE_DIR, name);
    assert_int_equal(symlink(from, to), 0);
}

static void write_policy(const char *name)
{
    auto_free char *path = mem_printf("plugins/lights/policies/colour/%s.lua", name);
    auto_free char *text = mem_printf("return { api = 1, point = 'lights.colour', name = '%s', run = "
                                      "function() return { colour = '%s' } end, "
                                      "examples = { { name = 'e', ctx = {}, expect = { colour = '%s' } } } }",
                                      name, name, name);
    write_file(path, text);
}

static void on_result(void *arg, const char *file UNUSED, const char *test, const char *error)
{
    if (error)
        fail_msg("%s: %s", test, error);
    ++*(int *)arg;
}

static void test_in_force(void **state UNUSED)
{
    link_core("lua");
    link_core("policies");
    write_manifest("lights", "{abi: 1, version: 1.0.0}");
    write_file("plugins/lights/kinds/light.lua",
               "return { group = 'lights.io', version = 'v1', kind = 'Light', plural = 'lights', scope = "
               "'Cluster', schema = { description = 'd', properties = {} } }");
    write_file("plugins/lights/points.lua",
               "return { ['lights.colour'] = { shape = 'one', default = 'red' } }");
    write_file("plugins/lights/lights/names.lua", "return { resource = 'lights.lights.io' }");
    write_policy("red");
    write_policy("blue");
    write_file("plugins/lights/policies/default.lua",
               "return { ['lights.colour'] = { policies = { { name = 'blue' } } } }");
    write_file("plugins/lights/controllers/light.lua",
               "local names = require('lights.names')\n"
               "return { name = 'light', watches = { { resource = names.resource, key = 'self' } }, project "
               "= {}, index = {}, reconcile = function(world, key)\n"
               "local plan = require('framework.plan').new()\n"
               "plan:status(names.resource, key, world:ask('lights.colour', {}))\nreturn plan end }");
    write_file(
        "plugins/lights/light_test.lua",
        "local testing = require('framework.testing')\n"
        "return { shines = function()\n"
        "local world = testing.world({ objects = { ['lights.lights.io'] = { { apiVersion = "
        "'lights.io/v1', kind = 'Light', metadata = { name = 'x' } } } } })\n"
        "local plan = testing.reconcile(world, 'light', 'x')\n"
        "testing.equal(plan.steps[1].object, { status = { colour = 'blue' } })\n"
        "testing.equal(world:ask('rollout', { desired = 1, max_surge = 1, max_unavailable = 0, new = { "
        "replicas = 1, available = 1 }, old = {} }).new, 1)\nend }");
    struct plugins *plugins = opened();
    auto_err err = NULL;
    auto_json kinds = script_load_kinds(plugins_lua(plugins), &err);
    bool found = false;
    json_each (kind, kinds)
        found = found || str_eq(json_string(kind, "kind"), "Light");
    assert_true(found);
    const char *const tests[] = {plugins_at(plugins, 0)->directory, NULL};
    int count = 0;
    int rc = script_run_tests(plugins_lua(plugins), plugins_policies(plugins), tests, NULL, on_result, &count,
                              &err);
    if (rc != 0)
        fail_msg("%s", err_message(err));
    assert_int_equal(count, 1);
    plugins_free(plugins);
}

/* The bundles of the tree itself. */
static void test_shipped(void **state UNUSED)
{
    auto_err err = NULL;
    struct plugins *plugins = plugins_open(MINIK8S_SOURCE_DIR, &err);
    if (!plugins)
        fail_msg("%s", err_message(err));
    auto_json kinds = script_load_kinds(plugins_lua(plugins), &err);
    if (!kinds)
        fail_msg("%s", err_message(err));
    plugins_free(plugins);
}

static void library_refused(const char *folder, const char *part)
{
    struct plugins *plugins = opened();
    auto_err err = NULL;
    assert_null(plugins_load(plugins, folder, &err));
    assert_int_equal(err_code(err), ERR_INVALID);
    if (!strstr(err_message(err), part))
        fail_msg("\"%s\" does not say \"%s\"", err_message(err), part);
    plugins_free(plugins);
}

static void test_library(void **state UNUSED)
{
    auto_free char *folder = file_join(share, "lib");
    write_manifest("a", "{abi: 1, version: '1'}");
    struct plugins *plugins = opened();
    auto_free const struct node_extension **none = plugins_load(plugins, folder, NULL);
    assert_non_null(none); /* no bundle has one */
    assert_null(none[0]);
    plugins_free(plugins);
    write_manifest("b", "{abi: 1, version: '1', library: true}");
    library_refused(folder, "lib/b.so");
    write_file("lib/b.so", "no program");
    library_refused(folder, "lib/b.so");
    write_manifest("c", "{abi: 1, version: '1', library: 1}");
    refused("spec.library");
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_force, setup, teardown),
        cmocka_unit_test_setup_teardown(test_library, setup, teardown),
        cmocka_unit_test(test_shipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
