-- DaemonSet: one pod on every node that fits.
return {
  group = "apps", version = "v1", kind = "DaemonSet", plural = "daemonsets", shortNames = { "ds" }, categories = { "all" }, scope = "Namespaced",
  subresources = { status = {} },
  columns = {
    { name = "Desired", path = "status.desiredNumberScheduled", type = "integer", description = "Nodes that should run its pod." },
    { name = "Current", path = "status.currentNumberScheduled", type = "integer", description = "Nodes that should run it and have it." },
    { name = "Ready", path = "status.numberReady", type = "integer", description = "Nodes on which it is ready." },
    { name = "Up-to-date", path = "status.updatedNumberScheduled", type = "integer", description = "Nodes that have it from the present template." },
    { name = "Available", path = "status.numberAvailable", type = "integer", description = "Nodes on which it has been ready for minReadySeconds." },
    { name = "Node Selector", column = "template.nodeSelector", description = "Labels that its nodes have." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Containers", column = "template.containers", priority = 1, description = "Names of the containers." },
    { name = "Images", column = "template.images", priority = 1, description = "Their images." },
    { name = "Selector", column = "selector", priority = 1, description = "Labels of its pods." },
  },
  initialStatus = { currentNumberScheduled = 0, desiredNumberScheduled = 0, numberMisscheduled = 0, numberReady = 0 },
  schema = {
    hook = "labelsFromTemplate", description = "Runs one pod on every node that fits its template.",
    properties = {
      spec = { type = "object", rule = "daemonSetSpec", required = true, description = "Desired state.", properties = {
        selector = { ref = "LabelSelector", required = true, immutable = true, description = "Which pods belong to it; must match the template's labels." },
        template = { ref = "PodTemplateSpec", required = true, description = "Pods are made from this; a change starts a rollout. nodeSelector, affinity and tolerations say which nodes." },
        updateStrategy = { type = "object", hook = "daemonSetStrategy", default = { type = "RollingUpdate" }, description = "How pods are replaced.", properties = {
          type = { type = "string", enum = { "RollingUpdate", "OnDelete" }, default = "RollingUpdate", description = "RollingUpdate: node by node. OnDelete: when you delete the old pod." },
          rollingUpdate = { type = "object", description = "Settings of RollingUpdate.", properties = {
            maxUnavailable = { type = "string", format = "int-or-percent", description = "On how many nodes the pod may be missing; number or percentage (rounded up). Default 1." },
            maxSurge = { type = "string", format = "int-or-percent", description = "On how many nodes the new pod may run beside the old one; number or percentage (rounded up). Default 0." },
          } },
        } },
        minReadySeconds = { type = "integer", minimum = 0, zeroUnset = true, description = "Seconds that a pod must be ready to count as available." },
        revisionHistoryLimit = { type = "integer", minimum = 0, default = 10, description = "How many old templates are kept for going back." },
      } },
      status = { type = "object", description = "Present state.", properties = {
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        desiredNumberScheduled = { type = "integer", description = "Nodes that should run its pod." },
        currentNumberScheduled = { type = "integer", description = "Nodes that should run it and have it." },
        numberMisscheduled = { type = "integer", description = "Nodes that have it and should not." },
        numberReady = { type = "integer", description = "Nodes on which it is ready." },
        updatedNumberScheduled = { type = "integer", description = "Nodes that have it from the present template." },
        numberAvailable = { type = "integer", description = "Nodes on which it is available." },
        numberUnavailable = { type = "integer", description = "Nodes that should run it and where it is missing or not available." },
        collisionCount = { type = "integer", description = "Makes the name of a revision unique when two hashes are equal." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "None by now." },
      } },
    },
  },
}
