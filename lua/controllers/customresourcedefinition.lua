-- CustomResourceDefinitions that are being deleted: their objects go first, then the finalizer, then the definition and
-- with it the kind.
local m8 = require("m8")
local plans = require("framework.plan")

local CRDS = "customresourcedefinitions.apiextensions.k8s.io"
local CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
local BATCH = 500

return {
    name = "customresourcedefinition",
    watches = { { resource = CRDS, key = "self" } },
    reconcile = function(world, key)
        local crd = world:get(CRDS, key)
        if not crd or not crd.metadata.deletionTimestamp then return nil end
        local kept, ours = {}, false
        for _, finalizer in ipairs(crd.metadata.finalizers or {}) do
            if finalizer == CLEANUP then ours = true else kept[#kept + 1] = finalizer end
        end
        if not ours then return nil end
        local plan, left = plans.new(), 0
        for item in world:list(key) do -- its name is that of the resource
            left = left + 1
            if not item.deleting and left <= BATCH then
                plan:delete(key, item.key, { uid = item.uid, propagation = "Background" }, "its definition is being deleted")
            end
        end
        if left > 0 then
            plan:requeue(0.2)
            return plan
        end
        plan:patch(CRDS, key, { metadata = { finalizers = m8.array(kept) } }, "none of its objects is left",
            { uid = crd.metadata.uid, revision = crd.metadata.resourceVersion })
        return plan
    end,
}
