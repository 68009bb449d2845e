-- Drain: how far all live nodes have followed the Services. Volatile; the one object is named "cluster".
return {
  group = "minik8s.io", version = "v1", kind = "Drain", plural = "drains", scope = "Cluster", everyNode = true, volatile = true,
  subresources = { status = {} },
  columns = {
    { name = "Revision", path = "status.revision", type = "integer", description = "Smallest revision that all live nodes have applied." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "The smallest revision of Services and EndpointSlices that the kernels of all live nodes have applied. A pod that left its Services before it may be stopped.",
    properties = {
      status = { type = "object", description = "Present state, published by the manager.", properties = {
        revision = { type = "integer", minimum = 0, description = "The revision." },
        nodes = { type = "integer", minimum = 0, description = "How many nodes were counted." },
      } },
    },
  },
}
