/*
 * Command lines of minikubectl: one table of flags, each with the verbs that take it, so that a flag means
 * the same everywhere, a flag of another verb is refused, and the help text cannot lag behind.
 */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

struct flag {
    const char *name;
    char letter;
    enum { TEXT, NUMBER, BOOLEAN, LIST, DURATION } type;
    size_t offset, count_offset;
    const char *verbs; /* " get logs "; NULL: all */
    const char *help;
};

#define AT(member) offsetof(struct kubectl_flags, member)
#define MANY " get describe logs wait delete label annotate top taint set drain edit "
static const struct flag flags[] = {
    {"kubeconfig", 0, TEXT, AT(kubeconfig), 0, NULL, "the kubeconfig file"},
    {"server", 's', TEXT, AT(server), 0, NULL, "address of the server"},
    {"token", 0, TEXT, AT(token), 0, NULL, "bearer token"},
    {"as", 0, TEXT, AT(as), 0, NULL, "act as this user, or system:serviceaccount:NAMESPACE:NAME"},
    {"as-group", 0, LIST, AT(as_groups), AT(n_as_groups), NULL, "… in this group"},
    {"as-uid", 0, TEXT, AT(as_uid), 0, NULL, "… with this uid"},
    {"namespace", 'n', TEXT, AT(namespace), 0, NULL, "the namespace"},
    {"request-timeout", 0, DURATION, AT(request_timeout_s), 0, NULL, "give a request up after this time"},
    {"help", 'h', BOOLEAN, AT(help), 0, NULL, "this text"},
    {"all-namespaces", 'A', BOOLEAN, AT(all_namespaces), 0, MANY "auth ", "all namespaces"},
    {"output", 'o', TEXT, AT(output), 0,
     " get apply create delete version label annotate patch scale set replace run config taint autoscale "
     "edit policy repl gpujob auth ",
     "wide, yaml, json, name, jsonpath=…, custom-columns=…"},
    {"labels", 'l', TEXT, AT(labels), 0, " run ", "labels of the pod: KEY=VALUE,…"},
    {"selector", 'l', TEXT, AT(selector), 0, MANY "create ", "label selector"},
    {"field-selector", 0, TEXT, AT(field_selector), 0, MANY, "field selector"},
    {"filename", 'f', LIST, AT(files), AT(n_files),
     " get describe apply create delete policy replace diff gpujob ", "manifest: file, folder or -"},
    {"server-side", 0, BOOLEAN, AT(server_side), 0, " apply ",
     "the server merges, and notes who owns which field"},
    {"force-conflicts", 0, BOOLEAN, AT(force_conflicts), 0, " apply ",
     "with --server-side: take fields that others own"},
    {"field-manager", 0, TEXT, AT(manager), 0, " apply ",
     "with --server-side: who owns the fields (kubectl)"},
    {"show-managed-fields", 0, BOOLEAN, AT(show_managed), 0, " get apply create patch ",
     "-o yaml and json: with metadata.managedFields"},
    {"recursive", 'R', BOOLEAN, AT(recursive), 0, " get describe apply create delete replace diff explain ",
     "folders within folders, or fields of fields, too"},
    {"watch", 'w', BOOLEAN, AT(watch), 0, " get rollout ", "go on with what changes"},
    {"watch-only", 0, BOOLEAN, AT(watch_only), 0, " get ", "only what changes from now on"},
    {"ignore-not-found", 0, BOOLEAN, AT(ignore_not_found), 0, " get delete ", "nothing there is fine"},
    {"no-headers", 0, BOOLEAN, AT(no_headers), 0, " get api-resources top ", "without the header line"},
    {"show-labels", 0, BOOLEAN, AT(show_labels), 0, " get ", "with a column of labels"},
    {"show-kind", 0, BOOLEAN, AT(show_kind), 0, " get ", "names as KIND/NAME"},
    {"label-columns", 'L', LIST, AT(label_columns), AT(n_label_columns), " get ", "a column with this label"},
    {"sort-by", 0, TEXT, AT(sort_by), 0, " get top ",
     "order by this path, e.g. .metadata.name; top: cpu or memory"},
    {"raw", 0, TEXT, AT(raw), 0, " get ", "print the answer to this path"},
    {"raw", 0, BOOLEAN, AT(raw_config), 0, " config ", "with certificates and secrets"},
    {"follow", 'f', BOOLEAN, AT(follow), 0, " logs ", "go on with new lines"},
    {"previous", 'p', BOOLEAN, AT(previous), 0, " logs ", "of the container before the last restart"},
    {"tail", 0, NUMBER, AT(tail), 0, " logs policy ", "the last N lines, or decisions"},
    {"since", 0, DURATION, AT(since_s), 0, " logs policy ", "newer than this duration"},
    {"point", 0, TEXT, AT(point), 0, " policy ", "only decisions at this point"},
    {"object", 0, TEXT, AT(object), 0, " policy ", "only decisions about NAMESPACE/NAME"},
    {"kind", 0, TEXT, AT(kind), 0, " policy ", "only decisions about objects of this kind: Pod"},
    {"replay", 0, DURATION, AT(replay_s), 0, " policy ", "take the decisions of this time again"},
    {"plot", 0, BOOLEAN, AT(plot), 0, " policy ", "log: as charts over time"},
    {"since-time", 0, TEXT, AT(since_time), 0, " logs ", "newer than this time (RFC 3339)"},
    {"limit-bytes", 0, NUMBER, AT(limit_bytes), 0, " logs ", "at most so many bytes"},
    {"max-log-requests", 0, NUMBER, AT(max_log_requests), 0, " logs ", "how many logs at a time (5)"},
    {"timestamps", 0, BOOLEAN, AT(timestamps), 0, " logs ", "with time stamps"},
    {"all-containers", 0, BOOLEAN, AT(all_containers), 0, " logs ", "of all containers"},
    {"prefix", 0, BOOLEAN, AT(prefix), 0, " logs ", "each line with pod and container"},
    {"container", 'c', TEXT, AT(container), 0, " logs exec attach cp debug ", "the container"},
    {"containers", 'c', TEXT, AT(containers), 0, " set ", "only these: a name, or * at its beginning or end"},
    {"containers", 0, BOOLEAN, AT(containers_flag), 0, " top ", "a line per container"},
    {"stdin", 'i', BOOLEAN, AT(stdin_open), 0, " exec attach run debug ", "pass standard input on"},
    {"tty", 't', BOOLEAN, AT(tty), 0, " exec attach run debug ", "with a terminal"},
    {"quiet", 'q', BOOLEAN, AT(quiet), 0, " exec attach run debug auth ", "print less"},
    {"pod-running-timeout", 0, DURATION, AT(pod_timeout_s), 0, " exec attach run debug port-forward ",
     "how long to wait until it runs"},
    {"no-preserve", 0, BOOLEAN, AT(no_preserve), 0, " cp ", "without owner and permissions"},
    {"address", 0, TEXT, AT(address), 0, " port-forward ", "where to listen: addresses, or localhost"},
    {"env", 'e', LIST, AT(env), AT(n_env), " set ", "NAME=VALUE, or NAME- to remove"},
    {"env", 0, LIST, AT(env), AT(n_env), " run debug ", "NAME=VALUE"},
    {"from", 0, TEXT, AT(from), 0, " set create ",
     "set env: configmap/NAME or secret/NAME; job: cronjob/NAME"},
    {"prefix", 0, TEXT, AT(prefix_text), 0, " set ", "set env --from: in front of the names"},
    {"requests", 0, TEXT, AT(requests), 0, " set ", "cpu=200m,memory=64Mi; 0 removes"},
    {"limits", 0, TEXT, AT(limits), 0, " set ", "cpu=1,memory=256Mi; 0 removes"},
    {"annotations", 0, TEXT, AT(annotations), 0, " run ", "annotations of the pod: KEY=VALUE,…"},
    {"restart", 0, TEXT, AT(restart), 0, " run create ", "Always, OnFailure or Never"},
    {"rm", 0, BOOLEAN, AT(rm), 0, " run ", "delete the pod when its command has ended"},
    {"command", 0, BOOLEAN, AT(command), 0, " run ", "what follows -- is the command, not its arguments"},
    {"attach", 0, BOOLEAN, AT(attach), 0, " run debug ", "show what it writes"},
    {"overrides", 0, TEXT, AT(overrides), 0, " run ", "JSON that is merged into the pod"},
    {"image-pull-policy", 0, TEXT, AT(image_pull_policy), 0, " run debug ", "Always, IfNotPresent or Never"},
    {"target", 0, TEXT, AT(target), 0, " debug ", "see the processes of this container"},
    {"copy-to", 0, TEXT, AT(copy_to), 0, " debug ", "look into a copy of the pod with this name"},
    {"same-node", 0, BOOLEAN, AT(same_node), 0, " debug ", "the copy on the same node"},
    {"share-processes", 0, BOOLEAN, AT(share_processes), 0, " debug ",
     "the copy's containers see each other"},
    {"replace", 0, BOOLEAN, AT(replace), 0, " debug ", "delete the pod that is copied"},
    {"min", 0, NUMBER, AT(min), 0, " autoscale ", "fewest replicas"},
    {"max", 0, NUMBER, AT(max), 0, " autoscale ", "most replicas"},
    {"cpu", 0, TEXT, AT(cpu), 0, " autoscale ", "CPU to aim at: 80%, or a quantity per pod"},
    {"cpu-percent", 0, TEXT, AT(cpu), 0, " autoscale ", "CPU to aim at, in percent of the request"},
    {"memory", 0, TEXT, AT(memory), 0, " autoscale ", "memory to aim at: 80%, or a quantity per pod"},
    {"schedule", 0, TEXT, AT(schedule), 0, " create ", "cronjob: when, e.g. '*/5 * * * *'"},
    {"tcp", 0, LIST, AT(tcp), AT(n_tcp), " create ", "service: PORT[:TARGET]"},
    {"clusterip", 0, TEXT, AT(cluster_ip), 0, " create ", "service: its address, or None"},
    {"node-port", 0, NUMBER, AT(node_port), 0, " create ", "service nodeport: the port on nodes"},
    {"external-name", 0, TEXT, AT(external_name), 0, " create ", "service externalname: the name"},
    {"rule", 0, LIST, AT(rules), AT(n_rules), " create ",
     "ingress: HOST/PATH[*]=SERVICE:PORT[,tls[=SECRET]]"},
    {"class", 0, TEXT, AT(ingress_class), 0, " create ", "ingress: its class"},
    {"default-backend", 0, TEXT, AT(default_backend), 0, " create ", "ingress: SERVICE:PORT for the rest"},
    {"hard", 0, TEXT, AT(hard), 0, " create ", "quota: cpu=1,pods=10"},
    {"min-available", 0, TEXT, AT(min_available), 0, " create ", "pdb: number or percentage"},
    {"max-unavailable", 0, TEXT, AT(max_unavailable), 0, " create ", "pdb: number or percentage"},
    {"value", 0, NUMBER, AT(value), 0, " create ", "priorityclass: the priority"},
    {"global-default", 0, BOOLEAN, AT(global_default), 0, " create ",
     "priorityclass: of pods that name none"},
    {"description", 0, TEXT, AT(description), 0, " create ", "priorityclass: what it is for"},
    {"preemption-policy", 0, TEXT, AT(preemption_policy), 0, " create ",
     "priorityclass: PreemptLowerPriority or Never"},
    {"verb", 0, LIST, AT(verbs), AT(n_verbs), " create ", "role: get,list,…"},
    {"resource", 0, LIST, AT(resources), AT(n_resources), " create ", "role: pods,deployments.apps,pods/log"},
    {"resource-name", 0, LIST, AT(resource_names), AT(n_resource_names), " create ",
     "role: only these names"},
    {"non-resource-url", 0, LIST, AT(non_resource_urls), AT(n_non_resource_urls), " create ",
     "clusterrole: paths such as /metrics"},
    {"role", 0, TEXT, AT(role), 0, " create ", "rolebinding: the role"},
    {"clusterrole", 0, TEXT, AT(cluster_role), 0, " create ", "rolebinding, clusterrolebinding: the role"},
    {"user", 0, LIST, AT(users), AT(n_users), " create ", "bindings: to this user"},
    {"group", 0, LIST, AT(groups), AT(n_groups), " create ", "bindings: to this group"},
    {"serviceaccount", 0, LIST, AT(accounts), AT(n_accounts), " create ", "bindings: NAMESPACE:NAME"},
    {"cert", 0, TEXT, AT(cert), 0, " create ", "secret tls: file of the certificate"},
    {"key", 0, TEXT, AT(key), 0, " create ", "secret tls: file of the key"},
    {"ignore-daemonsets", 0, BOOLEAN, AT(ignore_daemonsets), 0, " drain ", "let pods of DaemonSets stay"},
    {"delete-emptydir-data", 0, BOOLEAN, AT(delete_emptydir_data), 0, " drain ", "although data is lost"},
    {"disable-eviction", 0, BOOLEAN, AT(disable_eviction), 0, " drain ",
     "delete pods, whatever their budgets say"},
    {"pod-selector", 0, TEXT, AT(pod_selector), 0, " drain ", "only pods with these labels"},
    {"replicas", 0, NUMBER, AT(replicas), 0, " scale create ", "how many"},
    {"current-replicas", 0, NUMBER, AT(current_replicas), 0, " scale ", "only if there are so many now"},
    {"revision", 0, NUMBER, AT(revision), 0, " rollout ", "history: show this revision"},
    {"to-revision", 0, NUMBER, AT(revision), 0, " rollout ", "undo: go back to this revision"},
    {"image", 0, TEXT, AT(image), 0, " create run debug ", "container image"},
    {"port", 0, NUMBER, AT(port), 0, " expose create run ", "port of the Service, or of the container"},
    {"target-port", 0, TEXT, AT(target_port), 0, " expose ", "port of the pods, number or name"},
    {"name", 0, TEXT, AT(name), 0, " expose autoscale gpujob ", "name of what is made"},
    {"timeout", 0, DURATION, AT(timeout_s), 0, " wait rollout delete get create drain replace repl ",
     "give up after this time"},
    {"execute", 'e', LIST, AT(expressions), AT(n_expressions), " repl ",
     "run this Lua instead of reading from the terminal"},
    {"ttl", 0, DURATION, AT(timeout_s), 0, " token create ", "how long a join token is good (default 24h)"},
    {"node", 0, TEXT, AT(name), 0, " token create ", "the one node that may join with the token"},
    {"reusable", 0, BOOLEAN, AT(reusable), 0, " token create ", "a join token that serves more than once"},
    {"duration", 0, DURATION, AT(duration_s), 0, " create ",
     "token: how long it is good (default 1h; at least 10m)"},
    {"audience", 0, LIST, AT(audiences), AT(n_audiences), " create ",
     "token: for whom (default: the API server)"},
    {"bound-object-kind", 0, TEXT, AT(bound_kind), 0, " create ",
     "token: it ends with this Pod, Secret or Node"},
    {"bound-object-name", 0, TEXT, AT(bound_name), 0, " create ", "token: the name of that object"},
    {"bound-object-uid", 0, TEXT, AT(bound_uid), 0, " create ", "token: its uid, to be sure"},
    {"for", 0, TEXT, AT(for_condition), 0, " wait ",
     "condition=NAME[=VALUE], create, delete, jsonpath={…}[=VALUE]"},
    {"cascade", 0, TEXT, AT(cascade), 0, " delete ", "background, foreground or orphan"},
    {"grace-period", 0, NUMBER, AT(grace), 0, " delete drain replace ", "seconds until a pod is killed"},
    {"force", 0, BOOLEAN, AT(force), 0, " delete drain replace ",
     "delete: without waiting for the node; drain: pods without a controller, too; replace: delete first"},
    {"now", 0, BOOLEAN, AT(now), 0, " delete ", "with a grace period of one second"},
    {"wait", 0, BOOLEAN, AT(wait), 0, " delete ", "wait until it is gone (default)"},
    {"all", 0, BOOLEAN, AT(all), 0, " delete wait label annotate taint set ", "all objects of the kind"},
    {"dry-run", 0, TEXT, AT(dry_run), 0,
     " apply create delete label annotate patch scale set expose drain taint cordon uncordon run replace "
     "autoscale gpujob ",
     "client or server: change nothing"},
    {"patch", 'p', TEXT, AT(patch), 0, " patch ", "the patch, JSON or YAML"},
    {"subresource", 0, TEXT, AT(subresource), 0, " patch auth ", "status, scale, …"},
    {"type", 0, TEXT, AT(type), 0, " patch expose create ",
     "strategic, merge, json; or the type of a Service, Secret"},
    {"from-literal", 0, LIST, AT(from_literals), AT(n_from_literals), " create ", "KEY=VALUE"},
    {"from-file", 0, LIST, AT(from_files), AT(n_from_files), " create ", "[KEY=]FILE"},
    {"overwrite", 0, BOOLEAN, AT(overwrite), 0, " label annotate taint set ",
     "replace a value that is there"},
    {"list", 0, BOOLEAN, AT(list), 0, " label annotate set auth ", "show what is set, or allowed"},
    {"client", 0, BOOLEAN, AT(client), 0, " version ", "of this program only"},
};

