-- Preemption: pods of lower priority make room, as few as possible, never for nothing and never twice.
local testing = require("framework.testing")

local function node(name, cpu)
    return { apiVersion = "v1", kind = "Node", metadata = { name = name, labels = { ["kubernetes.io/hostname"] = name } }, spec = {},
        status = { allocatable = { cpu = cpu or "2", memory = "8Gi", pods = "110" },
            conditions = { { type = "Ready", status = "True" } } } }
end

local function pod(name, priority, cpu, fields)
    fields = fields or {}
    return { apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", labels = { app = fields.app or name }, creationTimestamp = "2026-01-01T00:00:00Z",
            deletionTimestamp = fields.deleted },
        spec = { nodeName = fields.node, priority = priority, preemptionPolicy = fields.policy, nodeSelector = fields.selector,
            affinity = fields.affinity,
            containers = { { name = "c", image = "i", resources = { requests = { cpu = cpu } } } } },
        status = { phase = fields.node and "Running" or "Pending", nominatedNodeName = fields.nominated } }
end

local function budget(app, allowed)
    return { apiVersion = "policy/v1", kind = "PodDisruptionBudget", metadata = { name = app, namespace = "default" },
        spec = { selector = { matchLabels = { app = app } } }, status = { disruptionsAllowed = allowed } }
end

local function world_of(nodes, pods, budgets)
    return testing.world({ objects = { nodes = nodes, pods = pods, ["poddisruptionbudgets.policy"] = budgets or {} } })
end

