local testing = require("framework.testing")

local function namespace(deleting)
    return { apiVersion = "v1", kind = "Namespace",
        metadata = { name = "old", deletionTimestamp = deleting and "2026-01-01T00:00:00Z" or nil },
        spec = { finalizers = { "kubernetes" } } }
end

local function map(name, space, finalizers)
    return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = space, finalizers = finalizers } }
end

return {
    ["a living one is left alone"] = function()
        local world = testing.world({ objects = { namespaces = { namespace(false) }, configmaps = { map("a", "old") } } })
        testing.equal(#testing.reconcile(world, "namespace", "old").steps, 0)
    end,

    ["everything in it goes, then its finalizer"] = function()
        local pod = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "old" }, spec = { nodeName = "n" } }
        local world = testing.world({ objects = { namespaces = { namespace(true) }, pods = { pod },
            configmaps = { map("a", "old"), map("b", "old"), map("a", "other") } } })
        local plan = testing.reconcile(world, "namespace", "old")
        testing.equal(#plan.steps, 3)
        assert(plan.after, "looks again")
        testing.apply(world, plan)
        plan = testing.reconcile(world, "namespace", "old")
        testing.equal(#plan.steps, 0, "the pod still runs")
        assert(plan.after)
        world:drop("pods", "old/p")
        testing.apply(world, testing.reconcile(world, "namespace", "old"))
        testing.equal(world:get("namespaces", "old").spec.finalizers, {})
        testing.equal(#testing.reconcile(world, "namespace", "old").steps, 0)
        assert(world:item("configmaps", "other/a"))
    end,

    ["much is deleted in portions"] = function()
        local maps = {}
        for i = 1, 700 do maps[i] = map("m" .. i, "old") end
        local world = testing.world({ objects = { namespaces = { namespace(true) }, configmaps = maps } })
        local plan = testing.reconcile(world, "namespace", "old")
        testing.equal(#plan.steps, 500)
        testing.apply(world, plan)
        testing.equal(#testing.reconcile(world, "namespace", "old").steps, 200)
    end,
}
