/* exec and attach: a command in a container, or what already runs there, with standard input and a terminal
 * if asked. */
#include <stdio.h>

#include "kubectl.h"

int verb_exec(struct kubectl *k)
{
    char **command = k->n_rest ? k->rest : k->args + 1;
    int n_command = k->n_rest ? k->n_rest : k->n_args - 1;
    if (k->n_args < 1)
        return kubectl_refuse_text("pod, type/name must be specified: exec POD [-c CONTAINER] -- COMMAND");
    if (n_command < 1)
        return kubectl_refuse_text(
            "you must specify at least one command for the container: exec %s -- COMMAND", k->args[0]);
    auto_json pod = NULL;
    if (kubectl_find_pod(k, k->args[0], &pod) != 0)
        return 1;
    kubectl_want_terminal(k);
    auto_free char *container = kubectl_choose_container(k, pod);
    auto_free char *target = kubectl_remote_target(k, pod, "exec", container, command, n_command);
    const struct kubectl_remote remote = {
        .target = target, .input = k->flags.stdin_open, .tty = k->flags.tty};
    return kubectl_remote(k, &remote);
}

static const cJSON *find_container(const cJSON *pod, const char *name)
{
    static const char *const lists[] = {"spec.containers", "spec.initContainers", "spec.ephemeralContainers"};
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        json_each (container, json_at(pod, lists[i])) {
            if (str_eq(json_string(container, "name"), name))
                return container;
        }
    return NULL;
}

int kubectl_attach(struct kubectl *k, const cJSON *pod, const char *name)
{
    const cJSON *container = find_container(pod, name);
    if (!container)
        return kubectl_refuse_text("container %s not found in pod %s", name,
                                   json_string_or(pod, "metadata.name", ""));
    if (k->flags.tty && !json_bool(container, "tty", false)) {
        fprintf(stderr, "error: Unable to use a TTY - container %s did not allocate one\n", name);
        k->flags.tty = false;
    } else if (!k->flags.tty && json_bool(container, "tty", false)) {
        k->flags.tty = true; /* the container's output is a terminal's anyway */
    }
    kubectl_want_terminal(k);
    auto_free char *target = kubectl_remote_target(k, pod, "attach", name, NULL, 0);
    const struct kubectl_remote remote = {.target = target,
                                          .input = k->flags.stdin_open,
                                          .tty = k->flags.tty,
                                          .prompt =
                                              k->flags.quiet || !k->flags.stdin_open
                                                  ? NULL
                                                  : "If you don't see a command prompt, try pressing enter."};
    return kubectl_remote(k, &remote);
}

int verb_attach(struct kubectl *k)
{
    if (k->n_args != 1)
        return kubectl_refuse_text(
            "expected one POD, TYPE/NAME to attach to: attach [-it] POD [-c CONTAINER]");
    auto_json pod = NULL;
    if (kubectl_find_pod(k, k->args[0], &pod) != 0)
        return 1;
    const char *phase = json_string_or(pod, "status.phase", "");
    if (str_eq(phase, "Succeeded") || str_eq(phase, "Failed"))
        return kubectl_refuse_text("cannot attach a container in a completed pod; current phase is %s",
                                   phase);
    auto_free char *container = kubectl_choose_container(k, pod);
    return kubectl_attach(k, pod, container);
}
