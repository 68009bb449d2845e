-- Lease: heart-beats and leadership. Those that the cluster renews for itself are never written to disk: an idle cluster writes nothing.
return {
  group = "coordination.k8s.io", version = "v1", kind = "Lease", plural = "leases", scope = "Namespaced",
  volatile = { "kube-node-lease", "kube-system/minik8s-manager" },
  columns = {
    { name = "Holder", path = "spec.holderIdentity", description = "Who holds it." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "Held by one at a time and renewed by its holder: heart-beats of nodes, leadership of managers.",
    properties = {
      spec = { type = "object", description = "The lease.", properties = {
        holderIdentity = { type = "string", description = "Who holds it." },
        leaseDurationSeconds = { type = "integer", minimum = 1, description = "Seconds after a renewal when it counts as lost." },
        acquireTime = { type = "string", format = "date-time", description = "When its holder took it." },
        renewTime = { type = "string", format = "date-time", description = "When its holder renewed it last." },
        leaseTransitions = { type = "integer", minimum = 0, description = "How often the holder changed." },
      } },
    },
  },
}
