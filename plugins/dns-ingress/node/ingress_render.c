/*
 * ingress_render: routes → the texts that HAProxy reads. Pure.
 *
 * A key of a map is HOST and PATH joined ("shop.example.com/api/"); the value is
 * "SERVICE|ADDRESS|PORT|SEGMENTS|TARGET|REDIRECT|INGRESS". Prefix keys end in "/" and are compared with the
 * path plus
 * "/", so that a prefix ends where a segment ends; the longest wins. Hosts are asked in the order own name,
 * *.DOMAIN, every host.
 */
#include "ingress.h"

#include <string.h>

const char *const ingress_map_names[MAP_COUNT] = {"exact.map", "regex.map", "prefix.map"};

#define DEFAULT_KEY "-default-"

/* ---- maps ---- */

static unsigned segments_of(const char *path)
{
    unsigned count = 0;
    for (const char *at = path; *at; at++)
        count += *at == '/' && at[1] && at[1] != '/';
    return count;
}

static void add_value(struct str *out, const char *ingress, const cJSON *route, bool prefix)
{
    const char *target = json_string_or(route, "target", "");
    size_t len = strlen(target);
    while (len && target[len - 1] == '/')
        len--;
    str_addf(out, "%s|%s|%lld|", json_string_or(route, "service", "-"), json_string_or(route, "address", ""),
             (long long)json_int(route, "port", 0));
    if (*target && prefix)
        str_addf(out, "s%u|%.*s|", segments_of(json_string_or(route, "path", "/")), (int)len, target);
    else if (*target)
        str_addf(out, "x|%.*s|", (int)len, target);
    else
        str_add(out, "||");
    str_addf(out, "%s|%s\n", json_bool(route, "redirect", false) ? "r" : "", ingress);
}

static void add_quoted(struct str *out, const char *text)
{
    for (; *text; text++) {
        if (strchr(".[]{}()*+?^$|\\", *text))
            str_add_char(out, '\\');
        str_add_char(out, *text);
    }
}

/* A host as the beginning of a regular expression over host and path. */
static void add_regex(struct str *out, const char *host, const char *path)
{
    str_add(out, "^");
    if (str_starts(host, "*."))
        str_add(out, "[^./]+"), add_quoted(out, host + 1);
    else if (*host)
        add_quoted(out, host);
    else
        str_add(out, "[^/]*");
    str_addf(out, "(?:%s)", path);
}

struct line {
    char *text;
    size_t weight; /* length of the expression: longer ones are asked first */
};

static int by_weight(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return strcmp(x->text, y->text);
}

struct lines {
    struct line *items;
    size_t count;
};

static void add_route(struct str maps[MAP_COUNT], struct lines *regexes, const char *ingress,
                      const cJSON *route)
{
    const char *type = json_string_or(route, "type", "Prefix"), *path = json_string_or(route, "path", "/");
    const char *host = json_string_or(route, "host", "");
    if (str_eq(type, "Exact")) {
        str_addf(&maps[MAP_EXACT], "%s%s ", host, path);
        add_value(&maps[MAP_EXACT], ingress, route, false);
    } else if (str_eq(type, "Default")) {
        str_add(&maps[MAP_EXACT], DEFAULT_KEY " ");
        add_value(&maps[MAP_EXACT], ingress, route, false);
    } else if (str_eq(type, "Regex")) {
        struct str line = {0};
        add_regex(&line, host, path);
        str_add_char(&line, ' ');
        add_value(&line, ingress, route, false);
        regexes->items = mem_resize(regexes->items, regexes->count + 1, sizeof(*regexes->items));
        regexes->items[regexes->count++] = (struct line){str_take(&line), strlen(path)};
    } else {
        size_t len = strlen(path);
        str_addf(&maps[MAP_PREFIX], "%s%s%s ", host, path, len && path[len - 1] == '/' ? "" : "/");
        add_value(&maps[MAP_PREFIX], ingress, route, true);
    }
}

void ingress_render_maps(const struct map *routes, struct str maps[MAP_COUNT])
{
    struct lines regexes = {0};
    auto_free const char **keys = map_sorted_keys(routes);
    for (size_t i = 0; keys[i]; i++) {
        const char *ingress = keys[i] + strcspn(keys[i], "/");
        ingress += *ingress == '/';
        json_each (route, json_get(map_get(routes, keys[i]), "routes"))
            add_route(maps, &regexes, ingress, route);
    }
    if (regexes.count)
        qsort(regexes.items, regexes.count, sizeof(*regexes.items), by_weight);
    for (size_t i = 0; i < regexes.count; i++) {
        str_add(&maps[MAP_REGEX], regexes.items[i].text);
        free(regexes.items[i].text);
    }
    free(regexes.items);
}

