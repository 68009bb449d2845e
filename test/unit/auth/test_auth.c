/* CA and certificates, tokens, sealing: that they hold, and that everything wrong is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <gnutls/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/file.h"

struct world {
    char *directory;
    struct clock clock;
    int64_t wall_ns;
};

static int64_t wall(void *arg)
{
    return ((struct world *)arg)->wall_ns;
}

static int setup(void **state)
{
    struct world *w = NEW(struct world);
    char path[] = "/tmp/auth-test-XXXXXX";
    w->directory = mem_strdup(mkdtemp(path));
    w->clock = (struct clock){.monotonic_ns = wall, .wall_ns = wall, .arg = w};
    w->wall_ns = clock_wall_ns(&clock_system);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    file_remove_tree(w->directory, NULL);
    free(w->directory);
    free(w);
    return 0;
}

static struct auth_ca *open_ca(struct world *w)
{
    struct auth_ca *ca = auth_ca_open(w->directory, &w->clock, &random_system, NULL);
    assert_non_null(ca);
    return ca;
}

/* GnuTLS' own opinion of a certificate under a CA, as a client that connects to `host` would have it. */
static unsigned verify(const char *pem, const char *ca_pem, const char *host, const char *purpose)
{
    gnutls_x509_trust_list_t list;
    gnutls_x509_crt_t leaf[2], *trusted = NULL;
    unsigned n = 2, n_trusted, status = 0;
    gnutls_datum_t ca = {(unsigned char *)(uintptr_t)ca_pem, (unsigned)strlen(ca_pem)};
    gnutls_datum_t chain = {(unsigned char *)(uintptr_t)pem, (unsigned)strlen(pem)};
    must(gnutls_x509_trust_list_init(&list, 0) == 0);
    must(gnutls_x509_crt_list_import2(&trusted, &n_trusted, &ca, GNUTLS_X509_FMT_PEM, 0) == 0);
    must(gnutls_x509_trust_list_add_cas(list, trusted, n_trusted, 0) == 1);
    gnutls_free(trusted);
    must(gnutls_x509_crt_list_import(leaf, &n, &chain, GNUTLS_X509_FMT_PEM, 0) == 2);
    gnutls_typed_vdata_st data[] = {
        {.type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)(uintptr_t)purpose},
        {.type = GNUTLS_DT_DNS_HOSTNAME, .data = (unsigned char *)(uintptr_t)host},
    };
    must(gnutls_x509_trust_list_verify_crt2(list, leaf, n, data, host ? 2 : 1, 0, &status, NULL) == 0);
    gnutls_x509_crt_deinit(leaf[0]);
    gnutls_x509_crt_deinit(leaf[1]);
    gnutls_x509_trust_list_deinit(list, 1);
    return status;
}

