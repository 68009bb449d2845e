/* Joining a cluster. The join token's last part is the CA's fingerprint, so a machine that was given only the
 * token cannot be fooled by another server. */
#include "node_join.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "auth/auth.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "http/http.h"
#include "process.h"

#define SERVER_WAIT_MS 60000
#define JOIN_TARGET "/apis/minik8s.io/v1/join"
#define RENEW_MS 3000                                  /* pods wait for the agent meanwhile */
#define UNREACHED_AGAIN_NS (INT64_C(600) * 1000000000) /* logs, exec and top of this node fail meanwhile */

void node_identity_fini(struct node_identity *identity)
{
    free(identity->ca_pem);
    free(identity->certificate_pem);
    free(identity->key_pem);
    free(identity->problem);
    free(identity->pod_range);
    free(identity->service_range);
    *identity = (struct node_identity){0};
}

/* What the server said of the cluster. A machine that joined earlier has no such file. */
static void load_cluster(const char *pki, struct node_identity *identity)
{
    auto_free char *path = file_join(pki, "cluster.json");
    if (!file_exists(path))
        return;
    auto_err err = NULL;
    auto_free char *text = process_read(path, &err);
    auto_json cluster = text ? json_parse(text, strlen(text), &err) : NULL;
    if (err)
        log_warn("node", "%s: %s", path, err_message(err));
    identity->pod_range = mem_strdup(json_string(cluster, "podRange"));
    identity->service_range = mem_strdup(json_string(cluster, "serviceRange"));
}

static int save_cluster(const char *pki, const struct node_identity *identity, struct err **err)
{
    auto_free char *path = file_join(pki, "cluster.json");
    auto_json cluster = cJSON_CreateObject();
    json_set_string(cluster, "podRange", identity->pod_range);
    json_set_string(cluster, "serviceRange", identity->service_range);
    auto_free char *text = json_print(cluster);
    return file_write_durable(path, text, strlen(text), 0644, err);
}

/* *ended: when the certificate that is there ended; 0: there is none. */
static int load(const char *pki, struct node_identity *identity, int64_t *ended)
{
    auto_free char *ca = file_join(pki, "ca.crt");
    auto_free char *certificate = file_join(pki, "node.crt");
    auto_free char *key = file_join(pki, "node.key");
    identity->ca_pem = process_read(ca, NULL);
    identity->certificate_pem = process_read(certificate, NULL);
    identity->key_pem = process_read(key, NULL);
    load_cluster(pki, identity);
    int64_t ends = 0;
    bool whole = identity->ca_pem && identity->certificate_pem && identity->key_pem &&
                 auth_pem_expiry(identity->certificate_pem, &ends, NULL) == 0;
    if (whole && ends > clock_wall_ns(&clock_system))
        return 0;
    *ended = whole ? ends : 0;
    node_identity_fini(identity);
    return -1;
}

/* The certificate goes last: its presence says that the rest is complete. */
static int save(const char *pki, const struct node_identity *identity, struct err **err)
{
    auto_free char *ca = file_join(pki, "ca.crt");
    auto_free char *certificate = file_join(pki, "node.crt");
    auto_free char *key = file_join(pki, "node.key");
    if (file_make_dirs(pki, 0700, err) < 0 ||
        file_write_durable(ca, identity->ca_pem, strlen(identity->ca_pem), 0644, err) < 0 ||
        file_write_durable(key, identity->key_pem, strlen(identity->key_pem), 0600, err) < 0 ||
        save_cluster(pki, identity, err) < 0)
        return -1;
    return file_write_durable(certificate, identity->certificate_pem, strlen(identity->certificate_pem), 0644,
                              err);
}

static char *find_token(const struct node_join_options *options, int64_t ended, struct err **err)
{
    if (options->token)
        return mem_strdup(options->token);
    bool file = options->token_file && file_exists(options->token_file);
    if (!file && ended) {
        char end[TIME_TEXT], now[TIME_TEXT];
        time_print(ended, end);
        time_print(clock_wall_ns(&clock_system), now);
        err_set(err, ERR_UNAUTHORIZED,
                "this machine's certificate ended at %s, and its clock says %s: set the clock if it is "
                "wrong, else "
                "join again with --token (see: minikubectl token create)",
                end, now);
        return NULL;
    }
    if (!file) {
        err_set(err, ERR_UNAUTHORIZED,
                "this machine has not joined a cluster yet: give --token (see: minikubectl token create)");
        return NULL;
    }
    char *text = process_read(options->token_file, err);
    if (text)
        text[strcspn(text, " \r\n")] = 0;
    return text;
}

