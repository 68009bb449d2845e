-- ClusterRole: rights in all namespaces and on kinds of cluster scope.
return {
  group = "rbac.authorization.k8s.io", version = "v1", kind = "ClusterRole", plural = "clusterroles", scope = "Cluster", nameRule = "path",
  generation = {},
  columns = {
    { name = "Created At", path = "metadata.creationTimestamp", description = "When it was created." },
  },
  schema = {
    description = "Rights in all namespaces, or where a RoleBinding gives them, and on kinds of cluster scope.",
    properties = {
      rules = { type = "list", items = { ref = "PolicyRule" }, description = "What is allowed." },
    },
  },
}
