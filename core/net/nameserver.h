/*
 * nameserver: the program that answers names on a node (`minik8s resolver`): names of the cluster from a
 * directory of files that the agent writes, everything else by asking the machine's own resolvers.
 *
 * A file's lines: "ADDRESS NAME" (A; NAME may be *.DOMAIN), "srv NAME PORT TARGET", "cname NAME TARGET". With
 * "cname", lines "ADDRESS NAME" of the same file are what the target has, for a target that no server knows.
 * PTR follows from A. Files whose names begin with a dot are left out. A file that is replaced by rename, or
 * removed, is in force between two questions: there is no moment in which a name that stays is missing.
 *
 * UDP and TCP (RFC 1035, RFC 7766), EDNS sizes (RFC 6891); no recursion of its own, no DNSSEC. Answers of
 * others are kept for as long as they say, at most 30 s.
 */
#ifndef M8_NET_NAMESERVER_H
#define M8_NET_NAMESERVER_H

#include "net/netlink.h"

struct loop;
/* For each address a datagram and a listening socket; several processes may answer from the same ones. */
enum { NAMESERVER_ADDRESSES = 2, NAMESERVER_SOCKETS = 2 * NAMESERVER_ADDRESSES };
struct nameserver_options {
    const char *directory;                          /* of the files */
    struct in_addr addresses[NAMESERVER_ADDRESSES]; /* where it listens, port 53; 0: one less */
    const char *domain;   /* "cluster.local": names in it are answered here, or do not exist */
    struct net_cidr pods; /* A-B-C-D.NAMESPACE.pod.DOMAIN of these is A.B.C.D */
    /* In the form of resolv.conf, read again when it changes: its servers are asked for other names; a line
     * "# minik8s-upstream ADDRESS" stands for them. NULL or no server: other names are refused. */
    const char *resolv_conf;
};
/* "A" or "A,B". */
int nameserver_addresses(const char *text, struct in_addr addresses[NAMESERVER_ADDRESSES], struct err **err);
/* Where `sockets` has no such socket of these addresses, a new one; what stood there stays open. */
int nameserver_listen(int sockets[NAMESERVER_SOCKETS], const struct in_addr addresses[NAMESERVER_ADDRESSES],
                      struct err **err);
struct nameserver;
/* Answers on the loop from now on, until the process ends. options and its texts must live as long. NULL: it
 * cannot begin. */
struct nameserver *nameserver_new(struct loop *loop, const struct nameserver_options *options,
                                  const int sockets[NAMESERVER_SOCKETS], struct err **err);

/* The parts, for tests. `request` of any content; the answer's length, at most `max` (512 … 65535); 0: there
 * is none to give, -1: somebody else has to be asked. */
struct zone;
struct zone *zone_new(const char *domain, const struct net_cidr *pods);
void zone_load(struct zone *zone, const char *file, const char *text);
void zone_drop(struct zone *zone, const char *file);
void zone_free(struct zone *zone);
ssize_t nameserver_answer(struct zone *zone, const unsigned char *request, size_t len, unsigned char *answer,
                          size_t max);

#endif
