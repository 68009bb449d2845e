/* doctor: on a machine where the other tests here pass, every check is green and the trial really started a
 * container. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "runtime/runtime.h"

static void test_all_green(void **state)
{
    (void)state;
    auto_json checks = runtime_podman_doctor();
    auto_free char *text = json_print_pretty(checks);
    bool trial = false;
    json_each (line, checks) {
        if (!json_bool(line, "ok", false))
            fail_msg("%s: %s (%s)", json_string(line, "check"), json_string(line, "found"),
                     json_string(line, "remedy"));
        trial = trial || str_eq(json_string(line, "check"), "trial");
    }
    print_message("%s\n", text);
    assert_true(trial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_green)};
    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
