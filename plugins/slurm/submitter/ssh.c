/*
 * ssh: a Slurm behind a login node: sbatch, squeue, scontrol and scancel over OpenSSH's client, one shared
 * connection; files travel as tar archives through it.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "cmd/minikubectl/tar.h"
#include "submitter/site.h"

#define QUIET_MS 60000 /* without a byte either way: given up */
#define MAX_LIST (16u << 20)
#define SSH_FAILED 255
#define ABSENT 44 /* our own commands' word for a file that is not there */
#define KEY "/tmp/ssh-key"
#define HOSTS "/tmp/ssh-hosts"

struct ssh {
    struct slurm_site site;
    char *host, *user, *secret, *port;
};

static struct ssh *ssh_of(struct slurm_site *site)
{
    return CONTAINER_OF(site, struct ssh, site);
}

/* ---- one command ---- */

struct transfer {
    ssize_t (*source)(void *arg, char *data, size_t len);  /* standard input; NULL: none */
    void (*sink)(void *arg, const char *data, size_t len); /* standard output; NULL: into `out` */
    void *source_arg, *sink_arg;
    struct str out, errors;
    int status; /* exit code */
};

static void transfer_fini(struct transfer *transfer)
{
    str_free(&transfer->out);
    str_free(&transfer->errors);
}

/* The Secret's files as ssh wants them: the key readable by us alone. Anew each time: Secrets change. */
static int write_secrets(const struct ssh *ssh, struct err **err)
{
    const char *const files[][2] = {{"ssh-privatekey", KEY}, {"known_hosts", HOSTS}};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        auto_free char *path = file_join(ssh->secret, files[i][0]), *data = NULL;
        size_t len = 0;
        if (file_read(path, 65536, &data, &len, NULL) < 0)
            return err_set(err, ERR_UNAUTHORIZED, "the Secret of the SlurmCluster has no %s", files[i][0]);
        if (file_write_atomic(files[i][1], data, len, 0600, err) < 0)
            return -1;
    }
    return 0;
}

static void run_child(const struct ssh *ssh, const char *command, int in, int out, int errors)
{
    auto_free char *target = mem_printf("%s@%s", ssh->user, ssh->host);
    const char *const argv[] = {"ssh",
                                "-F",
                                "/dev/null",
                                "-T",
                                "-i",
                                KEY,
                                "-p",
                                ssh->port,
                                "-oBatchMode=yes",
                                "-oIdentitiesOnly=yes",
                                "-oUserKnownHostsFile=" HOSTS,
                                "-oStrictHostKeyChecking=yes",
                                "-oConnectTimeout=10",
                                "-oServerAliveInterval=5",
                                "-oServerAliveCountMax=3",
                                "-oControlMaster=auto",
                                "-oControlPath=/tmp/ssh-%C",
                                "-oControlPersist=120",
                                "-oLogLevel=ERROR",
                                target,
                                command,
                                NULL};
    dup2(in, 0);
    dup2(out, 1);
    dup2(errors, 2);
    execv("/usr/bin/ssh" /* uses: ssh */, (char *const *)(uintptr_t)argv);
    _exit(SSH_FAILED);
}

static void set_non_blocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

struct flow {
    struct transfer *transfer;
    char pending[65536];
    size_t begin, end;
    int in, out, errors; /* -1: closed */
};

static void close_end(int *fd)
{
    close(*fd);
    *fd = -1;
}

static void feed(struct flow *flow)
{
    if (flow->begin == flow->end) {
        ssize_t n = flow->transfer->source(flow->transfer->source_arg, flow->pending, sizeof flow->pending);
        if (n <= 0) {
            close_end(&flow->in);
            return;
        }
        flow->begin = 0;
        flow->end = (size_t)n;
    }
    ssize_t n = write(flow->in, flow->pending + flow->begin, flow->end - flow->begin);
    if (n >= 0)
        flow->begin += (size_t)n;
    else if (errno != EAGAIN)
        close_end(&flow->in);
}

