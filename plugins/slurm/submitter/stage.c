/* stage: the job's sources as a local folder: inline texts, keys of a ConfigMap, an upload. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "client/fileset.h"
#include "submitter/run.h"

#define CONFIG "/slurm/config"

static int put(const char *folder, const char *name, const void *data, size_t len, struct err **err)
{
    auto_free char *path = file_join(folder, name);
    auto_free char *parent = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    if (file_make_dirs(parent, 0700, err) < 0)
        return -1;
    return file_write_atomic(path, data, len, 0700, err);
}

/* Keys of the mounted ConfigMap; what begins with ".." is the volume's own. */
static int stage_config(const char *folder, struct err **err)
{
    auto_free char **names = file_list(CONFIG, NULL, err);
    if (!names)
        return -1;
    for (char **name = names; *name; name++) {
        if (str_starts(*name, ".."))
            continue;
        auto_free char *path = file_join(CONFIG, *name), *data = NULL;
        size_t len = 0;
        if (file_read(path, 2 << 20, &data, &len, err) < 0 || put(folder, *name, data, len, err) < 0)
            return -1;
    }
    return 0;
}

static int get_blob(void *arg, const char *digest, char **data, size_t *len, struct err **err)
{
    return home_get_blob(arg, digest, data, len, err);
}

static int stage_upload(struct run *run, const char *digest, const char *folder, struct err **err)
{
    struct fileset_sum sum;
    const struct fileset_place place = {.get = get_blob, .arg = run->home};
    auto_free char *private = file_join(folder, SLURM_PRIVATE);
    if (fileset_receive(digest, &place, folder, &sum, err) < 0)
        return err_wrap(err, "files that were sent");
    return file_remove_tree(private, err); /* ours alone */
}

char *run_stage(struct run *run, struct err **err)
{
    auto_free char *template = mem_printf("%s/stage-XXXXXX", run->scratch);
    const cJSON *sources = json_get(run_spec(run), "sources");
    if (!mkdtemp(template)) {
        err_errno(err, errno, "making %s", template);
        return NULL;
    }
    auto_free char *private = file_join(template, SLURM_PRIVATE), *script = file_join(private, "job.sh");
    struct str text = {0};
    slurm_script(&text, run_spec(run), &run->place);
    const char *digest = json_string(sources, "upload.digest");
    int result = digest ? stage_upload(run, digest, template, err) : 0;
    if (result == 0)
        result = file_make_dirs(private, 0700, err);
    if (result == 0)
        result = file_write_atomic(script, str_c(&text), text.len, 0700, err);
    str_free(&text);
    if (result == 0 && json_get(sources, "configMap"))
        result = stage_config(template, err);
    json_each (file, json_get(sources, "inline"))
        if (result == 0 && cJSON_IsString(file))
            result = put(template, file->string, file->valuestring, strlen(file->valuestring), err);
    if (result < 0) {
        file_remove_tree(template, NULL);
        return NULL;
    }
    return steal(&template);
}
