/* token: the JWT that slurmrestd takes, made with the cluster's key. Source: RFC 7519, rest_auth/jwt. */
#include <gnutls/crypto.h>
#include <string.h>

#include "base/mem.h"
#include "submitter/site.h"

static char *base64url(const void *data, size_t len)
{
    char *text = str_base64(data, len);
    for (char *p = text; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    text[strcspn(text, "=")] = 0;
    return text;
}

char *slurm_token(const void *key, size_t key_len, const char *user, int64_t now, int64_t seconds)
{
    static const char head[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    unsigned char mac[32];
    struct str claims = {0};
    str_addf(&claims, "{\"exp\":%lld,\"iat\":%lld,\"sun\":", (long long)(now + seconds), (long long)now);
    str_add_json(&claims, user);
    str_add_char(&claims, '}');
    auto_free char *first = base64url(head, sizeof head - 1), *second = base64url(str_c(&claims), claims.len);
    str_free(&claims);
    auto_free char *text = mem_printf("%s.%s", first, second);
    must(gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, key_len, text, strlen(text), mac) == 0);
    auto_free char *third = base64url(mac, sizeof mac);
    return mem_printf("%s.%s", text, third);
}
