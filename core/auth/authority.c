/*
 * The server's own secrets in one place, and the way from a credential to an identity. A signed token is a
 * JWT with HS256 whose header is constant: anything else in its place is refused, so no algorithm can be
 * chosen by the bearer.
 */
#include <string.h>

#include "auth/auth_private.h"
#include "base/file.h"
#include "base/json.h"

#define ISSUER "minik8s"
#define TOKEN_MAX 8192

struct auth_authority {
    struct auth_ca *ca;
    struct auth_seal *seal;
    struct clock clock;
    char admin_hash[AUTH_FINGERPRINT];
    unsigned char key[32];
};

/* ---- identities ---- */

void auth_identity_set(struct auth_identity *identity, const char *user, const char *uid,
                       const char *const *groups)
{
    size_t count = 0, bytes = 0;
    for (; groups && groups[count]; count++)
        bytes += strlen(groups[count]) + 1;
    identity->user = mem_strdup(user);
    identity->uid = mem_strdup(uid);
    identity->groups = mem_alloc((count + 1) * sizeof(char *) + bytes);
    char *at = (char *)(identity->groups + count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(groups[i]) + 1;
        identity->groups[i] = memcpy(at, groups[i], len);
        at += len;
    }
}

void auth_identity_fini(struct auth_identity *identity)
{
    free(identity->user);
    free(identity->uid);
    free(identity->groups);
    free(identity->bound);
    free(identity->bound_name);
    free(identity->bound_uid);
    *identity = (struct auth_identity){0};
}

bool auth_identity_in(const struct auth_identity *identity, const char *group)
{
    for (size_t i = 0; identity->groups && identity->groups[i]; i++) {
        if (strcmp(identity->groups[i], group) == 0)
            return true;
    }
    return false;
}

const char *auth_identity_node(const struct auth_identity *identity)
{
    size_t len = strlen(AUTH_NODE_PREFIX);
    if (!identity->user || strncmp(identity->user, AUTH_NODE_PREFIX, len) != 0 || !identity->user[len])
        return NULL;
    return auth_identity_in(identity, AUTH_NODES) ? identity->user + len : NULL;
}

static void set_with_authenticated(struct auth_identity *identity, const char *user, const char *uid,
                                   const char *const *groups)
{
    size_t count = 0;
    bool has = false;
    for (; groups && groups[count]; count++)
        has |= strcmp(groups[count], AUTH_AUTHENTICATED) == 0;
    auto_free const char **all = mem_array(count + 2, sizeof *all);
    for (size_t i = 0; i < count; i++)
        all[i] = groups[i];
    if (!has)
        all[count] = AUTH_AUTHENTICATED;
    auth_identity_set(identity, user, uid, all);
}

void auth_authenticate_certificate(const char *user, const char *const *groups,
                                   struct auth_identity *identity)
{
    static const char *const stranger[] = {AUTH_UNAUTHENTICATED, NULL};
    if (user)
        set_with_authenticated(identity, user, NULL, groups);
    else
        auth_identity_set(identity, AUTH_ANONYMOUS, NULL, stranger);
}

/* ---- signed tokens ---- */

static const char *token_header(void)
{
    return "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"; /* {"alg":"HS256","typ":"JWT"} */
}

static char *sign(const struct auth_authority *authority, const char *text, size_t len)
{
    unsigned char mac[32];
    must(gnutls_hmac_fast(GNUTLS_MAC_SHA256, authority->key, sizeof authority->key, text, len, mac) == 0);
    return auth_base64url(mac, sizeof mac);
}

