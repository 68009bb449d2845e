/* version of client and server. */
#include <stdio.h>

#include "kubectl.h"

#define CLIENT_VERSION "0.1.0"

int verb_version(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json both = cJSON_CreateObject();
    json_set_string(json_ensure_object(both, "clientVersion"), "minik8sVersion", CLIENT_VERSION);
    cJSON *server = k->flags.client ? NULL : kubectl_request(k, "GET", "/version", NULL, NULL, NULL, &err);
    if (server)
        json_set(both, "serverVersion", server);
    if (k->flags.output) {
        auto_err failed = NULL;
        if (kubectl_print_object(k, both, &failed) < 0)
            return kubectl_refuse(failed);
    } else {
        printf("Client Version: minikubectl " CLIENT_VERSION "\n");
        if (server)
            printf("Server Version: minik8s %s (Kubernetes API %s)\n",
                   json_string_or(server, "minik8sVersion", "?"), json_string_or(server, "gitVersion", "?"));
    }
    return err ? kubectl_fail(err, NULL) : 0;
}
