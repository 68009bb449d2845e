-- Garbage collection through ownerReferences (background, foreground, orphan), by uid. A key here is
-- "RESOURCE|NAMESPACE/NAME" of an object that may have to go, or that is an owner being deleted.
local m8 = require("m8")
local plans = require("framework.plan")

local CRDS = "customresourcedefinitions.apiextensions.k8s.io"
local UNKNOWN_SECONDS = 60 -- until a kind is looked for again that is none of this cluster's

local function key_of(item)
    return item.resource .. "|" .. item.key
end

local function dependents_of(world, uid)
    local found = {}
    for _, resource in ipairs(world:resources()) do
        for item in world:list(resource, { index = "owners", value = uid }) do found[#found + 1] = item end
    end
    return found
end

local function has(list, value)
    for _, entry in ipairs(list or {}) do
        if entry == value then return true end
    end
    return false
end

local function without(list, value)
    local kept = {}
    for _, entry in ipairs(list or {}) do
        if entry ~= value then kept[#kept + 1] = entry end
    end
    return m8.array(kept)
end

--- Objects of a kind that is not served are there, only nobody sees them.
local function is_served(crd)
    for _, version in ipairs(crd.spec.versions or {}) do
        if version.served ~= false then return true end
    end
    return false
end

--- Whether the owner would be here if it lived: only then its absence says that it is gone.
local function would_be_here(world, reference)
    local known = world:knows(reference.apiVersion, reference.kind)
    if known == "shipped" then return true end
    local group = reference.apiVersion:match("^(.*)/") or ""
    for crd in world:list(CRDS) do
        if crd["spec.group"] == group and crd["spec.names.kind"] == reference.kind then
            return is_served(world:get(CRDS, crd.key))
        end
    end
    return known ~= nil
end

--- Splits the references of an item into owners that live and owners that are gone; and whether of one of those
--- that count as living nobody can say.
local function sort_owners(world, item)
    local alive, gone, unknown = {}, {}, false
    for _, reference in ipairs(item["metadata.ownerReferences"] or {}) do
        if world:by_uid(reference.uid) then
            alive[#alive + 1] = reference
        elseif would_be_here(world, reference) then
            gone[#gone + 1] = reference
        else
            alive[#alive + 1], unknown = reference, true
        end
    end
    return alive, gone, unknown
end

local function collect(world, plan, item)
    local references = item["metadata.ownerReferences"] or {}
    if #references == 0 or item.deleting then return end
    local alive, gone, unknown = sort_owners(world, item)
    if unknown then plan:requeue(UNKNOWN_SECONDS) end
    if #gone == 0 then return end
    if #alive > 0 then
        plan:patch(item.resource, item.key, { metadata = { ownerReferences = m8.array(alive) } },
            "one of its owners is gone", { uid = item.uid })
        return
    end
    plan:delete(item.resource, item.key, { uid = item.uid, propagation = "Background" },
        ("its owner %s %s is gone"):format(gone[1].kind, gone[1].name))
end

--- The dependent loses its reference to this owner.
local function let_go(plan, item, dependent, why)
    local kept = {}
    for _, reference in ipairs(dependent["metadata.ownerReferences"] or {}) do
        if reference.uid ~= item.uid then kept[#kept + 1] = reference end
    end
    plan:patch(dependent.resource, dependent.key, { metadata = { ownerReferences = m8.array(kept) } }, why, { uid = dependent.uid })
end

local function orphan(world, plan, item, object)
    local left = 0
    for _, dependent in ipairs(dependents_of(world, item.uid)) do
        left = left + 1
        let_go(plan, item, dependent, "its owner is deleted with Orphan")
    end
    if left == 0 then
        plan:patch(item.resource, item.key, { metadata = { finalizers = without(object.metadata.finalizers, "orphan") } },
            "no dependent refers to it any more", { uid = item.uid })
    end
end

--- Whether an owner lives that does not itself wait for its dependents to go.
local function is_kept(world, dependent)
    for _, reference in ipairs(dependent["metadata.ownerReferences"] or {}) do
        local owner = world:by_uid(reference.uid)
        if owner and not (owner.deleting and has(owner["metadata.finalizers"], "foregroundDeletion")) then return true end
    end
    return false
end

local function blocks(item, dependent)
    for _, reference in ipairs(dependent["metadata.ownerReferences"] or {}) do
        if reference.uid == item.uid and reference.blockOwnerDeletion then return true end
    end
    return false
end

local function foreground(world, plan, item, object)
    local blocking = false
    for _, dependent in ipairs(dependents_of(world, item.uid)) do
        local kept = not dependent.deleting and is_kept(world, dependent)
        blocking = blocking or (not kept and blocks(item, dependent))
        if kept then
            let_go(plan, item, dependent, "its owner is deleted in the foreground, another one lives")
        elseif not dependent.deleting then
            plan:delete(dependent.resource, dependent.key, { uid = dependent.uid, propagation = "Foreground" },
                "its owner is deleted in the foreground")
        end
    end
    if not blocking then
        local kept = without(object.metadata.finalizers, "foregroundDeletion")
        plan:patch(item.resource, item.key, { metadata = { finalizers = kept } }, "all of its dependents are gone",
            { uid = item.uid })
    end
end

--- An object came, changed or went: look at it, and at those that it owns or owned.
local function keys_for(world, item, previous)
    local keys = {}
    local references = item and item["metadata.ownerReferences"]
    if item and (item.deleting or (references and #references > 0)) then
        keys[1] = key_of(item)
    end
    local subject = item or previous
    if not item then
        for _, dependent in ipairs(dependents_of(world, subject.uid)) do keys[#keys + 1] = key_of(dependent) end
    end
    if not item or item.deleting then -- an owner that waits for its dependents
        for _, reference in ipairs(subject["metadata.ownerReferences"] or {}) do
            local owner = world:by_uid(reference.uid)
            if owner and owner.deleting then keys[#keys + 1] = key_of(owner) end
        end
    end
    for _, reference in ipairs(item and previous and previous["metadata.ownerReferences"] or {}) do
        local owner = world:by_uid(reference.uid) -- it may have let go of an owner that waits for that
        if owner and owner.deleting then keys[#keys + 1] = key_of(owner) end
    end
    return keys
end

return {
    name = "gc",
    watches = {
        { resource = "*", on = { "metadata.ownerReferences", "metadata.deletionTimestamp", "metadata.finalizers" },
          map = keys_for },
    },
    project = {
        ["*"] = { "metadata.ownerReferences", "metadata.deletionTimestamp", "metadata.finalizers" },
        [CRDS] = { "spec.group", "spec.names.kind" },
    },
    reconcile = function(world, key)
        local resource, object_key = key:match("^(.-)|(.*)$")
        local item = world:item(resource, object_key)
        if not item then return nil end
        local plan = plans.new()
        local finalizers = item["metadata.finalizers"]
        if item.deleting and has(finalizers, "orphan") then
            orphan(world, plan, item, world:get(resource, object_key))
        elseif item.deleting and has(finalizers, "foregroundDeletion") then
            foreground(world, plan, item, world:get(resource, object_key))
        else
            collect(world, plan, item)
        end
        return plan
    end,
}
