/*
 * Reading certificates, and keeping one in files: a kept certificate is used again while it says what is
 * asked, its key fits, it comes from the present CA, and more than a third of its validity is left.
 */
#include <arpa/inet.h>
#include <string.h>

#include "auth/auth_private.h"
#include "base/file.h"

static int import(const char *pem, gnutls_x509_crt_t *certificate, struct err **err)
{
    gnutls_datum_t datum = auth_datum(pem);
    must(gnutls_x509_crt_init(certificate) == 0);
    int rc = gnutls_x509_crt_import(*certificate, &datum, GNUTLS_X509_FMT_PEM);
    if (rc == 0)
        return 0;
    gnutls_x509_crt_deinit(*certificate);
    return auth_gnutls_error(err, ERR_INVALID, rc, "reading a certificate");
}

int auth_pem_fingerprint(const char *pem, char out[AUTH_FINGERPRINT], struct err **err)
{
    gnutls_x509_crt_t certificate;
    if (import(pem, &certificate, err) < 0)
        return -1;
    unsigned char digest[32];
    size_t len = sizeof digest;
    int rc = gnutls_x509_crt_get_fingerprint(certificate, GNUTLS_DIG_SHA256, digest, &len);
    gnutls_x509_crt_deinit(certificate);
    if (rc < 0)
        return auth_gnutls_error(err, ERR_INVALID, rc, "reading a certificate");
    auto_free char *hex = str_hex(digest, len);
    memcpy(out, hex, AUTH_FINGERPRINT);
    return 0;
}

int auth_pem_expiry(const char *pem, int64_t *wall_ns, struct err **err)
{
    gnutls_x509_crt_t certificate;
    if (import(pem, &certificate, err) < 0)
        return -1;
    *wall_ns = (int64_t)gnutls_x509_crt_get_expiration_time(certificate) * 1000000000;
    gnutls_x509_crt_deinit(certificate);
    return 0;
}

int auth_pem_renewal(const char *pem, int64_t *wall_ns, struct err **err)
{
    gnutls_x509_crt_t certificate;
    if (import(pem, &certificate, err) < 0)
        return -1;
    int64_t begin = (int64_t)gnutls_x509_crt_get_activation_time(certificate) * 1000000000;
    int64_t end = (int64_t)gnutls_x509_crt_get_expiration_time(certificate) * 1000000000;
    *wall_ns = end - (end - begin - AUTH_BACKDATE_NS) / 3;
    gnutls_x509_crt_deinit(certificate);
    return 0;
}

/* "CN=…\nO=…\nSAN=…\n" of what is asked. */
static void describe_subject(const struct auth_subject *subject, struct str *out)
{
    str_addf(out, "CN=%s\n", subject->common_name);
    for (size_t i = 0; subject->organizations && subject->organizations[i]; i++)
        str_addf(out, "O=%s\n", subject->organizations[i]);
    for (size_t i = 0; subject->names && subject->names[i]; i++)
        str_addf(out, "SAN=%s\n", subject->names[i]);
    str_addf(out, "usage=%u\n", subject->usage);
}

static bool add_name(gnutls_x509_crt_t certificate, const char *label, const char *oid, unsigned index,
                     struct str *out)
{
    char text[512];
    size_t len = sizeof text;
    if (gnutls_x509_crt_get_dn_by_oid(certificate, oid, index, 0, text, &len) < 0)
        return false;
    str_addf(out, "%s=%s\n", label, text);
    return true;
}

/* "SAN=…\n" each. */
static void describe_names(gnutls_x509_crt_t certificate, struct str *out)
{
    for (unsigned i = 0;; i++) {
        char name[512], text[INET6_ADDRSTRLEN];
        size_t len = sizeof name;
        int type = gnutls_x509_crt_get_subject_alt_name(certificate, i, name, &len, NULL);
        if (type < 0)
            break;
        bool address = type == GNUTLS_SAN_IPADDRESS && (len == 4 || len == 16);
        if (address)
            inet_ntop(len == 4 ? AF_INET : AF_INET6, name, text, sizeof text);
        str_add(out, "SAN=");
        str_add_n(out, address ? text : name, address ? strlen(text) : len);
        str_add_char(out, '\n');
    }
}

