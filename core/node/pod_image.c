/*
 * pod_image: a container's image is looked for and pulled, by its pull policy and with the pod's
 * imagePullSecrets. A pull may take half an hour: the end of the pod does not wait for it.
 */
#include <string.h>

#include "node/node_internal.h"

static enum runtime_pull pull_policy(const struct container *c)
{
    const char *policy = json_string(c->spec, "imagePullPolicy");
    if (str_eq(policy, "Always"))
        return RUNTIME_PULL_ALWAYS;
    return str_eq(policy, "Never") ? RUNTIME_PULL_NEVER : RUNTIME_PULL_IF_NOT_PRESENT;
}

static void image_failed(struct pod *pod, struct container *c, const struct err *err)
{
    const char *image = json_string_or(c->spec, "image", "");
    c->failures++;
    c->plan.retry_at = pod_retry_at(pod, c->failures);
    if (err_code(err) == ERR_INVALID) { /* another try says the same; the back-off ends with a new spec */
        pod_set_waiting(c, "InvalidImageName", err_message(err));
        pod_event(pod, c, "Warning", "InspectFailed", "Failed to inspect image \"%s\": %s", image,
                  err_message(err));
        pod_event(pod, c, "Warning", "Failed", "Error: InvalidImageName");
        return;
    }
    if (pull_policy(c) == RUNTIME_PULL_NEVER) {
        auto_free char *message =
            mem_printf("Container image \"%s\" is not present with pull policy of Never", image);
        pod_set_waiting(c, "ErrImageNeverPull", message);
        pod_event(pod, c, "Warning", "ErrImageNeverPull", "%s", message);
        return;
    }
    auto_free char *backing_off = mem_printf("Back-off pulling image \"%s\": %s", image, err_message(err));
    pod_set_waiting(c, c->failures > 1 ? "ImagePullBackOff" : "ErrImagePull",
                    c->failures > 1 ? backing_off : err_message(err));
    pod_event(pod, c, "Warning", "Failed", "Failed to pull image \"%s\": %s", image, err_message(err));
    pod_event(pod, c, "Warning", "Failed", "Error: ErrImagePull");
    pod_event(pod, c, "Normal", "BackOff", "Back-off pulling image \"%s\"", image);
}

/* Adds the log-ins of one Secret; of two for one registry the first wins. False: it holds none. */
static bool add_logins(cJSON *auths, const cJSON *secret)
{
    const cJSON *data = json_get(secret, "data"), *current = json_get(data, ".dockerconfigjson");
    const cJSON *text = current ? current : json_get(data, ".dockercfg"); /* that is the log-ins alone */
    unsigned char *bytes = NULL;
    size_t len = 0;
    if (!cJSON_IsString(text) || str_unbase64(text->valuestring, strlen(text->valuestring), &bytes, &len) < 0)
        return false;
    auto_json config = json_parse((const char *)bytes, len, NULL);
    free(bytes);
    const cJSON *logins = current ? json_get(config, "auths") : config;
    if (!cJSON_IsObject(logins))
        return false;
    json_each (login, logins)
        if (!json_get(auths, login->string))
            json_set(auths, login->string, json_copy(login));
    return true;
}

/* What the imagePullSecrets give together, as one .dockerconfigjson; NULL: nothing. Caller frees. */
static char *pull_auth(struct pod *pod, const struct container *c)
{
    auto_json config = cJSON_CreateObject();
    cJSON *auths = json_ensure_object(config, "auths");
    auto_str useless = {0};
    json_each (reference, json_at(pod->object, "spec.imagePullSecrets")) {
        const char *name = json_string_or(reference, "name", "");
        auto_free char *key = mem_printf("secrets/%s", name);
        if (!add_logins(auths, json_get(pod->references, key)))
            str_addf(&useless, "%s%s", useless.len ? ", " : "", name);
    }
    if (useless.len)
        pod_event(
            pod, c, "Warning", "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.",
            str_c(&useless));
    return auths->child ? json_print(config) : NULL;
}

struct pulled {
    int64_t begun_ms, took_ms;
    char *image;
};

static bool has_name(const cJSON *listed, const char *image)
{
    json_each (name, json_get(listed, "names"))
        if (cJSON_IsString(name) &&
            (str_eq(name->valuestring, image) ||
             (str_starts(name->valuestring, image) && str_eq(name->valuestring + strlen(image), ":latest"))))
            return true;
    return false;
}

