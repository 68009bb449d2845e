/*
 * The ClusterRoles that every cluster has, which people bind without asking whether they exist:
 * cluster-admin, admin, edit, view, system:auth-delegator. Their rules are Kubernetes' for the resources that
 * there are here, and those of the cluster's own kinds that are a user's. Where Kubernetes gathers them from
 * other roles (aggregationRule), the lists here are whole. Source: Kubernetes, "User-facing roles".
 */
#include <string.h>

#include "api/api_internal.h"

enum { ALL = 1, ADMIN = 2, EDIT = 4, VIEW = 8, DELEGATE = 16 };
#define READ "get list watch"
#define WRITE "create delete deletecollection patch update"

static const struct {
    unsigned role;
    const char *name;
} roles[] = {{ALL, "cluster-admin"},
             {ADMIN, "admin"},
             {EDIT, "edit"},
             {VIEW, "view"},
             {DELEGATE, "system:auth-delegator"}};

#define VIEWERS (ADMIN | EDIT | VIEW)
#define EDITORS (ADMIN | EDIT)

static const struct {
    unsigned roles;
    const char *group, *resources, *verbs; /* words; group NULL: resources are paths */
} rules[] = {
    {ALL, "*", "*", "*"},
    {ALL, NULL, "*", "*"},
    {ADMIN, "rbac.authorization.k8s.io", "roles rolebindings", READ " " WRITE},
    {ADMIN, "authorization.k8s.io", "localsubjectaccessreviews", "create"},
    {EDITORS, "", "pods/attach pods/exec pods/portforward secrets", READ},
    {EDITORS, "", "serviceaccounts", "impersonate"},
    {EDITORS, "", "pods pods/attach pods/exec pods/portforward", WRITE},
    {EDITORS, "", "pods/eviction serviceaccounts/token", "create"},
    {EDITORS, "",
     "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
     "serviceaccounts services",
     WRITE},
    {EDITORS, "apps",
     "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
     WRITE},
    {EDITORS, "autoscaling", "horizontalpodautoscalers", WRITE},
    {EDITORS, "batch", "cronjobs jobs", WRITE},
    {EDITORS, "policy", "poddisruptionbudgets", WRITE},
    {EDITORS, "networking.k8s.io", "ingresses", WRITE},
    {EDITORS, "coordination.k8s.io", "leases", READ " " WRITE},
    {EDITORS, "minik8s.io", "dns gpujobs gpujobs/blobs", WRITE},
    {VIEWERS, "",
     "configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims "
     "persistentvolumeclaims/status pods pods/log pods/status replicationcontrollers "
     "replicationcontrollers/scale replicationcontrollers/status resourcequotas resourcequotas/status "
     "serviceaccounts services services/status",
     READ},
    {VIEWERS, "discovery.k8s.io", "endpointslices", READ},
    {VIEWERS, "apps",
     "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
     "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
     READ},
    {VIEWERS, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", READ},
    {VIEWERS, "batch", "cronjobs cronjobs/status jobs jobs/status", READ},
    {VIEWERS, "policy", "poddisruptionbudgets poddisruptionbudgets/status", READ},
    {VIEWERS, "networking.k8s.io", "ingresses ingresses/status", READ},
    {VIEWERS, "metrics.k8s.io", "nodes pods", READ},
    {VIEWERS, "minik8s.io", "dns dns/status gpujobs gpujobs/blobs gpujobs/status", READ},
    {DELEGATE, "authentication.k8s.io", "tokenreviews", "create"},
    {DELEGATE, "authorization.k8s.io", "subjectaccessreviews", "create"},
};

static void add_words(cJSON *rule, const char *key, const char *text)
{
    cJSON *list = json_set(rule, key, cJSON_CreateArray());
    auto_free char **words = str_split(text, ' ', NULL);
    for (size_t i = 0; words[i]; i++)
        json_push_string(list, words[i]);
}

cJSON *first_role(size_t at)
{
    if (at >= COUNT_OF(roles))
        return NULL;
    cJSON *role = cJSON_CreateObject();
    json_set_string(role, "apiVersion", "rbac.authorization.k8s.io/v1");
    json_set_string(role, "kind", "ClusterRole");
    cJSON *metadata = json_ensure_object(role, "metadata");
    json_set_string(metadata, "name", roles[at].name);
    json_set_string(json_ensure_object(metadata, "labels"), "kubernetes.io/bootstrapping", "rbac-defaults");
    cJSON *list = json_set(role, "rules", cJSON_CreateArray());
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (!(rules[i].roles & roles[at].role))
            continue;
        cJSON *rule = json_push(list, cJSON_CreateObject());
        add_words(rule, "verbs", rules[i].verbs);
        if (!rules[i].group) {
            add_words(rule, "nonResourceURLs", rules[i].resources);
            continue;
        }
        json_push_string(json_set(rule, "apiGroups", cJSON_CreateArray()), rules[i].group);
        add_words(rule, "resources", rules[i].resources);
    }
    return role;
}

bool first_role_is(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(roles); i++)
        if (str_eq(name, roles[i].name))
            return true;
    return false;
}
