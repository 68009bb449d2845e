-- PodDisruptionBudget: how many pods of a group may be missing at a time by evictions.
return {
  group = "policy", version = "v1", kind = "PodDisruptionBudget", plural = "poddisruptionbudgets", shortNames = { "pdb" }, scope = "Namespaced",
  subresources = { status = {} },
  initialStatus = { currentHealthy = 0, desiredHealthy = 0, disruptionsAllowed = 0, expectedPods = 0 },
  columns = {
    { name = "Min Available", path = "spec.minAvailable", empty = "N/A", description = "Pods that must stay." },
    { name = "Max Unavailable", path = "spec.maxUnavailable", empty = "N/A", description = "Pods that may be missing." },
    { name = "Allowed Disruptions", path = "status.disruptionsAllowed", type = "integer", empty = "0", description = "Evictions that would be granted now." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "Refuses evictions (drain, POST pods/NAME/eviction) that would leave too few healthy pods. Deletions are not held up.",
    properties = {
      spec = { type = "object", rule = "disruptionBudget", default = {}, description = "Desired state.", properties = {
        minAvailable = { type = "string", format = "int-or-percent", description = "Pods that must be healthy after an eviction; number or percentage (rounded up)." },
        maxUnavailable = { type = "string", format = "int-or-percent", description = "Pods that may be missing after an eviction; number or percentage (rounded up). Not with minAvailable." },
        selector = { ref = "LabelSelector", description = "The pods; empty: all of the namespace." },
        unhealthyPodEvictionPolicy = { type = "string", enum = { "IfHealthyBudget", "AlwaysAllow" },
          description = "AlwaysAllow: pods that are not ready may always be evicted. Default IfHealthyBudget: only while enough others are healthy." },
      } },
      status = { type = "object", description = "Present state, counted by the manager; an eviction takes one from disruptionsAllowed.", properties = {
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        disruptionsAllowed = { type = "integer", description = "Evictions that would be granted now." },
        currentHealthy = { type = "integer", description = "Pods that are ready." },
        desiredHealthy = { type = "integer", description = "Pods that must be healthy." },
        expectedPods = { type = "integer", description = "Pods that there should be." },
        disruptedPods = { type = "map", additionalProperties = { type = "string", format = "date-time" }, description = "Pods whose eviction was granted and whose end was not seen yet." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "DisruptionAllowed." },
      } },
    },
  },
}