static bool takes(const struct flag *flag, const char *verb)
{
    if (!flag->verbs || !verb)
        return true;
    auto_free char *word = mem_printf(" %s ", verb);
    return strstr(flag->verbs, word) != NULL;
}

void kubectl_print_flags(FILE *out, const char *verb, bool of_all_verbs)
{
    for (size_t i = 0; i < COUNT_OF(flags); i++) {
        const struct flag *flag = &flags[i];
        if (of_all_verbs ? flag->verbs != NULL : !flag->verbs || !takes(flag, verb))
            continue;
        char letter[5] = "    ";
        if (flag->letter)
            snprintf(letter, sizeof(letter), "-%c, ", flag->letter);
        fprintf(out, "  %s--%-18s %s\n", letter, flag->name, flag->help);
    }
}

static const struct flag *find_flag(const char *verb, const char *name, size_t len)
{
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (takes(&flags[i], verb) && strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0)
            return &flags[i];
    return NULL;
}

static const struct flag *find_letter(const char *verb, char letter)
{
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (takes(&flags[i], verb) && flags[i].letter == letter)
            return &flags[i];
    return NULL;
}

static int set_duration(long long *at, const struct flag *flag, const char *text, struct err **err)
{
    int64_t ns = 0;
    if (str_to_int64(text, at) == 0)
        return *at >= 0 ? 0
                        : err_set(err, ERR_BAD_REQUEST, "invalid argument \"%s\" for \"--%s\": negative",
                                  text, flag->name);
    if (time_parse_duration(text, &ns, NULL) < 0 || ns < 0)
        return err_set(err, ERR_BAD_REQUEST,
                       "invalid argument \"%s\" for \"--%s\": not a duration (e.g. 30s, 5m, 1h30m)", text,
                       flag->name);
    *at = ns > 0 && ns < 1000000000 ? 1 : ns / 1000000000;
    return 0;
}

