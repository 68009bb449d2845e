#include "submitter/script.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/quantity.h"

#define DEFAULT_PATH "/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/bin"
#define DEFAULT_RUN "./program\n"

void slurm_quote(struct str *out, const char *text)
{
    str_add_char(out, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            str_add(out, "'\\''");
        else
            str_add_char(out, *text);
    }
    str_add_char(out, '\'');
}

char *slurm_comment(const char *uid)
{
    return mem_printf("minik8s:%s", uid);
}

long slurm_minutes(const char *text)
{
    long days = 0, part[3] = {0};
    size_t n = 0;
    char *end;
    bool with_days = strchr(text, '-') != NULL;
    if (with_days) {
        days = strtol(text, &end, 10);
        if (*end != '-')
            return -1;
        text = end + 1;
    }
    do {
        if (n == 3 || !isdigit((unsigned char)*text))
            return -1;
        part[n++] = strtol(text, &end, 10);
        text = end + 1;
    } while (*end == ':');
    if (*end)
        return -1;
    long hours = 0, minutes = 0, seconds = 0;
    if (with_days || n == 3) {
        hours = part[0];
        minutes = part[1];
        seconds = part[2];
    } else {
        minutes = part[0];
        seconds = part[1];
    }
    return days * 1440 + hours * 60 + minutes + (seconds + 59) / 60;
}

struct slurm_tasks slurm_tasks_of(const char *array)
{
    return (struct slurm_tasks){.rest = array ? array : "", .next = 0, .last = -1, .step = 1};
}

/* The next range: "0-9:2,20%3". */
static bool next_range(struct slurm_tasks *tasks)
{
    char *end;
    if (!isdigit((unsigned char)*tasks->rest))
        return false;
    tasks->next = tasks->last = strtol(tasks->rest, &end, 10);
    tasks->step = 1;
    if (*end == '-')
        tasks->last = strtol(end + 1, &end, 10);
    if (*end == ':')
        tasks->step = strtol(end + 1, &end, 10);
    tasks->rest = *end == ',' ? end + 1 : "";
    return tasks->step > 0 && tasks->next <= tasks->last;
}

bool slurm_next_task(struct slurm_tasks *tasks, char *index, size_t size)
{
    if (tasks->next > tasks->last && !next_range(tasks))
        return false;
    snprintf(index, size, "%ld", tasks->next);
    tasks->next += tasks->step;
    return true;
}

static bool has_cuda(const cJSON *spec)
{
    json_each (file, json_at(spec, "sources.inline"))
        if (str_ends(file->string, ".cu"))
            return true;
    return false;
}

bool slurm_has_build(const cJSON *spec)
{
    return !str_empty(json_string(spec, "build")) || (!json_get(spec, "build") && has_cuda(spec));
}

static void add_build(struct str *out, const cJSON *spec)
{
    const char *build = json_string(spec, "build");
    if (build) {
        str_add(out, build);
        return;
    }
    str_add(out, "nvcc -O2 -std=c++17 -cudart static -o program");
    json_each (file, json_at(spec, "sources.inline")) {
        if (!str_ends(file->string, ".cu"))
            continue;
        str_add_char(out, ' ');
        slurm_quote(out, file->string);
    }
}

/* A here-document whose end word does not stand in the text. */
static void add_document(struct str *out, const char *file, const char *text)
{
    struct str word = {0};
    str_add(&word, "END_OF_SCRIPT");
    while (strstr(text, str_c(&word)))
        str_add_char(&word, '_');
    str_addf(out, "cat >%s <<'%s'\n%s", file, str_c(&word), text);
    str_addf(out, "%s%s\n", str_ends(text, "\n") ? "" : "\n", str_c(&word));
    str_free(&word);
}

static int64_t memory_mib(const cJSON *spec)
{
    int64_t bytes = 0;
    const char *memory = json_string(spec, "memory");
    if (!memory || quantity_value(memory, &bytes, NULL) < 0)
        return 0;
    return (bytes >> 20) + (bytes % (1 << 20) != 0);
}

static char *gres_of(const cJSON *spec)
{
    const char *gres = json_string(spec, "gres"), *type = json_string(spec, "gpuType");
    long long gpus = json_int(spec, "gpus", 0);
    if (gpus > 0)
        return mem_printf("gpu%s%s:%lld", type ? ":" : "", type ? type : "", gpus);
    return mem_strdup(gres);
}

