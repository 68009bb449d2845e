-- Named types about where pods may run: affinity, tolerations, spreading.
return {
  types = {
    NodeSelectorRequirement = {
      type = "object", message = "core.v1.NodeSelectorRequirement", rule = "nodeRequirement", description = "One condition on a node's label or field.",
      properties = {
        key = { type = "string", required = true, description = "Label or field that the condition is about." },
        operator = { type = "string", required = true, enum = { "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt" }, description = "How it is compared." },
        values = { type = "list", items = { type = "string" }, description = "Values to compare with; one integer for Gt and Lt." },
      },
    },
    NodeSelectorTerm = {
      type = "object", message = "core.v1.NodeSelectorTerm", ["x-kubernetes-map-type"] = "atomic", description = "Conditions that must all hold; a term without any matches no node.",
      properties = {
        matchExpressions = { type = "list", items = { ref = "NodeSelectorRequirement" }, description = "Conditions on labels of the node." },
        matchFields = { type = "list", items = { ref = "NodeSelectorRequirement" }, description = "Conditions on fields of the node (metadata.name)." },
      },
    },
    Affinity = {
      type = "object", message = "core.v1.Affinity", description = "Which nodes and which neighbours the pod needs or prefers.",
      properties = {
        nodeAffinity = { type = "object", message = "core.v1.NodeAffinity", description = "About the node itself.", properties = {
          requiredDuringSchedulingIgnoredDuringExecution = { type = "object", message = "core.v1.NodeSelector", ["x-kubernetes-map-type"] = "atomic",
            description = "The node must match one of the terms.", properties = {
              nodeSelectorTerms = { type = "list", required = true, minItems = 1, items = { ref = "NodeSelectorTerm" }, description = "One of them must match." } } },
          preferredDuringSchedulingIgnoredDuringExecution = { type = "list", description = "Nodes that match are preferred by the sum of weights.", items = {
            type = "object", message = "core.v1.PreferredSchedulingTerm", properties = {
              weight = { type = "integer", required = true, minimum = 1, maximum = 100, description = "Added to the score of a node that matches." },
              preference = { ref = "NodeSelectorTerm", required = true, description = "The term." },
            } } },
        } },
        podAffinity = { ref = "PodAffinity", description = "About pods that must or should be near." },
        podAntiAffinity = { ref = "PodAffinity", description = "About pods that must not or should not be near." },
      },
    },
    PodAffinity = {
      type = "object", message = "core.v1.PodAffinity", description = "Conditions on other pods in the same topology domain.",
      properties = {
        requiredDuringSchedulingIgnoredDuringExecution = { type = "list", items = { ref = "PodAffinityTerm" }, description = "All must hold." },
        preferredDuringSchedulingIgnoredDuringExecution = { type = "list", description = "Nodes are preferred by the sum of weights.", items = {
          type = "object", message = "core.v1.WeightedPodAffinityTerm", properties = {
            weight = { type = "integer", required = true, minimum = 1, maximum = 100, description = "Added to the score." },
            podAffinityTerm = { ref = "PodAffinityTerm", required = true, description = "The term." },
          } } },
      },
    },
    PodAffinityTerm = {
      type = "object", message = "core.v1.PodAffinityTerm", rule = "affinityTerm", description = "Pods by label, and what counts as near.",
      properties = {
        labelSelector = { ref = "LabelSelector", description = "The pods that are meant." },
        topologyKey = { type = "string", format = "label-key", required = true, description = "Node label whose equal values make a domain, e.g. kubernetes.io/hostname." },
        namespaces = { type = "list", items = { type = "string", format = "dns-label" }, description = "Namespaces of those pods; the own one if this and namespaceSelector are empty." },
        namespaceSelector = { ref = "LabelSelector", description = "The same, by labels of the namespaces; {} means all." },
        matchLabelKeys = { type = "list", items = { type = "string", format = "label-key" }, description = "Labels whose value is taken from the pod itself: only pods with the same are meant." },
        mismatchLabelKeys = { type = "list", items = { type = "string", format = "label-key" }, description = "The same, for pods with another value, or none." },
      },
    },
    Toleration = {
      type = "object", message = "core.v1.Toleration", rule = "toleration", description = "Lets the pod run on nodes with a matching taint.",
      properties = {
        key = { type = "string", format = "label-key", description = "Key of the taint; empty with operator Exists matches all." },
        operator = { type = "string", enum = { "Equal", "Exists" }, description = "Equal compares value, Exists does not. Default: Equal." },
        value = { type = "string", description = "Value of the taint, for Equal." },
        effect = { type = "string", enum = { "NoSchedule", "PreferNoSchedule", "NoExecute" }, description = "Effect of the taint; empty matches all." },
        tolerationSeconds = { type = "integer", description = "How long a NoExecute taint is tolerated; for ever if empty." },
      },
    },
    TopologySpreadConstraint = {
      type = "object", message = "core.v1.TopologySpreadConstraint", rule = "spreadConstraint", description = "How evenly matching pods are spread over domains of nodes.",
      properties = {
        maxSkew = { type = "integer", required = true, minimum = 1, description = "Largest difference between the counts of two domains." },
        topologyKey = { type = "string", format = "label-key", required = true, description = "Node label whose equal values make a domain." },
        whenUnsatisfiable = { type = "string", required = true, enum = { "DoNotSchedule", "ScheduleAnyway" }, description = "Condition, or preference only." },
        labelSelector = { ref = "LabelSelector", description = "Pods that are counted." },
        minDomains = { type = "integer", minimum = 1, description = "Fewer domains count as having one with no pods." },
        matchLabelKeys = { type = "list", items = { type = "string", format = "label-key" }, description = "Labels whose value is taken from the pod itself: only pods with the same are meant." },
        nodeAffinityPolicy = { type = "string", enum = { "Honor", "Ignore" }, description = "Honor (if empty): only nodes that nodeSelector and node affinity allow count. Ignore: all." },
        nodeTaintsPolicy = { type = "string", enum = { "Honor", "Ignore" }, description = "Honor: nodes with a taint that the pod does not tolerate (also cordoned ones) do not count. Ignore (if empty): they do." },
      },
    },
  },
}