--- One round; victims by name, the node that was nominated.
local function round(world)
    local plan, victims = testing.reconcile(world, "scheduler", "pods"), {}
    for _, step in ipairs(plan.steps) do
        if step.verb == "delete" then victims[#victims + 1] = step.key:gsub("default/", "") end
    end
    table.sort(victims)
    return victims, plan
end

local function nominated(plan)
    for _, event in ipairs(plan.events) do
        if event.reason == "Nominated" then return event.message end
    end
    return nil
end

--- Victims are marked and stay for a while, as they do with a grace period.
local function mark(world, name)
    local object = world:get("pods", "default/" .. name)
    object.metadata.deletionTimestamp = "2026-01-01T00:00:30Z"
    world:put("pods", object)
end

return {
    ["the fewest of the least important go, and the node is kept"] = function()
        local world = world_of({ node("a"), node("b") }, {
            pod("a-low", 1, "1", { node = "a" }), pod("a-mid", 5, "1", { node = "a" }), pod("b-mid", 5, "2", { node = "b" }),
            pod("vip", 100, "1") })
        local victims, plan = round(world)
        testing.equal(victims, { "a-low" })
        testing.equal(plan.steps[#plan.steps].object.status.nominatedNodeName, "a")
        local told = {}
        for _, event in ipairs(plan.events) do told[event.reason] = event.message end
        testing.equal(told.Preempted, "Preempted by pod default/vip on node a")
        testing.contains(told.FailedScheduling, "2 Insufficient cpu")
        testing.apply(world, plan)
        world:drop("pods", "default/a-low")
        round(world)
        testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
        testing.equal(world:get("pods", "default/vip").spec.nodeName, "a")
    end,

    ["nobody else takes the room while it is being made"] = function()
        local world = world_of({ node("a") }, { pod("low", 1, "2", { node = "a" }), pod("vip", 100, "1500m") })
        local victims, plan = round(world)
        testing.equal(victims, { "low" })
        for _, step in ipairs(plan.steps) do
            if step.verb == "status" then testing.apply(world, { steps = { step }, events = {} }) end
        end
        mark(world, "low")
        testing.equal(round(world), {}, "its victims are on their way: not again")
        world:put("pods", pod("sneaky", 2, "1"))
        world:drop("pods", "default/low")
        testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
        testing.equal(world:get("pods", "default/vip").spec.nodeName, "a")
        testing.equal(world:get("pods", "default/sneaky").spec.nodeName, nil)
    end,

    ["nobody goes where it would not help, for equals, or with preemptionPolicy Never"] = function()
        local others = { pod("low", 1, "2", { node = "a" }), pod("equal", 100, "2", { node = "b" }) }
        local function with(each) return round(world_of({ node("a"), node("b") }, { others[1], others[2], each })) end
        testing.equal(with(pod("huge", 100, "3")), {})
        testing.equal(with(pod("elsewhere", 100, "1", { selector = { disk = "ssd" } })), {})
        testing.equal(with(pod("polite", 100, "1", { policy = "Never" })), {})
        testing.equal(with(pod("vip", 100, "1")), { "low" })
    end,

    ["two that come together make room for both, and no more"] = function()
        local pods = {}
        for i = 1, 8 do pods[i] = pod("low" .. i, 1, "500m", { node = i <= 4 and "a" or "b" }) end
        pods[9], pods[10] = pod("vip1", 100, "500m", { app = "vip" }), pod("vip2", 100, "500m", { app = "vip" })
        testing.equal(#round(world_of({ node("a"), node("b") }, pods)), 2)
    end,

    ["a disruption budget turns it to another node, but does not stop it"] = function()
        local pods = { pod("guarded", 1, "2", { node = "a" }), pod("free", 5, "2", { node = "b" }), pod("vip", 100, "1") }
        testing.equal(round(world_of({ node("a"), node("b") }, pods, { budget("guarded", 0) })), { "free" })
        testing.equal(round(world_of({ node("a"), node("b") }, pods, { budget("guarded", 1) })), { "guarded" })
        testing.equal(round(world_of({ node("a") }, { pods[1], pods[3] }, { budget("guarded", 0) })), { "guarded" })
    end,

    ["a budget lets as many of a node's pods go as it allows, the least important, and others before the rest"] = function()
        local pods = { pod("b1", 1, "1", { node = "a", app = "b" }), pod("b2", 2, "1", { node = "a", app = "b" }),
            pod("other", 3, "1", { node = "a" }), pod("vip", 100, "2") }
        testing.equal(round(world_of({ node("a", "3") }, pods)), { "b1", "b2" })
        local victims, plan = round(world_of({ node("a", "3") }, pods, { budget("b", 1) }))
        testing.equal(victims, { "b1", "other" })
        testing.equal(nominated(plan), "Room is being made on node a: 2 pod(s) of lower priority go")
        victims, plan = round(world_of({ node("a", "2") }, { pods[1], pods[2], pods[4] }, { budget("b", 0) }))
        testing.equal(victims, { "b1", "b2" })
        testing.equal(nominated(plan), "Room is being made on node a: 2 pod(s) of lower priority go, 2 more than disruption budgets allow")
    end,

    ["what a budget allows is spent once, also by pods that come together"] = function()
        testing.equal(round(world_of({ node("a", "1"), node("b", "1"), node("c", "1") }, {
            pod("b1", 1, "1", { node = "a", app = "b" }), pod("b2", 1, "1", { node = "b", app = "b" }),
            pod("other", 5, "1", { node = "c" }), pod("vip1", 100, "1"), pod("vip2", 100, "1") }, { budget("b", 1) }))[2], "other")
    end,

    ["anti-affinity of a less important pod can be in the way too"] = function()
        local alone = { podAntiAffinity = { requiredDuringSchedulingIgnoredDuringExecution = {
            { labelSelector = { matchLabels = { app = "vip" } }, topologyKey = "kubernetes.io/hostname" } } } }
        testing.equal(round(world_of({ node("a") }, { pod("hates", 1, "100m", { node = "a", affinity = alone }),
            pod("bystander", 1, "100m", { node = "a" }), pod("vip", 100, "100m") })), { "hates" })
    end,

    ["room that is coming anyway is waited for"] = function()
        testing.equal(round(world_of({ node("a") }, { pod("going", 1, "1", { node = "a", deleted = "2026-01-01T00:00:30Z" }),
            pod("low", 1, "1", { node = "a" }), pod("vip", 100, "1") })), {})
    end,

    ["random worlds: who makes room makes it fit"] = function()
        local preempted = 0
        for seed = 1, 60 do
            local state = seed
            local function random(n)
                state = (state * 1103515245 + 12345) % 2147483648
                return math.floor(state / 65536) % n + 1
            end
            local nodes, pods = {}, {}
            for i = 1, 2 + random(3) do nodes[i] = node("n" .. i, tostring(random(4))) end
            for i = 1, 14 do pods[i] = pod("p" .. i, random(4), random(8) * 200 .. "m") end
            local world = world_of(nodes, pods)
            for i = 1, 3 do testing.apply(world, testing.reconcile(world, "scheduler", "pods")) end
            world:put("pods", pod("vip", 100, random(10) * 200 .. "m"))
            local victims, plan = round(world)
            testing.apply(world, plan)
            if #victims > 0 then
                preempted = preempted + 1
                for _, name in ipairs(victims) do world:drop("pods", "default/" .. name) end
                for _ = 1, 3 do testing.apply(world, testing.reconcile(world, "scheduler", "pods")) end
                assert(world:get("pods", "default/vip").spec.nodeName, "seed " .. seed .. ": pods went, and it still waits")
            end
        end
        assert(preempted > 10, preempted .. " worlds with preemption")
    end,
}
