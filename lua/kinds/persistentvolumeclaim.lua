-- PersistentVolumeClaim: what a user asks of storage; a volume is bound to it that pods of the namespace mount.
return {
  version = "v1", kind = "PersistentVolumeClaim", plural = "persistentvolumeclaims", shortNames = { "pvc" }, scope = "Namespaced",
  subresources = { status = {} },
  matched = { "spec.volumeName", "status.phase" },
  initialStatus = { phase = "Pending" },
  columns = {
    { name = "Status", column = "claim.status", description = "Pending, Bound, Lost, or Terminating while a pod still uses it." },
    { name = "Volume", path = "spec.volumeName", description = "Volume that is bound." },
    { name = "Capacity", column = "claim.capacity", description = "What the bound volume holds." },
    { name = "Access Modes", column = "claim.modes", description = "What the bound volume offers." },
    { name = "StorageClass", path = "spec.storageClassName", description = "Class that provides the volume." },
    { name = "VolumeAttributesClass", path = "spec.volumeAttributesClassName", empty = "<unset>", description = "Not supported." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "VolumeMode", path = "spec.volumeMode", priority = 1, empty = "<unset>", description = "Filesystem." },
  },
  validators = { "claim" },
  schema = {
    description = "A request for storage; bound to one PersistentVolume, it outlives the pods that mount it.",
    properties = {
      spec = { ref = "PersistentVolumeClaimSpec", required = true, description = "What is asked for." },
      status = { type = "object", message = "core.v1.PersistentVolumeClaimStatus", description = "Present state.", properties = {
        phase = { type = "string", enum = { "Pending", "Bound", "Lost" }, description = "Pending: no volume yet. Bound. Lost: the bound volume is gone." },
        accessModes = { type = "list", ["x-kubernetes-list-type"] = "set", maxItems = 4, items = { type = "string", enum = { "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod" } }, description = "Modes of the bound volume." },
        capacity = { type = "map", additionalProperties = { type = "string", format = "quantity" }, description = "What the bound volume holds." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" },
          description = "Mountable: False says why the volume cannot be mounted by the node that tried." },
      } },
    },
  },
}
