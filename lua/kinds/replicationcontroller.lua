-- ReplicationController: the forerunner of ReplicaSet; its selector is a plain map.
return {
  version = "v1", kind = "ReplicationController", plural = "replicationcontrollers", shortNames = { "rc" }, categories = { "all" }, scope = "Namespaced",
  subresources = { status = {}, scale = { specReplicasPath = ".spec.replicas", statusReplicasPath = ".status.replicas", labelSelectorPath = ".spec.selector" } },
  matched = { "status.replicas" },
  initialStatus = { replicas = 0 },
  columns = {
    { name = "Desired", path = "spec.replicas", type = "integer", description = "Pods that are wanted." },
    { name = "Current", path = "status.replicas", type = "integer", description = "Pods that exist." },
    { name = "Ready", path = "status.readyReplicas", type = "integer", description = "Pods that are ready." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Containers", column = "template.containers", priority = 1, description = "Names of the containers." },
    { name = "Images", column = "template.images", priority = 1, description = "Their images." },
    { name = "Selector", column = "selector", priority = 1, description = "Labels of its pods." },
  },
  schema = {
    hook = "replicationController", description = "Keeps a number of equal pods running; new ones are better made as a ReplicaSet or a Deployment.",
    properties = {
      spec = { type = "object", rule = "workloadSpec", required = true, description = "Desired state.", properties = {
        replicas = { type = "integer", minimum = 0, default = 1, description = "How many pods." },
        minReadySeconds = { type = "integer", minimum = 0, zeroUnset = true, description = "Seconds that a pod must be ready to count as available." },
        selector = { type = "map", required = true, additionalProperties = { type = "string" }, description = "Labels of the pods that belong to it; unset: those of the template." },
        template = { ref = "PodTemplateSpec", required = true, description = "Pods are made from this." },
      } },
      status = { type = "object", description = "Present state.", properties = {
        replicas = { type = "integer", description = "Pods that exist." },
        fullyLabeledReplicas = { type = "integer", description = "Pods with all labels of the template." },
        readyReplicas = { type = "integer", description = "Pods that are ready." },
        availableReplicas = { type = "integer", description = "Pods that have been ready for minReadySeconds." },
        terminatingReplicas = { type = "integer", description = "Pods that are ending." },
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "ReplicaFailure." },
      } },
    },
  },
}
