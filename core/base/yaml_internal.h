/* yaml_internal: private to core/base. Which type a plain scalar has. */
#ifndef M8_BASE_YAML_INTERNAL_H
#define M8_BASE_YAML_INTERNAL_H

#include "base/json.h"

/* The node for a plain scalar: null, bool, number or string. NULL for .inf and .nan, which JSON does not
 * have. */
cJSON *yaml_resolve(const char *text);

#endif
