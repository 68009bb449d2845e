-- Node: a machine that runs pods.
return {
  version = "v1", kind = "Node", plural = "nodes", shortNames = { "no" }, scope = "Cluster", everyNode = true,
  subresources = { status = {}, proxy = {} },
  matched = { "spec.unschedulable" },
  validators = { "node" },
  columns = {
    { name = "Status", column = "node.status", description = "Ready or NotReady, and whether new pods are kept off." },
    { name = "Roles", column = "node.roles", description = "From labels node-role.kubernetes.io/ROLE." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Version", path = "status.nodeInfo.kubeletVersion", description = "Version of the agent." },
    { name = "Internal-IP", column = "node.internalIP", priority = 1, description = "Address inside the cluster." },
    { name = "External-IP", column = "node.externalIP", priority = 1, description = "Address from outside." },
    { name = "OS-Image", path = "status.nodeInfo.osImage", priority = 1, empty = "<unknown>", description = "Operating system." },
    { name = "Kernel-Version", path = "status.nodeInfo.kernelVersion", priority = 1, empty = "<unknown>", description = "Kernel." },
    { name = "Container-Runtime", path = "status.nodeInfo.containerRuntimeVersion", priority = 1, empty = "<unknown>", description = "Runtime and its version." },
  },
  schema = {
    description = "A machine that runs pods.",
    properties = {
      spec = { type = "object", description = "Desired state.", properties = {
        podCIDR = { type = "string", format = "cidr", description = "Range of the addresses of its pods, within the cluster's pod range; it may share no /24 with another node's. Given by the server if empty, cannot be changed." },
        podCIDRs = { type = "list", ["x-kubernetes-list-type"] = "set", items = { type = "string", format = "cidr" }, description = "The same as a list." },
        providerID = { type = "string", description = "Identity at a provider of machines." },
        unschedulable = { type = "boolean", zeroUnset = true, description = "New pods are kept off (cordon)." },
        taints = { type = "list", maxItems = 256, rule = "taints", description = "Keep pods off that do not tolerate them.", items = {
          type = "object", message = "core.v1.Taint", properties = {
            key = { type = "string", format = "label-key", required = true, description = "Key of the taint." },
            value = { type = "string", format = "label-value", description = "Its value." },
            effect = { type = "string", required = true, enum = { "NoSchedule", "PreferNoSchedule", "NoExecute" }, description = "What happens to pods that do not tolerate it." },
            timeAdded = { type = "string", format = "date-time", description = "When it was added." },
          } } },
      } },
      status = { type = "object", description = "Present state, reported by its agent.", properties = {
        capacity = { type = "map", additionalProperties = { type = "string", format = "quantity" }, description = "What the machine has." },
        allocatable = { type = "map", additionalProperties = { type = "string", format = "quantity" }, description = "What pods may use of it." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "Ready, MemoryPressure, DiskPressure, PIDPressure." },
        addresses = { type = "list", mergeKey = "type", description = "Addresses and names of the machine.", items = {
          type = "object", message = "core.v1.NodeAddress", properties = {
            type = { type = "string", required = true, description = "InternalIP, ExternalIP or Hostname." },
            address = { type = "string", required = true, description = "The address." },
          } } },
        nodeInfo = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "Versions and identity of the machine.", properties = {
          kubeletVersion = { type = "string", description = "Version of the agent." },
          kubeProxyVersion = { type = "string", description = "The same; what forwards Services is part of the agent." },
          osImage = { type = "string", description = "Operating system." },
          kernelVersion = { type = "string", description = "Kernel." },
          containerRuntimeVersion = { type = "string", description = "Runtime and its version." },
          architecture = { type = "string", description = "Processor architecture." },
          operatingSystem = { type = "string", description = "linux" },
          machineID = { type = "string", description = "Identity of the installation." },
          bootID = { type = "string", description = "Identity of this run of the kernel." },
          systemUUID = { type = "string", description = "Identity of the hardware." },
        } },
        daemonEndpoints = { type = "object", description = "Where the agent listens.", properties = {
          kubeletEndpoint = { type = "object", description = "The agent's API.", properties = {
            Port = { type = "integer", description = "Port." } } } } },
        images = { type = "any", description = "Images on the machine." },
      } },
    },
  },
}
