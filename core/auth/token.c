/*
 * Secrets that travel as text: random tokens, their hashes, join tokens, and key files. Comparison is always
 * of hashes and in constant time. Does not store tokens: the caller keeps the records.
 */
#include <string.h>

#include "auth/auth_private.h"
#include "base/file.h"

int auth_gnutls_error(struct err **err, enum err_code code, int rc, const char *what)
{
    return err_set(err, code, "%s: %s", what, gnutls_strerror(rc));
}

gnutls_datum_t auth_datum(const char *text)
{
    return (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)text, .size = (unsigned)strlen(text)};
}

char *auth_take_datum(gnutls_datum_t *datum)
{
    char *text = mem_strndup((const char *)datum->data, datum->size);
    gnutls_memset(datum->data, 0, datum->size);
    gnutls_free(datum->data);
    *datum = (gnutls_datum_t){0};
    return text;
}

char *auth_base64url(const void *data, size_t len)
{
    char *text = str_base64(data, len);
    for (char *p = text; *p; p++) {
        if (*p == '+')
            *p = '-';
        else if (*p == '/')
            *p = '_';
        else if (*p == '=')
            *p = 0;
        if (!*p)
            break;
    }
    return text;
}

int auth_unbase64url(const char *text, size_t len, unsigned char **data, size_t *data_len)
{
    size_t padding = (4 - len % 4) % 4;
    if (padding == 3 || len > AUTH_FILE_MAX)
        return -1;
    auto_free char *standard = mem_alloc(len + padding + 1);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '+' || text[i] == '/' || text[i] == '=')
            return -1;
        standard[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    }
    memset(standard + len, '=', padding);
    return str_unbase64(standard, len + padding, data, data_len);
}

char *auth_secret_new(const struct random *random)
{
    unsigned char raw[32];
    random->fill(random->arg, raw, sizeof raw);
    char *text = auth_base64url(raw, sizeof raw);
    gnutls_memset(raw, 0, sizeof raw);
    return text;
}

void auth_secret_hash(const char *secret, char out[AUTH_FINGERPRINT])
{
    unsigned char digest[32];
    must(gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, strlen(secret), digest) == 0);
    auto_free char *hex = str_hex(digest, sizeof digest);
    memcpy(out, hex, AUTH_FINGERPRINT);
}

int auth_key_file(const char *directory, const char *name, size_t len, const struct random *random,
                  unsigned char *out, struct err **err)
{
    auto_free char *path = file_join(directory, name);
    if (!file_exists(path)) {
        random->fill(random->arg, out, len);
        return file_write_durable(path, out, len, 0600, err);
    }
    auto_free char *data = NULL;
    size_t have = 0;
    if (file_read(path, len + 1, &data, &have, err) < 0)
        return -1;
    if (have != len)
        return err_set(err, ERR_INVALID, "%s is damaged: it has %zu bytes instead of %zu", path, have, len);
    memcpy(out, data, len);
    gnutls_memset(data, 0, len);
    return 0;
}

/* ---- join tokens ---- */

static void random_word(const struct random *random, char *out, size_t len)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < len; i++)
        out[i] = alphabet[random_below(random, sizeof alphabet - 1)];
    out[len] = 0;
}

void auth_join_token_new(const struct random *random, const char *fingerprint, struct auth_join_token *token)
{
    *token = (struct auth_join_token){0};
    random_word(random, token->id, sizeof token->id - 1);
    random_word(random, token->secret, sizeof token->secret - 1);
    if (fingerprint) {
        must(strlen(fingerprint) == AUTH_FINGERPRINT - 1);
        memcpy(token->fingerprint, fingerprint, AUTH_FINGERPRINT);
    }
}

char *auth_join_token_print(const struct auth_join_token *token)
{
    return mem_printf("%s.%s%s%s", token->id, token->secret, *token->fingerprint ? "." : "",
                      token->fingerprint);
}

/* Copies a part of exactly `len` characters of the given sets; false if it is anything else. */
static bool take_part(const char **at, char *out, size_t len, const char *alphabet)
{
    if (strspn(*at, alphabet) != len)
        return false;
    memcpy(out, *at, len);
    out[len] = 0;
    *at += len;
    return true;
}

int auth_join_token_parse(const char *text, struct auth_join_token *token, struct err **err)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyz0123456789", hex[] = "0123456789abcdef";
    *token = (struct auth_join_token){0};
    const char *at = text;
    bool fine = take_part(&at, token->id, 6, word) && *at++ == '.' && take_part(&at, token->secret, 16, word);
    if (fine && *at == '.') {
        at++;
        fine = take_part(&at, token->fingerprint, AUTH_FINGERPRINT - 1, hex);
    }
    if (fine && !*at)
        return 0;
    return err_set(err, ERR_BAD_REQUEST,
                   "not a join token: it has the form ID.SECRET.FINGERPRINT with 6, 16 and 64 characters");
}

int auth_join_token_check(const struct auth_join_token *token, const struct auth_join_record *record,
                          const struct clock *clock, struct err **err)
{
    char hash[AUTH_FINGERPRINT];
    auth_secret_hash(token->secret, hash);
    if (!record->secret_hash || !str_eq_secret(hash, record->secret_hash))
        return err_set(err, ERR_UNAUTHORIZED, "the join token \"%s\" is unknown or its secret is wrong",
                       token->id);
    if (record->used)
        return err_set(err, ERR_UNAUTHORIZED, "the join token \"%s\" was used already; create a new one",
                       token->id);
    if (record->expires_wall_ns && clock_wall_ns(clock) >= record->expires_wall_ns)
        return err_set(err, ERR_UNAUTHORIZED, "the join token \"%s\" has expired; create a new one",
                       token->id);
    return 0;
}
