/* auth_private: what the files of core/auth share. */
#ifndef M8_AUTH_AUTH_PRIVATE_H
#define M8_AUTH_AUTH_PRIVATE_H

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "auth/auth.h"

#define AUTH_FILE_MAX 65536
#define AUTH_BACKDATE_NS (INT64_C(300) * 1000000000) /* of certificates: clocks of machines differ */

/* ERR_code with GnuTLS' text. Always -1. */
int auth_gnutls_error(struct err **err, enum err_code code, int rc, const char *what);
gnutls_datum_t auth_datum(const char *text);
char *auth_base64url(const void *data, size_t len);
int auth_unbase64url(const char *text, size_t len, unsigned char **data, size_t *data_len);
/* `len` secret bytes from DIR/NAME, made at random if absent. */
int auth_key_file(const char *directory, const char *name, size_t len, const struct random *random,
                  unsigned char *out, struct err **err);
const struct clock *auth_ca_clock(const struct auth_ca *ca);
char *auth_take_datum(gnutls_datum_t *datum); /* copies as text, frees the datum */

#endif
