/*
 * GnuTLS for the front: credentials from PEM text, sessions (TLS 1.2 and later, ALPN http/1.1, tickets, a
 * certificate asked of the client but not demanded), and the identity that a verified client certificate
 * gives: CN and O.
 *
 * Does not decide what an identity may do. A certificate that is shown must verify: a broken one ends the
 * connection.
 */
#include <arpa/inet.h>
#include <gnutls/x509.h>
#include <string.h>

#include "http/http_private.h"

#define MAX_GROUPS 32
#define MAX_ADDRESSES 32

static int tls_error(struct err **err, int code, const char *what)
{
    return err_set(err, ERR_INVALID, "%s: %s", what, gnutls_strerror(code));
}

static gnutls_datum_t datum(const char *text)
{
    return (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)text, .size = (unsigned)strlen(text)};
}

static int load(struct front_tls *tls, const struct http_server_options *options, struct err **err)
{
    int rc = gnutls_certificate_allocate_credentials(&tls->credentials);
    if (rc < 0)
        return tls_error(err, rc, "TLS credentials");
    gnutls_datum_t certificate = datum(options->certificate_pem), key = datum(options->key_pem);
    rc = gnutls_certificate_set_x509_key_mem(tls->credentials, &certificate, &key, GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        return tls_error(err, rc, "the server's certificate or key");
    if (options->client_ca_pem) {
        gnutls_datum_t ca = datum(options->client_ca_pem);
        rc = gnutls_certificate_set_x509_trust_mem(tls->credentials, &ca, GNUTLS_X509_FMT_PEM);
        if (rc <= 0)
            return tls_error(err, rc, "the CA of client certificates");
        tls->verify_clients = true;
    }
    rc = gnutls_priority_init(&tls->priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE",
                              NULL);
    if (rc < 0)
        return tls_error(err, rc, "TLS priorities");
    rc = gnutls_session_ticket_key_generate(&tls->ticket_key);
    return rc < 0 ? tls_error(err, rc, "TLS tickets") : 0;
}

struct front_tls *front_tls_new(const struct http_server_options *options, struct err **err)
{
    struct front_tls *tls = NEW(struct front_tls);
    if (load(tls, options, err) == 0)
        return tls;
    front_tls_free(tls);
    return NULL;
}

void front_tls_free(struct front_tls *tls)
{
    if (!tls)
        return;
    if (tls->credentials)
        gnutls_certificate_free_credentials(tls->credentials);
    if (tls->priority)
        gnutls_priority_deinit(tls->priority);
    if (tls->ticket_key.data) {
        gnutls_memset(tls->ticket_key.data, 0, tls->ticket_key.size);
        gnutls_free(tls->ticket_key.data);
    }
    free(tls);
}

gnutls_session_t front_tls_session(struct front_tls *tls, int fd)
{
    gnutls_session_t session;
    if (gnutls_init(&session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0)
        return NULL;
    static const unsigned char http11[] = "http/1.1";
    gnutls_datum_t protocol = {.data = (unsigned char *)(uintptr_t)http11, .size = sizeof http11 - 1};
    if (gnutls_priority_set(session, tls->priority) < 0 ||
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->credentials) < 0 ||
        gnutls_alpn_set_protocols(session, &protocol, 1, 0) < 0 ||
        gnutls_session_ticket_enable_server(session, &tls->ticket_key) < 0) {
        gnutls_deinit(session);
        return NULL;
    }
    gnutls_certificate_server_set_request(session,
                                          tls->verify_clients ? GNUTLS_CERT_REQUEST : GNUTLS_CERT_IGNORE);
    gnutls_handshake_set_timeout(session, GNUTLS_INDEFINITE_TIMEOUT); /* the front has its own clock */
    gnutls_transport_set_int(session, fd);
    return session;
}

/* The index-th value of an attribute of the subject, or NULL. */
static char *subject_value(gnutls_x509_crt_t certificate, const char *oid, unsigned index)
{
    char text[512];
    size_t len = sizeof text;
    if (gnutls_x509_crt_get_dn_by_oid(certificate, oid, index, 0, text, &len) < 0 || strlen(text) != len)
        return NULL;
    return mem_strdup(text);
}

/* `count` texts, each with its NUL → an array that ends with NULL, one allocation. */
static char **split(const struct str *all, size_t count)
{
    char **texts = mem_alloc((count + 1) * sizeof *texts + all->len);
    char *at = (char *)(texts + count + 1);
    if (all->len)
        memcpy(at, all->data, all->len);
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1)
        texts[i] = at;
    return texts;
}

static char **subject_groups(gnutls_x509_crt_t certificate)
{
    auto_str all = {0};
    size_t count = 0;
    for (; count < MAX_GROUPS; count++) {
        auto_free char *value =
            subject_value(certificate, GNUTLS_OID_X520_ORGANIZATION_NAME, (unsigned)count);
        if (!value)
            break;
        str_add_n(&all, value, strlen(value) + 1);
    }
    return split(&all, count);
}

static char **alternative_addresses(gnutls_x509_crt_t certificate)
{
    auto_str all = {0};
    size_t count = 0;
    for (unsigned i = 0; count < MAX_ADDRESSES; i++) {
        unsigned char name[256];
        size_t len = sizeof name;
        char text[INET6_ADDRSTRLEN];
        int type = gnutls_x509_crt_get_subject_alt_name(certificate, i, name, &len, NULL);
        if (type < 0 && type != GNUTLS_E_SHORT_MEMORY_BUFFER)
            break;
        if (type != GNUTLS_SAN_IPADDRESS || (len != 4 && len != 16) ||
            !inet_ntop(len == 4 ? AF_INET : AF_INET6, name, text, sizeof text))
            continue;
        str_add_n(&all, text, strlen(text) + 1);
        count++;
    }
    return split(&all, count);
}

int front_tls_identify(struct front_tls *tls, gnutls_session_t session, struct http_link *link)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = tls->verify_clients ? gnutls_certificate_get_peers(session, &count) : NULL;
    if (!chain || count == 0)
        return 0;
    gnutls_typed_vdata_st purpose = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT,
        .size = 0,
    };
    unsigned status = 0;
    if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) < 0 || status != 0)
        return -1;
    gnutls_x509_crt_t certificate;
    if (gnutls_x509_crt_init(&certificate) < 0)
        return -1;
    int rc = gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER) < 0 ? -1 : 0;
    if (rc == 0) {
        link->user = subject_value(certificate, GNUTLS_OID_X520_COMMON_NAME, 0);
        link->groups = subject_groups(certificate);
        link->addresses = alternative_addresses(certificate);
        rc = link->user ? 0 : -1;
    }
    gnutls_x509_crt_deinit(certificate);
    return rc;
}
