-- StatefulSet: pods with names, addresses and storage of their own that stay theirs.
return {
  group = "apps", version = "v1", kind = "StatefulSet", plural = "statefulsets", shortNames = { "sts" }, categories = { "all" }, scope = "Namespaced",
  validators = { "statefulSet" },
  subresources = { status = {}, scale = { specReplicasPath = ".spec.replicas", statusReplicasPath = ".status.replicas", labelSelectorPath = ".spec.selector" } },
  columns = {
    { name = "Ready", column = "replicas.ready", description = "Pods that are ready, of those wanted." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Containers", column = "template.containers", priority = 1, description = "Names of the containers." },
    { name = "Images", column = "template.images", priority = 1, description = "Their images." },
  },
  initialStatus = { replicas = 0, availableReplicas = 0 },
  schema = {
    hook = "labelsFromTemplate", description = "Runs pods NAME-0, NAME-1 … that keep their name, their address by name and their volumes.",
    properties = {
      spec = { type = "object", rule = "statefulSetSpec", required = true, description = "Desired state.", properties = {
        replicas = { type = "integer", minimum = 0, default = 1, description = "How many pods." },
        selector = { ref = "LabelSelector", required = true, description = "Which pods belong to it; must match the template's labels." },
        template = { ref = "PodTemplateSpec", required = true, description = "Pods are made from this; a change starts a rollout." },
        serviceName = { type = "string", description = "Headless Service under which the pods have names: POD.SERVICE." },
        podManagementPolicy = { type = "string", enum = { "OrderedReady", "Parallel" }, default = "OrderedReady",
          description = "OrderedReady: one after the other, each waits for the one before. Parallel: all at once." },
        updateStrategy = { type = "object", hook = "statefulSetStrategy", default = { type = "RollingUpdate" }, description = "How pods are replaced.", properties = {
          type = { type = "string", enum = { "RollingUpdate", "OnDelete" }, default = "RollingUpdate",
            description = "RollingUpdate: from the highest ordinal down. OnDelete: when you delete the old pod." },
          rollingUpdate = { type = "object", description = "Settings of RollingUpdate.", properties = {
            partition = { type = "integer", minimum = 0, description = "Pods with an ordinal below ordinals.start + partition keep the old template." },
            maxUnavailable = { type = "string", format = "int-or-percent", description = "How many pods may be missing during the update; number or percentage (rounded up). Default 1." },
          } },
        } },
        volumeClaimTemplates = { type = "list", maxItems = 32, description = "Claims that every pod gets, named TEMPLATE-POD; they outlive the pod.", items = {
          type = "object", message = "core.v1.PersistentVolumeClaim", description = "One claim for each pod.", properties = {
            apiVersion = { type = "string", enum = { "v1" }, description = "v1, if it is given." },
            kind = { type = "string", enum = { "PersistentVolumeClaim" }, description = "PersistentVolumeClaim, if it is given." },
            metadata = { ref = "ObjectMeta", required = true, description = "Its name is the volume's name in the template." },
            spec = { ref = "PersistentVolumeClaimSpec", required = true, description = "What each claim asks for." },
            status = { type = "any", description = "Ignored; tools that write whole objects send it." },
          } } },
        persistentVolumeClaimRetentionPolicy = { type = "object", hook = "claimRetention", default = {},
          description = "What becomes of the claims.", properties = {
            whenDeleted = { type = "string", enum = { "Retain", "Delete" }, default = "Retain", description = "When the StatefulSet is deleted." },
            whenScaled = { type = "string", enum = { "Retain", "Delete" }, default = "Retain", description = "When their pod is scaled away." },
          } },
        ordinals = { type = "object", description = "Numbers of the pods.", properties = {
          start = { type = "integer", minimum = 0, zeroUnset = true, description = "Number of the first pod. Default 0." } } },
        minReadySeconds = { type = "integer", minimum = 0, zeroUnset = true, description = "Seconds that a pod must be ready to count as available." },
        revisionHistoryLimit = { type = "integer", minimum = 0, default = 10, description = "How many old templates are kept for going back." },
      } },
      status = { type = "object", description = "Present state.", properties = {
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        replicas = { type = "integer", description = "Pods that exist." },
        readyReplicas = { type = "integer", description = "Pods that are ready." },
        availableReplicas = { type = "integer", description = "Pods that have been ready for minReadySeconds." },
        currentReplicas = { type = "integer", description = "Pods of currentRevision." },
        updatedReplicas = { type = "integer", description = "Pods of updateRevision." },
        currentRevision = { type = "string", description = "Revision of the pods that are not updated yet." },
        updateRevision = { type = "string", description = "Revision of the present template." },
        collisionCount = { type = "integer", description = "Makes the name of a revision unique when two hashes are equal." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "None by now." },
      } },
    },
  },
}
