/* node_scrape: private to core/node. Named figures from the Prometheus pages of this node's pods. On the
 * loop.
 */
#ifndef M8_NODE_SCRAPE_H
#define M8_NODE_SCRAPE_H

#include "node/node_internal.h"

struct node_scrape;
typedef void node_on_scraped(void *arg);

struct node_scrape *node_scrape_new(struct node *node);
void node_scrape_free(struct node_scrape *scrape); /* what is under way ends without a call back */
/* Asks every pod that offers a page; names: "a,b". One at a time: see node_scrape_busy. */
void node_scrape_run(struct node_scrape *scrape, const char *names, node_on_scraped *done, void *arg);
bool node_scrape_busy(const struct node_scrape *scrape);
/* [{name, value: quantity}] of the last round; NULL: the pod told nothing. Borrowed. */
const cJSON *node_scrape_values(const struct node_scrape *scrape, const char *uid);

#endif
