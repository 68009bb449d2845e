-- ClusterRoleBinding: gives a role everywhere.
return {
  group = "rbac.authorization.k8s.io", version = "v1", kind = "ClusterRoleBinding", plural = "clusterrolebindings", scope = "Cluster", nameRule = "path",
  generation = {},
  columns = {
    { name = "Role", column = "binding.role", description = "The role that is given." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Users", column = "binding.users", priority = 1, description = "Users that get it." },
    { name = "Groups", column = "binding.groups", priority = 1, description = "Groups that get it." },
    { name = "ServiceAccounts", column = "binding.accounts", priority = 1, description = "Accounts that get it." },
  },
  schema = {
    description = "Gives the rights of a ClusterRole everywhere.",
    properties = {
      roleRef = { ref = "RoleRef", required = true, immutable = true, description = "The role that is given; cannot be changed." },
      subjects = { type = "list", items = { ref = "Subject" }, description = "Who gets it." },
    },
  },
}
