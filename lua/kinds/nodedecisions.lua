-- NodeDecisions: what policies decided on a node lately, for the manager's record. Volatile: nothing of it is written to disk.
return {
  group = "minik8s.io", version = "v1", kind = "NodeDecisions", plural = "nodedecisions", singular = "nodedecisions", scope = "Cluster",
  volatile = true,
  columns = {
    { name = "Agent", path = "spec.agent", description = "Which start of the agent it is." },
    { name = "Decisions", path = "spec.decisions", count = true, type = "integer", description = "How many of its last decisions it holds." },
    { name = "Age", column = "age", description = "Time since the first decision." },
  },
  schema = {
    description = "The last decisions that policies took on the node of this name. Agents write it; minikubectl policy log shows what the manager took up.",
    properties = {
      spec = { type = "object", required = true, description = "The decisions.", properties = {
        agent = { type = "string", required = true, maxLength = 64, description = "Which start of the agent: its decisions are counted from 1." },
        decisions = { type = "list", maxItems = 64, description = "The last ones, oldest first.",
          items = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } },
        lists = { type = "list", maxItems = 64, description = "Who was asked, with settings.",
          items = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } },
        sources = { type = "list", maxItems = 64, description = "Texts of those who were asked.",
          items = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } },
      } },
    },
  },
}
