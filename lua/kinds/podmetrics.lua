-- PodMetrics: what a pod's containers use now. Volatile: collected by the API server from the agents when somebody asks.
return {
  group = "metrics.k8s.io", version = "v1beta1", kind = "PodMetrics", plural = "pods", scope = "Namespaced", volatile = true, readOnly = true,
  columns = {
    { name = "CPU", path = "containers[0].usage.cpu", description = "CPU in use by the first container." },
    { name = "Memory", path = "containers[0].usage.memory", description = "Its memory in use." },
    { name = "Window", path = "window", description = "The time that the CPU figure is about." },
  },
  schema = {
    description = "What a pod uses at present.",
    properties = {
      timestamp = { type = "string", format = "date-time", description = "When it was measured." },
      window = { type = "string", description = "The CPU figure is the mean over this time before the timestamp." },
      containers = { type = "list", description = "Figures of each container.", items = { type = "object", properties = {
        name = { type = "string", required = true, description = "Name of the container." },
        usage = { type = "map", additionalProperties = { type = "string", format = "quantity" }, description = "cpu (cores) and memory (bytes of the working set)." },
      } } },
      values = { type = "list", description = "What the pod tells about itself on its Prometheus page, as far as an autoscaler wants it.", items = { type = "object", properties = {
        name = { type = "string", required = true, description = "Name of the metric; X_per_second is the rate of the counter X_total." },
        value = { type = "string", format = "quantity", description = "Its value, summed over all sets of labels." },
      } } },
    },
  },
}
