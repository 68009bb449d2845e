/*
 * gpu_health: waits for critical errors that the driver reports. NVML tells them only to a thread that waits,
 * and has no way to end the wait: it is renewed every few seconds.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "gpu.h"
#include "gpu_nvml.h"

#define WAIT_MS 5000

struct gpu_health {
    struct nvml nvml;
    void *set;
    struct loop *loop;
    gpu_on_error *report;
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock;
    bool muted; /* under lock: the loop may be gone */
    atomic_uint users;
};

struct told {
    struct gpu_health *health;
    int minor;
    unsigned long long xid;
};

static void release(struct gpu_health *health)
{
    if (atomic_fetch_sub(&health->users, 1) > 1)
        return;
    if (health->set)
        health->nvml.set_free(health->set);
    nvml_close(&health->nvml);
    pthread_mutex_destroy(&health->lock);
    free(health);
}

/* Errors of programs, not of devices: XID catalogue of the driver's documentation. */
static bool is_of_program(unsigned long long xid)
{
    static const unsigned long long all[] = {13, 31, 43, 45, 68, 109};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (xid == all[i])
            return true;
    return false;
}

static void on_told(void *arg)
{
    struct told *told = arg;
    if (!told->health->muted) /* set on this thread only */
        told->health->report(told->health->arg, told->minor, told->xid);
    release(told->health);
    free(told);
}

static void tell(struct gpu_health *health, int minor, unsigned long long xid)
{
    struct told *told = NEW(struct told);
    *told = (struct told){.health = health, .minor = minor, .xid = xid};
    pthread_mutex_lock(&health->lock);
    if (health->muted) {
        free(told);
    } else {
        atomic_fetch_add(&health->users, 1);
        loop_post(health->loop, on_told, told);
    }
    pthread_mutex_unlock(&health->lock);
}

static bool is_muted(struct gpu_health *health)
{
    pthread_mutex_lock(&health->lock);
    bool muted = health->muted;
    pthread_mutex_unlock(&health->lock);
    return muted;
}

static void *wait_on(void *arg)
{
    struct gpu_health *health = arg;
    while (!is_muted(health)) {
        struct nvml_event event = {0};
        unsigned minor = 0;
        int result = health->nvml.set_wait(health->set, &event, WAIT_MS);
        if (result == NVML_ERROR_TIMEOUT)
            continue;
        if (result != 0) {
            tell(health, -1, 0);
            break;
        }
        if (event.type == NVML_EVENT_XID && !is_of_program(event.data) &&
            health->nvml.minor(event.device, &minor) == 0)
            tell(health, (int)minor, event.data);
    }
    release(health);
    return NULL;
}

static bool has_devices(struct gpu_health *health)
{
    unsigned count = 0;
    bool any = false;
    if (!health->nvml.set_wait || !health->nvml.set_add || !health->nvml.set_free || !health->nvml.set_new ||
        health->nvml.set_new(&health->set) != 0 || health->nvml.count(&count) != 0)
        return false;
    for (unsigned i = 0; i < count; i++) {
        void *device = NULL;
        if (health->nvml.handle(i, &device) == 0 &&
            health->nvml.set_add(device, NVML_EVENT_XID, health->set) == 0)
            any = true;
    }
    return any;
}

struct gpu_health *gpu_health_new(const char *root, struct loop *loop, gpu_on_error *report, void *arg)
{
    struct gpu_health *health = NEW(struct gpu_health);
    health->loop = loop;
    health->report = report;
    health->arg = arg;
    atomic_init(&health->users, 2);
    pthread_mutex_init(&health->lock, NULL);
    if (nvml_open(&health->nvml, root) && has_devices(health) &&
        pthread_create(&health->thread, NULL, wait_on, health) == 0)
        return health;
    atomic_store(&health->users, 1);
    release(health);
    return NULL;
}

void gpu_health_mute(struct gpu_health *health)
{
    if (!health)
        return;
    pthread_mutex_lock(&health->lock);
    health->muted = true;
    pthread_mutex_unlock(&health->lock);
}

void gpu_health_join(struct gpu_health *health)
{
    if (!health)
        return;
    pthread_join(health->thread, NULL);
    release(health);
}

void gpu_health_leave(struct gpu_health *health)
{
    if (!health)
        return;
    gpu_health_mute(health);
    pthread_detach(health->thread);
    release(health);
}
