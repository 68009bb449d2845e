-- Named types of Jobs: JobSpec stands in Job and in the template of CronJob.
local SHORT = "is not supported by this version"
return {
  types = {
    JobSpec = {
      type = "object", message = "batch.v1.JobSpec", hook = "jobSpec", rule = "jobSpec", description = "Work that ends.",
      properties = {
        template = { ref = "PodTemplateSpec", required = true, description = "Pods are made from this; restartPolicy must be Never or OnFailure." },
        completions = { type = "integer", minimum = 0, maximum = 100000, description = "How many pods have to succeed. Absent: one success ends the Job. Default 1." },
        parallelism = { type = "integer", minimum = 0, maximum = 100000, description = "How many pods may run at once. Default 1." },
        completionMode = { type = "string", enum = { "NonIndexed", "Indexed" }, default = "NonIndexed",
          description = "Indexed: each of the numbers 0 … completions-1 has to succeed once; a pod finds its number in JOB_COMPLETION_INDEX." },
        backoffLimit = { type = "integer", minimum = 0, description = "How many pods may fail until the Job has failed. Default 6; with backoffLimitPerIndex no limit." },
        backoffLimitPerIndex = { type = "integer", minimum = 0, description = "Indexed: how many pods of one index may fail until that index has failed; the others go on, and the Job fails when all have ended. restartPolicy must be Never." },
        maxFailedIndexes = { type = "integer", minimum = 0, maximum = 100000, description = "With backoffLimitPerIndex: the Job fails at once when more indexes than this have failed." },
        activeDeadlineSeconds = { type = "integer", minimum = 0, description = "Seconds after its start at which the Job is ended and has failed." },
        ttlSecondsAfterFinished = { type = "integer", minimum = 0, description = "Seconds after its end at which the Job is deleted." },
        suspend = { type = "boolean", default = false, description = "Ends its pods and makes none until it is false again." },
        selector = { ref = "LabelSelector", description = "Which pods belong to it; made by the server unless manualSelector." },
        manualSelector = { type = "boolean", description = "The selector is yours; it must be unique." },
        podReplacementPolicy = { type = "string", enum = { "TerminatingOrFailed", "Failed" }, description = "Whether a pod is replaced when it begins to end or when it has ended." },
        podFailurePolicy = { type = "object", description = "What a failure means; the first rule that fits decides.", properties = {
          rules = { type = "list", required = true, maxItems = 20, description = "Rules in order.", items = {
            type = "object", rule = "podFailureRule", message = "batch.v1.PodFailurePolicyRule", description = "One rule.", properties = {
              action = { type = "string", required = true, enum = { "FailJob", "FailIndex", "Ignore", "Count" }, description = "FailJob: the Job fails at once. FailIndex: its index does, with backoffLimitPerIndex. Ignore: it does not count. Count: as ever." },
              onExitCodes = { type = "object", description = "Fits when a container ended so.", properties = {
                containerName = { type = "string", format = "dns-label", description = "Only this container." },
                operator = { type = "string", required = true, enum = { "In", "NotIn" }, description = "Whether the code is among values; code 0 fits neither." },
                values = { type = "list", minItems = 1, maxItems = 255, required = true, items = { type = "integer" }, description = "Exit codes." },
              } },
              onPodConditions = { type = "list", maxItems = 20, description = "Fits when one of these conditions holds.", items = {
                type = "object", message = "batch.v1.PodFailurePolicyOnPodConditionsPattern", description = "A condition of the pod.", properties = {
                  type = { type = "string", format = "label-key", required = true, description = "Its type, e.g. DisruptionTarget." },
                  status = { type = "string", enum = { "True", "False", "Unknown" }, default = "True", description = "Its status." },
                } } },
            } } },
        } },
        successPolicy = { type = "object", description = "When an Indexed Job has succeeded although numbers are left.", properties = {
          rules = { type = "list", required = true, minItems = 1, maxItems = 20, description = "One that fits is enough.", items = {
            type = "object", message = "batch.v1.SuccessPolicyRule", description = "One rule.", properties = {
              succeededIndexes = { type = "string", description = "Numbers that have to succeed, as 0,2-4." },
              succeededCount = { type = "integer", minimum = 1, description = "How many (of them) have to succeed." },
            } } },
        } },
        managedBy = { type = "string", refused = "managedBy " .. SHORT, description = "Not supported." },
      },
    },
  },
}
