-- GPUJob: one submitter pod per job, with an account that may only read its job and report about it. What Slurm says is
-- written into the status by the submitter; here it becomes conditions and Events, and here the job is let go in the end.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")
local submitter = require("slurm.submitter")

local JOBS, CLUSTERS = "gpujobs.minik8s.io", "slurmclusters.minik8s.io"
local FINALIZER = "minik8s.io/slurm"
local UPLOADED = "minik8s.io/uploaded"
local UPLOAD_WAIT = 900 -- seconds

local ENDS = { Succeeded = true, Failed = true, Cancelled = true, Timeout = true }

local function key_of(job) return job.metadata.namespace .. "/" .. job.metadata.name end

local function holds(job)
    for _, finalizer in ipairs(job.metadata.finalizers or {}) do
        if finalizer == FINALIZER then return true end
    end
    return false
end

local function set_finalizer(plan, job, wanted, why)
    if holds(job) == wanted then return end
    local kept = {}
    for _, finalizer in ipairs(job.metadata.finalizers or {}) do
        if finalizer ~= FINALIZER then kept[#kept + 1] = finalizer end
    end
    if wanted then kept[#kept + 1] = FINALIZER end
    plan:patch(JOBS, key_of(job), { metadata = { finalizers = m8.array(kept) } }, why,
        { uid = job.metadata.uid, revision = job.metadata.resourceVersion })
end

--- State, reason and message of a job that no submitter speaks for; an Event when the reason is new.
local function tell(plan, job, status, kind)
    local present = job.status or {}
    if present.state == status.state and present.reason == status.reason and present.message == status.message then return end
    plan:status(JOBS, key_of(job), status, { uid = job.metadata.uid, revision = job.metadata.resourceVersion })
    plan:event(job, kind or "Normal", status.reason, status.message)
end

local function finish(world, plan, job, state, reason, message)
    tell(plan, job, { state = state, reason = reason, message = message, done = true, completionTime = world:time_text() }, "Warning")
end

-- ---- conditions and Events from what the submitter has reported

local function ended_text(job)
    local status = job.status
    if status.message then return status.message end
    local how = status.exitCode and ("with exit code %d"):format(status.exitCode) or "as " .. status.state
    return ("Slurm job %s ended %s"):format(tostring(status.slurmId or "?"), how)
end

--- The conditions that should be there: type, reason, message, and whether the Event warns.
local function wanted_conditions(job)
    local status, list = job.status or {}, {}
    if status.slurmId then
        list[#list + 1] = { "Submitted", "Submitted", ("Slurm job %d"):format(status.slurmId) }
    end
    if status.startTime then
        list[#list + 1] = { "Started", "Started", "runs on " .. (status.nodes or "?") }
    end
    local results = status.results
    if results and results.message then
        list[#list + 1] = { "ResultsIncomplete", "ResultsIncomplete", results.message, true }
    end
    if results and results.digest then
        list[#list + 1] = { "ResultsKept", "ResultsKept", ("%d files, %d bytes"):format(results.files or 0, results.bytes or 0) }
    end
    if ENDS[status.state] then
        local good = status.state == "Succeeded"
        local reason = good and "Completed" or status.reason ~= "" and status.reason or status.state
        list[#list + 1] = { good and "Complete" or "Failed", reason, ended_text(job), not good }
    end
    return list
end

local function note(world, plan, job)
    local status = job.status or {}
    local conditions, changed = status.conditions, false
    for _, wanted in ipairs(wanted_conditions(job)) do
        if not workload.condition(conditions, wanted[1]) then
            changed = true
            conditions = workload.with_condition(conditions,
                { type = wanted[1], status = "True", reason = wanted[2], message = wanted[3] }, world:time_text())
            plan:event(job, wanted[4] and "Warning" or "Normal", wanted[2], wanted[3])
        end
    end
    if changed then plan:status(JOBS, key_of(job), { conditions = conditions }, { uid = job.metadata.uid }) end
end

-- ---- ends

local function expire(world, plan, job)
    local ttl = job.spec.ttlSecondsAfterFinished
    if not ttl or job.metadata.deletionTimestamp then return end
    local left = (m8.time(job.status.completionTime or "") or world.now) + ttl - world.now
    if left > 0 then
        plan:requeue(left)
    else
        plan:delete(JOBS, key_of(job), { uid = job.metadata.uid }, "ttlSecondsAfterFinished is over")
    end
end

--- True: the job that is being deleted needs nobody any more.
local function may_go(world, plan, job, pod)
    local namespace = world:item("namespaces", job.metadata.namespace)
    if not (job.status and job.status.attempt) then
        if pod and not pod.deleting then plan:delete("pods", pod.key, { uid = pod.uid }, "its job goes before Slurm had it") end
        return pod == nil
    end
    if pod then return false end
    if not namespace or namespace.deleting then
        plan:event(job, "Warning", "LeftBehind", "its namespace goes: the job may still run in Slurm")
        return true
    end
    return false
end

--- Slurm may run it and does not answer: whoever deletes it is told, once.
local function warn_stuck(world, plan, job)
    if world:seen("gpujob-stuck/" .. job.metadata.uid, "1") > 0 then return end
    plan:event(job, "Warning", "CannotCancel", ("its deletion waits until Slurm answers (%s); to leave the job to Slurm: " ..
        "minikubectl patch gpujob/%s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'"):format(
        job.status.message or "?", job.metadata.name))
end

--- nil when a submitter is wanted, else what is waited for.
local function waits_for(world, plan, job)
    local cluster = world:item(CLUSTERS, job.metadata.namespace .. "/" .. job.spec.cluster)
    if not cluster then
        tell(plan, job, { state = "Pending", reason = "ClusterNotFound",
            message = ("there is no SlurmCluster %q in the namespace (spec.cluster)"):format(job.spec.cluster) }, "Warning")
        return true
    end
    local upload = (job.spec.sources or {}).upload
    if not upload or (job.metadata.annotations or {})[UPLOADED] == upload.digest then return false end
    local age = world.now - (m8.time(job.metadata.creationTimestamp or "") or world.now)
    if age > UPLOAD_WAIT then
        finish(world, plan, job, "Failed", "NotUploaded", "its files have not come within 15 minutes")
    else
        tell(plan, job, { state = "Pending", reason = "WaitingForUpload", message = "its files are being sent" })
        plan:requeue(UPLOAD_WAIT + 1 - age)
    end
    return true
end

local function reconcile(world, key)
    local job = world:get(JOBS, key)
    if not job then return nil end
    local plan = plans.new()
    local status = job.status or {}
    local pod = world:item("pods", key .. submitter.SUFFIX)
    if pod and pod.owner_uid ~= job.metadata.uid then pod = nil end
    note(world, plan, job)
    if status.done then
        set_finalizer(plan, job, false, "the job has ended")
        expire(world, plan, job)
        return plan
    end
    if job.metadata.deletionTimestamp and (not holds(job) or may_go(world, plan, job, pod)) then
        set_finalizer(plan, job, false, "Slurm never had the job, or nobody can ask it")
        return plan
    end
    if job.metadata.deletionTimestamp and not status.attempt then return plan end
    if job.metadata.deletionTimestamp and status.reason == "SlurmUnavailable" then warn_stuck(world, plan, job) end
    if job.spec.cancel and not status.attempt and not pod then
        finish(world, plan, job, "Cancelled", "Cancelled", "cancelled before it was handed to Slurm")
        return plan
    end
    if not job.metadata.deletionTimestamp and not holds(job) then
        set_finalizer(plan, job, true, "what Slurm runs must be cancelled when the job goes")
        return plan
    end
    local phase = pod and pod["status.phase"]
    if pod and pod.deleting then
        return plan
    elseif phase == "Failed" or phase == "Succeeded" then
        plan:delete("pods", pod.key, { uid = pod.uid, grace = 0 }, "the submitter has ended before the job: another follows it")
    elseif not pod and not waits_for(world, plan, job) then
        local cluster = world:get(CLUSTERS, job.metadata.namespace .. "/" .. job.spec.cluster)
        submitter.create(world, plan, job, cluster)
    end
    return plan
end

return {
    name = "gpujob",
    watches = {
        { resource = JOBS, key = "self" },
        { resource = "pods", key = "owner", owner = JOBS },
        { resource = "serviceaccounts", key = "owner", owner = JOBS },
        { resource = "roles.rbac.authorization.k8s.io", key = "owner", owner = JOBS },
        { resource = "rolebindings.rbac.authorization.k8s.io", key = "owner", owner = JOBS },
        { resource = CLUSTERS, map = function(world, item, previous)
            local cluster, keys = item or previous, {}
            for job in world:list(JOBS, { namespace = cluster.namespace }) do
                if job["spec.cluster"] == cluster.name then keys[#keys + 1] = job.key end
            end
            return keys
        end },
    },
    project = { pods = { "status.phase" }, [JOBS] = { "spec.cluster" } },
    reconcile = reconcile,
}
