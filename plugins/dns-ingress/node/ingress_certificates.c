/*
 * ingress_certificates: the certificates that routes name: fetched when a route says a new revision, checked,
 * and kept in memory until the route goes. The server gives a node only Secrets that a route (or a pod of the
 * node) refers to. Invariant: a certificate that was right is served until a right one follows, also by the
 * next agent: it begins with what the proxies' files hold.
 */
#include <gnutls/x509.h>
#include <string.h>

#include "base/log.h"
#include "client/client.h"
#include "ingress.h"

#define RETRY_MS 2000

struct certificate {
    struct certificates *owner;
    char *key, *revision; /* "namespace/name"; what is being or was asked for */
    char *pem;            /* certificate and key; NULL: none yet */
    bool asking, again, wanted;
};

struct certificates {
    struct node_extension_host *host;
    struct map items; /* key → struct certificate */
    struct loop_timer *retry;
    void (*changed)(void *arg);
    void *arg;
    bool closed;
    unsigned asking;
};

/* ---- checking ---- */

static int fail(struct err **err, int rc, const char *what)
{
    return err_set(err, ERR_INVALID, "%s: %s", what, gnutls_strerror(rc));
}

static int same_key(gnutls_x509_crt_t certificate, gnutls_x509_privkey_t key, struct err **err)
{
    unsigned char a[64], b[64];
    size_t a_len = sizeof(a), b_len = sizeof(b);
    if (gnutls_x509_crt_get_key_id(certificate, 0, a, &a_len) == 0 &&
        gnutls_x509_privkey_get_key_id(key, 0, b, &b_len) == 0 && a_len == b_len && memcmp(a, b, a_len) == 0)
        return 0;
    return err_set(err, ERR_INVALID, "tls.key does not belong to tls.crt");
}

static int check_pair(const gnutls_datum_t *crt, const gnutls_datum_t *key, struct err **err)
{
    gnutls_x509_crt_t *list = NULL;
    gnutls_x509_privkey_t private = NULL;
    unsigned count = 0;
    int rc = gnutls_x509_crt_list_import2(&list, &count, crt, GNUTLS_X509_FMT_PEM, 0), result = -1;
    if (rc < 0)
        return fail(err, rc, "tls.crt");
    gnutls_x509_privkey_init(&private);
    rc = gnutls_x509_privkey_import2(private, key, GNUTLS_X509_FMT_PEM, NULL, 0);
    result = rc < 0 ? fail(err, rc, "tls.key") : same_key(list[0], private, err);
    gnutls_x509_privkey_deinit(private);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
    return result;
}

static int decode(const cJSON *secret, const char *name, gnutls_datum_t *out, struct err **err)
{
    const cJSON *value = json_get(json_get(secret, "data"), name);
    unsigned char *data = NULL;
    size_t len = 0;
    if (!cJSON_IsString(value) || !*value->valuestring)
        return err_set(err, ERR_INVALID, "it has no %s", name);
    if (str_unbase64(value->valuestring, strlen(value->valuestring), &data, &len) < 0)
        return err_set(err, ERR_INVALID, "%s is no base64", name);
    *out = (gnutls_datum_t){data, (unsigned)len};
    return 0;
}

/* Both as the proxy reads them; caller frees. */
static char *pem_of(const cJSON *secret, struct err **err)
{
    gnutls_datum_t crt = {0}, key = {0};
    char *pem = NULL;
    if (decode(secret, "tls.crt", &crt, err) == 0 && decode(secret, "tls.key", &key, err) == 0 &&
        check_pair(&crt, &key, err) == 0)
        pem = mem_printf("%.*s\n%.*s\n", (int)crt.size, (const char *)crt.data, (int)key.size,
                         (const char *)key.data);
    free(crt.data);
    if (key.data)
        gnutls_memset(key.data, 0, key.size);
    free(key.data);
    return pem;
}

/* ---- fetching ---- */

static void certificate_free(void *value)
{
    struct certificate *certificate = value;
    free(certificate->key);
    free(certificate->revision);
    free(certificate->pem);
    free(certificate);
}

static void ask(struct certificate *certificate);

static void tell(const struct certificate *certificate, const char *why)
{
    const char *slash = strchr(certificate->key, '/');
    auto_free char *namespace = mem_strndup(certificate->key, (size_t)(slash - certificate->key));
    auto_json involved = cJSON_CreateObject();
    json_set_string(involved, "apiVersion", "v1");
    json_set_string(involved, "kind", "Secret");
    json_set_string(involved, "namespace", namespace);
    json_set_string(involved, "name", slash + 1);
    log_warn("ingress", "certificate %s: %s", certificate->key, why);
    recorder_event(certificate->owner->host->recorder, involved, "Warning", "CertificateInvalid",
                   "ingress: %s; %s", why,
                   certificate->pem ? "the one before is shown" : "the default certificate is shown");
}

