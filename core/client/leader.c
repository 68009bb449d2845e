/*
 * Leader election on a Lease: whoever holds it renews it every third of its duration; others take it over
 * only after they have themselves watched it unchanged for a whole duration by their own monotonic clock
 * (contract 10). A holder that cannot renew for two thirds of the duration stops leading before anybody else
 * may begin. The Lease is gone after a restart of the server: whoever saw another hold it waits for the same
 * duration, while the holder writes it again.
 */
#include "base/log.h"
#include "client/client_private.h"

#define LEASE_NAMESPACE "kube-system"
#define DURATION_MS 15000

struct leader {
    struct client *client;
    char *name, *identity;
    int64_t duration_ms;
    struct leader_options options;
    struct loop_timer *timer;
    bool leading, busy, freed;
    int64_t renewed_ms; /* last time our own write succeeded */
    char *seen_version; /* resourceVersion of the Lease as last seen … */
    int64_t seen_ms;    /* … since when unchanged */
    bool by_other;      /* another held it when it was last seen */
    int64_t sent_ms;
};

static void leader_destroy(struct leader *leader)
{
    loop_timer_free(leader->timer);
    free(leader->name);
    free(leader->identity);
    free(leader->seen_version);
    free(leader);
}

static void set_leading(struct leader *leader, bool leading)
{
    if (leader->leading == leading)
        return;
    leader->leading = leading;
    log_info("client", "%s %s the lease %s", leader->identity, leading ? "holds" : "lost", leader->name);
    leader->options.on_leading(leader->options.arg, leading);
}

static void finish_turn(struct leader *leader, int64_t next_ms)
{
    leader->busy = false;
    if (leader->freed) {
        leader_destroy(leader);
        return;
    }
    int64_t silent = loop_now_ms(leader->client->loop) - leader->renewed_ms;
    if (leader->leading && silent > leader->duration_ms * 2 / 3)
        set_leading(leader, false);
    loop_timer_start(leader->timer, next_ms);
}

static void on_written(void *arg, cJSON *object, struct err *err)
{
    struct leader *leader = arg;
    auto_json owned = object;
    if (!err) {
        leader->renewed_ms = leader->sent_ms;
        free(leader->seen_version);
        leader->seen_version = mem_strdup(json_string(owned, "metadata.resourceVersion"));
        leader->seen_ms = leader->sent_ms;
        leader->by_other = false;
        if (!leader->freed)
            set_leading(leader, true);
    } else if (err_code(err) == ERR_CONFLICT || err_code(err) == ERR_ALREADY_EXISTS) {
        if (!leader->freed)
            set_leading(leader, false);
    }
    finish_turn(leader, err ? leader->duration_ms / 10 : leader->duration_ms / 3);
}

static void write_lease(struct leader *leader, const cJSON *present)
{
    const struct clock *clock = loop_clock(leader->client->loop);
    char now[TIME_TEXT];
    time_print_micro(clock_wall_ns(clock), now);
    auto_json lease = present ? json_copy(present) : cJSON_CreateObject();
    json_set_string(lease, "apiVersion", "coordination.k8s.io/v1");
    json_set_string(lease, "kind", "Lease");
    cJSON *metadata = json_ensure_object(lease, "metadata");
    json_set_string(metadata, "name", leader->name);
    json_set_string(metadata, "namespace", LEASE_NAMESPACE);
    cJSON *spec = json_ensure_object(lease, "spec");
    if (!str_eq(json_string(spec, "holderIdentity"), leader->identity)) {
        json_set_string(spec, "acquireTime", now);
        json_set_int(spec, "leaseTransitions", json_int(spec, "leaseTransitions", -1) + 1);
    }
    json_set_string(spec, "holderIdentity", leader->identity);
    json_set_string(spec, "renewTime", now);
    json_set_int(spec, "leaseDurationSeconds", (leader->duration_ms + 999) / 1000);
    auto_free char *path =
        client_path("leases.coordination.k8s.io", "v1", LEASE_NAMESPACE, present ? leader->name : NULL, NULL);
    leader->sent_ms = loop_now_ms(leader->client->loop);
    client_request(leader->client, present ? "PUT" : "POST", path, NULL, lease, on_written, leader);
}

static void on_read(void *arg, cJSON *object, struct err *err)
{
    struct leader *leader = arg;
    auto_json answer = object;
    const cJSON *lease = err ? NULL : answer;
    if (leader->freed || (err && err_code(err) != ERR_NOT_FOUND)) {
        finish_turn(leader, leader->duration_ms / 10);
        return;
    }
    int64_t now = loop_now_ms(leader->client->loop);
    const char *version = json_string_or(lease, "metadata.resourceVersion", "");
    if (!str_eq(version, leader->seen_version)) {
        free(leader->seen_version);
        leader->seen_version = mem_strdup(version);
        leader->seen_ms = now;
    }
    const char *holder = json_string_or(lease, "spec.holderIdentity", "");
    if (lease)
        leader->by_other = !str_empty(holder) && !str_eq(holder, leader->identity);
    if (!leader->by_other || now - leader->seen_ms >= leader->duration_ms) {
        write_lease(leader, lease);
        return;
    }
    set_leading(leader, false);
    finish_turn(leader, leader->duration_ms / 5);
}

static void on_timer(void *arg)
{
    struct leader *leader = arg;
    leader->busy = true;
    auto_free char *path =
        client_path("leases.coordination.k8s.io", "v1", LEASE_NAMESPACE, leader->name, NULL);
    client_request(leader->client, "GET", path, NULL, NULL, on_read, leader);
}

struct leader *leader_new(struct client *client, const struct leader_options *options)
{
    struct leader *leader = NEW(struct leader);
    leader->client = client;
    leader->options = *options;
    leader->name = mem_strdup(options->name);
    leader->identity = mem_strdup(options->identity);
    leader->duration_ms = options->duration_ms ? options->duration_ms : DURATION_MS;
    leader->timer = loop_timer_new(client->loop, on_timer, leader);
    loop_timer_start(leader->timer, 0);
    return leader;
}

static void on_given_up(void *arg UNUSED, cJSON *object, struct err *err UNUSED)
{
    cJSON_Delete(object); /* a failure only means that the next leader waits for the lease to run out */
}

void leader_free(struct leader *leader)
{
    if (!leader)
        return;
    loop_timer_stop(leader->timer);
    if (leader->leading) {
        auto_json patch = cJSON_CreateObject();
        json_set_string(json_ensure_object(patch, "metadata"), "resourceVersion", leader->seen_version);
        json_set_string(json_ensure_object(patch, "spec"), "holderIdentity", "");
        auto_free char *path =
            client_path("leases.coordination.k8s.io", "v1", LEASE_NAMESPACE, leader->name, NULL);
        client_request(leader->client, "PATCH", path, "application/merge-patch+json", patch, on_given_up,
                       NULL);
    }
    leader->freed = true;
    if (!leader->busy)
        leader_destroy(leader);
}
