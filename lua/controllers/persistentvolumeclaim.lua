-- Claims: finds or makes the volume of each, in steps that each may be the last before a crash: the volume is reserved
-- (claimRef), then the claim names it, then both say Bound. A claim that is deleted stays while pods use it.
local m8 = require("m8")
local plans = require("framework.plan")
local volumes = require("framework.volumes")
local workload = require("framework.workload")

local STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
local RESELECT_S = 5 -- so that scheduler and provisioner do not chase each other
local CLAIMS, VOLUMES, CLASSES = volumes.CLAIMS, volumes.VOLUMES, volumes.CLASSES

--- An Event, once for each new message about the claim.
local function say(world, plan, claim, type, reason, message)
    local key = "claim/" .. claim.metadata.uid
    if world:seen(key, reason .. message) == 0 then plan:event(claim, type, reason, message) end
end

local function key_of(claim) return claim.metadata.namespace .. "/" .. claim.metadata.name end

local function annotation(claim, name) return (claim.metadata.annotations or {})[name] end

local function set_phase(plan, claim, phase, more)
    local status = more or {}
    local same = not more or m8.equal(claim.status and claim.status.capacity, more.capacity)
    if same and claim.status and claim.status.phase == phase then return end
    status.phase = phase
    plan:status(CLAIMS, key_of(claim), status, { uid = claim.metadata.uid })
end

-- ---- deletion

