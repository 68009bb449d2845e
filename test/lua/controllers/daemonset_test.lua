local m8 = require("m8")
local testing = require("framework.testing")

local KEY = "default/agent"

local function daemonset(fields)
    fields = fields or {}
    return {
        apiVersion = "apps/v1", kind = "DaemonSet",
        metadata = { name = "agent", namespace = "default", uid = "u-agent", generation = 1 },
        spec = {
            selector = { matchLabels = { app = "agent" } }, updateStrategy = fields.strategy or { type = "RollingUpdate" },
            minReadySeconds = fields.min_ready, revisionHistoryLimit = fields.history,
            template = { metadata = { labels = { app = "agent" } }, spec = {
                nodeSelector = fields.selector, tolerations = fields.tolerations, affinity = fields.affinity,
                containers = { { name = "c", image = fields.image or "i:1" } } } },
        },
    }
end

local function node(name, fields)
    fields = fields or {}
    return { apiVersion = "v1", kind = "Node", metadata = { name = name, uid = "n-" .. name, labels = fields.labels or {} },
        spec = { taints = fields.taints } }
end

local function world_of(fields, nodes)
    nodes = nodes or { node("a"), node("b"), node("c") }
    return testing.world({ objects = { ["daemonsets.apps"] = { daemonset(fields) }, nodes = nodes } })
end

local function settle(world)
    return testing.settle(world, "daemonset", KEY)
end

--- Node → names of its pods, as the affinity or the binding says.
local function placed(world)
    local result = {}
    for item in world:list("pods") do
        local pod = world:get("pods", item.key)
        local term = pod.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1]
        local name = pod.spec.nodeName or term.matchFields[1].values[1]
        result[name] = result[name] or {}
        table.insert(result[name], pod)
    end
    return result
end

--- As scheduler and agents would do: binds every pod and makes it ready.
local function run(world)
    for name, pods in pairs(placed(world)) do
        for _, pod in ipairs(pods) do
            if not pod.metadata.deletionTimestamp then
                pod.spec.nodeName = name
                local ready = { type = "Ready", status = "True", lastTransitionTime = world:time_text() }
                pod.status = { phase = "Running", conditions = { ready } }
                world:put("pods", pod)
            end
        end
    end
end