static int set_boolean(bool *at, const struct flag *flag, const char *text, struct err **err)
{
    *at = !text || str_eq(text, "true") || str_eq(text, "1");
    if (text && !*at && !str_eq(text, "false") && !str_eq(text, "0"))
        return err_set(err, ERR_BAD_REQUEST, "invalid argument \"%s\" for \"--%s\": true or false is wanted",
                       text, flag->name);
    return 0;
}

static int set_flag(struct kubectl_flags *values, const struct flag *flag, const char *text, struct err **err)
{
    void *at = (char *)values + flag->offset;
    switch (flag->type) {
    case BOOLEAN:
        return set_boolean(at, flag, text, err);
    case TEXT:
        *(const char **)at = text;
        return 0;
    case NUMBER:
        if (str_to_int64(text, at) < 0)
            return err_set(err, ERR_BAD_REQUEST, "invalid argument \"%s\" for \"--%s\": not a number", text,
                           flag->name);
        return 0;
    case DURATION:
        return set_duration(at, flag, text, err);
    case LIST: {
        const char ***list = at;
        size_t *count = (size_t *)((char *)values + flag->count_offset);
        *list = mem_resize(*list, *count + 1, sizeof(char *));
        (*list)[(*count)++] = text;
        return 0;
    }
    }
    return 0;
}