static void the_ca_lasts_and_is_private(void **state)
{
    struct world *w = *state;
    struct auth_ca *first = open_ca(w), *again = open_ca(w);
    assert_string_equal(auth_ca_fingerprint(first), auth_ca_fingerprint(again));
    char fingerprint[AUTH_FINGERPRINT];
    assert_int_equal(auth_pem_fingerprint(auth_ca_pem(first), fingerprint, NULL), 0);
    assert_string_equal(fingerprint, auth_ca_fingerprint(first));
    auto_free char *key = file_join(w->directory, "ca.key");
    struct stat info;
    assert_int_equal(stat(key, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    auth_ca_free(first);
    auth_ca_free(again);

    auth_ca_free(open_ca(w));
    assert_int_equal(file_write_durable(key, "rubbish", 7, 0600, NULL), 0);
    auto_err err = NULL;
    assert_null(auth_ca_open(w->directory, &w->clock, &random_system, &err)); /* not silently made anew */
    assert_int_equal(err_code(err), ERR_INVALID);
}

static void certificates_say_what_was_asked(void **state)
{
    struct world *w = *state;
    struct auth_ca *ca = open_ca(w);
    const char *names[] = {"127.0.0.1", "server.example", NULL};
    const struct auth_subject server = {
        .common_name = "server", .names = names, .usage = AUTH_SERVER, .validity_ns = AUTH_DAY_NS};
    char *pem = NULL, *key = NULL;
    assert_int_equal(auth_ca_issue(ca, &server, &pem, &key, NULL), 0);
    assert_int_equal(verify(pem, auth_ca_pem(ca), "server.example", GNUTLS_KP_TLS_WWW_SERVER), 0);
    assert_int_equal(verify(pem, auth_ca_pem(ca), "127.0.0.1", GNUTLS_KP_TLS_WWW_SERVER), 0);
    assert_int_not_equal(verify(pem, auth_ca_pem(ca), "other.example", GNUTLS_KP_TLS_WWW_SERVER), 0);
    assert_int_not_equal(verify(pem, auth_ca_pem(ca), NULL, GNUTLS_KP_TLS_WWW_CLIENT), 0);
    assert_true(auth_pem_names(pem, "127.0.0.1") && auth_pem_names(pem, "server.example"));
    assert_false(auth_pem_names(pem, "27.0.0.1") || auth_pem_names(pem, "127.0.0.10"));
    assert_false(auth_pem_names(pem, "example") || auth_pem_names(pem, "") || auth_pem_names("", "server"));
    free(pem);
    free(key);
    const struct auth_subject nameless = {.common_name = "", .usage = AUTH_SERVER, .validity_ns = 1};
    assert_int_equal(auth_ca_issue(ca, &nameless, &pem, &key, NULL), -1);
    auth_ca_free(ca);
}

static void a_kept_certificate_is_renewed_when_it_must_be(void **state)
{
    struct world *w = *state;
    struct auth_ca *ca = open_ca(w);
    const char *names[] = {"10.0.0.1", "a.example", NULL, NULL};
    const char *groups[] = {"g1", "g2", NULL};
    struct auth_subject subject = {.common_name = "s",
                                   .organizations = groups,
                                   .names = names,
                                   .usage = AUTH_SERVER | AUTH_CLIENT,
                                   .validity_ns = 90 * AUTH_DAY_NS};
    char *pem[5], *key[5];
    assert_int_equal(auth_ca_keep(ca, w->directory, "server", &subject, &pem[0], &key[0], NULL), 0);
    assert_int_equal(auth_ca_keep(ca, w->directory, "server", &subject, &pem[1], &key[1], NULL), 0);
    assert_string_equal(pem[0], pem[1]);
    names[2] = "10.0.0.2";
    assert_int_equal(auth_ca_keep(ca, w->directory, "server", &subject, &pem[2], &key[2], NULL), 0);
    assert_string_not_equal(pem[1], pem[2]);
    /* A server starts again at that moment: not a second too early, else it would not get the next one. */
    int64_t due;
    assert_int_equal(auth_pem_renewal(pem[2], &due, NULL), 0);
    auto_free char *same = NULL, *same_key = NULL;
    w->wall_ns = due - INT64_C(2000000000);
    assert_int_equal(auth_ca_keep(ca, w->directory, "server", &subject, &same, &same_key, NULL), 0);
    assert_string_equal(same, pem[2]);
    w->wall_ns = due;
    assert_int_equal(auth_ca_keep(ca, w->directory, "server", &subject, &pem[3], &key[3], NULL), 0);
    assert_string_not_equal(pem[2], pem[3]);
    auto_free char *key_path = file_join(w->directory, "server.key");
    assert_int_equal(file_write_durable(key_path, key[0], strlen(key[0]), 0600, NULL), 0);
    assert_int_equal(auth_ca_keep(ca, w->directory, "server", &subject, &pem[4], &key[4], NULL), 0);
    assert_string_not_equal(pem[3], pem[4]); /* the key did not fit */
    for (int i = 0; i < 5; i++) {
        free(pem[i]);
        free(key[i]);
    }
    auth_ca_free(ca);
}

static void requests_are_signed_for_whom_the_caller_says(void **state)
{
    struct world *w = *state;
    struct auth_ca *ca = open_ca(w);
    auto_free char *key = NULL, *csr = NULL, *pem = NULL;
    assert_int_equal(auth_key_and_csr("system:masters-please", &key, &csr, NULL), 0);
    const char *groups[] = {AUTH_NODES, NULL};
    const struct auth_subject node = {.common_name = "system:node:n1",
                                      .organizations = groups,
                                      .usage = AUTH_CLIENT,
                                      .validity_ns = AUTH_DAY_NS};
    assert_int_equal(auth_ca_sign_csr(ca, csr, &node, &pem, NULL), 0);
    assert_int_equal(verify(pem, auth_ca_pem(ca), NULL, GNUTLS_KP_TLS_WWW_CLIENT), 0);
    gnutls_x509_crt_t crt;
    gnutls_datum_t datum = {(unsigned char *)pem, (unsigned)strlen(pem)};
    char name[64];
    size_t len = sizeof name;
    gnutls_x509_crt_init(&crt);
    assert_int_equal(gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_PEM), 0);
    gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &len);
    gnutls_x509_crt_deinit(crt);
    assert_string_equal(name, "system:node:n1");

    char first[AUTH_FINGERPRINT], second[AUTH_FINGERPRINT];
    auto_free char *csr_again = NULL, *same_key = mem_strdup(key), *other_key = NULL, *other_csr = NULL;
    assert_int_equal(auth_key_and_csr("system:node:n1", &key, &csr_again, NULL), 0); /* with the same key */
    assert_string_equal(key, same_key);
    assert_int_equal(auth_csr_key(csr, first, NULL), 0);
    assert_int_equal(auth_csr_key(csr_again, second, NULL), 0);
    assert_string_equal(first, second);
    assert_int_equal(auth_key_and_csr("system:node:n1", &other_key, &other_csr, NULL), 0);
    assert_int_equal(auth_csr_key(other_csr, second, NULL), 0);
    assert_string_not_equal(first, second);
    assert_int_equal(auth_csr_key("", second, NULL), -1);

    char *none = NULL;
    char *broken = strstr(csr, "\n") + 40;
    *broken = *broken == 'A' ? 'B' : 'A';
    assert_int_equal(auth_ca_sign_csr(ca, csr, &node, &none, NULL), -1);
    assert_int_equal(auth_ca_sign_csr(ca, "", &node, &none, NULL), -1);
    assert_int_equal(auth_ca_sign_csr(ca, auth_ca_pem(ca), &node, &none, NULL), -1);
    auth_ca_free(ca);
}

