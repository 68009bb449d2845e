-- Namespaces that are being deleted: everything in them goes, then the finalizer, then the namespace.
local m8 = require("m8")
local plans = require("framework.plan")

local BATCH = 500

return {
    name = "namespace",
    watches = { { resource = "namespaces", key = "self" } },
    reconcile = function(world, key)
        local namespace = world:get("namespaces", key)
        if not namespace or not namespace.metadata.deletionTimestamp then return nil end
        local plan, left = plans.new(), 0
        for _, resource in ipairs(world:resources()) do
            for item in world:list(resource, { namespace = key }) do
                left = left + 1
                if not item.deleting and left <= BATCH then
                    plan:delete(resource, item.key, { uid = item.uid, propagation = "Background" },
                        "its namespace is being deleted")
                end
            end
        end
        if left > 0 then
            plan:requeue(0.2)
            return plan
        end
        local finalizers = (namespace.spec or {}).finalizers or {}
        if #finalizers > 0 then
            plan:patch("namespaces", key, { spec = { finalizers = m8.array({}) } }, "the namespace is empty")
        end
        return plan
    end,
}
