-- Named types that every kind shares: metadata, selectors, conditions, references to objects.
return {
  types = {
    ObjectMeta = {
      type = "object", message = "meta.v1.ObjectMeta", rule = "metadata",
      description = "What every object carries: its name, its labels and what the server notes about it.",
      properties = {
        name = { type = "string", description = "Name, unique among the objects of this kind in the namespace. It cannot be changed." },
        generateName = { type = "string", description = "Beginning of a name to which the server appends five random characters, used if name is empty." },
        namespace = { type = "string", format = "dns-label", description = "Namespace that holds the object; empty for kinds of cluster scope." },
        labels = { type = "map", emptyUnset = true, keyFormat = "label-key", additionalProperties = { type = "string", format = "label-value" },
          description = "Keys and values by which objects are selected." },
        annotations = { type = "map", emptyUnset = true, keyFormat = "label-key", additionalProperties = { type = "string" },
          description = "Free notes for tools; not used for selecting." },
        uid = { type = "string", description = "Identity given by the server; a new object of the same name has another one." },
        resourceVersion = { type = "string", description = "Revision of the last change. Sent with a write it is a precondition." },
        generation = { type = "integer", zeroUnset = true, description = "Counts the changes of the desired state. Set by the server." },
        creationTimestamp = { type = "string", format = "date-time", description = "When the server created the object." },
        deletionTimestamp = { type = "string", format = "date-time", description = "Set when deletion was asked for: the time when it is due." },
        deletionGracePeriodSeconds = { type = "integer", description = "Seconds given for an orderly end after deletion was asked for." },
        finalizers = { type = "list", emptyUnset = true, ["x-kubernetes-list-type"] = "set", items = { type = "string", format = "label-key" },
          description = "The object goes only when this list is empty; each entry is removed by the one who is responsible for it." },
        ownerReferences = { type = "list", emptyUnset = true, mergeKey = "uid", items = { ref = "OwnerReference" },
          description = "Objects that this one belongs to; it is deleted after all of them are gone." },
        managedFields = { type = "any", description = "Bookkeeping of server-side apply." },
        selfLink = { type = "string", description = "No longer used." },
      },
    },
    OwnerReference = {
      type = "object", message = "meta.v1.OwnerReference", ["x-kubernetes-map-type"] = "atomic", description = "Points from an object to the one that it belongs to.",
      properties = {
        apiVersion = { type = "string", required = true, description = "Group and version of the owner." },
        kind = { type = "string", required = true, description = "Kind of the owner." },
        name = { type = "string", required = true, description = "Name of the owner, in the same namespace or of cluster scope." },
        uid = { type = "string", required = true, description = "Identity of the owner." },
        controller = { type = "boolean", description = "True for the one owner that manages this object." },
        blockOwnerDeletion = { type = "boolean", description = "With foreground deletion the owner waits for this object to go, or to lose its reference as another owner keeps it." },
      },
    },
    LabelSelector = {
      type = "object", message = "meta.v1.LabelSelector", ["x-kubernetes-map-type"] = "atomic",
      description = "Selects objects by label; all conditions must hold. An empty selector selects everything.",
      properties = {
        matchLabels = { type = "map", keyFormat = "label-key", additionalProperties = { type = "string", format = "label-value" },
          description = "Labels that must be present with exactly these values." },
        matchExpressions = { type = "list", items = { ref = "LabelSelectorRequirement" }, description = "Further conditions on labels." },
      },
    },
    LabelSelectorRequirement = {
      type = "object", message = "meta.v1.LabelSelectorRequirement", rule = "labelRequirement", description = "One condition on one label.",
      properties = {
        key = { type = "string", format = "label-key", required = true, description = "Label that the condition is about." },
        operator = { type = "string", required = true, enum = { "In", "NotIn", "Exists", "DoesNotExist" }, description = "How the label is compared." },
        values = { type = "list", items = { type = "string" }, description = "Values for In and NotIn; empty for the others." },
      },
    },
    Condition = {
      type = "object", message = "meta.v1.Condition", ["x-kubernetes-preserve-unknown-fields"] = true,
      description = "One statement about the present state of an object.",
      properties = {
        type = { type = "string", required = true, description = "What the statement is about, e.g. Ready." },
        status = { type = "string", required = true, enum = { "True", "False", "Unknown" }, description = "Whether it holds." },
        reason = { type = "string", keepEmpty = true, description = "One word for programs that tells why." },
        message = { type = "string", keepEmpty = true, description = "The same in words for people." },
        lastTransitionTime = { type = "string", format = "date-time", description = "When status last changed." },
        lastUpdateTime = { type = "string", format = "date-time", description = "When the condition was last looked at." },
        lastProbeTime = { type = "string", format = "date-time", description = "When the condition was last probed." },
        lastHeartbeatTime = { type = "string", format = "date-time", description = "When the reporter was last heard." },
        observedGeneration = { type = "integer", description = "The metadata.generation that the condition was set for." },
      },
    },
    ObjectReference = {
      type = "object", message = "core.v1.ObjectReference", ["x-kubernetes-map-type"] = "atomic", description = "Points to another object.",
      properties = {
        apiVersion = { type = "string", description = "Group and version of the object." },
        kind = { type = "string", description = "Kind of the object." },
        namespace = { type = "string", description = "Namespace of the object; empty for cluster scope." },
        name = { type = "string", description = "Name of the object." },
        uid = { type = "string", description = "Identity of the object." },
        resourceVersion = { type = "string", description = "Revision that was meant." },
        fieldPath = { type = "string", description = "Part of the object that is meant, e.g. spec.containers{web}." },
      },
    },
    LocalObjectReference = {
      type = "object", message = "core.v1.LocalObjectReference", ["x-kubernetes-map-type"] = "atomic", description = "Points to an object in the same namespace.",
      properties = { name = { type = "string", description = "Name of the object." } },
    },
  },
}
