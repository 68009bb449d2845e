-- Named types of access control.
return {
  types = {
    PolicyRule = {
      type = "object", message = "rbac.v1.PolicyRule", description = "Allows verbs on resources, or on paths.",
      properties = {
        verbs = { type = "list", required = true, minItems = 1, items = { type = "string" }, description = "get, list, watch, create, update, patch, delete, …; * for all." },
        apiGroups = { type = "list", items = { type = "string" }, description = "Groups of the resources; \"\" for the core group, * for all." },
        resources = { type = "list", items = { type = "string" }, description = "Resources, also RESOURCE/SUBRESOURCE; * for all." },
        resourceNames = { type = "list", items = { type = "string" }, description = "Only objects of these names; all if empty." },
        nonResourceURLs = { type = "list", items = { type = "string" }, description = "Paths outside the API's resources, e.g. /metrics; a final * matches the rest." },
      },
    },
    RoleRef = {
      type = "object", message = "rbac.v1.RoleRef", description = "The role that a binding gives.",
      properties = {
        apiGroup = { type = "string", default = "rbac.authorization.k8s.io", description = "rbac.authorization.k8s.io" },
        kind = { type = "string", required = true, enum = { "Role", "ClusterRole" }, description = "Role or ClusterRole." },
        name = { type = "string", required = true, description = "Name of the role." },
      },
    },
    Subject = {
      type = "object", message = "rbac.v1.Subject", hook = "subject", description = "Who gets the role.",
      properties = {
        kind = { type = "string", required = true, enum = { "User", "Group", "ServiceAccount" }, description = "User, Group or ServiceAccount." },
        apiGroup = { type = "string", keepEmpty = true, description = "rbac.authorization.k8s.io for User and Group; empty for ServiceAccount." },
        name = { type = "string", required = true, description = "Name of the user, group or account." },
        namespace = { type = "string", description = "Namespace of the ServiceAccount." },
      },
    },
  },
}
