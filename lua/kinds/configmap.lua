-- ConfigMap: settings for pods.
return {
  version = "v1", kind = "ConfigMap", plural = "configmaps", shortNames = { "cm" }, scope = "Namespaced",
  generation = {},
  validators = { "configMap" },
  columns = {
    { name = "Data", column = "configmap.data", type = "integer", description = "Number of keys." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "Settings for pods, used as environment variables or files.",
    properties = {
      data = { type = "map", keyFormat = "config-key", additionalProperties = { type = "string" }, description = "Keys and texts." },
      binaryData = { type = "map", keyFormat = "config-key", additionalProperties = { type = "string", format = "byte" }, description = "Keys and bytes in base64." },
      immutable = { type = "boolean", description = "If true data cannot be changed any more." },
    },
  },
}
