-- CronJob: makes a Job for each time of its schedule, named after that time, so that a time is never served twice.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local CRONS, JOBS = "cronjobs.batch", "jobs.batch"
local MANY = 100 -- missed times above which an Event tells

local function end_of(job)
    for _, type in ipairs({ "Complete", "Failed" }) do
        local condition = workload.condition((job.status or {}).conditions, type)
        if condition and condition.status == "True" then return type, condition.lastTransitionTime end
    end
    return nil
end

local function key_of(object)
    return object.metadata.namespace .. "/" .. object.metadata.name
end

--- Its Jobs: those that run, and those that have ended by type, oldest first.
local function sort_jobs(world, cron)
    local jobs = { running = {}, Complete = {}, Failed = {} }
    for item in world:list(JOBS, { owner = cron.metadata.uid }) do
        local job = world:get(JOBS, item.key)
        local list = jobs[end_of(job) or "running"]
        if not item.deleting or list == jobs.running then list[#list + 1] = job end
    end
    for _, list in pairs(jobs) do
        table.sort(list, function(a, b)
            local x, y = a.metadata.creationTimestamp or "", b.metadata.creationTimestamp or ""
            if x ~= y then return x < y end
            return a.metadata.name < b.metadata.name
        end)
    end
    return jobs
end

local function trim(plan, cron, jobs, limit, what)
    for i = 1, #jobs - limit do
        plan:delete(JOBS, key_of(jobs[i]), { uid = jobs[i].metadata.uid, propagation = "Background" },
            "history limit of " .. what .. " Jobs")
        plan:event(cron, "Normal", "SuccessfulDelete", "Deleted job " .. jobs[i].metadata.name)
    end
end

local function new_job(cron, time)
    local template = cron.spec.jobTemplate
    local metadata = m8.copy(template.metadata or {})
    metadata.name = ("%s-%d"):format(cron.metadata.name, math.floor(time / 60))
    if cron.spec.schedule:find("^@every") then metadata.name = ("%s-%d"):format(cron.metadata.name, time) end
    metadata.namespace = cron.metadata.namespace
    metadata.annotations = metadata.annotations or {}
    metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] = m8.time_text(time)
    metadata.ownerReferences = { workload.controller_reference(cron) }
    return { apiVersion = "batch/v1", kind = "Job", metadata = metadata, spec = m8.copy(template.spec) }
end

local function reference_to(job)
    return { apiVersion = "batch/v1", kind = "Job", namespace = job.metadata.namespace, name = job.metadata.name, uid = job.metadata.uid }
end

--- The time that is due now, or nil, and how many were missed; plans the return for the next one. `since`: the last time that was served.
local function due(world, plan, cron, since)
    local spec = cron.spec
    local earliest = since
    if spec.startingDeadlineSeconds then earliest = math.max(since, world.now - spec.startingDeadlineSeconds - 1) end
    local times, err = m8.cron(spec.schedule, spec.timeZone, earliest, world.now)
    if not times then
        plan:event(cron, "Warning", "InvalidSchedule", err.message)
        return nil
    end
    if times.next then plan:requeue(math.max(0.01, times.next - world.now)) end
    return times.last, times.missed
end

--- Whether a Job may be made while others run. Replace ends those.
local function make_room(plan, cron, running)
    if #running == 0 or cron.spec.concurrencyPolicy == "Allow" then return true end
    if cron.spec.concurrencyPolicy ~= "Replace" then
        plan:event(cron, "Normal", "JobAlreadyActive",
            "Not starting job because prior execution is running and concurrency policy is Forbid")
        return false
    end
    for _, job in ipairs(running) do
        if not job.metadata.deletionTimestamp then
            plan:delete(JOBS, key_of(job), { uid = job.metadata.uid, propagation = "Background" }, "concurrencyPolicy Replace")
            plan:event(cron, "Normal", "SuccessfulDelete", "Deleted job " .. job.metadata.name)
        end
    end
    return true
end

--- A time counts as served once its Job is there, seen in a later reconcile: a Job that the server refuses (a quota) is tried again.
local function start(world, plan, cron, jobs, status)
    if cron.spec.suspend or cron.metadata.deletionTimestamp then return end
    local last = m8.time((cron.status or {}).lastScheduleTime or "")
    local time, missed = due(world, plan, cron, last or m8.time(cron.metadata.creationTimestamp) or world.now)
    if not time then return end
    local job = new_job(cron, time)
    if world:item(JOBS, key_of(job)) then
        status.lastScheduleTime = m8.time_text(time)
        return
    end
    if missed > MANY then
        plan:event(cron, "Warning", "TooManyMissedTimes",
            ("%d start times were missed, the last one is served; set or decrease startingDeadlineSeconds"):format(missed))
    end
    if not make_room(plan, cron, jobs.running) then return end
    plan:create(JOBS, job, "scheduled for " .. m8.time_text(time))
    plan:event(cron, "Normal", "SuccessfulCreate", ("Created job %s (scheduled for %s)"):format(job.metadata.name, m8.time_text(time)))
end

local function tell_ends(plan, cron, jobs, status)
    local active = {}
    for _, reference in ipairs((cron.status or {}).active or {}) do active[reference.uid] = true end
    for _, type in ipairs({ "Complete", "Failed" }) do
        for _, job in ipairs(jobs[type]) do
            if active[job.metadata.uid] then
                plan:event(cron, "Normal", "SawCompletedJob", ("Saw completed job: %s, condition: %s"):format(job.metadata.name, type))
            end
            local time = job.status.completionTime
            if type == "Complete" and time and time > (status.lastSuccessfulTime or "") then status.lastSuccessfulTime = time end
        end
    end
end

local function reconcile(world, key)
    local cron = world:get(CRONS, key)
    if not cron then return nil end
    local plan, jobs = plans.new(), sort_jobs(world, cron)
    local before = cron.status or {}
    local status = { lastSuccessfulTime = before.lastSuccessfulTime, active = m8.array({}) }
    tell_ends(plan, cron, jobs, status)
    trim(plan, cron, jobs.Complete, cron.spec.successfulJobsHistoryLimit or 3, "complete")
    trim(plan, cron, jobs.Failed, cron.spec.failedJobsHistoryLimit or 1, "failed")
    start(world, plan, cron, jobs, status)
    for _, job in ipairs(jobs.running) do status.active[#status.active + 1] = reference_to(job) end
    if #status.active == 0 and #(before.active or {}) == 0 then status.active = nil end
    if not workload.covers(before, status) then plan:status(CRONS, key, status, { uid = cron.metadata.uid }) end
    return plan
end

return {
    name = "cronjob",
    watches = {
        { resource = CRONS, key = "self" },
        { resource = JOBS, key = "owner", owner = CRONS },
        workload.watch_room(CRONS, function(cron) return not cron["spec.suspend"] end),
    },
    project = { [CRONS] = { "spec.suspend" }, resourcequotas = workload.quota_columns },
    reconcile = reconcile,
}
