/* sim_objects: what the laws of sim_quiet.c and sim_workloads.c ask of an object. */
#ifndef M8_TEST_SUPPORT_SIM_OBJECTS_H
#define M8_TEST_SUPPORT_SIM_OBJECTS_H

#include "base/json.h"

static inline const char *name_of(const cJSON *object)
{
    return json_string_or(object, "metadata.name", "?");
}

static inline bool is_deleting(const cJSON *object)
{
    return json_string(object, "metadata.deletionTimestamp") != NULL;
}

static inline bool is_terminal(const cJSON *pod)
{
    const char *phase = json_string_or(pod, "status.phase", "");
    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

static inline bool condition_holds(const cJSON *object, const char *type)
{
    json_each (condition, json_at(object, "status.conditions"))
        if (str_eq(json_string(condition, "type"), type))
            return str_eq(json_string(condition, "status"), "True");
    return false;
}

static inline bool owned_by(const cJSON *object, const cJSON *owner)
{
    json_each (reference, json_at(object, "metadata.ownerReferences"))
        if (str_eq(json_string(reference, "uid"), json_string(owner, "metadata.uid")))
            return true;
    return false;
}

#endif
