local testing = require("framework.testing")

local CLAIMS = "persistentvolumeclaims"
local spec = { accessModes = { "ReadWriteOnce" }, resources = { requests = { storage = "1Gi" } }, storageClassName = "fast" }

local function pod()
    return { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "default", uid = "uid-p" },
        spec = { volumes = { { name = "scratch", ephemeral = { volumeClaimTemplate = { metadata = { labels = { of = "p" } },
            spec = spec } } },
            { name = "other", emptyDir = {} } } } }
end

return {
    ["the claim POD-VOLUME belongs to the pod"] = function()
        local world = testing.world({ objects = { pods = { pod() }, [CLAIMS] = {} } })
        testing.equal(testing.keys(world, "ephemeralvolume", "pods", "default/p"), { "default/p" })
        testing.settle(world, "ephemeralvolume", "default/p")
        local claim = world:get(CLAIMS, "default/p-scratch")
        testing.equal(claim.spec, spec)
        testing.equal(claim.metadata.labels, { of = "p" })
        testing.equal(claim.metadata.ownerReferences[1].uid, "uid-p")
        testing.equal(world:count(CLAIMS), 1)
    end,

    ["somebody else's claim of that name is not taken"] = function()
        local foreign = { apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = { name = "p-scratch",
            namespace = "default", uid = "x" }, spec = spec }
        local world = testing.world({ objects = { pods = { pod() }, [CLAIMS] = { foreign } } })
        local plan = testing.reconcile(world, "ephemeralvolume", "default/p")
        testing.equal(#plan.steps, 0)
        testing.contains(plan.events[1].message, "pod is not owner")
    end,
}
