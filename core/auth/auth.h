/*
 * auth: who is who and who may what: the cluster's CA and certificates, tokens, the authorizer, sealing of
 * Secrets.
 *
 * Identities are plain names as in Kubernetes: a user and its groups. This folder knows no objects; what it
 * must know about them (which pod runs where) is asked through callbacks.
 *
 * Threads: everything here may be called from any thread; callbacks run on the caller's.
 * Files (all 0600 but ca.crt): DIR/ca.crt, ca.key, NAME.crt, NAME.key, admin.token, token.key, seal.key.
 */
#ifndef M8_AUTH_AUTH_H
#define M8_AUTH_AUTH_H

#include "base/err.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"
#include "base/time.h"

#define AUTH_MASTERS "system:masters"
#define AUTH_MANAGER_USER "system:manager"
#define AUTH_MANAGER_GROUP "system:minik8s:manager"
#define AUTH_SERVER_USER "system:server"          /* shown by the server to those who call it */
#define AUTH_CALLER_USER "system:server:nodes"    /* shown by the server to the agents that it calls */
#define AUTH_SERVER_GROUP "system:minik8s:server" /* agents let it in; the API refuses it everything */
#define AUTH_NODES "system:nodes"
#define AUTH_NODE_PREFIX "system:node:"
#define AUTH_ACCOUNT_PREFIX "system:serviceaccount:" /* NAMESPACE:NAME */
#define AUTH_AUTHENTICATED "system:authenticated"
#define AUTH_ANONYMOUS "system:anonymous"
#define AUTH_UNAUTHENTICATED "system:unauthenticated"

#define AUTH_DAY_NS (INT64_C(86400) * 1000000000)
#define AUTH_FINGERPRINT 65 /* SHA-256 in lower-case hex, and a NUL */

/* ---- certificates (ca.c, certificate.c) ---- */
struct auth_ca;
/* Loads DIR/ca.{crt,key}; makes them (EC P-256, ten years) and DIR if they are absent. */
struct auth_ca *auth_ca_open(const char *directory, const struct clock *clock, const struct random *random,
                             struct err **err);
void auth_ca_free(struct auth_ca *ca);
const char *auth_ca_pem(const struct auth_ca *ca);
const char *auth_ca_fingerprint(const struct auth_ca *ca);
/* Of the first certificate in PEM text: what a joining node compares. ERR_INVALID. */
int auth_pem_fingerprint(const char *pem, char out[AUTH_FINGERPRINT], struct err **err);

enum auth_usage { AUTH_SERVER = 1, AUTH_CLIENT = 2 };
struct auth_subject {
    const char *common_name;
    const char *const *organizations; /* NULL-terminated, or NULL */
    const char *const *names;         /* SANs: IP addresses and DNS names; NULL-terminated, or NULL */
    unsigned usage;
    int64_t validity_ns;
};
/* A new EC P-256 key and its certificate, which is followed by the CA's (so that a joining node can see it).
 */
int auth_ca_issue(struct auth_ca *ca, const struct auth_subject *subject, char **certificate_pem,
                  char **key_pem, struct err **err);
/* The same, kept in DIR/NAME.{crt,key}: issued anew if absent, if the subject differs, if it was not issued
 * by this CA, or if less than a third of its validity is left. */
int auth_ca_keep(struct auth_ca *ca, const char *directory, const char *name,
                 const struct auth_subject *subject, char **certificate_pem, char **key_pem,
                 struct err **err);
/* Signs a request. Only the key is taken from it; who it is for is the caller's decision. ERR_BAD_REQUEST
 * when it is malformed, its own signature is wrong, or the key is weak. */
int auth_ca_sign_csr(struct auth_ca *ca, const char *csr_pem, const struct auth_subject *subject,
                     char **certificate_pem, struct err **err);
/* The SHA-256 of a request's public key in hex: the same for every request with that key. */
int auth_csr_key(const char *csr_pem, char out[AUTH_FINGERPRINT], struct err **err);
/* Node side: a request with that common name, for the key in *key_pem or, if that is NULL, for a new one. */
int auth_key_and_csr(const char *common_name, char **key_pem, char **csr_pem, struct err **err);
/* Wall time at which the first certificate ends; ERR_INVALID. */
int auth_pem_expiry(const char *pem, int64_t *wall_ns, struct err **err);
/* When a third of its validity is left: the time to get another one. */
int auth_pem_renewal(const char *pem, int64_t *wall_ns, struct err **err);
/* Whether the first certificate's alternative names hold this name or address, written as in a request. */
bool auth_pem_names(const char *pem, const char *name);

/* ---- tokens (token.c) ---- */
char *auth_secret_new(const struct random *random); /* 32 random bytes in base64url; caller frees */
void auth_secret_hash(const char *secret,
                      char out[AUTH_FINGERPRINT]); /* SHA-256 in hex: what is stored and compared */

/* Join tokens "ID.SECRET" (6.16 characters [a-z0-9], as Kubernetes' bootstrap tokens); users get
 * "ID.SECRET.FINGERPRINT". */
