-- Role: rights in one namespace.
return {
  group = "rbac.authorization.k8s.io", version = "v1", kind = "Role", plural = "roles", scope = "Namespaced", nameRule = "path",
  generation = {},
  columns = {
    { name = "Created At", path = "metadata.creationTimestamp", description = "When it was created." },
  },
  schema = {
    description = "Rights on objects of its namespace.",
    properties = {
      rules = { type = "list", items = { ref = "PolicyRule" }, description = "What is allowed." },
    },
  },
}
