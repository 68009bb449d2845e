-- Job: pods until enough have succeeded. Every end is counted exactly once, whatever dies in between: a pod carries a finalizer
-- until the status says that it has ended (uncountedTerminatedPods); then the finalizer goes; then it moves into the counter.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")
local indexes = require("framework.indexes")
local jobindexes = require("framework.jobindexes")
local verdict = require("framework.jobverdict")

local JOBS, FINALIZER, INDEX = "jobs.batch", "batch.kubernetes.io/job-tracking", "batch.kubernetes.io/job-completion-index"
local BURST = 500
local MAX_BACK_OFF = 60 -- seconds; from 1, doubling with each failure

local function is_tracked(pod)
    for _, finalizer in ipairs(pod["metadata.finalizers"] or {}) do
        if finalizer == FINALIZER then return true end
    end
    return false
end

local index_of = jobindexes.of

local function untrack(plan, pod, why)
    if not is_tracked(pod) then return end
    local kept = {}
    for _, finalizer in ipairs(pod["metadata.finalizers"]) do
        if finalizer ~= FINALIZER then kept[#kept + 1] = finalizer end
    end
    plan:patch("pods", pod.key, { metadata = { finalizers = m8.array(kept) } }, why, { uid = pod.uid })
end

local function as_set(list)
    local set = {}
    for _, entry in ipairs(list or {}) do set[entry] = true end
    return set
end

local State = {}

--- Sorts the pods. A pod that ends counts as failed at once unless podReplacementPolicy waits for its end.
function State:sort_pods(pods)
    self.active, self.ending, self.succeeded, self.failed = {}, {}, {}, {}
    local waits = self.job.spec.podReplacementPolicy == "Failed" and not self.job.metadata.deletionTimestamp
    for _, pod in ipairs(pods) do
        local phase = pod["status.phase"]
        local gone = pod.deleting and (not pod["spec.nodeName"] or pod["metadata.deletionGracePeriodSeconds"] == 0)
        local list = self.active
        if phase == "Succeeded" then
            list = self.succeeded
        elseif phase == "Failed" or gone or (pod.deleting and not waits) then
            list = self.failed
        elseif pod.deleting then
            list = self.ending
        end
        list[#list + 1] = pod
        if pod.deleting and list ~= self.succeeded and phase ~= "Failed" and not gone then self.terminating = self.terminating + 1 end
    end
end

--- What its failure means, by podFailurePolicy, and why.
function State:action_of(pod)
    local known = self.actions[pod.uid]
    if not known then
        known = { verdict.of_failure(self.job, function() return self.world:get("pods", pod.key) end) }
        self.actions[pod.uid] = known
    end
    return known[1], known[2]
end

--- Whether it has failed and is needed until another pod with its index tells how often that has failed.
function State:is_needed(pod)
    return self.to_replace[index_of(pod) or -1] == pod
end

--- What was announced and has lost its finalizer moves into the counters; returns the uids that are still announced.
function State:settle_announced(kind, by_uid, count)
    local left = {}
    for _, uid in ipairs((self.status.uncountedTerminatedPods or {})[kind] or {}) do
        local pod = by_uid[uid]
        if pod and is_tracked(pod) then
            left[#left + 1] = uid
            if not self:is_needed(pod) then untrack(self.plan, pod, "its end is noted in the Job's status") end
        else
            count = count + 1
        end
    end
    return left, count
end

--- Announces ends that the status does not know yet.
function State:announce(list, known, left)
    for _, pod in ipairs(list) do
        if is_tracked(pod) and not known[pod.uid] and #left < BURST then left[#left + 1] = pod.uid end
    end
end

--- Failures: what the policy ignores is only let go, what fails the Job is remembered, the rest is announced.
function State:announce_failed(left)
    local known, counted = as_set(left), {}
    for _, pod in ipairs(self.failed) do
        if is_tracked(pod) and not known[pod.uid] then
            local action, why = self:action_of(pod)
            if action == "Ignore" then
                if not self:is_needed(pod) then untrack(self.plan, pod, "podFailurePolicy ignores its failure") end
            else
                if action == "FailJob" then self.fatal = why end
                counted[#counted + 1] = pod
            end
        end
    end
    self:announce(counted, known, left)
end

--- Indexed: the status names the indexes; a pod whose index it names is let go. Those that a smaller Job no longer has do not count.
function State:count_indexes()
    local set, size = indexes.parse(self.status.completedIndexes, self.job.spec.completions or 0)
    for _, pod in ipairs(self.succeeded) do
        local index = index_of(pod)
        if not index or index >= (self.job.spec.completions or 0) or set[index] then
            untrack(self.plan, pod, "its index is noted in the Job's status")
        end
    end
    for _, pod in ipairs(self.succeeded) do
        local index = index_of(pod)
        if index and is_tracked(pod) and index < (self.job.spec.completions or 0) and not set[index] then
            set[index], size = true, size + 1
        end
    end
    self.completed = set
    return size
end

--- backoffLimitPerIndex: the indexes that have failed, and those whose next pod has to be made.
function State:count_failed_indexes()
    local tracked = {}
    for _, pod in ipairs(self.failed) do
        if is_tracked(pod) then tracked[#tracked + 1] = pod end
    end
    local to_replace
    self.failed_indexes, self.total_failed_indexes, to_replace =
        jobindexes.failed(self, tracked, function(pod) return (self:action_of(pod)) end)
    self.next.failedIndexes = indexes.print(self.failed_indexes)
    local ends = self:is_finished() or self:ends_as() or self.job.metadata.deletionTimestamp
    if not ends then self.to_replace = to_replace end
end

--- Fills succeeded and failed of the next status, and total_* that include what is announced.
function State:count(pods)
    local by_uid, next_status = {}, self.next
    for _, pod in ipairs(pods) do by_uid[pod.uid] = pod end
    local ok, bad
    ok, next_status.succeeded = self:settle_announced("succeeded", by_uid, self.status.succeeded or 0)
    if self.indexed then
        next_status.succeeded = self:count_indexes()
        next_status.completedIndexes = indexes.print(self.completed)
        if self.job.spec.backoffLimitPerIndex then self:count_failed_indexes() end
    else
        self:announce(self.succeeded, as_set(ok), ok)
    end
    bad, next_status.failed = self:settle_announced("failed", by_uid, self.status.failed or 0)
    self:announce_failed(bad)
    self.uncounted = #ok + #bad
    next_status.uncountedTerminatedPods = { succeeded = m8.array(ok), failed = m8.array(bad) }
    self.total_succeeded = next_status.succeeded + #ok
    self.total_failed = next_status.failed + #bad
end

function State:remove(pod, why)
    untrack(self.plan, pod, "the Job itself ends it: no failure")
    self.plan:delete("pods", pod.key, { uid = pod.uid }, why)
    self.plan:event(self.job, "Normal", "SuccessfulDelete", ("Deleted pod: %s (%s)"):format(pod.name, why))
end

function State:remove_active(why)
    for _, pod in ipairs(self.active) do self:remove(pod, why) end
    self.active = {}
end

-- ---- conditions ----

function State:condition(type, status, reason, message)
    self.next.conditions = workload.with_condition(self.next.conditions, {
        type = type, status = status, reason = reason, message = message, lastProbeTime = self.world:time_text(),
    }, self.world:time_text())
end

function State:has(type)
    local condition = workload.condition(self.next.conditions, type)
    return condition and condition.status == "True" and condition or nil
end

function State:is_finished()
    return self:has("Complete") or self:has("Failed")
end

--- The condition that says how it ends, while its pods still go.
function State:ends_as()
    return self:has("FailureTarget") or self:has("SuccessCriteriaMet")
end

--- Decides whether the Job ends now; then its pods go, and Complete or Failed follows when the last is counted.
function State:judge()
    local target = self:ends_as()
    if not target then
        local ended, reason, message = verdict.of_job(self)
        if not ended then return false end
        self:condition(ended, "True", reason, message)
        target = self:has(ended)
    end
    self:remove_active("the Job has ended: " .. target.reason)
    if self.uncounted > 0 then return true end
    local complete = target.type == "SuccessCriteriaMet"
    self:condition(complete and "Complete" or "Failed", "True", target.reason, target.message)
    if complete then self.next.completionTime = self.world:time_text() end
    self.plan:event(self.job, complete and "Normal" or "Warning", complete and "Completed" or target.reason,
        complete and "Job completed" or target.message)
    return true
end

--- Suspended: no pods, no start time. True while it rests.
function State:suspended()
    local spec, time = self.job.spec, self.world:time_text()
    if spec.suspend then
        self:remove_active("the Job is suspended")
        if not self:has("Suspended") then
            self:condition("Suspended", "True", "JobSuspended", "Job suspended")
            self.plan:event(self.job, "Normal", "Suspended", "Job suspended")
        end
        if self.status.startTime then self.next.startTime = m8.null end
        return true
    end
    if self:has("Suspended") then
        self:condition("Suspended", "False", "JobResumed", "Job resumed")
        self.plan:event(self.job, "Normal", "Resumed", "Job resumed")
    end
    if not self.status.startTime then self.next.startTime = time end
    return false
end

-- ---- pods ----

function State:has_ended(index)
    return self.completed[index] or self.failed_indexes[index]
end

local function set_index(pod, index)
    pod.metadata.annotations = pod.metadata.annotations or {}
    pod.metadata.annotations[INDEX] = tostring(index)
    pod.metadata.labels[INDEX] = tostring(index)
    for _, list in ipairs({ pod.spec.containers, pod.spec.initContainers or {} }) do
        for _, container in ipairs(list) do
            local env = m8.array({ { name = "JOB_COMPLETION_INDEX", value = tostring(index) } })
            for _, entry in ipairs(container.env or {}) do
                if entry.name ~= "JOB_COMPLETION_INDEX" then env[#env + 1] = entry end
            end
            container.env = env
        end
    end
end

function State:create(index)
    local name = self.job.metadata.name
    local pod = workload.pod_from_template(self.job, self.job.spec.template,
        name .. (index and "-" .. index or "") .. "-" .. self.world:suffix(5))
    pod.metadata.labels = pod.metadata.labels or {}
    pod.metadata.finalizers = { FINALIZER }
    if index then
        set_index(pod, index)
        if self.job.spec.backoffLimitPerIndex then
            local last = self.to_replace[index]
            jobindexes.note(pod.metadata.annotations, last, last and self:action_of(last))
        end
        pod.spec.hostname = pod.spec.hostname or (#name < 50 and name .. "-" .. index or nil)
    end
    self.plan:create("pods", pod, ("%d have succeeded, %d run"):format(self.total_succeeded, #self.active))
    self.plan:event(self.job, "Normal", "SuccessfulCreate", "Created pod: " .. pod.metadata.name)
end

--- Indexed: pods that double an index or have one that has ended or is too high are too many; returns the indexes in use.
function State:used_indexes()
    local used, kept = {}, {}
    for _, pod in ipairs(self.active) do
        local index = index_of(pod)
        if not index or used[index] or self:has_ended(index) or index >= self.job.spec.completions then
            self:remove(pod, "its index is taken, has ended or is too high")
        else
            used[index] = true
            kept[#kept + 1] = pod
        end
    end
    self.active = kept
    for _, pod in ipairs(self.ending) do
        if index_of(pod) then used[index_of(pod)] = true end
    end
    return used
end

--- Seconds until the next pod may be made after so many failures; each index by itself with backoffLimitPerIndex.
function State:back_off(failures, index)
    if failures == 0 then return 0 end
    local key = "job-failed/" .. self.job.metadata.uid .. (index and "/" .. index or "")
    return math.min(MAX_BACK_OFF, 2 ^ math.min(failures - 1, 10)) - self.world:seen(key, tostring(failures))
end

--- The first index from `index` on that lacks a pod and need not wait; nil: none.
function State:next_index(used, index)
    for at = index, self.job.spec.completions - 1 do
        local last = self.to_replace[at]
        local wait = last and self:back_off(jobindexes.failures(last), at) or 0
        if not used[at] and not self:has_ended(at) then
            if wait <= 0 then return at end
            self.plan:requeue(wait)
        end
    end
    return nil
end

function State:create_missing(missing, used)
    if missing <= 0 then return end
    local wait = self.job.spec.backoffLimitPerIndex and 0 or self:back_off(self.total_failed)
    if wait > 0 then
        self.plan:requeue(wait)
        return
    end
    local index = 0
    for _ = 1, math.min(missing, self.world:refused() and 1 or BURST) do
        if used then
            index = self:next_index(used, index)
            if not index then return end
            used[index] = true
        end
        self:create(used and index or nil)
    end
end

function State:manage()
    local spec = self.job.spec
    local used = self.indexed and self:used_indexes() or nil
    local wanted = spec.parallelism or 1
    if spec.completions then
        wanted = math.min(wanted, spec.completions - self.total_succeeded - self.total_failed_indexes)
    elseif self.total_succeeded > 0 then
        wanted = math.min(wanted, #self.active) -- one has found the queue empty: the others end by themselves
    end
    for i = #self.active, math.max(wanted, 0) + 1, -1 do
        self:remove(self.active[i], ("%d pods are wanted"):format(math.max(wanted, 0)))
        self.active[i] = nil
    end
    for _, pod in ipairs(self.active) do
        if not is_tracked(pod) then
            local finalizers = m8.copy(pod["metadata.finalizers"] or {})
            finalizers[#finalizers + 1] = FINALIZER
            self.plan:patch("pods", pod.key, { metadata = { finalizers = finalizers } }, "its end has to be counted", { uid = pod.uid })
        end
    end
    self:create_missing(wanted - #self.active - #self.ending, used)
end

-- ---- all ----

function State:write_status()
    local next_status, ready = self.next, 0
    for _, pod in ipairs(self.active) do
        if workload.ready_since(pod) then ready = ready + 1 end
    end
    next_status.active, next_status.ready, next_status.terminating = #self.active, ready, self.terminating
    local before = self.status.uncountedTerminatedPods or {}
    local after = next_status.uncountedTerminatedPods
    if m8.equal(before.succeeded or m8.array({}), after.succeeded) and m8.equal(before.failed or m8.array({}), after.failed) then
        next_status.uncountedTerminatedPods = nil
    end
    if not workload.covers(self.status, next_status) then
        self.plan:status(JOBS, self.key, next_status, { uid = self.job.metadata.uid, revision = self.job.metadata.resourceVersion })
    end
end

--- A Job that has ended: it goes after ttlSecondsAfterFinished.
local function expire(state, condition)
    local ttl = state.job.spec.ttlSecondsAfterFinished
    if not ttl or state.job.metadata.deletionTimestamp then return end
    local left = (m8.time(condition.lastTransitionTime or "") or state.world.now) + ttl - state.world.now
    if left > 0 then
        state.plan:requeue(left)
    else
        state.plan:delete(JOBS, state.key, { uid = state.job.metadata.uid, propagation = "Foreground" }, "ttlSecondsAfterFinished is over")
    end
end

--- A pod whose Job is gone: nobody will count it.
local function release(world, key)
    local pod, plan = world:item("pods", key), plans.new()
    local owner = pod and pod.owner_uid and world:by_uid(pod.owner_uid)
    if pod and not (owner and owner.resource == JOBS) then untrack(plan, pod, "its Job does not exist") end
    return plan
end

local function reconcile(world, key)
    local orphan = key:match("^pod|(.*)$")
    if orphan then return release(world, orphan) end
    local job = world:get(JOBS, key)
    local selector = job and m8.selector(job.spec.selector or {})
    if not selector then return nil end
    local plan = plans.new()
    local status = job.status or {}
    local state = workload.state(State, {
        world = world, job = job, key = key, plan = plan, status = status, terminating = 0,
        actions = {}, to_replace = {}, failed_indexes = {}, total_failed_indexes = 0,
        indexed = job.spec.completionMode == "Indexed", next = { conditions = m8.copy(status.conditions or m8.array({})) },
    })
    local pods = workload.claim_pods(world, job, selector, plan)
    state:sort_pods(pods)
    state:count(pods)
    local finished = state:is_finished()
    if finished then
        state:remove_active("the Job has ended")
        expire(state, finished)
    elseif not job.metadata.deletionTimestamp and not state:judge() and not state:suspended() then
        state:manage()
    end
    state:write_status()
    return plan
end

local function lacks_pods(item)
    return not item["status.completionTime"] and (item["status.active"] or 0) < (item["spec.parallelism"] or 1)
end

return {
    name = "job",
    watches = {
        { resource = JOBS, key = "self" },
        { resource = "pods", key = "owner", owner = JOBS },
        workload.watch_orphans(JOBS),
        workload.watch_room(JOBS, lacks_pods),
        workload.watch_accounts(JOBS, lacks_pods),
        { resource = "pods", on = { "metadata.finalizers", "metadata.ownerReferences" }, map = function(world, item)
            if not item or not is_tracked(item) then return {} end
            local owner = item.owner_uid and world:by_uid(item.owner_uid)
            return owner and owner.resource == JOBS and {} or { "pod|" .. item.key }
        end },
        { resource = JOBS, on = { "spec.selector" }, map = function(world, item, previous)
            local keys = {}
            if not item then
                for pod in world:list("pods", { owner = previous.uid }) do keys[#keys + 1] = "pod|" .. pod.key end
            end
            return keys
        end },
    },
    project = {
        pods = workload.pod_columns_with({ "metadata.finalizers", "metadata.annotations", "metadata.deletionGracePeriodSeconds" }),
        [JOBS] = { "spec.selector", "spec.parallelism", "status.active", "status.completionTime" },
        resourcequotas = workload.quota_columns,
    },
    reconcile = reconcile,
}
