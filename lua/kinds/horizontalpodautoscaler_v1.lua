-- HorizontalPodAutoscaler as autoscaling/v1: the older form of the same objects, for older clients and manifests. Stored and served
-- otherwise as v2; core/api/api_versions.c turns one into the other.
return {
  group = "autoscaling", version = "v1", kind = "HorizontalPodAutoscaler", plural = "horizontalpodautoscalers", shortNames = { "hpa" }, categories = { "all" },
  scope = "Namespaced", subresources = { status = {} },
  columns = { { name = "Age", column = "age", description = "Time since its creation." } },
  schema = {
    description = "Sets how many pods a workload has, by the CPU that they use. autoscaling/v2 can more.",
    properties = {
      spec = { type = "object", required = true, description = "Desired state.", properties = {
        scaleTargetRef = { ref = "CrossVersionObjectReference", required = true, description = "What is scaled." },
        minReplicas = { type = "integer", minimum = 1, description = "At least so many pods. Default 1." },
        maxReplicas = { type = "integer", required = true, minimum = 1, description = "At most so many pods." },
        targetCPUUtilizationPercentage = { type = "integer", minimum = 1, description = "Percent of the requested CPU, mean over the pods: in v2 a metric of type Resource." },
      } },
      status = { type = "object", description = "Present state.", properties = {
        observedGeneration = { type = "integer", description = "The metadata.generation that this status is about." },
        lastScaleTime = { type = "string", format = "date-time", description = "When the number was changed last." },
        currentReplicas = { type = "integer", description = "Pods that there are." },
        desiredReplicas = { type = "integer", description = "Pods that are wanted." },
        currentCPUUtilizationPercentage = { type = "integer", description = "What is measured of targetCPUUtilizationPercentage." },
      } },
    },
  },
}