static int unknown_flag(const char *verb, const char *word, struct err **err)
{
    const char *names[COUNT_OF(flags)];
    size_t n = 0, len = strcspn(word, "=");
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (takes(&flags[i], verb))
            names[n++] = flags[i].name;
    auto_free char *plain = mem_strndup(word, len);
    const char *nearest = str_starts(plain, "--") ? str_nearest(plain + 2, names, n) : NULL;
    if (nearest)
        return err_set(err, ERR_BAD_REQUEST, "unknown flag: %s; did you mean --%s?", plain, nearest);
    return err_set(err, ERR_BAD_REQUEST, "unknown flag: %s", plain);
}

static int parse_letters(struct kubectl *k, const char *verb, int argc, char **argv, int *i, struct err **err)
{
    const char *word = argv[*i];
    for (const char *at = word + 1; *at; at++) {
        const struct flag *flag = find_letter(verb, *at);
        if (!flag)
            return err_set(err, ERR_BAD_REQUEST, "unknown shorthand flag: '%c' in %s", *at, word);
        if (flag->type == BOOLEAN) {
            if (set_flag(&k->flags, flag, at[1] == '=' ? at + 2 : NULL, err) < 0)
                return -1;
            if (at[1] == '=')
                return 0;
            continue;
        }
        const char *value = at[1] == '=' ? at + 2 : at[1] ? at + 1 : *i + 1 < argc ? argv[++*i] : NULL;
        if (!value)
            return err_set(err, ERR_BAD_REQUEST, "flag needs an argument: -%c", *at);
        return set_flag(&k->flags, flag, value, err);
    }
    return 0;
}

