local m8 = require("m8")
local testing = require("framework.testing")

local KEY = "default/web"

local function replicaset(fields)
    fields = fields or {}
    return {
        apiVersion = "apps/v1", kind = "ReplicaSet",
        metadata = { name = "web", namespace = "default", uid = "u-web", generation = 1 },
        spec = { replicas = fields.replicas or 3, minReadySeconds = fields.min_ready,
            selector = { matchLabels = { app = "web" } },
            template = { metadata = { labels = { app = "web" } }, spec = { containers = { { name = "c", image = "i" } } } } },
    }
end

local function pod(name, fields)
    fields = fields or {}
    local conditions = fields.ready and { { type = "Ready", status = "True", lastTransitionTime = m8.time_text(fields.ready) } }
    return {
        apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", labels = fields.labels or { app = "web" },
            creationTimestamp = fields.created or "2026-01-01T00:00:00Z", deletionTimestamp = fields.deleting,
            annotations = fields.cost and { ["controller.kubernetes.io/pod-deletion-cost"] = fields.cost },
            ownerReferences = fields.owner and { { apiVersion = "apps/v1", kind = "ReplicaSet", name = "web", uid = fields.owner,
                controller = true } } },
        spec = { nodeName = fields.node, containers = { { name = "c", image = "i" } } },
        status = { phase = fields.phase or "Pending", conditions = conditions },
    }
end

local function world_of(fields, pods)
    return testing.world({ now = 1700000000, objects = { ["replicasets.apps"] = { replicaset(fields) }, pods = pods } })
end