static char *stream_of(const cJSON *spec, const struct slurm_place *place, const char *name)
{
    return mem_printf("%s/" SLURM_PRIVATE "/%s%s", place->folder, name, json_get(spec, "array") ? ".%a" : "");
}

static void add_option(struct str *out, const char *option, const char *value)
{
    if (!str_empty(value))
        str_addf(out, "#SBATCH --%s=%s\n", option, value);
}

static void add_options(struct str *out, const cJSON *spec, const struct slurm_place *place)
{
    static const char *const texts[][2] = {
        {"partition", "partition"},   {"account", "account"}, {"qos", "qos"},
        {"constraint", "constraint"}, {"timeLimit", "time"},  {"array", "array"},
        {"dependency", "dependency"}};
    auto_free char *comment = slurm_comment(place->uid), *gres = gres_of(spec);
    auto_free char *stdout_path = stream_of(spec, place, "stdout"),
                   *stderr_path = stream_of(spec, place, "stderr");
    add_option(out, "job-name", place->name);
    add_option(out, "comment", comment);
    add_option(out, "chdir", place->folder);
    add_option(out, "output", stdout_path);
    add_option(out, "error", stderr_path);
    str_add(out,
            "#SBATCH --no-requeue\n#SBATCH --open-mode=append\n#SBATCH --export=PATH=" DEFAULT_PATH "\n");
    str_addf(out, "#SBATCH --nodes=%lld\n#SBATCH --ntasks=%lld\n#SBATCH --cpus-per-task=%lld\n",
             (long long)json_int(spec, "nodes", 1), (long long)json_int(spec, "tasks", 1),
             (long long)json_int(spec, "cpusPerTask", 1));
    if (memory_mib(spec))
        str_addf(out, "#SBATCH --mem=%lldM\n", (long long)memory_mib(spec));
    add_option(out, "gres", gres);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        add_option(out, texts[i][1], json_string(spec, texts[i][0]));
}

static void add_environment(struct str *out, const cJSON *spec)
{
    str_add(out, "unset SLURM_EXPORT_ENV\n");
    json_each (entry, json_get(spec, "environment")) {
        str_addf(out, "export %s=", entry->string);
        slurm_quote(out, cJSON_IsString(entry) ? entry->valuestring : "");
        str_add_char(out, '\n');
    }
    const cJSON *modules = json_get(spec, "modules");
    if (!modules || !modules->child)
        return;
    str_add(out, "for file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do\n"
                 "    if [ -r \"$file\" ] && ! command -v module >/dev/null; then . \"$file\"; fi\ndone\n");
    json_each (module, modules) {
        str_add(out, "module load ");
        slurm_quote(out, module->valuestring);
        str_add(out, " || exit 127\n");
    }
}

