/*
 * pod_files: what the pod's own files say (/etc/hosts, /etc/resolv.conf) and what the files of configMap,
 * secret, downwardAPI and projected volumes hold. Pure; pod_volumes.c writes them.
 */
#include <arpa/inet.h>
#include <string.h>

#include "base/file.h"
#include "node/node_internal.h"

#define DEFAULT_MODE 0644

char *pod_file_hosts(const struct pod *pod)
{
    char text[INET_ADDRSTRLEN];
    auto_str out = {0};
    str_add(
        &out,
        "# Written by minik8s.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
    const char *subdomain = json_string(pod->object, "spec.subdomain");
    if (pod_ip(pod, text) && !str_empty(subdomain))
        str_addf(&out, "%s\t%s.%s.%s.svc.%s\t%s\n", pod_ip(pod, text), pod_hostname(pod), subdomain,
                 pod->namespace, pod->node->options.cluster_domain, pod_hostname(pod));
    else if (pod_ip(pod, text))
        str_addf(&out, "%s\t%s\n", pod_ip(pod, text), pod_hostname(pod));
    json_each (alias, json_at(pod->object, "spec.hostAliases")) {
        str_addf(&out, "%s", json_string_or(alias, "ip", ""));
        json_each (name, json_get(alias, "hostnames"))
            str_addf(&out, "\t%s", cJSON_IsString(name) ? name->valuestring : "");
        str_add_char(&out, '\n');
    }
    return str_take(&out);
}

/* timeout: a question that a resolver had taken in when it died is asked again after that many seconds (C
 * libraries would wait 5); one that comes later is refused at once and goes to the other resolver. */
static void add_options(struct str *out, const cJSON *config, bool cluster)
{
    bool ndots = false, timeout = false;
    auto_str options = {0};
    json_each (option, json_get(config, "options")) {
        const char *name = json_string_or(option, "name", ""), *value = json_string(option, "value");
        ndots |= str_eq(name, "ndots");
        timeout |= str_eq(name, "timeout");
        str_addf(&options, " %s%s%s", name, value ? ":" : "", value ? value : "");
    }
    if (cluster && !ndots)
        str_add(&options, " ndots:5");
    if (cluster && !timeout)
        str_add(&options, " timeout:1");
    if (options.len)
        str_addf(out, "options%s\n", str_c(&options));
}

char *pod_file_resolv(const struct pod *pod)
{
    const struct node_options *options = &pod->node->options;
    const char *policy = json_string_or(pod->object, "spec.dnsPolicy", "ClusterFirst");
    const cJSON *config = json_at(pod->object, "spec.dnsConfig");
    bool cluster = options->dns_address && (str_eq(policy, "ClusterFirstWithHostNet") ||
                                            (str_eq(policy, "ClusterFirst") && !pod_host_network(pod)));
    auto_str out = {0};
    if (!cluster && !str_eq(policy, "None")) {
        auto_free char *text = NULL;
        if (file_read("/etc/resolv.conf", 65536, &text, NULL, NULL) == 0)
            str_add(&out, text);
        if (out.len && out.data[out.len - 1] != '\n')
            str_add_char(&out, '\n');
    }
    auto_str search = {0};
    if (cluster) {
        str_addf(&out, "nameserver %s\n", options->dns_address);
        if (options->dns_spare)
            str_addf(&out, "nameserver %s\n", options->dns_spare);
        str_addf(&search, " %s.svc.%s svc.%s %s", pod->namespace, options->cluster_domain,
                 options->cluster_domain, options->cluster_domain);
    }
    json_each (server, json_get(config, "nameservers"))
        str_addf(&out, "nameserver %s\n", cJSON_IsString(server) ? server->valuestring : "");
    json_each (domain, json_get(config, "searches"))
        str_addf(&search, " %s", cJSON_IsString(domain) ? domain->valuestring : "");
    if (search.len)
        str_addf(&out, "search%s\n", str_c(&search));
    add_options(&out, config, cluster);
    return str_take(&out);
}

/* ---- volumes made of objects */

/* Takes data (base64 text). */
static void add_file(cJSON *files, const char *path, char *data, const cJSON *mode, int64_t default_mode)
{
    cJSON *file = json_set(files, path, cJSON_CreateObject());
    json_set_string(file, "data", data);
    json_set_int(file, "mode", cJSON_IsNumber(mode) ? mode->valueint : default_mode);
    free(data);
}

/* base64 of a key, or NULL. */
static char *key_data(const cJSON *object, bool secret, const char *key)
{
    const cJSON *text = json_get(json_get(object, "data"), key),
                *binary = json_get(json_get(object, "binaryData"), key);
    if (cJSON_IsString(text))
        return secret ? mem_strdup(text->valuestring)
                      : str_base64(text->valuestring, strlen(text->valuestring));
    return cJSON_IsString(binary) ? mem_strdup(binary->valuestring) : NULL;
}

static int add_object(const struct pod *pod, cJSON *files, const cJSON *source, bool secret, int64_t mode,
                      struct err **err)
{
    const char *name = json_string(source, secret ? "secretName" : "name");
    if (!name)
        name = json_string_or(source, "name", "");
    auto_free char *own = mem_printf("%s/%s", secret ? "secrets" : "configmaps", name);
    const cJSON *object = json_get(pod->references, own);
    bool optional = json_bool(source, "optional", false);
    if (!object)
        return optional ? 0
                        : err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", secret ? "secret" : "configmap",
                                  name);
    const cJSON *items = json_get(source, "items");
    json_each (item, items) {
        const char *key = json_string_or(item, "key", "");
        char *data = key_data(object, secret, key);
        if (data)
            add_file(files, json_string_or(item, "path", key), data, json_get(item, "mode"), mode);
        else if (!optional)
            return err_set(err, ERR_NOT_FOUND, "%s \"%s\" has no key \"%s\"", secret ? "secret" : "configmap",
                           name, key);
    }
    if (items)
        return 0;
    const char *const members[] = {"data", "binaryData"};
    for (size_t i = 0; i < COUNT_OF(members); i++)
        json_each (entry, json_get(object, members[i])) {
            char *data = key_data(object, secret, entry->string);
            if (data)
                add_file(files, entry->string, data, NULL, mode);
        }
    return 0;
}