static void drain(int *fd, struct str *to, void (*sink)(void *, const char *, size_t), void *arg)
{
    char data[65536];
    ssize_t n = read(*fd, data, sizeof data);
    if (n > 0 && sink)
        sink(arg, data, (size_t)n);
    else if (n > 0)
        str_add_n(to, data, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        close_end(fd);
}

/* Until standard output is closed; false: nothing moved for too long. */
static bool flow_on(struct flow *flow)
{
    struct transfer *transfer = flow->transfer;
    while (flow->out >= 0) {
        struct pollfd fds[] = {{flow->in, POLLOUT, 0}, {flow->out, POLLIN, 0}, {flow->errors, POLLIN, 0}};
        if (poll(fds, COUNT_OF(fds), QUIET_MS) == 0)
            return false;
        if (fds[0].revents)
            feed(flow);
        if (fds[1].revents)
            drain(&flow->out, &transfer->out, transfer->sink, transfer->sink_arg);
        if (fds[2].revents && transfer->errors.len < 65536)
            drain(&flow->errors, &transfer->errors, NULL, NULL);
    }
    return true;
}

static int finish(const struct ssh *ssh, struct transfer *transfer, pid_t pid, bool whole, struct err **err)
{
    int status = 0;
    if (!whole)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    str_c(&transfer->errors);
    transfer->status = WIFEXITED(status) ? WEXITSTATUS(status) : SSH_FAILED;
    if (!whole)
        return err_set(err, ERR_TIMEOUT, "%s says nothing any more", ssh->host);
    if (transfer->status != SSH_FAILED)
        return 0;
    char *text = transfer->errors.data ? transfer->errors.data : (char[]){""};
    text[strcspn(text, "\n")] = 0;
    return err_set(err, ERR_UNAVAILABLE, "ssh %s@%s: %s", ssh->user, ssh->host, text);
}

/* 0 with transfer->status: the command ran. transfer is the caller's, transfer_fini in any case. */
static int run(const struct ssh *ssh, const char *command, struct transfer *transfer, struct err **err)
{
    int in[2], out[2], errors[2];
    if (write_secrets(ssh, err) < 0)
        return -1;
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0)
        return err_errno(err, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0)
        run_child(ssh, command, in[0], out[1], errors[1]);
    close(in[0]);
    close(out[1]);
    close(errors[1]);
    struct flow flow = {.transfer = transfer, .in = in[1], .out = out[0], .errors = errors[0]};
    if (!transfer->source)
        close_end(&flow.in);
    else
        set_non_blocking(flow.in);
    set_non_blocking(flow.out);
    set_non_blocking(flow.errors);
    bool whole = pid > 0 && flow_on(&flow);
    if (flow.errors >= 0)
        drain(&flow.errors, &transfer->errors, NULL, NULL);
    const int left[] = {flow.in, flow.out, flow.errors};
    for (size_t i = 0; i < COUNT_OF(left); i++)
        if (left[i] >= 0)
            close(left[i]);
    return pid < 0 ? err_errno(err, errno, "fork") : finish(ssh, transfer, pid, whole, err);
}

/* ---- Slurm's commands ---- */

struct text_source {
    const char *text;
    size_t left;
};

static ssize_t read_text(void *arg, char *data, size_t len)
{
    struct text_source *source = arg;
    size_t n = source->left < len ? source->left : len;
    memcpy(data, source->text, n);
    source->text += n;
    source->left -= n;
    return (ssize_t)n;
}

/* What the command said about its failure: passes, is final, or an unknown job. */
static int command_failed(const struct transfer *transfer, struct err **err)
{
    static const char *const passing[] = {"Unable to contact", "timed out",     "standby",   "Zero Bytes",
                                          "Connection",        "Communication", "not found", "try again",
                                          "uthentication",     "Munge"};
    const char *text = str_c(&transfer->errors);
    auto_free char *line = mem_strndup(text, strcspn(text, "\n"));
    enum err_code code = strstr(text, "Invalid job id") ? ERR_NOT_FOUND : ERR_INVALID;
    for (size_t i = 0; i < COUNT_OF(passing); i++)
        if (strstr(text, passing[i]))
            code = ERR_UNAVAILABLE;
    return err_set(err, code, "%s", *line ? line : "the command failed without a word");
}

