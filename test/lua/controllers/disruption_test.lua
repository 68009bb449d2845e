local testing = require("framework.testing")

local BUDGETS = "poddisruptionbudgets.policy"

local function pod(name, fields)
    fields = fields or {}
    return { apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", labels = { app = "web" }, deletionTimestamp = fields.deleted,
            ownerReferences = fields.owner and
                { { uid = fields.owner, controller = true, kind = "ReplicaSet", name = "rs", apiVersion = "apps/v1" } } },
        spec = { nodeName = "n" },
        status = { phase = fields.phase or "Running", conditions = { {
            type = "Ready", status = fields.ready == false and "False" or "True", lastTransitionTime = "2026-01-01T00:00:00Z" } } } }
end

local function budget(spec, status)
    spec.selector = spec.selector or { matchLabels = { app = "web" } }
    return { apiVersion = "policy/v1", kind = "PodDisruptionBudget",
        metadata = { name = "b", namespace = "default", generation = 3 }, spec = spec, status = status }
end

local function set(replicas)
    return { apiVersion = "apps/v1", kind = "ReplicaSet", metadata = { name = "rs", namespace = "default", uid = "rs" },
        spec = { replicas = replicas } }
end

local function status_of(spec, pods, sets, status, now)
    local world = testing.world({ now = now,
        objects = { pods = pods, [BUDGETS] = { budget(spec, status) }, ["replicasets.apps"] = sets or {} } })
    testing.settle(world, "disruption", "default/b")
    return world:get(BUDGETS, "default/b").status, world
end

local function owned(count, fields)
    local pods = {}
    for i = 1, count do
        local state = fields and fields[i]
        pods[i] = pod("p" .. i, { owner = "rs", ready = state ~= "not ready",
            deleted = state == "going" and "2026-01-01T00:00:00Z" or nil })
    end
    return pods
end

return {
    ["minAvailable as a number"] = function()
        local status = status_of({ minAvailable = 2 }, owned(3))
        testing.equal({ status.disruptionsAllowed, status.currentHealthy, status.desiredHealthy, status.expectedPods,
            status.observedGeneration }, { 1, 3, 2, 3, 3 })
        testing.equal(status.conditions[1].reason, "SufficientPods")
        testing.equal(status_of({ minAvailable = 2 }, owned(3, { "not ready" })).disruptionsAllowed, 0)
        testing.equal(status_of({ minAvailable = 2 }, owned(3, { "going" })).disruptionsAllowed, 0)
    end,

    ["percentages and maxUnavailable go by the owner's replicas, rounded up"] = function()
        testing.equal(status_of({ minAvailable = "50%" }, owned(5), { set(5) }).desiredHealthy, 3)
        testing.equal(status_of({ maxUnavailable = 1 }, owned(3), { set(5) }).disruptionsAllowed, 0)
        testing.equal(status_of({ maxUnavailable = "30%" }, owned(5), { set(5) }).disruptionsAllowed, 2)
        testing.equal(status_of({ maxUnavailable = 1 }, { pod("alone") }).disruptionsAllowed, 0, "nobody says how many there should be")
    end,

    ["a granted pod does not count until it is gone, or for two minutes"] = function()
        local granted = { disruptedPods = { p1 = "2026-01-01T00:00:00Z" } }
        local status, world = status_of({ minAvailable = 2 }, owned(4), nil, granted, 1767225600 + 10)
        testing.equal({ status.disruptionsAllowed, status.disruptedPods.p1 }, { 1, "2026-01-01T00:00:00Z" })
        world:drop("pods", "default/p1")
        testing.settle(world, "disruption", "default/b")
        testing.equal(world:get(BUDGETS, "default/b").status.disruptedPods, {})
        testing.equal(status_of({ minAvailable = 2 }, owned(4), nil, granted, 1767225600 + 121).disruptionsAllowed, 2)
    end,

    ["writes at the revision that it has read, and only when something differs"] = function()
        local world = testing.world({ objects = { pods = owned(3), [BUDGETS] = { budget({ minAvailable = 1 }) } } })
        local plan = testing.reconcile(world, "disruption", "default/b")
        testing.equal(plan.steps[1].revision, world:get(BUDGETS, "default/b").metadata.resourceVersion)
        testing.apply(world, plan)
        testing.equal(#testing.reconcile(world, "disruption", "default/b").steps, 0)
    end,

    ["an empty selector means all pods, none means no pod"] = function()
        testing.equal(status_of({ minAvailable = 1, selector = { matchLabels = {} } }, owned(3)).expectedPods, 3)
    end,
}
