/* Authority and metrics of the tests: the real ones, in the world's directory. */
#ifndef M8_TEST_UNIT_API_AUTH_H
#define M8_TEST_UNIT_API_AUTH_H

#include "auth/auth.h"
#include "metrics/metrics.h"

static inline struct auth_authority *test_authority(const char *directory, const struct clock *clock,
                                                    const struct random *random)
{
    auto_err err = NULL;
    auto_free char *path = file_join(directory, "pki");
    struct auth_authority *authority = auth_authority_open(path, clock, random, &err);
    if (!authority)
        fail_msg("%s", err_message(err));
    return authority;
}

static inline void test_authority_free(struct auth_authority *authority)
{
    auth_authority_free(authority);
}

static inline struct metrics *test_metrics(void)
{
    return metrics_new();
}

static inline void test_metrics_free(struct metrics *metrics)
{
    metrics_free(metrics);
}

#endif
