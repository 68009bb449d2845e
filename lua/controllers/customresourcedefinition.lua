-- CustomResourceDefinitions that are being deleted: their objects go first, then the finalizer, then the definition and
-- with it the kind.
local m8 = require("m8")
local plans = require("framework.plan")

local CRDS = "customresourcedefinitions.apiextensions.k8s.io"
local CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
local BATCH = 500
local PATIENCE = 3 -- seconds, for an object that does not go

--- One of its objects went.
local function keys_for(world, item, previous)
    local crd = not item and world:item(CRDS, previous.resource)
    return crd and crd.deleting and { crd.key } or {}
end

return {
    name = "customresourcedefinition",
    watches = {
        { resource = CRDS, key = "self" },
        { resource = "*", on = {}, map = keys_for },
    },
    reconcile = function(world, key)
        local crd = world:get(CRDS, key)
        if not crd or not crd.metadata.deletionTimestamp then return nil end
        local kept, ours = {}, false
        for _, finalizer in ipairs(crd.metadata.finalizers or {}) do
            if finalizer == CLEANUP then ours = true else kept[#kept + 1] = finalizer end
        end
        if not ours then return nil end
        local plan, left, orders = plans.new(), 0, 0
        for item in world:list(key) do -- its name is that of the resource
            left = left + 1
            if not item.deleting and orders < BATCH then
                orders = orders + 1
                plan:delete(key, item.key, { uid = item.uid, propagation = "Background" }, "its definition is being deleted")
            end
        end
        if left > 0 then
            plan:requeue(orders == BATCH and 0 or PATIENCE)
            return plan
        end
        plan:patch(CRDS, key, { metadata = { finalizers = m8.array(kept) } }, "none of its objects is left",
            { uid = crd.metadata.uid, revision = crd.metadata.resourceVersion })
        return plan
    end,
}
