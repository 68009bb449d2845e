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

    ["what hinders it for a while is told, and that it has gone"] = function()
        local job = { apiVersion = "batch/v1", kind = "Job", metadata = { name = "j", namespace = "old", finalizers = { "mine/x" } } }
        local world = testing.world({ objects = { namespaces = { namespace(true) }, ["jobs.batch"] = { job },
            configmaps = { map("a", "old", { "mine/x", "other" }), map("b", "old", { "mine/x" }) } } })
        local function message(type)
            for _, condition in ipairs((world:get("namespaces", "old").status or {}).conditions or {}) do
                if condition.type == type then return condition.status .. " " .. condition.reason .. ": " .. condition.message end
            end
            return nil
        end
        testing.equal(#testing.settle(world, "namespace", "old") > 0, true)
        testing.equal(message("NamespaceContentRemaining"), nil, "not at once")
        world:set_now(world.now + 2)
        world:drop("configmaps", "old/b")
        testing.settle(world, "namespace", "old")
        world:set_now(world.now + 2)
        local plans = testing.settle(world, "namespace", "old")
        testing.equal(message("NamespaceContentRemaining"), nil, "something has gone meanwhile")
        assert(plans[#plans].after >= 1, "does not ask all the time")
        world:set_now(world.now + 2)
        testing.settle(world, "namespace", "old")
        testing.equal(message("NamespaceContentRemaining"), "True SomeResourcesRemain: Some resources are remaining: "
            .. "configmaps. has 1 resource instances, jobs.batch has 1 resource instances")
        testing.equal(message("NamespaceFinalizersRemaining"), "True SomeFinalizersRemain: Some content in the namespace has "
            .. "finalizers remaining: mine/x in 2 resource instances, other in 1 resource instances")
        testing.equal(#testing.reconcile(world, "namespace", "old").steps, 0, "once")
        world:drop("configmaps", "old/a")
        world:drop("jobs.batch", "old/j")
        testing.settle(world, "namespace", "old")
        testing.equal(message("NamespaceContentRemaining"), "False ContentRemoved: All content successfully removed")
        testing.equal(message("NamespaceFinalizersRemaining"),
            "False ContentHasNoFinalizers: All content-preserving finalizers finished")
        testing.equal(world:get("namespaces", "old").spec.finalizers, {})
    end,

    ["much is deleted in portions"] = function()
        local maps = {}
        for i = 1, 700 do maps[i] = map("m" .. i, "old") end
        local world = testing.world({ objects = { namespaces = { namespace(true) }, configmaps = maps } })
        local plan = testing.reconcile(world, "namespace", "old")
        testing.equal(#plan.steps, 500)
        testing.equal(plan.after, 0)
        testing.apply(world, plan)
        testing.equal(#testing.reconcile(world, "namespace", "old").steps, 200)
    end,
}
