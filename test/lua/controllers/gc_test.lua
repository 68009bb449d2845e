local testing = require("framework.testing")

local SETS, MAPS = "replicasets.apps", "configmaps"

local function object(kind, name, fields)
    fields = fields or {}
    local references = {}
    for i, owner in ipairs(fields.owners or {}) do
        references[i] = { apiVersion = "v1", kind = "ConfigMap", name = owner, uid = "u-" .. owner, controller = i == 1,
            blockOwnerDeletion = fields.block ~= false }
    end
    return {
        apiVersion = "v1", kind = kind,
        metadata = { name = name, namespace = "default", uid = "u-" .. name, ownerReferences = #references > 0 and references or nil,
            deletionTimestamp = fields.deleting and "2026-01-01T00:00:00Z" or nil, finalizers = fields.finalizers },
    }
end

local function world_of(objects)
    return testing.world({ objects = objects })
end

local function collect(world, resource, name)
    local plan = testing.reconcile(world, "gc", resource .. "|default/" .. name)
    testing.apply(world, plan)
    return plan
end

return {
    ["an object whose owner is gone goes"] = function()
        local world = world_of({ [MAPS] = { object("ConfigMap", "a", { owners = { "gone" } }) } })
        local plan = collect(world, MAPS, "a")
        testing.equal(plan.steps[1].propagation, "Background")
        testing.equal(plan.steps[1].uid, "u-a")
        testing.contains(plan.steps[1].reason, "ConfigMap gone is gone")
        assert(not world:item(MAPS, "default/a"))
    end,

    ["another object of the owner's name is not the owner"] = function()
        local new = object("ConfigMap", "boss")
        new.metadata.uid = "u-second"
        local world = world_of({ [MAPS] = { new, object("ConfigMap", "a", { owners = { "boss" } }) } })
        collect(world, MAPS, "a")
        assert(not world:item(MAPS, "default/a"))
    end,

    ["with an owner, or without any, it stays"] = function()
        local world = world_of({ [MAPS] = { object("ConfigMap", "boss"), object("ConfigMap", "a", { owners = { "boss" } }),
            object("ConfigMap", "free") } })
        testing.equal(#collect(world, MAPS, "a").steps, 0)
        testing.equal(#collect(world, MAPS, "free").steps, 0)
    end,

    ["the owner of a kind that is not known here may live"] = function()
        local function of(kind)
            local made = object("ConfigMap", "a", { owners = { "boss" } })
            made.metadata.ownerReferences[1].apiVersion, made.metadata.ownerReferences[1].kind = "example.com/v1", kind
            return made
        end
        local world = world_of({ [MAPS] = { of("Widget") } })
        local plan = collect(world, MAPS, "a")
        testing.equal(#plan.steps, 0)
        assert(plan.after, "looked at again")
        local function define(served)
            world:put("customresourcedefinitions.apiextensions.k8s.io", { apiVersion = "apiextensions.k8s.io/v1",
                kind = "CustomResourceDefinition", metadata = { name = "widgets.example.com", uid = "u-crd" },
                spec = { group = "example.com", names = { kind = "Widget", plural = "widgets" },
                    versions = { { name = "v1", served = served } } } })
        end
        define(false)
        testing.equal(#collect(world, MAPS, "a").steps, 0, "nobody sees whether it lives")
        define(true)
        collect(world, MAPS, "a")
        assert(not world:item(MAPS, "default/a"), "known, and gone")
        world:put("gadgets.example.com", { apiVersion = "example.com/v2", kind = "Gadget",
            metadata = { name = "g", namespace = "default", uid = "u-g" } })
        world:put(MAPS, of("Gadget"))
        collect(world, MAPS, "a")
        assert(not world:item(MAPS, "default/a"), "others of the kind are here")
    end,

    ["of several owners the last one counts"] = function()
        local world = world_of({ [MAPS] = { object("ConfigMap", "one"), object("ConfigMap", "a", { owners = { "one", "two" } }) } })
        collect(world, MAPS, "a")
        local references = world:get(MAPS, "default/a").metadata.ownerReferences
        testing.equal(#references, 1)
        testing.equal(references[1].uid, "u-one")
        world:drop(MAPS, "default/one")
        collect(world, MAPS, "a")
        assert(not world:item(MAPS, "default/a"))
    end,

    ["foreground: first the dependents, then the owner"] = function()
        local world = world_of({
            [SETS] = { object("ReplicaSet", "boss", { deleting = true, finalizers = { "foregroundDeletion", "mine" } }) },
            [MAPS] = { object("ConfigMap", "a", { owners = { "boss" }, finalizers = { "busy" } }),
                object("ConfigMap", "loose", { owners = { "boss" }, finalizers = { "busy" }, block = false }) },
        })
        local plan = collect(world, SETS, "boss")
        testing.equal({ plan.steps[1].verb, plan.steps[1].propagation }, { "delete", "Foreground" })
        testing.equal(#plan.steps, 2)
        testing.equal(#collect(world, SETS, "boss").steps, 0, "waits")
        testing.equal(testing.keys(world, "gc", MAPS, "default/a"), { MAPS .. "|default/a", SETS .. "|default/boss" })
        world:drop(MAPS, "default/a")
        collect(world, SETS, "boss")
        testing.equal(world:get(SETS, "default/boss").metadata.finalizers, { "mine" })
    end,

    ["foreground: what another owner still has is let go, not deleted"] = function()
        local world = world_of({
            [SETS] = { object("ReplicaSet", "boss", { deleting = true, finalizers = { "foregroundDeletion" } }),
                object("ReplicaSet", "rival", { deleting = true, finalizers = { "foregroundDeletion" } }) },
            [MAPS] = { object("ConfigMap", "lives"), object("ConfigMap", "a", { owners = { "boss", "lives" } }),
                object("ConfigMap", "b", { owners = { "boss", "rival" }, finalizers = { "busy" } }),
                object("ConfigMap", "c", { owners = { "boss", "gone" }, finalizers = { "busy" } }) },
        })
        collect(world, SETS, "boss")
        local references = world:get(MAPS, "default/a").metadata.ownerReferences
        testing.equal(#references, 1)
        testing.equal(references[1].uid, "u-lives")
        assert(world:item(MAPS, "default/b").deleting, "its other owner waits for it too")
        assert(world:item(MAPS, "default/c").deleting, "its other owner is gone")
        world:drop(MAPS, "default/b")
        world:drop(MAPS, "default/c")
        collect(world, SETS, "boss")
        testing.equal(world:get(SETS, "default/boss").metadata.finalizers, {})
    end,

    ["foreground: what another owner has does not block"] = function()
        local world = world_of({
            [SETS] = { object("ReplicaSet", "boss", { deleting = true, finalizers = { "foregroundDeletion" } }) },
            [MAPS] = { object("ConfigMap", "lives"), object("ConfigMap", "a", { owners = { "boss", "lives" } }) },
        })
        collect(world, SETS, "boss")
        testing.equal(world:get(SETS, "default/boss").metadata.finalizers, {})
        testing.equal(#collect(world, MAPS, "a").steps, 0)
    end,

    ["orphan: the dependents are let go, then the owner"] = function()
        local world = world_of({
            [SETS] = { object("ReplicaSet", "boss", { deleting = true, finalizers = { "orphan" } }) },
            [MAPS] = { object("ConfigMap", "a", { owners = { "boss", "other" } }), object("ConfigMap", "b", { owners = { "boss" } }) },
        })
        testing.equal(#collect(world, SETS, "boss").steps, 2)
        testing.equal(world:get(MAPS, "default/a").metadata.ownerReferences[1].uid, "u-other")
        collect(world, SETS, "boss")
        testing.equal(world:get(SETS, "default/boss").metadata.finalizers, {})
        assert(world:item(MAPS, "default/b"))
    end,

    ["a deleting object is left to its finalizers"] = function()
        local world = world_of({ [MAPS] = { object("ConfigMap", "a", { owners = { "gone" }, deleting = true, finalizers = { "x" } }) } })
        testing.equal(#collect(world, MAPS, "a").steps, 0)
        testing.equal(#collect(world, MAPS, "never-was").steps, 0)
    end,
}
