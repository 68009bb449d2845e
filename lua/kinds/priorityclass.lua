-- PriorityClass: how important pods are to each other.
return {
  group = "scheduling.k8s.io", version = "v1", kind = "PriorityClass", plural = "priorityclasses", shortNames = { "pc" }, scope = "Cluster",
  columns = {
    { name = "Value", path = "value", type = "integer", description = "Priority of the pods that name it." },
    { name = "Global-Default", path = "globalDefault", type = "boolean", empty = "false", description = "Whether pods that name none belong to it." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "PreemptionPolicy", path = "preemptionPolicy", priority = 1, description = "Whether its pods may displace others." },
  },
  schema = {
    rule = "priorityClass",
    description = "Pods of a higher class get their node first and may displace pods of a lower one.",
    properties = {
      value = { type = "integer", required = true, minimum = -2147483648, maximum = 2147483647, immutable = true,
        description = "Priority; above 1000000000 only for classes of the system." },
      globalDefault = { type = "boolean", zeroUnset = true, description = "Pods that name no class belong to this one; at most one class." },
      description = { type = "string", description = "What the class is for." },
      preemptionPolicy = { type = "string", enum = { "PreemptLowerPriority", "Never" }, default = "PreemptLowerPriority", immutable = true,
        description = "Never: its pods go first in the queue but displace nobody." },
    },
  },
}
