-- Verdicts about Jobs: what the failure of a pod means (podFailurePolicy), and whether a Job has ended. Pure functions.
local m8 = require("m8")
local indexes = require("framework.indexes")
local verdict = {}

local function contains(list, value)
    for _, entry in ipairs(list) do
        if entry == value then return true end
    end
    return false
end

--- The first container whose exit code fits a rule, and the code.
local function match_codes(rule, pod)
    local status = pod.status or {}
    for _, list in ipairs({ status.initContainerStatuses or {}, status.containerStatuses or {} }) do
        for _, container in ipairs(list) do
            local ended = (container.state or {}).terminated
            local code = ended and ended.exitCode
            if code and code ~= 0 and (not rule.containerName or rule.containerName == container.name)
                and contains(rule.values, code) == (rule.operator == "In") then
                return container.name, code
            end
        end
    end
    return nil
end

local function match_conditions(patterns, pod)
    for _, pattern in ipairs(patterns) do
        for _, condition in ipairs((pod.status or {}).conditions or {}) do
            if condition.type == pattern.type and condition.status == (pattern.status or "True") then return condition.type end
        end
    end
    return nil
end

--- "FailJob" or "FailIndex" and why, "Ignore", or "Count". get_pod() gives the full object.
function verdict.of_failure(job, get_pod)
    local policy = job.spec.podFailurePolicy
    local pod = policy and get_pod()
    if not pod then return "Count" end
    for i, rule in ipairs(policy.rules or {}) do
        local what
        if rule.onExitCodes then
            local name, code = match_codes(rule.onExitCodes, pod)
            what = name and ("Container %s for pod %s/%s failed with exit code %d"):format(
                name, pod.metadata.namespace, pod.metadata.name, code)
        else
            local condition = match_conditions(rule.onPodConditions or {}, pod)
            what = condition and ("Pod %s/%s has condition %s"):format(pod.metadata.namespace, pod.metadata.name, condition)
        end
        if what then return rule.action, ("%s matching %s rule at index %d"):format(what, rule.action, i - 1) end
    end
    return "Count"
end

local function policy_is_met(state)
    for i, rule in ipairs((state.job.spec.successPolicy or {}).rules or {}) do
        local wanted, size = indexes.parse(rule.succeededIndexes)
        local done = 0
        for index in pairs(state.completed or {}) do
            if not rule.succeededIndexes or wanted[index] then done = done + 1 end
        end
        if done >= (rule.succeededCount or size) then return i - 1 end
    end
    return nil
end

--- Restarts inside of pods count as failures when containers, init containers among them, are restarted in place.
local function restarts(state)
    local sum = 0
    if state.job.spec.template.spec.restartPolicy ~= "OnFailure" then return 0 end
    for _, item in ipairs(state.active) do
        local status = (state.world:get("pods", item.key) or {}).status or {}
        for _, list in ipairs({ status.initContainerStatuses or {}, status.containerStatuses or {} }) do
            for _, container in ipairs(list) do sum = sum + (container.restartCount or 0) end
        end
    end
    return sum
end

local function indexes_have_failed(state)
    local spec, failed = state.job.spec, state.total_failed_indexes
    if spec.maxFailedIndexes and failed > spec.maxFailedIndexes then
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    end
    if failed > 0 and failed + state.total_succeeded >= spec.completions then return "FailedIndexes", "Job has failed indexes" end
    return nil
end

local function is_late(state)
    local spec, start = state.job.spec, m8.time(state.status.startTime or "")
    if not spec.activeDeadlineSeconds or not start or spec.suspend then return false end
    local left = start + spec.activeDeadlineSeconds - state.world.now
    if left > 0 then state.plan:requeue(left) end
    return left <= 0
end

--- Whether the Job ends: "FailureTarget" or "SuccessCriteriaMet", reason, message; nil while it goes on.
function verdict.of_job(state)
    local spec = state.job.spec
    if state.fatal then return "FailureTarget", "PodFailurePolicy", state.fatal end
    local limit = spec.backoffLimit or 6
    local restarted = restarts(state)
    if state.total_failed > limit or (restarted > 0 and restarted >= limit) then
        return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    end
    if is_late(state) then return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline" end
    local reason, message = indexes_have_failed(state)
    if reason then return "FailureTarget", reason, message end
    local rule = policy_is_met(state)
    if rule then return "SuccessCriteriaMet", "SuccessPolicy", "Matched rules at index " .. rule end
    local complete
    if spec.completions then
        complete = state.total_succeeded >= spec.completions
    else
        complete = state.total_succeeded > 0 and #state.active == 0 and #state.ending == 0
    end
    if complete then return "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods" end
    return nil
end

return verdict
