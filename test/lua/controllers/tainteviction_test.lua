local m8 = require("m8")
local testing = require("framework.testing")

local START = 1700000000

local function node(taints, ready)
    return { apiVersion = "v1", kind = "Node", metadata = { name = "a", uid = "u-a" }, spec = { taints = taints },
        status = { conditions = { { type = "Ready", status = ready or "True" } } } }
end

local function taint(key, value)
    return { key = key, value = value, effect = "NoExecute", timeAdded = m8.time_text(START) }
end

local function pod(name, kind, tolerations, created)
    return { apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", uid = "u-" .. name,
            creationTimestamp = m8.time_text(START + (created or -100)),
            ownerReferences = kind and { { apiVersion = "apps/v1", kind = kind, name = "x", uid = "u-x", controller = true } } },
        spec = { nodeName = "a", tolerations = tolerations, terminationGracePeriodSeconds = 30 }, status = { phase = "Running" } }
end

local function world_of(object, ...)
    return testing.world({ now = START, objects = { nodes = { object }, pods = { ... } } })
end

--- Names of the pods that leave at START + seconds, and the plan.
local function leaving(world, seconds)
    world:set_now(START + seconds)
    local plan, names = testing.reconcile(world, "tainteviction", "a"), {}
    for _, step in ipairs(plan and plan.steps or {}) do
        assert(step.verb == "delete" and step.uid)
        names[#names + 1] = step.key:match("/(.*)")
    end
    testing.apply(world, plan)
    return names, plan
end

return {
    ["without a taint that executes nothing is planned"] = function()
        local world = world_of(node({ { key = "k", effect = "NoSchedule" } }), pod("web", "ReplicaSet"))
        assert(not testing.reconcile(world, "tainteviction", "a") or testing.reconcile(world, "tainteviction", "a"):empty())
    end,

    ["who does not tolerate it leaves at once, whatever its owner; each with an Event"] = function()
        local tolerant = { { key = "k", operator = "Equal", value = "v" } }
        local world = world_of(node({ taint("k", "v") }), pod("bare"), pod("daemon", "DaemonSet"), pod("stays", nil, tolerant),
            pod("stateful", "StatefulSet"), pod("wrong", nil, { { key = "k", value = "other" } }))
        local names, plan = leaving(world, 1)
        testing.equal(names, { "bare", "daemon", "stateful", "wrong" })
        testing.equal(#plan.events, 4)
        testing.equal({ plan.events[1].reason, plan.events[1].type }, { "TaintManagerEviction", "Warning" })
        testing.equal(plan.steps[1].grace, nil, "in order, with its own grace period")
    end,

    ["tolerationSeconds count from the taint, or from a pod that came later; the shortest counts"] = function()
        local function seconds(n) return { key = "k", operator = "Exists", tolerationSeconds = n } end
        local world = world_of(node({ taint("k") }), pod("five", nil, { seconds(5) }),
            pod("both", nil, { { operator = "Exists" }, seconds(8) }), pod("late", nil, { seconds(5) }, 20))
        local names, plan = leaving(world, 1)
        testing.equal({ #names, plan.after }, { 0, 5 }) -- from the end of the second in which the taint came
        testing.equal(leaving(world, 6), { "five" })
        testing.equal(leaving(world, 9), { "both" })
        testing.equal(leaving(world, 25), {})
        testing.equal(leaving(world, 26), { "late" })
    end,

    ["zero and negative seconds are none"] = function()
        local world = world_of(node({ taint("k") }),
            pod("zero", nil, { { key = "k", operator = "Exists", tolerationSeconds = 0 } }),
            pod("less", nil, { { key = "k", operator = "Exists", tolerationSeconds = -3 } }))
        testing.equal(leaving(world, 0), { "less", "zero" })
    end,

    ["not reachable: replaceable pods at once, others never, unless they say otherwise"] = function()
        local key = "node.kubernetes.io/unreachable"
        local world = world_of(node({ taint(key) }, "Unknown"), pod("web", "ReplicaSet"), pod("job", "Job"),
            pod("stateful", "StatefulSet"), pod("daemon", "DaemonSet"), pod("bare"),
            pod("patient", "ReplicaSet", { { key = key, operator = "Exists", effect = "NoExecute", tolerationSeconds = 10 } }),
            pod("impatient", "StatefulSet", { { key = key, operator = "Exists", tolerationSeconds = 3 } }))
        local names, plan = leaving(world, 0)
        testing.equal(names, { "job", "web" })
        testing.equal(plan.events[1].reason, "NodeLost")
        testing.equal(leaving(world, 4), { "impatient" })
        testing.equal(leaving(world, 11), { "patient" })
        testing.equal(leaving(world, 100000), {})
    end,

    ["not ready, but alive: replaceable pods have time"] = function()
        local world = world_of(node({ taint("node.kubernetes.io/not-ready") }, "False"), pod("web", "ReplicaSet"), pod("bare"))
        testing.equal(leaving(world, 300), {})
        testing.equal(leaving(world, 301), { "web" })
    end,

    ["out of service: what is on a node that is not ready ends by force, also what was going already"] = function()
        local going = pod("going", "ReplicaSet")
        going.metadata.deletionTimestamp = m8.time_text(START)
        local world = world_of(node({ taint("node.kubernetes.io/out-of-service", "nodeshutdown") }, "Unknown"), going,
            pod("stateful", "StatefulSet"), pod("stays", nil, { { operator = "Exists" } }))
        local names, plan = leaving(world, 0)
        testing.equal(names, { "going", "stateful" })
        testing.equal({ plan.steps[1].grace, plan.steps[2].grace }, { 0, 0 })
    end,

    ["out of service on a node that is ready is a taint like any other"] = function()
        local world = world_of(node({ taint("node.kubernetes.io/out-of-service") }), pod("stateful", "StatefulSet"))
        local names, plan = leaving(world, 0)
        testing.equal({ names[1], plan.steps[1].grace }, { "stateful", nil })
    end,

    ["a pod that comes to a tainted node, and a node that is tainted, are looked at"] = function()
        local world = world_of(node({ taint("k") }), pod("web", "ReplicaSet"))
        testing.equal(testing.keys(world, "tainteviction", "pods", "default/web"), { "a" })
        testing.equal(testing.keys(world, "tainteviction", "nodes", "a"), { "a" })
    end,
}
