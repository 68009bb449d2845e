/*
 * ingress: the bundle's part on each node: follows IngressRoutes, renders them for the proxies, and has the
 * node's resolver answer their hosts. Decides nothing: who owns a host and path was decided by the manager.
 * Invariant: nothing is changed before the list is complete, so a new agent takes nothing away from proxies
 * that still serve.
 */
#include "ingress.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/log.h"
#include "client/client.h"
#include "plugin/plugin.h"

#define ROUTES "ingressroutes.minik8s.io"

struct ingress {
    struct node_extension_host *host;
    struct map routes; /* key → parsed spec */
    struct map told;   /* host name → address text, as the resolver was told */
    struct proxy *proxy;
    struct certificates *certificates;
    struct loop_timer *timer;
    bool complete;
};

static void free_json(void *value)
{
    cJSON_Delete(value);
}

/* ---- names ---- */

static void collect_names(const struct ingress *ingress, struct map *wanted)
{
    map_each (entry, &ingress->routes) {
        const char *address = json_string(entry->value, "address");
        if (str_empty(address))
            continue;
        json_each (name, json_get(entry->value, "hosts"))
            if (cJSON_IsString(name))
                map_set(wanted, name->valuestring, mem_strdup(address));
    }
}

static void set_names(struct ingress *ingress)
{
    auto_map wanted = {.free_value = free};
    collect_names(ingress, &wanted);
    map_each (old, &ingress->told) {
        if (map_has(&wanted, old->key))
            continue;
        node_extension_names(ingress->host, old->key, NULL, 0);
        map_remove(&ingress->told, old->key);
    }
    map_each (name, &wanted) {
        struct net_name record = {.name = name->key};
        if (str_eq(map_get(&ingress->told, name->key), name->value) ||
            inet_pton(AF_INET, name->value, &record.address) != 1)
            continue;
        node_extension_names(ingress->host, name->key, &record, 1);
        map_set(&ingress->told, name->key, mem_strdup(name->value));
    }
}

/* ---- certificates ---- */

/* A line of HAProxy's crt-list per certificate and route: file and the hosts that it is shown for. */
static void list_certificates(const struct ingress *ingress, struct map *files, struct str *list)
{
    auto_free const char **keys = map_sorted_keys(&ingress->routes);
    for (size_t i = 0; keys[i]; i++) {
        auto_free char *namespace = mem_strndup(keys[i], strcspn(keys[i], "/"));
        json_each (tls, json_get(map_get(&ingress->routes, keys[i]), "tls")) {
            const char *secret = json_string_or(tls, "secret", "");
            const cJSON *hosts = json_get(tls, "hosts");
            auto_free char *key = mem_printf("%s/%s", namespace, secret);
            auto_free char *file = ingress_certificate_name(namespace, secret);
            const char *pem = certificates_pem(ingress->certificates, key);
            if (!pem || !hosts || !hosts->child)
                continue;
            map_set(files, file, mem_strdup(pem));
            str_addf(list, "%s/certificates/%s", ingress->host->directory, file);
            json_each (host, hosts)
                str_addf(list, " %s", cJSON_IsString(host) ? host->valuestring : "");
            str_add(list, "\n");
        }
    }
}

/* ---- the extension ---- */

static void apply(void *arg)
{
    struct ingress *ingress = arg;
    struct str maps[MAP_COUNT] = {{0}}, list = {0};
    auto_map files = {.free_value = free};
    if (!ingress->complete)
        return;
    ingress_render_maps(&ingress->routes, maps);
    set_names(ingress);
    certificates_set(ingress->certificates, &ingress->routes);
    list_certificates(ingress, &files, &list);
    proxy_set(ingress->proxy, maps, &files, &list, ingress->routes.count > 0);
}

static void run_soon(void *arg)
{
    struct ingress *ingress = arg;
    if (ingress->complete && !loop_timer_running(ingress->timer))
        loop_timer_start(ingress->timer, 0);
}

static void *on_start(struct node_extension_host *host, struct err **err UNUSED)
{
    struct ingress *ingress = NEW(struct ingress);
    ingress->host = host;
    map_init(&ingress->routes, free_json);
    map_init(&ingress->told, free);
    ingress->proxy = proxy_new(host);
    ingress->timer = loop_timer_new(host->loop, apply, ingress);
    ingress->certificates = certificates_new(host, run_soon, ingress);
    return ingress;
}

static void on_changed(void *self, const char *resource UNUSED, const struct cache_item *previous,
                       const struct cache_item *item)
{
    struct ingress *ingress = self;
    if (!item) {
        map_remove(&ingress->routes, previous->key);
    } else {
        auto_json object = json_parse_trusted(item->bytes->data, item->bytes->len);
        if (soft_fails(object != NULL))
            return;
        map_set(&ingress->routes, item->key, json_copy(json_get(object, "spec")));
    }
    run_soon(ingress);
}

static void on_complete(void *self)
{
    struct ingress *ingress = self;
    ingress->complete = true;
    apply(ingress);
}

static void on_stop(void *self)
{
    struct ingress *ingress = self;
    proxy_free(ingress->proxy);
    certificates_free(ingress->certificates);
    loop_timer_free(ingress->timer);
    map_fini(&ingress->routes);
    map_fini(&ingress->told);
    free(ingress);
}

static const char *const resources[] = {ROUTES, NULL};
static const struct node_extension extension = {.name = "dns-ingress",
                                                .resources = resources,
                                                .start = on_start,
                                                .changed = on_changed,
                                                .complete = on_complete,
                                                .metrics = ingress_metrics,
                                                .stop = on_stop,
                                                .shutdown = proxy_shutdown};

__attribute__((visibility("default")))
const struct plugin_library minik8s_plugin = {.abi = PLUGIN_LIBRARY_ABI,
                                              .struct_size = sizeof(struct node_extension),
                                              .name = "dns-ingress",
                                              .node = &extension};
