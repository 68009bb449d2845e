-- ResourceQuota: how much the objects of a namespace may ask for together.
return {
  version = "v1", kind = "ResourceQuota", plural = "resourcequotas", shortNames = { "quota" }, scope = "Namespaced",
  subresources = { status = {} },
  initialStatus = {},
  generation = {},
  columns = {
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Request", column = "quota.request", description = "Used and most of what does not begin with \"limits.\"." },
    { name = "Limit", column = "quota.limit", description = "Used and most of what begins with \"limits.\"." },
  },
  validators = { "quota" },
  schema = {
    description = "Refuses new objects of its namespace that would make the sum of all exceed spec.hard. What exists is not touched.",
    properties = {
      spec = { type = "object", default = {}, message = "core.v1.ResourceQuotaSpec", description = "Desired state.", properties = {
        hard = { type = "map", additionalProperties = { type = "string", format = "quantity" },
          description = "The most of each: cpu, memory, requests.NAME, limits.NAME, pods, services, services.nodeports, services.loadbalancers, configmaps, secrets, resourcequotas, persistentvolumeclaims, requests.storage, CLASS.storageclass.storage.k8s.io/…, count/RESOURCE[.GROUP]." },
        scopes = { type = "list", ["x-kubernetes-list-type"] = "set", maxItems = 16,
          items = { type = "string", enum = { "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity" } },
          description = "Only pods for which all of these hold are counted. Terminating: with activeDeadlineSeconds; BestEffort: by quality of service; PriorityClass: with a class." },
        scopeSelector = { type = "object", message = "core.v1.ScopeSelector", description = "The same with operators, beside scopes.", properties = {
          matchExpressions = { type = "list", maxItems = 64, description = "All must hold.", items = {
            type = "object", message = "core.v1.ScopedResourceSelectorRequirement", properties = {
              scopeName = { type = "string", required = true, enum = { "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity" }, description = "The scope." },
              operator = { type = "string", required = true, enum = { "In", "NotIn", "Exists", "DoesNotExist" }, description = "In and NotIn compare with values; only for PriorityClass." },
              values = { type = "list", items = { type = "string" }, description = "Names of priority classes." },
            } } },
        } },
      } },
      status = { type = "object", message = "core.v1.ResourceQuotaStatus", description = "Present state, written by the server with each change.", properties = {
        hard = { type = "map", additionalProperties = { type = "string", format = "quantity" }, description = "The limits in force." },
        used = { type = "map", additionalProperties = { type = "string", format = "quantity" }, description = "The sum over the objects of the namespace." },
      } },
    },
  },
}
