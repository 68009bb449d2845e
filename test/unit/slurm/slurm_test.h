/* slurm_test: what the tests of plugins/slurm/submitter share. */
#ifndef SLURM_TEST_H
#define SLURM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"

static inline cJSON *parsed(const char *text)
{
    struct err *err = NULL;
    cJSON *json = json_parse(text, strlen(text), &err);
    if (!json)
        fail_msg("%s: %s", err_message(err), text);
    return json;
}

static inline void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("does not contain \"%s\":\n%s", part, text);
}

static inline void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("contains \"%s\":\n%s", part, text);
}

#endif