/* The same of what is there. */
static void describe_certificate(gnutls_x509_crt_t certificate, struct str *out)
{
    add_name(certificate, "CN", GNUTLS_OID_X520_COMMON_NAME, 0, out);
    for (unsigned i = 0; add_name(certificate, "O", GNUTLS_OID_X520_ORGANIZATION_NAME, i, out); i++)
        continue;
    describe_names(certificate, out);
    unsigned usage = 0;
    for (unsigned i = 0;; i++) {
        char oid[128];
        size_t len = sizeof oid;
        if (gnutls_x509_crt_get_key_purpose_oid(certificate, i, oid, &len, NULL) < 0)
            break;
        usage |= strcmp(oid, GNUTLS_KP_TLS_WWW_SERVER) == 0 ? AUTH_SERVER : 0;
        usage |= strcmp(oid, GNUTLS_KP_TLS_WWW_CLIENT) == 0 ? AUTH_CLIENT : 0;
    }
    str_addf(out, "usage=%u\n", usage);
}

bool auth_pem_names(const char *pem, const char *name)
{
    gnutls_x509_crt_t certificate;
    if (import(pem, &certificate, NULL) < 0)
        return false;
    auto_str have = {0};
    str_add_char(&have, '\n');
    describe_names(certificate, &have);
    gnutls_x509_crt_deinit(certificate);
    auto_free char *line = mem_printf("\nSAN=%s\n", name);
    return strstr(str_c(&have), line) != NULL;
}

static bool key_fits(gnutls_x509_crt_t certificate, const char *key_pem)
{
    gnutls_x509_privkey_t key;
    gnutls_datum_t datum = auth_datum(key_pem);
    unsigned char a[64], b[64];
    size_t a_len = sizeof a, b_len = sizeof b;
    must(gnutls_x509_privkey_init(&key) == 0);
    bool fits = gnutls_x509_privkey_import2(key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0) == 0 &&
                gnutls_x509_crt_get_key_id(certificate, 0, a, &a_len) == 0 &&
                gnutls_x509_privkey_get_key_id(key, 0, b, &b_len) == 0 && a_len == b_len &&
                memcmp(a, b, a_len) == 0;
    gnutls_x509_privkey_deinit(key);
    return fits;
}

static bool issued_by(gnutls_x509_crt_t certificate, const struct auth_ca *ca)
{
    gnutls_x509_crt_t authority;
    unsigned status = 1;
    if (import(auth_ca_pem(ca), &authority, NULL) < 0)
        return false;
    bool fine =
        gnutls_x509_crt_verify(certificate, &authority, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status) == 0 &&
        status == 0;
    gnutls_x509_crt_deinit(authority);
    return fine;
}

static bool still_good(const struct auth_ca *ca, const struct clock *clock, const char *pem, const char *key,
                       const struct auth_subject *subject)
{
    gnutls_x509_crt_t certificate;
    if (import(pem, &certificate, NULL) < 0)
        return false;
    auto_str wanted = {0}, have = {0};
    describe_subject(subject, &wanted);
    describe_certificate(certificate, &have);
    int64_t end = (int64_t)gnutls_x509_crt_get_expiration_time(certificate) * 1000000000;
    bool good = str_eq(str_c(&wanted), str_c(&have)) && key_fits(certificate, key) &&
                issued_by(certificate, ca) && end - clock_wall_ns(clock) > subject->validity_ns / 3;
    gnutls_x509_crt_deinit(certificate);
    return good;
}

int auth_ca_keep(struct auth_ca *ca, const char *directory, const char *name,
                 const struct auth_subject *subject, char **certificate_pem, char **key_pem, struct err **err)
{
    auto_free char *certificate_name = mem_printf("%s.crt", name), *key_name = mem_printf("%s.key", name);
    auto_free char *certificate_path = file_join(directory, certificate_name);
    auto_free char *key_path = file_join(directory, key_name);
    auto_free char *pem = NULL, *key = NULL;
    size_t len;
    bool there = file_read(certificate_path, AUTH_FILE_MAX, &pem, &len, NULL) == 0 &&
                 file_read(key_path, AUTH_FILE_MAX, &key, &len, NULL) == 0;
    if (!there || !still_good(ca, auth_ca_clock(ca), pem, key, subject)) {
        free(steal(&pem));
        free(steal(&key));
        if (auth_ca_issue(ca, subject, &pem, &key, err) < 0 ||
            file_write_durable(key_path, key, strlen(key), 0600, err) < 0 ||
            file_write_durable(certificate_path, pem, strlen(pem), 0600, err) < 0)
            return -1;
    }
    *certificate_pem = steal(&pem);
    *key_pem = steal(&key);
    return 0;
}