/* The size is only known to the list of images; the container does not wait for it. */
static void on_pulled_size(void *arg, cJSON *images, struct err *err UNUSED)
{
    struct pod_call *call = arg;
    struct pulled *pulled = call->data;
    size_t index = call->container;
    auto_json list = images;
    struct pod *pod = pod_call_end(call);
    int64_t size = 0;
    json_each (listed, list)
        if (has_name(listed, pulled->image))
            size = json_int(listed, "sizeBytes", 0);
    if (pod)
        pod_event(pod, &pod->containers[index], "Normal", "Pulled",
                  "Successfully pulled image \"%s\" in %lld ms. Image size: %lld bytes.", pulled->image,
                  (long long)pulled->took_ms, (long long)size);
    free(pulled->image);
    free(pulled);
}

static void say_pulled(struct pod *pod, struct container *c, int64_t took_ms)
{
    struct pulled *pulled = NEW(struct pulled);
    *pulled = (struct pulled){.took_ms = took_ms, .image = mem_strdup(json_string_or(c->spec, "image", ""))};
    struct pod_call *call = pod_call_new(pod, PLAN_IMAGE, c->index);
    call->data = pulled;
    pod->node->runtime->ops->images(pod->node->runtime, on_pulled_size, call);
}

static void on_image(void *arg, const char *image_id, struct err *err);

static void pull(struct pod *pod, struct container *c)
{
    auto_free char *auth = pull_auth(pod, c);
    struct pod_call *call = pod_call_new(pod, PLAN_IMAGE, c->index);
    struct pulled *pulled = NEW(struct pulled); /* this is the pull, not the look whether it is there */
    pulled->begun_ms = node_now(pod->node);
    call->data = pulled;
    pod_event(pod, c, "Normal", "Pulling", "Pulling image \"%s\"", json_string_or(c->spec, "image", ""));
    pod->node->runtime->ops->image(pod->node->runtime, json_string_or(c->spec, "image", ""), pull_policy(c),
                                   auth, on_image, call);
}

/* Nothing of it is started any more, whatever the image is. */
static bool has_ended(const struct pod *pod)
{
    return pod->gone || pod->phase || pod->end_reason || json_at(pod->object, "metadata.deletionTimestamp");
}

static void on_image(void *arg, const char *image_id, struct err *err)
{
    struct pod_call *call = arg;
    struct pulled *begun = call->data;
    bool pulled = begun != NULL;
    int64_t begun_ms = pulled ? begun->begun_ms : 0;
    size_t index = call->container;
    free(begun);
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    struct container *c = &pod->containers[index];
    if (has_ended(pod)) {
        c->plan.pulling = false;
        pod_look(pod);
        return;
    }
    if (err && !pulled && err_code(err) == ERR_NOT_FOUND && pull_policy(c) == RUNTIME_PULL_IF_NOT_PRESENT) {
        pull(pod, c);
        return;
    }
    c->plan.pulling = false;
    const char *image = json_string_or(c->spec, "image", "");
    if (err_code(err) == ERR_CANCELLED || err_code(err) == ERR_UNAVAILABLE) {
        c->plan.retry_at = node_now(pod->node) + POD_FIRST_RETRY_MS;
    } else if (err) {
        image_failed(pod, c, err);
    } else {
        c->plan.image_ready = true;
        c->failures = 0;
        mem_set_text(&c->image_id, image_id);
        pod_set_waiting(c, NULL, NULL);
        if (pulled)
            node_pull_finished(pod->node);
        if (pulled)
            say_pulled(pod, c, node_now(pod->node) - begun_ms);
        else
            pod_event(pod, c, "Normal", "Pulled", "Container image \"%s\" already present on machine", image);
    }
    pod_look(pod);
}

void pod_image_action(struct pod *pod, struct container *c)
{
    c->plan.pulling = true;
    if (pull_policy(c) == RUNTIME_PULL_ALWAYS) {
        pull(pod, c);
        return;
    }
    pod->node->runtime->ops->image(pod->node->runtime, json_string_or(c->spec, "image", ""),
                                   RUNTIME_PULL_NEVER, NULL, on_image,
                                   pod_call_new(pod, PLAN_IMAGE, c->index));
}
