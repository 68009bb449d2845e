/*
 * How a new machine becomes a node, and how tokens are made. A join token is a Secret bootstrap-token-ID in
 * kube-system, as in Kubernetes; `usage-reusable` lets it serve more than once, otherwise it is marked used
 * by a write that expects the revision which was checked, so that of two machines only one gets in. A machine
 * that lost the answer asks again with the same key, which the mark names, and gets it.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

#define TOKEN_NAMESPACE "kube-system"
#define TOKEN_TYPE "bootstrap.kubernetes.io/token"
#define TOKEN_SECONDS_DEFAULT 86400
#define TOKEN_SECONDS_MAX (366 * 86400)
#define NODE_VALIDITY (365 * AUTH_DAY_NS)
#define MAX_ADDRESSES 16

static const struct schema_kind *secret_kind(struct api *api, struct err **err)
{
    const struct schema_kind *kind = schema_find(api->schema, "", "v1", "secrets");
    if (!kind)
        err_set(err, ERR_INTERNAL, "there is no kind Secret");
    return kind;
}

/* ---- making a token ---- */

struct token_making {
    struct call *call;
    char *text;
    char expires[TIME_TEXT];
};

static void on_token_stored(struct op *op)
{
    struct token_making *making = op->arg;
    struct call *call = making->call;
    if (op->error) {
        call_fail(call, steal(&op->error));
    } else {
        cJSON *answer = cJSON_CreateObject();
        json_set_string(answer, "kind", "JoinToken");
        json_set_string(answer, "apiVersion", "minik8s.io/v1");
        json_set_string(answer, "token", making->text);
        json_set_string(answer, "expires", making->expires);
        call_answer_json(call, 201, answer);
    }
    free(making->text);
    free(making);
    op_free(op);
}

static cJSON *token_secret(const struct auth_join_token *token, const char *expires, const cJSON *wish)
{
    cJSON *secret = cJSON_CreateObject();
    auto_free char *name = mem_printf("bootstrap-token-%s", token->id);
    json_set_string(json_ensure_object(secret, "metadata"), "name", name);
    json_set_string(secret, "type", TOKEN_TYPE);
    cJSON *data = json_ensure_object(secret, "stringData");
    json_set_string(data, "token-id", token->id);
    json_set_string(data, "token-secret", token->secret);
    json_set_string(data, "expiration", expires);
    json_set_string(data, "usage-bootstrap-authentication", "true");
    if (json_bool(wish, "reusable", false))
        json_set_string(data, "usage-reusable", "true");
    json_set_string(data, "node", json_string(wish, "node"));
    return secret;
}

static int check_may_make(struct call *call, struct err **err)
{
    const struct access access = {.verb = "create", .group = "minik8s.io", .resource = "jointokens"};
    return identity_allows(call->api, &call->identity, &access, err);
}

static struct op *token_op(struct call *call, const cJSON *wish, struct err **err)
{
    struct api *api = call->api;
    int64_t seconds = json_int(wish, "ttlSeconds", TOKEN_SECONDS_DEFAULT);
    const char *node = json_string(wish, "node"), *wrong = node ? str_check_dns_subdomain(node) : NULL;
    const struct schema_kind *kind = secret_kind(api, err);
    if (!kind)
        return NULL;
    if (seconds < 1 || seconds > TOKEN_SECONDS_MAX) {
        err_set(err, ERR_BAD_REQUEST, "ttlSeconds: must be between 1 and %d", TOKEN_SECONDS_MAX);
        return NULL;
    }
    if (wrong) {
        err_set(err, ERR_BAD_REQUEST, "node: %s", wrong);
        return NULL;
    }
    struct token_making *making = NEW(struct token_making);
    struct auth_join_token token = {0};
    auth_join_token_new(api->random, auth_ca_fingerprint(auth_authority_ca(api->options.auth)), &token);
    time_print(api_wall(api) + seconds * 1000000000, making->expires);
    making->call = call;
    making->text = auth_join_token_print(&token);
    struct op *op = op_new(api, OP_CREATE, kind, TOKEN_NAMESPACE, NULL);
    op->body = token_secret(&token, making->expires, wish);
    op->finished = on_token_stored;
    op->arg = making;
    return op;
}

void handle_join_token(struct call *call)
{
    struct err *err = NULL;
    auto_json wish = NULL;
    struct op *op = NULL;
    if (check_may_make(call, &err) == 0) {
        wish = call->request->body_len ? body_object(call, &err) : cJSON_CreateObject();
        if (wish)
            op = token_op(call, wish, &err);
    }
    if (op)
        op_run(op);
    else
        call_fail(call, err);
}

/* ---- joining ---- */

