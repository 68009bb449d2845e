/* What the files of this folder share. */
#ifndef M8_CLIENT_CLIENT_PRIVATE_H
#define M8_CLIENT_CLIENT_PRIVATE_H

#include "base/list.h"
#include "client/client.h"

struct client {
    struct loop *loop;
    struct http_client *http;
    const struct random *random;
    struct list requests;    /* struct request.node: under way */
    struct list batch_steps; /* struct batch_step.node: waiting to be sent */
    size_t n_batch_steps, batch_bytes;
    unsigned batches_in_flight;
    struct loop_timer *batch_timer;
    bool closing;
};

void client_batch_cancel(struct client *client); /* ends waiting steps with ERR_CANCELLED */
/* The error that a Status answer stands for: code, message and causes. */
struct err *client_error_from_status(const cJSON *status, int http_status);

#endif
