/*
 * The cluster's CA: its files, and certificates that it signs. Every leaf has basic constraints CA:false, key
 * usage digital signature, the asked purposes, the subject that the caller decided, and the CA's certificate
 * appended in the PEM.
 *
 * Does not revoke: certificates of nodes are short-lived and renewed; what a user may do is decided by the
 * authorizer.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>

#include "auth/auth_private.h"
#include "base/file.h"

#define CA_NAME "minik8s-ca"

struct auth_ca {
    gnutls_x509_crt_t certificate;
    gnutls_x509_privkey_t key;
    pthread_mutex_t lock; /* the key serves one thread at a time */
    char *pem;
    char fingerprint[AUTH_FINGERPRINT];
    struct clock clock;
    struct random random;
};

static int new_key(gnutls_x509_privkey_t *key, struct err **err)
{
    int rc = gnutls_x509_privkey_init(key);
    if (rc == 0)
        rc = gnutls_x509_privkey_generate(*key, GNUTLS_PK_ECDSA,
                                          GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    return rc < 0 ? auth_gnutls_error(err, ERR_INTERNAL, rc, "making a key") : 0;
}

static char *key_text(gnutls_x509_privkey_t key)
{
    gnutls_datum_t out = {0};
    must(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, 0, &out) == 0);
    return auth_take_datum(&out);
}

static char *certificate_text(gnutls_x509_crt_t certificate)
{
    gnutls_datum_t out = {0};
    must(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &out) == 0);
    return auth_take_datum(&out);
}

/* Serial, validity, version: what the CA's own certificate and every leaf share. */
static int set_common(struct auth_ca *ca, gnutls_x509_crt_t certificate, int64_t validity_ns)
{
    unsigned char serial[16];
    ca->random.fill(ca->random.arg, serial, sizeof serial);
    serial[0] = (serial[0] & 0x7f) | 1; /* positive, not zero */
    int64_t now = clock_wall_ns(&ca->clock);
    int rc = gnutls_x509_crt_set_version(certificate, 3);
    if (rc == 0)
        rc = gnutls_x509_crt_set_serial(certificate, serial, sizeof serial);
    if (rc == 0)
        rc =
            gnutls_x509_crt_set_activation_time(certificate, (time_t)((now - AUTH_BACKDATE_NS) / 1000000000));
    if (rc == 0)
        rc = gnutls_x509_crt_set_expiration_time(certificate, (time_t)((now + validity_ns) / 1000000000));
    return rc;
}

static int set_key_id(gnutls_x509_crt_t certificate)
{
    unsigned char id[64];
    size_t len = sizeof id;
    int rc = gnutls_x509_crt_get_key_id(certificate, 0, id, &len);
    return rc < 0 ? rc : gnutls_x509_crt_set_subject_key_id(certificate, id, len);
}

