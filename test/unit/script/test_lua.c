/* Runs every Lua test of the tree: test/lua, those beside the policies, and the bundles'. An argument selects
 * by a part of the file's name. */
#include <stdio.h>

#include "base/json.h"
#include "plugin/plugin.h"
#include "script/script.h"

struct totals {
    int passed, failed;
};

static void on_result(void *arg, const char *file, const char *test, const char *error)
{
    struct totals *totals = arg;
    if (error) {
        totals->failed++;
        printf("FAILED %s: %s\n    %s\n", file, test, error);
    } else {
        totals->passed++;
    }
}

int main(int argc, char **argv)
{
    static const char *const tests[] = {MINIK8S_SOURCE_DIR "/test/lua", MINIK8S_SOURCE_DIR "/policies",
                                        MINIK8S_SOURCE_DIR "/plugins", NULL};
    struct totals totals = {0};
    json_init();
    auto_err err = NULL;
    struct plugins *plugins = plugins_open(MINIK8S_SOURCE_DIR, &err);
    int rc = -1;
    if (plugins)
        rc = script_run_tests(plugins_lua(plugins), plugins_policies(plugins), tests,
                              argc > 1 ? argv[1] : NULL, on_result, &totals, &err);
    if (rc < 0)
        printf("%s\n", err_message(err));
    plugins_free(plugins);
    printf("%d passed, %d failed\n", totals.passed, totals.failed);
    return rc != 0;
}
