/* minik8s manager: controllers and policies. Killing it stops decisions, nothing else. */
#include <stdio.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/file.h"
#include "base/log.h"
#include "client/client.h"
#include "commands.h"
#include "options.h"
#include "process.h"
#include "script/script.h"

#define SERVER_FIRST_NS                                                                                      \
    (INT64_C(1) * 1000000000) /* it writes the manager's next certificate at its own renewal */
#define AGENT "minik8s-manager/" MINIK8S_VERSION

struct manager {
    const char *kubeconfig, *netns, *policies, *record;
    bool elect;
    struct loop *loop;
    struct loop_signals *signals;
    struct kubeconfig config;
    struct http_client *http;
    struct plugins *plugins;
    struct script_manager *script;
    struct process_renewal *renewal;
    bool failed, again;
};

static void on_fatal(void *arg, const char *reason)
{
    struct manager *m = arg;
    log_error("manager", "%s", reason);
    m->failed = true;
    loop_stop(m->loop);
}

/* As the owner of the token: without the manager's own certificate. */
static struct http_client *user_client(void *arg, const char *token, struct err **err)
{
    struct manager *m = arg;
    const struct http_client_options options = {
        .base_url = m->config.server, .ca_pem = m->config.ca_pem, .bearer_token = token, .agent = AGENT};
    return http_client_curl_new(m->loop, &options, err);
}

/* The server renews the certificate in the kubeconfig when it is due; a new start reads it. */
static int start_renewal(struct manager *m, struct err **err)
{
    int64_t renew_ns;
    if (!m->config.certificate_pem)
        return 0;
    if (auth_pem_renewal(m->config.certificate_pem, &renew_ns, err) < 0)
        return err_wrap(err, "%s", m->kubeconfig);
    renew_ns += SERVER_FIRST_NS;
    if (renew_ns < clock_wall_ns(&clock_system))
        renew_ns = process_renewal_retry(m->config.certificate_pem);
    m->renewal = process_renewal_new(m->loop, renew_ns, &m->again);
    return 0;
}

static int open_all(struct manager *m, struct err **err)
{
    m->loop = loop_new(err);
    if (!m->loop || !(m->signals = process_stop_on_signals(m->loop, err)))
        return -1;
    if (kubeconfig_load(m->kubeconfig, &m->config, err) < 0 || start_renewal(m, err) < 0)
        return -1;
    const struct http_client_options http = {.base_url = m->config.server,
                                             .ca_pem = m->config.ca_pem,
                                             .certificate_pem = m->config.certificate_pem,
                                             .key_pem = m->config.key_pem,
                                             .bearer_token = m->config.token,
                                             .agent = AGENT};
    m->http = http_client_curl_new(m->loop, &http, err);
    if (!m->http)
        return -1;
    m->plugins = process_plugins(err);
    if (!m->plugins)
        return -1;
    for (size_t i = 0; plugins_at(m->plugins, i); i++)
        log_info("manager", "plugin %s %s", plugins_at(m->plugins, i)->name,
                 plugins_at(m->plugins, i)->version);
    const char *const policy_directories[] = {m->policies, NULL};
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    const struct script_manager_options options = {.loop = m->loop,
                                                   .http = m->http,
                                                   .random = &random_system,
                                                   .lua_directories = plugins_lua(m->plugins),
                                                   .shipped_policies = plugins_policies(m->plugins),
                                                   .policy_directories = policy_directories,
                                                   .record_directory =
                                                       str_empty(m->record) ? NULL : m->record,
                                                   .host = host,
                                                   .user_client = user_client,
                                                   .user_client_arg = m,
                                                   .elect = m->elect,
                                                   .on_fatal = on_fatal,
                                                   .arg = m};
    m->script = script_manager_new(&options, err);
    return m->script ? 0 : -1;
}

int command_manager(int argc, char **argv)
{
    struct manager m = {.kubeconfig = "/var/lib/minik8s/server/manager.kubeconfig",
                        .record = "/var/lib/minik8s/server/record"};
    const struct option_spec specs[] = {
        {"kubeconfig", OPTION_TEXT, &m.kubeconfig, "how to reach the server"},
        {"policies", OPTION_TEXT, &m.policies, "folder of the operator's own policies"},
        {"record", OPTION_TEXT, &m.record, "folder in which decisions are kept; empty: in memory only"},
        {"elect", OPTION_FLAG, &m.elect,
         "work only while holding the lease minik8s-manager (several managers)"},
        {"netns", OPTION_TEXT, &m.netns, "network namespace to live in"},
    };
    struct arguments arguments;
    auto_err err = NULL;
    if (options_parse(argc, argv, 1, "manager [OPTIONS]", specs, COUNT_OF(specs), &arguments, &err) < 0) {
        arguments_fini(&arguments);
        return process_fail(err) + 1;
    }
    arguments_fini(&arguments);
    int code = 1;
    if (process_enter("manager", m.netns, &err) < 0 || open_all(&m, &err) < 0) {
        process_fail(err);
    } else {
        loop_run(m.loop);
        code = m.failed ? 1 : 0;
    }
    if (m.script)
        script_manager_free(m.script);
    plugins_free(m.plugins);
    if (m.http)
        m.http->ops->free(m.http);
    kubeconfig_fini(&m.config);
    process_renewal_free(m.renewal);
    if (m.signals)
        loop_signals_remove(m.signals);
    bool again = m.again;
    loop_free(m.loop);
    return again ? process_again(argv) : code;
}