/* One request; a server that does not answer yet is asked again until a minute has passed. */
static struct http_response *ask(const struct http_client_options *client, const struct http_call *call,
                                 struct err **err)
{
    int64_t until = clock_monotonic_ms(&clock_system) + SERVER_WAIT_MS;
    for (;;) {
        auto_err failed = NULL;
        struct http_response *response = http_client_call_blocking(client, call, &failed);
        if (response || err_code(failed) != ERR_UNAVAILABLE || clock_monotonic_ms(&clock_system) > until) {
            err_move(err, &failed);
            return response;
        }
        log_info("node", "the server does not answer yet: %s", err_message(failed));
        const struct timespec pause = {.tv_nsec = 500000000};
        nanosleep(&pause, NULL);
    }
}

/* The CA by the server's own word: request_certificate compares it with the token before anything is sent. */
static char *shown_ca(const char *server, const char *token_text, struct err **err)
{
    struct auth_join_token token;
    if (auth_join_token_parse(token_text, &token, err) < 0)
        return NULL;
    if (!token.fingerprint[0]) {
        err_set(err, ERR_BAD_REQUEST,
                "this join token names no CA: give the whole token, ID.SECRET.FINGERPRINT, or --ca FILE");
        return NULL;
    }
    int64_t until = clock_monotonic_ms(&clock_system) + SERVER_WAIT_MS;
    for (;;) {
        auto_err failed = NULL;
        char *pem = http_fetch_ca(server, &failed);
        if (pem || err_code(failed) != ERR_UNAVAILABLE || clock_monotonic_ms(&clock_system) > until) {
            err_move(err, &failed);
            return pem;
        }
        log_info("node", "the server does not answer yet: %s", err_message(failed));
        const struct timespec pause = {.tv_nsec = 500000000};
        nanosleep(&pause, NULL);
    }
}

static int read_answer(const struct http_response *response, struct node_identity *identity, struct err **err)
{
    auto_json answer = json_parse_trusted(response->body, response->len);
    if (response->status >= 400)
        return err_set(err, err_code_from_status(response->status, json_string(answer, "reason")),
                       "joining was refused: %s", json_string_or(answer, "message", "no reason given"));
    const char *certificate = json_string(answer, "certificate");
    if (!certificate)
        return err_set(err, ERR_INTERNAL, "the server's answer to the join holds no certificate");
    identity->certificate_pem = mem_strdup(certificate);
    identity->pod_range = mem_strdup(json_string(answer, "podRange"));
    identity->service_range = mem_strdup(json_string(answer, "serviceRange"));
    return 0;
}

/* identity->ca_pem is there; fills in the rest. client: who asks, base_url and ca_pem are filled in.
 * join_key: where the key lies while a machine joins, which has time; NULL: a certificate is renewed. The key
 * is kept before it is used: a one-time token that was spent on an answer that was lost serves the same key
 * again. */
static int exchange(const struct node_join_options *options, struct http_client_options *client,
                    const char *join_key, struct node_identity *identity, struct err **err)
{
    auto_free char *user = mem_printf(AUTH_NODE_PREFIX "%s", options->name);
    auto_free char *csr = NULL;
    if (join_key && file_exists(join_key) && !(identity->key_pem = process_read(join_key, err)))
        return -1;
    if (auth_key_and_csr(user, &identity->key_pem, &csr, err) < 0)
        return err_wrap(err, "%s", join_key ? join_key : "a new key");
    if (join_key && file_write_durable(join_key, identity->key_pem, strlen(identity->key_pem), 0600, err) < 0)
        return -1;
    auto_json body = cJSON_CreateObject();
    json_set_string(body, "name", options->name);
    json_set_string(body, "csr", csr);
    json_push_string(json_ensure_array(body, "addresses"), options->address);
    auto_free char *text = json_print(body);
    client->base_url = options->server;
    client->ca_pem = identity->ca_pem;
    const struct http_call call = {.method = "POST",
                                   .target = JOIN_TARGET,
                                   .content_type = "application/json",
                                   .body = text,
                                   .body_len = strlen(text),
                                   .timeout_ms = join_key ? 10000 : RENEW_MS};
    struct http_response *response =
        join_key ? ask(client, &call, err) : http_client_call_blocking(client, &call, err);
    if (!response)
        return -1;
    int result = read_answer(response, identity, err);
    http_response_free(response);
    return result;
}

