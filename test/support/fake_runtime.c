/*
 * fake_runtime: see fake_runtime.h. A container is a record and perhaps a timer that ends it; an operation is
 * a timer that, when it fires, takes effect and calls back. Interactive streams do not exist here
 * (ERR_UNAVAILABLE). Invariant: the rules of runtime.h hold (names are identity, repeated operations succeed,
 * one callback each).
 */
#include "fake_runtime.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/list.h"
#include "base/map.h"
#include "base/str.h"

#define RESYNC_MS 1000

struct fake_container {
    struct fake_machine *machine;
    struct runtime_spec spec;
    struct runtime_container view;
    struct loop_timer *end;
    int end_code;
    bool end_oom, stubborn;
    size_t terms, kills;
};

struct fake_runtime {
    struct runtime base;
    struct fake_machine *machine;
    runtime_on_event *on_event;
    void *arg;
    struct list operations, events;
};

struct fake_machine {
    struct loop *loop;
    const struct random *random;
    struct map containers; /* name → struct fake_container */
    struct map images, execs;
    struct fake_runtime_faults faults;
    struct fake_runtime *handle;
    void (*on_operation)(void *arg, const char *operation);
    void *on_operation_arg;
    void (*on_signal)(void *arg, const struct runtime_container *container, int signal_number);
    void *on_signal_arg;
    size_t starts;
    char *auth;
    unsigned next_pid, next_id;
};

enum kind { LIST, IMAGE, IMAGES, CREATE, START, INSPECT, SIGNAL, REMOVE, EXEC, STATS, INFO };
static const char *const kind_names[] = {"list",   "image",  "images", "create", "start", "inspect",
                                         "signal", "remove", "exec",   "stats",  "info"};

struct operation {
    struct list node;
    struct fake_runtime *runtime;
    struct loop_timer *timer;
    enum kind kind;
    char *name;
    int number;
    struct runtime_spec spec;
    void (*done)(void);
    void *arg;
    /* from the effect to the answer */
    bool effected;
    struct err *err;
    struct runtime_container *seen; /* as it was then */
};

/* ---- copies ---- */

