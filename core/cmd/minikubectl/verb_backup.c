/* backup: a copy of all that the server keeps, made while it runs, on its own machine. */
#include <stdio.h>

#include "kubectl.h"

#define TARGET "/apis/minik8s.io/v1/backups"

int verb_backup(struct kubectl *k)
{
    auto_err err = NULL;
    if (k->n_args > 1)
        return kubectl_refuse_text("usage: backup [NAME]");
    auto_json request = cJSON_CreateObject();
    if (k->n_args)
        json_set_string(request, "name", k->args[0]);
    auto_json answer = kubectl_request(k, "POST", TARGET, NULL, NULL, request, &err);
    if (!answer)
        return kubectl_fail(err, NULL);
    printf("%s\n", json_string_or(answer, "directory", ""));
    return 0;
}
