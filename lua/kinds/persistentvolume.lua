-- PersistentVolume: a piece of storage that outlives pods, made by an administrator or by a provisioner.
local function unsupported(what)
  return { type = "any", refused = what .. " volumes are not supported; use hostPath, local, nfs or csi with driver sshfs.minik8s.io", description = "Not supported." }
end

return {
  version = "v1", kind = "PersistentVolume", plural = "persistentvolumes", shortNames = { "pv" }, scope = "Cluster",
  subresources = { status = {} },
  indexed = { "spec.claimRef.namespace", "spec.claimRef.name", "spec.csi.nodeStageSecretRef.name", "spec.csi.nodeStageSecretRef.namespace" },
  node = "metadata.annotations['minik8s.io/node']",
  matched = { "status.phase" },
  initialStatus = { phase = "Pending" },
  columns = {
    { name = "Capacity", path = "spec.capacity.storage", description = "What it holds." },
    { name = "Access Modes", column = "volume.modes", description = "How nodes may use it." },
    { name = "Reclaim Policy", path = "spec.persistentVolumeReclaimPolicy", description = "What happens when its claim is deleted." },
    { name = "Status", column = "volume.status", description = "Available, Bound, Released, Failed or Terminating." },
    { name = "Claim", column = "volume.claim", description = "Claim that it is bound to or reserved for." },
    { name = "StorageClass", path = "spec.storageClassName", description = "Class that it belongs to." },
    { name = "VolumeAttributesClass", path = "spec.volumeAttributesClassName", empty = "<unset>", description = "Not supported." },
    { name = "Reason", path = "status.reason", description = "Why it is in this state." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "VolumeMode", path = "spec.volumeMode", priority = 1, empty = "<unset>", description = "Filesystem." },
  },
  validators = { "volumeObject" },
  schema = {
    description = "A piece of storage in the cluster that outlives pods; one claim at a time is bound to it.",
    properties = {
      spec = { type = "object", message = "core.v1.PersistentVolumeSpec", required = true, description = "What it offers and where it lies; exactly one source.", properties = {
        capacity = { type = "map", required = true, additionalProperties = { type = "string", format = "quantity" },
          description = "storage: its size, compared with claims; a folder is not cut off at it." },
        accessModes = { type = "list", ["x-kubernetes-list-type"] = "set", maxItems = 4, items = { type = "string", enum = { "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod" } }, required = true, description = "How nodes may use it." },
        persistentVolumeReclaimPolicy = { type = "string", enum = { "Retain", "Delete" }, default = "Retain",
          description = "Retain: data and object stay when the claim is deleted. Delete: both go (provisioned volumes)." },
        storageClassName = { type = "string", description = "Only claims of this class are bound; empty: claims with \"\"." },
        claimRef = { ref = "ObjectReference", description = "Claim that it is bound to; set beforehand (namespace and name) it is reserved." },
        nodeAffinity = { type = "object", message = "core.v1.VolumeNodeAffinity", description = "Nodes that can reach it; pods that use it run there only.", properties = {
          required = { type = "object", message = "core.v1.NodeSelector", required = true, description = "One of the terms must match.", properties = {
            nodeSelectorTerms = { type = "list", required = true, minItems = 1, items = { ref = "NodeSelectorTerm" }, description = "The terms." } } } } },
        mountOptions = { type = "list", maxItems = 32, items = { type = "string" }, description = "Options of the mount, for nfs only." },
        volumeMode = { type = "string", enum = { "Filesystem" }, default = "Filesystem", description = "Filesystem; raw block volumes are not supported." },
        hostPath = { type = "object", message = "core.v1.HostPathVolumeSource", description = "A folder of whichever node runs the pod.", properties = {
          path = { type = "string", format = "absolute-path", required = true, description = "Path on the node." },
          type = { type = "string", default = "", keepEmpty = true, enum = { "", "DirectoryOrCreate", "Directory" }, description = "What must be there, or is made." } } },
        ["local"] = { type = "object", message = "core.v1.LocalVolumeSource", description = "A folder of the nodes that nodeAffinity names; it must exist.", properties = {
          path = { type = "string", format = "absolute-path", required = true, description = "Path on the node." },
          fsType = { type = "any", refused = "block devices are not mounted; mount the device on the node and name the folder", description = "Not supported." } } },
        nfs = { type = "object", message = "core.v1.NFSVolumeSource", description = "A folder of an NFS server, mounted by the kernel of each node that uses it.", properties = {
          server = { type = "string", required = true, description = "Name or address of the server." },
          path = { type = "string", format = "absolute-path", required = true, description = "Exported folder." },
          readOnly = { type = "boolean", zeroUnset = true, description = "Mounted read-only." } } },
        csi = { type = "object", message = "core.v1.CSIPersistentVolumeSource", rule = "csiSource",
          description = "Driver sshfs.minik8s.io: a folder of any machine with an SSH server, mounted through FUSE.", properties = {
          driver = { type = "string", required = true, enum = { "sshfs.minik8s.io" }, description = "sshfs.minik8s.io." },
          volumeHandle = { type = "string", required = true, description = "Identity of the volume, unique for the driver." },
          readOnly = { type = "boolean", zeroUnset = true, description = "Mounted read-only." },
          volumeAttributes = { type = "map", additionalProperties = { type = "string" },
            description = "host, path, hostKey (as in known_hosts, \"TYPE BASE64\"); optional port (22), user (root), folder (a part of path, made if absent)." },
          nodeStageSecretRef = { type = "object", message = "core.v1.SecretReference", description = "Secret with ssh-privatekey, the key that the server lets in.", properties = {
            name = { type = "string", required = true, description = "Name of the Secret." },
            namespace = { type = "string", required = true, description = "Its namespace." } } },
          fsType = { type = "any", refused = "sshfs has no file system type", description = "Not supported." },
          nodePublishSecretRef = { type = "any", refused = "use nodeStageSecretRef: the mount is one per node", description = "Not supported." },
          controllerPublishSecretRef = { type = "any", refused = "sshfs.minik8s.io has no controller part", description = "Not supported." },
          controllerExpandSecretRef = { type = "any", refused = "sshfs.minik8s.io has no controller part", description = "Not supported." },
          nodeExpandSecretRef = { type = "any", refused = "sshfs.minik8s.io does not grow volumes on nodes", description = "Not supported." },
        } },
        volumeAttributesClassName = { type = "any", refused = "volume attributes classes are not supported", description = "Not supported." },
        iscsi = unsupported("iscsi"), fc = unsupported("fc"), rbd = unsupported("rbd"), cephfs = unsupported("cephfs"), glusterfs = unsupported("glusterfs"),
        cinder = unsupported("cinder"), flexVolume = unsupported("flexVolume"), flocker = unsupported("flocker"),
        awsElasticBlockStore = unsupported("cloud"), gcePersistentDisk = unsupported("cloud"), azureDisk = unsupported("cloud"), azureFile = unsupported("cloud"),
        vsphereVolume = unsupported("cloud"), photonPersistentDisk = unsupported("cloud"), portworxVolume = unsupported("portworx"),
        quobyte = unsupported("quobyte"), scaleIO = unsupported("scaleIO"), storageos = unsupported("storageos"),
      } },
      status = { type = "object", message = "core.v1.PersistentVolumeStatus", description = "Present state.", properties = {
        phase = { type = "string", enum = { "Pending", "Available", "Bound", "Released", "Failed" }, description = "Available: free. Bound. Released: its claim is gone. Failed: its data could not be removed." },
        message = { type = "string", description = "Why, in words." },
        reason = { type = "string", description = "Why, in one word." },
        lastPhaseTransitionTime = { type = "string", format = "date-time", description = "When phase last changed." },
      } },
    },
  },
}
