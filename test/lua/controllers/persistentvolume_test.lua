local testing = require("framework.testing")

local CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"

local function volume(fields)
    return {
        apiVersion = "v1", kind = "PersistentVolume",
        metadata = { name = "v", uid = "uid-v", finalizers = fields.finalizers or { "kubernetes.io/pv-protection", "minik8s.io/volume" },
            deletionTimestamp = fields.deleting and "2026-01-01T00:00:00Z" or nil,
            annotations = { ["pv.kubernetes.io/provisioned-by"] = fields.by, ["minik8s.io/node"] = fields.node } },
        spec = { capacity = { storage = "1Gi" }, accessModes = { "ReadWriteOnce" }, claimRef = fields.claim,
            persistentVolumeReclaimPolicy = fields.policy or "Retain", ["local"] = { path = "/var/x/v" } },
        status = fields.status or { phase = "Pending" },
    }
end

local BY = { namespace = "default", name = "a", uid = "uid-a" }

local function claim(volume_name)
    return { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "a", namespace = "default", uid = "uid-a" },
        spec = { volumeName = volume_name }, status = { phase = "Bound" } }
end

local function node(name, ready)
    return { apiVersion = "v1", kind = "Node", metadata = { name = name, uid = "uid-" .. name },
        status = { conditions = { { type = "Ready", status = ready and "True" or "Unknown" } } } }
end

local function world_of(fields, claims, nodes)
    return testing.world({ objects = { [VOLUMES] = { volume(fields) }, [CLAIMS] = claims or {}, nodes = nodes or {} } })
end

local function step(world)
    local plan = testing.reconcile(world, "persistentvolume", "v")
    testing.apply(world, plan)
    return plan
end

local function phase(world) return world:get(VOLUMES, "v").status.phase end

return {
    ["Available, Bound and Released follow the claim"] = function()
        local world = world_of({})
        step(world)
        testing.equal(phase(world), "Available")
        world = world_of({ claim = BY }, { claim("v") })
        step(world)
        testing.equal(phase(world), "Bound")
        world:drop(CLAIMS, "default/a")
        step(world)
        testing.equal(phase(world), "Released")
        testing.equal(#testing.reconcile(world, "persistentvolume", "v").steps, 0, "Retain: it stays")
    end,

    ["a claim of the same name and another uid does not hold it"] = function()
        local other = claim("v")
        other.metadata.uid = "uid-b"
        local world = world_of({ claim = BY }, { other })
        step(world)
        testing.equal(phase(world), "Released")
    end,

    ["Delete: the object goes after the node has removed the folder, not before"] = function()
        local world = world_of({ claim = BY, policy = "Delete", by = "minik8s.io/local-path", node = "n1" }, {}, { node("n1", true) })
        local plan = step(world)
        testing.equal(phase(world), "Released")
        testing.equal(#plan.steps, 1)
        local object = world:get(VOLUMES, "v")
        object.status.reason = "Removed"
        world:put(VOLUMES, object)
        testing.equal(testing.reconcile(world, "persistentvolume", "v").steps[1].verb, "delete")
        object.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
        world:put(VOLUMES, object)
        testing.equal(#testing.reconcile(world, "persistentvolume", "v").steps[1].object.metadata.finalizers, 0)
    end,

    ["an object deleted by hand takes its folder along"] = function()
        local world = world_of({ claim = BY, policy = "Delete", by = "minik8s.io/local-path", node = "n1", deleting = true,
            status = { phase = "Bound" } }, {}, { node("n1", true) })
        local plan = step(world)
        testing.equal(#plan.steps, 1)
        testing.equal(phase(world), "Released")
    end,

    ["Retain: an object deleted by hand leaves the folder"] = function()
        local world = world_of({ claim = BY, by = "minik8s.io/local-path", node = "n1", deleting = true }, {}, { node("n1", true) })
        testing.equal(#testing.reconcile(world, "persistentvolume", "v").steps[1].object.metadata.finalizers, 0)
    end,

    ["in use: deletion waits for the claim and says so"] = function()
        local world = world_of({ claim = BY, deleting = true, status = { phase = "Bound" } }, { claim("v") })
        local plan = step(world)
        testing.equal(#plan.steps, 0)
        testing.equal(plan.events[1].reason, "VolumeInUse")
    end,

    ["sshfs: a ready node is asked to remove the folder, another if it goes silent"] = function()
        local world = world_of({ claim = BY, policy = "Delete", by = "minik8s.io/sshfs" }, {}, { node("n1", false), node("n2", true) })
        step(world)
        testing.equal(world:get(VOLUMES, "v").metadata.annotations["minik8s.io/node"], "n2")
        world:put("nodes", node("n2", false))
        world:put("nodes", node("n1", true))
        testing.equal(testing.keys(world, "persistentvolume", "nodes", "n2"), { "v" })
        step(world)
        testing.equal(world:get(VOLUMES, "v").metadata.annotations["minik8s.io/node"], "n1")
    end,

    ["local-path: a node that is gone keeps its folder, the object goes with a warning"] = function()
        local world = world_of({ claim = BY, policy = "Delete", by = "minik8s.io/local-path", node = "n1" })
        local plan = step(world)
        testing.equal(plan.events[1].reason, "VolumeFailedDelete")
        testing.equal(plan.steps[1].verb, "delete")
    end,

    ["Delete on a volume made by hand is refused in words"] = function()
        local world = world_of({ claim = BY, policy = "Delete" })
        local plan = step(world)
        testing.equal(phase(world), "Failed")
        testing.equal(plan.events[1].reason, "VolumeFailedDelete")
        testing.equal(#testing.reconcile(world, "persistentvolume", "v").steps, 0)
    end,
}
