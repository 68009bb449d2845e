-- PodDisruptionBudgets: counts healthy pods and says how many evictions may be granted. The server takes one for each that it
-- grants and notes the pod; both write at the revision that they read, so none is granted twice.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local BUDGETS = "poddisruptionbudgets.policy"
local GRANTED_FOR = 120 -- seconds after which a pod that was granted and still lives counts again
local OWNERS = { "replicasets.apps", "deployments.apps", "statefulsets.apps", "replicationcontrollers" }

--- The number that "2", 2 or "30%" means of `whole`, rounded up.
local function amount_of(value, whole)
    local percent = type(value) == "string" and value:match("^(%d+)%%$")
    if percent then return math.ceil(tonumber(percent) * whole / 100) end
    return tonumber(value)
end

--- The pods that there should be: the replicas of all their topmost owners. Pods without one count for nothing.
local function expected_scale(world, pods)
    local seen, sum = {}, 0
    for _, pod in ipairs(pods) do
        local owner = pod.owner_uid and world:by_uid(pod.owner_uid)
        while owner and owner.owner_uid and world:by_uid(owner.owner_uid) do owner = world:by_uid(owner.owner_uid) end
        if owner and not seen[owner.uid] then
            seen[owner.uid] = true
            sum = sum + (owner["spec.replicas"] or 0)
        end
    end
    return sum
end

local function bounds(world, spec, pods)
    if spec.maxUnavailable ~= nil then
        local expected = expected_scale(world, pods)
        return expected, math.max(0, expected - amount_of(spec.maxUnavailable, expected))
    end
    local least = spec.minAvailable
    if type(least) == "string" and least:find("%%") then
        local expected = expected_scale(world, pods)
        return expected, amount_of(least, expected)
    end
    return #pods, amount_of(least or 1, #pods)
end

--- Those that were granted and are still to go: { name = time }, and the seconds until the first of them counts again.
local function still_granted(world, budget, by_name)
    local kept, first = {}, nil
    for name, time in pairs((budget.status or {}).disruptedPods or {}) do
        local left = (m8.time(time) or 0) + GRANTED_FOR - world.now
        local pod = by_name[name]
        if pod and not pod.deleting and left > 0 then
            kept[name] = time
            first = math.min(first or left, left)
        end
    end
    return kept, first
end

local function is_healthy(pod)
    return not pod.deleting and workload.ready_since(pod) ~= nil
end

local function condition_of(allowed, generation)
    return { type = "DisruptionAllowed", status = allowed > 0 and "True" or "False", observedGeneration = generation,
        reason = allowed > 0 and "SufficientPods" or "InsufficientPods", message = "" }
end

local function status_of(world, budget)
    local pods, by_name, healthy = {}, {}, 0
    local selector = budget.spec.selector and m8.selector(budget.spec.selector)
    if selector then
        for pod in world:list("pods", { namespace = budget.metadata.namespace, selector = selector }) do
            if pod["status.phase"] ~= "Succeeded" and pod["status.phase"] ~= "Failed" then
                pods[#pods + 1], by_name[pod.name] = pod, pod
            end
        end
    end
    local granted, first = still_granted(world, budget, by_name)
    for _, pod in ipairs(pods) do
        if is_healthy(pod) and not granted[pod.name] then healthy = healthy + 1 end
    end
    local expected, desired = bounds(world, budget.spec, pods)
    local allowed = expected > 0 and math.max(0, healthy - desired) or 0
    local old = budget.status or {}
    return {
        observedGeneration = budget.metadata.generation, disruptionsAllowed = allowed, currentHealthy = healthy,
        desiredHealthy = desired, expectedPods = expected, disruptedPods = granted,
        conditions = workload.with_condition(old.conditions, condition_of(allowed, budget.metadata.generation),
            world:time_text()),
    }, first
end

--- As a merge patch: what is no longer granted is named to go.
local function patch_of(status, old)
    local patch = m8.copy(status)
    for name in pairs(old.disruptedPods or {}) do
        if status.disruptedPods[name] == nil then patch.disruptedPods[name] = m8.null end
    end
    return patch
end

local function same(status, old)
    local copy = m8.copy(old)
    copy.disruptedPods = copy.disruptedPods or {}
    return m8.equal(status, copy)
end

local function budgets_of_pod(world, item, previous)
    local pod, keys = item or previous, {}
    if not pod then return { } end
    for budget in world:list(BUDGETS, { namespace = pod.namespace }) do
        local selector = budget["spec.selector"] and m8.selector(budget["spec.selector"])
        if selector and (selector:matches(pod["metadata.labels"] or {})
            or previous and selector:matches(previous["metadata.labels"] or {})) then keys[#keys + 1] = budget.key end
    end
    return keys
end

--- Replicas were changed: budgets that count in percent or by what may be missing follow.
local function budgets_of_namespace(world, item, previous)
    local keys = {}
    for budget in world:list(BUDGETS, { namespace = (item or previous).namespace }) do keys[#keys + 1] = budget.key end
    return keys
end

local watches = {
    { resource = BUDGETS, key = "self" },
    { resource = "pods", on = { "metadata.labels", "metadata.deletionTimestamp", "status.phase", "status.conditions" },
      map = budgets_of_pod },
}
local project = { pods = m8.copy(workload.pod_columns), [BUDGETS] = { "spec.selector" } }
for _, owner in ipairs(OWNERS) do
    watches[#watches + 1] = { resource = owner, on = { "spec.replicas" }, map = budgets_of_namespace }
    project[owner] = { "spec.replicas" }
end
project.pods[#project.pods + 1] = "metadata.deletionTimestamp"

return {
    name = "disruption",
    watches = watches,
    project = project,
    reconcile = function(world, key)
        local budget = world:get(BUDGETS, key)
        if not budget or budget.metadata.deletionTimestamp then return nil end
        local plan, old = plans.new(), budget.status or {}
        local status, first = status_of(world, budget)
        if not same(status, old) then
            plan:status(BUDGETS, key, patch_of(status, old),
                { uid = budget.metadata.uid, revision = budget.metadata.resourceVersion })
        end
        if first then plan:requeue(first + 1) end
        return plan
    end,
}