struct joining {
    struct call *call;
    char *name, *certificate, *holder;
    bool renews;
};

static void joining_free(struct joining *joining)
{
    free(joining->name);
    free(joining->certificate);
    free(joining->holder);
    free(joining);
}

static char *pod_range_of(struct api *api, const char *name)
{
    auto_free char *key = store_key("nodes", NULL, name);
    struct store_object object = {0};
    if (api->store->ops->get(api->store, key, &object, NULL) < 0)
        return NULL;
    auto_json node = json_parse_trusted(object.bytes->data, object.bytes->len);
    store_object_fini(&object);
    return mem_strdup(json_string(node, "spec.podCIDR"));
}

static void joined(struct joining *joining)
{
    struct call *call = joining->call;
    struct api *api = call->api;
    auto_free char *range = pod_range_of(api, joining->name);
    cJSON *answer = cJSON_CreateObject();
    json_set_string(answer, "kind", "JoinAnswer");
    json_set_string(answer, "apiVersion", "minik8s.io/v1");
    json_set_string(answer, "certificate", joining->certificate);
    json_set_string(answer, "ca", auth_ca_pem(auth_authority_ca(api->options.auth)));
    if (range)
        json_set_string(answer, "podCIDR", range);
    json_set_string(answer, "podRange", api->options.pod_range); /* of the cluster: what its machines route */
    json_set_string(answer, "serviceRange", api->options.service_range);
    log_info("api", "node %s has %s from %s", joining->name,
             joining->renews ? "renewed its certificate" : "joined", call->request->remote);
    joining_free(joining);
    call_answer_json(call, 201, answer);
}

static void on_token_used(struct op *op)
{
    struct joining *joining = op->arg;
    struct err *err = NULL;
    if (!op->error) {
        joined(joining);
    } else {
        struct call *call = joining->call;
        if (err_code(op->error) == ERR_CONFLICT || err_code(op->error) == ERR_NOT_FOUND)
            err_set(&err, ERR_UNAUTHORIZED, "this join token has just been used by another machine");
        else
            err = steal(&op->error);
        joining_free(joining);
        call_fail(call, err);
    }
    op_free(op);
}

static char *secret_value(const cJSON *secret, const char *key)
{
    const cJSON *value = json_get(json_get(secret, "data"), key);
    unsigned char *data = NULL;
    size_t len = 0;
    if (!cJSON_IsString(value) ||
        str_unbase64(value->valuestring, strlen(value->valuestring), &data, &len) < 0)
        return NULL;
    char *text = mem_strndup((const char *)data, len);
    free(data);
    return text;
}

static bool secret_says(const cJSON *secret, const char *key)
{
    auto_free char *value = secret_value(secret, key);
    return str_eq(value, "true");
}

/* Checks the token against its Secret, which is left in *secret (NULL: there is none). *again: it was used by
 * this very holder. */
static int check_token(struct api *api, const char *text, const char *holder, cJSON **secret,
                       uint64_t *revision, char **secret_name, bool *again, struct err **err)
{
    struct auth_join_token token = {0};
    if (auth_join_token_parse(text, &token, err) < 0)
        return -1;
    *secret_name = mem_printf("bootstrap-token-%s", token.id);
    auto_free char *key = store_key("secrets", TOKEN_NAMESPACE, *secret_name);
    struct store_object object = {0};
    struct auth_join_record record = {0};
    char hash[AUTH_FINGERPRINT];
    if (api->store->ops->get(api->store, key, &object, NULL) == 0) {
        *secret = json_parse_trusted(object.bytes->data, object.bytes->len);
        *revision = object.revision;
        store_object_fini(&object);
    }
    bool is_token = str_eq(json_string(*secret, "type"), TOKEN_TYPE) &&
                    !json_string(*secret, "metadata.deletionTimestamp") &&
                    secret_says(*secret, "usage-bootstrap-authentication");
    auto_free char *value = secret_value(*secret, "token-secret"),
                   *expires = secret_value(*secret, "expiration");
    if (is_token && value) {
        auth_secret_hash(value, hash);
        record.secret_hash = hash;
        auto_free char *used_by = secret_value(*secret, "used-by");
        *again = secret_says(*secret, "used") && holder && str_eq(used_by, holder);
        record.used = secret_says(*secret, "used") && !*again;
        if (expires && time_parse(expires, &record.expires_wall_ns, err) < 0)
            return err_wrap(err, "the expiration of this join token cannot be read");
    }
    return auth_join_token_check(&token, &record, api->clock, err);
}

