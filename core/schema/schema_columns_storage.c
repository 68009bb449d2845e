/*
 * schema_columns_storage: the computed columns of volumes, claims and storage classes, after kubectl's.
 */
#include <string.h>

#include "schema/schema_columns.h"

static cJSON *modes_cell(const cJSON *modes)
{
    static const char *const words[][2] = {{"ReadWriteOnce", "RWO"},
                                           {"ReadOnlyMany", "ROX"},
                                           {"ReadWriteMany", "RWX"},
                                           {"ReadWriteOncePod", "RWOP"}};
    struct str text = {0};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        json_each (mode, modes)
            if (cJSON_IsString(mode) && strcmp(mode->valuestring, words[i][0]) == 0)
                str_addf(&text, "%s%s", text.len ? "," : "", words[i][1]);
    }
    return cell_from(&text, "");
}

static cJSON *column_status(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    if (json_at(object, "metadata.deletionTimestamp"))
        return cell_text("Terminating");
    return cell_text(json_string_or(object, "status.phase", ""));
}

static cJSON *column_volume_modes(const cJSON *volume, UNUSED int64_t now_wall_ns)
{
    return modes_cell(json_at(volume, "spec.accessModes"));
}

static cJSON *column_volume_claim(const cJSON *volume, UNUSED int64_t now_wall_ns)
{
    const cJSON *claim = json_at(volume, "spec.claimRef");
    struct str text = {0};
    if (claim)
        str_addf(&text, "%s/%s", json_string_or(claim, "namespace", ""), json_string_or(claim, "name", ""));
    return cell_from(&text, "");
}

/* Nothing before it is bound, as kubectl shows it. */
static cJSON *column_claim_capacity(const cJSON *claim, UNUSED int64_t now_wall_ns)
{
    bool bound = !str_empty(json_string(claim, "spec.volumeName"));
    return cell_text(bound ? json_string_or(claim, "status.capacity.storage", "") : "");
}

static cJSON *column_claim_modes(const cJSON *claim, UNUSED int64_t now_wall_ns)
{
    bool bound = !str_empty(json_string(claim, "spec.volumeName"));
    return modes_cell(bound ? json_at(claim, "status.accessModes") : NULL);
}

static cJSON *column_class_name(const cJSON *class, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    bool is_default = str_eq(
        json_string(class, "metadata.annotations['storageclass.kubernetes.io/is-default-class']"), "true");
    str_addf(&text, "%s%s", json_string_or(class, "metadata.name", ""), is_default ? " (default)" : "");
    return cell_from(&text, "");
}

static cJSON *column_class_grows(const cJSON *class, UNUSED int64_t now_wall_ns)
{
    return cell_text(json_bool(class, "allowVolumeExpansion", false) ? "true" : "false");
}

const struct schema_named_column schema_columns_storage[] = {
    {"claim.status", column_status},
    {"claim.capacity", column_claim_capacity},
    {"claim.modes", column_claim_modes},
    {"volume.status", column_status},
    {"volume.modes", column_volume_modes},
    {"volume.claim", column_volume_claim},
    {"class.name", column_class_name},
    {"class.grows", column_class_grows},
    {NULL, NULL},
};
