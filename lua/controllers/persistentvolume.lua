-- Volumes: their phase follows from the claim that claimRef names; what happens when that is gone is the reclaim policy. The
-- folder of a provisioned volume is removed by the agent of the node that annotation minik8s.io/node names, which reports
-- reason "Removed"; only then does the object go.
local m8 = require("m8")
local plans = require("framework.plan")
local volumes = require("framework.volumes")

local CLAIMS, VOLUMES = volumes.CLAIMS, volumes.VOLUMES
local REMOVED = "Removed" -- status.reason, written by the agent

local function set_phase(world, plan, volume, phase, reason, message)
    local status = volume.status or {}
    if status.phase == phase and status.reason == reason then return end
    plan:status(VOLUMES, volume.metadata.name,
        { phase = phase, reason = reason, message = message, lastPhaseTransitionTime = world:time_text() },
        { uid = volume.metadata.uid })
end

local function drop_finalizers(plan, volume, why)
    local kept = volumes.without(volumes.without(volume.metadata.finalizers, volumes.VOLUME_PROTECTION), volumes.FINALIZER)
    plan:patch(VOLUMES, volume.metadata.name, { metadata = { finalizers = kept } }, why, { uid = volume.metadata.uid })
end

local function maker(volume) return (volume.metadata.annotations or {})[volumes.PROVISIONED_BY] end

local function is_ours(volume) return maker(volume) == volumes.LOCAL or maker(volume) == volumes.SSHFS end

--- The node whose agent removes the folder, or nil and, if nobody ever can, why.
local function keeper(world, volume)
    local name = (volume.metadata.annotations or {})[volumes.NODE]
    local node = name and world:item("nodes", name)
    if maker(volume) == volumes.LOCAL then
        if node then return name end
        return nil, ("the node %s is gone, its folder %s is left to it"):format(name or "?", (volume.spec["local"] or {}).path or "")
    end
    if volumes.is_ready(node) then return name end
    for other in world:list("nodes") do
        if volumes.is_ready(other) then return other.name end
    end
    return name
end

--- True when the data is gone or cannot go.
local function removed(world, plan, volume)
    if volume.status and volume.status.reason == REMOVED then return true end
    local node, lost = keeper(world, volume)
    if lost then
        plan:event(volume, "Warning", "VolumeFailedDelete", lost)
        return true
    end
    if node and (volume.metadata.annotations or {})[volumes.NODE] ~= node then
        plan:patch(VOLUMES, volume.metadata.name, { metadata = { annotations = { [volumes.NODE] = node } } },
            "this node removes its data", { uid = volume.metadata.uid })
    end
    if not volume.status or volume.status.phase ~= "Failed" then set_phase(world, plan, volume, "Released") end
    return false
end

local function reclaim(world, plan, volume)
    if volume.spec.persistentVolumeReclaimPolicy ~= "Delete" then
        set_phase(world, plan, volume, "Released")
    elseif is_ours(volume) then
        if removed(world, plan, volume) then
            plan:delete(VOLUMES, volume.metadata.name, { uid = volume.metadata.uid }, "its claim and its data are gone")
        end
    elseif maker(volume) then
        set_phase(world, plan, volume, "Released") -- the program that made it deletes it
    elseif not volume.status or volume.status.phase ~= "Failed" then
        local message = "a volume that was made by hand is not deleted: remove its data and the object yourself, or use Retain"
        set_phase(world, plan, volume, "Failed", "NotDeletable", message)
        plan:event(volume, "Warning", "VolumeFailedDelete", message)
    end
end

--- The claim (an item) that the volume is bound to or promised to, "reserved" when only a name is known, or nil.
local function holder(world, volume)
    local reference = volume.spec.claimRef
    if not reference.uid then return "reserved" end
    local claim = world:item(CLAIMS, reference.namespace .. "/" .. reference.name)
    return claim and claim.uid == reference.uid and claim or nil
end

local function follow(world, plan, volume)
    local claim = holder(world, volume)
    if claim == "reserved" then
        set_phase(world, plan, volume, "Available")
    elseif not claim then
        reclaim(world, plan, volume)
    elseif claim.spec.volumeName == volume.metadata.name then
        set_phase(world, plan, volume, "Bound")
    elseif claim.spec.volumeName and is_ours(volume) then
        reclaim(world, plan, volume) -- made for a claim that has got another one
    elseif claim.spec.volumeName then
        plan:patch(VOLUMES, volume.metadata.name, { spec = { claimRef = m8.null } },
            "its claim has got another volume", { uid = volume.metadata.uid })
    end
end

local function finish(world, plan, volume)
    local claim = volume.spec.claimRef and holder(world, volume)
    if claim and claim ~= "reserved" and claim.spec.volumeName == volume.metadata.name then
        if world:seen("volume/" .. volume.metadata.uid, claim.key) == 0 then
            plan:event(volume, "Warning", "VolumeInUse", "deletion waits for the claim " .. claim.key .. " that is bound to the volume")
        end
        return
    end
    local data = volumes.has(volume.metadata.finalizers, volumes.FINALIZER) and is_ours(volume)
        and volume.spec.persistentVolumeReclaimPolicy == "Delete"
    if not data or removed(world, plan, volume) then drop_finalizers(plan, volume, "nothing holds the volume any more") end
end

return {
    name = "persistentvolume",
    watches = {
        { resource = VOLUMES, key = "self" },
        { resource = CLAIMS, map = function(world, item, previous)
              local keys = {}
              for _, claim in ipairs({ item or previous, previous }) do
                  if claim.spec.volumeName then keys[#keys + 1] = claim.spec.volumeName end
              end
              local claim = item or previous
              local promised = { index = "spec.claimRef.name", value = claim.name }
              for volume in world:list(VOLUMES, promised) do -- also those that it does not, or no more, name
                  if volume["spec.claimRef"].namespace == claim.namespace then keys[#keys + 1] = volume.name end
              end
              return keys
          end },
        { resource = "nodes", on = { "status.conditions" }, map = function(world)
              local keys = {}
              for _, phase in ipairs({ "Released", "Failed" }) do
                  for volume in world:list(VOLUMES, { index = "status.phase", value = phase }) do keys[#keys + 1] = volume.name end
              end
              return keys
          end },
    },
    project = volumes.columns,
    index = volumes.indexes,
    reconcile = function(world, key)
        local volume, plan = world:get(VOLUMES, key), plans.new()
        if not volume then return nil end
        if volume.metadata.deletionTimestamp then
            finish(world, plan, volume)
        elseif volume.spec.claimRef then
            follow(world, plan, volume)
        else
            set_phase(world, plan, volume, "Available")
        end
        return plan
    end,
}