static int parse_long(struct kubectl *k, const char *verb, int argc, char **argv, int *i, struct err **err)
{
    const char *word = argv[*i], *name = word + 2, *equals = strchr(name, '=');
    const struct flag *flag = find_flag(verb, name, equals ? (size_t)(equals - name) : strlen(name));
    if (!flag)
        return unknown_flag(verb, word, err);
    const char *value = equals ? equals + 1 : NULL;
    if (!value && str_eq(flag->name, "dry-run"))
        value = "client"; /* like kubectl: a value only after "=" */
    if (!value && flag->type != BOOLEAN && *i + 1 < argc)
        value = argv[++*i];
    if (!value && flag->type != BOOLEAN)
        return err_set(err, ERR_BAD_REQUEST, "flag needs an argument: %s", word);
    return set_flag(&k->flags, flag, value, err);
}

/* The verb decides what a flag means, and global flags may come before it. */
static const char *find_verb(int argc, char **argv)
{
    for (int i = 1; i < argc && !str_eq(argv[i], "--"); i++) {
        if (argv[i][0] != '-' || !argv[i][1])
            return argv[i];
        const char *name = argv[i] + (argv[i][1] == '-' ? 2 : 1);
        const struct flag *flag = argv[i][1] == '-'                  ? find_flag(NULL, name, strlen(name))
                                  : argv[i][1] && argv[i][2] == '\0' ? find_letter(NULL, *name)
                                                                     : NULL;
        if (flag && flag->type != BOOLEAN && !flag->verbs)
            i++;
    }
    return NULL;
}