struct auth_join_token {
    char id[7], secret[17], fingerprint[AUTH_FINGERPRINT]; /* fingerprint is empty if it was not given */
};
void auth_join_token_new(const struct random *random, const char *fingerprint, struct auth_join_token *token);
char *auth_join_token_print(const struct auth_join_token *token);
int auth_join_token_parse(const char *text, struct auth_join_token *token,
                          struct err **err); /* ERR_BAD_REQUEST */
/* What the cluster remembers of it (the caller stores it). */
struct auth_join_record {
    const char *secret_hash; /* NULL: there is no such token */
    int64_t expires_wall_ns; /* 0: never */
    bool used;
};
/* ERR_UNAUTHORIZED with a text for the user: wrong, expired, or used. */
int auth_join_token_check(const struct auth_join_token *token, const struct auth_join_record *record,
                          const struct clock *clock, struct err **err);

/* ---- identities and the server's own secrets (authority.c) ---- */
struct auth_identity {
    char *user, *uid; /* uid may be NULL */
    char **groups;    /* NULL-terminated */
    /* What a token ends with, AUTH_BOUND_: of the service account's namespace, or a node; NULL: nothing. */
    char *bound, *bound_name, *bound_uid;
};
#define AUTH_BOUND_POD "pod"
#define AUTH_BOUND_SECRET "secret"
#define AUTH_BOUND_NODE "node"
void auth_identity_set(struct auth_identity *identity, const char *user, const char *uid,
                       const char *const *groups);
void auth_identity_fini(struct auth_identity *identity);
bool auth_identity_in(const struct auth_identity *identity, const char *group);
const char *
auth_identity_node(const struct auth_identity *identity); /* the node's name, or NULL if it is none */

struct auth_seal;
struct auth_authority; /* CA, sealing key, admin token, key of signed tokens */
struct auth_authority *auth_authority_open(const char *directory, const struct clock *clock,
                                           const struct random *random, struct err **err);
void auth_authority_free(struct auth_authority *authority);
struct auth_ca *auth_authority_ca(struct auth_authority *authority);
struct auth_seal *auth_authority_seal(struct auth_authority *authority);
/* Reads or makes DIR/admin.token; caller frees. */
char *auth_admin_token(const char *directory, const struct random *random, struct err **err);

#define AUTH_AUDIENCE "https://kubernetes.default.svc.cluster.local" /* the API server itself */
/* A signed token (JWT, HS256) for a service account or any other user, with what it is bound to; caller
 * frees. lifetime_ns > 0.
 * audiences: NULL-terminated, who may accept it; NULL: the API server. */
char *auth_token_issue(struct auth_authority *authority, const struct auth_identity *identity,
                       const char *const *audiences, int64_t lifetime_ns);
/* Bearer token (without "Bearer ") → identity, with system:authenticated among the groups. ERR_UNAUTHORIZED,
 * also for a token that is not meant for `audience`. The caller checks that a service account's uid, and what
 * the token is bound to, still exist. */
int auth_authenticate_token(struct auth_authority *authority, const char *token, const char *audience,
                            struct auth_identity *identity, struct err **err);
/* Verified certificate subject → identity, with system:authenticated; user NULL → system:anonymous. */
void auth_authenticate_certificate(const char *user, const char *const *groups,
                                   struct auth_identity *identity);

/* ---- authorizer (authorize.c) ---- */
struct auth_attributes {
    const char
        *verb; /* get list watch create update patch delete deletecollection …; of a path: get post … */
    const char *group;                          /* "" is core */
    const char *resource;                       /* NULL: a non-resource request for `path` */
    const char *subresource, *namespace, *name; /* NULL if there is none */
    const char *path;
};
/* What the rules for nodes must know; a NULL function means "no". */
struct auth_facts {
    bool (*node_refers)(void *arg, const char *node, const char *resource, const char *namespace,
                        const char *name);
    bool (*node_owns_pod)(void *arg, const char *node, const char *namespace, const char *name);
    bool (*node_owns_volume)(void *arg, const char *node, const char *name);
    void *arg;
};
enum auth_verdict { AUTH_NO_OPINION, AUTH_ALLOW, AUTH_DENY };
/* One source of decisions. The reason (optional) is appended to *reason. */
typedef enum auth_verdict auth_rule(void *arg, const struct auth_identity *identity,
                                    const struct auth_attributes *attributes, struct str *reason);
struct auth_source {
    auth_rule *rule;
    void *arg;
};
/* Built-in rules first (the server as agents know it: nothing; masters, manager, node, health paths, reviews
 * of oneself), then `more` (RBAC; may be NULL), in order; the first opinion counts, none is a no. */
bool auth_allowed(const struct auth_identity *identity, const struct auth_attributes *attributes,
                  const struct auth_facts *facts, const struct auth_source *more, size_t n_more,
                  struct str *reason);

/* ---- sealing (seal.c) ---- */
/* AES-256-GCM under DIR/seal.key: format byte, random nonce, ciphertext, tag. */
struct auth_seal *auth_seal_open(const char *directory, const struct random *random, struct err **err);
void auth_seal_free(struct auth_seal *seal);
struct bytes *auth_seal(void *seal, const void *data, size_t len);
struct bytes *auth_unseal(void *seal, const void *data, size_t len,
                          struct err **err); /* ERR_IO: not ours, or changed */

#endif
