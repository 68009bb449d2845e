-- Pods leave a node that runs short: one at a time, after some patience, the one that the policy names.
local m8 = require("m8")
local testing = require("framework.testing")

local function node(world, status, since)
    world:put("nodes", { apiVersion = "v1", kind = "Node", metadata = { name = "n1", labels = {} }, spec = {},
        status = { conditions = { { type = "Ready", status = "True" },
            { type = "MemoryPressure", status = status, lastTransitionTime = m8.time_text(since) } } } })
end

local function pod(world, name, fields)
    fields = fields or {}
    world:put("pods", { apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", labels = { app = fields.app or name },
            creationTimestamp = "2026-01-01T00:00:00Z",
            ownerReferences = fields.owner
                and { { kind = fields.owner, name = "x", uid = "u-x", controller = true, apiVersion = "apps/v1" } } },
        spec = { nodeName = "n1", priority = fields.priority or 0,
            containers = { { name = "c", image = "i", resources = { requests = { memory = fields.requested or "100Mi" } } } } },
        status = { phase = "Running" } })
    world:put("pods.metrics.k8s.io", { apiVersion = "metrics.k8s.io/v1beta1", kind = "PodMetrics",
        metadata = { name = name, namespace = "default" }, containers = { { name = "c", usage = { memory = fields.used or "50Mi" } } } })
end

local victims

--- The node runs short, and has done so for a while.
local function pressure(world)
    node(world, "True", world.clock)
    testing.equal((victims(world)), "")
    world:set_now(world.clock + 11)
end

function victims(world)
    local plan = testing.reconcile(world, "nodepressure", "n1")
    local names = {}
    for _, step in ipairs(plan.steps) do
        testing.equal(step.verb, "delete")
        names[#names + 1] = step.key
    end
    return table.concat(names, " "), plan
end

local function world_of()
    local world = testing.world()
    pod(world, "greedy", { used = "900Mi" })
    pod(world, "modest", {})
    pod(world, "vital", { priority = 1000, used = "5Gi" })
    pod(world, "agent", { owner = "DaemonSet", used = "8Gi" })
    return world
end

return {
    ["nobody goes without pressure, nor before some time of it"] = function()
        local world = world_of()
        node(world, "False", world.clock)
        testing.equal((victims(world)), "")
        node(world, "True", world.clock)
        local names, plan = victims(world)
        testing.equal({ names, plan.after }, { "", 10 })
    end,

    ["the one that takes most beyond its request goes, then the next, ten seconds apart"] = function()
        local world = world_of()
        pressure(world)
        local names, plan = victims(world)
        testing.equal(names, "default/greedy")
        testing.contains(plan.events[1].message, "low on resource: memory (priority 0, memory")
        testing.apply(world, plan)
        testing.equal((victims(world)), "") -- it is on its way out
        world:drop("pods", "default/greedy")
        world:set_now(world.clock + 4)
        testing.equal((victims(world)), "")
        world:set_now(world.clock + 7)
        testing.equal((victims(world)), "default/modest")
    end,

    ["a disruption budget protects as long as there is another; DaemonSets stay"] = function()
        local world = world_of()
        world:put("poddisruptionbudgets.policy", { apiVersion = "policy/v1", kind = "PodDisruptionBudget",
            metadata = { name = "b", namespace = "default" }, spec = { selector = { matchLabels = { app = "greedy" } } },
            status = { disruptionsAllowed = 0 } })
        pressure(world)
        testing.equal((victims(world)), "default/modest")
    end,

    ["another policy, another victim"] = function()
        local world = world_of()
        assert(world:use({ ["evict.choose"] = { policies = { { name = "youngest" } } } }))
        local object = world:get("pods", "default/modest")
        object.metadata.creationTimestamp = "2026-02-01T00:00:00Z"
        world:put("pods", object)
        pressure(world)
        testing.equal((victims(world)), "default/modest")
    end,
}