static char **copy_words(char **words)
{
    if (!words)
        return NULL;
    size_t count = 0;
    while (words[count])
        count++;
    char **copy = mem_array(count + 1, sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_strdup(words[i]);
    return copy;
}

static struct runtime_pair *copy_pairs(const struct runtime_pair *pairs, size_t count)
{
    struct runtime_pair *copy = count ? mem_array(count, sizeof(*copy)) : NULL;
    for (size_t i = 0; i < count; i++)
        copy[i] = (struct runtime_pair){mem_strdup(pairs[i].name), mem_strdup(pairs[i].value)};
    return copy;
}

static void spec_copy(struct runtime_spec *to, const struct runtime_spec *from)
{
    *to = *from;
    to->name = mem_strdup(from->name);
    to->image = mem_strdup(from->image);
    to->command = copy_words(from->command);
    to->arguments = copy_words(from->arguments);
    to->working_directory = mem_strdup(from->working_directory);
    to->environment = copy_pairs(from->environment, from->n_environment);
    to->labels = copy_pairs(from->labels, from->n_labels);
    to->mounts = from->n_mounts ? mem_array(from->n_mounts, sizeof(*to->mounts)) : NULL;
    for (size_t i = 0; i < from->n_mounts; i++) {
        to->mounts[i] = from->mounts[i];
        to->mounts[i].source = mem_strdup(from->mounts[i].source);
        to->mounts[i].sub_path = mem_strdup(from->mounts[i].sub_path);
        to->mounts[i].destination = mem_strdup(from->mounts[i].destination);
    }
    to->security.supplemental_groups = from->security.n_supplemental_groups
                                           ? mem_copy(from->security.supplemental_groups,
                                                      from->security.n_supplemental_groups * sizeof(int64_t))
                                           : NULL;
    to->security.capabilities_add = copy_words(from->security.capabilities_add);
    to->security.capabilities_drop = copy_words(from->security.capabilities_drop);
    to->sandbox = mem_strdup(from->sandbox);
    to->hostname = mem_strdup(from->hostname);
    to->cgroup_parent = mem_strdup(from->cgroup_parent);
    to->log_path = mem_strdup(from->log_path);
    to->devices = copy_words(from->devices);
}

/* runtime_spec_free frees the struct too: hand it a copy on the heap. */
static void spec_fini(struct runtime_spec *spec)
{
    runtime_spec_free(mem_copy(spec, sizeof(*spec)));
    *spec = (struct runtime_spec){0};
}

static struct runtime_container *view_copy(const struct runtime_container *from)
{
    struct runtime_container *to = mem_copy(from, sizeof(*from));
    to->id = mem_strdup(from->id);
    to->name = mem_strdup(from->name);
    to->image = mem_strdup(from->image);
    to->image_id = mem_strdup(from->image_id);
    to->labels = copy_pairs(from->labels, from->n_labels);
    to->log_path = mem_strdup(from->log_path);
    to->error = mem_strdup(from->error);
    return to;
}

/* ---- processes ---- */

static int64_t wall(const struct fake_machine *m)
{
    return clock_wall_ns(loop_clock(m->loop));
}

struct pending_event {
    struct list node;
    struct fake_runtime *runtime;
    struct loop_timer *timer;
    enum runtime_event_type type;
    char *name;
    int exit_code;
};

static void event_free(struct pending_event *event)
{
    list_remove(&event->node);
    loop_timer_free(event->timer);
    free(event->name);
    free(event);
}

static void on_event_due(void *arg)
{
    struct pending_event *pending = arg;
    struct fake_runtime *r = pending->runtime;
    struct runtime_event event = {pending->type, pending->name, pending->exit_code};
    runtime_on_event *on_event = r->on_event;
    void *on_event_arg = r->arg;
    auto_free char *name = steal(&pending->name);
    event_free(pending);
    if (on_event)
        on_event(on_event_arg, &event);
}

static void post_event(struct fake_machine *m, enum runtime_event_type type, const char *name, int exit_code,
                       int64_t delay_ms)
{
    if (!m->handle)
        return;
    struct pending_event *event = NEW(struct pending_event);
    *event = (struct pending_event){
        .runtime = m->handle, .type = type, .name = mem_strdup(name), .exit_code = exit_code};
    event->timer = loop_timer_new(m->loop, on_event_due, event);
    list_add_tail(&m->handle->events, &event->node);
    loop_timer_start(event->timer, delay_ms);
}

static bool chance(const struct fake_machine *m, unsigned permille)
{
    return permille && random_below(m->random, 1000) < permille;
}

static int64_t delay(const struct fake_machine *m)
{
    const struct fake_runtime_faults *f = &m->faults;
    return f->delay_ms_min +
           (int64_t)random_below(m->random, (uint64_t)(f->delay_ms_max - f->delay_ms_min + 1));
}

static void tell(struct fake_machine *m, enum runtime_event_type type, const char *name, int exit_code)
{
    if (chance(m, m->faults.lose_event_permille)) {
        post_event(m, RUNTIME_RESYNC, NULL, 0, RESYNC_MS);
        return;
    }
    post_event(m, type, name, exit_code, delay(m));
    if (chance(m, m->faults.repeat_event_permille))
        post_event(m, type, name, exit_code, delay(m) + 1);
}

static void container_end(struct fake_container *c, int exit_code, bool oom, bool silent)
{
    if (c->view.state != RUNTIME_RUNNING)
        return;
    loop_timer_stop(c->end);
    c->view.state = RUNTIME_EXITED;
    c->view.pid = 0;
    c->view.exit_code = exit_code;
    c->view.oom_killed = oom;
    c->view.finished_ns = wall(c->machine);
    if (!silent)
        tell(c->machine, RUNTIME_DIED, c->view.name, exit_code);
}

static void on_end(void *arg)
{
    struct fake_container *c = arg;
    container_end(c, c->end_code, c->end_oom, false);
}

static const char *word(const struct fake_container *c, size_t index)
{
    char **words = c->spec.command ? c->spec.command : c->spec.arguments;
    for (size_t i = 0; words && words[i]; i++)
        if (i == index)
            return words[i];
    return "";
}

static int container_start(struct fake_container *c, struct err **err)
{
    struct fake_machine *m = c->machine;
    const char *program = word(c, 0);
    if (c->view.state == RUNTIME_RUNNING)
        return 0;
    if (str_eq(program, "missing"))
        return err_set(err, ERR_INVALID, "executable file `missing` not found in $PATH");
    if (c->spec.sandbox) {
        const struct fake_container *sandbox = map_get(&m->containers, c->spec.sandbox);
        if (!sandbox || sandbox->view.state != RUNTIME_RUNNING)
            return err_set(err, ERR_INVALID, "the sandbox %s does not run", c->spec.sandbox);
    }
    c->view.state = RUNTIME_RUNNING;
    c->view.pid = (int)++m->next_pid;
    c->view.started_ns = wall(m);
    c->view.exit_code = 0;
    c->stubborn = str_eq(program, "stubborn");
    m->starts++;
    if (c->spec.log_path) {
        char time[TIME_TEXT];
        time_print_micro(c->view.started_ns, time);
        auto_free char *line = mem_printf("%s stdout F started %s\n", time, c->view.name);
        file_write_atomic(c->spec.log_path, line, strlen(line), 0644, NULL); /* no folder: no log */
    }
    bool oom = str_eq(program, "oom"), ends = oom || str_eq(program, "exit");
    if (ends) {
        c->end_code = oom ? 137 : atoi(word(c, 1));
        c->end_oom = oom;
        loop_timer_start(c->end, atoi(word(c, oom ? 1 : 2)));
    }
    tell(m, RUNTIME_STARTED, c->view.name, 0);
    return 0;
}

static void container_free(void *value)
{
    struct fake_container *c = value;
    loop_timer_free(c->end);
    spec_fini(&c->spec);
    runtime_container_free(mem_copy(&c->view, sizeof(c->view)));
    free(c);
}

static int container_create(struct fake_machine *m, const struct runtime_spec *spec, struct err **err)
{
    if (map_has(&m->containers, spec->name))
        return 0;
    if (!str_empty(spec->image) && !map_has(&m->images, spec->image))
        return err_set(err, ERR_NOT_FOUND, "no such image: %s", spec->image);
    if (spec->sandbox && !map_has(&m->containers, spec->sandbox))
        return err_set(err, ERR_INVALID, "no such sandbox: %s", spec->sandbox);
    struct fake_container *c = NEW(struct fake_container);
    c->machine = m;
    spec_copy(&c->spec, spec);
    c->view = (struct runtime_container){
        .id = mem_printf("%064x", ++m->next_id),
        .name = mem_strdup(spec->name),
        .image = mem_strdup(spec->image),
        .image_id = mem_printf("sha256:%016llx", str_hash(spec->image ? spec->image : "",
                                                          strlen(spec->image ? spec->image : ""))),
        .state = RUNTIME_CREATED,
        .created_ns = wall(m),
        .labels = copy_pairs(spec->labels, spec->n_labels),
        .n_labels = spec->n_labels,
        .log_path = mem_strdup(spec->log_path)};
    c->end = loop_timer_new(m->loop, on_end, c);
    map_set(&m->containers, spec->name, c);
    return 0;
}

static int image_get(struct fake_machine *m, const char *reference, enum runtime_pull policy,
                     struct err **err)
{
    if (policy != RUNTIME_PULL_ALWAYS && map_has(&m->images, reference))
        return 0;
    if (policy == RUNTIME_PULL_NEVER || strstr(reference, "absent"))
        return err_set(err, ERR_NOT_FOUND, "image %s is not there", reference);
    if (strstr(reference, "forbidden"))
        return err_set(err, ERR_FORBIDDEN, "access to %s denied", reference);
    map_set(&m->images, reference, m);
    return 0;
}

/* ---- operations ---- */

static void operation_free(struct operation *op)
{
    list_remove(&op->node);
    loop_timer_free(op->timer);
    free(op->name);
    if (op->kind == CREATE)
        spec_fini(&op->spec);
    err_free(op->err);
    runtime_container_free(op->seen);
    free(op);
}

static void tell_signal(struct fake_container *c, int number)
{
    struct fake_machine *m = c->machine;
    if (m->on_signal && c->view.state == RUNTIME_RUNNING)
        m->on_signal(m->on_signal_arg, &c->view, number);
}

static int take_effect(struct operation *op, struct err **err)
{
    struct fake_machine *m = op->runtime->machine;
    struct fake_container *c = op->name ? map_get(&m->containers, op->name) : NULL;
    switch (op->kind) {
    case IMAGE:
        return image_get(m, op->name, (enum runtime_pull)op->number, err);
    case CREATE:
        return container_create(m, &op->spec, err);
    case START:
        return c ? container_start(c, err) : err_set(err, ERR_NOT_FOUND, "no such container: %s", op->name);
    case INSPECT:
        return c ? 0 : err_set(err, ERR_NOT_FOUND, "no such container: %s", op->name);
    case SIGNAL:
        if (!c || c->view.state != RUNTIME_RUNNING)
            return err_set(err, ERR_NOT_FOUND, "%s does not run", op->name);
        tell_signal(c, op->number);
        c->kills += op->number == SIGKILL;
        c->terms += op->number == SIGTERM;
        if (op->number == SIGKILL || !c->stubborn)
            container_end(c, 128 + op->number, false, false);
        return 0;
    case REMOVE:
        if (c)
            tell_signal(c, SIGKILL);
        map_remove(&m->containers, op->name);
        return 0;
    case EXEC:
        return c && c->view.state == RUNTIME_RUNNING
                   ? 0
                   : err_set(err, ERR_NOT_FOUND, "%s does not run", op->name);
    default:
        return 0;
    }
}

static void answer_list(struct operation *op, struct err *err)
{
    struct fake_machine *m = op->runtime->machine;
    struct runtime_container **list = NULL;
    size_t count = 0;
    if (!err) {
        list = mem_array(m->containers.count + 1, sizeof(struct runtime_container *));
        map_each (entry, &m->containers)
            list[count++] = view_copy(&((struct fake_container *)entry->value)->view);
    }
    ((runtime_on_list *)op->done)(op->arg, list, count, err);
}

static void answer(struct operation *op, struct err *err)
{
    switch (op->kind) {
    case LIST:
        answer_list(op, err);
        break;
    case IMAGE:
        ((runtime_on_image *)op->done)(op->arg, err ? NULL : "sha256:fake", err);
        break;
    case START:
    case INSPECT:
        ((runtime_on_container *)op->done)(op->arg, steal(&op->seen), err);
        break;
    case EXEC:
        ((runtime_on_exec *)op->done)(op->arg, op->number, "", 0, err);
        break;
    case IMAGES:
    case STATS:
        ((runtime_on_json *)op->done)(op->arg, err ? NULL : cJSON_CreateArray(), err);
        break;
    case INFO:
        ((runtime_on_json *)op->done)(op->arg, err ? NULL : cJSON_Parse("{\"version\":\"fake\"}"), err);
        break;
    default:
        ((runtime_on_done *)op->done)(op->arg, err);
        break;
    }
}

static void operation_end(struct operation *op)
{
    answer(op, op->err);
    operation_free(op);
}

static void on_operation_due(void *arg)
{
    struct operation *op = arg;
    struct fake_machine *m = op->runtime->machine;
    if (op->effected) {
        operation_end(op);
        return;
    }
    struct err *err = NULL;
    bool nothing = chance(m, m->faults.error_permille);
    nothing |= op->kind == EXEC && m->faults.exec_unavailable;
    bool changes = op->kind != LIST && op->kind != INSPECT;
    if (nothing)
        err_set(&err, ERR_UNAVAILABLE, "injected: %s was not done", kind_names[op->kind]);
    else if (take_effect(op, &err) == 0 && changes && chance(m, m->faults.half_permille))
        err_set(&err, ERR_UNAVAILABLE, "injected: the answer to %s was lost", kind_names[op->kind]);
    const struct fake_container *c = op->name ? map_get(&m->containers, op->name) : NULL;
    op->effected = true;
    op->err = err;
    op->seen = !err && c && (op->kind == START || op->kind == INSPECT) ? view_copy(&c->view) : NULL;
    int64_t later = m->faults.answer_ms_max;
    if (later)
        loop_timer_start(op->timer, (int64_t)random_below(m->random, (uint64_t)later + 1));
    else
        operation_end(op);
}

static struct operation *operation_begin(struct runtime *runtime, enum kind kind, const char *name,
                                         void (*done)(void), void *arg)
{
    struct fake_runtime *r = CONTAINER_OF(runtime, struct fake_runtime, base);
    struct fake_machine *m = r->machine;
    struct operation *op = NEW(struct operation);
    *op = (struct operation){.runtime = r, .kind = kind, .name = mem_strdup(name), .done = done, .arg = arg};
    op->timer = loop_timer_new(m->loop, on_operation_due, op);
    list_add_tail(&r->operations, &op->node);
    loop_timer_start(op->timer, delay(m));
    if (m->on_operation)
        m->on_operation(m->on_operation_arg, kind_names[kind]);
    return op;
}

#define DONE(done) ((void (*)(void))(done))

static void runtime_op_set_on_event(struct runtime *runtime, runtime_on_event *on_event, void *arg)
{
    struct fake_runtime *r = CONTAINER_OF(runtime, struct fake_runtime, base);
    r->on_event = on_event;
    r->arg = arg;
}
static void runtime_op_list(struct runtime *r, runtime_on_list *done, void *arg)
{
    operation_begin(r, LIST, NULL, DONE(done), arg);
}
static void runtime_op_image(struct runtime *r, const char *reference, enum runtime_pull policy,
                             const char *auth, runtime_on_image *done, void *arg)
{
    mem_set_text(&CONTAINER_OF(r, struct fake_runtime, base)->machine->auth, auth);
    struct operation *op = operation_begin(r, IMAGE, reference, DONE(done), arg);
    op->number = (int)policy;
    if (policy != RUNTIME_PULL_NEVER && op->runtime->machine->faults.pull_ms)
        loop_timer_start(op->timer, op->runtime->machine->faults.pull_ms);
}
static void runtime_op_images(struct runtime *r, runtime_on_json *done, void *arg)
{
    operation_begin(r, IMAGES, NULL, DONE(done), arg);
}
static void runtime_op_create(struct runtime *r, const struct runtime_spec *spec, runtime_on_done *done,
                              void *arg)
{
    spec_copy(&operation_begin(r, CREATE, spec->name, DONE(done), arg)->spec, spec);
}
static void runtime_op_start(struct runtime *r, const char *name, runtime_on_container *done, void *arg)
{
    operation_begin(r, START, name, DONE(done), arg);
}
static void runtime_op_inspect(struct runtime *r, const char *name, runtime_on_container *done, void *arg)
{
    operation_begin(r, INSPECT, name, DONE(done), arg);
}
static void runtime_op_signal(struct runtime *r, const char *name, int number, runtime_on_done *done,
                              void *arg)
{
    operation_begin(r, SIGNAL, name, DONE(done), arg)->number = number;
}
/* Nothing here tidies up by itself. */
static void runtime_op_leaving(struct runtime *r UNUSED, const char *name UNUSED)
{
}
static void runtime_op_remove(struct runtime *r, const char *name, runtime_on_done *done, void *arg)
{
    operation_begin(r, REMOVE, name, DONE(done), arg);
}
static void runtime_op_exec(struct runtime *r, const struct runtime_exec *exec, int64_t timeout_ms UNUSED,
                            runtime_on_exec *done, void *arg)
{
    struct operation *op = operation_begin(r, EXEC, exec->container, DONE(done), arg);
    if (op->runtime->machine->faults.exec_ms)
        loop_timer_start(op->timer, op->runtime->machine->faults.exec_ms);
    op->number = (int)(intptr_t)map_get(&op->runtime->machine->execs, exec->command[0]);
}
static void runtime_op_stats(struct runtime *r, runtime_on_json *done, void *arg)
{
    operation_begin(r, STATS, NULL, DONE(done), arg);
}
static void runtime_op_info(struct runtime *r, runtime_on_json *done, void *arg)
{
    operation_begin(r, INFO, NULL, DONE(done), arg);
}

static void runtime_op_exec_stream(struct runtime *r UNUSED, const struct runtime_exec *exec UNUSED,
                                   void (*started)(void *, const char *, struct http_duplex *, struct err *),
                                   void *arg)
{
    auto_err err = NULL;
    err_set(&err, ERR_UNAVAILABLE, "the fake runtime has no interactive streams");
    started(arg, NULL, NULL, err);
}
/* As conmon does it. */
static bool runtime_op_reopen_log(struct runtime *r, const char *name)
{
    const struct fake_container *c =
        map_get(&CONTAINER_OF(r, struct fake_runtime, base)->machine->containers, name);
    if (!c || c->view.state != RUNTIME_RUNNING || !c->spec.log_path)
        return false;
    auto_free char *next = mem_printf("%s.tmp", c->spec.log_path);
    FILE *file = fopen(next, "w");
    if (file && fclose(file) == 0)
        rename(next, c->spec.log_path); /* no folder: no log */
    return true;
}

static void runtime_op_exec_resize(struct runtime *r UNUSED, const char *id UNUSED, unsigned width UNUSED,
                                   unsigned height UNUSED)
{
}
static void runtime_op_exec_exit(struct runtime *r UNUSED, const char *id UNUSED, runtime_on_exit_code *done,
                                 void *arg)
{
    auto_err err = NULL;
    err_set(&err, ERR_NOT_FOUND, "the fake runtime has no interactive streams");
    done(arg, -1, err);
}
static void runtime_op_attach(struct runtime *r UNUSED, const char *name UNUSED, bool in UNUSED,
                              runtime_on_socket *done, void *arg)
{
    auto_err err = NULL;
    err_set(&err, ERR_UNAVAILABLE, "the fake runtime has no interactive streams");
    done(arg, NULL, err);
}

static void runtime_op_free(struct runtime *runtime)
{
    struct fake_runtime *r = CONTAINER_OF(runtime, struct fake_runtime, base);
    auto_err err = NULL;
    err_set(&err, ERR_CANCELLED, "the runtime was closed");
    struct operation *op;
    while ((op = list_first(&r->operations, struct operation, node))) {
        answer(op, err);
        operation_free(op);
    }
    struct pending_event *event;
    while ((event = list_first(&r->events, struct pending_event, node)))
        event_free(event);
    r->machine->handle = NULL;
    free(r);
}

/* ---- the machine ---- */

struct runtime *fake_machine_runtime(struct fake_machine *machine)
{
    static const struct runtime_ops ops = {.set_on_event = runtime_op_set_on_event,
                                           .list = runtime_op_list,
                                           .image = runtime_op_image,
                                           .images = runtime_op_images,
                                           .create = runtime_op_create,
                                           .start = runtime_op_start,
                                           .inspect = runtime_op_inspect,
                                           .signal = runtime_op_signal,
                                           .leaving = runtime_op_leaving,
                                           .remove = runtime_op_remove,
                                           .exec = runtime_op_exec,
                                           .exec_stream = runtime_op_exec_stream,
                                           .exec_resize = runtime_op_exec_resize,
                                           .exec_exit = runtime_op_exec_exit,
                                           .attach = runtime_op_attach,
                                           .resize = runtime_op_exec_resize,
                                           .reopen_log = runtime_op_reopen_log,
                                           .stats = runtime_op_stats,
                                           .info = runtime_op_info,
                                           .free = runtime_op_free};
    must(machine->handle == NULL);
    struct fake_runtime *r = NEW(struct fake_runtime);
    r->base.ops = &ops;
    r->machine = machine;
    list_init(&r->operations);
    list_init(&r->events);
    machine->handle = r;
    return &r->base;
}

struct fake_machine *fake_machine_new(struct loop *loop, const struct random *random)
{
    struct fake_machine *machine = NEW(struct fake_machine);
    machine->loop = loop;
    machine->random = random;
    machine->faults = (struct fake_runtime_faults){.delay_ms_min = 1, .delay_ms_max = 5};
    map_init(&machine->containers, container_free);
    return machine;
}

void fake_machine_free(struct fake_machine *machine)
{
    must(machine->handle == NULL);
    map_fini(&machine->containers);
    map_fini(&machine->images);
    map_fini(&machine->execs);
    free(machine->auth);
    free(machine);
}

void fake_machine_set_faults(struct fake_machine *machine, const struct fake_runtime_faults *faults)
{
    machine->faults = *faults;
}

void fake_machine_set_on_operation(struct fake_machine *machine, void (*on_operation)(void *, const char *),
                                   void *arg)
{
    machine->on_operation = on_operation;
    machine->on_operation_arg = arg;
}

void fake_machine_set_on_signal(struct fake_machine *machine,
                                void (*on_signal)(void *, const struct runtime_container *, int), void *arg)
{
    machine->on_signal = on_signal;
    machine->on_signal_arg = arg;
}

void fake_machine_each(const struct fake_machine *machine,
                       void (*each)(void *, const struct runtime_container *), void *arg)
{
    map_each (entry, &machine->containers)
        each(arg, &((struct fake_container *)entry->value)->view);
}

void fake_machine_add_image(struct fake_machine *machine, const char *reference)
{
    map_set(&machine->images, reference, machine);
}

bool fake_machine_kill(struct fake_machine *machine, const char *name, int exit_code, bool oom)
{
    struct fake_container *c = map_get(&machine->containers, name);
    if (!c || c->view.state != RUNTIME_RUNNING)
        return false;
    container_end(c, exit_code, oom, false);
    return true;
}

void fake_machine_reboot(struct fake_machine *machine)
{
    map_each (entry, &machine->containers)
        container_end(entry->value, 137, false, true);
}

const struct runtime_container *fake_machine_find(const struct fake_machine *machine, const char *pod,
                                                  const char *container)
{
    const struct runtime_container *found = NULL;
    long newest = -1;
    map_each (entry, &machine->containers) {
        const struct runtime_container *view = &((struct fake_container *)entry->value)->view;
        if (!str_eq(runtime_container_label(view, "io.minik8s.pod.name"), pod) ||
            !str_eq(runtime_container_label(view, "io.minik8s.container"), container))
            continue;
        const char *attempt = runtime_container_label(view, "io.minik8s.attempt");
        if (attempt && atol(attempt) > newest) {
            newest = atol(attempt);
            found = view;
        }
    }
    return found;
}

const struct runtime_spec *fake_machine_spec(const struct fake_machine *machine, const char *name)
{
    const struct fake_container *c = map_get(&machine->containers, name);
    return c ? &c->spec : NULL;
}

size_t fake_machine_count(const struct fake_machine *machine, bool running_only)
{
    size_t count = 0;
    map_each (entry, &machine->containers)
        count += !running_only || ((struct fake_container *)entry->value)->view.state == RUNTIME_RUNNING;
    return count;
}

const char *fake_machine_auth(const struct fake_machine *machine)
{
    return machine->auth;
}

size_t fake_machine_starts(const struct fake_machine *machine)
{
    return machine->starts;
}

size_t fake_machine_signals(const struct fake_machine *machine, const char *name, int signal_number)
{
    const struct fake_container *c = map_get(&machine->containers, name);
    return !c ? 0 : signal_number == SIGKILL ? c->kills : c->terms;
}

void fake_machine_set_exec(struct fake_machine *machine, const char *program, int exit_code)
{
    map_set(&machine->execs, program, (void *)(intptr_t)exit_code);
}
