/*
 * node_join: how a machine becomes a node: a key of its own, a certificate for it in exchange for a join
 * token. Kept in DIR/pki/node.{key,crt}, ca.crt and cluster.json; later starts need neither token nor server.
 * When a third of its validity is left, or when the machine has another address than the certificate says
 * (whoever calls the agent there would not believe it), the certificate is exchanged for a new one at the
 * start; without a server the old one goes on.
 */
#ifndef M8_CMD_NODE_JOIN_H
#define M8_CMD_NODE_JOIN_H

#include <stdint.h>

#include "base/err.h"

struct node_identity {
    char *ca_pem, *certificate_pem, *key_pem;
    char *pod_range, *service_range; /* of the cluster, as the server said; NULL: it was an older one */
    int64_t renew_ns;                /* wall: when to start again for the next certificate */
    char *problem; /* why the certificate was not renewed though it is due; NULL: nothing is wrong */
};
void node_identity_fini(struct node_identity *identity);

struct node_join_options {
    const char *name, *directory, *server, *address;
    const char *ca; /* file; NULL: the one that the server shows, if it is the one that the token names */
    const char *token, *token_file; /* either, or neither if there is a certificate */
};
/* Waits up to a minute for the server. ERR_UNAUTHORIZED: the token is wrong, expired, or used. */
int node_join(const struct node_join_options *options, struct node_identity *identity, struct err **err);

#endif
