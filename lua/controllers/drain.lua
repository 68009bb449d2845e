-- The acknowledgement of the drain protocol (contract 14): the smallest service-table revision that all live nodes have in
-- their kernels, as one volatile object. Nodes report theirs in their Lease.
local plans = require("framework.plan")
local workload = require("framework.workload")

local APPLIED = "minik8s.io/applied-revision"
local LEASES, DRAINS = "leases.coordination.k8s.io", "drains.minik8s.io"

return {
    name = "drain",
    watches = {
        { resource = LEASES, on = { "metadata.annotations" }, map = function() return { "cluster" } end },
        { resource = "nodes", on = { "status.conditions" }, map = function() return { "cluster" } end },
        { resource = DRAINS, key = "self" },
    },
    project = { [LEASES] = { "metadata.annotations" }, nodes = { "status.conditions" }, [DRAINS] = { "status" } },
    reconcile = function(world, key)
        local least
        for node in world:list("nodes") do
            local ready = workload.condition(node["status.conditions"], "Ready")
            if ready and ready.status == "True" then
                local lease = world:item(LEASES, "kube-node-lease/" .. node.name)
                local applied = lease and tonumber((lease["metadata.annotations"] or {})[APPLIED]) or 0
                least = math.min(least or applied, applied)
            end
        end
        least = least or 0
        local plan, present = plans.new(), world:item(DRAINS, key)
        if not present then
            plan:create(DRAINS, {
                apiVersion = "minik8s.io/v1", kind = "Drain", metadata = { name = key }, status = { revision = least },
            }, "nodes report what they have applied")
        elseif (present["status"] or {}).revision ~= least then
            plan:status(DRAINS, key, { revision = least })
        end
        return plan
    end,
}
