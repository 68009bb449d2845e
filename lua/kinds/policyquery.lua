-- PolicyQuery: a question about the decisions that the manager has recorded. Volatile: nothing of it is written to disk.
return {
  group = "minik8s.io", version = "v1", kind = "PolicyQuery", plural = "policyqueries", shortNames = { "pq" }, scope = "Cluster",
  volatile = true,
  subresources = { status = {} },
  columns = {
    { name = "Action", path = "spec.action", description = "What is asked." },
    { name = "State", path = "status.state", empty = "Waiting", description = "Working, Done or Refused." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "A question about recorded decisions, answered by the manager in the status and deleted a minute later. See minikubectl policy log and test.",
    properties = {
      spec = { type = "object", required = true, immutable = true, description = "The question.", properties = {
        action = { type = "string", required = true, enum = { "log", "test", "show" },
          description = "log: the decisions themselves; test: take them again, by a candidate or by those who took them; show: a policy as it decides." },
        point = { type = "string", description = "Only decisions at this point." },
        name = { type = "string", description = "show: the policy, also a shipped one or one from a file." },
        kind = { type = "string", description = "Only decisions about objects of this kind." },
        object = { type = "string", description = "Only decisions about this object: NAMESPACE/NAME, or NAME; those about its containers, too. NAMESPACE/: about all objects there." },
        sinceSeconds = { type = "integer", minimum = 0, description = "Only decisions of so many last seconds. 0: test only checks the candidate." },
        limit = { type = "integer", minimum = 1, maximum = 10000, description = "log: the last so many. Default 100." },
        inputs = { type = "boolean", description = "log: with everything that the policies were given." },
        source = { type = "string", maxLength = 262144, description = "test: the candidate, text of a Lua file." },
        settings = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "test: settings of the candidate." },
      } },
      status = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "The answer.", properties = {
        state = { type = "string", description = "Working, Done or Refused." },
        message = { type = "string", description = "Why it was refused." },
        answer = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "The decisions, or what the test found." },
      } },
    },
  },
}
