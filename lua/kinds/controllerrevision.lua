-- ControllerRevision: a former template of a StatefulSet or DaemonSet.
return {
  group = "apps", version = "v1", kind = "ControllerRevision", plural = "controllerrevisions", scope = "Namespaced",
  generation = {},
  columns = {
    { name = "Controller", column = "owner", description = "Object that it belongs to." },
    { name = "Revision", path = "revision", type = "integer", description = "Number of the revision." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "A former state of a workload, kept for going back.",
    properties = {
      data = { type = "any", immutable = true, description = "The state." },
      revision = { type = "integer", required = true, description = "Number of the revision." },
    },
  },
}
