-- Nodes that fall silent or say that something is wrong: conditions and taints; back again when they are well. What taints
-- mean for pods that are there is tainteviction.lua's. Judged by this process's monotonic clock (contract 10): after its own
-- start or a server's absence every node gets a full period; when most nodes vanish together none is tainted, nor shortly after.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local LEASES, LEASE_NAMESPACE = "leases.coordination.k8s.io", "kube-node-lease"
local SILENCE = 2.5            -- heart-beats that may be missing until a node is NotReady
local GIVEN_UP = 4             -- heart-beats that may be missing until its pods are replaced: whoever was cut off at the same
                               -- moment has fallen silent by then, and is counted
local RECOVERY = 4             -- seconds after most nodes were silent: they do not come back all at the same moment
local PERIOD = "minik8s.io/heartbeat-seconds" -- annotation of nodes that do not beat once a second
local NEVER = "NodeStatusNeverUpdated"
-- Conditions that only the node can know: Unknown while it is silent.
local NODE_CONDITIONS = { "Ready", "MemoryPressure", "DiskPressure", "PIDPressure" }
-- The taints that follow from conditions: key, condition, its status, whether pods that are there must leave too. The last
-- follows from a cordon, so that whatever leaves tainted nodes out (nodeTaintsPolicy: Honor) leaves out cordoned ones too.
local CORDONED = { key = "node.kubernetes.io/unschedulable", status = "True" }
local TAINTS = {
    { key = "node.kubernetes.io/unreachable", condition = "Ready", status = "Unknown", execute = true },
    { key = "node.kubernetes.io/not-ready", condition = "Ready", status = "False", execute = true },
    { key = "node.kubernetes.io/memory-pressure", condition = "MemoryPressure", status = "True" },
    { key = "node.kubernetes.io/disk-pressure", condition = "DiskPressure", status = "True" },
    { key = "node.kubernetes.io/pid-pressure", condition = "PIDPressure", status = "True" },
    CORDONED,
}

local function ready_condition(node)
    return workload.condition(node["status.conditions"], "Ready")
end

local function is_ready(node)
    local ready = ready_condition(node)
    return ready and ready.status == "True"
end

local function period_of(node)
    return math.max(1, tonumber((node["metadata.annotations"] or {})[PERIOD] or "") or 1)
end

local function silence_allowed(node)
    return SILENCE * period_of(node)
end

--- Made by hand, and no machine has joined under its name: there is nothing to lose.
local function never_joined(world, node)
    local ready = ready_condition(node)
    return not world:item(LEASES, LEASE_NAMESPACE .. "/" .. node.name) and (not ready or ready.reason == NEVER)
end

--- Seconds without a heart-beat.
local function beat_silence(world, name)
    local lease = world:item(LEASES, LEASE_NAMESPACE .. "/" .. name)
    local beat = lease and (lease.uid .. "/" .. (lease["spec.renewTime"] or "")) or "none"
    local silent = world:seen("lease/" .. name, beat)
    return math.min(silent, world.monotonic - math.max(world.booted, world.connected or world.booted))
end

--- Its agent saying "Ready" again is a sign of life too: else the two would overwrite each other until the next beat.
local function silence_of(world, node)
    local ready = is_ready(node) or false
    local since = world:seen("ready/" .. node.name, tostring(ready))
    local silent = beat_silence(world, node.name)
    return ready and math.min(silent, since) or silent
end

--- How many nodes have no heart-beat now. Only that counts here: what a node's status says may be a mark under way.
local function count_silent(world)
    local silent, all = 0, 0
    for node in world:list("nodes") do
        if not never_joined(world, node) then
            all = all + 1
            if beat_silence(world, node.name) >= silence_allowed(node) then silent = silent + 1 end
        end
    end
    return silent, all
end

local function own_taint(key)
    for _, rule in ipairs(TAINTS) do
        if rule.key == key then return true end
    end
    return false
end

local function find_taint(taints, key, effect)
    for _, taint in ipairs(taints) do
        if taint.key == key and taint.effect == effect then return taint end
    end
    return nil
end

