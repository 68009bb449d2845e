-- Job: runs pods until enough of them have succeeded.
return {
  group = "batch", version = "v1", kind = "Job", plural = "jobs", categories = { "all" }, scope = "Namespaced",
  subresources = { status = {} },
  initialStatus = {},
  validators = { "job" },
  columns = {
    { name = "Status", column = "job.status", description = "Complete, Running, Failed, Suspended …" },
    { name = "Completions", column = "job.completions", description = "Pods that have succeeded, of those wanted." },
    { name = "Duration", column = "job.duration", description = "From its start to its end, or until now." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Containers", column = "template.containers", priority = 1, description = "Names of the containers." },
    { name = "Images", column = "template.images", priority = 1, description = "Their images." },
    { name = "Selector", column = "selector", priority = 1, description = "Labels of its pods." },
  },
  schema = {
    hook = "labelsFromTemplate", description = "Runs pods until enough of them have succeeded, and counts each end exactly once.",
    properties = {
      spec = { ref = "JobSpec", required = true, description = "Desired state." },
      status = { type = "object", description = "Present state.", properties = {
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "Complete, Failed, Suspended; SuccessCriteriaMet and FailureTarget while pods still end." },
        startTime = { type = "string", format = "date-time", description = "When it began, or went on after being suspended." },
        completionTime = { type = "string", format = "date-time", description = "When it was complete." },
        active = { type = "integer", description = "Pods that run or wait to." },
        ready = { type = "integer", description = "Pods that are ready." },
        terminating = { type = "integer", description = "Pods that are ending." },
        succeeded = { type = "integer", description = "Pods that have succeeded." },
        failed = { type = "integer", description = "Pods that have failed." },
        completedIndexes = { type = "string", description = "Numbers that have succeeded, as 0,2-4." },
        failedIndexes = { type = "string", description = "Numbers that have failed, with backoffLimitPerIndex." },
        uncountedTerminatedPods = { type = "object", description = "Pods that have ended and are being counted.", properties = {
          succeeded = { type = "list", items = { type = "string" }, description = "Their uids." },
          failed = { type = "list", items = { type = "string" }, description = "Their uids." },
        } },
      } },
    },
  },
}
