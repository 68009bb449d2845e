/* Errors, shared bytes, log lines, randomness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "base/str.h"

static void errors_are_set_once_and_wrapped(void **state)
{
    (void)state;
    auto_err error = NULL;
    assert_int_equal(err_set(&error, ERR_CONFLICT, "revision %d", 7), -1);
    assert_int_equal(err_set(&error, ERR_INTERNAL, "later"), -1);
    assert_int_equal(err_code(error), ERR_CONFLICT);
    err_wrap(&error, "update %s", "p1");
    assert_string_equal(err_message(error), "update p1: revision 7");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody cares"), -1);
    assert_int_equal(err_wrap(NULL, "nothing"), -1);
    auto_err none = NULL;
    err_wrap(&none, "nothing");
    assert_null(none);
    assert_string_equal(err_message(none), "no error");
    auto_err system = NULL;
    err_errno(&system, ENOENT, "open %s", "/x");
    assert_int_equal(err_code(system), ERR_NOT_FOUND);
    assert_string_equal(err_message(system), "open /x: No such file or directory");
}

static void errors_move_and_copy(void **state)
{
    (void)state;
    auto_err error = NULL, *target = NULL;
    err_add_cause(&error, "FieldValueRequired", "spec.a", "Required value");
    err_add_cause(&error, "FieldValueInvalid", "spec.b", "Invalid value: %d", 5);
    assert_int_equal(err_code(error), ERR_INVALID);
    assert_string_equal(err_message(error), "spec.a: Required value");
    auto_err copy = err_copy(error);
    assert_int_equal(copy->n_causes, 2);
    assert_string_equal(copy->causes[1].message, "Invalid value: 5");
    err_move(&target, &error);
    assert_null(error);
    assert_int_equal(target->n_causes, 2);
    err_set(&error, ERR_IO, "second");
    err_move(&target, &error); /* the first one stays */
    assert_null(error);
    assert_int_equal(err_code(target), ERR_INVALID);
    err_set(&error, ERR_IO, "third");
    err_move(NULL, &error);
    assert_null(error);
}

static void codes_go_over_the_wire_and_back(void **state)
{
    (void)state;
    for (int code = ERR_BAD_REQUEST; code < ERR_IO; code++) {
        enum err_code back =
            err_code_from_status(err_http_status((enum err_code)code), err_reason((enum err_code)code));
        assert_int_equal(back, code);
        assert_non_null(strpbrk(err_code_name((enum err_code)code), "abcdefghijklmnopqrstuvwxyz"));
    }
    assert_int_equal(err_code_from_status(409, NULL), ERR_CONFLICT);
    assert_int_equal(err_code_from_status(410, "Gone"), ERR_GONE);
    assert_int_equal(err_code_from_status(502, "x"), ERR_INTERNAL);
    assert_int_equal(err_code_from_status(418, NULL), ERR_BAD_REQUEST);
    assert_int_equal(err_code_from_status(200, NULL), ERR_NONE);
    assert_string_equal(err_code_name(ERR_UNSUPPORTED_MEDIA_TYPE), "unsupported-media-type");
}

static void *ref_and_unref(void *arg)
{
    for (int i = 0; i < 100000; i++)
        bytes_unref(bytes_ref(arg));
    return NULL;
}

static void bytes_are_shared_between_threads(void **state)
{
    (void)state;
    auto_bytes bytes = bytes_from("a\0b", 3);
    assert_int_equal(bytes->data[3], 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, ref_and_unref, bytes);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&bytes->refs), 1);
    assert_memory_equal(bytes->data, "a\0b", 4);
    assert_null(bytes_ref(NULL));
    bytes_unref(NULL);
}

/* What fn writes on standard error. The status of its process goes to *status. */
static char *errors_of(void (*fn)(void), int *status)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        fn();
        _exit(0);
    }
    close(ends[1]);
    struct str text = {0};
    char buffer[512];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;)
        str_add_n(&text, buffer, (size_t)n);
    close(ends[0]);
    waitpid(pid, status, 0);
    return str_take(&text);
}

static void write_lines(void)
{
    enum log_level level;
    must(log_level_from_name("loud", &level) < 0 && log_level_from_name("warn", &level) == 0);
    log_set_level(level);
    log_set_process("test");
    log_info("base", "not shown");
    log_warn("base", "two\nlines and \"quotes\" %d", 5);
    for (int i = 0; i < 3; i++)
        if (soft_fails(i > 5))
            continue;
    log_set_silent(1);
    log_error("base", "not shown either");
}

static void log_lines_are_lines(void **state)
{
    (void)state;
    int status;
    auto_free char *text = errors_of(write_lines, &status);
    size_t n;
    auto_free char **lines = str_split(text, '\n', &n);
    assert_int_equal(n, 3);
    assert_true(str_starts(lines[0], "time=20"));
    assert_true(
        str_ends(lines[0], "Z level=warn proc=test part=base msg=\"two\\nlines and \\\"quotes\\\" 5\""));
    assert_non_null(strstr(lines[1], "level=error proc=test part=base msg=\"soft failure: i > 5 at "));
    assert_string_equal(lines[2], "");
}

static void fail_must(void)
{
    log_install_crash_handler();
    signal(SIGABRT, SIG_DFL); /* the sanitizers' and the handler's output would follow ours */
    must(1 + 1 == 3);
}

static void must_ends_the_process(void **state)
{
    (void)state;
    int status;
    auto_free char *text = errors_of(fail_must, &status);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(str_starts(text, "fatal: must(1 + 1 == 3) failed at "));
}

static void crash(void)
{
    log_install_crash_handler();
    raise(SIGSEGV);
}

static void a_crash_writes_a_back_trace(void **state)
{
    (void)state;
    int status;
    auto_free char *text = errors_of(crash, &status);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_true(str_starts(text, "fatal signal, back trace:\n"));
}

static void seeded_randomness_repeats(void **state)
{
    (void)state;
    struct random_seeded a, b;
    struct random first, second;
    random_seeded_init(&a, 42, &first);
    random_seeded_init(&b, 42, &second);
    unsigned counts[10] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t value = random_below(&first, 10);
        assert_true(value == random_below(&second, 10));
        counts[value]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 850, 1150);
    assert_true(random_below(&first, 0) == 0 && random_below(&first, 1) == 0);
    char uid[RANDOM_UID], suffix[11];
    random_uid(&random_system, uid);
    assert_int_equal(strlen(uid), 36);
    assert_true(uid[14] == '4' && strchr("89ab", uid[19]) && uid[8] == '-' && uid[23] == '-');
    random_suffix(&first, suffix, 10);
    assert_int_equal(strspn(suffix, "bcdfghjklmnpqrstvwxz2456789"), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_set_once_and_wrapped),
        cmocka_unit_test(errors_move_and_copy),
        cmocka_unit_test(codes_go_over_the_wire_and_back),
        cmocka_unit_test(bytes_are_shared_between_threads),
        cmocka_unit_test(log_lines_are_lines),
        cmocka_unit_test(must_ends_the_process),
        cmocka_unit_test(a_crash_writes_a_back_trace),
        cmocka_unit_test(seeded_randomness_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
