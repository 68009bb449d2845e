/*
 * Sealing: AES-256-GCM with a key file. Layout: format byte 1, 12 bytes nonce, ciphertext, 16 bytes tag; the
 * format byte is authenticated too. Random nonces: safe up to 2^32 seals under one key. Does not rotate keys.
 */
#include <pthread.h>
#include <string.h>

#include "auth/auth_private.h"

enum { FORMAT = 1, KEY = 32, NONCE = 12, TAG = 16, HEAD = 1 + NONCE };

struct auth_seal {
    pthread_mutex_t lock; /* a cipher handle serves one thread at a time */
    gnutls_aead_cipher_hd_t cipher;
    struct random random;
};

struct auth_seal *auth_seal_open(const char *directory, const struct random *random, struct err **err)
{
    unsigned char key[KEY];
    if (auth_key_file(directory, "seal.key", sizeof key, random, key, err) < 0)
        return NULL;
    struct auth_seal *seal = NEW(struct auth_seal);
    seal->random = *random;
    gnutls_datum_t datum = {.data = key, .size = sizeof key};
    int rc = gnutls_aead_cipher_init(&seal->cipher, GNUTLS_CIPHER_AES_256_GCM, &datum);
    gnutls_memset(key, 0, sizeof key);
    if (rc < 0) {
        auth_gnutls_error(err, ERR_INTERNAL, rc, "AES-256-GCM");
        free(seal);
        return NULL;
    }
    pthread_mutex_init(&seal->lock, NULL);
    return seal;
}

void auth_seal_free(struct auth_seal *seal)
{
    if (!seal)
        return;
    gnutls_aead_cipher_deinit(seal->cipher);
    pthread_mutex_destroy(&seal->lock);
    free(seal);
}

struct bytes *auth_seal(void *arg, const void *data, size_t len)
{
    struct auth_seal *seal = arg;
    struct bytes *out = bytes_new(HEAD + len + TAG);
    out->data[0] = FORMAT;
    pthread_mutex_lock(&seal->lock);
    seal->random.fill(seal->random.arg, out->data + 1, NONCE);
    size_t written = len + TAG;
    int rc = gnutls_aead_cipher_encrypt(seal->cipher, out->data + 1, NONCE, out->data, 1, TAG, data, len,
                                        out->data + HEAD, &written);
    pthread_mutex_unlock(&seal->lock);
    must(rc == 0 && written == len + TAG);
    return out;
}

struct bytes *auth_unseal(void *arg, const void *data, size_t len, struct err **err)
{
    struct auth_seal *seal = arg;
    const char *in = data;
    if (len < HEAD + TAG || in[0] != FORMAT) {
        err_set(err, ERR_IO, "sealed data is damaged or of an unknown format");
        return NULL;
    }
    size_t written = len - HEAD - TAG;
    struct bytes *out = bytes_new(written);
    pthread_mutex_lock(&seal->lock);
    int rc = gnutls_aead_cipher_decrypt(seal->cipher, in + 1, NONCE, in, 1, TAG, in + HEAD, len - HEAD,
                                        out->data, &written);
    pthread_mutex_unlock(&seal->lock);
    if (rc == 0 && written == out->len)
        return out;
    bytes_unref(out);
    err_set(err, ERR_IO, "sealed data does not open: another key, or it was changed");
    return NULL;
}