static int ssh_submit(struct slurm_site *site, const cJSON *spec, const struct slurm_place *place,
                      int64_t *id, struct err **err)
{
    struct str script = {0};
    slurm_script(&script, spec, place);
    struct text_source source = {str_c(&script), script.len};
    struct transfer transfer = {.source = read_text, .source_arg = &source};
    int result = run(ssh_of(site), "sbatch --parsable", &transfer, err);
    if (result == 0 && transfer.status)
        result = command_failed(&transfer, err);
    else if (result == 0 && (*id = strtoll(str_c(&transfer.out), NULL, 10)) <= 0)
        result = err_set(err, ERR_UNAVAILABLE, "sbatch told no number");
    transfer_fini(&transfer);
    str_free(&script);
    return result;
}

/* Runs it and hands its output to `take`. */
static int ask(struct slurm_site *site, const char *command, struct str *out, struct err **err)
{
    struct transfer transfer = {0};
    int result = run(ssh_of(site), command, &transfer, err);
    if (result == 0 && transfer.status == ABSENT)
        result = err_set(err, ERR_NOT_FOUND, "it is not there");
    else if (result == 0 && transfer.status)
        result = command_failed(&transfer, err);
    *out = transfer.out;
    transfer.out = (struct str){0};
    transfer_fini(&transfer);
    return result;
}

static int ssh_find(struct slurm_site *site, const char *comment, int64_t *id, struct err **err)
{
    struct str out = {0};
    int result = ask(site, "squeue -h -a -t all -o '%F|%k'", &out, err);
    *id = result == 0 ? slurm_find_lines(str_c(&out), comment) : 0;
    str_free(&out);
    return result;
}

static int ssh_look(struct slurm_site *site, int64_t id, const struct slurm_known *known,
                    struct slurm_view *view, struct err **err)
{
    struct str out = {0};
    auto_free char *command = mem_printf("TZ=UTC0 scontrol -o show job %lld", (long long)id);
    int result = ask(site, command, &out, err);
    if (result == 0)
        result = slurm_view_scontrol(view, known, str_c(&out), err);
    str_free(&out);
    return result;
}

static int ssh_cancel(struct slurm_site *site, int64_t id, struct err **err)
{
    struct str out = {0};
    auto_free char *command = mem_printf("scancel %lld", (long long)id);
    int result = ask(site, command, &out, err);
    str_free(&out);
    return result;
}

/* ---- files ---- */

static char *in_folder(const char *format, const char *folder)
{
    struct str quoted = {0};
    slurm_quote(&quoted, folder);
    auto_free char *text = str_take(&quoted);
    const char *at = strchr(format, '@');
    return mem_printf("%.*s%s%s", (int)(at - format), format, text, at + 1);
}

static ssize_t read_archive(void *arg, char *data, size_t len)
{
    return tar_writer_read(arg, data, len);
}

static int ssh_prepare(struct slurm_site *site, const char *staged, const char *folder, struct err **err)
{
    auto_free char *command =
        in_folder("d=@; if [ -L \"$d/" SLURM_CLAIM "\" ]; then exec cat >/dev/null; fi; "
                  "mkdir -p -m 700 \"$d\" && tar -C \"$d\" -xf -",
                  folder);
    struct tar_writer *writer = tar_writer_new(staged, ".", err);
    if (!writer)
        return -1;
    struct transfer transfer = {.source = read_archive, .source_arg = writer};
    int result = run(ssh_of(site), command, &transfer, err);
    if (result == 0 && tar_writer_error(writer))
        result = err_set(err, ERR_IO, "%s", err_message(tar_writer_error(writer)));
    else if (result == 0 && transfer.status)
        result = err_set(err, ERR_UNAVAILABLE, "writing the job's folder: %s", str_c(&transfer.errors));
    transfer_fini(&transfer);
    tar_writer_free(writer);
    return result;
}

static int ssh_read(struct slurm_site *site, const char *folder, const char *file, int64_t offset, size_t max,
                    struct str *out, struct err **err)
{
    auto_free char *path = file_join(folder, file);
    auto_free char *format = mem_printf("f=@; [ -f \"$f\" ] || exit %d; tail -c +%lld \"$f\" | head -c %zu",
                                        ABSENT, (long long)offset + 1, max);
    auto_free char *command = in_folder(format, path);
    struct str got = {0};
    int result = ask(site, command, &got, err);
    if (result == 0)
        str_add_n(out, str_c(&got), got.len);
    str_free(&got);
    return result;
}

