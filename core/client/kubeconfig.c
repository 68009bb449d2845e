/* kubeconfig files: reading what kubectl writes (certificates in files or inline), writing one context. */
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "base/yaml.h"
#include "client/client.h"

#define MAX_FILE (1u << 20)

void kubeconfig_fini(struct kubeconfig *config)
{
    free(config->server);
    free(config->ca_pem);
    free(config->certificate_pem);
    free(config->key_pem);
    free(config->token);
    free(config->namespace);
    free(config->context);
    *config = (struct kubeconfig){0};
}

static const cJSON *named(const cJSON *list, const char *name, const char *member)
{
    json_each (entry, list) {
        if (str_eq(json_string(entry, "name"), name))
            return json_get(entry, member);
    }
    return NULL;
}

static char *beside(const char *config_path, const char *file)
{
    const char *slash = strrchr(config_path, '/');
    if (file[0] == '/' || !slash)
        return mem_strdup(file);
    return mem_printf("%.*s/%s", (int)(slash - config_path), config_path, file);
}

/* KEY-data holds base64, KEY a file's path. Absent: *text stays NULL. */
static int load_pem(const cJSON *object, const char *key, const char *config_path, char **text,
                    struct err **err)
{
    auto_free char *data_key = mem_printf("%s-data", key);
    const char *data = cJSON_GetStringValue(json_get(object, data_key));
    if (data) {
        unsigned char *decoded;
        size_t len;
        if (str_unbase64(data, strlen(data), &decoded, &len) < 0)
            return err_set(err, ERR_INVALID, "%s: %s is not base64", config_path, data_key);
        *text = mem_strndup((char *)decoded, len);
        free(decoded);
        return 0;
    }
    const char *file = cJSON_GetStringValue(json_get(object, key));
    if (!file)
        return 0;
    auto_free char *path = beside(config_path, file);
    return file_read(path, MAX_FILE, text, NULL, err);
}

static int fill(const cJSON *root, const char *path, struct kubeconfig *config, struct err **err)
{
    const char *context_name = json_string_or(root, "current-context", "");
    const cJSON *context = named(json_get(root, "contexts"), context_name, "context");
    if (!context)
        return err_set(err, ERR_INVALID, "%s: the current context \"%s\" is not among the contexts", path,
                       context_name);
    const char *cluster_name = json_string_or(context, "cluster", "");
    const cJSON *cluster = named(json_get(root, "clusters"), cluster_name, "cluster");
    const cJSON *user = named(json_get(root, "users"), json_string_or(context, "user", ""), "user");
    const char *server = json_string(cluster, "server");
    if (!server)
        return err_set(err, ERR_INVALID, "%s: the cluster \"%s\" has no server", path, cluster_name);
    config->server = mem_strdup(server);
    config->context = mem_strdup(context_name);
    config->namespace = mem_strdup(json_string(context, "namespace"));
    config->token = mem_strdup(json_string(user, "token"));
    const char *token_file = json_string(user, "tokenFile");
    if (!config->token && token_file) {
        auto_free char *token_path = beside(path, token_file);
        if (file_read(token_path, MAX_FILE, &config->token, NULL, err) < 0)
            return -1;
        config->token[strcspn(config->token, "\r\n")] = 0;
    }
    if (load_pem(cluster, "certificate-authority", path, &config->ca_pem, err) < 0)
        return -1;
    if (load_pem(user, "client-certificate", path, &config->certificate_pem, err) < 0)
        return -1;
    return load_pem(user, "client-key", path, &config->key_pem, err);
}

int kubeconfig_load(const char *path, struct kubeconfig *config, struct err **err)
{
    *config = (struct kubeconfig){0};
    auto_free char *text = NULL;
    size_t len;
    if (file_read(path, MAX_FILE, &text, &len, err) < 0)
        return err_wrap(err, "reading the kubeconfig");
    auto_json root = yaml_parse(text, len, err);
    if (!root)
        return err_wrap(err, "reading the kubeconfig %s", path);
    if (fill(root, path, config, err) == 0)
        return 0;
    kubeconfig_fini(config);
    return -1;
}

static void set_pem(cJSON *object, const char *key, const char *pem)
{
    if (!pem)
        return;
    auto_free char *data = str_base64(pem, strlen(pem));
    json_set_string(object, key, data);
}

static cJSON *add_named(cJSON *root, const char *list, const char *name, const char *member)
{
    cJSON *entry = json_push(json_ensure_array(root, list), cJSON_CreateObject());
    json_set_string(entry, "name", name);
    return json_ensure_object(entry, member);
}

int kubeconfig_write(const char *path, const char *name, const struct kubeconfig *config, struct err **err)
{
    auto_json root = cJSON_CreateObject();
    json_set_string(root, "apiVersion", "v1");
    json_set_string(root, "kind", "Config");
    cJSON *cluster = add_named(root, "clusters", name, "cluster");
    json_set_string(cluster, "server", config->server);
    set_pem(cluster, "certificate-authority-data", config->ca_pem);
    cJSON *user = add_named(root, "users", name, "user");
    json_set_string(user, "token", config->token);
    set_pem(user, "client-certificate-data", config->certificate_pem);
    set_pem(user, "client-key-data", config->key_pem);
    cJSON *context = add_named(root, "contexts", name, "context");
    json_set_string(context, "cluster", name);
    json_set_string(context, "user", name);
    json_set_string(context, "namespace", config->namespace);
    json_set_string(root, "current-context", name);
    auto_free char *text = yaml_print(root);
    return file_write_durable(path, text, strlen(text), 0600, err);
}
