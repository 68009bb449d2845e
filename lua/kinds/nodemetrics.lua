-- NodeMetrics: what a node uses now. Volatile: collected by the API server from the agents when somebody asks.
return {
  group = "metrics.k8s.io", version = "v1beta1", kind = "NodeMetrics", plural = "nodes", scope = "Cluster", volatile = true, readOnly = true,
  columns = {
    { name = "CPU", path = "usage.cpu", description = "CPU in use." },
    { name = "Memory", path = "usage.memory", description = "Memory in use." },
    { name = "Window", path = "window", description = "The time that the CPU figure is about." },
  },
  schema = {
    description = "What a node uses at present.",
    properties = {
      timestamp = { type = "string", format = "date-time", description = "When it was measured." },
      window = { type = "string", description = "The CPU figure is the mean over this time before the timestamp." },
      usage = { type = "map", additionalProperties = { type = "string", format = "quantity" }, description = "cpu (cores) and memory (bytes of the working set)." },
      objects = { type = "list", description = "What this node has counted about objects of the cluster, as far as an autoscaler wants it: the requests that its proxies led to a Service.", items = { type = "object", properties = {
        kind = { type = "string", required = true, description = "Kind of the object." },
        namespace = { type = "string", required = true, description = "Its namespace." },
        name = { type = "string", required = true, description = "Its name." },
        metrics = { type = "list", description = "The figures.", items = { type = "object", properties = {
          name = { type = "string", required = true, description = "Name of the metric; X_per_second is the rate of the counter X_total." },
          value = { type = "string", format = "quantity", description = "Its value; absent while there is none to compare with." },
        } } },
      } } },
    },
  },
}
