/* minik8s doctor: what this machine offers, what is missing and how to mend it. Exit code 1 if something
 * needed is missing. */
#include <arpa/inet.h>
#include <stdio.h>

#include "base/file.h"
#include "commands.h"
#include "http/http.h"
#include "net/net.h"
#include "node_config.h"
#include "options.h"
#include "process.h"
#include "runtime/runtime.h"

static int print_checks(const char *title, const cJSON *checks)
{
    int missing = 0;
    printf("%s\n", title);
    json_each (check, checks) {
        bool ok = json_bool(check, "ok", false);
        missing += !ok;
        printf("  %-4s %-26s %s\n", ok ? "ok" : "BAD", json_string_or(check, "check", ""),
               json_string_or(check, "found", ""));
        const char *remedy = json_string(check, "remedy");
        if (!ok && remedy)
            printf("       → %s\n", remedy);
    }
    return missing;
}

static void add_check(cJSON *list, const char *check, const struct err *wrong, const char *found,
                      const char *remedy)
{
    cJSON *entry = json_push(list, cJSON_CreateObject());
    json_set_string(entry, "check", check);
    json_set_bool(entry, "ok", !wrong);
    json_set_string(entry, "found", wrong ? err_message(wrong) : found);
    if (wrong)
        json_set_string(entry, "remedy", remedy);
}

static void check_settings(cJSON *list, const cJSON *settings)
{
    auto_err no_address = NULL;
    auto_err no_server = NULL;
    auto_err no_folder = NULL;
    const char *given = json_string(settings, "address"), *server = json_string(settings, "server");
    char text[INET_ADDRSTRLEN] = "";
    struct in_addr address;
    if (!given && netlink_own_address(json_string(settings, "interface"), &address, &no_address) == 0)
        inet_ntop(AF_INET, &address, text, sizeof text);
    add_check(list, "address of this machine", no_address, given ? given : text, "set interface or address");
    auto_free char *ca = server ? http_fetch_ca(server, &no_server) : NULL;
    if (!server)
        err_set(&no_server, ERR_INVALID, "no server is named");
    add_check(list, "server", no_server, ca ? server : "",
              "server: https://ADDRESS:6443 of the machine that runs it");
    const char *path = json_string_or(settings, "storage.path", "");
    file_make_dirs(path, 0711, &no_folder);
    add_check(list, "storage.path", no_folder, path, "a folder that root may write, with room for images");
}

/* What a node's file says, tried out on this machine. */
static cJSON *check_file(const char *path)
{
    cJSON *list = cJSON_CreateArray();
    struct node_config config;
    auto_err wrong = NULL;
    bool read = node_config_read(path, &config, &wrong) == 0;
    add_check(list, "file", wrong, path, "see manifests/nodes/node.yaml, which explains every field");
    if (!read)
        return list;
    check_settings(list, config.settings);
    node_config_fini(&config);
    return list;
}

int command_doctor(int argc, char **argv)
{
    bool as_json = false;
    const char *file = NULL;
    const struct option_spec specs[] = {
        {"config", OPTION_TEXT, &file, "also check this node's file against this machine"},
        {"json", OPTION_FLAG, &as_json, "print JSON"}};
    struct arguments arguments;
    auto_err err = NULL;
    int parsed = options_parse(argc, argv, 1, "doctor [--config FILE] [--json]", specs, COUNT_OF(specs),
                               &arguments, &err);
    arguments_fini(&arguments);
    if (parsed < 0)
        return process_fail(err) + 1;
    auto_json all = cJSON_CreateObject();
    const cJSON *runtime = json_set(all, "runtime", runtime_podman_doctor());
    const cJSON *net = json_set(all, "network", net_linux_doctor());
    const cJSON *node = file ? json_set(all, "node", check_file(file)) : NULL;
    if (as_json) {
        auto_free char *text = json_print_pretty(all);
        printf("%s\n", text);
        return 0;
    }
    int missing = print_checks("Containers", runtime) + print_checks("Network", net);
    if (node)
        missing += print_checks("This node", node);
    printf(missing ? "\n%d of these need attention.\n" : "\nEverything that minik8s needs is here.\n",
           missing);
    return missing ? 1 : 0;
}