static int add_downward(const struct pod *pod, cJSON *files, const cJSON *source, int64_t mode,
                        struct err **err)
{
    json_each (item, json_get(source, "items")) {
        char *text = NULL;
        if (json_get(item, "fieldRef"))
            text = pod_field(pod, json_string_or(item, "fieldRef.fieldPath", ""), err);
        else if (pod->n_containers)
            text = pod_resource_field(&pod->containers[0], json_get(item, "resourceFieldRef"), err);
        if (!text)
            return -1;
        add_file(files, json_string_or(item, "path", ""), str_base64(text, strlen(text)),
                 json_get(item, "mode"), mode);
        free(text);
    }
    return 0;
}

static int add_source(const struct pod *pod, cJSON *files, const cJSON *source, int64_t mode,
                      struct err **err)
{
    if (json_get(source, "configMap"))
        return add_object(pod, files, json_get(source, "configMap"), false, mode, err);
    if (json_get(source, "secret"))
        return add_object(pod, files, json_get(source, "secret"), true, mode, err);
    if (json_get(source, "downwardAPI"))
        return add_downward(pod, files, json_get(source, "downwardAPI"), mode, err);
    const char *path = json_string(source, "serviceAccountToken.path"), *token = pod_token(pod, source);
    if (path) { /* without a token only while nobody can be asked for it */
        if (token)
            add_file(files, path, str_base64(token, strlen(token)), NULL, mode);
        return 0;
    }
    const char *bundle = json_string(source, "clusterTrustBundle.path"), *ca = pod->node->options.ca_pem;
    if (bundle && ca) {
        add_file(files, bundle, str_base64(ca, strlen(ca)), NULL, mode);
        return 0;
    }
    return err_set(err, ERR_INVALID, "the volume has a source that this node does not know");
}

cJSON *pod_volume_files(const struct pod *pod, const cJSON *volume, struct err **err)
{
    cJSON *files = cJSON_CreateObject();
    const cJSON *projected = json_get(volume, "projected");
    int result = 0;
    if (projected) {
        int64_t mode = json_int(projected, "defaultMode", DEFAULT_MODE);
        json_each (source, json_get(projected, "sources"))
            if (result == 0)
                result = add_source(pod, files, source, mode, err);
    } else {
        const cJSON *source = json_get(volume, "configMap");
        source = source ? source : json_get(volume, "secret");
        source = source ? source : json_get(volume, "downwardAPI");
        result = add_source(pod, files, volume, json_int(source, "defaultMode", DEFAULT_MODE), err);
    }
    if (result == 0)
        return files;
    cJSON_Delete(files);
    return NULL;
}
