-- Policy: one decision of the control plane, written in Lua.
return {
  group = "minik8s.io", version = "v1", kind = "Policy", plural = "policies", shortNames = { "pol" }, scope = "Cluster", everyNode = true,
  subresources = { status = {} },
  matched = { "spec.point" },
  columns = {
    { name = "Point", path = "spec.point", description = "Decision that it takes part in." },
    { name = "State", path = "status.state", empty = "Staged", description = "Staged, Active, Shadow, Inactive, Rejected or RolledBack." },
    { name = "Decisions", path = "status.decisions", type = "integer", description = "How often it was asked." },
    { name = "Failures", path = "status.failures", type = "integer", description = "How often it failed." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Message", path = "status.message", priority = 1, description = "Why it was rejected or rolled back." },
  },
  schema = {
    description = "One decision of the control plane as a Lua file. It takes effect when a PolicyProfile names it.",
    properties = {
      spec = { type = "object", required = true, description = "Desired state.", properties = {
        point = { type = "string", required = true, immutable = true, pattern = "^[a-z][a-zA-Z]*(\\.[a-z][a-zA-Z]*)*$",
          description = "Decision that the policy takes part in, e.g. scheduler.score; must agree with the source." },
        source = { type = "string", required = true, maxLength = 262144, description = "Text of the Lua file; returns one table (see policies/README.md)." },
        settings = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "Values for the settings that the file declares." },
      } },
      status = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "What became of it.", properties = {
        state = { type = "string", description = "Staged, Active, Shadow, Inactive, Rejected or RolledBack." },
        message = { type = "string", description = "Why it was rejected or rolled back." },
        hash = { type = "string", description = "Hash of the version that is active." },
        version = { type = "integer", description = "Number of the version that is active." },
        history = { type = "list", description = "The last versions, newest first.", items = {
          type = "object", properties = {
            hash = { type = "string", description = "Hash of the version." },
            state = { type = "string", description = "Current, Kept, or Bad." },
          } } },
        decisions = { type = "integer", description = "How often its kept versions had been asked when this status was written." },
        failures = { type = "integer", description = "How often they had failed." },
        lastFailureTime = { type = "string", format = "date-time", description = "When it failed last." },
        lastFailureMessage = { type = "string", description = "Which version that was, and why." },
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "Statements about the policy." },
      } },
    },
  },
}
