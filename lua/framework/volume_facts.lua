-- What the claims of a pod mean for its placing: why it cannot be placed yet, which nodes each claim allows, and which claims
-- wait for the choice of a node.
local m8 = require("m8")
local volumes = require("framework.volumes")
local facts = {}

local CONFLICT = "node(s) had volume node affinity conflict"
local NOTHING_FREE = "node(s) didn't find available persistent volumes to bind"
local ELSEWHERE = "node(s) cannot use a ReadWriteOnce volume that is in use on another node"

--- A set of the names of nodes that one of these lists of terms matches; nil: every node.
local function names_of(world, lists)
    local names = {}
    for _, terms in ipairs(lists) do
        if terms == true then return nil end
        for node in world:list("nodes") do
            if volumes.node_matches(terms, node) then names[node.name] = true end
        end
    end
    return names
end

local function allow(found, claim, names, reason)
    if names then found.facts[#found.facts + 1] = { claim = claim.name, nodes = names, reason = reason } end
end

--- The claim's volume is there: where it can be reached, and who has it.
local function bound(world, found, pod, claim, item, taken)
    local volume = world:item(volumes.VOLUMES, item.spec.volumeName)
    if not volume then return ('persistentvolume "%s" not found'):format(item.spec.volumeName) end
    local terms, modes = volumes.terms_of(volume), item.spec.accessModes or {}
    allow(found, claim, terms and names_of(world, { terms }), CONFLICT)
    local alone = volumes.has(modes, "ReadWriteOncePod")
    local one_node = volume["spec.csi.driver"] and not volumes.has(modes, "ReadWriteMany") and not volumes.has(modes, "ReadOnlyMany")
    if not alone and not one_node then return nil end
    local there = taken[item.key]
    for _, user in ipairs(volumes.users(world, pod.namespace, claim.name)) do
        if user.uid ~= pod.uid then there = user["spec.nodeName"] end
    end
    if there and alone then
        return "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
    end
    if there then allow(found, claim, { [there] = true }, ELSEWHERE) end
    found.exclusive[#found.exclusive + 1] = item.key
    return nil
end

--- The claim waits for a node: which ones have a volume for it, or can get one made.
local function unbound(world, found, claim, item, class)
    local lists, makes = {}, class["provisioner"] ~= volumes.NO_PROVISIONER
    if (item["metadata.annotations"] or {})[volumes.SELECTED_NODE] then
        found.under_way = true
        return nil
    end
    for _, volume in ipairs(volumes.candidates(world, item.spec)) do lists[#lists + 1] = volumes.terms_of(volume) or true end
    if makes then lists[#lists + 1] = volumes.topology_of(class) or true end
    if #lists == 0 then return NOTHING_FREE end
    allow(found, claim, names_of(world, lists), NOTHING_FREE)
    found.select[#found.select + 1] = item
    return nil
end

local function look(world, found, pod, claim, taken)
    local item = world:item(volumes.CLAIMS, pod.namespace .. "/" .. claim.name)
    if not item and claim.ephemeral then
        return ('waiting for ephemeral volume controller to create the persistentvolumeclaim "%s"'):format(claim.name)
    elseif not item then
        return ('persistentvolumeclaim "%s" not found'):format(claim.name)
    elseif claim.ephemeral and item.owner_uid ~= pod.uid then
        return ('PVC "%s" was not created for pod "%s" (pod is not owner)'):format(item.key, pod.key)
    elseif item.deleting then
        return ('persistentvolumeclaim "%s" is being deleted'):format(claim.name)
    elseif item["status.phase"] == "Lost" then
        return ('persistentvolumeclaim "%s" bound to non-existent persistentvolume "%s"'):format(claim.name, item.spec.volumeName or "")
    elseif item["status.phase"] == "Bound" then
        return bound(world, found, pod, claim, item, taken)
    end
    local name = item.spec.storageClassName
    local class = name and name ~= "" and world:item(volumes.CLASSES, name) or nil
    if not volumes.waits(class) or item.spec.volumeName then return "pod has unbound immediate PersistentVolumeClaims" end
    return unbound(world, found, claim, item, class)
end

--- For a pod (an item with spec.volumes). taken: claim key → node, of pods placed in this plan. Returns
--- { problem = text, under_way = bool, facts = { { claim, nodes, reason } }, select = { claim items }, exclusive = { claim keys } }.
function facts.of(world, pod, taken)
    local found = { facts = {}, select = {}, exclusive = {} }
    for _, claim in ipairs(volumes.claims_of(pod.name, pod["spec.volumes"])) do
        found.problem = found.problem or look(world, found, pod, claim, taken)
    end
    return found
end

--- The same about one pod by itself, as data: { facts = …, problem = text }; nil: it has no claims.
function facts.of_key(world, key)
    local pod = world:item("pods", key)
    if not pod or #volumes.claims_of(pod.name, pod["spec.volumes"]) == 0 then return nil end
    local found = facts.of(world, pod, {})
    local problem = found.problem or found.under_way and "a claim's volume is being made on the node that was chosen" or nil
    return { facts = m8.array(found.facts), problem = problem }
end

return facts