int kubectl_parse(struct kubectl *k, int argc, char **argv, const char **verb, struct err **err)
{
    k->args = mem_array((size_t)argc + 1, sizeof(char *));
    *verb = find_verb(argc, argv);
    k->flags.watch = str_eq(*verb, "rollout"); /* it waits unless --watch=false */
    bool seen = false;
    for (int i = 1; i < argc; i++) {
        if (str_eq(argv[i], "--")) {
            k->rest = argv + i + 1;
            k->n_rest = argc - i - 1;
            break;
        }
        int result = 0;
        if (str_starts(argv[i], "--"))
            result = parse_long(k, *verb, argc, argv, &i, err);
        else if (argv[i][0] == '-' && argv[i][1])
            result = parse_letters(k, *verb, argc, argv, &i, err);
        else if (argv[i] == *verb && !seen)
            seen = true;
        else
            k->args[k->n_args++] = argv[i];
        if (result < 0)
            return -1;
    }
    return 0;
}

void kubectl_flags_free(struct kubectl *k)
{
    free(k->args);
    for (size_t i = 0; i < COUNT_OF(flags); i++) {
        void **list = (void **)((char *)&k->flags + flags[i].offset);
        if (flags[i].type == LIST) {
            free(*list);
            *list = NULL; /* several flags may share a list */
        }
    }
}
