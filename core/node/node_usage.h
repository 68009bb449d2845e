/* node_usage: private to core/node. Figures of the kernel about pods and the machine; the caller owns JSON.
 */
#ifndef M8_NODE_USAGE_H
#define M8_NODE_USAGE_H

#include "base/json.h"

/* {name, rxBytes, rxErrors, txBytes, txErrors, interfaces[]} of the network namespace of a process, without
 * lo; NULL if it is gone. */
cJSON *node_usage_network(int pid);
/* What the container of that process has written to its own layer. Walks it (bounded): on the pool only. -1:
 * there is no such layer. */
int node_usage_layer(int pid, int64_t *bytes, int64_t *files);
/* {availableBytes, capacityBytes, usedBytes, inodes, inodesFree} of the file system that holds path; or NULL.
 */
cJSON *node_usage_disk(const char *path);
/* CPU time so far and memory that could not be given back at once, of the whole machine. -1: unreadable. */
int node_usage_machine(int64_t *cpu_ns, int64_t *memory_bytes);

#endif
