-- Taints with effect NoExecute: pods that do not tolerate them leave, those that tolerate them for a time leave when it is
-- over. Where a pod says nothing about a node that cannot be reached or is not ready, it is judged by what would become of
-- it: one that is replaced elsewhere (ReplicaSet, Job) leaves at once or after a while, any other stays.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local UNREACHABLE = "node.kubernetes.io/unreachable"
local OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
-- Seconds that a replaceable pod tolerates without saying so. Kubernetes: 300 each. A node that cannot be reached gets
-- nothing more (the silence was long enough); one that is not ready still runs its pods.
local DEFAULTS = { [UNREACHABLE] = 0, ["node.kubernetes.io/not-ready"] = 300 }
local REPLACEABLE = { ReplicaSet = true, Job = true, ReplicationController = true }

local function tolerates(toleration, taint)
    if (toleration.effect or "") ~= "" and toleration.effect ~= taint.effect then return false end
    if (toleration.key or "") ~= "" and toleration.key ~= taint.key then return false end
    if toleration.operator == "Exists" then return true end
    return (toleration.key or "") ~= "" and (toleration.value or "") == (taint.value or "")
end

local function is_replaceable(pod)
    local owner = (pod["metadata.ownerReferences"] or {})[1]
    return pod.owner_uid ~= nil and owner ~= nil and REPLACEABLE[owner.kind] == true
end

--- Seconds for which the pod tolerates the taint: 0 not at all, math.huge for ever. The shortest that it names counts.
local function tolerated_for(pod, taint)
    local named, seconds = false, math.huge
    for _, toleration in ipairs(pod["spec.tolerations"] or {}) do
        if tolerates(toleration, taint) then
            named = true
            seconds = math.min(seconds, math.max(0, toleration.tolerationSeconds or math.huge))
        end
    end
    if named then return seconds end
    local default = DEFAULTS[taint.key]
    if not default then return 0 end
    return is_replaceable(pod) and default or math.huge
end

--- Seconds from now until the pod must leave because of that taint; <= 0: now. It counts from the taint or, for a pod that
--- came later, from the pod: from the end of the second that the time names, so that nobody leaves too early.
local function time_left(world, pod, taint)
    local seconds = tolerated_for(pod, taint)
    if seconds == 0 or seconds == math.huge then return seconds end
    local since = math.max(m8.time(taint.timeAdded or "") or world.now,
        m8.time(pod["metadata.creationTimestamp"] or "") or 0)
    return since + 1 + seconds - world.now
end

local function taint_text(taint)
    local value = (taint.value or "") ~= "" and "=" .. taint.value or ""
    return taint.key .. value .. ":" .. taint.effect
end

local function evict(plan, pod, node, taint, force)
    local message
    if taint.key == UNREACHABLE then
        message = ("Node %s is not reachable; the pod is replaced"):format(node.name)
    else
        message = ("Node %s has the taint %s, which the pod does not tolerate%s"):format(node.name, taint_text(taint),
            force and "; it is not waited for" or " any longer")
    end
    local disruption = force and { reason = "DeletionByPodGC", message = "PodGC: the node is out of service" }
        or { reason = "DeletionByTaintManager", message = "Taint manager: deleting due to NoExecute taint" }
    plan:delete("pods", pod.key, { uid = pod.uid, grace = force and 0 or nil, disruption = disruption }, "taint " .. taint_text(taint))
    plan:event(pod, "Warning", taint.key == UNREACHABLE and "NodeLost" or "TaintManagerEviction", message)
end

--- The taint that makes the pod leave first, and in how many seconds.
local function first_due(world, pod, taints)
    local first, left = nil, math.huge
    for _, taint in ipairs(taints) do
        local seconds = time_left(world, pod, taint)
        if seconds < left then first, left = taint, seconds end
    end
    return first, left
end

--- Out of service: somebody vouches that the machine is down. Nothing there can end in order; it ends in the API, so that
--- StatefulSets go on elsewhere.
local function end_by_force(plan, node, pod, taint)
    if taint and tolerated_for(pod, taint) == 0 then
        evict(plan, pod, node, taint, true)
        return true
    end
    return false
end

local function executing(node)
    local taints, out_of_service = {}, nil
    for _, taint in ipairs(node["spec.taints"] or {}) do
        if taint.effect == "NoExecute" then
            taints[#taints + 1] = taint
            if taint.key == OUT_OF_SERVICE then out_of_service = taint end
        end
    end
    local ready = workload.condition(node["status.conditions"], "Ready")
    if ready and ready.status == "True" then out_of_service = nil end
    return taints, out_of_service
end

return {
    name = "tainteviction",
    watches = {
        { resource = "nodes", on = { "spec.taints", "status.conditions" }, key = "self" },
        { resource = "pods", on = { "spec.nodeName", "spec.tolerations" }, map = function(world, item)
            local name = item and item["spec.nodeName"]
            local node = name and world:item("nodes", name)
            return node and #executing(node) > 0 and { name } or {}
        end },
    },
    project = {
        nodes = { "status.conditions", "spec.taints" },
        pods = { "spec.nodeName", "spec.tolerations", "status.phase", "metadata.ownerReferences",
            "metadata.creationTimestamp" },
    },
    index = { pods = { "spec.nodeName" } },
    reconcile = function(world, key)
        local node = world:item("nodes", key)
        if not node then return nil end
        local plan, taints, out_of_service = plans.new(), executing(node)
        if #taints == 0 then return nil end
        for pod in world:list("pods", { index = "spec.nodeName", value = node.name }) do
            if not end_by_force(plan, node, pod, out_of_service) and not pod.deleting and workload.is_active(pod) then
                local taint, left = first_due(world, pod, taints)
                if taint and left <= 0 then
                    evict(plan, pod, node, taint, false)
                elseif taint and left < math.huge then
                    plan:requeue(left)
                end
            end
        end
        return plan
    end,
}
