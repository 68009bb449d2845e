-- What the controllers of pods share: owner references, which pods count, readiness, conditions. Pure functions.
local m8 = require("m8")
local workload = {}

--- The columns of pods that the functions below need.
workload.pod_columns = {
    "metadata.labels", "metadata.creationTimestamp", "metadata.ownerReferences", "spec.nodeName",
    "status.phase", "status.conditions", "status.podIP",
}

--- The same and more.
function workload.pod_columns_with(more)
    local all = m8.copy(workload.pod_columns)
    for _, column in ipairs(more) do all[#all + 1] = column end
    return all
end

--- An ownerReference to `owner` (an object as read) that makes it the controller.
function workload.controller_reference(owner)
    return {
        apiVersion = owner.apiVersion, kind = owner.kind, name = owner.metadata.name, uid = owner.metadata.uid,
        controller = true, blockOwnerDeletion = true,
    }
end

--- True while the pod counts towards its owner's replicas.
function workload.is_active(pod)
    local phase = pod["status.phase"]
    return not pod.deleting and phase ~= "Succeeded" and phase ~= "Failed"
end

function workload.condition(conditions, type)
    for _, condition in ipairs(conditions or {}) do
        if condition.type == type then return condition end
    end
    return nil
end

--- Since when (seconds of the epoch) the pod is ready, or nil.
function workload.ready_since(pod)
    local ready = workload.condition(pod["status.conditions"], "Ready")
    if not ready or ready.status ~= "True" then return nil end
    return m8.time(ready.lastTransitionTime or "") or 0
end

--- Ready for at least min_seconds at `now`; else false and the seconds that are left (nil when not ready at all).
function workload.is_available(pod, min_seconds, now)
    local since = workload.ready_since(pod)
    if not since then return false, nil end
    local left = since + (min_seconds or 0) - now
    if left <= 0 or (min_seconds or 0) == 0 then return true, nil end
    return false, left
end

--- A copy of `conditions` with `wanted` set; lastTransitionTime moves only when the status changes.
function workload.with_condition(conditions, wanted, time_text)
    local result, found = {}, false
    for _, condition in ipairs(conditions or {}) do
        if condition.type ~= wanted.type then
            result[#result + 1] = condition
        else
            found = true
            local same = condition.status == wanted.status
            local copy = m8.copy(wanted)
            copy.lastTransitionTime = same and condition.lastTransitionTime or time_text
            if condition.lastUpdateTime or wanted.lastUpdateTime then
                local equal = same and condition.reason == wanted.reason and condition.message == wanted.message
                copy.lastUpdateTime = equal and condition.lastUpdateTime or time_text
            end
            result[#result + 1] = copy
        end
    end
    if not found then
        local copy = m8.copy(wanted)
        copy.lastTransitionTime = time_text
        if wanted.lastUpdateTime then copy.lastUpdateTime = time_text end
        result[#result + 1] = copy
    end
    return result
end

--- The selector of a workload; nil for one that is missing, empty or broken: it must never mean all pods.
function workload.selector_of(text)
    return text and next(text) and m8.selector(text) or nil
end

--- The pods of `owner`: those that it controls and that match its selector (and `accepts(item)`, if given). Plans the
--- release of those that no longer match and the adoption of matching ones without a controller; adopted ones count.
function workload.claim_pods(world, owner, selector, plan, accepts)
    local metadata, pods = owner.metadata, {}
    for pod in world:list("pods", { owner = metadata.uid }) do
        if selector:matches(pod["metadata.labels"] or {}) then
            pods[#pods + 1] = pod
        elseif not pod.deleting then
            local kept = {}
            for _, reference in ipairs(pod["metadata.ownerReferences"] or {}) do
                if reference.uid ~= metadata.uid then kept[#kept + 1] = reference end
            end
            plan:patch("pods", pod.key, { metadata = { ownerReferences = m8.array(kept) } },
                "its labels no longer match the selector", { uid = pod.uid })
        end
    end
    if metadata.deletionTimestamp then return pods end -- its pods may just have been orphaned
    for pod in world:list("pods", { namespace = metadata.namespace, selector = selector }) do
        if not pod.owner_uid and workload.is_active(pod) and (not accepts or accepts(pod)) then
            local references = m8.copy(pod["metadata.ownerReferences"] or {})
            references[#references + 1] = workload.controller_reference(owner)
            plan:patch("pods", pod.key, { metadata = { ownerReferences = m8.array(references) } },
                "it matches the selector and has no controller", { uid = pod.uid })
            pods[#pods + 1] = pod
        end
    end
    return pods
end

--- A watch that queues whoever might adopt a pod that has no controller. The resource needs the column spec.selector.
function workload.watch_orphans(resource)
    return { resource = "pods", on = { "metadata.labels", "metadata.ownerReferences" }, map = function(world, item)
        local keys = {}
        if item and not item.owner_uid then
            for owner in world:list(resource, { namespace = item.namespace }) do
                local selector = workload.selector_of(owner["spec.selector"])
                if selector and selector:matches(item["metadata.labels"] or {}) then keys[#keys + 1] = owner.key end
            end
        end
        return keys
    end }
end

local function has_more_room(quota, before)
    for name, hard in pairs(quota["spec.hard"] or {}) do
        local was = (before["spec.hard"] or {})[name]
        local used, used_before = (quota["status.used"] or {})[name], (before["status.used"] or {})[name]
        if was and (m8.milli(hard) or 0) > (m8.milli(was) or 0) then return true end
        if used and used_before and (m8.milli(used) or 0) < (m8.milli(used_before) or 0) then return true end
    end
    for name in pairs(before["spec.hard"] or {}) do
        if not (quota["spec.hard"] or {})[name] then return true end
    end
    return false
end

workload.quota_columns = { "spec.hard", "status.used" }

local function lacking(world, resource, lacks, namespace)
    local keys = {}
    for owner in world:list(resource, { namespace = namespace }) do
        if lacks(owner) then keys[#keys + 1] = owner.key end
    end
    return keys
end

--- A watch that queues those who lack pods or Jobs (`lacks(item)`) when a quota of their namespace has got room: not after a back-off.
function workload.watch_room(resource, lacks)
    return { resource = "resourcequotas", on = workload.quota_columns, map = function(world, quota, before)
        if not before or (quota and not has_more_room(quota, before)) then return {} end
        return lacking(world, resource, lacks, before.namespace)
    end }
end

--- The same when a service account appears, without which the server refuses pods.
function workload.watch_accounts(resource, lacks)
    return { resource = "serviceaccounts", on = {}, map = function(world, account, before)
        if before or not account then return {} end
        return lacking(world, resource, lacks, account.namespace)
    end }
end

--- The condition ReplicaFailure, while the server refuses the pods that are missing; else without it.
function workload.with_refusal(conditions, refused, time_text)
    if refused then
        return workload.with_condition(conditions,
            { type = "ReplicaFailure", status = "True", reason = "FailedCreate", message = refused }, time_text)
    end
    local kept = {}
    for _, condition in ipairs(conditions or {}) do
        if condition.type ~= "ReplicaFailure" then kept[#kept + 1] = condition end
    end
    return kept
end

--- "25%" of n (rounded up, or down), or a number.
function workload.resolve(value, n, up)
    if type(value) == "number" then return value end
    local percent = tonumber((tostring(value or "0"):gsub("%%", ""))) or 0
    return up and math.ceil(percent * n / 100) or math.floor(percent * n / 100)
end

--- A pod from a template, for `owner`.
function workload.pod_from_template(owner, template, name)
    local metadata = m8.copy(template.metadata or {})
    metadata.name = name
    metadata.namespace = owner.metadata.namespace
    metadata.generateName = nil
    metadata.ownerReferences = { workload.controller_reference(owner) }
    return { apiVersion = "v1", kind = "Pod", metadata = metadata, spec = m8.copy(template.spec) }
end

--- "default/web" → "default", "web".
function workload.split_key(key)
    local namespace, name = key:match("^([^/]*)/(.*)$")
    if namespace then return namespace, name end
    return nil, key
end

--- True when every named field of `wanted` is equal in `have`: a status need not be written.
function workload.covers(have, wanted)
    for field, value in pairs(wanted) do
        if not m8.equal((have or {})[field], value) then return false end
    end
    return true
end

--- An object with methods: what a reconcile carries along.
function workload.state(methods, fields)
    return setmetatable(fields, { __index = methods })
end

return workload
