local testing = require("framework.testing")

local LEASES, DRAINS = "leases.coordination.k8s.io", "drains.minik8s.io"

local function node(name, ready)
    return { apiVersion = "v1", kind = "Node", metadata = { name = name },
        status = { conditions = { { type = "Ready", status = ready or "True" } } } }
end

local function lease(name, applied)
    return { apiVersion = "coordination.k8s.io/v1", kind = "Lease",
        metadata = { name = name, namespace = "kube-node-lease",
            annotations = applied and { ["minik8s.io/applied-revision"] = tostring(applied) } or nil }, spec = {} }
end

local function revision(world)
    testing.settle(world, "drain", "cluster")
    return world:get(DRAINS, "cluster").status.revision
end

return {
    ["the smallest revision of all live nodes"] = function()
        local world = testing.world({ objects = { nodes = { node("a"), node("b"), node("c", "Unknown") },
            [LEASES] = { lease("a", 90), lease("b", 70), lease("c", 5) } } })
        testing.equal(revision(world), 70)
        world:put(LEASES, lease("b", 100))
        testing.equal(revision(world), 90)
        world:put("nodes", node("c"))
        testing.equal(revision(world), 5)
    end,

    ["a node that has told nothing yet has applied nothing"] = function()
        local world = testing.world({ objects = { nodes = { node("a"), node("b") }, [LEASES] = { lease("a", 90), lease("b") } } })
        testing.equal(revision(world), 0)
    end,

    ["nothing is written when nothing changed"] = function()
        local world = testing.world({ objects = { nodes = { node("a") }, [LEASES] = { lease("a", 90) } } })
        revision(world)
        testing.equal(#testing.reconcile(world, "drain", "cluster").steps, 0)
    end,
}
