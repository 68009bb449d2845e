local testing = require("framework.testing")

local CRDS, WIDGETS = "customresourcedefinitions.apiextensions.k8s.io", "widgets.example.com"

local function definition(deleting)
    return {
        apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition",
        metadata = { name = WIDGETS, uid = "u-crd", deletionTimestamp = deleting and "2026-01-01T00:00:00Z" or nil,
            finalizers = deleting and { "mine", "customresourcecleanup.apiextensions.k8s.io" } or nil },
        spec = { group = "example.com", names = { plural = "widgets", kind = "Widget" } },
    }
end

local function widget(namespace, finalizers)
    return { apiVersion = "example.com/v1", kind = "Widget",
        metadata = { name = "w", namespace = namespace, uid = "u-" .. namespace, finalizers = finalizers } }
end

local function world_of(deleting)
    return testing.world({ objects = { [CRDS] = { definition(deleting) }, [WIDGETS] = { widget("a", { "busy" }), widget("b") } } })
end

return {
    ["its objects go before it, in all namespaces"] = function()
        local world = world_of(true)
        local plan = testing.reconcile(world, "customresourcedefinition", WIDGETS)
        testing.equal({ plan.steps[1].uid, plan.steps[2].uid }, { "u-a", "u-b" })
        testing.equal(plan.after, 3)
        testing.apply(world, plan)
        plan = testing.reconcile(world, "customresourcedefinition", WIDGETS)
        testing.equal(#plan.steps, 0, "one has a finalizer: waits")
        testing.equal(plan.after, 3)
        local gone = world:item(WIDGETS, "a/w")
        world:drop(WIDGETS, "a/w")
        testing.equal(require("controllers.customresourcedefinition").watches[2].map(world, nil, gone), { WIDGETS })
        testing.apply(world, testing.reconcile(world, "customresourcedefinition", WIDGETS))
        testing.equal(world:get(CRDS, WIDGETS).metadata.finalizers, { "mine" })
        testing.equal(#testing.reconcile(world, "customresourcedefinition", WIDGETS).steps, 0, "the rest is for others")
    end,

    ["nothing happens to one that stays"] = function()
        testing.equal(#testing.reconcile(world_of(false), "customresourcedefinition", WIDGETS).steps, 0)
    end,
}
