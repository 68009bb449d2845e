-- Deployment: replaces pods step by step when its template changes.
return {
  group = "apps", version = "v1", kind = "Deployment", plural = "deployments", shortNames = { "deploy" }, categories = { "all" }, scope = "Namespaced",
  subresources = { status = {}, scale = { specReplicasPath = ".spec.replicas", statusReplicasPath = ".status.replicas", labelSelectorPath = ".spec.selector" } },
  initialStatus = {},
  columns = {
    { name = "Ready", column = "replicas.ready", description = "Pods that are ready, of those wanted." },
    { name = "Up-to-date", path = "status.updatedReplicas", type = "integer", description = "Pods made from the present template." },
    { name = "Available", path = "status.availableReplicas", type = "integer", description = "Pods that have been ready for minReadySeconds." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Containers", column = "template.containers", priority = 1, description = "Names of the containers." },
    { name = "Images", column = "template.images", priority = 1, description = "Their images." },
    { name = "Selector", column = "selector", priority = 1, description = "Labels of its pods." },
  },
  schema = {
    description = "Keeps a number of equal pods running and replaces them step by step when the template changes.",
    properties = {
      spec = { type = "object", rule = "deploymentSpec", required = true, description = "Desired state.", properties = {
        replicas = { type = "integer", minimum = 0, default = 1, description = "How many pods." },
        selector = { ref = "LabelSelector", required = true, immutable = true, description = "Which pods belong to it; must match the template's labels." },
        template = { ref = "PodTemplateSpec", required = true, description = "Pods are made from this; a change starts a rollout." },
        strategy = { type = "object", hook = "deploymentStrategy", patch = "retainKeys", default = { type = "RollingUpdate" }, description = "How pods are replaced.", properties = {
          type = { type = "string", enum = { "Recreate", "RollingUpdate" }, default = "RollingUpdate", description = "Recreate: all old ones go first. RollingUpdate: step by step." },
          rollingUpdate = { type = "object", description = "Settings of RollingUpdate.", properties = {
            maxUnavailable = { type = "string", format = "int-or-percent", description = "How many pods may be missing; number or percentage (rounded down). Default 25%." },
            maxSurge = { type = "string", format = "int-or-percent", description = "How many pods may be too many; number or percentage (rounded up). Default 25%." },
          } },
        } },
        minReadySeconds = { type = "integer", minimum = 0, zeroUnset = true, description = "Seconds that a pod must be ready to count as available." },
        revisionHistoryLimit = { type = "integer", minimum = 0, default = 10, description = "How many old ReplicaSets are kept for going back." },
        paused = { type = "boolean", zeroUnset = true, description = "Changes of the template wait; the number of pods follows replicas, shared by the ReplicaSets of a rollout that stands still." },
        progressDeadlineSeconds = { type = "integer", minimum = 1, default = 600, description = "Seconds without progress after which the rollout counts as failed." },
      } },
      status = { type = "object", description = "Present state.", properties = {
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        replicas = { type = "integer", description = "Pods that exist." },
        updatedReplicas = { type = "integer", description = "Pods made from the present template." },
        readyReplicas = { type = "integer", description = "Pods that are ready." },
        availableReplicas = { type = "integer", description = "Pods that have been ready for minReadySeconds." },
        unavailableReplicas = { type = "integer", description = "Pods that are missing or not available." },
        terminatingReplicas = { type = "integer", description = "Pods that are ending." },
        collisionCount = { type = "integer", description = "Makes the name of a ReplicaSet unique when two hashes are equal." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "Available, Progressing, ReplicaFailure." },
      } },
    },
  },
}