/* As Kubernetes writes it: {"namespace", "serviceaccount": {"name", "uid"}, "pod": {"name", "uid"}}. */
static void add_references(cJSON *claims, const struct auth_identity *identity)
{
    if (!str_starts(identity->user, AUTH_ACCOUNT_PREFIX))
        return;
    const char *namespace = identity->user + strlen(AUTH_ACCOUNT_PREFIX), *colon = strchr(namespace, ':');
    if (!colon)
        return;
    cJSON *references = json_ensure_object(claims, "kubernetes.io");
    auto_free char *space = mem_strndup(namespace, (size_t)(colon - namespace));
    json_set_string(references, "namespace", space);
    cJSON *account = json_ensure_object(references, "serviceaccount");
    json_set_string(account, "name", colon + 1);
    json_set_string(account, "uid", identity->uid ? identity->uid : "");
    if (!identity->bound)
        return;
    cJSON *bound = json_ensure_object(references, identity->bound);
    json_set_string(bound, "name", identity->bound_name);
    json_set_string(bound, "uid", identity->bound_uid);
}

static void read_references(const cJSON *claims, struct auth_identity *identity)
{
    static const char *const kinds[] = {AUTH_BOUND_POD, AUTH_BOUND_SECRET, AUTH_BOUND_NODE};
    const cJSON *references = json_get(claims, "kubernetes.io");
    for (size_t i = 0; i < COUNT_OF(kinds) && !identity->bound; i++) {
        const cJSON *bound = json_get(references, kinds[i]);
        if (!bound)
            continue;
        identity->bound = mem_strdup(kinds[i]);
        identity->bound_name = mem_strdup(json_string_or(bound, "name", ""));
        identity->bound_uid = mem_strdup(json_string_or(bound, "uid", ""));
    }
}

char *auth_token_issue(struct auth_authority *authority, const struct auth_identity *identity,
                       const char *const *audiences, int64_t lifetime_ns)
{
    static const char *const own[] = {AUTH_AUDIENCE, NULL};
    must(lifetime_ns > 0);
    int64_t now = clock_wall_ns(&authority->clock);
    auto_json claims = cJSON_CreateObject();
    json_set_string(claims, "iss", ISSUER);
    json_set_string(claims, "sub", identity->user);
    if (identity->uid)
        json_set_string(claims, "uid", identity->uid);
    cJSON *groups = json_ensure_array(claims, "groups");
    for (size_t i = 0; identity->groups && identity->groups[i]; i++)
        json_push_string(groups, identity->groups[i]);
    add_references(claims, identity);
    cJSON *aud = json_ensure_array(claims, "aud");
    for (const char *const *audience = audiences ? audiences : own; *audience; audience++)
        json_push_string(aud, *audience);
    json_set_int(claims, "iat", now / 1000000000);
    json_set_int(claims, "exp", (now + lifetime_ns + 999999999) / 1000000000);
    auto_free char *text = json_print(claims);
    auto_free char *payload = auth_base64url(text, strlen(text));
    auto_free char *head = mem_printf("%s.%s", token_header(), payload);
    auto_free char *mac = sign(authority, head, strlen(head));
    return mem_printf("%s.%s", head, mac);
}

/* A token from before there were audiences is for the API server. */
static bool is_meant_for(const cJSON *claims, const char *audience)
{
    const cJSON *aud = json_get(claims, "aud");
    json_each (each, aud)
        if (cJSON_IsString(each) && str_eq(each->valuestring, audience))
            return true;
    return !aud && str_eq(audience, AUTH_AUDIENCE);
}

static int read_claims(struct auth_authority *authority, const cJSON *claims, const char *audience,
                       struct auth_identity *identity, struct err **err)
{
    const char *user = json_string(claims, "sub");
    if (!user || !str_eq(json_string(claims, "iss"), ISSUER))
        return err_set(err, ERR_UNAUTHORIZED, "the token is not one of this cluster's");
    if (clock_wall_ns(&authority->clock) / 1000000000 >= json_int(claims, "exp", 0))
        return err_set(err, ERR_UNAUTHORIZED, "the token has expired");
    if (!is_meant_for(claims, audience))
        return err_set(err, ERR_UNAUTHORIZED, "the token is not meant for %s", audience);
    const cJSON *groups = json_get(claims, "groups");
    size_t count = 0;
    auto_free const char **names =
        mem_array((groups ? (size_t)cJSON_GetArraySize(groups) : 0) + 1, sizeof *names);
    json_each (group, groups) {
        if (cJSON_IsString(group))
            names[count++] = group->valuestring;
    }
    set_with_authenticated(identity, user, json_string(claims, "uid"), names);
    read_references(claims, identity);
    return 0;
}

