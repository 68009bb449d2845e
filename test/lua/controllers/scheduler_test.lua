local testing = require("framework.testing")

local function node(name, fields)
    fields = fields or {}
    return {
        apiVersion = "v1", kind = "Node",
        metadata = { name = name, labels = fields.labels or {} },
        spec = { unschedulable = fields.unschedulable, taints = fields.taints },
        status = {
            allocatable = { cpu = fields.cpu or "2", memory = fields.memory or "1Gi", pods = fields.pods or "110" },
            conditions = { { type = "Ready", status = fields.ready == false and "False" or "True" } },
        },
    }
end

local function pod(name, fields)
    fields = fields or {}
    return {
        apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", labels = fields.labels,
            creationTimestamp = fields.created or "2026-01-01T00:00:00Z",
            ownerReferences = fields.owner and
                { { uid = fields.owner, controller = true, kind = "ReplicaSet", name = fields.owner, apiVersion = "apps/v1" } } },
        spec = { nodeName = fields.node, nodeSelector = fields.selector, tolerations = fields.tolerations,
            priority = fields.priority, affinity = fields.affinity, schedulingGates = fields.gates,
            containers = { { name = "c", image = "i", ports = fields.ports,
                resources = { requests = { cpu = fields.cpu, memory = fields.memory } } } } },
        status = { phase = fields.phase or "Pending" },
    }
end

local function world_of(nodes, pods)
    return testing.world({ objects = { nodes = nodes, pods = pods } })
end

local function schedule(world)
    local plan = testing.reconcile(world, "scheduler", "pods")
    testing.apply(world, plan)
    return plan
end

local function placed_on(world)
    local counts = {}
    for item in world:list("pods") do
        local name = item["spec.nodeName"] or "none"
        counts[name] = (counts[name] or 0) + 1
    end
    return counts
end

local function event_of(plan, reason)
    for _, event in ipairs(plan.events) do
        if event.reason == reason then return event end
    end
    return nil
end

local function claim(name, fields)
    fields = fields or {}
    return {
        apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = name, namespace = "default", uid = "uid-" .. name },
        spec = { accessModes = { fields.mode or "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } },
            storageClassName = fields.class, volumeName = fields.volume },
        status = { phase = fields.volume and "Bound" or "Pending" },
    }
end

local function volume(name, on_node, driver)
    return {
        apiVersion = "v1", kind = "PersistentVolume", metadata = { name = name },
        spec = { capacity = { storage = "1Gi" }, accessModes = { "ReadWriteOnce" }, csi = driver and { driver = driver },
            nodeAffinity = on_node and { required = { nodeSelectorTerms = { { matchFields = {
                { key = "metadata.name", operator = "In", values = { on_node } } } } } } } },
        status = { phase = "Bound" },
    }
end

local function storage_world(claims, volumes)
    local function class(name, provisioner)
        return { apiVersion = "storage.k8s.io/v1", kind = "StorageClass", metadata = { name = name }, provisioner = provisioner,
            volumeBindingMode = "WaitForFirstConsumer" }
    end
    return testing.world({ objects = {
        nodes = { node("n1"), node("n2") }, pods = {}, persistentvolumeclaims = claims, persistentvolumes = volumes or {},
        ["storageclasses.storage.k8s.io"] = { class("fast", "minik8s.io/local-path"), class("disks", "kubernetes.io/no-provisioner") },
    } })
end

local function claiming(name, claim_name)
    local object = pod(name)
    object.metadata.uid = "uid-" .. name
    object.spec.volumes = { { name = "data", persistentVolumeClaim = { claimName = claim_name } } }
    return object
end

--- Why a pod with this claim is not placed.
local function reason_for(world, claim_name)
    world:drop("pods", "default/p")
    world:put("pods", claiming("p", claim_name))
    local message = event_of(schedule(world), "FailedScheduling").message
    return message:match("^0/2 nodes are available: (.*)%.$")
end

