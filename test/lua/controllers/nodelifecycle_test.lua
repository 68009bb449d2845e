local testing = require("framework.testing")

local LEASES = "leases.coordination.k8s.io"
local START = 1700000000

local function node(name, status)
    return { apiVersion = "v1", kind = "Node", metadata = { name = name, uid = "u-" .. name }, spec = {},
        status = { conditions = { { type = "Ready", status = status or "True" } } } }
end

local function lease(name, beat)
    return { apiVersion = "coordination.k8s.io/v1", kind = "Lease", metadata = { name = name, namespace = "kube-node-lease",
        uid = "u-lease-" .. name }, spec = { renewTime = "beat-" .. beat } }
end

local function pod(name, on, kind)
    return { apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", ownerReferences = kind and
            { { apiVersion = "apps/v1", kind = kind, name = "x", uid = "u-x", controller = true } } },
        spec = { nodeName = on }, status = { phase = "Running" } }
end

local function world_of(names, pods)
    local nodes, leases = {}, {}
    for i, name in ipairs(names) do nodes[i], leases[i] = node(name), lease(name, 0) end
    return testing.world({ now = START, objects = { nodes = nodes, [LEASES] = leases, pods = pods } })
end

--- One second: the named nodes beat, every node is looked at. Returns the plans by node.
local function second(world, n, names, beating)
    world:set_now(START + n)
    for _, name in ipairs(beating) do world:put(LEASES, lease(name, n)) end
    local plans = {}
    for _, name in ipairs(names) do
        plans[name] = testing.reconcile(world, "nodelifecycle", name)
        testing.apply(world, plans[name])
        testing.apply(world, testing.reconcile(world, "tainteviction", name))
    end
    return plans
end

local function run(world, from, to, names, beating)
    local last
    for n = from, to do last = second(world, n, names, beating) end
    return last
end

local function ready(world, name)
    return world:get("nodes", name).status.conditions[1].status
end

local function taints(world, name)
    return #(world:get("nodes", name).spec.taints or {})
end

