/* http_test: what the tests of core/http share: certificates made on the spot, a loop that runs until a flag
 * is set. */
#ifndef M8_TEST_HTTP_TEST_H
#define M8_TEST_HTTP_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <arpa/inet.h>
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

#include "http/http.h"

struct test_pki {
    char *ca, *server, *server_key, *client, *client_key;
};

static inline char *test_export(int (*export)(void *, gnutls_datum_t *), void *object)
{
    gnutls_datum_t out = {0};
    must(export(object, &out) == 0);
    char *text = mem_strndup((char *)out.data, out.size);
    gnutls_free(out.data);
    return text;
}
static inline int test_export_crt(void *crt, gnutls_datum_t *out)
{
    return gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, out);
}
static inline int test_export_key(void *key, gnutls_datum_t *out)
{
    return gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, 0, out);
}

struct test_cert {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
};

static inline struct test_cert test_cert_new(const char *cn, const char *org, const struct test_cert *issuer,
                                             const char *purpose)
{
    struct test_cert c;
    static unsigned char serial = 1;
    gnutls_x509_crt_init(&c.crt);
    gnutls_x509_privkey_init(&c.key);
    must(gnutls_x509_privkey_generate(c.key, GNUTLS_PK_ECDSA,
                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0) == 0);
    gnutls_x509_crt_set_version(c.crt, 3);
    serial++;
    gnutls_x509_crt_set_serial(c.crt, &serial, 1);
    gnutls_x509_crt_set_activation_time(c.crt, time(NULL) - 60);
    gnutls_x509_crt_set_expiration_time(c.crt, time(NULL) + 3600);
    gnutls_x509_crt_set_dn_by_oid(c.crt, GNUTLS_OID_X520_COMMON_NAME, 0, cn, (unsigned)strlen(cn));
    if (org)
        gnutls_x509_crt_set_dn_by_oid(c.crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, org,
                                      (unsigned)strlen(org));
    gnutls_x509_crt_set_key(c.crt, c.key);
    gnutls_x509_crt_set_basic_constraints(c.crt, !issuer, -1);
    if (purpose) {
        struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
        gnutls_x509_crt_set_key_purpose_oid(c.crt, purpose, 0);
        gnutls_x509_crt_set_subject_alt_name(c.crt, GNUTLS_SAN_IPADDRESS, &loopback, 4, GNUTLS_FSAN_SET);
    }
    const struct test_cert *by = issuer ? issuer : &c;
    must(gnutls_x509_crt_sign2(c.crt, by->crt, by->key, GNUTLS_DIG_SHA256, 0) == 0);
    return c;
}

static inline void test_cert_fini(struct test_cert *c)
{
    gnutls_x509_crt_deinit(c->crt);
    gnutls_x509_privkey_deinit(c->key);
}

static inline struct test_pki test_pki_new(void)
{
    struct test_cert ca = test_cert_new("test-ca", NULL, NULL, NULL);
    struct test_cert server = test_cert_new("server", NULL, &ca, GNUTLS_KP_TLS_WWW_SERVER);
    struct test_cert client = test_cert_new("system:node:n1", "system:nodes", &ca, GNUTLS_KP_TLS_WWW_CLIENT);
    struct test_pki pki = {
        .ca = test_export(test_export_crt, ca.crt),
        .server = test_export(test_export_crt, server.crt),
        .server_key = test_export(test_export_key, server.key),
        .client = test_export(test_export_crt, client.crt),
        .client_key = test_export(test_export_key, client.key),
    };
    test_cert_fini(&ca);
    test_cert_fini(&server);
    test_cert_fini(&client);
    return pki;
}

static inline void test_pki_fini(struct test_pki *pki)
{
    free(pki->ca);
    free(pki->server);
    free(pki->server_key);
    free(pki->client);
    free(pki->client_key);
}

/* Runs the loop until *flag or 10 s are over (then the test fails). */
static inline void test_loop_late(void *loop)
{
    loop_stop(loop);
}
static inline void test_run_until(struct loop *loop, const bool *flag)
{
    struct loop_timer *late = loop_timer_new(loop, test_loop_late, loop);
    loop_timer_start(late, 10000);
    if (!*flag)
        loop_run(loop);
    loop_timer_free(late);
    assert_true(*flag);
}

#endif