static void take(struct certificate *certificate, const cJSON *secret)
{
    auto_err err = NULL;
    char *pem = pem_of(secret, &err);
    if (!pem) {
        tell(certificate, err_message(err));
        return;
    }
    if (str_eq(pem, certificate->pem)) {
        free(pem);
        return;
    }
    free(certificate->pem);
    certificate->pem = pem;
    certificate->owner->changed(certificate->owner->arg);
}

static void maybe_free(struct certificates *certificates)
{
    if (!certificates->closed || certificates->asking)
        return;
    loop_timer_free(certificates->retry);
    map_fini(&certificates->items);
    free(certificates);
}

static void on_secret(void *arg, cJSON *object, struct err *err)
{
    struct certificate *certificate = arg;
    struct certificates *owner = certificate->owner;
    certificate->asking = false;
    owner->asking--;
    if (owner->closed) {
        maybe_free(owner);
    } else if (!certificate->wanted) {
        map_remove(&owner->items, certificate->key);
    } else if (err) {
        log_warn("ingress", "certificate %s: %s", certificate->key, err_message(err));
        certificate->again = true;
        loop_timer_start(owner->retry, RETRY_MS);
    } else {
        take(certificate, object);
        if (certificate->again)
            ask(certificate);
    }
    cJSON_Delete(object);
    err_free(err);
}

static void ask(struct certificate *certificate)
{
    struct certificates *owner = certificate->owner;
    const char *slash = strchr(certificate->key, '/');
    auto_free char *namespace = mem_strndup(certificate->key, (size_t)(slash - certificate->key));
    auto_free char *path = client_path("secrets", "v1", namespace, slash + 1, NULL);
    certificate->again = false;
    certificate->asking = true;
    owner->asking++;
    client_request(owner->host->client, "GET", path, NULL, NULL, on_secret, certificate);
}

static void on_retry(void *arg)
{
    struct certificates *certificates = arg;
    map_each (entry, &certificates->items) {
        struct certificate *certificate = entry->value;
        if (certificate->again && !certificate->asking)
            ask(certificate);
    }
}

static char *pem_on_disk(const struct certificates *certificates, const char *key)
{
    const char *slash = strchr(key, '/');
    auto_free char *namespace = mem_strndup(key, (size_t)(slash - key));
    auto_free char *file = ingress_certificate_name(namespace, slash + 1);
    return ingress_read_certificate(certificates->host->directory, file);
}

static void want(struct certificates *certificates, const char *key, const char *revision)
{
    struct certificate *certificate = map_get(&certificates->items, key);
    if (!certificate) {
        certificate = NEW(struct certificate);
        certificate->owner = certificates;
        certificate->key = mem_strdup(key);
        certificate->pem = pem_on_disk(certificates, key);
        map_set(&certificates->items, key, certificate);
    }
    certificate->wanted = true;
    if (str_eq(certificate->revision, revision))
        return;
    free(certificate->revision);
    certificate->revision = mem_strdup(revision);
    if (certificate->asking)
        certificate->again = true;
    else
        ask(certificate);
}

void certificates_set(struct certificates *certificates, const struct map *routes)
{
    map_each (entry, &certificates->items)
        ((struct certificate *)entry->value)->wanted = false;
    map_each (route, routes) {
        auto_free char *namespace = mem_strndup(route->key, strcspn(route->key, "/"));
        json_each (tls, json_get(route->value, "tls")) {
            auto_free char *key = mem_printf("%s/%s", namespace, json_string_or(tls, "secret", ""));
            want(certificates, key, json_string_or(tls, "revision", ""));
        }
    }
    map_each (entry, &certificates->items) {
        const struct certificate *certificate = entry->value;
        if (!certificate->wanted && !certificate->asking)
            map_remove(&certificates->items, entry->key);
    }
}

const char *certificates_pem(const struct certificates *certificates, const char *key)
{
    const struct certificate *certificate = map_get(&certificates->items, key);
    return certificate ? certificate->pem : NULL;
}

struct certificates *certificates_new(struct node_extension_host *host, void (*changed)(void *arg), void *arg)
{
    struct certificates *certificates = NEW(struct certificates);
    certificates->host = host;
    certificates->changed = changed;
    certificates->arg = arg;
    map_init(&certificates->items, certificate_free);
    certificates->retry = loop_timer_new(host->loop, on_retry, certificates);
    return certificates;
}

void certificates_free(struct certificates *certificates)
{
    certificates->closed = true;
    loop_timer_stop(certificates->retry);
    maybe_free(certificates);
}
