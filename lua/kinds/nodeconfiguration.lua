-- NodeConfiguration: settings of one agent, read from a file beside its Node; never stored in the cluster.
return {
  group = "minik8s.io", version = "v1", kind = "NodeConfiguration", plural = "nodeconfigurations", scope = "Cluster", served = false,
  schema = {
    description = "Settings of one node's agent. A file with this and a Node object is given to minik8s node --config FILE.",
    properties = {
      server = { type = "string", pattern = "^https?://", description = "Address of the API server, e.g. https://10.0.0.1:6443. A change needs a restart." },
      address = { type = "string", format = "ip", description = "Address of this node inside the cluster; that of the interface if empty. A change needs a restart." },
      interface = { type = "string", maxLength = 15, description = "Network interface that leads to the other nodes; that of the default route if empty. A change needs a restart." },
      port = { type = "integer", format = "port", default = 10250, description = "Port of the agent's API. A change needs a restart." },
      network = { type = "string", enum = { "routes", "vxlan", "auto" }, default = "auto",
        description = "How pods of other nodes are reached: by plain routes (all nodes on one subnet), through VXLAN, or (auto) through VXLAN only where a router lies between. Changes live." },
      runtime = { type = "object", default = {}, description = "Container runtime. A change needs a restart.", properties = {
        type = { type = "string", enum = { "podman" }, default = "podman", description = "Which runtime." },
        socket = { type = "string", description = "Path at which podman's service, which the agent starts, listens; in the storage folder if empty." },
      } },
      storage = { type = "object", default = {}, description = "Where the agent keeps its files. A change needs a restart.", properties = {
        path = { type = "string", format = "absolute-path", default = "/var/lib/minik8s/node", description = "Folder for pods, volumes, logs and images." },
        driver = { type = "string", enum = { "overlay", "vfs" }, description = "How podman stores images; overlay if empty." },
      } },
      reserved = { type = "map", rule = "resourceList", additionalProperties = { type = "string", format = "quantity" },
        description = "What is kept for the machine itself, e.g. cpu: 100m, memory: 256Mi: allocatable is capacity less this." },
      capacity = { type = "map", rule = "resourceList", additionalProperties = { type = "string", format = "quantity" },
        description = "Replaces what was found on the machine, e.g. cpu, memory, pods." },
      logs = { type = "object", default = {}, description = "Rotation of container logs.", properties = {
        maxSize = { type = "string", format = "quantity", default = "10Mi", description = "Size at which a log file is turned over. Changes live." },
        maxFiles = { type = "integer", minimum = 1, maximum = 100, default = 5, description = "How many files are kept per container, the one that grows among them. Changes live." },
      } },
      maxPods = { type = "integer", minimum = 1, maximum = 1000, default = 110, description = "Most pods on this node." },
      heartbeatSeconds = { type = "integer", minimum = 1, maximum = 60, default = 1, description = "Seconds between heart-beats." },
    },
  },
}
