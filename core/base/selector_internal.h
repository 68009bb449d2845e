/* selector_internal: private to core/base. */
#ifndef M8_BASE_SELECTOR_INTERNAL_H
#define M8_BASE_SELECTOR_INTERNAL_H

#include "base/selector.h"

/* Takes ownership of key, values and the strings in them. */
void selector_add_term(struct selector *selector, char *key, enum selector_operator operator, char ** values,
                       size_t n_values);

#endif
