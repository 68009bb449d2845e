local m8 = require("m8")
local testing = require("framework.testing")

local KEY = "default/sum"

local function job(spec)
    local whole = m8.copy(spec or {})
    whole.parallelism = whole.parallelism or 1
    whole.backoffLimit = whole.backoffLimit or 6
    whole.selector = { matchLabels = { job = "u-sum" } }
    whole.template = { metadata = { labels = { job = "u-sum" } },
        spec = { restartPolicy = whole.restart or "Never", containers = { { name = "c", image = "i" } } } }
    whole.restart = nil
    local metadata = { name = "sum", namespace = "default", uid = "u-sum", generation = 1 }
    return { apiVersion = "batch/v1", kind = "Job", metadata = metadata, spec = whole }
end

local function world_of(spec)
    return testing.world({ objects = { ["jobs.batch"] = { job(spec) } } })
end

local function settle(world)
    return testing.settle(world, "job", KEY)
end

local function status(world)
    return world:get("jobs.batch", KEY).status or {}
end

local function condition(world, type)
    for _, one in ipairs(status(world).conditions or {}) do
        if one.type == type then return one end
    end
    return nil
end

--- Pods that neither ended nor are ending.
local function active(world)
    local list = {}
    for item in world:list("pods") do
        local phase = item["status.phase"]
        if not item.deleting and phase ~= "Succeeded" and phase ~= "Failed" then list[#list + 1] = world:get("pods", item.key) end
    end
    return list
end

local function finish(world, pod, phase, code)
    pod.spec.nodeName = "n"
    local ended = { exitCode = code or (phase == "Failed" and 1 or 0) }
    pod.status = { phase = phase, containerStatuses = { { name = "c", state = { terminated = ended } } } }
    world:put("pods", pod)
end

--- Deleted pods whose finalizers are gone are gone.
local function sweep(world)
    local gone = {}
    for item in world:list("pods") do
        if item.deleting and #(item["metadata.finalizers"] or {}) == 0 then gone[#gone + 1] = item.key end
    end
    for _, key in ipairs(gone) do world:drop("pods", key) end
end

local function finalizers(world)
    local count = 0
    for item in world:list("pods") do count = count + #(item["metadata.finalizers"] or {}) end
    return count
end

local function edit(world, fields)
    local object = world:get("jobs.batch", KEY)
    for key, value in pairs(fields) do object.spec[key] = value end
    world:put("jobs.batch", object)
end

local FAILURES = "batch.kubernetes.io/job-index-failure-count"

--- An Indexed Job of three, whose pods may fail as often as they like as far as backoffLimit is concerned.
local function per_index(spec)
    local whole = m8.copy(spec)
    whole.completions, whole.completionMode = 3, "Indexed"
    whole.parallelism, whole.backoffLimit = whole.parallelism or 3, 2147483647
    return world_of(whole)
end

local function of_index(world, index)
    for _, pod in ipairs(active(world)) do
        if pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] == tostring(index) then return pod end
    end
    return nil
end

