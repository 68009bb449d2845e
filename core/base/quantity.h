/* quantity: Kubernetes resource quantities ("100m", "1.5", "64Mi", "1e3"). Source: apimachinery
 * resource.Quantity. */
#ifndef M8_BASE_QUANTITY_H
#define M8_BASE_QUANTITY_H

#include <stdint.h>

#include "base/err.h"

/* In thousandths, rounded up; saturates at ±INT64_MAX/… ; ERR_INVALID if malformed. */
int quantity_milli(const char *text, int64_t *milli, struct err **err);
/* In whole units, rounded up. */
int quantity_value(const char *text, int64_t *value, struct err **err);
/* Canonical text of milli-units ("1500m" → "1500m", 2000 → "2"); caller frees. */
char *quantity_print_milli(int64_t milli);
/* Bytes with binary suffixes where exact ("64Mi"); caller frees. */
char *quantity_print_bytes(int64_t bytes);

#endif