return {
    ["nodes that beat stay as they are"] = function()
        local names = { "a", "b", "c" }
        local world = world_of(names)
        local plans = run(world, 1, 10, names, names)
        testing.equal({ ready(world, "a"), taints(world, "a") }, { "True", 0 })
        assert(plans.a.after <= 2.6, "looks again before it may be silent")
    end,

    ["a cordoned one has the taint that says so, beside those of others"] = function()
        local world = world_of({ "a" })
        local object = world:get("nodes", "a")
        object.spec = { unschedulable = true, taints = { { key = "gpu", effect = "NoSchedule" } } }
        world:put("nodes", object)
        run(world, 1, 2, { "a" }, { "a" })
        testing.equal(world:get("nodes", "a").spec.taints, { { key = "gpu", effect = "NoSchedule" },
            { key = "node.kubernetes.io/unschedulable", effect = "NoSchedule" } })
        object = world:get("nodes", "a")
        object.spec.unschedulable = nil
        world:put("nodes", object)
        run(world, 3, 3, { "a" }, { "a" })
        testing.equal(world:get("nodes", "a").spec.taints, { { key = "gpu", effect = "NoSchedule" } })
    end,

    ["a silent one: NotReady, tainted, its replaceable pods leave"] = function()
        local names = { "a", "b", "c" }
        local daemon, finished = pod("daemon", "c", "DaemonSet"), pod("done", "c", "ReplicaSet")
        finished.status.phase = "Succeeded"
        local world = world_of(names,
            { pod("web", "c", "ReplicaSet"), pod("bare", "c"), daemon, finished, pod("there", "a", "ReplicaSet") })
        run(world, 1, 3, names, names)
        run(world, 4, 5, names, { "a", "b" })
        testing.equal(ready(world, "c"), "True", "two seconds are not enough")
        run(world, 6, 6, names, { "a", "b" })
        testing.equal({ ready(world, "c"), taints(world, "c"), ready(world, "a") }, { "Unknown", 0, "True" })
        run(world, 7, 7, names, { "a", "b" })
        testing.equal({ ready(world, "c"), taints(world, "c") }, { "Unknown", 2 }, "no other has fallen silent since")
        local function deleting(name) return world:item("pods", "default/" .. name).deleting and true or false end
        testing.equal({ deleting("web"), deleting("bare"), deleting("daemon"), deleting("done"), deleting("there") },
            { true, false, false, false, false })
    end,

    ["a node that beats every five seconds may be silent for longer"] = function()
        local names = { "a", "b", "c" }
        local world = world_of(names)
        local slow = world:get("nodes", "c")
        slow.metadata.annotations = { ["minik8s.io/heartbeat-seconds"] = "5" }
        world:put("nodes", slow)
        run(world, 1, 1, names, names)
        run(world, 2, 13, names, { "a", "b" })
        testing.equal({ ready(world, "c"), taints(world, "c") }, { "True", 0 })
        run(world, 14, 15, names, { "a", "b" })
        testing.equal({ ready(world, "c"), taints(world, "c") }, { "Unknown", 0 })
        run(world, 16, 21, names, { "a", "b" })
        testing.equal({ ready(world, "c"), taints(world, "c") }, { "Unknown", 2 })
    end,

    ["those that are cut off together do not fall silent in the same moment: nobody is evicted"] = function()
        local names = { "a", "b", "c" }
        local world = world_of(names, { pod("web", "c", "ReplicaSet"), pod("web2", "b", "ReplicaSet") })
        run(world, 1, 2, names, names)
        run(world, 3, 3, names, { "a", "b" }) -- b's last beat came a second after c's
        run(world, 4, 12, names, { "a" })
        testing.equal({ ready(world, "b"), ready(world, "c"), taints(world, "b"), taints(world, "c") },
            { "Unknown", "Unknown", 0, 0 })
        assert(not world:item("pods", "default/web").deleting)
        assert(not world:item("pods", "default/web2").deleting)
    end,

    ["a Node without a machine: it says so, is not tainted and does not count among the silent"] = function()
        local world = world_of({ "a" }, { pod("web", "a", "ReplicaSet") })
        world:put("nodes", { apiVersion = "v1", kind = "Node", metadata = { name = "new", uid = "u-new" }, spec = {} })
        run(world, 1, 6, { "a", "new" }, { "a" })
        local condition = world:get("nodes", "new").status.conditions[1]
        testing.equal({ condition.status, condition.reason }, { "Unknown", "NodeStatusNeverUpdated" })
        testing.equal({ taints(world, "new"), ready(world, "a") }, { 0, "True" })
        run(world, 7, 10, { "a", "new" }, {})
        testing.equal(ready(world, "a"), "Unknown", "the only node that has ever lived")
    end,

    ["conditions become taints, and go with them; others' taints stay and get a time"] = function()
        local world = world_of({ "a" })
        local object = world:get("nodes", "a")
        object.spec.taints = { { key = "mine", effect = "NoExecute" } }
        object.status.conditions[2] = { type = "DiskPressure", status = "True" }
        object.status.conditions[3] = { type = "MemoryPressure", status = "False" }
        world:put("nodes", object)
        run(world, 1, 1, { "a" }, { "a" })
        local found = world:get("nodes", "a").spec.taints
        testing.equal({ #found, found[1].key, found[2].key, found[2].effect },
            { 2, "mine", "node.kubernetes.io/disk-pressure", "NoSchedule" })
        assert(found[1].timeAdded, "a NoExecute taint is dated")
        object = world:get("nodes", "a")
        object.status.conditions[2].status = "False"
        world:put("nodes", object)
        run(world, 2, 2, { "a" }, { "a" })
        testing.equal(taints(world, "a"), 1)
        assert(testing.reconcile(world, "nodelifecycle", "a"):empty(), "nothing more to do")
    end,

    ["it says so once"] = function()
        local names = { "a", "b", "c" }
        local world = world_of(names)
        run(world, 1, 2, names, names)
        local events = 0
        for n = 3, 12 do
            for _, plan in pairs(second(world, n, names, { "a", "b" })) do
                for _, event in ipairs(plan.events) do events = events + (event.reason == "NodeNotReady" and 1 or 0) end
            end
        end
        testing.equal(events, 1)
    end,

    ["back again: the taint goes when the node says Ready"] = function()
        local names = { "a", "b", "c" }
        local world = world_of(names)
        run(world, 1, 2, names, names)
        run(world, 3, 8, names, { "a", "b" })
        testing.equal(taints(world, "c"), 2)
        run(world, 9, 9, names, names)
        testing.equal(taints(world, "c"), 2, "its beat alone does not say that it works")
        world:put("nodes", (function()
            local object = world:get("nodes", "c")
            object.status.conditions[1].status = "True"
            return object
        end)())
        run(world, 10, 12, names, names)
        testing.equal({ ready(world, "c"), taints(world, "c") }, { "True", 0 })
    end,

    ["most are silent at once: nobody is evicted"] = function()
        local names = { "a", "b", "c" }
        local world = world_of(names, { pod("web", "c", "ReplicaSet"), pod("web2", "b", "ReplicaSet") })
        run(world, 1, 2, names, names)
        local plans = run(world, 3, 10, names, { "a" })
        testing.equal({ taints(world, "b"), taints(world, "c") }, { 0, 0 })
        assert(not world:item("pods", "default/web").deleting)
        assert(not world:item("pods", "default/web2").deleting)
        testing.equal(plans.b.events[#plans.b.events].reason, "EvictionSuspended")
        run(world, 11, 14, names, { "a", "b" })
        testing.equal(taints(world, "c"), 2, "one of three is silent")
        assert(world:item("pods", "default/web").deleting)
    end,

    ["after most were silent those that come back later have time"] = function()
        local names = { "a", "b", "c" }
        local world = world_of(names, { pod("web", "c", "ReplicaSet") })
        run(world, 1, 2, names, names)
        run(world, 3, 10, names, { "a" })
        run(world, 11, 13, names, { "a", "b" })
        testing.equal(taints(world, "c"), 0)
        run(world, 14, 20, names, names)
        testing.equal(taints(world, "c"), 0)
        assert(not world:item("pods", "default/web").deleting)
    end,

    ["most are silent at once, judged before the marks of the others are seen"] = function()
        local names = { "a", "b" }
        local world = world_of(names, { pod("web", "a", "ReplicaSet"), pod("web2", "b", "ReplicaSet") })
        run(world, 1, 2, names, names)
        for n = 3, 6 do
            world:set_now(START + n)
            local plans = {}
            for i, name in ipairs(names) do plans[i] = testing.reconcile(world, "nodelifecycle", name) end
            for _, plan in ipairs(plans) do testing.apply(world, plan) end
        end
        testing.equal({ ready(world, "a"), ready(world, "b") }, { "Unknown", "Unknown" })
        testing.equal({ taints(world, "a"), taints(world, "b") }, { 0, 0 })
        assert(not world:item("pods", "default/web").deleting and not world:item("pods", "default/web2").deleting)
    end,

    ["a cluster of one node whose node is silent"] = function()
        local world = world_of({ "a" }, { pod("web", "a", "ReplicaSet") })
        run(world, 1, 2, { "a" }, { "a" })
        run(world, 3, 6, { "a" }, {})
        testing.equal(ready(world, "a"), "Unknown")
    end,

    ["time that jumps is no silence: only the observer's clock counts"] = function()
        local names = { "a", "b" }
        local world = world_of(names)
        local skewed = lease("a", 1)
        skewed.spec.renewTime = "1999-01-01T00:00:00Z" -- the node's clock is wrong by decades
        for n = 1, 6 do
            skewed.spec.renewTime = ("1999-01-01T00:00:%02dZ"):format(n)
            world:put(LEASES, skewed)
            run(world, n, n, names, { "b" })
        end
        testing.equal(ready(world, "a"), "True")
    end,

    ["pods of a node that does not exist end"] = function()
        local world = world_of({ "a" }, { pod("web", "gone", "ReplicaSet"), pod("bare", "gone"), pod("here", "a") })
        testing.equal(testing.keys(world, "nodelifecycle", "pods", "default/web"), { "gone" })
        testing.equal(testing.keys(world, "nodelifecycle", "pods", "default/here"), {})
        testing.apply(world, testing.reconcile(world, "nodelifecycle", "gone"))
        testing.equal(world:count("pods"), 1)
    end,
}
