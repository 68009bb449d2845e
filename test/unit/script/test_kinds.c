/* The kinds in lua/kinds load, and a registry takes them all, types first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "schema/schema.h"
#include "script/script.h"

static void test_all_kinds(void **state UNUSED)
{
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    auto_err err = NULL;
    auto_json kinds = script_load_kinds(lua, &err);
    if (!kinds)
        fail_msg("%s", err_message(err));
    struct schema *schema = schema_new();
    json_each (kind, kinds) {
        if (schema_add(schema, kind, &err) < 0)
            fail_msg("%s: %s", json_string_or(kind, "kind", "types"), err_message(err));
    }
    assert_non_null(schema_find_resource(schema, "pods"));
    assert_non_null(schema_find_resource(schema, "deployments.apps"));
    assert_non_null(schema_find_resource(schema, "policies.minik8s.io"));
    schema_free(schema);
}

static void refused(const char *text, const char *part)
{
    char directory[] = "/tmp/m8-kinds-XXXXXX";
    assert_non_null(mkdtemp(directory));
    auto_free char *folder = file_join(directory, "kinds"), *path = file_join(folder, "bad.lua");
    assert_int_equal(file_make_dirs(folder, 0700, NULL), 0);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), 0);
    const char *const lua[] = {directory, NULL};
    auto_err err = NULL;
    assert_null(script_load_kinds(lua, &err));
    if (!strstr(err_message(err), part))
        fail_msg("%s", err_message(err));
    file_remove_tree(directory, NULL);
}

static void test_bad_kinds(void **state UNUSED)
{
    refused("return {\n kind = = 1 }", "kinds/bad.lua:2:");
    refused("return 7", "must return a table");
    refused("return { kind = function() end }", "function");
    refused("return { io.open('/etc/passwd') }", "io");
    refused("error('no')", "no");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_kinds), cmocka_unit_test(test_bad_kinds)};
    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