return {
    ["runs parallelism pods until completions have succeeded"] = function()
        local world = world_of({ completions = 5, parallelism = 2 })
        for _ = 1, 3 do
            settle(world)
            assert(#active(world) <= 2, "more than parallelism")
            for _, pod in ipairs(active(world)) do finish(world, pod, "Succeeded") end
        end
        settle(world)
        testing.equal(status(world).succeeded, 5)
        testing.equal(condition(world, "Complete").status, "True")
        testing.equal(finalizers(world), 0)
        assert(status(world).completionTime and status(world).startTime, "times")
        testing.equal(#active(world), 0)
    end,

    ["counts once, wherever it is interrupted"] = function()
        for cut = 1, 12 do
            local world, steps = world_of({ completions = 3, parallelism = 3, backoffLimit = 100 }), 0
            local failed = false
            for _ = 1, 60 do
                local plan = testing.reconcile(world, "job", KEY)
                if #plan.steps > 0 and (steps + #plan.steps) >= cut and not failed then
                    -- the manager dies after part of this plan
                    failed = true
                    for i = #plan.steps, math.max(1, cut - steps) + 1, -1 do plan.steps[i] = nil end
                end
                steps = steps + #plan.steps
                testing.apply(world, plan)
                local now = active(world)
                if now[1] then finish(world, now[1], steps % 5 == 0 and "Failed" or "Succeeded") end
                world:set_now(world.now + 120)
            end
            testing.equal(status(world).succeeded, 3, "cut " .. cut)
            local succeeded = 0
            for item in world:list("pods") do
                if item["status.phase"] == "Succeeded" then succeeded = succeeded + 1 end
            end
            testing.equal(succeeded, 3, "pods that succeeded, cut " .. cut)
            testing.equal(finalizers(world), 0)
            testing.equal(#status(world).uncountedTerminatedPods.succeeded, 0)
        end
    end,

    ["backs off after failures, fails above backoffLimit"] = function()
        local world = world_of({ completions = 1, backoffLimit = 2 })
        for attempt = 1, 3 do
            settle(world)
            testing.equal(#active(world), 1, "attempt " .. attempt)
            finish(world, active(world)[1], "Failed")
            local plans = settle(world)
            if attempt < 3 then
                testing.equal(#active(world), 0, "waits")
                testing.equal(plans[#plans].after, 2 ^ (attempt - 1))
                world:set_now(world.now + 2 ^ (attempt - 1))
            end
        end
        testing.equal(status(world).failed, 3)
        testing.equal(condition(world, "Failed").reason, "BackoffLimitExceeded")
        testing.equal(#active(world), 0)
    end,

    ["Indexed: each index once, the missing one again"] = function()
        local world = world_of({ completions = 4, parallelism = 3, completionMode = "Indexed" })
        settle(world)
        local seen = {}
        for _, pod in ipairs(active(world)) do
            local index = pod.metadata.annotations["batch.kubernetes.io/job-completion-index"]
            seen[#seen + 1] = index
            testing.equal(pod.spec.containers[1].env[1], { name = "JOB_COMPLETION_INDEX", value = index })
            testing.equal(pod.spec.hostname, "sum-" .. index)
        end
        table.sort(seen)
        testing.equal(table.concat(seen, " "), "0 1 2")
        for _, pod in ipairs(active(world)) do
            finish(world, pod, pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] == "1" and "Failed" or "Succeeded")
        end
        settle(world)
        testing.equal(status(world).completedIndexes, "0,2")
        world:set_now(world.now + 1)
        settle(world)
        for _, pod in ipairs(active(world)) do finish(world, pod, "Succeeded") end
        settle(world)
        testing.equal(status(world).completedIndexes, "0-3")
        testing.equal(status(world).succeeded, 4)
        testing.equal(condition(world, "Complete").reason, "CompletionsReached")
    end,

    ["Indexed: made smaller, it is complete when the indexes that it still has are done"] = function()
        local world = world_of({ completions = 5, parallelism = 5, completionMode = "Indexed" })
        settle(world)
        for _, pod in ipairs(active(world)) do
            local index = tonumber(pod.metadata.annotations["batch.kubernetes.io/job-completion-index"])
            if index == 0 or index > 2 then finish(world, pod, "Succeeded") end
        end
        settle(world)
        testing.equal(status(world).completedIndexes, "0,3-4")
        edit(world, { completions = 3, parallelism = 3 })
        settle(world)
        testing.equal(condition(world, "Complete"), nil)
        testing.equal({ status(world).completedIndexes, status(world).succeeded, #active(world) }, { "0", 1, 2 })
        for _, pod in ipairs(active(world)) do finish(world, pod, "Succeeded") end
        settle(world)
        testing.equal(condition(world, "Complete").status, "True")
        testing.equal({ status(world).completedIndexes, status(world).succeeded }, { "0-2", 3 })
    end,

    ["backoffLimitPerIndex: an index fails by itself, the others go on"] = function()
        local world = per_index({ backoffLimitPerIndex = 1 })
        settle(world)
        local first = of_index(world, 1)
        testing.equal(first.metadata.annotations[FAILURES], "0")
        finish(world, first, "Failed")
        local plans = settle(world)
        testing.equal({ #active(world), plans[#plans].after }, { 2, 1 })
        testing.apply(world, { steps = { { verb = "delete", resource = "pods", key = "default/" .. first.metadata.name } } })
        settle(world)
        assert(world:item("pods", "default/" .. first.metadata.name), "deleted by somebody: it stays, as its count is needed")
        world:set_now(world.now + 1)
        settle(world)
        sweep(world)
        testing.equal(world:item("pods", "default/" .. first.metadata.name), nil)
        testing.equal(of_index(world, 1).metadata.annotations[FAILURES], "1")
        testing.equal({ status(world).failed, status(world).failedIndexes }, { 1, "" })
        finish(world, of_index(world, 1), "Failed")
        settle(world)
        testing.equal({ status(world).failed, status(world).failedIndexes, #active(world) }, { 2, "1", 2 })
        for _, index in ipairs({ 0, 2 }) do finish(world, of_index(world, index), "Succeeded") end
        settle(world)
        testing.equal(condition(world, "Failed").reason, "FailedIndexes")
        testing.equal(condition(world, "Failed").message, "Job has failed indexes")
        testing.equal({ status(world).completedIndexes, status(world).failedIndexes, finalizers(world) }, { "0,2", "1", 0 })
    end,

    ["backoffLimitPerIndex: one that waits leaves its place to another"] = function()
        local world = per_index({ backoffLimitPerIndex = 1, parallelism = 1 })
        settle(world)
        finish(world, of_index(world, 0), "Failed")
        settle(world)
        testing.equal(#active(world), 1)
        finish(world, of_index(world, 1), "Succeeded")
        world:set_now(world.now + 1)
        settle(world)
        testing.equal(of_index(world, 0).metadata.annotations[FAILURES], "1")
    end,

    ["maxFailedIndexes: one more ends the Job"] = function()
        local world = per_index({ backoffLimitPerIndex = 0, maxFailedIndexes = 1 })
        settle(world)
        finish(world, of_index(world, 0), "Failed")
        settle(world)
        testing.equal({ status(world).failedIndexes, condition(world, "Failed") }, { "0" })
        finish(world, of_index(world, 2), "Failed")
        settle(world)
        sweep(world)
        settle(world)
        testing.equal(condition(world, "Failed").reason, "MaxFailedIndexesExceeded")
        testing.equal({ status(world).failedIndexes, #active(world), finalizers(world) }, { "0,2", 0, 0 })
    end,

    ["podFailurePolicy with backoffLimitPerIndex: FailIndex fails it at once, Ignore is noted beside"] = function()
        local world = per_index({ backoffLimitPerIndex = 1, podReplacementPolicy = "Failed", podFailurePolicy = { rules = {
            { action = "FailIndex", onExitCodes = { operator = "In", values = { 42 } } },
            { action = "Ignore", onPodConditions = { { type = "DisruptionTarget" } } } } } })
        settle(world)
        finish(world, of_index(world, 0), "Failed", 42)
        local evicted = of_index(world, 1)
        finish(world, evicted, "Failed", 7)
        evicted.status.conditions = { { type = "DisruptionTarget", status = "True" } }
        world:put("pods", evicted)
        settle(world)
        testing.equal({ status(world).failedIndexes, status(world).failed }, { "0", 1 })
        world:set_now(world.now + 1)
        settle(world)
        local annotations = of_index(world, 1).metadata.annotations
        testing.equal({ annotations[FAILURES], annotations["batch.kubernetes.io/job-index-ignored-failure-count"] }, { "0", "1" })
        testing.equal(status(world).failed, 1)
        assert(not of_index(world, 0))
    end,

    ["backoffLimitPerIndex: counts right, wherever it is interrupted"] = function()
        for cut = 1, 16 do
            local world, steps, died, tries = per_index({ backoffLimitPerIndex = 2 }), 0, false, {}
            for _ = 1, 40 do
                local plan = testing.reconcile(world, "job", KEY)
                if #plan.steps > 0 and steps + #plan.steps >= cut and not died then
                    died = true
                    for i = #plan.steps, math.max(1, cut - steps) + 1, -1 do plan.steps[i] = nil end
                end
                steps = steps + #plan.steps
                testing.apply(world, plan)
                local pod = active(world)[1]
                if pod then
                    local index = tonumber(pod.metadata.annotations["batch.kubernetes.io/job-completion-index"])
                    tries[index] = (tries[index] or 0) + 1
                    finish(world, pod, index == 1 and "Succeeded" or "Failed")
                end
                world:set_now(world.now + 120)
            end
            testing.equal({ tries[0], tries[1], tries[2] }, { 3, 1, 3 }, "cut " .. cut)
            testing.equal({ status(world).failedIndexes, status(world).failed, finalizers(world) }, { "0,2", 6, 0 }, "cut " .. cut)
            testing.equal(condition(world, "Failed").reason, "FailedIndexes")
        end
    end,

    ["a work queue is complete when one has succeeded and all have ended"] = function()
        local world = world_of({ parallelism = 3 })
        settle(world)
        finish(world, active(world)[1], "Succeeded")
        settle(world)
        testing.equal(#active(world), 2)
        testing.equal(condition(world, "Complete"), nil)
        for _, pod in ipairs(active(world)) do finish(world, pod, "Succeeded") end
        settle(world)
        testing.equal(condition(world, "Complete").status, "True")
    end,

    ["suspend ends the pods without a failure, resume goes on"] = function()
        local world = world_of({ completions = 2, parallelism = 2 })
        settle(world)
        edit(world, { suspend = true })
        settle(world)
        sweep(world)
        settle(world)
        testing.equal(#active(world), 0)
        testing.equal(status(world).failed, 0)
        testing.equal(condition(world, "Suspended").status, "True")
        testing.equal(status(world).startTime, nil)
        edit(world, { suspend = false })
        settle(world)
        testing.equal(#active(world), 2)
        testing.equal(condition(world, "Suspended").status, "False")
        assert(status(world).startTime, "it has begun again")
    end,

    ["activeDeadlineSeconds"] = function()
        local world = world_of({ completions = 1, activeDeadlineSeconds = 30 })
        settle(world)
        local plans = settle(world)
        testing.equal(plans[#plans].after, 30)
        world:set_now(world.now + 30)
        settle(world)
        sweep(world)
        settle(world)
        testing.equal(condition(world, "Failed").reason, "DeadlineExceeded")
        testing.equal(#active(world), 0)
    end,

    ["ttlSecondsAfterFinished deletes it"] = function()
        local world = world_of({ completions = 1, ttlSecondsAfterFinished = 10 })
        settle(world)
        finish(world, active(world)[1], "Succeeded")
        local plans = settle(world)
        testing.equal(plans[#plans].after, 10)
        world:set_now(world.now + 10)
        local plan = testing.reconcile(world, "job", KEY)
        testing.equal({ plan.steps[1].verb, plan.steps[1].resource, plan.steps[1].propagation }, { "delete", "jobs.batch", "Foreground" })
    end,

    ["podFailurePolicy: what fails the Job, what does not count"] = function()
        local policy = { rules = {
            { action = "FailJob", onExitCodes = { containerName = "c", operator = "In", values = { 42 } } },
            { action = "Ignore", onPodConditions = { { type = "DisruptionTarget" } } },
        } }
        local world = world_of({ completions = 1, backoffLimit = 0, podFailurePolicy = policy, podReplacementPolicy = "Failed" })
        settle(world)
        local pod = active(world)[1]
        finish(world, pod, "Failed", 7)
        pod.status.conditions = { { type = "DisruptionTarget", status = "True" } }
        world:put("pods", pod)
        settle(world)
        testing.equal(status(world).failed, 0)
        testing.equal(#active(world), 1)
        finish(world, active(world)[1], "Failed", 42)
        settle(world)
        testing.equal(condition(world, "Failed").reason, "PodFailurePolicy")
        testing.contains(condition(world, "Failed").message, "failed with exit code 42 matching FailJob rule at index 0")
    end,

    ["successPolicy ends an Indexed Job early"] = function()
        local world = world_of({ completions = 5, parallelism = 5, completionMode = "Indexed",
            successPolicy = { rules = { { succeededIndexes = "0,3-4", succeededCount = 1 } } } })
        settle(world)
        for _, pod in ipairs(active(world)) do
            if pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] == "3" then finish(world, pod, "Succeeded") end
        end
        settle(world)
        sweep(world)
        settle(world)
        testing.equal(condition(world, "Complete").reason, "SuccessPolicy")
        testing.equal(#active(world), 0)
    end,

    ["parallelism is lowered: the surplus goes and is no failure"] = function()
        local world = world_of({ completions = 10, parallelism = 4 })
        settle(world)
        edit(world, { parallelism = 1 })
        settle(world)
        sweep(world)
        settle(world)
        testing.equal(#active(world), 1)
        testing.equal(status(world).failed, 0)
    end,

    ["a pod that somebody deletes is a failure and is replaced; its Job gone, it is let go"] = function()
        local world = world_of({ completions = 1 })
        settle(world)
        local pod = active(world)[1]
        pod.spec.nodeName, pod.metadata.deletionTimestamp = "n", world:time_text()
        world:put("pods", pod)
        settle(world)
        testing.equal(status(world).failed, 1)
        sweep(world)
        world:set_now(world.now + 1)
        settle(world)
        testing.equal(#active(world), 1)
        local key = "default/" .. active(world)[1].metadata.name
        world:drop("jobs.batch", KEY)
        testing.equal(testing.keys(world, "job", "pods", key), { "pod|" .. key })
        testing.settle(world, "job", "pod|" .. key)
        testing.equal(finalizers(world), 0)
    end,

    ["manualSelector: takes over a pod that matches and counts its end"] = function()
        local world = world_of({ completions = 1, manualSelector = true })
        world:put("pods", { apiVersion = "v1", kind = "Pod", spec = { containers = {} },
            metadata = { name = "mine", namespace = "default", uid = "u-mine", labels = { job = "u-sum" } } })
        settle(world)
        testing.equal(#active(world), 1)
        testing.equal(finalizers(world), 1)
        finish(world, active(world)[1], "Succeeded")
        settle(world)
        testing.equal(status(world).succeeded, 1)
    end,

    ["restarts in place count against backoffLimit"] = function()
        for _, restarts in ipairs({ { 0, 2 }, { 2, 0 }, { 1, 1 }, { 1, 0 } }) do
            local world = world_of({ completions = 1, backoffLimit = 2, restart = "OnFailure" })
            settle(world)
            local pod = active(world)[1]
            pod.spec.nodeName = "n"
            pod.status = { phase = "Pending", initContainerStatuses = { { name = "i", restartCount = restarts[1], state = {} } },
                containerStatuses = { { name = "c", restartCount = restarts[2], state = {} } } }
            world:put("pods", pod)
            settle(world)
            testing.equal((condition(world, "FailureTarget") or {}).reason, restarts[1] + restarts[2] > 1 and "BackoffLimitExceeded" or nil)
        end
    end,
}
