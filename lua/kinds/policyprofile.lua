-- PolicyProfile: which policies decide. The object named "cluster" is in force everywhere, others in the namespaces that they name.
return {
  group = "minik8s.io", version = "v1", kind = "PolicyProfile", plural = "policyprofiles", shortNames = { "pp" }, scope = "Cluster", everyNode = true,
  subresources = { status = {} },
  columns = {
    { name = "Points", path = "spec.points", count = true, type = "integer", description = "Decisions that it sets." },
    { name = "State", path = "status.state", description = "Active, or why not." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Message", path = "status.message", priority = 1, description = "What is wrong with it." },
  },
  schema = {
    description = "Which policies decide in this cluster. The profile named cluster is in force; a point that it leaves out follows the built-in default.",
    properties = {
      spec = { type = "object", default = {}, description = "Desired state.", properties = {
        namespaces = { type = "list", items = { type = "string" },
          description = "Where it is in force, for the points that it sets: about objects of these namespaces. Not in the profile named cluster." },
        points = { type = "list", mergeKey = "point", unique = true, description = "One entry per decision.", items = {
          type = "object", properties = {
            point = { type = "string", required = true, description = "The decision, e.g. scheduler.score." },
            policies = { type = "list", mergeKey = "name", unique = true, description = "Policies in order; a point that takes one uses the first.", items = {
              type = "object", properties = {
                name = { type = "string", required = true, description = "Name of a Policy object or of a built-in policy." },
                mode = { type = "string", enum = { "Required", "Optional", "Disabled" },
                  description = "Required (default): when it fails the shipped default decides. Optional: it is left out of that decision. Disabled: listed, not asked." },
                weight = { type = "integer", minimum = 0, maximum = 1000, description = "Weight of its score. Default 1." },
                settings = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "Values for its settings; they win over the Policy's." },
              } } },
            shadow = { type = "string", description = "Name of a policy that decides too, without effect; minikubectl policy log lists the differences." },
            shadows = { type = "list", maxItems = 4, items = { type = "string" }, description = "Names of several that do." },
          } } },
      } },
      status = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "What became of it.", properties = {
        state = { type = "string", description = "Active, or why not." },
        message = { type = "string", description = "What is wrong with it." },
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        metrics = { type = "list", items = { type = "string" }, description = "Figures that the policies in force want to be collected: usage (of nodes), or names of the pods' own." },
        files = { type = "list", mergeKey = "name", description = "Policies of the manager's folder at points that nodes ask: so they reach the nodes.", items = {
          type = "object", properties = {
            name = { type = "string", description = "Name of the policy." },
            point = { type = "string", description = "The decision." },
            hash = { type = "string", description = "Hash of the version in use." },
            source = { type = "string", description = "Its text." },
          } } },
        points = { type = "list", mergeKey = "point", description = "All decisions with the policies that are known for them.", items = {
          type = "object", properties = {
            point = { type = "string", description = "The decision." },
            shape = { type = "string", description = "How it is asked: one, first, filter, score or order." },
            shadows = { type = "list", items = { type = "string" }, description = "Who decides too, without effect." },
            policies = { type = "list", mergeKey = "name", description = "Those that decide in their order, then the others.", items = {
              type = "object", properties = {
                name = { type = "string", description = "Name of the policy." },
                version = { type = "string", description = "Hash of the version in use." },
                from = { type = "string", description = "shipped, object (a Policy), or file (the manager's folder of policies)." },
                state = { type = "string", description = "Active, Shadow, Inactive, Disabled, Rejected or RolledBack." },
                weight = { type = "number", description = "Weight of its score." },
                mode = { type = "string", description = "Optional, or nothing: required." },
                settings = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "Its settings as they are in force." },
              } } },
          } } },
      } },
    },
  },
}
