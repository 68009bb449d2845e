/*
 * ingress: private to the node part of dns-ingress: what the files offer each other.
 *
 * The data plane: two HAProxy processes per node that share the listening sockets (80 and 443 of the node's
 * address), which the agent has opened: whoever is alive accepts what waits there, and what waits is lost
 * with no process. Their configuration never changes with routes: a request's host and path are looked up in
 * map files, which are changed in the running processes through their sockets, and the answer is a Service's
 * virtual address. So endpoints, balancing and draining are those of the Service, and a change needs no
 * reload.
 */
#ifndef M8_DNS_INGRESS_H
#define M8_DNS_INGRESS_H

#include "base/map.h"
#include "base/str.h"
#include "loop/helper.h"
#include "node/node.h"

#define INGRESS_PROXIES 2 /* processes per node; they are numbered from 1 */

/* ---- ingress_render.c: pure ---- */

/* Map files, in the order in which they are asked. The same names with ".map". */
enum { MAP_EXACT, MAP_REGEX, MAP_PREFIX, MAP_COUNT };
extern const char *const ingress_map_names[MAP_COUNT];

/* routes: key → parsed spec of an IngressRoute. */
void ingress_render_maps(const struct map *routes, struct str maps[MAP_COUNT]);
/* servers: the node's name servers; instance: 1 or 2. */
void ingress_render_config(struct str *out, const char *directory, const char *const servers[2],
                           unsigned instance);
void ingress_render_page(struct str *out, const char *title, const char *text);
/* A whole HTTP answer, for `errorfile`. */
void ingress_render_unavailable(struct str *out);

/* ---- ingress_files.c: blocking ---- */

struct proxy_files {
    char *directory, *servers[2]; /* the node's name servers */
    struct str maps[MAP_COUNT], list;
    struct map certificates; /* file name → PEM */
};
/* 1: the proxies have to read their configuration anew. */
int ingress_write_files(const struct proxy_files *files, struct err **err);
/* Removes certificates that the list names no more, when no process reads an older list. */
int ingress_sweep_files(const struct proxy_files *files, struct err **err);
char *ingress_certificate_name(const char *namespace, const char *secret); /* of its file; caller frees */
/* What a file of that name holds, the caller's; NULL: there is none. */
char *ingress_read_certificate(const char *directory, const char *name);

/* ---- ingress_listen.c: the sockets that all proxies of this node accept from ---- */

enum { INGRESS_HTTP, INGRESS_HTTPS, INGRESS_SOCKETS }; /* a proxy has them as descriptors 3 and 4 */
/* Those of an agent before this one, if a process still has them, else new ones. -1: neither, and none is
 * open. */
int ingress_listen(int fds[INGRESS_SOCKETS], const char *directory, const char *address, struct err **err);
void ingress_listen_close(int fds[INGRESS_SOCKETS]); /* those that are open, and they are -1 then */
/* They outlive agent and proxies from now on. Freed with helper_free. */
struct helper *ingress_hold(const int fds[INGRESS_SOCKETS], const char *directory, const char *address,
                            struct loop *loop, struct err **err);
int ingress_let_go(const char *directory, struct err **err); /* until now; blocking */
/* Caller frees: directory/proxy-N.pid for each proxy N. */
char *ingress_pid_file(const char *directory, unsigned instance);

/* ---- ingress_proxy.c: the processes ---- */

struct proxy;
/* What served before serves on, with the routes that are on the disk, until proxy_set. Borrows host. */
struct proxy *proxy_new(struct node_extension_host *host);
/* What the files shall say from now on; takes the texts. certificates: file name → PEM text (copied, in the
 * folder certificates/), and the crt-list that names them. wanted false: no process
 * shall run. */
void proxy_set(struct proxy *proxy, struct str maps[MAP_COUNT], const struct map *certificates,
               struct str *list, bool wanted);
void proxy_free(struct proxy *proxy); /* the processes go on */
int proxy_shutdown(const char *directory, struct err **err);

/* ---- ingress_certificates.c: what Secrets hold ---- */

struct certificates;
/* changed: a certificate is there, or another. */
struct certificates *certificates_new(struct node_extension_host *host, void (*changed)(void *arg),
                                      void *arg);
/* Fetches what these routes name and is new or has a new revision; forgets the rest. */
void certificates_set(struct certificates *certificates, const struct map *routes);
/* Certificate and key as PEM; NULL: not there, or never a right one. */
const char *certificates_pem(const struct certificates *certificates, const char *key);
void certificates_free(struct certificates *certificates);

/* ---- ingress_metrics.c: on any thread, blocking ---- */
void ingress_metrics(const char *directory, struct str *out);

/* ---- ingress_socket.c: HAProxy's runtime interface; blocking ---- */

/* One command with its line end; the whole answer. */
int socket_command(const char *path, const char *command, size_t len, struct str *answer, struct err **err);
/* Process id of the worker that answers there. */
int socket_worker(const char *socket_path, struct err **err);
/* Changes what differs, for maps in which the order of entries does not matter. */
int socket_change_map(const char *socket_path, const char *map_path, const struct str *before,
                      const struct str *now, struct err **err);
/* Replaces all entries of a map at once. */
int socket_set_map(const char *socket_path, const char *map_path, const struct str *entries,
                   struct err **err);

#endif
