/* node_figures: private to core/node. What this node's extensions count about objects of the cluster. On the
 * loop; the extensions are asked on the pool.
 *
 * A sample of their Prometheus text is about an object if it has the labels namespace and one that is called
 * as the object's kind in lower case: {namespace="default",service="api"} is about Service default/api.
 * Samples that differ in further labels are added up; counters count as rates, each set of labels for itself,
 * and one that went back was begun anew.
 */
#ifndef M8_NODE_FIGURES_H
#define M8_NODE_FIGURES_H

#include "node/node_internal.h"

struct node_figures;
typedef void node_on_figures(void *arg);

struct node_figures *node_figures_new(struct node *node);
void node_figures_free(struct node_figures *figures); /* what is under way ends without a call back */
/* names: "a,b" as for pods (see node_scrape); objects: "Kind/namespace/name,…". One at a time. */
void node_figures_run(struct node_figures *figures, const char *names, const char *objects,
                      node_on_figures *done, void *arg);
bool node_figures_busy(const struct node_figures *figures);
/* [{kind, namespace, name, metrics: [{name, value: quantity}]}] of the last round: one per object that an
 * extension counts. A counter that was looked at for the first time has no value. Borrowed; may be NULL. */
const cJSON *node_figures_objects(const struct node_figures *figures);
/* Pure, for tests: the objects of a page, looked at at a time (monotonic). */
void node_figures_read(struct node_figures *figures, const char *page, int64_t now_ns);
void node_figures_want(struct node_figures *figures, const char *names, const char *objects);

#endif