static void join_tokens(void **state)
{
    struct world *w = *state;
    struct auth_ca *ca = open_ca(w);
    struct auth_join_token token, read;
    auth_join_token_new(&random_system, auth_ca_fingerprint(ca), &token);
    auto_free char *text = auth_join_token_print(&token);
    assert_int_equal(strlen(text), 6 + 1 + 16 + 1 + 64);
    assert_int_equal(auth_join_token_parse(text, &read, NULL), 0);
    assert_memory_equal(&read, &token, sizeof token);
    text[23] = 0;
    assert_int_equal(auth_join_token_parse(text, &read, NULL), 0);
    assert_string_equal(read.fingerprint, "");
    static const char *const bad[] = {"",
                                      ".",
                                      "abcdef",
                                      "abcdef.0123456789abcde",
                                      "abcdef.0123456789abcdefg",
                                      "ABCDEF.0123456789abcdef",
                                      "abcdef.0123456789abcdef.",
                                      "abcdef.0123456789abcdef.12",
                                      "abcde.f0123456789abcdef"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(auth_join_token_parse(bad[i], &read, NULL), -1);

    char hash[AUTH_FINGERPRINT];
    auth_secret_hash(token.secret, hash);
    struct auth_join_record record = {.secret_hash = hash, .expires_wall_ns = w->wall_ns + 1};
    assert_int_equal(auth_join_token_check(&token, &record, &w->clock, NULL), 0);
    auto_err used = NULL;
    auto_err expired = NULL;
    auto_err wrong = NULL;
    record.used = true;
    assert_int_equal(auth_join_token_check(&token, &record, &w->clock, &used), -1);
    assert_non_null(strstr(err_message(used), "used already"));
    record.used = false;
    w->wall_ns++;
    assert_int_equal(auth_join_token_check(&token, &record, &w->clock, &expired), -1);
    assert_non_null(strstr(err_message(expired), "expired"));
    token.secret[0] ^= 1;
    assert_int_equal(auth_join_token_check(&token, &record, &w->clock, &wrong), -1);
    assert_int_equal(err_code(wrong), ERR_UNAUTHORIZED);
    assert_null(strstr(err_message(wrong), token.secret));
    record.secret_hash = NULL;
    assert_int_equal(auth_join_token_check(&token, &record, &w->clock, NULL), -1);
    auth_ca_free(ca);
}

static void bearer_tokens(void **state)
{
    struct world *w = *state;
    struct auth_authority *a = auth_authority_open(w->directory, &w->clock, &random_system, NULL);
    assert_non_null(a);
    auto_free char *admin = auth_admin_token(w->directory, &random_system, NULL);
    struct auth_identity who = {0};
    assert_int_equal(auth_authenticate_token(a, admin, AUTH_AUDIENCE, &who, NULL), 0);
    assert_true(auth_identity_in(&who, AUTH_MASTERS) && auth_identity_in(&who, AUTH_AUTHENTICATED));
    auth_identity_fini(&who);

    const char *groups[] = {"system:serviceaccounts", "system:serviceaccounts:default", NULL};
    struct auth_identity account = {0};
    auth_identity_set(&account, "system:serviceaccount:default:web", "uid-1", groups);
    auto_free char *token = auth_token_issue(a, &account, NULL, 60 * INT64_C(1000000000));
    auth_identity_fini(&account);
    assert_int_equal(auth_authenticate_token(a, token, AUTH_AUDIENCE, &who, NULL), 0);
    assert_string_equal(who.user, "system:serviceaccount:default:web");
    assert_string_equal(who.uid, "uid-1");
    assert_true(auth_identity_in(&who, "system:serviceaccounts:default"));
    assert_null(who.bound);
    auth_identity_fini(&who);

    auth_identity_set(&account, "system:serviceaccount:default:web", "uid-1", groups);
    account.bound = mem_strdup(AUTH_BOUND_POD);
    account.bound_name = mem_strdup("p");
    account.bound_uid = mem_strdup("uid-p");
    auto_free char *bound = auth_token_issue(a, &account, NULL, 60 * INT64_C(1000000000));
    auth_identity_fini(&account);
    assert_int_equal(auth_authenticate_token(a, bound, AUTH_AUDIENCE, &who, NULL), 0);
    assert_string_equal(who.bound, AUTH_BOUND_POD);
    assert_string_equal(who.bound_name, "p");
    assert_string_equal(who.bound_uid, "uid-p");
    auth_identity_fini(&who);

    for (size_t i = 0; i < strlen(token); i++) { /* any change of any character */
        auto_free char *changed = mem_strdup(token);
        changed[i] = changed[i] == 'x' ? 'y' : 'x';
        assert_int_equal(auth_authenticate_token(a, changed, AUTH_AUDIENCE, &who, NULL), -1);
    }
    /* "alg": "none" */
    assert_int_equal(
        auth_authenticate_token(a, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.", AUTH_AUDIENCE, &who, NULL),
        -1);
    assert_int_equal(auth_authenticate_token(a, "", AUTH_AUDIENCE, &who, NULL), -1);
    assert_int_equal(
        auth_authenticate_token(a, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", AUTH_AUDIENCE, &who, NULL), -1);
    assert_int_equal(
        auth_authenticate_token(a, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.", AUTH_AUDIENCE, &who, NULL), -1);
    w->wall_ns += 62 * INT64_C(1000000000);
    auto_err err = NULL;
    assert_int_equal(auth_authenticate_token(a, token, AUTH_AUDIENCE, &who, &err), -1);
    assert_non_null(strstr(err_message(err), "expired"));
    auth_authority_free(a);
}

static void sealed_bytes_open_only_unchanged(void **state)
{
    struct world *w = *state;
    struct auth_seal *seal = auth_seal_open(w->directory, &random_system, NULL);
    static const char secret[] = "the password is swordfish";
    auto_bytes sealed = auth_seal(seal, secret, sizeof secret);
    auto_bytes again = auth_seal(seal, secret, sizeof secret);
    assert_null(memmem(sealed->data, sealed->len, "swordfish", 9));
    assert_memory_not_equal(sealed->data, again->data, sealed->len);
    auth_seal_free(seal);
    seal = auth_seal_open(w->directory, &random_system, NULL); /* after a restart */
    auto_bytes opened = auth_unseal(seal, sealed->data, sealed->len, NULL);
    assert_non_null(opened);
    assert_int_equal(opened->len, sizeof secret);
    assert_memory_equal(opened->data, secret, sizeof secret);
    for (size_t i = 0; i < sealed->len; i++) {
        sealed->data[i] ^= 1;
        assert_null(auth_unseal(seal, sealed->data, sealed->len, NULL));
        sealed->data[i] ^= 1;
        assert_null(auth_unseal(seal, sealed->data, i, NULL));
    }
    auto_bytes nothing = auth_seal(seal, "", 0);
    auto_bytes empty = auth_unseal(seal, nothing->data, nothing->len, NULL);
    assert_int_equal(empty->len, 0);
    auth_seal_free(seal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_ca_lasts_and_is_private, setup, teardown),
        cmocka_unit_test_setup_teardown(certificates_say_what_was_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kept_certificate_is_renewed_when_it_must_be, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_are_signed_for_whom_the_caller_says, setup, teardown),
        cmocka_unit_test_setup_teardown(join_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(bearer_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(sealed_bytes_open_only_unchanged, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