/* ---- pages ---- */

void ingress_render_page(struct str *out, const char *title, const char *text)
{
    str_addf(out,
             "<!DOCTYPE html>\n<html><head><title>%s</title></head>\n<body><h1>%s</h1>\n<p>%s</p>\n"
             "<hr><p>minik8s ingress</p></body></html>\n",
             title, title, text);
}

void ingress_render_unavailable(struct str *out)
{
    auto_str page = {0};
    ingress_render_page(&page, "503 Service Unavailable",
                        "The Service behind this address has no pod that is ready. Try again in a moment.");
    str_addf(out,
             "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\ncache-control: no-cache\r\n"
             "content-length: %zu\r\n\r\n%s",
             page.len, page.data);
}

/* ---- configuration ---- */

static void add_look_up(struct str *out, const char *directory, const char *host, bool first)
{
    static const char *const matches[MAP_COUNT] = {"map_str", "map_reg", "map_beg"};
    for (int i = 0; i < MAP_COUNT; i++) {
        str_addf(out, "    http-request set-var-fmt(txn.key) \"%s%%[var(txn.path)]%s\"%s\n", host,
                 i == MAP_PREFIX ? "/" : "", first ? "" : " if !{ var(txn.route) -m found }");
        str_addf(out, "    http-request set-var(txn.route) var(txn.key),%s(%s/%s)%s\n", matches[i], directory,
                 ingress_map_names[i], first && i == 0 ? "" : " if !{ var(txn.route) -m found }");
    }
}

static void add_rewrites(struct str *out)
{
    str_add(out, "    http-request set-path \"%[var(txn.target)]/\" if { var(txn.cut) -m str x } "
                 "{ var(txn.target) -m len 0 }\n"
                 "    http-request set-path \"%[var(txn.target)]\" if { var(txn.cut) -m str x } "
                 "!{ var(txn.target) -m len 0 }\n");
    for (unsigned i = 0; i <= 8; i++) {
        str_addf(out,
                 "    http-request set-var(txn.rest) path,field(%u,/,0) if { var(txn.cut) -m str s%u }\n",
                 i + 2, i);
    }
    str_add(out,
            "    http-request set-path \"%[var(txn.target)]/%[var(txn.rest)]\" if { var(txn.cut) -m beg s } "
            "{ var(txn.rest) -m len gt 0 }\n"
            "    http-request set-path \"%[var(txn.target)]\" if { var(txn.cut) -m beg s } "
            "!{ var(txn.rest) -m len gt 0 } { var(txn.target) -m len gt 0 }\n"
            "    http-request set-path / if { var(txn.cut) -m beg s } "
            "!{ var(txn.rest) -m len gt 0 } !{ var(txn.target) -m len gt 0 }\n");
}

static void add_frontend(struct str *out, const char *directory)
{
    str_addf(out,
             "frontend ingress\n"
             "    bind fd@3\n"
             "    bind fd@4 ssl crt %s/default.pem crt-list %s/certificates.list alpn h2,http/1.1\n"
             "    http-request set-header X-Forwarded-Proto http if !{ ssl_fc }\n"
             "    http-request set-header X-Forwarded-Proto https if { ssl_fc }\n"
             "    http-request set-header X-Forwarded-Host %%[req.hdr(host)]\n"
             "    http-request set-var(txn.host) req.hdr(host),field(1,:),rtrim(.),lower\n"
             "    http-request set-var(txn.domain) req.hdr(host),field(1,:),rtrim(.),lower,regsub(^[^.]*,*)\n"
             "    http-request set-var(txn.path) path\n",
             directory, directory);
    add_look_up(out, directory, "%[var(txn.host)]", true);
    add_look_up(out, directory, "%[var(txn.domain)]", false);
    add_look_up(out, directory, "", false);
    str_addf(out,
             "    http-request set-var(txn.route) str(" DEFAULT_KEY "),map_str(%s/exact.map) "
             "if !{ var(txn.route) -m found }\n",
             directory);
    str_addf(out,
             "    http-request return status 404 content-type text/html file %s/404.html "
             "unless { var(txn.route) -m found }\n",
             directory);
    str_add(out,
            "    http-request set-var(txn.service) var(txn.route),field(1,|)\n"
            "    http-request set-var-fmt(txn.counted) \"%[var(txn.service)]|%[var(txn.route),field(7,|)]\"\n"
            "    http-request track-sc0 var(txn.counted) table services\n"
            "    http-request set-var(txn.cut) var(txn.route),field(4,|)\n"
            "    http-request set-var(txn.target) var(txn.route),field(5,|)\n"
            "    http-request redirect scheme https code 308 if { var(txn.route),field(6,|) -m str r } "
            "!{ ssl_fc }\n"
            "    http-request set-var(txn.to) var(txn.route),field(2,|)\n");
    str_addf(out,
             "    http-request return status 503 content-type text/html lf-file %s/missing.html "
             "if { var(txn.to) -m len 0 }\n",
             directory);
    add_rewrites(out);
    str_add(out,
            "    http-request do-resolve(txn.ip,names,ipv4) var(txn.to) if { var(txn.to) -m reg [a-z] }\n"
            "    http-request set-dst var(txn.ip) if { var(txn.ip) -m found }\n"
            "    http-request set-dst var(txn.to) unless { var(txn.to) -m reg [a-z] }\n");
    str_addf(out,
             "    http-request return status 503 content-type text/html file %s/nobody.html "
             "if { var(txn.to) -m reg [a-z] } !{ var(txn.ip) -m found }\n",
             directory);
    str_add(out, "    http-request set-dst-port var(txn.route),field(3,|)\n"
                 "    default_backend services\n\n");
}