/* Addresses that the agent is reached at; names of other machines are refused by being no addresses. */
static int read_names(const cJSON *body, const char **names, size_t *n, struct err **err)
{
    const cJSON *addresses = json_get(body, "addresses");
    json_each (address, addresses) {
        unsigned char parsed[16];
        const char *text = cJSON_IsString(address) ? address->valuestring : "";
        if (inet_pton(AF_INET, text, parsed) != 1 && inet_pton(AF_INET6, text, parsed) != 1)
            return err_set(err, ERR_BAD_REQUEST, "addresses: \"%.64s\" is no IP address", text);
        if (*n == MAX_ADDRESSES)
            return err_set(err, ERR_BAD_REQUEST, "addresses: at most %d", MAX_ADDRESSES);
        names[(*n)++] = text;
    }
    return 0;
}

static int sign(struct api *api, const cJSON *body, const char *name, char **certificate, struct err **err)
{
    const char *csr = json_string(body, "csr");
    const char *names[MAX_ADDRESSES + 4] = {name, "localhost", "127.0.0.1"};
    static const char *const organizations[] = {AUTH_NODES, NULL};
    size_t n = 3;
    if (str_empty(csr))
        return err_set(err, ERR_BAD_REQUEST, "csr: a certificate request in PEM is required");
    if (read_names(body, names, &n, err) < 0)
        return -1;
    auto_free char *user = mem_printf("%s%s", AUTH_NODE_PREFIX, name);
    const struct auth_subject subject = {
        .common_name = user,
        .organizations = organizations,
        .names = names,
        .usage = AUTH_SERVER | AUTH_CLIENT,
        .validity_ns = api->options.node_validity_ns ? api->options.node_validity_ns : NODE_VALIDITY};
    return auth_ca_sign_csr(auth_authority_ca(api->options.auth), csr, &subject, certificate, err);
}

static int check_name(const char *name, const cJSON *secret, struct err **err)
{
    const char *wrong = str_empty(name) ? "a node needs a name" : str_check_dns_subdomain(name);
    if (wrong)
        return err_set(err, ERR_BAD_REQUEST, "name: %s", wrong);
    auto_free char *only = secret_value(secret, "node");
    if (!str_empty(only) && !str_eq(only, name))
        return err_set(err, ERR_FORBIDDEN, "this join token is for the node \"%s\", not for \"%s\"", only,
                       name);
    return 0;
}

/* Who asks, as the mark on a token names it: the node and its key. NULL: not to be told; sign says why. */
static char *holder_of(const cJSON *body, const char *name)
{
    char key[AUTH_FINGERPRINT];
    const char *csr = json_string(body, "csr");
    return name && csr && auth_csr_key(csr, key, NULL) == 0 ? mem_printf("%s %s", name, key) : NULL;
}

static int mark_used(struct joining *joining, const char *secret_name, uint64_t revision, struct err **err)
{
    struct api *api = joining->call->api;
    const struct schema_kind *kind = secret_kind(api, err);
    if (!kind)
        return -1;
    struct op *op = op_new(api, OP_PATCH, kind, TOKEN_NAMESPACE, secret_name);
    op->body = cJSON_CreateObject();
    op->patch_type = BODY_MERGE;
    op->expect_revision = revision;
    cJSON *marks = json_ensure_object(op->body, "stringData");
    json_set_string(marks, "used", "true");
    json_set_string(marks, "used-by", joining->holder);
    op->finished = on_token_used;
    op->arg = joining;
    op_run(op);
    return 0;
}

/* ---- renewing ---- */

static bool is_address(const char *text, const struct in6_addr *address)
{
    struct in6_addr read;
    return text && address_read(text, &read) && IN6_ARE_ADDR_EQUAL(&read, address);
}

static bool status_holds(const cJSON *node, const struct in6_addr *address)
{
    const cJSON *addresses = json_at(node, "status.addresses");
    json_each (each, addresses)
        if (is_address(json_string(each, "address"), address))
            return true;
    return false;
}

static bool certificate_holds(const struct http_request *request, const struct in6_addr *address)
{
    for (size_t i = 0; request->certificate_addresses && request->certificate_addresses[i]; i++)
        if (is_address(request->certificate_addresses[i], address))
            return true;
    return false;
}

/* The remote end is "ADDRESS:PORT" or "[ADDRESS]:PORT". */
static bool comes_from(const struct http_request *request, const struct in6_addr *address)
{
    const char *remote = request->remote ? request->remote : "", *colon = strrchr(remote, ':');
    if (!colon)
        return false;
    bool bracket = *remote == '[' && colon > remote && colon[-1] == ']';
    auto_free char *host = mem_strndup(remote + bracket, (size_t)(colon - remote) - (bracket ? 2 : 0));
    return is_address(host, address);
}

/* The name of another Node whose status has the address, for the caller to free; NULL: none. *own: whether
 * the node's own has it. */
