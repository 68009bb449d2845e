/*
 * http_fetch_ca: one TLS handshake whose only purpose is to look at the certificates that the server shows.
 * Nothing is sent or trusted. Blocking, with one deadline; for the moment at which a new machine joins.
 */
#include <gnutls/x509.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "http/http_private.h"

#define STEP_SECONDS 5

static int connect_to(const char *base_url, struct err **err)
{
    if (!str_starts(base_url, "https://"))
        return err_set(err, ERR_INVALID, "not an https address: %s", base_url);
    const char *start = base_url + strlen("https://");
    auto_free char *host = mem_strndup(start, strcspn(start, "/"));
    char *port = strrchr(host, ':'), *name = host;
    if (port && strchr(port, ']'))
        port = NULL;
    if (port)
        *port++ = 0;
    if (*name == '[') {
        name++;
        name[strcspn(name, "]")] = 0;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(name, port ? port : "443", &hints, &found);
    if (rc != 0)
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", name, gai_strerror(rc));
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        struct timeval limit = {.tv_sec = STEP_SECONDS};
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* also limits connect */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd >= 0 ? fd : err_set(err, ERR_UNAVAILABLE, "cannot connect to %s", base_url);
}

static char *last_certificate(gnutls_session_t session, struct err **err)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    gnutls_datum_t pem = {0};
    if (!chain || count == 0 || gnutls_pem_base64_encode2("CERTIFICATE", &chain[count - 1], &pem) < 0) {
        err_set(err, ERR_UNAVAILABLE, "the server shows no certificate");
        return NULL;
    }
    char *text = mem_strndup((const char *)pem.data, pem.size);
    gnutls_free(pem.data);
    return text;
}

char *http_fetch_ca(const char *base_url, struct err **err)
{
    auto_fd fd = connect_to(base_url, err);
    if (fd < 0)
        return NULL;
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
    must(gnutls_certificate_allocate_credentials(&credentials) == 0);
    must(gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL) == 0);
    char *pem = NULL;
    int rc = gnutls_set_default_priority(session);
    if (rc == 0)
        rc = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_int(session, fd);
    gnutls_handshake_set_timeout(session, STEP_SECONDS * 1000);
    while (rc == 0 && (rc = gnutls_handshake(session)) < 0 && !gnutls_error_is_fatal(rc) &&
           rc != GNUTLS_E_AGAIN)
        rc = 0;
    if (rc < 0)
        err_set(err, rc == GNUTLS_E_TIMEDOUT || rc == GNUTLS_E_AGAIN ? ERR_TIMEOUT : ERR_UNAVAILABLE,
                "no TLS handshake with %s: %s", base_url, gnutls_strerror(rc));
    else
        pem = last_certificate(session, err);
    if (rc == 0)
        gnutls_bye(session, GNUTLS_SHUT_WR);
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    return pem;
}