--- Everybody's taints as they are (those that make pods leave get the time at which they were first seen), and ours as
--- `status_of(rule)` wants them.
local function wanted_taints(world, present, status_of)
    local taints = {}
    for _, taint in ipairs(present) do
        if not own_taint(taint.key) then
            local copy = m8.copy(taint)
            if copy.effect == "NoExecute" and not copy.timeAdded then copy.timeAdded = world:time_text() end
            taints[#taints + 1] = copy
        end
    end
    for _, rule in ipairs(TAINTS) do
        if status_of(rule) == rule.status then
            for _, effect in ipairs(rule.execute and { "NoSchedule", "NoExecute" } or { "NoSchedule" }) do
                local old = find_taint(present, rule.key, effect)
                taints[#taints + 1] = old and m8.copy(old) or { key = rule.key, effect = effect,
                    timeAdded = effect == "NoExecute" and world:time_text() or nil }
            end
        end
    end
    return taints
end

local function same_taints(a, b)
    if #a ~= #b then return false end
    for _, taint in ipairs(a) do
        if not m8.equal(taint, find_taint(b, taint.key, taint.effect)) then return false end
    end
    return true
end

--- `silent`: what the conditions will say counts, not what they say. A node that beats again and has not yet said that it is
--- well keeps the taint if it has it, and gets none if it was spared.
local function set_taints(world, plan, node, silent)
    local present = node["spec.taints"] or {}
    local taints = wanted_taints(world, present, function(rule)
        if rule == CORDONED then return node["spec.unschedulable"] and "True" or "False" end
        if silent then return "Unknown" end
        local condition = workload.condition(node["status.conditions"], rule.condition)
        local spared = rule.condition == "Ready" and condition and condition.status == "Unknown"
            and not find_taint(present, TAINTS[1].key, "NoExecute")
        return condition and not spared and condition.status or nil
    end)
    if same_taints(taints, present) then return end
    plan:patch("nodes", node.key, { spec = { taints = m8.array(taints) } },
        silent and "its heart-beat stopped" or "its conditions changed, or it was cordoned or uncordoned",
        { uid = node.uid, revision = node.revision })
end

local function mark(world, plan, node, types, reason, message)
    local conditions, time = node["status.conditions"], world:time_text()
    for _, type in ipairs(types) do
        conditions = workload.with_condition(conditions,
            { type = type, status = "Unknown", reason = reason, message = message }, time)
    end
    plan:status("nodes", node.key, { conditions = conditions }, { uid = node.uid })
end

local function mark_silent(world, plan, node)
    mark(world, plan, node, NODE_CONDITIONS, "NodeStatusUnknown", "The node's agent stopped reporting.")
    world:seen("ready/" .. node.name, "false") -- the agent may contradict before this is ever seen in the stream
    plan:event({ apiVersion = "v1", kind = "Node", name = node.name, uid = node.uid }, "Warning", "NodeNotReady",
        ("Node %s has not been heard of for %.1f s"):format(node.name, silence_allowed(node)))
end

local function on_silent(world, plan, node, silent)
    local silent_nodes, all = count_silent(world)
    if all > 1 and silent_nodes * 2 > all then
        if is_ready(node) then mark_silent(world, plan, node) end
        plan:event({ apiVersion = "v1", kind = "Node", name = node.name, uid = node.uid }, "Warning", "EvictionSuspended",
            ("%d of %d nodes are silent at once: more likely the network than the nodes; no pod is evicted"):format(
                silent_nodes, all))
        world:seen("outage", tostring(world.monotonic))
        plan:requeue(1)
        return
    end
    local wait = math.max(RECOVERY - world:seen("outage"), GIVEN_UP * period_of(node) - silent)
    if wait > 0 then
        if is_ready(node) then mark_silent(world, plan, node) end
        plan:requeue(wait)
        return
    end
    set_taints(world, plan, node, true)
    if is_ready(node) then mark_silent(world, plan, node) end
    plan:requeue(math.max(1, silence_allowed(node) - silent))
end

--- Pods that are bound to a node which does not exist: nobody will ever finish them.
local function abandon_pods(world, plan, name)
    for pod in world:list("pods", { index = "spec.nodeName", value = name }) do
        plan:delete("pods", pod.key, { uid = pod.uid, grace = 0,
            disruption = { reason = "DeletionByPodGC", message = "PodGC: node no longer exists" } },
            ("node %s does not exist"):format(name))
        plan:event(pod, "Warning", "NodeDeleted", ("Node %s does not exist any more"):format(name))
    end
end

return {
    name = "nodelifecycle",
    watches = {
        { resource = "nodes", key = "self" },
        { resource = LEASES, map = function(_, item, previous)
            local lease = item or previous
            return lease.namespace == LEASE_NAMESPACE and { lease.name } or {}
        end },
        { resource = "pods", on = { "spec.nodeName" }, map = function(world, item)
            local node = item and item["spec.nodeName"]
            return node and not world:item("nodes", node) and { node } or {}
        end },
    },
    project = {
        nodes = { "status.conditions", "spec.taints", "spec.unschedulable", "metadata.annotations" }, [LEASES] = { "spec.renewTime" },
        pods = { "spec.nodeName" },
    },
    index = { pods = { "spec.nodeName" } },
    reconcile = function(world, key)
        local plan, node = plans.new(), world:item("nodes", key)
        if not node then
            abandon_pods(world, plan, key)
            return plan
        end
        world:seen("outage") -- from this process's start on, so that a first loss later is no recovery
        local silent, allowed = silence_of(world, node), silence_allowed(node)
        if silent < allowed then
            set_taints(world, plan, node, false)
            plan:requeue(allowed - silent + 0.05)
        elseif not never_joined(world, node) then
            on_silent(world, plan, node, silent)
        elseif not ready_condition(node) then
            mark(world, plan, node, { "Ready" }, NEVER, "No machine has joined under this name yet.")
        end
        return plan
    end,
}