static int make_ca(struct auth_ca *ca, struct err **err)
{
    if (new_key(&ca->key, err) < 0)
        return -1;
    int rc = gnutls_x509_crt_init(&ca->certificate);
    if (rc == 0)
        rc = set_common(ca, ca->certificate, 3652 * AUTH_DAY_NS);
    if (rc == 0)
        rc = gnutls_x509_crt_set_dn_by_oid(ca->certificate, GNUTLS_OID_X520_COMMON_NAME, 0, CA_NAME,
                                           sizeof CA_NAME - 1);
    if (rc == 0)
        rc = gnutls_x509_crt_set_key(ca->certificate, ca->key);
    if (rc == 0)
        rc = gnutls_x509_crt_set_basic_constraints(ca->certificate, 1, 0);
    if (rc == 0)
        rc = gnutls_x509_crt_set_key_usage(ca->certificate, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    if (rc == 0)
        rc = set_key_id(ca->certificate);
    if (rc == 0)
        rc = gnutls_x509_crt_sign2(ca->certificate, ca->certificate, ca->key, GNUTLS_DIG_SHA256, 0);
    return rc < 0 ? auth_gnutls_error(err, ERR_INTERNAL, rc, "making the CA") : 0;
}

static int save_ca(struct auth_ca *ca, const char *certificate_path, const char *key_path, struct err **err)
{
    auto_free char *key = key_text(ca->key);
    auto_free char *pem = certificate_text(ca->certificate);
    /* The key first: a certificate without its key would be loaded as a damaged CA for ever. */
    int rc = file_write_durable(key_path, key, strlen(key), 0600, err);
    gnutls_memset(key, 0, strlen(key));
    return rc < 0 ? -1 : file_write_durable(certificate_path, pem, strlen(pem), 0644, err);
}

static int load_ca(struct auth_ca *ca, const char *certificate_path, const char *key_path, struct err **err)
{
    auto_free char *pem = NULL, *key = NULL;
    size_t len;
    if (file_read(certificate_path, AUTH_FILE_MAX, &pem, &len, err) < 0 ||
        file_read(key_path, AUTH_FILE_MAX, &key, &len, err) < 0)
        return -1;
    gnutls_datum_t pem_datum = auth_datum(pem), key_datum = auth_datum(key);
    int rc = gnutls_x509_crt_init(&ca->certificate);
    if (rc == 0)
        rc = gnutls_x509_crt_import(ca->certificate, &pem_datum, GNUTLS_X509_FMT_PEM);
    if (rc == 0)
        rc = gnutls_x509_privkey_init(&ca->key);
    if (rc == 0)
        rc = gnutls_x509_privkey_import2(ca->key, &key_datum, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_memset(key, 0, strlen(key));
    if (rc < 0)
        return auth_gnutls_error(err, ERR_INVALID, rc, certificate_path);
    unsigned char of_certificate[64], of_key[64];
    size_t a = sizeof of_certificate, b = sizeof of_key;
    if (gnutls_x509_crt_get_key_id(ca->certificate, 0, of_certificate, &a) < 0 ||
        gnutls_x509_privkey_get_key_id(ca->key, 0, of_key, &b) < 0 || a != b ||
        memcmp(of_certificate, of_key, a) != 0)
        return err_set(err, ERR_INVALID, "%s does not belong to %s", key_path, certificate_path);
    return 0;
}

struct auth_ca *auth_ca_open(const char *directory, const struct clock *clock, const struct random *random,
                             struct err **err)
{
    auto_free char *certificate_path = file_join(directory, "ca.crt");
    auto_free char *key_path = file_join(directory, "ca.key");
    struct auth_ca *ca = NEW(struct auth_ca);
    pthread_mutex_init(&ca->lock, NULL);
    ca->clock = *clock;
    ca->random = *random;
    int rc = file_make_dirs(directory, 0700, err);
    if (rc == 0 && file_exists(certificate_path))
        rc = load_ca(ca, certificate_path, key_path, err);
    else if (rc == 0 && (rc = make_ca(ca, err)) == 0)
        rc = save_ca(ca, certificate_path, key_path, err);
    if (rc == 0) {
        ca->pem = certificate_text(ca->certificate);
        rc = auth_pem_fingerprint(ca->pem, ca->fingerprint, err);
    }
    if (rc == 0)
        return ca;
    auth_ca_free(ca);
    return NULL;
}

void auth_ca_free(struct auth_ca *ca)
{
    if (!ca)
        return;
    if (ca->certificate)
        gnutls_x509_crt_deinit(ca->certificate);
    if (ca->key)
        gnutls_x509_privkey_deinit(ca->key);
    pthread_mutex_destroy(&ca->lock);
    free(ca->pem);
    free(ca);
}

const char *auth_ca_pem(const struct auth_ca *ca)
{
    return ca->pem;
}

const char *auth_ca_fingerprint(const struct auth_ca *ca)
{
    return ca->fingerprint;
}

const struct clock *auth_ca_clock(const struct auth_ca *ca)
{
    return &ca->clock;
}

/* ---- leaves ---- */

static int set_subject(gnutls_x509_crt_t leaf, const struct auth_subject *subject)
{
    int rc = gnutls_x509_crt_set_dn_by_oid(leaf, GNUTLS_OID_X520_COMMON_NAME, 0, subject->common_name,
                                           (unsigned)strlen(subject->common_name));
    for (size_t i = 0; rc == 0 && subject->organizations && subject->organizations[i]; i++)
        rc = gnutls_x509_crt_set_dn_by_oid(leaf, GNUTLS_OID_X520_ORGANIZATION_NAME, 0,
                                           subject->organizations[i],
                                           (unsigned)strlen(subject->organizations[i]));
    for (size_t i = 0; rc == 0 && subject->names && subject->names[i]; i++) {
        const char *name = subject->names[i];
        unsigned char address[16];
        unsigned len = inet_pton(AF_INET, name, address) == 1    ? 4
                       : inet_pton(AF_INET6, name, address) == 1 ? 16
                                                                 : 0;
        rc = gnutls_x509_crt_set_subject_alt_name(leaf, len ? GNUTLS_SAN_IPADDRESS : GNUTLS_SAN_DNSNAME,
                                                  len ? (const void *)address : name,
                                                  len ? len : (unsigned)strlen(name), GNUTLS_FSAN_APPEND);
    }
    if (rc == 0 && subject->usage & AUTH_SERVER)
        rc = gnutls_x509_crt_set_key_purpose_oid(leaf, GNUTLS_KP_TLS_WWW_SERVER, 0);
    if (rc == 0 && subject->usage & AUTH_CLIENT)
        rc = gnutls_x509_crt_set_key_purpose_oid(leaf, GNUTLS_KP_TLS_WWW_CLIENT, 0);
    return rc;
}

/* Completes and signs a leaf that has its public key; its PEM text with the CA's appended, or NULL. */
static char *sign_leaf(struct auth_ca *ca, gnutls_x509_crt_t leaf, const struct auth_subject *subject,
                       struct err **err)
{
    unsigned char id[64];
    size_t len = sizeof id;
    int rc = set_common(ca, leaf, subject->validity_ns);
    if (rc == 0)
        rc = set_subject(leaf, subject);
    if (rc == 0)
        rc = gnutls_x509_crt_set_basic_constraints(leaf, 0, -1);
    if (rc == 0)
        rc = gnutls_x509_crt_set_key_usage(leaf, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (rc == 0)
        rc = set_key_id(leaf);
    if (rc == 0 && gnutls_x509_crt_get_subject_key_id(ca->certificate, id, &len, NULL) == 0)
        rc = gnutls_x509_crt_set_authority_key_id(leaf, id, len);
    if (rc == 0) {
        pthread_mutex_lock(&ca->lock);
        rc = gnutls_x509_crt_sign2(leaf, ca->certificate, ca->key, GNUTLS_DIG_SHA256, 0);
        pthread_mutex_unlock(&ca->lock);
    }
    if (rc < 0) {
        auth_gnutls_error(err, ERR_INTERNAL, rc, "signing a certificate");
        return NULL;
    }
    auto_free char *text = certificate_text(leaf);
    return mem_printf("%s%s", text, ca->pem);
}

static int check_subject(const struct auth_subject *subject, struct err **err)
{
    size_t len = strlen(subject->common_name);
    if (len == 0 || len > 256) /* node names may be longer than X.520's 64 */
        return err_set(err, ERR_INVALID, "a certificate's common name must have 1 to 256 characters");
    if (subject->validity_ns <= 0 || !subject->usage)
        return err_set(err, ERR_INVALID, "a certificate needs a validity and a usage");
    return 0;
}

int auth_ca_issue(struct auth_ca *ca, const struct auth_subject *subject, char **certificate_pem,
                  char **key_pem, struct err **err)
{
    gnutls_x509_privkey_t key = NULL;
    gnutls_x509_crt_t leaf = NULL;
    char *text = NULL;
    if (check_subject(subject, err) == 0 && new_key(&key, err) == 0) {
        int rc = gnutls_x509_crt_init(&leaf);
        if (rc == 0)
            rc = gnutls_x509_crt_set_key(leaf, key);
        if (rc < 0)
            auth_gnutls_error(err, ERR_INTERNAL, rc, "making a certificate");
        else
            text = sign_leaf(ca, leaf, subject, err);
    }
    if (text) {
        *certificate_pem = text;
        *key_pem = key_text(key);
    }
    if (leaf)
        gnutls_x509_crt_deinit(leaf);
    if (key)
        gnutls_x509_privkey_deinit(key);
    return text ? 0 : -1;
}

static int check_request_key(gnutls_x509_crq_t request, struct err **err)
{
    unsigned bits = 0;
    int algorithm = gnutls_x509_crq_get_pk_algorithm(request, &bits);
    bool strong = (algorithm == GNUTLS_PK_RSA && bits >= 2048 && bits <= 8192) ||
                  (algorithm == GNUTLS_PK_ECDSA && bits >= 256) || algorithm == GNUTLS_PK_EDDSA_ED25519;
    return strong ? 0
                  : err_set(err, ERR_BAD_REQUEST,
                            "the key of the certificate request is too weak or of an unknown kind");
}

int auth_ca_sign_csr(struct auth_ca *ca, const char *csr_pem, const struct auth_subject *subject,
                     char **certificate_pem, struct err **err)
{
    if (check_subject(subject, err) < 0)
        return -1;
    gnutls_x509_crq_t request = NULL;
    gnutls_x509_crt_t leaf = NULL;
    char *text = NULL;
    gnutls_datum_t datum = auth_datum(csr_pem);
    must(gnutls_x509_crq_init(&request) == 0 && gnutls_x509_crt_init(&leaf) == 0);
    if (datum.size > AUTH_FILE_MAX || gnutls_x509_crq_import(request, &datum, GNUTLS_X509_FMT_PEM) < 0)
        err_set(err, ERR_BAD_REQUEST, "the certificate request is malformed");
    else if (gnutls_x509_crq_verify(request, 0) < 0)
        err_set(err, ERR_BAD_REQUEST, "the certificate request is not signed with its own key");
    else if (check_request_key(request, err) == 0) {
        gnutls_pubkey_t key;
        must(gnutls_pubkey_init(&key) == 0);
        int rc = gnutls_pubkey_import_x509_crq(key, request, 0);
        if (rc == 0)
            rc = gnutls_x509_crt_set_pubkey(leaf, key);
        gnutls_pubkey_deinit(key);
        if (rc < 0)
            auth_gnutls_error(err, ERR_BAD_REQUEST, rc, "the certificate request's key");
        else
            text = sign_leaf(ca, leaf, subject, err);
    }
    gnutls_x509_crq_deinit(request);
    gnutls_x509_crt_deinit(leaf);
    if (!text)
        return -1;
    *certificate_pem = text;
    return 0;
}

int auth_csr_key(const char *csr_pem, char out[AUTH_FINGERPRINT], struct err **err)
{
    gnutls_x509_crq_t request;
    gnutls_datum_t datum = auth_datum(csr_pem);
    unsigned char digest[32];
    size_t len = sizeof digest;
    must(gnutls_x509_crq_init(&request) == 0);
    int rc = datum.size > AUTH_FILE_MAX ? GNUTLS_E_INVALID_REQUEST
                                        : gnutls_x509_crq_import(request, &datum, GNUTLS_X509_FMT_PEM);
    if (rc == 0)
        rc = gnutls_x509_crq_get_key_id(request, GNUTLS_KEYID_USE_SHA256, digest, &len);
    gnutls_x509_crq_deinit(request);
    if (rc < 0)
        return auth_gnutls_error(err, ERR_BAD_REQUEST, rc, "reading a certificate request");
    auto_free char *hex = str_hex(digest, len);
    memcpy(out, hex, AUTH_FINGERPRINT);
    return 0;
}

static int read_key(const char *pem, gnutls_x509_privkey_t *key, struct err **err)
{
    gnutls_datum_t datum = auth_datum(pem);
    must(gnutls_x509_privkey_init(key) == 0);
    int rc = gnutls_x509_privkey_import2(*key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc == 0)
        return 0;
    gnutls_x509_privkey_deinit(*key);
    return auth_gnutls_error(err, ERR_INVALID, rc, "reading a key");
}

int auth_key_and_csr(const char *common_name, char **key_pem, char **csr_pem, struct err **err)
{
    gnutls_x509_privkey_t key = NULL;
    if ((*key_pem ? read_key(*key_pem, &key, err) : new_key(&key, err)) < 0)
        return -1;
    gnutls_x509_crq_t request;
    gnutls_datum_t out = {0};
    must(gnutls_x509_crq_init(&request) == 0);
    int rc = gnutls_x509_crq_set_version(request, 1);
    if (rc == 0)
        rc = gnutls_x509_crq_set_dn_by_oid(request, GNUTLS_OID_X520_COMMON_NAME, 0, common_name,
                                           (unsigned)strlen(common_name));
    if (rc == 0)
        rc = gnutls_x509_crq_set_key(request, key);
    if (rc == 0)
        rc = gnutls_x509_crq_sign2(request, key, GNUTLS_DIG_SHA256, 0);
    if (rc == 0)
        rc = gnutls_x509_crq_export2(request, GNUTLS_X509_FMT_PEM, &out);
    if (rc == 0) {
        *csr_pem = auth_take_datum(&out);
        if (!*key_pem)
            *key_pem = key_text(key);
    }
    gnutls_x509_crq_deinit(request);
    gnutls_x509_privkey_deinit(key);
    return rc < 0 ? auth_gnutls_error(err, ERR_INTERNAL, rc, "making a certificate request") : 0;
}