/* Several servers that are all "where the request is to go": a refused connection is tried again at once. */
static void add_backend(struct str *out, const char *directory)
{
    str_addf(out,
             "backend services\n"
             "    balance roundrobin\n"
             "    stick-table type string len 400 size 20k expire 1h store "
             "http_req_cnt,http_err_cnt,http_fail_cnt,bytes_out_cnt\n"
             "    errorfile 503 %s/503.http\n"
             "    server a 0.0.0.0:0\n    server b 0.0.0.0:0\n    server c 0.0.0.0:0\n",
             directory);
}

/* Services without a virtual address: their names, asked for by the request, remembered for a second. */
static void add_names(struct str *out, const char *const servers[2])
{
    str_add(out, "resolvers names\n");
    for (int i = 0; i < 2; i++)
        if (!str_empty(servers[i]))
            str_addf(out, "    nameserver n%d %s:53\n", i, servers[i]);
    str_add(out, "    accepted_payload_size 1232\n    resolve_retries 2\n    timeout resolve 1s\n    timeout "
                 "retry 500ms\n"
                 "    hold valid 1s\n    hold nx 1s\n    hold other 1s\n    hold obsolete 0s\n\n");
}

static void add_log_format(struct str *out)
{
    str_add(out,
            "    log-format "
            "'{\"time\":\"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]\",\"client\":\"%ci\",\"tls\":%[ssl_fc],"
            "\"method\":\"%HM\",\"host\":\"%[var(txn.host),json(utf8s)]\",\"path\":\"%[var(txn.path),json("
            "utf8s)]\","
            "\"service\":\"%[var(txn.service)]\",\"status\":%ST,\"sent\":%B,\"ms\":%Ta,\"end\":\"%tsc\"}'\n");
}

void ingress_render_config(struct str *out, const char *directory, const char *const servers[2],
                           unsigned instance)
{
    str_addf(out,
             "# Written by the agent of this node; changes are overwritten.\n"
             "global\n"
             "    nbthread 1\n"
             "    maxconn 4000\n"
             "    user nobody\n    group nogroup\n"
             "    log stdout format raw local0\n"
             "    stats socket %s/%u.sock mode 600 level admin\n"
             "    hard-stop-after 60s\n"
             "    ssl-default-bind-options ssl-min-ver TLSv1.2\n\n"
             "defaults\n"
             "    mode http\n"
             "    log global\n",
             directory, instance);
    add_log_format(out);
    str_add(out, "    option dontlognull\n"
                 "    option idle-close-on-response\n"
                 "    option http-server-close\n"
                 "    option forwardfor\n"
                 "    option redispatch 1\n"
                 "    retries 2\n"
                 "    timeout connect 3s\n"
                 "    timeout http-request 30s\n"
                 "    timeout http-keep-alive 60s\n"
                 "    timeout client 10m\n"
                 "    timeout server 10m\n"
                 "    timeout tunnel 1h\n\n");
    add_names(out, servers);
    add_frontend(out, directory);
    add_backend(out, directory);
}
