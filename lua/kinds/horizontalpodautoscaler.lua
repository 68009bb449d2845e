-- HorizontalPodAutoscaler: sets how many pods a workload has, by what they use.
local function rules(description)
  return { type = "object", description = description, properties = {
    stabilizationWindowSeconds = { type = "integer", minimum = 0, maximum = 3600, description = "All that was wanted within this time must agree. Default: up 0, down 300." },
    selectPolicy = { type = "string", enum = { "Max", "Min", "Disabled" }, description = "Which of several policies counts; Disabled: never in this direction. Default Max." },
    policies = { type = "list", description = "How much may change in how much time.", items = { type = "object", properties = {
      type = { type = "string", required = true, enum = { "Pods", "Percent" }, description = "What value counts." },
      value = { type = "integer", required = true, minimum = 1, description = "So many pods, or percent of the pods at the beginning of the period." },
      periodSeconds = { type = "integer", required = true, minimum = 1, maximum = 1800, description = "The period." },
    } } },
  } }
end
local condition = { ref = "Condition" }
return {
  group = "autoscaling", version = "v2", kind = "HorizontalPodAutoscaler", plural = "horizontalpodautoscalers", shortNames = { "hpa" }, categories = { "all" },
  scope = "Namespaced", subresources = { status = {} },
  initialStatus = { currentReplicas = 0, desiredReplicas = 0 },
  types = {
    CrossVersionObjectReference = { type = "object", description = "Names an object of the same namespace.", properties = {
      apiVersion = { type = "string", description = "Group and version, e.g. apps/v1." },
      kind = { type = "string", required = true, minLength = 1, description = "Kind." },
      name = { type = "string", required = true, minLength = 1, description = "Name." },
    } },
    MetricIdentifier = { type = "object", description = "Names a metric.", properties = {
      name = { type = "string", required = true, minLength = 1, description = "Name on the pods' Prometheus page; X_per_second is the rate of the counter X_total." },
      selector = { type = "object", refused = "a metric is summed over all its labels", description = "Which labels of the metric count." },
    } },
    MetricTarget = { type = "object", rule = "metricTarget", description = "What is wanted of a metric.", properties = {
      type = { type = "string", required = true, enum = { "Utilization", "AverageValue", "Value" }, description = "Utilization: percent of what pods request. AverageValue: per pod. Value: altogether." },
      averageUtilization = { type = "integer", minimum = 1, description = "Percent of the requests, mean over the pods." },
      averageValue = { type = "string", format = "quantity", description = "Mean over the pods." },
      value = { type = "string", format = "quantity", description = "Of an object." },
    } },
    MetricSpec = { type = "object", rule = "metricSpec", description = "What the number of pods depends on.", properties = {
      type = { type = "string", required = true, enum = { "Resource", "ContainerResource", "Pods", "Object", "External" }, description = "Which of the fields below is set. External is refused." },
      resource = { type = "object", description = "CPU or memory of the whole pods.", properties = {
        name = { type = "string", required = true, enum = { "cpu", "memory" }, description = "cpu or memory." },
        target = { ref = "MetricTarget", required = true, description = "What is wanted." },
      } },
      containerResource = { type = "object", description = "CPU or memory of one container.", properties = {
        name = { type = "string", required = true, enum = { "cpu", "memory" }, description = "cpu or memory." },
        container = { type = "string", required = true, minLength = 1, description = "Name of the container." },
        target = { ref = "MetricTarget", required = true, description = "What is wanted." },
      } },
      pods = { type = "object", description = "What the pods tell about themselves, e.g. requests per second.", properties = {
        metric = { ref = "MetricIdentifier", required = true, description = "Which metric." },
        target = { ref = "MetricTarget", required = true, description = "AverageValue." },
      } },
      object = { type = "object", description = "The same, summed over the pods behind an object.", properties = {
        describedObject = { ref = "CrossVersionObjectReference", required = true, description = "A Service, a workload or a Pod." },
        metric = { ref = "MetricIdentifier", required = true, description = "Which metric." },
        target = { ref = "MetricTarget", required = true, description = "Value or AverageValue." },
      } },
      external = { type = "object", refused = "nothing outside of the cluster is measured; use Pods or Object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "A metric from outside of the cluster." },
    } },
  },
  columns = {
    { name = "Reference", column = "autoscaler.reference", description = "What is scaled." },
    { name = "Targets", column = "autoscaler.targets", description = "Each metric: what is, and what is wanted." },
    { name = "MinPods", path = "spec.minReplicas", type = "integer", description = "At least so many pods." },
    { name = "MaxPods", path = "spec.maxReplicas", type = "integer", description = "At most so many pods." },
    { name = "Replicas", path = "status.currentReplicas", type = "integer", description = "Pods that exist." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "Sets how many pods a workload has by what they use.",
    properties = {
      spec = { type = "object", rule = "autoscalerSpec", required = true, description = "Desired behaviour.", properties = {
        scaleTargetRef = { ref = "CrossVersionObjectReference", required = true, description = "Deployment, ReplicaSet or StatefulSet; or a Service: the one workload whose pods answer for it." },
        minReplicas = { type = "integer", minimum = 1, default = 1, description = "At least so many pods." },
        maxReplicas = { type = "integer", required = true, minimum = 1, description = "At most so many pods." },
        metrics = { type = "list", items = { ref = "MetricSpec" }, description = "Each gives a count, the greatest is taken. Default: 80 % of the requested CPU.",
          default = { { type = "Resource", resource = { name = "cpu", target = { type = "Utilization", averageUtilization = 80 } } } } },
        behavior = { type = "object", description = "How fast the count may change.", properties = {
          scaleUp = rules("Upwards. Default: at most the double or 4 pods more in 15 s."),
          scaleDown = rules("Downwards. Default: only what was enough for 5 minutes."),
        } },
      } },
      status = { type = "object", description = "Present state.", properties = {
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        lastScaleTime = { type = "string", format = "date-time", description = "When the count was changed last." },
        currentReplicas = { type = "integer", description = "Pods that exist." },
        desiredReplicas = { type = "integer", description = "Pods that are wanted." },
        currentMetrics = { type = "any", description = "Each metric as it is, in the form of spec.metrics." },
        conditions = { type = "list", mergeKey = "type", items = condition, description = "AbleToScale, ScalingActive, ScalingLimited." },
        history = { type = "list", description = "What was wanted when: the memory of windows and trends.", items = { type = "object", properties = {
          at = { type = "integer", description = "Milliseconds since the epoch; it holds until the next entry." },
          load = { type = "integer", description = "Percent of the target, of the metric that is highest." },
          wanted = { type = "integer", description = "Pods before any limit (the most, where entries were merged)." },
          least = { type = "integer", description = "The fewest, where entries were merged." },
        } } },
        changes = { type = "list", description = "The last changes of the count.", items = { type = "object", properties = {
          at = { type = "integer", description = "Milliseconds since the epoch." },
          from = { type = "integer", description = "Pods before." },
          to = { type = "integer", description = "Pods after." },
          reason = { type = "string", description = "Why." },
        } } },
      } },
    },
  },
}
