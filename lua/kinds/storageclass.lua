-- StorageClass: a kind of storage that claims ask for by name, and how its volumes are made.
return {
  group = "storage.k8s.io", version = "v1", kind = "StorageClass", plural = "storageclasses", shortNames = { "sc" }, scope = "Cluster",
  ownName = true, generation = {},
  columns = {
    { name = "Name", column = "class.name", format = "name", description = "Name; (default) for claims that name no class." },
    { name = "Provisioner", path = "provisioner", description = "Who makes the volumes." },
    { name = "ReclaimPolicy", path = "reclaimPolicy", description = "What its volumes do when their claim is deleted." },
    { name = "VolumeBindingMode", path = "volumeBindingMode", description = "Immediate, or when the first pod is placed." },
    { name = "AllowVolumeExpansion", column = "class.grows", description = "Whether claims may grow." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  validators = { "storageClass" },
  schema = {
    description = "A kind of storage. Annotation storageclass.kubernetes.io/is-default-class: \"true\" makes it the one of claims that name none.",
    properties = {
      provisioner = { type = "string", required = true, immutable = true,
        description = "minik8s.io/local-path: a folder of one node. minik8s.io/sshfs: a folder of an SSH server. kubernetes.io/no-provisioner: volumes are made by hand. Others: made by a program of yours." },
      parameters = { type = "map", immutable = true, additionalProperties = { type = "string" },
        description = "local-path: none. sshfs: host, path, hostKey, csi.storage.k8s.io/node-stage-secret-name and -namespace; optional port, user." },
      reclaimPolicy = { type = "string", immutable = true, enum = { "Delete", "Retain" }, default = "Delete", description = "persistentVolumeReclaimPolicy of its volumes." },
      volumeBindingMode = { type = "string", immutable = true, enum = { "Immediate", "WaitForFirstConsumer" }, default = "Immediate",
        description = "Immediate: bound when claimed. WaitForFirstConsumer: when a pod that uses the claim has got a node." },
      allowVolumeExpansion = { type = "boolean", description = "Claims may ask for more later." },
      mountOptions = { type = "list", maxItems = 32, items = { type = "string" }, refused = "mount options are those of the volume (spec.mountOptions, nfs only)", description = "Not supported." },
      allowedTopologies = { type = "list", immutable = true, description = "Nodes on which volumes may be made; one term must match.", items = {
        type = "object", message = "core.v1.TopologySelectorTerm", properties = {
          matchLabelExpressions = { type = "list", description = "All must hold.", items = {
            type = "object", message = "core.v1.TopologySelectorLabelRequirement", properties = {
              key = { type = "string", required = true, description = "Label of the node." },
              values = { type = "list", required = true, minItems = 1, items = { type = "string" }, description = "Values that it may have." } } } } } } },
    },
  },
}
