-- CronJob: makes a Job at given times.
return {
  group = "batch", version = "v1", kind = "CronJob", plural = "cronjobs", shortNames = { "cj" }, categories = { "all" }, scope = "Namespaced",
  validators = { "cronJob" },
  subresources = { status = {} },
  initialStatus = {},
  columns = {
    { name = "Schedule", path = "spec.schedule", description = "When." },
    { name = "Timezone", path = "spec.timeZone", empty = "<none>", description = "Whose clock." },
    { name = "Suspend", column = "cronjob.suspend", description = "Whether it rests." },
    { name = "Active", path = "status.active", count = true, type = "integer", description = "Jobs that run." },
    { name = "Last Schedule", column = "cronjob.lastSchedule", description = "Time since the last Job was made." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Containers", column = "template.containers", priority = 1, description = "Names of the containers." },
    { name = "Images", column = "template.images", priority = 1, description = "Their images." },
    { name = "Selector", column = "cronjob.selector", priority = 1, description = "Labels of its pods." },
  },
  schema = {
    description = "Makes a Job at the times of a schedule.",
    properties = {
      spec = { type = "object", rule = "cronJobSpec", required = true, description = "Desired state.", properties = {
        schedule = { type = "string", required = true, maxLength = 256, description = "Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly, @yearly, @every DURATION." },
        timeZone = { type = "string", maxLength = 128, description = "Name of the tz database, e.g. Europe/Berlin. Default: UTC." },
        concurrencyPolicy = { type = "string", enum = { "Allow", "Forbid", "Replace" }, default = "Allow",
          description = "When the last Job still runs: Allow another, Forbid it, or Replace the old one." },
        startingDeadlineSeconds = { type = "integer", minimum = 0, description = "A Job that could not be made in time is made at most so many seconds later." },
        suspend = { type = "boolean", default = false, description = "Makes no Jobs while true." },
        successfulJobsHistoryLimit = { type = "integer", minimum = 0, default = 3, description = "How many Jobs that are complete are kept." },
        failedJobsHistoryLimit = { type = "integer", minimum = 0, default = 1, description = "How many Jobs that have failed are kept." },
        jobTemplate = { type = "object", message = "batch.v1.JobTemplateSpec", required = true, description = "Jobs are made from this.", properties = {
          metadata = { ref = "ObjectMeta", description = "Labels and annotations of the Jobs." },
          spec = { ref = "JobSpec", required = true, description = "Desired state of the Jobs." },
        } },
      } },
      status = { type = "object", description = "Present state.", properties = {
        active = { type = "list", items = { ref = "ObjectReference" }, description = "Jobs that run." },
        lastScheduleTime = { type = "string", format = "date-time", description = "The time for which the last Job was made." },
        lastSuccessfulTime = { type = "string", format = "date-time", description = "When a Job was last complete." },
      } },
    },
  },
}