static int read_signed(struct auth_authority *authority, const char *token, const char *audience,
                       struct auth_identity *identity, struct err **err)
{
    size_t head_len = strlen(token_header());
    const char *last = strrchr(token, '.');
    bool ours = strlen(token) < TOKEN_MAX && str_starts(token, token_header()) && token[head_len] == '.' &&
                last && last > token + head_len;
    auto_free char *mac = ours ? sign(authority, token, (size_t)(last - token)) : NULL;
    if (!ours || !str_eq_secret(mac, last + 1))
        return err_set(err, ERR_UNAUTHORIZED, "the token is not valid");
    auto_free unsigned char *text = NULL;
    size_t len = 0;
    const char *payload = token + head_len + 1;
    if (auth_unbase64url(payload, (size_t)(last - payload), &text, &len) < 0)
        return err_set(err, ERR_UNAUTHORIZED, "the token is not valid");
    auto_json claims = json_parse_trusted((const char *)text, len);
    return read_claims(authority, claims, audience, identity, err);
}

int auth_authenticate_token(struct auth_authority *authority, const char *token, const char *audience,
                            struct auth_identity *identity, struct err **err)
{
    static const char *const masters[] = {AUTH_MASTERS, NULL};
    char hash[AUTH_FINGERPRINT];
    auth_secret_hash(token, hash);
    if (!str_eq_secret(hash, authority->admin_hash))
        return read_signed(authority, token, audience, identity, err);
    set_with_authenticated(identity, "admin", NULL, masters);
    return 0;
}

/* ---- opening ---- */

char *auth_admin_token(const char *directory, const struct random *random, struct err **err)
{
    auto_free char *path = file_join(directory, "admin.token");
    char *token = NULL;
    size_t len = 0;
    if (file_exists(path)) {
        if (file_read(path, 1024, &token, &len, err) < 0)
            return NULL;
        token[strcspn(token, "\r\n")] = 0;
        if (strlen(token) >= 32)
            return token;
        free(token);
        err_set(err, ERR_INVALID, "%s is damaged: the token is too short", path);
        return NULL;
    }
    token = auth_secret_new(random);
    if (file_write_durable(path, token, strlen(token), 0600, err) == 0)
        return token;
    free(token);
    return NULL;
}

struct auth_authority *auth_authority_open(const char *directory, const struct clock *clock,
                                           const struct random *random, struct err **err)
{
    struct auth_authority *authority = NEW(struct auth_authority);
    authority->clock = *clock;
    authority->ca = auth_ca_open(directory, clock, random, err); /* makes the directory */
    authority->seal = authority->ca ? auth_seal_open(directory, random, err) : NULL;
    auto_free char *admin = authority->seal ? auth_admin_token(directory, random, err) : NULL;
    if (!admin ||
        auth_key_file(directory, "token.key", sizeof authority->key, random, authority->key, err) < 0) {
        auth_authority_free(authority);
        return NULL;
    }
    auth_secret_hash(admin, authority->admin_hash);
    gnutls_memset(admin, 0, strlen(admin));
    return authority;
}

void auth_authority_free(struct auth_authority *authority)
{
    if (!authority)
        return;
    auth_ca_free(authority->ca);
    auth_seal_free(authority->seal);
    gnutls_memset(authority->key, 0, sizeof authority->key);
    free(authority);
}

struct auth_ca *auth_authority_ca(struct auth_authority *authority)
{
    return authority->ca;
}

struct auth_seal *auth_authority_seal(struct auth_authority *authority)
{
    return authority->seal;
}
