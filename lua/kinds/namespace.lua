-- Namespace: a room for names.
return {
  version = "v1", kind = "Namespace", plural = "namespaces", shortNames = { "ns" }, scope = "Cluster", nameRule = "label",
  subresources = { status = {}, finalize = {} },
  matched = { "status.phase" },
  initialStatus = { phase = "Active" },
  columns = {
    { name = "Status", path = "status.phase", description = "Active, or Terminating while its objects are deleted." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    hook = "namespace", description = "A room for names: objects of different namespaces may have the same name.",
    properties = {
      spec = { type = "object", description = "Desired state.", properties = {
        finalizers = { type = "list", items = { type = "string", format = "label-key" }, description = "The namespace goes only when this list is empty." } } },
      status = { type = "object", description = "Present state.", properties = {
        phase = { type = "string", enum = { "Active", "Terminating" }, description = "Active or Terminating." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "What still hinders the deletion." },
      } },
    },
  },
}
