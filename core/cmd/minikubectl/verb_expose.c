/* expose: a Service with the selector and ports of a workload. */
#include "kubectl.h"

#include <stdio.h>

static cJSON *service_for(struct kubectl *k, const cJSON *object, const char *name)
{
    cJSON *service = cJSON_CreateObject();
    json_set_string(service, "apiVersion", "v1");
    json_set_string(service, "kind", "Service");
    json_set_string(json_ensure_object(service, "metadata"), "name", name);
    cJSON *spec = json_ensure_object(service, "spec");
    const cJSON *labels = json_at(object, "spec.selector.matchLabels");
    if (!labels && !json_at(object, "spec.selector.matchExpressions"))
        labels = json_at(object, "spec.selector"); /* of a Service or ReplicationController: a plain map */
    if (!labels)
        labels = json_at(object, "metadata.labels");
    json_set(spec, "selector", json_copy(labels));
    if (k->flags.type)
        json_set_string(spec, "type", k->flags.type);
    cJSON *ports = json_ensure_array(spec, "ports");
    const cJSON *containers = json_at(object, "spec.template.spec.containers");
    if (!containers)
        containers = json_at(object, "spec.containers");
    int64_t target = 0;
    json_each (container, containers) {
        json_each (port, json_get(container, "ports"))
            target = target ? target : json_int(port, "containerPort", 0);
    }
    int64_t number = k->flags.port ? k->flags.port : target;
    if (!number)
        return service;
    cJSON *port = json_push(ports, cJSON_CreateObject());
    json_set_int(port, "port", number);
    long long target_number;
    if (!k->flags.target_port)
        json_set_int(port, "targetPort", k->flags.port > 0 && !target ? number : target);
    else if (str_to_int64(k->flags.target_port, &target_number) == 0)
        json_set_int(port, "targetPort", target_number);
    else
        json_set_string(port, "targetPort", k->flags.target_port);
    return service;
}

int verb_expose(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    if (kubectl_references(k, 0, &refs, &count, &err) < 0)
        return kubectl_refuse(err);
    if (!refs[0].name) {
        err_set(&err, ERR_BAD_REQUEST, "expose wants KIND/NAME");
        return kubectl_refuse(err);
    }
    const char *name = k->flags.name ? k->flags.name : refs[0].name;
    auto_free char *target = kubectl_target(k, refs[0].resource, NULL, refs[0].name, NULL);
    auto_json object = kubectl_request(k, "GET", target, NULL, NULL, NULL, &err);
    if (!object)
        return kubectl_fail_named(k, err, NULL, &refs[0]);
    auto_json service = service_for(k, object, name);
    if (!json_at(service, "spec.selector")) {
        err_set(&err, ERR_BAD_REQUEST, "couldn't retrieve selectors via --selector flag or introspection");
        return kubectl_refuse(err);
    }
    if (!json_at(service, "spec.ports[0]")) {
        err_set(&err, ERR_BAD_REQUEST, "couldn't find port via --port flag or introspection");
        return kubectl_refuse(err);
    }
    auto_free char *services = client_path("services", "v1", k->namespace, NULL, NULL);
    auto_str path = {0};
    str_add(&path, services);
    if (str_eq(k->flags.dry_run, "server"))
        http_query_add(&path, "dryRun", "All");
    auto_json made = str_eq(k->flags.dry_run, "client")
                         ? steal(&service)
                         : kubectl_request(k, "POST", str_c(&path), NULL, NULL, service, &err);
    if (!made)
        return kubectl_fail(err, NULL);
    printf("service/%s exposed%s\n", name,
           !k->flags.dry_run                    ? ""
           : str_eq(k->flags.dry_run, "server") ? " (server dry run)"
                                                : " (dry run)");
    return 0;
}
