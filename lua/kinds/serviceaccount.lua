-- ServiceAccount: an identity for pods.
return {
  version = "v1", kind = "ServiceAccount", plural = "serviceaccounts", shortNames = { "sa" }, scope = "Namespaced",
  generation = {},
  columns = {
    { name = "Secrets", path = "secrets", count = true, type = "integer", description = "Number of Secrets." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "An identity under which pods speak to the API server.",
    properties = {
      secrets = { type = "list", mergeKey = "name", items = { ref = "ObjectReference" }, description = "Secrets that pods of this account may use." },
      imagePullSecrets = { type = "list", items = { ref = "LocalObjectReference" }, description = "Log-ins to registries for pods of this account that name none." },
      automountServiceAccountToken = { type = "boolean", description = "Whether the token appears in the containers of pods that do not say." },
    },
  },
}