static int request_certificate(const struct node_join_options *options, const char *token_text,
                               const char *join_key, struct node_identity *identity, struct err **err)
{
    struct auth_join_token token;
    if (auth_join_token_parse(token_text, &token, err) < 0)
        return -1;
    char fingerprint[AUTH_FINGERPRINT];
    if (token.fingerprint[0] && (auth_pem_fingerprint(identity->ca_pem, fingerprint, err) < 0 ||
                                 !str_eq(fingerprint, token.fingerprint)))
        return err_set(err, ERR_UNAUTHORIZED,
                       "the CA certificate is not the one that the join token was made for");
    auto_free char *bearer = mem_printf("%s.%s", token.id, token.secret);
    struct http_client_options client = {.bearer_token = bearer};
    return exchange(options, &client, join_key, identity, err);
}

/* Key and certificate change together: a SIGKILL leaves the old pair or the new one. */
static int replace(const char *pki, const struct node_identity *identity, struct err **err)
{
    auto_free char *next = mem_printf("%s.next", pki);
    if (file_remove_tree(next, err) < 0 || save(next, identity, err) < 0)
        return -1;
    if (renameat2(AT_FDCWD, next, AT_FDCWD, pki, RENAME_EXCHANGE) < 0)
        return err_errno(err, errno, "exchanging %s with %s", next, pki);
    return file_remove_tree(next, err);
}

/* The next certificate for the present one. */
static int renew(const struct node_join_options *options, const char *pki, struct node_identity *identity,
                 struct err **err)
{
    struct node_identity next = {.ca_pem = mem_strdup(identity->ca_pem)};
    struct http_client_options client = {.certificate_pem = identity->certificate_pem,
                                         .key_pem = identity->key_pem};
    int asked = exchange(options, &client, NULL, &next, err);
    if (!identity->pod_range) { /* it joined before servers told: its flags go on to count */
        free(steal(&next.pod_range));
        free(steal(&next.service_range));
    }
    if (asked < 0 || replace(pki, &next, err) < 0) {
        node_identity_fini(&next);
        return err_wrap(err, "renewing the certificate");
    }
    node_identity_fini(identity);
    *identity = next;
    log_info("node", "the certificate was renewed");
    return 0;
}

static void renew_if_due(const struct node_join_options *options, const char *pki,
                         struct node_identity *identity)
{
    int64_t now = clock_wall_ns(&clock_system);
    auto_err err = NULL;
    bool names_us = auth_pem_names(identity->certificate_pem, options->address);
    if (auth_pem_renewal(identity->certificate_pem, &identity->renew_ns, &err) == 0 &&
        identity->renew_ns > now && names_us)
        return;
    if (!names_us)
        log_info("node", "the certificate is not for this machine's address, %s", options->address);
    if (!err && renew(options, pki, identity, &err) == 0 &&
        auth_pem_renewal(identity->certificate_pem, &identity->renew_ns, &err) == 0)
        return;
    log_warn("node", "%s", err_message(err));
    identity->problem = mem_printf(
        "%s%s", names_us ? "" : "the certificate is not for this machine's address: ", err_message(err));
    identity->renew_ns = process_renewal_retry(identity->certificate_pem);
    if (!names_us && identity->renew_ns > now + UNREACHED_AGAIN_NS)
        identity->renew_ns = now + UNREACHED_AGAIN_NS;
}

int node_join(const struct node_join_options *options, struct node_identity *identity, struct err **err)
{
    auto_free char *pki = file_join(options->directory, "pki");
    *identity = (struct node_identity){0};
    int64_t ended = 0;
    if (load(pki, identity, &ended) == 0) {
        renew_if_due(options, pki, identity);
        return 0;
    }
    auto_free char *token = find_token(options, ended, err);
    if (!token)
        return -1;
    auto_free char *join_key = file_join(pki, "join.key");
    identity->ca_pem = options->ca ? process_read(options->ca, err) : shown_ca(options->server, token, err);
    if (identity->ca_pem && file_make_dirs(pki, 0700, err) == 0 &&
        request_certificate(options, token, join_key, identity, err) == 0 && save(pki, identity, err) == 0) {
        file_remove_tree(join_key, NULL); /* left behind, it would only serve again */
        log_info("node", "joined as %s", options->name);
        return auth_pem_renewal(identity->certificate_pem, &identity->renew_ns, err);
    }
    node_identity_fini(identity);
    return err_wrap(err, "joining %s", options->server);
}
