-- Named types of pods: PodSpec, the template in workloads, and the status that a node reports.
return {
  types = {
    PodTemplateSpec = {
      type = "object", message = "core.v1.PodTemplateSpec", description = "Pods are made from this.",
      properties = {
        metadata = { ref = "ObjectMeta", description = "Labels and annotations of the pods." },
        spec = { ref = "PodSpec", required = true, description = "Desired state of the pods." },
      },
    },
    PodSpec = {
      type = "object", message = "core.v1.PodSpec", hook = "podSpec", rule = "podSpec", description = "Desired state of a pod.",
      properties = {
        containers = { type = "list", mergeKey = "name", unique = true, maxItems = 128, required = true, minItems = 1, items = { ref = "Container" },
          description = "The containers; they share network and volumes." },
        initContainers = { type = "list", mergeKey = "name", unique = true, maxItems = 128, items = { ref = "Container" },
          description = "Containers that run one after another before the others; with restartPolicy Always they go on beside them." },
        ephemeralContainers = { type = "list", mergeKey = "name", unique = true, maxItems = 16, items = { ref = "EphemeralContainer" },
          description = "Containers added to a running pod to look into it (minikubectl debug), through the subresource ephemeralcontainers; they run once." },
        volumes = { type = "list", mergeKey = "name", unique = true, maxItems = 128, patch = "retainKeys", items = { ref = "Volume" },
          description = "Volumes that the containers may mount." },
        restartPolicy = { type = "string", enum = { "Always", "OnFailure", "Never" }, default = "Always", description = "When a container that ended is started again." },
        terminationGracePeriodSeconds = { type = "integer", minimum = 0, default = 30, description = "Seconds between the signal to end and the kill." },
        activeDeadlineSeconds = { type = "integer", minimum = 1, maximum = 2147483647, description = "Seconds from status.startTime after which the pod is stopped and failed (DeadlineExceeded); may only be set or lowered later." },
        nodeName = { type = "string", format = "dns-subdomain", description = "Node that runs the pod; set by the scheduler, cannot be changed after." },
        nodeSelector = { type = "map", ["x-kubernetes-map-type"] = "atomic", keyFormat = "label-key", additionalProperties = { type = "string", format = "label-value" },
          description = "Labels that the node must have." },
        affinity = { ref = "Affinity", description = "Nodes and neighbours that are needed or preferred." },
        tolerations = { type = "list", maxItems = 256, items = { ref = "Toleration" }, description = "Taints of nodes that the pod bears." },
        topologySpreadConstraints = { type = "list", mergeKey = "topologyKey", ["x-kubernetes-list-map-keys"] = { "topologyKey", "whenUnsatisfiable" }, rule = "spreadConstraints", items = { ref = "TopologySpreadConstraint" },
          description = "How evenly pods are spread." },
        schedulerName = { type = "string", default = "default-scheduler", description = "Who chooses the node." },
        priorityClassName = { type = "string", format = "dns-subdomain", description = "PriorityClass that gives the priority." },
        priority = { type = "integer", description = "Higher goes first and may displace lower." },
        preemptionPolicy = { type = "string", enum = { "PreemptLowerPriority", "Never" }, description = "Whether the pod may displace others." },
        schedulingGates = { type = "list", mergeKey = "name", unique = true, maxItems = 64, description = "The pod gets no node until all are removed; none can be added later.", items = {
          type = "object", message = "core.v1.PodSchedulingGate", properties = {
            name = { type = "string", format = "label-key", required = true, description = "Who holds the pod back." } } } },
        resourceClaims = { type = "any", refused = "resource claims are not supported", description = "Not supported." },
        resources = { type = "any", refused = "resources of the whole pod are not supported; set them per container", description = "Not supported." },
        runtimeClassName = { type = "string", refused = "runtime classes are not supported", description = "Not supported." },
        os = { type = "object", message = "core.v1.PodOS", description = "Operating system of the images.", properties = {
          name = { type = "string", required = true, enum = { "linux" }, description = "linux" } } },
        serviceAccountName = { type = "string", format = "dns-subdomain", description = "ServiceAccount that the pod acts as. Default: default." },
        serviceAccount = { type = "string", description = "Old name of serviceAccountName." },
        automountServiceAccountToken = { type = "boolean", description = "Whether the account's token appears in the containers, at /var/run/secrets/kubernetes.io/serviceaccount. Default: the account's word, else yes, if the account exists." },
        imagePullSecrets = { type = "list", mergeKey = "name", items = { ref = "LocalObjectReference" }, description = "Secrets with log-ins to image registries; all are offered, of two for one registry the first." },
        hostNetwork = { type = "boolean", zeroUnset = true, description = "Use the node's network instead of an own address." },
        hostPID = { type = "boolean", zeroUnset = true, description = "See the node's processes." },
        hostIPC = { type = "boolean", zeroUnset = true, description = "Share the node's System V IPC." },
        hostUsers = { type = "boolean", enum = { true }, description = "Only true: containers use the node's user ids." },
        shareProcessNamespace = { type = "boolean", description = "Containers of the pod see each other's processes; not together with hostPID." },
        hostname = { type = "string", format = "dns-label", description = "Host name inside; the pod's name if empty." },
        subdomain = { type = "string", format = "dns-label", description = "With a headless Service of this name the pod is reachable as HOSTNAME.SUBDOMAIN." },
        hostAliases = { type = "list", mergeKey = "ip", description = "Lines for /etc/hosts.", items = {
          type = "object", message = "core.v1.HostAlias", properties = {
            ip = { type = "string", format = "ip", required = true, description = "Address." },
            hostnames = { type = "list", items = { type = "string", format = "dns-subdomain" }, description = "Names for it." },
          } } },
        dnsPolicy = { type = "string", enum = { "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None" }, default = "ClusterFirst",
          description = "Where names are resolved: the cluster first, like the node (Default), or only dnsConfig (None)." },
        dnsConfig = { type = "object", message = "core.v1.PodDNSConfig", description = "Added to what dnsPolicy gives.", properties = {
          nameservers = { type = "list", maxItems = 3, items = { type = "string", format = "ip" }, description = "Addresses of name servers." },
          searches = { type = "list", maxItems = 32, items = { type = "string" }, description = "Search domains." },
          options = { type = "list", description = "Options of resolv.conf.", items = {
            type = "object", message = "core.v1.PodDNSConfigOption", properties = {
              name = { type = "string", required = true, description = "Name of the option, e.g. ndots." },
              value = { type = "string", description = "Its value." },
            } } },
        } },
        securityContext = { ref = "PodSecurityContext", default = {}, description = "User and rights of all containers." },
        readinessGates = { type = "list", maxItems = 32, description = "Conditions that must be True besides the containers' readiness.", items = {
          type = "object", message = "core.v1.PodReadinessGate", properties = {
            conditionType = { type = "string", format = "label-key", required = true, description = "Type of the condition." } } } },
      },
    },
    PodSecurityContext = {
      type = "object", message = "core.v1.PodSecurityContext", description = "User and rights of all containers of a pod; a container's own settings win.",
      properties = {
        runAsUser = { type = "integer", minimum = 0, maximum = 2147483647, description = "User id of the processes." },
        runAsGroup = { type = "integer", minimum = 0, maximum = 2147483647, description = "Group id of the processes." },
        runAsNonRoot = { type = "boolean", description = "Refuse to start containers that would run as user 0." },
        fsGroup = { type = "integer", minimum = 0, maximum = 2147483647, description = "Group that owns the volumes and that all processes belong to." },
        fsGroupChangePolicy = { type = "string", enum = { "Always", "OnRootMismatch" }, description = "When the owner of existing files is changed." },
        supplementalGroups = { type = "list", items = { type = "integer", minimum = 0, maximum = 2147483647 }, description = "Further groups of the processes." },
        supplementalGroupsPolicy = { type = "string", enum = { "Merge", "Strict" },
          description = "Whether groups from the image's /etc/group are added (Merge) or not (Strict)." },
        sysctls = { type = "list", mergeKey = "name", unique = true, maxItems = 32, rule = "sysctls",
          description = "Kernel parameters of the pod's own namespaces; only those that cannot harm the node or other pods.", items = {
          type = "object", message = "core.v1.Sysctl", properties = {
            name = { type = "string", required = true, description = "Name of the parameter." },
            value = { type = "string", required = true, description = "Its value." },
          } } },
      },
    },
    PodStatus = {
      type = "object", message = "core.v1.PodStatus", description = "Present state of the pod, reported by its node.",
      properties = {
        phase = { type = "string", enum = { "Pending", "Running", "Succeeded", "Failed", "Unknown" }, description = "Where the pod is in its life." },
        reason = { type = "string", description = "One word why it is in this state, e.g. Evicted." },
        message = { type = "string", description = "The same for people." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "PodScheduled, Initialized, ContainersReady, Ready." },
        hostIP = { type = "string", format = "ip", description = "Address of the node." },
        hostIPs = { type = "list", mergeKey = "ip", items = { ref = "Address" }, description = "All addresses of the node." },
        podIP = { type = "string", format = "ip", description = "Address of the pod." },
        podIPs = { type = "list", mergeKey = "ip", items = { ref = "Address" }, description = "All addresses of the pod." },
        startTime = { type = "string", format = "date-time", description = "When the node accepted the pod." },
        qosClass = { type = "string", enum = { "Guaranteed", "Burstable", "BestEffort" }, description = "Follows from requests and limits." },
        nominatedNodeName = { type = "string", description = "Node where room is being made for the pod." },
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        initContainerStatuses = { type = "list", items = { ref = "ContainerStatus" }, description = "State of each init container." },
        containerStatuses = { type = "list", items = { ref = "ContainerStatus" }, description = "State of each container." },
        ephemeralContainerStatuses = { type = "list", items = { ref = "ContainerStatus" }, description = "State of each ephemeral container." },
      },
    },
    Address = { type = "object", description = "An address.", properties = { ip = { type = "string", format = "ip", description = "The address." } } },
    ContainerStatus = {
      type = "object", message = "core.v1.ContainerStatus", description = "State of one container.",
      properties = {
        name = { type = "string", required = true, description = "Name of the container." },
        state = { ref = "ContainerState", description = "What it does now." },
        lastState = { ref = "ContainerState", description = "How it ended the last time." },
        ready = { type = "boolean", description = "Whether it may get traffic." },
        started = { type = "boolean", description = "Whether its startup probe has succeeded." },
        restartCount = { type = "integer", description = "How often it was restarted." },
        image = { type = "string", description = "Image that runs." },
        imageID = { type = "string", keepEmpty = true, description = "Digest of the image." },
        containerID = { type = "string", description = "Identity in the runtime." },
      },
    },
    ContainerState = {
      type = "object", message = "core.v1.ContainerState", description = "Exactly one of waiting, running, terminated.",
      properties = {
        waiting = { type = "object", message = "core.v1.ContainerStateWaiting", description = "Not yet running.", properties = {
          reason = { type = "string", description = "Why, e.g. ErrImagePull." },
          message = { type = "string", description = "The same for people." },
        } },
        running = { type = "object", message = "core.v1.ContainerStateRunning", description = "Running.", properties = {
          startedAt = { type = "string", format = "date-time", description = "Since when." } } },
        terminated = { type = "object", message = "core.v1.ContainerStateTerminated", description = "Ended.", properties = {
          exitCode = { type = "integer", required = true, description = "Exit status." },
          signal = { type = "integer", zeroUnset = true, description = "Signal that ended it." },
          reason = { type = "string", description = "Why, e.g. Completed, Error, OOMKilled." },
          message = { type = "string", description = "Last words of the container." },
          startedAt = { type = "string", format = "date-time", description = "When it was started." },
          finishedAt = { type = "string", format = "date-time", description = "When it ended." },
          containerID = { type = "string", description = "Identity in the runtime." },
        } },
      },
    },
  },
}
