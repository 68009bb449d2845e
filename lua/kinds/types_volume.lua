-- Named types for volumes of a pod. A source that minik8s cannot provide is refused: a pod must not start without its data.
return {
  types = {
    Volume = {
      type = "object", message = "core.v1.Volume", hook = "volume", rule = "volume",
      description = "A directory or file tree that containers of the pod can mount; exactly one source.",
      properties = {
        name = { type = "string", format = "dns-label", required = true, description = "Name, unique in the pod." },
        emptyDir = { type = "object", message = "core.v1.EmptyDirVolumeSource", description = "Empty at first, shared by the containers, gone with the pod.", properties = {
          medium = { type = "string", enum = { "", "Memory" }, description = "Memory for a file system in memory; else on disk." },
          sizeLimit = { type = "string", format = "quantity", description = "The most it may hold." },
        } },
        hostPath = { type = "object", message = "core.v1.HostPathVolumeSource", description = "A file or directory of the node.", properties = {
          path = { type = "string", format = "absolute-path", required = true, description = "Path on the node." },
          type = { type = "string", default = "", keepEmpty = true,
            enum = { "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice" },
            description = "What must be there, or is made; empty: no check." },
        } },
        configMap = { type = "object", message = "core.v1.ConfigMapVolumeSource", description = "One file per key of a ConfigMap; follows its changes.", properties = {
          name = { type = "string", required = true, description = "Name of the ConfigMap." },
          items = { type = "list", items = { ref = "KeyToPath" }, description = "Only these keys, at these paths." },
          defaultMode = { ref = "FileMode", default = 420, description = "Permission bits of the files." },
          optional = { type = "boolean", description = "If true the pod starts without it." },
        } },
        secret = { type = "object", message = "core.v1.SecretVolumeSource", description = "One file per key of a Secret, held in memory; follows its changes.", properties = {
          secretName = { type = "string", required = true, description = "Name of the Secret." },
          items = { type = "list", items = { ref = "KeyToPath" }, description = "Only these keys, at these paths." },
          defaultMode = { ref = "FileMode", default = 420, description = "Permission bits of the files." },
          optional = { type = "boolean", description = "If true the pod starts without it." },
        } },
        downwardAPI = { type = "object", message = "core.v1.DownwardAPIVolumeSource", description = "Fields of the pod as files.", properties = {
          items = { type = "list", items = { ref = "DownwardAPIVolumeFile" }, description = "The files." },
          defaultMode = { ref = "FileMode", default = 420, description = "Permission bits of the files." },
        } },
        projected = { type = "object", message = "core.v1.ProjectedVolumeSource", description = "Several sources in one directory.", properties = {
          sources = { type = "list", items = { ref = "VolumeProjection" }, description = "The sources." },
          defaultMode = { ref = "FileMode", default = 420, description = "Permission bits of the files." },
        } },
        persistentVolumeClaim = { type = "object", message = "core.v1.PersistentVolumeClaimVolumeSource", description = "The volume that is bound to a claim of this namespace.", properties = {
          claimName = { type = "string", format = "dns-subdomain", required = true, description = "Name of the PersistentVolumeClaim." },
          readOnly = { type = "boolean", zeroUnset = true, description = "Containers may only read it." },
        } },
        ephemeral = { type = "object", message = "core.v1.EphemeralVolumeSource", description = "A claim of the pod's own, POD-VOLUME, made and deleted with it.", properties = {
          volumeClaimTemplate = { type = "object", message = "core.v1.PersistentVolumeClaimTemplate", required = true, description = "The claim.", properties = {
            metadata = { type = "object", message = "meta.v1.ObjectMeta", description = "labels and annotations of the claim.", properties = {
              labels = { type = "map", keyFormat = "label-key", additionalProperties = { type = "string", format = "label-value" }, description = "Labels of the claim." },
              annotations = { type = "map", keyFormat = "label-key", additionalProperties = { type = "string" }, description = "Annotations of the claim." } } },
            spec = { ref = "PersistentVolumeClaimSpec", required = true, description = "What the claim asks for." },
          } },
        } },
        csi = { type = "any", refused = "inline CSI volumes are not supported; use a PersistentVolume with csi and a claim", description = "Not supported." },
        image = { type = "any", refused = "image volumes are not supported", description = "Not supported." },
        nfs = { type = "any", refused = "nfs volumes of a pod are not supported; use a PersistentVolume with nfs and a claim", description = "Not supported." },
        iscsi = { type = "any", refused = "iscsi volumes are not supported", description = "Not supported." },
        fc = { type = "any", refused = "fc volumes are not supported", description = "Not supported." },
        rbd = { type = "any", refused = "rbd volumes are not supported", description = "Not supported." },
        cephfs = { type = "any", refused = "cephfs volumes are not supported", description = "Not supported." },
        glusterfs = { type = "any", refused = "glusterfs volumes are not supported by this version", description = "Not supported by this version." },
        cinder = { type = "any", refused = "cinder volumes are not supported", description = "Not supported." },
        flexVolume = { type = "any", refused = "flexVolume is not supported", description = "Not supported." },
        flocker = { type = "any", refused = "flocker volumes are not supported", description = "Not supported." },
        gitRepo = { type = "any", refused = "gitRepo volumes are not supported; clone in an init container", description = "Not supported." },
        awsElasticBlockStore = { type = "any", refused = "cloud disks are not supported", description = "Not supported." },
        gcePersistentDisk = { type = "any", refused = "cloud disks are not supported", description = "Not supported." },
        azureDisk = { type = "any", refused = "cloud disks are not supported", description = "Not supported." },
        azureFile = { type = "any", refused = "cloud disks are not supported", description = "Not supported." },
        vsphereVolume = { type = "any", refused = "cloud disks are not supported", description = "Not supported." },
        photonPersistentDisk = { type = "any", refused = "cloud disks are not supported", description = "Not supported." },
        portworxVolume = { type = "any", refused = "portworx volumes are not supported", description = "Not supported." },
        quobyte = { type = "any", refused = "quobyte volumes are not supported", description = "Not supported." },
        scaleIO = { type = "any", refused = "scaleIO volumes are not supported", description = "Not supported." },
        storageos = { type = "any", refused = "storageos volumes are not supported", description = "Not supported." },
      },
    },
    FileMode = { type = "integer", minimum = 0, maximum = 511, description = "Permission bits as a number; 420 is 0644." },
    KeyToPath = {
      type = "object", message = "core.v1.KeyToPath", rule = "keyToPath", description = "One key as a file.",
      properties = {
        key = { type = "string", required = true, description = "Key of the object." },
        path = { type = "string", required = true, description = "Path of the file in the volume." },
        mode = { ref = "FileMode", description = "Permission bits of this file." },
      },
    },
    DownwardAPIVolumeFile = {
      type = "object", message = "core.v1.DownwardAPIVolumeFile", rule = "keyToPath", description = "A field of the pod as a file.",
      properties = {
        path = { type = "string", required = true, description = "Path of the file in the volume." },
        fieldRef = { ref = "ObjectFieldSelector", description = "A field of the pod; also all metadata.labels or metadata.annotations." },
        resourceFieldRef = { ref = "ResourceFieldSelector", description = "A request or limit of a container." },
        mode = { ref = "FileMode", description = "Permission bits of this file." },
      },
    },
    VolumeProjection = {
      type = "object", message = "core.v1.VolumeProjection", description = "One source of a projected volume.",
      properties = {
        configMap = { ref = "ObjectProjection", description = "Keys of a ConfigMap." },
        secret = { ref = "ObjectProjection", description = "Keys of a Secret." },
        downwardAPI = { type = "object", message = "core.v1.DownwardAPIProjection", description = "Fields of the pod.", properties = {
          items = { type = "list", items = { ref = "DownwardAPIVolumeFile" }, description = "The files." } } },
        serviceAccountToken = { type = "object", message = "core.v1.ServiceAccountTokenProjection",
          description = "A token of the pod's service account, held in memory and renewed before it ends.", properties = {
          path = { type = "string", required = true, rule = "volumePath", description = "Path of the file in the volume." },
          expirationSeconds = { type = "integer", minimum = 600, maximum = 4294967296, default = 3600, description = "How long a token is good; at least 600." },
          audience = { type = "string", description = "Who the token is for, and nobody else accepts it: they ask the API server with a TokenReview. Default: the API server." },
        } },
        clusterTrustBundle = { type = "object", message = "core.v1.ClusterTrustBundleProjection",
          description = "The certificate that the API server is known by.", properties = {
          signerName = { type = "string", required = true, enum = { "kubernetes.io/kube-apiserver-serving" }, description = "Whose certificates: the API server's." },
          path = { type = "string", required = true, rule = "volumePath", description = "Path of the file in the volume." },
          name = { type = "any", refused = "single bundles are not supported; use signerName", description = "Not supported." },
          labelSelector = { type = "any", refused = "single bundles are not supported; use signerName", description = "Not supported." },
          optional = { type = "any", refused = "the bundle is always there; leave optional out", description = "Not supported." },
        } },
      },
    },
    ObjectProjection = {
      type = "object", message = "core.v1.ConfigMapProjection", description = "Keys of a ConfigMap or Secret.",
      properties = {
        name = { type = "string", required = true, description = "Name of the object." },
        items = { type = "list", items = { ref = "KeyToPath" }, description = "Only these keys, at these paths." },
        optional = { type = "boolean", description = "If true the pod starts without it." },
      },
    },
  },
}