--- The agents confirm the end of what is deleted.
local function confirm(world)
    local gone = {}
    for item in world:list("pods") do
        if item.deleting then gone[#gone + 1] = item.key end
    end
    for _, key in ipairs(gone) do world:drop("pods", key) end
    return #gone
end

local function change(world, fields)
    local set = daemonset(fields)
    set.metadata.generation = 2
    set.status = world:get("daemonsets.apps", KEY).status
    world:put("daemonsets.apps", set)
end

local function status(world)
    return world:get("daemonsets.apps", KEY).status
end

local function updated(world, image)
    local count = 0
    for item in world:list("pods") do
        local pod = world:get("pods", item.key)
        if not item.deleting and pod.spec.containers[1].image == image then count = count + 1 end
    end
    return count
end

return {
    ["one pod on every node, bound by its name, tolerating sick nodes"] = function()
        local world = world_of()
        settle(world)
        for _, name in ipairs({ "a", "b", "c" }) do testing.equal(#placed(world)[name], 1, name) end
        local pod = placed(world).a[1]
        local keys = {}
        for _, toleration in ipairs(pod.spec.tolerations) do keys[toleration.key] = true end
        assert(keys["node.kubernetes.io/not-ready"] and keys["node.kubernetes.io/unschedulable"], m8.json(pod.spec.tolerations))
        testing.equal(status(world).desiredNumberScheduled, 3)
        testing.equal(status(world).numberReady, 0)
        run(world)
        settle(world)
        testing.equal(status(world).numberAvailable, 3)
        testing.equal(status(world).numberUnavailable, 0)
    end,

    ["nodes come, change their labels, and go"] = function()
        local world = world_of({ selector = { disk = "ssd" } }, { node("a", { labels = { disk = "ssd" } }), node("b") })
        settle(world)
        testing.equal(#placed(world).a, 1)
        testing.equal(placed(world).b, nil)
        world:put("nodes", node("b", { labels = { disk = "ssd" } }))
        settle(world)
        testing.equal(#placed(world).b, 1)
        run(world)
        world:put("nodes", node("a"))
        settle(world)
        confirm(world)
        settle(world)
        testing.equal(placed(world).a, nil)
        world:drop("nodes", "b")
        settle(world)
        testing.equal(confirm(world), 1)
        testing.equal(status(world).desiredNumberScheduled, 0)
    end,

    ["taints: NoSchedule keeps new pods away and leaves old ones, NoExecute sends them off"] = function()
        local dedicated = { key = "dedicated", effect = "NoSchedule" }
        local world = world_of({}, { node("a", { taints = { dedicated } }), node("b") })
        settle(world)
        testing.equal(placed(world).a, nil)
        run(world)
        world:put("nodes", node("b", { taints = { dedicated } }))
        settle(world)
        testing.equal(#placed(world).b, 1)
        testing.equal(status(world).numberMisscheduled, 1)
        world:put("nodes", node("b", { taints = { { key = "dedicated", effect = "NoExecute" } } }))
        settle(world)
        testing.equal(confirm(world), 1)
        change(world, { tolerations = { { key = "dedicated", operator = "Exists" } } })
        settle(world)
        testing.equal(#placed(world).a + #placed(world).b, 2)
    end,

    ["a silent node keeps its pod and gets no other"] = function()
        local key = "node.kubernetes.io/unreachable"
        local taints = { { key = key, effect = "NoSchedule" }, { key = key, effect = "NoExecute" } }
        local world = world_of({}, { node("a"), node("b") })
        settle(world)
        run(world)
        world:put("nodes", node("a", { taints = taints }))
        world:put("nodes", node("c", { taints = taints }))
        settle(world)
        testing.equal(#placed(world).a, 1)
        testing.equal(placed(world).c, nil)
    end,

    ["rolling update: never more than maxUnavailable missing, never two on a node"] = function()
        local world = world_of()
        settle(world)
        run(world)
        settle(world)
        change(world, { image = "i:2" })
        for _ = 1, 20 do
            settle(world)
            local missing = 0
            for _, name in ipairs({ "a", "b", "c" }) do
                local pods, ready = placed(world)[name] or {}, false
                assert(#pods <= 1, "two pods on " .. name)
                for _, pod in ipairs(pods) do
                    ready = ready or (not pod.metadata.deletionTimestamp and pod.status and pod.status.phase == "Running")
                end
                if not ready then missing = missing + 1 end
            end
            assert(missing <= 1, missing .. " are missing")
            if confirm(world) == 0 then run(world) end
        end
        testing.equal(updated(world, "i:2"), 3)
        testing.equal(status(world).updatedNumberScheduled, 3)
    end,

    ["maxSurge: the new pod is there before the old one goes"] = function()
        local surge = { type = "RollingUpdate", rollingUpdate = { maxSurge = 1, maxUnavailable = 0 } }
        local world = world_of({ strategy = surge })
        settle(world)
        run(world)
        settle(world)
        change(world, { strategy = surge, image = "i:2" })
        for _ = 1, 20 do
            settle(world)
            testing.equal(status(world).numberAvailable, 3)
            local doubled = 0
            for _, name in ipairs({ "a", "b", "c" }) do
                if #placed(world)[name] > 1 then doubled = doubled + 1 end
            end
            assert(doubled <= 1, doubled .. " nodes have two")
            if confirm(world) == 0 then run(world) end
        end
        testing.equal(updated(world, "i:2"), 3)
    end,

    ["OnDelete waits for you"] = function()
        local world = world_of({ strategy = { type = "OnDelete" } })
        settle(world)
        run(world)
        change(world, { strategy = { type = "OnDelete" }, image = "i:2" })
        settle(world)
        testing.equal(updated(world, "i:2"), 0)
        world:drop("pods", "default/" .. placed(world).a[1].metadata.name)
        settle(world)
        testing.equal(updated(world, "i:2"), 1)
    end,

    ["an update that never gets ready stops at maxUnavailable; going back is a revision that moves up"] = function()
        local world = world_of()
        settle(world)
        run(world)
        settle(world)
        change(world, { image = "bad" })
        for _ = 1, 5 do settle(world) confirm(world) end
        testing.equal(updated(world, "i:1"), 2)
        change(world, { image = "i:1" })
        for _ = 1, 6 do settle(world) confirm(world) run(world) end
        testing.equal(updated(world, "i:1"), 3)
        local revisions = {}
        for item in world:list("controllerrevisions.apps") do
            local revision = world:get("controllerrevisions.apps", item.key)
            revisions[revision.data.spec.template.spec.containers[1].image] = revision.revision
            testing.equal(revision.data.spec.template["$patch"], "replace")
        end
        testing.equal(revisions, { bad = 2, ["i:1"] = 3 })
    end,

    ["history keeps revisionHistoryLimit templates"] = function()
        local world = world_of({ history = 1 }, { node("a") })
        for version = 1, 4 do
            change(world, { history = 1, image = "i:" .. version })
            for _ = 1, 4 do settle(world) confirm(world) run(world) end
        end
        local count = 0
        for _ in world:list("controllerrevisions.apps") do count = count + 1 end
        testing.equal(count, 2)
    end,

    ["a pod that failed is replaced after a while, with an Event"] = function()
        local world = world_of({}, { node("a") })
        settle(world)
        run(world)
        local pod = placed(world).a[1]
        pod.status.phase = "Failed"
        world:put("pods", pod)
        local plan = testing.reconcile(world, "daemonset", KEY)
        testing.equal(#plan.steps > 0 and plan.steps[1].verb == "delete", false)
        assert(plan.after and plan.after <= 5, "it comes back")
        world:set_now(world.now + 6)
        plan = testing.reconcile(world, "daemonset", KEY)
        testing.contains(plan.events[1].reason, "FailedDaemonPod")
        testing.apply(world, plan)
        confirm(world)
        settle(world)
        testing.equal(#placed(world).a, 1)
    end,

    ["adopts a pod that matches, removes the second one on a node"] = function()
        local world = world_of({}, { node("a") })
        settle(world)
        run(world)
        local pod = placed(world).a[1]
        local twin = m8.copy(pod)
        twin.metadata.name, twin.metadata.uid, twin.metadata.ownerReferences = "twin", "u-twin", nil
        world:put("pods", twin)
        settle(world)
        testing.equal(confirm(world), 1)
        settle(world)
        testing.equal(#placed(world).a, 1)
    end,
}
