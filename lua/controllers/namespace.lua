-- Namespaces that are being deleted: everything in them goes, then the finalizer, then the namespace. What hinders that for
-- a while stands in the conditions, in the words of Kubernetes.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local BATCH = 500
local PATIENCE = 3 -- seconds; when nothing has gone for so long, the status says what is left
local CONTENT, FINALIZERS = "NamespaceContentRemaining", "NamespaceFinalizersRemaining"

--- Plans the deletion of a portion; returns what is there: how much, and how much of each resource and with each finalizer.
local function empty(world, plan, key)
    local left, orders = { count = 0, resources = {}, finalizers = {} }, 0
    for _, resource in ipairs(world:resources()) do
        for item in world:list(resource, { namespace = key }) do
            left.count = left.count + 1
            left.resources[resource] = (left.resources[resource] or 0) + 1
            for _, name in ipairs(item["metadata.finalizers"] or {}) do
                left.finalizers[name] = (left.finalizers[name] or 0) + 1
            end
            if not item.deleting and orders < BATCH then
                orders = orders + 1
                plan:delete(resource, item.key, { uid = item.uid, propagation = "Background" }, "its namespace is being deleted")
            end
        end
    end
    left.more = orders == BATCH
    return left
end

local function told(counts, form, name_of)
    local parts = {}
    for name, count in pairs(counts) do parts[#parts + 1] = form:format(name_of and name_of(name) or name, count) end
    table.sort(parts)
    return table.concat(parts, ", ")
end

local function with_group(resource)
    return resource:find(".", 1, true) and resource or resource .. "."
end

local function conditions_of(namespace, left, time)
    local content = { type = CONTENT, status = "False", reason = "ContentRemoved", message = "All content successfully removed" }
    local held = { type = FINALIZERS, status = "False", reason = "ContentHasNoFinalizers",
        message = "All content-preserving finalizers finished" }
    if left.count > 0 then
        content.status, content.reason = "True", "SomeResourcesRemain"
        content.message = "Some resources are remaining: " .. told(left.resources, "%s has %d resource instances", with_group)
    end
    if next(left.finalizers) then
        held.status, held.reason = "True", "SomeFinalizersRemain"
        held.message = "Some content in the namespace has finalizers remaining: "
            .. told(left.finalizers, "%s in %d resource instances")
    end
    local conditions = (namespace.status or {}).conditions
    return workload.with_condition(workload.with_condition(conditions, content, time), held, time)
end

local function tell(world, plan, namespace, left)
    local status = { conditions = conditions_of(namespace, left, world:time_text()) }
    if not workload.covers(namespace.status, status) then
        plan:status("namespaces", namespace.metadata.name, status, { uid = namespace.metadata.uid })
    end
end

--- True as soon as one object is found.
local function holds_anything(world, key)
    for _, resource in ipairs(world:resources()) do
        local next_item = world:list(resource, { namespace = key })
        if next_item() then return true end
    end
    return false
end

--- In a namespace that is being deleted something appeared, or the last thing went.
local function keys_for(world, item, previous)
    local key = (item or previous).namespace
    local namespace = key and not (item and previous) and world:item("namespaces", key)
    if not namespace or not namespace.deleting then return {} end
    return (item or not holds_anything(world, key)) and { key } or {}
end

return {
    name = "namespace",
    watches = {
        { resource = "namespaces", key = "self" },
        { resource = "*", on = {}, map = keys_for },
    },
    project = { ["*"] = { "metadata.finalizers" } },
    reconcile = function(world, key)
        local namespace = world:get("namespaces", key)
        if not namespace or not namespace.metadata.deletionTimestamp then return nil end
        local plan = plans.new()
        local left = empty(world, plan, key)
        if left.count > 0 then
            local quiet = world:seen("namespace/" .. namespace.metadata.uid, tostring(left.count))
            if quiet >= PATIENCE then tell(world, plan, namespace, left) end
            plan:requeue(left.more and 0 or PATIENCE)
            return plan
        end
        if workload.condition((namespace.status or {}).conditions, CONTENT) then tell(world, plan, namespace, left) end
        local finalizers = (namespace.spec or {}).finalizers or {}
        if #finalizers > 0 then
            plan:patch("namespaces", key, { spec = { finalizers = m8.array({}) } }, "the namespace is empty")
        end
        return plan
    end,
}
