/*
 * ingress_files: what the proxies read: map files, certificates, pages, configurations. Writes only what
 * differs, and takes away nothing that a reader may still look for. Blocking.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/file.h"
#include "base/random.h"
#include "ingress.h"

#define FILE_MAX (64u << 20)
#define CERTIFICATE_DAYS 3650

static char *certificates_folder(const char *directory)
{
    return file_join(directory, "certificates");
}

char *ingress_certificate_name(const char *namespace, const char *secret)
{
    return mem_printf("%s_%s.pem", namespace, secret);
}

char *ingress_read_certificate(const char *directory, const char *name)
{
    auto_free char *folder = certificates_folder(directory), *path = file_join(folder, name);
    char *text = NULL;
    return file_read(path, FILE_MAX, &text, NULL, NULL) == 0 ? text : NULL;
}

/* 1 if it was changed. */
static int write_if_changed(const char *directory, const char *name, const char *text, size_t len,
                            mode_t mode, struct err **err)
{
    auto_free char *path = file_join(directory, name);
    auto_free char *now = NULL;
    size_t now_len = 0;
    if (file_read(path, FILE_MAX, &now, &now_len, NULL) == 0 && now_len == len &&
        memcmp(now, text ? text : "", len) == 0)
        return 0;
    return file_write_atomic(path, text ? text : "", len, mode, err) < 0 ? -1 : 1;
}

static int write_str(const struct proxy_files *files, const char *name, const struct str *text,
                     struct err **err)
{
    return write_if_changed(files->directory, name, str_c(text), text->len, 0644, err);
}

/* For names without a certificate of their own: the node's own, signed by nobody that a client knows. */
static int make_default_certificate(const char *directory, struct err **err)
{
    auto_free char *path = file_join(directory, "default.pem"), *folder = file_join(directory, "default-ca");
    if (file_exists(path))
        return 0;
    struct auth_ca *ca = auth_ca_open(folder, &clock_system, &random_system, err);
    char *certificate = NULL, *key = NULL;
    const char *const names[] = {"ingress.minik8s.invalid", NULL};
    const struct auth_subject subject = {.common_name = "minik8s ingress default certificate",
                                         .names = names,
                                         .usage = AUTH_SERVER,
                                         .validity_ns = CERTIFICATE_DAYS * AUTH_DAY_NS};
    int result = ca ? auth_ca_issue(ca, &subject, &certificate, &key, err) : -1;
    if (result == 0) {
        auto_free char *both = mem_printf("%s%s", certificate, key);
        result = file_write_atomic(path, both, strlen(both), 0600, err);
    }
    auth_ca_free(ca);
    free(certificate);
    free(key);
    return result;
}

static int write_pages(const struct proxy_files *files, struct err **err)
{
    auto_str unavailable = {0}, none = {0}, missing = {0}, nobody = {0};
    ingress_render_unavailable(&unavailable);
    ingress_render_page(&none, "404 Not Found", "No Ingress leads from this host and path to a Service.");
    ingress_render_page(&missing, "503 Service Unavailable",
                        "The Service %[var(txn.service)] that this address leads to does not exist.");
    ingress_render_page(&nobody, "503 Service Unavailable",
                        "The Service behind this address has no pod that is ready. Try again in a moment.");
    return write_str(files, "503.http", &unavailable, err) < 0 ||
                   write_str(files, "nobody.html", &nobody, err) < 0 ||
                   write_str(files, "404.html", &none, err) < 0 ||
                   write_str(files, "missing.html", &missing, err) < 0
               ? -1
               : 0;
}

/* Only root reads them: a worker has them from its start. 1 if one was changed. */
static int write_certificates(const struct proxy_files *files, struct err **err)
{
    auto_free char *folder = certificates_folder(files->directory);
    int result = 0;
    if (file_make_dirs(folder, 0700, err) < 0)
        return -1;
    map_each (entry, &files->certificates) {
        int changed = write_if_changed(folder, entry->key, entry->value, strlen(entry->value), 0600, err);
        if (changed < 0)
            return -1;
        result |= changed;
    }
    int changed = write_str(files, "certificates.list", &files->list, err);
    return changed < 0 ? -1 : result | changed;
}

int ingress_sweep_files(const struct proxy_files *files, struct err **err)
{
    auto_free char *folder = certificates_folder(files->directory);
    size_t count;
    auto_free char **names = file_list(folder, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        auto_free char *path = file_join(folder, names[i]);
        if (!map_has(&files->certificates, names[i]) && unlink(path) < 0)
            return err_errno(err, errno, "removing %s", path);
    }
    return 0;
}

int ingress_write_files(const struct proxy_files *files, struct err **err)
{
    if (make_default_certificate(files->directory, err) < 0 || write_pages(files, err) < 0)
        return -1;
    for (int i = 0; i < MAP_COUNT; i++)
        if (write_str(files, ingress_map_names[i], &files->maps[i], err) < 0)
            return -1;
    int changed = write_certificates(files, err);
    if (changed < 0)
        return -1;
    int reload = changed > 0;
    for (unsigned i = 1; i <= INGRESS_PROXIES; i++) {
        auto_str text = {0};
        auto_free char *name = mem_printf("proxy-%u.cfg", i);
        ingress_render_config(&text, files->directory, (const char *const *)files->servers, i);
        changed = write_str(files, name, &text, err);
        if (changed < 0)
            return -1;
        reload |= changed > 0;
    }
    return reload;
}