local function protect(world, plan, claim)
    if not volumes.has(claim.metadata.finalizers, volumes.CLAIM_PROTECTION) then return end
    local names = {}
    for _, pod in ipairs(volumes.users(world, claim.metadata.namespace, claim.metadata.name)) do names[#names + 1] = pod.name end
    if #names == 0 then
        local kept = volumes.without(claim.metadata.finalizers, volumes.CLAIM_PROTECTION)
        plan:patch(CLAIMS, key_of(claim), { metadata = { finalizers = kept } }, "no pod uses the claim",
            { uid = claim.metadata.uid, revision = claim.metadata.resourceVersion })
        return
    end
    local message = "deletion waits for the pods that use the claim: " .. table.concat(names, ", ", 1, math.min(#names, 10))
    local known = workload.condition(claim.status and claim.status.conditions, "InUse")
    if known and known.message == message then return end
    local wanted = { type = "InUse", status = "True", reason = "UsedByPods", message = message }
    plan:status(CLAIMS, key_of(claim),
        { conditions = workload.with_condition(claim.status and claim.status.conditions, wanted, world:time_text()) },
        { uid = claim.metadata.uid })
    plan:event(claim, "Warning", "ClaimInUse", message)
end

-- ---- binding

local function reserve(plan, claim, volume, by_name)
    local patch = { spec = { claimRef = {
        apiVersion = "v1", kind = "PersistentVolumeClaim", namespace = claim.metadata.namespace, name = claim.metadata.name,
        uid = claim.metadata.uid, resourceVersion = claim.metadata.resourceVersion,
    } } }
    if not by_name then patch.metadata = { annotations = { [volumes.BOUND_BY_CONTROLLER] = "yes" } } end
    plan:patch(VOLUMES, volume.key, patch, "the claim " .. key_of(claim) .. " gets this volume",
        { uid = volume.uid, revision = volume.revision })
end

--- A bound claim asks for more than its volume had.
local function grow(plan, claim, volume)
    local wanted = claim.spec.resources.requests.storage
    plan:patch(VOLUMES, volume.key, { spec = { capacity = { storage = wanted } } }, "its claim asks for more", { uid = volume.uid })
    plan:event(claim, "Normal", "VolumeResizeSuccessful", "the volume " .. volume.name .. " now counts as " .. wanted)
end

--- The volume is ours by its claimRef: the claim says so too.
local function complete(world, plan, claim, volume)
    local made = (volume["metadata.annotations"] or {})[volumes.PROVISIONED_BY]
    local known = annotation(claim, volumes.BIND_COMPLETED) == "yes"
    if known and made and volumes.size_of(volume) < volumes.size_of_claim(claim.spec) then
        return grow(plan, claim, volume)
    end
    if claim.spec.volumeName ~= volume.name or not known then
        local by_name = claim.spec.volumeName == volume.name
        plan:patch(CLAIMS, key_of(claim), {
            spec = { volumeName = volume.name },
            metadata = { annotations = {
                [volumes.BIND_COMPLETED] = "yes", [volumes.BOUND_BY_CONTROLLER] = not by_name and "yes" or nil,
            } },
        }, "the volume is reserved for it", { uid = claim.metadata.uid })
    end
    world:seen("claim/" .. claim.metadata.uid, "bound")
    set_phase(plan, claim, "Bound",
        { accessModes = m8.array(m8.copy(volume["spec.accessModes"])), capacity = m8.copy(volume["spec.capacity"]) })
end

local function lost(plan, claim, reason, message)
    if claim.status and claim.status.phase == "Lost" then return end
    set_phase(plan, claim, "Lost")
    plan:event(claim, "Warning", reason, message)
end

--- The claim names its volume: by the user's wish, or because it has been bound.
local function follow(world, plan, claim)
    local name, known = claim.spec.volumeName, annotation(claim, volumes.BIND_COMPLETED) == "yes"
    local volume = world:item(VOLUMES, name)
    local reference = volume and volumes.reference(volume, claim.metadata)
    if volume and (reference == "yes") then return complete(world, plan, claim, volume) end
    if known and not volume then
        return lost(plan, claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on this volume is lost!")
    elseif known then
        return lost(plan, claim, "ClaimMisbound", "Bound claim has lost reference to PersistentVolume. Data on this volume is lost!")
    elseif not volume then
        return say(world, plan, claim, "Warning", "FailedBinding", ('volume "%s" not found'):format(name))
    elseif reference == "no" then
        return say(world, plan, claim, "Warning", "FailedBinding", ('volume "%s" already bound to a different claim.'):format(name))
    end
    local mismatch = volumes.mismatch(volume, claim.spec)
    if mismatch then
        return say(world, plan, claim, "Warning", "VolumeMismatch", ('Cannot bind to requested volume "%s": %s'):format(name, mismatch))
    end
    reserve(plan, claim, volume, true)
end

-- ---- provisioning

local function pick_node(world, class, claim)
    local terms, ready = volumes.topology_of(class), {}
    for node in world:list("nodes") do
        if volumes.is_ready(node) and (not terms or volumes.node_matches(terms, node)) then ready[#ready + 1] = node end
    end
    if #ready == 0 then return nil end
    local at = tonumber(claim.metadata.uid:sub(1, 6), 16) or 0
    return ready[at % #ready + 1]
end

--- The source of a new volume and where it may be used, or nil and why not.
local function local_folder(world, class, claim, name)
    local selected = annotation(claim, volumes.SELECTED_NODE)
    local node = selected and world:item("nodes", selected)
    if not selected then node = pick_node(world, class, claim) end
    if not node then return nil, selected and ('node "%s" not found'):format(selected) or "no ready node may hold the volume" end
    local folder = (node["metadata.annotations"] or {})[volumes.FOLDER]
    if not folder then return nil, ('node "%s" keeps no volumes'):format(node.name) end
    local hostname = (node["metadata.labels"] or {})["kubernetes.io/hostname"]
    local on_node = hostname and { matchExpressions = { { key = "kubernetes.io/hostname", operator = "In", values = { hostname } } } }
        or { matchFields = { { key = "metadata.name", operator = "In", values = { node.name } } } }
    return {
        source = { ["local"] = { path = folder .. "/" .. name } }, node = node.name,
        affinity = { required = { nodeSelectorTerms = { on_node } } },
    }
end

local function ssh_folder(class, name)
    local parameters, attributes = class.parameters or {}, { folder = name }
    for _, key in ipairs({ "host", "path", "hostKey", "port", "user" }) do attributes[key] = parameters[key] end
    return { source = { csi = {
        driver = "sshfs.minik8s.io", volumeHandle = name, volumeAttributes = attributes,
        nodeStageSecretRef = {
            name = parameters["csi.storage.k8s.io/node-stage-secret-name"],
            namespace = parameters["csi.storage.k8s.io/node-stage-secret-namespace"],
        },
    } } }
end

local function volume_object(claim, class, name, made)
    local spec = made.source
    spec.capacity = { storage = claim.spec.resources.requests.storage }
    spec.accessModes = claim.spec.accessModes
    spec.storageClassName = class.metadata.name
    spec.persistentVolumeReclaimPolicy = class.reclaimPolicy
    spec.nodeAffinity = made.affinity
    spec.claimRef = {
        apiVersion = "v1", kind = "PersistentVolumeClaim", namespace = claim.metadata.namespace, name = claim.metadata.name,
        uid = claim.metadata.uid,
    }
    return {
        apiVersion = "v1", kind = "PersistentVolume",
        metadata = {
            name = name, finalizers = { volumes.FINALIZER },
            annotations = { [volumes.PROVISIONED_BY] = class.provisioner, [volumes.NODE] = made.node },
        },
        spec = spec,
    }
end

local function failed(world, plan, claim, message)
    local selected = annotation(claim, volumes.SELECTED_NODE)
    say(world, plan, claim, "Warning", "ProvisioningFailed", message)
    if not selected then return end
    if world:item("nodes", selected) and world:seen("unfit/" .. claim.metadata.uid, selected) < RESELECT_S then
        plan:requeue(RESELECT_S)
    else -- another node may do
        plan:patch(CLAIMS, key_of(claim), { metadata = { annotations = { [volumes.SELECTED_NODE] = m8.null } } },
            "the selected node cannot hold it", { uid = claim.metadata.uid })
    end
end

local function provision(world, plan, claim)
    local class = world:get(CLASSES, claim.spec.storageClassName)
    local provisioner, name = class.provisioner, "pvc-" .. claim.metadata.uid
    if provisioner == volumes.NO_PROVISIONER then
        return say(world, plan, claim, "Normal", "FailedBinding",
            ('no persistent volumes available for this claim; class "%s" makes none'):format(class.metadata.name))
    elseif claim.spec.selector then
        return say(world, plan, claim, "Warning", "ProvisioningFailed",
            "claim.Spec.Selector is not supported for dynamic provisioning")
    elseif provisioner ~= volumes.LOCAL and provisioner ~= volumes.SSHFS then
        if annotation(claim, STORAGE_PROVISIONER) ~= provisioner then
            plan:patch(CLAIMS, key_of(claim), { metadata = { annotations = { [STORAGE_PROVISIONER] = provisioner } } },
                "its volume is made by another program", { uid = claim.metadata.uid })
        end
        return say(world, plan, claim, "Normal", "ExternalProvisioning", ("Waiting for a volume to be created either by the external "
            .. "provisioner '%s' or manually by the system administrator."):format(provisioner))
    end
    local made, why
    if provisioner == volumes.SSHFS then made = ssh_folder(class, name)
    else made, why = local_folder(world, { allowedTopologies = class.allowedTopologies }, claim, name) end
    if not made then
        return failed(world, plan, claim,
            ('failed to provision volume with StorageClass "%s": %s'):format(class.metadata.name, why))
    end
    plan:create(VOLUMES, volume_object(claim, class, name, made), "no volume suits the claim " .. key_of(claim))
    plan:event(claim, "Normal", "ProvisioningSucceeded",
        "Successfully provisioned volume " .. name .. (made.node and " on " .. made.node or ""))
end

-- ---- a claim without a volume

--- The volume that waits for this claim: reserved, or reserved by us and not yet named.
local function reserved(world, claim)
    for volume in world:list(VOLUMES, { index = "spec.claimRef.name", value = claim.metadata.name }) do
        local reference = volumes.reference(volume, claim.metadata)
        if reference == "yes" or reference == "reserved" then return volume, reference end
    end
    return nil
end

local function take(world, plan, claim)
    local selected = annotation(claim, volumes.SELECTED_NODE)
    local node = selected and world:item("nodes", selected)
    for _, volume in ipairs(volumes.candidates(world, claim.spec)) do
        local terms = volumes.terms_of(volume)
        if not node or not terms or volumes.node_matches(terms, node) then
            reserve(plan, claim, volume, false)
            return true
        end
    end
    return false
end

local function search(world, plan, claim)
    local volume, reference = reserved(world, claim)
    if reference == "yes" then return complete(world, plan, claim, volume) end
    if volume then
        local mismatch = volumes.mismatch(volume, claim.spec)
        if not mismatch then return reserve(plan, claim, volume, true) end
        return say(world, plan, claim, "Warning", "VolumeMismatch",
            ('volume "%s" is reserved for the claim, but %s'):format(volume.name, mismatch))
    end
    local name = claim.spec.storageClassName
    local class = name and name ~= "" and world:item(CLASSES, name) or nil
    if volumes.waits(class) and not annotation(claim, volumes.SELECTED_NODE) then
        return say(world, plan, claim, "Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    end
    if take(world, plan, claim) then return end
    if not name or name == "" then
        say(world, plan, claim, "Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
    elseif not class then
        say(world, plan, claim, "Warning", "ProvisioningFailed", ('storageclass.storage.k8s.io "%s" not found'):format(name))
    else
        provision(world, plan, claim)
    end
end

local function pending_keys(world)
    local keys = {}
    for claim in world:list(CLAIMS, { index = "status.phase", value = "Pending" }) do keys[#keys + 1] = claim.key end
    return keys
end

local function keys_of_volume(world, item, previous)
    local keys = {}
    for _, volume in ipairs({ item or previous, previous }) do
        local reference = volume and volume["spec.claimRef"]
        if reference and reference.namespace then keys[#keys + 1] = reference.namespace .. "/" .. reference.name end
    end
    if item and not item["spec.claimRef"] then return pending_keys(world) end
    for claim in world:list(CLAIMS, { index = "spec.volumeName", value = (item or previous).name }) do
        keys[#keys + 1] = claim.key
    end
    return keys
end

--- A pod that ends lets go of its claims.
local function keys_of_pod(world, item, previous)
    local pod, keys = item or previous, {}
    for _, claim in ipairs(volumes.claims_of(pod.name, pod["spec.volumes"])) do
        local key = pod.namespace .. "/" .. claim.name
        local known = world:item(CLAIMS, key)
        if known and known.deleting then keys[#keys + 1] = key end
    end
    return keys
end

return {
    name = "persistentvolumeclaim",
    watches = {
        { resource = CLAIMS, key = "self" },
        { resource = VOLUMES, on = { "spec.claimRef", "spec.capacity", "status.phase" }, map = keys_of_volume },
        { resource = CLASSES, map = pending_keys },
        { resource = "pods", on = { "spec.nodeName", "status.phase" }, map = keys_of_pod },
        { resource = "nodes", on = { "metadata.annotations" }, map = pending_keys },
    },
    project = volumes.columns,
    index = volumes.indexes,
    reconcile = function(world, key)
        local claim, plan = world:get(CLAIMS, key), plans.new()
        if not claim then return nil end
        if claim.metadata.deletionTimestamp then
            protect(world, plan, claim)
        elseif claim.spec.volumeName then
            follow(world, plan, claim)
        else
            local default = not claim.spec.storageClassName and volumes.default_class(world)
            if default then
                plan:patch(CLAIMS, key, { spec = { storageClassName = default.name } }, "the default class", { uid = claim.metadata.uid })
            else
                search(world, plan, claim)
            end
        end
        return plan
    end,
}