static int ssh_list(struct slurm_site *site, const char *folder, struct str *out, struct err **err)
{
    auto_free char *path = file_join(folder, SLURM_PRIVATE);
    auto_free char *command = in_folder("find @ -maxdepth 1 -type f -printf '%s %f\\n'", path);
    auto_str got = {0};
    int result = ask(site, command, &got, err);
    if (result == 0)
        str_add_n(out, str_c(&got), got.len);
    return result;
}

/* Lines "SIZE NAME" of what is there → names that are wanted, each with a NUL, below the folder's last part.
 */
static void choose(const char *list, const cJSON *globs, int64_t max, const char *base, struct str *names,
                   struct str *refused)
{
    size_t n;
    auto_free char **lines = str_split(list, '\n', &n);
    for (size_t i = 0; i < n; i++) {
        char *name = strchr(lines[i], ' ');
        if (!name || !files_match(globs, ++name))
            continue;
        if (strtoll(lines[i], NULL, 10) > max) {
            str_addf(refused, "%s (%lld bytes)\n", name, strtoll(lines[i], NULL, 10));
            continue;
        }
        str_addf(names, "%s/%s", base, name);
        str_add_n(names, "", 1);
    }
}

static void feed_archive(void *arg, const char *data, size_t len)
{
    tar_reader_feed(arg, data, len);
}

static int ssh_collect(struct slurm_site *site, const char *folder, const cJSON *globs, int64_t max,
                       const char *into, struct str *refused, struct err **err)
{
    struct str list = {0}, names = {0};
    const char *base = strrchr(folder, '/') + 1;
    auto_free char *parent = mem_strndup(folder, (size_t)(base - 1 - folder));
    auto_free char *look = in_folder("find @ -type f -printf '%s %P\\n'", folder);
    auto_free char *pack = in_folder("tar -C @ --null -T - -cf -", parent);
    if (!globs || !globs->child)
        return 0;
    int result = ask(site, look, &list, err);
    if (result == 0)
        choose(str_c(&list), globs, max, base, &names, refused);
    str_free(&list);
    if (result == 0 && names.len) {
        struct text_source source = {names.data, names.len};
        struct tar_reader *reader = tar_reader_new(base, into);
        struct transfer transfer = {
            .source = read_text, .source_arg = &source, .sink = feed_archive, .sink_arg = reader};
        result = file_make_dirs(into, 0700, err);
        if (result == 0)
            result = run(ssh_of(site), pack, &transfer, err);
        if (result == 0)
            result = tar_reader_finish(reader, err);
        tar_reader_free(reader);
        transfer_fini(&transfer);
    }
    str_free(&names);
    return result;
}

static int ssh_remove(struct slurm_site *site, const char *folder, struct err **err)
{
    struct str out = {0};
    auto_free char *command = in_folder("rm -rf -- @", folder);
    int result = ask(site, command, &out, err);
    str_free(&out);
    return result;
}

static void ssh_free(struct slurm_site *site)
{
    struct ssh *ssh = ssh_of(site);
    free(ssh->host);
    free(ssh->user);
    free(ssh->secret);
    free(ssh->port);
    free(ssh);
}

struct slurm_site *slurm_ssh_new(const cJSON *spec, const char *secret, struct err **err)
{
    static const struct slurm_site_ops ops = {.prepare = ssh_prepare,
                                              .submit = ssh_submit,
                                              .find = ssh_find,
                                              .look = ssh_look,
                                              .cancel = ssh_cancel,
                                              .read = ssh_read,
                                              .list = ssh_list,
                                              .collect = ssh_collect,
                                              .remove = ssh_remove,
                                              .free = ssh_free};
    const char *host = json_string(spec, "ssh.host");
    if (!host) {
        err_set(err, ERR_INVALID, "the SlurmCluster has no ssh.host");
        return NULL;
    }
    struct ssh *ssh = NEW(struct ssh);
    signal(SIGPIPE, SIG_IGN);
    ssh->site.ops = &ops;
    ssh->host = mem_strdup(host);
    ssh->user = mem_strdup(json_string_or(spec, "user", "root"));
    ssh->secret = mem_strdup(secret);
    ssh->port = mem_printf("%lld", (long long)json_int(spec, "ssh.port", 22));
    return &ssh->site;
}