void slurm_script(struct str *out, const cJSON *spec, const struct slurm_place *place)
{
    str_add(out, "#!/bin/bash\n");
    add_options(out, spec, place);
    str_add(out, "cd ");
    slurm_quote(out, place->folder);
    str_add(
        out,
        " || exit 1\n"
        "# Only one Slurm job works in this folder, also if it was handed over twice after a lost answer.\n"
        "job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID} task=${SLURM_ARRAY_TASK_ID:+.$SLURM_ARRAY_TASK_ID}\n"
        "ln -s \"$job\" " SLURM_CLAIM " 2>/dev/null\n"
        "worker=$(readlink " SLURM_CLAIM ")\n"
        "echo \"$worker\" >" SLURM_PRIVATE "/job.$SLURM_JOB_ID && mv " SLURM_PRIVATE
        "/job.$SLURM_JOB_ID " SLURM_PRIVATE "/job\n"
        "if [ \"$worker\" != \"$job\" ]; then\n"
        "    echo \"minik8s: job $worker does this already\" >&2\n"
        "    exit 0\nfi\n"
        "# A controller that has lost its start may start it again: the first start counts.\n"
        "if ! ln -s \"$(hostname):$$\" " SLURM_PRIVATE "/started$task 2>/dev/null; then\n"
        "    first=$(readlink " SLURM_PRIVATE "/started$task)\n"
        "    while [ \"${first%:*}\" = \"$(hostname)\" ] && kill -0 \"${first##*:}\" 2>/dev/null; do sleep "
        "1; done\n"
        "    [ ! -e " SLURM_PRIVATE "/rc$task ] || exit \"$(cat " SLURM_PRIVATE "/rc$task)\"\n"
        "    echo \"minik8s: Slurm has started this twice; the first run ($first) left no exit code\" >&2\n"
        "    echo >" SLURM_PRIVATE "/lost$task\n"
        "    exit 1\nfi\n"
        "# What a signal ends has not ended well, although the shell's own exit code may be 0 then.\n"
        "leave() {\n"
        "    trap - EXIT\n"
        "    echo \"$1\" >" SLURM_PRIVATE "/part$task && mv " SLURM_PRIVATE "/part$task " SLURM_PRIVATE
        "/rc$task\n}\n"
        "trap 'leave $?' EXIT\n"
        "for signal in HUP INT TERM; do\n"
        "    trap \"leave $((128 + $(kill -l $signal))); trap - $signal; kill -$signal \\$\\$\" $signal\n"
        "done\n");
    add_environment(out, spec);
    if (slurm_has_build(spec)) {
        struct str build = {0};
        add_build(&build, spec);
        str_add(out, "(\n    flock 9 && [ ! -e " SLURM_PRIVATE "/built ] || exit 0\n"
                     "    echo building >" SLURM_PRIVATE "/phase\n");
        add_document(out, SLURM_PRIVATE "/build.sh", str_c(&build));
        str_add(out, "    bash -e " SLURM_PRIVATE "/build.sh 9>&- && touch " SLURM_PRIVATE "/built\n"
                     ") 9>" SLURM_PRIVATE "/lock || exit\n");
        str_free(&build);
    }
    const char *run = json_string(spec, "run");
    str_add(out, "echo running >" SLURM_PRIVATE "/phase\n");
    auto_free char *file = mem_strdup(SLURM_PRIVATE "/run$task.sh");
    add_document(out, file, str_empty(run) ? DEFAULT_RUN : run);
    str_addf(out, "bash %s\n", file);
}

cJSON *slurm_submission(const cJSON *spec, const struct slurm_place *place)
{
    static const char *const texts[][2] = {
        {"partition", "partition"},    {"account", "account"}, {"qos", "qos"},
        {"constraint", "constraints"}, {"array", "array"},     {"dependency", "dependency"}};
    cJSON *body = cJSON_CreateObject();
    struct str script = {0};
    slurm_script(&script, spec, place);
    json_set_string(body, "script", str_c(&script));
    str_free(&script);
    cJSON *job = json_ensure_object(body, "job");
    auto_free char *comment = slurm_comment(place->uid), *gres = gres_of(spec);
    auto_free char *stdout_path = stream_of(spec, place, "stdout"),
                   *stderr_path = stream_of(spec, place, "stderr");
    json_set_string(job, "name", place->name);
    json_set_string(job, "comment", comment);
    json_set_string(job, "current_working_directory", place->folder);
    json_set_string(job, "standard_output", stdout_path);
    json_set_string(job, "standard_error", stderr_path);
    json_set_string(json_ensure_object(job, "environment"), "PATH", DEFAULT_PATH);
    json_set_bool(job, "no_requeue", true); /* "requeue": false is read as true (22.05) */
    json_set_string(job, "open_mode", "append");
    json_set_int(job, "tasks", json_int(spec, "tasks", 1));
    json_set_int(job, "cpus_per_task", json_int(spec, "cpusPerTask", 1));
    auto_free char *nodes = mem_printf("%lld", (long long)json_int(spec, "nodes", 1));
    json_set_string(job, "nodes", nodes); /* as a list, which its description wants, it is ignored (22.05) */
    if (memory_mib(spec))
        json_set_int(job, "memory_per_node", memory_mib(spec));
    if (gres)
        json_set_string(job, "gres", gres);
    const char *limit = json_string(spec, "timeLimit");
    if (limit)
        json_set_int(job, "time_limit", slurm_minutes(limit));
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (json_string(spec, texts[i][0]))
            json_set_string(job, texts[i][1], json_string(spec, texts[i][0]));
    return body;
}