local function steps_of(plan, verb)
    local keys = {}
    for _, step in ipairs(plan.steps) do
        if step.verb == verb and step.resource == "pods" then keys[#keys + 1] = step.key end
    end
    return keys
end

local function reconcile(world)
    return testing.reconcile(world, "replicaset", KEY)
end

return {
    ["makes the missing pods, once"] = function()
        local world = world_of()
        local plan = reconcile(world)
        testing.equal(#steps_of(plan, "create"), 3)
        testing.contains(plan.events[1].message, "Created pod: web-")
        testing.apply(world, plan)
        testing.equal(#steps_of(reconcile(world), "create"), 0)
        for item in world:list("pods") do testing.equal(item.owner_uid, "u-web") end
    end,

    ["replaces pods that are deleted, failed or finished"] = function()
        local world = world_of({}, {
            pod("a", { owner = "u-web", phase = "Running", node = "n" }),
            pod("b", { owner = "u-web", phase = "Running", node = "n", deleting = "2026-01-01T00:00:00Z" }),
            pod("c", { owner = "u-web", phase = "Failed", node = "n" }),
        })
        testing.equal(#steps_of(reconcile(world), "create"), 2)
    end,

    ["removes what serves least: unbound, pending, not ready, crowded, young"] = function()
        local now = 1700000000
        local all = {
            pod("unbound", { owner = "u-web" }),
            pod("pending", { owner = "u-web", node = "a" }),
            pod("unready", { owner = "u-web", node = "a", phase = "Running" }),
            pod("crowded1", { owner = "u-web", node = "b", phase = "Running", ready = now - 50, created = "2026-01-02T00:00:00Z" }),
            pod("crowded2", { owner = "u-web", node = "b", phase = "Running", ready = now - 50 }),
            pod("crowded3", { owner = "u-web", node = "b", phase = "Running", ready = now - 50 }),
            pod("crowded4", { owner = "u-web", node = "b", phase = "Running", ready = now - 50 }),
            pod("alone", { owner = "u-web", node = "c", phase = "Running", ready = now - 50, created = "2026-01-03T00:00:00Z" }),
        }
        local order = { "unbound", "pending", "unready", "crowded1" }
        for left = 7, 4, -1 do
            local gone, wanted = steps_of(reconcile(world_of({ replicas = left }, all)), "delete"), {}
            for i = 1, 8 - left do wanted[i] = "default/" .. order[i] end
            testing.equal(gone, wanted)
        end
    end,

    ["of equal pods the cheap one goes first, then the one that is ready since last"] = function()
        local function ready(name, since, cost)
            return pod(name, { owner = "u-web", node = name, phase = "Running", ready = 1700000000 - since, cost = cost })
        end
        local all = { ready("a", 50), ready("b", 50, "-5"), ready("c", 10), ready("d", 5, "7"), ready("e", 70, "nan") }
        local order = { "b", "c", "a", "e" }
        for left = 4, 1, -1 do
            local gone, wanted = steps_of(reconcile(world_of({ replicas = left }, all)), "delete"), {}
            for i = 1, 5 - left do wanted[i] = "default/" .. order[i] end
            testing.equal(gone, wanted)
        end
    end,

    ["a ReplicationController keeps the pods that its plain selector names"] = function()
        local controller = replicaset()
        controller.apiVersion, controller.kind, controller.spec.selector = "v1", "ReplicationController", { app = "web" }
        local world = testing.world({ now = 1700000000, objects = { replicationcontrollers = { controller },
            pods = { pod("orphan"), pod("stranger", { labels = { app = "x" } }) } } })
        testing.equal(testing.keys(world, "replicationcontroller", "pods", "default/orphan"), { KEY })
        testing.settle(world, "replicationcontroller", KEY)
        testing.equal(world:count("pods"), 4)
        testing.equal(world:item("pods", "default/orphan").owner_uid, "u-web")
        testing.equal(world:get("replicationcontrollers", KEY).status.replicas, 3)
    end,

    ["a selector that is missing or empty selects nothing, never all"] = function()
        for _, selector in ipairs({ false, {} }) do
            local controller = replicaset()
            controller.apiVersion, controller.kind, controller.spec.selector = "v1", "ReplicationController", selector or nil
            local world = testing.world({ objects = { replicationcontrollers = { controller }, pods = { pod("orphan") } } })
            testing.equal(testing.keys(world, "replicationcontroller", "pods", "default/orphan"), {})
            testing.settle(world, "replicationcontroller", KEY)
            testing.equal(world:count("pods"), 1)
            assert(not world:item("pods", "default/orphan").owner_uid)
        end
    end,

    ["takes over a pod that matches and belongs to nobody"] = function()
        local world = world_of({ replicas = 2 }, { pod("mine", { owner = "u-web" }), pod("orphan"), pod("other", { owner = "u-x" }) })
        local plan = reconcile(world)
        testing.equal(steps_of(plan, "create"), {})
        testing.apply(world, plan)
        testing.equal(world:item("pods", "default/orphan").owner_uid, "u-web")
        testing.equal(world:item("pods", "default/other").owner_uid, "u-x")
    end,

    ["lets go of a pod whose labels were changed, and replaces it"] = function()
        local world = world_of({ replicas = 1 }, { pod("a", { owner = "u-web", labels = { app = "debug" } }) })
        local plan = reconcile(world)
        testing.equal(#steps_of(plan, "create"), 1)
        testing.apply(world, plan)
        assert(world:item("pods", "default/a").owner_uid == nil)
    end,

    ["an orphan wakes whoever may take it"] = function()
        local world = world_of({}, { pod("orphan"), pod("stranger", { labels = { app = "x" } }) })
        testing.equal(testing.keys(world, "replicaset", "pods", "default/orphan"), { KEY })
        testing.equal(testing.keys(world, "replicaset", "pods", "default/stranger"), {})
    end,

    ["a pod is available after minReadySeconds"] = function()
        local world = world_of({ replicas = 1, min_ready = 10 },
            { pod("a", { owner = "u-web", node = "n", phase = "Running", ready = 1700000000 }) })
        local plan = reconcile(world)
        testing.apply(world, plan)
        testing.equal(plan.after, 10)
        local status = world:get("replicasets.apps", KEY).status
        testing.equal({ status.readyReplicas, status.availableReplicas }, { 1, 0 })
        world:set_now(1700000011)
        testing.apply(world, reconcile(world))
        testing.equal(world:get("replicasets.apps", KEY).status.availableReplicas, 1)
    end,

    ["thousands of pods are made in portions"] = function()
        local world = world_of({ replicas = 1200 })
        testing.equal(#steps_of(reconcile(world), "create"), 500)
        for _ = 1, 3 do testing.apply(world, reconcile(world)) end
        testing.equal(world:count("pods"), 1200)
    end,

    ["one that is being deleted makes no pods"] = function()
        local world = world_of()
        local set = world:get("replicasets.apps", KEY)
        set.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
        world:put("replicasets.apps", set)
        testing.equal(#steps_of(reconcile(world), "create"), 0)
    end,

    ["an account that appears wakes those of its namespace that lack pods, and nobody else"] = function()
        local full, other = replicaset(), replicaset()
        full.metadata = { name = "full", namespace = "default", uid = "u-full", generation = 1 }
        full.status = { replicas = 3 }
        other.metadata = { name = "web", namespace = "other", uid = "u-other", generation = 1 }
        local world = testing.world({ now = 1700000000, objects = { ["replicasets.apps"] = { replicaset(), full, other } } })
        local account = { key = "default/late", namespace = "default", name = "late" }
        for _, watch in ipairs(require("controllers.replicaset").watches) do
            if watch.resource == "serviceaccounts" then
                testing.equal(watch.map(world, account, nil), { "default/web" })
                testing.equal(watch.map(world, account, account), {})
                testing.equal(watch.map(world, nil, account), {})
                return
            end
        end
        error("no watch of accounts")
    end,

    ["while the server refuses, one at a time is tried and the condition tells"] = function()
        local world = world_of()
        world:refuse("exceeded quota: small")
        local plan = reconcile(world)
        testing.equal(#steps_of(plan, "create"), 1)
        testing.equal(plan.events[1].step, 1) -- told only if it succeeds
        local status = plan.steps[2].object.status
        testing.equal({ status.conditions[1].type, status.conditions[1].reason, status.conditions[1].message },
            { "ReplicaFailure", "FailedCreate", "exceeded quota: small" })
        testing.apply(world, plan)
        world:refuse(nil)
        testing.settle(world, "replicaset", KEY)
        testing.equal(world:count("pods"), 3)
        testing.equal(world:get("replicasets.apps", KEY).status.conditions, m8.array({}))
    end,
}
