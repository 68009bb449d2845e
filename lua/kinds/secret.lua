-- Secret: what must not be read by everyone; encrypted at rest.
return {
  version = "v1", kind = "Secret", plural = "secrets", scope = "Namespaced", sealed = true,
  generation = {},
  matched = { "type" },
  validators = { "secret" },
  columns = {
    { name = "Type", path = "type", description = "What kind of secret it is." },
    { name = "Data", path = "data", count = true, type = "integer", description = "Number of keys." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    hook = "secret", description = "Passwords, keys and the like, used as environment variables or files. Encrypted on disk.",
    properties = {
      type = { type = "string", immutable = true, default = "Opaque", description = "Opaque, or a type that asks for certain keys, e.g. kubernetes.io/tls. kubernetes.io/service-account-token: the server fills in a token without an end for the account that the annotation kubernetes.io/service-account.name names." },
      data = { type = "map", keyFormat = "config-key", additionalProperties = { type = "string", format = "byte" }, description = "Keys and bytes in base64." },
      stringData = { type = "map", keyFormat = "config-key", additionalProperties = { type = "string" }, description = "Keys and texts; moved into data when written." },
      immutable = { type = "boolean", description = "If true data cannot be changed any more." },
    },
  },
}
