-- LimitRange: what one container, pod or claim of a namespace may ask for, and what it gets when it does not ask.
local function amounts(text)
  return { type = "map", maxProperties = 100, additionalProperties = { type = "string", format = "quantity" }, description = text }
end
return {
  version = "v1", kind = "LimitRange", plural = "limitranges", shortNames = { "limits" }, scope = "Namespaced",
  generation = {},
  columns = { { name = "Created At", path = "metadata.creationTimestamp", description = "When it was made." } },
  validators = { "limitRange" },
  schema = {
    description = "Defaults and bounds for what is created in its namespace. What exists is not touched.",
    properties = {
      spec = { type = "object", default = {}, message = "core.v1.LimitRangeSpec", description = "Desired state.", properties = {
        limits = { type = "list", required = true, maxItems = 64, description = "One entry for each type.", items = {
          type = "object", message = "core.v1.LimitRangeItem", hook = "limitRangeItem", properties = {
            type = { type = "string", required = true, enum = { "Container", "Pod", "PersistentVolumeClaim" },
              description = "Container: each container; Pod: the sum over its containers; PersistentVolumeClaim: the storage that is requested." },
            max = amounts("The most that may be requested or set as limit."),
            min = amounts("The least that must be requested."),
            default = amounts("Limit of a container that sets none; max if absent."),
            defaultRequest = amounts("Request of a container that makes none; default, or min, if absent."),
            maxLimitRequestRatio = amounts("How many times its request a limit may be."),
          } } },
      } },
    },
  },
}