return {
    ["spreads the pods of one owner evenly"] = function()
        local pods = {}
        for i = 1, 9 do pods[i] = pod("p" .. i, { owner = "rs" }) end
        local world = world_of({ node("a"), node("b"), node("c") }, pods)
        schedule(world)
        testing.equal(placed_on(world), { a = 3, b = 3, c = 3 })
    end,

    ["says who decided"] = function()
        local world = world_of({ node("a") }, { pod("p") })
        local plan = schedule(world)
        testing.equal(#plan.steps, 1)
        testing.contains(plan.steps[1].annotations["minik8s.io/scheduled-by"], "spread@")
        testing.contains(event_of(plan, "Scheduled").message, "default/p to a")
    end,

    ["counts what it has just placed"] = function()
        local world = world_of({ node("a", { cpu = "1" }), node("b", { cpu = "1" }) },
            { pod("p1", { cpu = "600m" }), pod("p2", { cpu = "600m" }), pod("p3", { cpu = "600m" }) })
        local plan = schedule(world)
        testing.equal(placed_on(world), { a = 1, b = 1, none = 1 })
        testing.equal(event_of(plan, "FailedScheduling").message, "0/2 nodes are available: 2 Insufficient cpu.")
    end,

    ["tells for each node why a pod waits"] = function()
        local world = world_of({
            node("a", { memory = "64Mi" }), node("b", { labels = { disk = "hdd" } }), node("c", { unschedulable = true }),
            node("d", { ready = false }),
            node("e", { taints = { { key = "gpu", value = "yes", effect = "NoSchedule" } } }),
        }, { pod("p", { memory = "128Mi", selector = { disk = "ssd" } }) })
        local message = event_of(schedule(world), "FailedScheduling").message
        testing.contains(message, "0/5 nodes are available: ")
        testing.contains(message, "2 node(s) didn't match Pod's node affinity/selector")
        testing.contains(message, "1 node(s) were unschedulable")
        testing.contains(message, "1 node(s) were not ready")
        testing.contains(message, "1 node(s) had untolerated taint {gpu=yes:NoSchedule}")
        local condition = world:get("pods", "default/p").status.conditions[1]
        testing.equal(condition.reason, "Unschedulable")
    end,

    ["says it once"] = function()
        local world = world_of({ node("a", { ready = false }) }, { pod("p") })
        testing.equal(#schedule(world).steps, 1)
        testing.equal(#schedule(world).steps, 0)
        world:put("nodes", node("b", { ready = false }))
        testing.contains(event_of(schedule(world), "FailedScheduling").message, "0/2 nodes")
    end,

    ["places a waiting pod when a node becomes ready"] = function()
        local world = world_of({ node("a", { ready = false }) }, { pod("p") })
        schedule(world)
        world:put("nodes", node("a"))
        schedule(world)
        testing.equal(placed_on(world), { a = 1 })
    end,

    ["places a waiting pod when another one leaves"] = function()
        local world = world_of({ node("a", { pods = "1" }) }, { pod("old", { node = "a", phase = "Running" }), pod("p") })
        testing.contains(event_of(schedule(world), "FailedScheduling").message, "Too many pods")
        world:drop("pods", "default/old")
        schedule(world)
        testing.equal(placed_on(world), { a = 1 })
    end,

    ["a finished pod takes nothing"] = function()
        local world = world_of({ node("a", { pods = "1" }) }, { pod("job", { node = "a", phase = "Succeeded" }), pod("p") })
        schedule(world)
        testing.equal(world:item("pods", "default/p")["spec.nodeName"], "a")
    end,

    ["higher priority first, then the older"] = function()
        local world = world_of({ node("a", { pods = "2" }) }, {
            pod("young", { created = "2026-01-02T00:00:00Z" }), pod("old", { created = "2026-01-01T00:00:00Z" }),
            pod("urgent", { created = "2026-01-03T00:00:00Z", priority = 100 }),
        })
        local plan = schedule(world)
        testing.equal(plan.steps[1].key, "default/urgent")
        testing.equal(plan.steps[2].key, "default/old")
        testing.equal(placed_on(world), { a = 2, none = 1 })
    end,

    ["a binding that was refused is tried again"] = function()
        local world = world_of({ node("a", { pods = "1" }) }, { pod("p") })
        local plan = testing.reconcile(world, "scheduler", "pods")
        testing.equal(plan.steps[1].verb, "bind")
        plan = testing.reconcile(world, "scheduler", "pods") -- the first one never took effect
        testing.equal(plan.steps[1].verb, "bind")
    end,

    ["gates, other schedulers and bound pods are left alone"] = function()
        local other = pod("other")
        other.spec.schedulerName = "mine"
        local world = world_of({ node("a") }, { pod("gated", { gates = { { name = "wait" } } }), other, pod("bound", { node = "a" }) })
        testing.equal(#schedule(world).steps, 0)
    end,

    ["host ports exclude each other"] = function()
        local ports = { { containerPort = 80, hostPort = 80 } }
        local world = world_of({ node("a"), node("b") },
            { pod("p1", { ports = ports }), pod("p2", { ports = ports }), pod("p3", { ports = ports }) })
        testing.contains(event_of(schedule(world), "FailedScheduling").message, "free ports")
        testing.equal(placed_on(world), { a = 1, b = 1, none = 1 })
    end,

    ["an init container counts when it needs more than the rest"] = function()
        local big = pod("p", { cpu = "100m" })
        big.spec.initContainers = { { name = "init", image = "i", resources = { requests = { cpu = "3" } } } }
        local world = world_of({ node("a", { cpu = "2" }) }, { big })
        testing.contains(event_of(schedule(world), "FailedScheduling").message, "Insufficient cpu")
    end,

    ["another strategy by profile: binpack fills one node"] = function()
        local pods = {}
        for i = 1, 4 do pods[i] = pod("p" .. i, { cpu = "100m", memory = "10Mi" }) end
        local world = world_of({ node("a"), node("b"), node("c") }, pods)
        assert(world:use({ ["scheduler.score"] = { policies = { { name = "binpack" } } } }))
        schedule(world)
        local counts = 0
        for _ in pairs(placed_on(world)) do counts = counts + 1 end
        testing.equal(counts, 1)
    end,

    ["a policy that fails: the shipped default decides, and after three failures it is out"] = function()
        local world = world_of({ node("a"), node("b") }, { pod("p1", { owner = "rs" }) })
        assert(world:policy([[return { api = 1, point = "scheduler.score", name = "broken", n = 0,
            run = function(ctx) if ctx.nodes then error("no idea") end return 1 end,
            examples = { { name = "works here", ctx = {}, candidate = {}, expect = 1 } } }]]))
        assert(world:use({ ["scheduler.score"] = { policies = { { name = "broken" } } } }))
        local plan = schedule(world)
        testing.contains(plan.steps[1].annotations["minik8s.io/scheduled-by"], "fallback")
        for i = 2, 4 do
            world:put("pods", pod("p" .. i, { owner = "rs" }))
            plan = schedule(world)
            testing.equal(plan.steps[1].verb, "bind")
        end
        testing.equal(placed_on(world), { a = 2, b = 2 })
        local text = plan.steps[1].annotations["minik8s.io/scheduled-by"]
        assert(not text:find("fallback", 1, true), "rolled back: " .. text)
    end,

    ["the same seed, the same decisions"] = function()
        local function run()
            local pods = {}
            for i = 1, 20 do pods[i] = pod("p" .. i) end
            local world = world_of({ node("a"), node("b"), node("c"), node("d"), node("e") }, pods)
            local plan, result = schedule(world), {}
            for i, step in ipairs(plan.steps) do result[i] = step.key .. "=" .. step.node end
            return result
        end
        testing.equal(run(), run())
    end,

    ["a pod waits for its claims, each time with the reason"] = function()
        local world = storage_world({ claim("a") })
        testing.equal(reason_for(world, "a"), 'pod has unbound immediate PersistentVolumeClaims')
        testing.equal(reason_for(world, "none"), 'persistentvolumeclaim "none" not found')
        world = storage_world({ claim("a", { class = "disks" }) })
        testing.equal(reason_for(world, "a"), "node(s) didn't find available persistent volumes to bind")
        testing.equal(placed_on(world), { none = 1 })
    end,

    ["WaitForFirstConsumer: the claim hears of the node, the pod is bound when the claim is"] = function()
        local world = storage_world({ claim("a", { class = "fast" }) })
        world:put("pods", claiming("p", "a"))
        schedule(world)
        local waiting = world:get("persistentvolumeclaims", "default/a")
        local node_name = waiting.metadata.annotations["volume.kubernetes.io/selected-node"]
        testing.equal(placed_on(world), { none = 1 })
        testing.equal(#schedule(world).steps, 0, "while it is made")
        world:put("persistentvolumes", volume("v", node_name))
        waiting.spec.volumeName, waiting.status.phase = "v", "Bound"
        world:put("persistentvolumeclaims", waiting)
        schedule(world)
        testing.equal(placed_on(world), { [node_name] = 1 })
    end,

    ["a pod goes where its volume is, and says if it cannot"] = function()
        local world = storage_world({ claim("a", { volume = "v" }) }, { volume("v", "n2") })
        world:put("pods", claiming("p", "a"))
        schedule(world)
        testing.equal(placed_on(world), { n2 = 1 })
        world = storage_world({ claim("a", { volume = "v" }) }, { volume("v", "n9") })
        world:put("pods", claiming("p", "a"))
        testing.contains(event_of(schedule(world), "FailedScheduling").message, "2 node(s) had volume node affinity conflict")
    end,

    ["ReadWriteOncePod: one pod; ReadWriteOnce over the network: one node"] = function()
        local world = storage_world({ claim("a", { volume = "v", mode = "ReadWriteOncePod" }) }, { volume("v") })
        world:put("pods", claiming("p", "a"))
        world:put("pods", claiming("q", "a"))
        local plan = schedule(world)
        testing.equal(placed_on(world).none, 1)
        testing.contains(event_of(plan, "FailedScheduling").message, "ReadWriteOncePod access mode already in-use")
        world = storage_world({ claim("a", { volume = "v" }) }, { volume("v", nil, "sshfs.minik8s.io") })
        for i = 1, 3 do world:put("pods", claiming("p" .. i, "a")) end
        schedule(world)
        schedule(world)
        local counts = placed_on(world)
        testing.equal(counts.n1 == 3 or counts.n2 == 3, true, "all on one node")
    end,
}
