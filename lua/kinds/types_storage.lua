-- Named types of storage: what a claim asks for (also as a template in pods and workloads), and modes.
return {
  types = {
    PersistentVolumeClaimSpec = {
      type = "object", message = "core.v1.PersistentVolumeClaimSpec", rule = "claimSpec", description = "What the volume must offer.",
      properties = {
        accessModes = { type = "list", ["x-kubernetes-list-type"] = "set", maxItems = 4, items = { type = "string", enum = { "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod" } }, required = true, description = "How nodes use the volume: ReadWriteOnce one node, ReadOnlyMany and ReadWriteMany several, ReadWriteOncePod one pod." },
        resources = { type = "object", message = "core.v1.VolumeResourceRequirements", required = true, description = "Size of the volume.", properties = {
          requests = { type = "map", required = true, additionalProperties = { type = "string", format = "quantity" },
            description = "storage: the least that the volume must hold; it may grow if the StorageClass allows." },
          limits = { type = "map", additionalProperties = { type = "string", format = "quantity" }, description = "A note; the size is requests.storage." },
        } },
        storageClassName = { type = "string", keepEmpty = true,
          description = "StorageClass that provides the volume. Empty (\"\"): only volumes without a class. Absent: the class marked as default." },
        selector = { ref = "LabelSelector", description = "Labels of the volumes that may be bound; such a claim is never provisioned." },
        volumeName = { type = "string", format = "dns-subdomain", description = "Volume that is bound; asked for by name, or set by the binder." },
        volumeMode = { type = "string", enum = { "Filesystem" }, default = "Filesystem", description = "Filesystem; raw block volumes are not supported." },
        dataSource = { type = "any", refused = "volumes that begin as a copy or snapshot are not supported", description = "Not supported." },
        dataSourceRef = { type = "any", refused = "volumes that begin as a copy or snapshot are not supported", description = "Not supported." },
        volumeAttributesClassName = { type = "any", refused = "volume attributes classes are not supported", description = "Not supported." },
      },
    },
  },
}
