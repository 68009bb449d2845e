-- A node that runs short of memory or disk for some time loses pods, one at a time: which one is asked at the point evict.choose.
-- The pod goes the normal way; the taint that the node has meanwhile (nodelifecycle) keeps its successor away.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local METRICS, BUDGETS = "pods.metrics.k8s.io", "poddisruptionbudgets.policy"
local PATIENCE = 10 -- seconds of pressure before the first pod goes, and between two
local PRESSURES = { { condition = "MemoryPressure", resource = "memory" }, { condition = "DiskPressure", resource = "ephemeral-storage" } }

local function pressure_on(node)
    for _, pressure in ipairs(PRESSURES) do
        local condition = workload.condition(node["status.conditions"], pressure.condition)
        if condition and condition.status == "True" then return pressure, condition end
    end
    return nil
end

local function sum(containers, part, resource)
    local bytes = 0
    for _, container in ipairs(containers or {}) do
        local amounts = part == "usage" and container.usage or (container.resources or {}).requests
        bytes = bytes + (m8.quantity((amounts or {})[resource] or "0") or 0)
    end
    return bytes
end

local function is_protected(world, pod)
    for budget in world:list(BUDGETS, { namespace = pod.namespace }) do
        local selector = budget["spec.selector"] and m8.selector(budget["spec.selector"])
        local none_may_go = (budget["status.disruptionsAllowed"] or 0) <= 0
        if none_may_go and selector and selector:matches(pod["metadata.labels"] or {}) then return true end
    end
    return false
end

--- The pods that may go, and whether one is on its way out already.
local function candidates_on(world, node, resource)
    local list, leaving = {}, false
    for pod in world:list("pods", { index = "spec.nodeName", value = node.name }) do
        local owner = (pod["metadata.ownerReferences"] or {})[1]
        if pod.deleting then
            leaving = true
        elseif workload.is_active(pod) and not (owner and owner.kind == "DaemonSet") then
            local metrics = world:get(METRICS, pod.key)
            list[#list + 1] = {
                name = pod.key, priority = pod["spec.priority"] or 0, created = m8.time(pod["metadata.creationTimestamp"] or "") or 0,
                used = metrics and sum(metrics.containers, "usage", resource) or 0,
                requested = sum(world:get("pods", pod.key).spec.containers, "requests", resource), protected = is_protected(world, pod),
            }
        end
    end
    return list, leaving
end

local function evict(world, plan, node, pressure)
    local candidates, leaving = candidates_on(world, node, pressure.resource)
    if leaving then return end
    local choice, record = world:ask("evict.choose", {
        object = node.name, node = node.name, resource = pressure.resource, candidates = m8.array(candidates) })
    local pod = choice and world:item("pods", choice.name)
    if not pod then return end
    local reason = ("The node %s was low on resource: %s"):format(node.name, pressure.resource)
    local why = table.concat(record.reasons or {}, "; ")
    plan:delete("pods", pod.key, { uid = pod.uid, disruption = { reason = "TerminationByKubelet", message = reason } }, reason)
    plan:event(pod, "Warning", "Evicted", reason .. (why ~= "" and " (" .. why .. ")" or ""))
    world:seen("evicted/" .. node.name, pod.uid)
end

return {
    name = "nodepressure",
    watches = { { resource = "nodes", key = "self", on = { "status.conditions" } } },
    project = {
        nodes = { "status.conditions" }, [METRICS] = m8.array({}), [BUDGETS] = { "spec.selector", "status.disruptionsAllowed" },
        pods = { "spec.nodeName", "spec.priority", "status.phase", "metadata.labels", "metadata.ownerReferences",
            "metadata.creationTimestamp" },
    },
    index = { pods = { "spec.nodeName" } },
    reconcile = function(world, key)
        local node = world:item("nodes", key)
        local pressure, condition = nil, nil
        if node then pressure, condition = pressure_on(node) end
        if not pressure then return nil end
        local plan = plans.new()
        local since = world:seen("pressure/" .. key, condition.lastTransitionTime or "")
        local wait = PATIENCE - math.min(since, world:seen("evicted/" .. key))
        if wait <= 0 then
            evict(world, plan, node, pressure)
            wait = PATIENCE
        end
        plan:requeue(wait)
        return plan
    end,
}