static char *find_holder(struct api *api, const char *name, const struct in6_addr *address, bool *own)
{
    auto_free char *prefix = store_key_prefix("nodes", NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    char *other = NULL;
    if (api->store->ops->list(api->store, &request, &list, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < list.count; i++) {
        auto_json node = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        const char *holder = json_string_or(node, "metadata.name", "");
        if (!status_holds(node, address))
            continue;
        if (str_eq(holder, name))
            *own = true;
        else if (!other)
            other = mem_strdup(holder);
    }
    store_list_fini(&list);
    return other;
}

/* What a node's certificate already says it keeps, so that no other one can take it away by claiming the
 * same. New is only where it says that it is, or calls from; never what is another node's, or the server's:
 * who joined with a token as the machine of the server has that one in its certificate. */
static int check_address(const struct call *call, const char *name, const char *text, struct err **err)
{
    const struct http_request *request = call->request;
    struct in6_addr address;
    bool own = false;
    if (!address_read(text, &address) || str_eq(text, "127.0.0.1") || certificate_holds(request, &address))
        return 0; /* no address: refused later; every certificate has that one */
    if (is_address(call->api->options.public_address, &address))
        return err_set(err, ERR_FORBIDDEN, "node \"%s\" may not have the address %s: it is the server's",
                       name, text);
    auto_free char *other = find_holder(call->api, name, &address, &own);
    if (other)
        return err_set(err, ERR_FORBIDDEN, "node \"%s\" may not have the address %s: node \"%s\" has it",
                       name, text, other);
    if (own || comes_from(request, &address))
        return 0;
    return err_set(err, ERR_FORBIDDEN,
                   "node \"%s\" may not have the address %s: neither its Node has it nor does it call from "
                   "there",
                   name, text);
}

static int check_addresses(const struct call *call, const cJSON *body, const char *name, struct err **err)
{
    const cJSON *addresses = json_get(body, "addresses");
    int count = 0;
    json_each (address, addresses) {
        if (++count > MAX_ADDRESSES)
            return 0; /* refused later */
        if (cJSON_IsString(address) && check_address(call, name, address->valuestring, err) < 0)
            return -1;
    }
    return 0;
}

/* A node that shows its certificate gets the next one, as long as its Node exists. */
static bool renews(const struct call *call, const char *name)
{
    const char *user = call->request->certificate_user;
    if (!user || str_empty(name) || !str_starts(user, AUTH_NODE_PREFIX) ||
        !str_eq(user + strlen(AUTH_NODE_PREFIX), name))
        return false;
    struct store *store = call->api->store;
    struct store_object object = {0};
    auto_free char *key = store_key("nodes", NULL, name);
    bool there = store->ops->get(store, key, &object, NULL) == 0;
    store_object_fini(&object);
    return there;
}

static int renew(struct call *call, const cJSON *body, const char *name, struct err **err)
{
    auto_free char *certificate = NULL;
    if (check_addresses(call, body, name, err) < 0 || sign(call->api, body, name, &certificate, err) < 0)
        return -1;
    struct joining *joining = NEW(struct joining);
    *joining = (struct joining){
        .call = call, .name = mem_strdup(name), .certificate = steal(&certificate), .renews = true};
    joined(joining);
    return 0;
}

static int join(struct call *call, const cJSON *body, struct err **err)
{
    struct api *api = call->api;
    const char *bearer = request_bearer(call->request), *name = json_string(body, "name");
    const char *text = bearer ? bearer : json_string(body, "token");
    auto_json secret = NULL;
    auto_free char *secret_name = NULL, *holder = holder_of(body, name);
    uint64_t revision = 0;
    bool again = false;
    if (renews(call, name))
        return renew(call, body, name, err);
    if (str_empty(text))
        return err_set(err, ERR_UNAUTHORIZED, "a join token is required: Authorization: Bearer ID.SECRET");
    if (check_token(api, text, holder, &secret, &revision, &secret_name, &again, err) < 0 ||
        check_name(name, secret, err) < 0)
        return -1;
    auto_free char *certificate = NULL;
    if (sign(api, body, name, &certificate, err) < 0)
        return -1;
    struct joining *joining = NEW(struct joining);
    joining->call = call;
    joining->name = mem_strdup(name);
    joining->certificate = steal(&certificate);
    joining->holder = steal(&holder);
    if (again || secret_says(secret, "usage-reusable")) {
        joined(joining);
        return 0;
    }
    if (mark_used(joining, secret_name, revision, err) == 0)
        return 0;
    joining_free(joining);
    return -1;
}

void handle_join(struct call *call)
{
    struct err *err = NULL;
    auto_json body = body_object(call, &err);
    if (!body || join(call, body, &err) < 0)
        call_fail(call, err);
}
