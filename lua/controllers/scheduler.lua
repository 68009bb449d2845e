-- Scheduler: gives every pod that waits a node, many at a time, or says per node why none is fit.
-- What is fit and what is better is decided by the policies of scheduler.filter and scheduler.score; the engine behind
-- world:pending and world:place remembers their verdicts.
local m8 = require("m8")
local plans = require("framework.plan")
local facts = require("framework.volume_facts")
local volumes = require("framework.volumes")

local AT_ONCE = 512 -- bindings of one plan: two full batches
local QUEUE = { "pods" }
local BUDGETS = "poddisruptionbudgets.policy"
local PER_NODE = "minik8s.io/Nodes" -- condition of a pod that waits: why each node is not fit

local function condition_of(item, type)
    for _, condition in ipairs(item["status.conditions"] or {}) do
        if condition.type == type then return condition end
    end
    return nil
end

--- Says once per message why the pod waits: an Event, the condition PodScheduled, and the reason of each node beside it.
local function explain(world, plan, item, message, nodes)
    local old = condition_of(item, "PodScheduled")
    if old and old.status == "False" and old.message == message then return end
    local conditions = {}
    for _, condition in ipairs(item["status.conditions"] or {}) do
        if condition.type ~= "PodScheduled" and condition.type ~= PER_NODE then conditions[#conditions + 1] = condition end
    end
    local since = old and old.status == "False" and old.lastTransitionTime or world:time_text()
    conditions[#conditions + 1] = { type = "PodScheduled", status = "False", reason = "Unschedulable", message = message,
        lastTransitionTime = since }
    if nodes and nodes ~= "" then
        conditions[#conditions + 1] = { type = PER_NODE, status = "False", reason = "NoneFits", message = nodes,
            lastTransitionTime = since }
    end
    plan:status("pods", item.key, { phase = "Pending", conditions = conditions }, { uid = item.uid })
    plan:event(item, "Warning", "FailedScheduling", message)
end

--- Tells the claims that wait for it which node was chosen; the pod is bound when they are.
local function select(world, plan, found, key, node)
    for _, claim in ipairs(found.select) do
        plan:patch(volumes.CLAIMS, claim.key, { metadata = { annotations = { [volumes.SELECTED_NODE] = node } } },
            "pod " .. key .. " is to run there", { uid = claim.uid })
    end
    world:skip(key)
end

--- With claims: nil if the pod waits for them (it has been said why), else what they allow.
local function ask_claims(world, plan, item, taken)
    local found = facts.of(world, item, taken)
    if not found.problem and not found.under_way then return found end
    world:skip(item.key)
    if found.problem then
        explain(world, plan, item, ("0/%d nodes are available: %s."):format(world:count("nodes"), found.problem))
    end
    return nil
end

--- Budgets and how many of their pods may go: array of { selector, namespace, allowed }, less by those that this plan sends away.
local function budgets_of(world, round)
    if round.budgets then return round.budgets end
    local budgets = {}
    for item in world:list(BUDGETS) do
        local selector = item["spec.selector"] and m8.selector(item["spec.selector"])
        if selector then
            budgets[#budgets + 1] = { selector = selector, namespace = item.namespace,
                allowed = math.max(0, item["status.disruptionsAllowed"] or 0) }
        end
    end
    round.budgets = budgets
    return budgets
end

local function is_more_important(a, b)
    local p, q = a["spec.priority"] or 0, b["spec.priority"] or 0
    if p ~= q then return p > q end
    p, q = a["metadata.creationTimestamp"] or "", b["metadata.creationTimestamp"] or ""
    if p ~= q then return p < q end
    return a.key < b.key
end

--- Pods of the budget that may have to make room, by node.
local function covered_by(world, budget, priority)
    local on = {}
    for pod in world:list("pods", { namespace = budget.namespace, selector = budget.selector }) do
        local node = pod["spec.nodeName"]
        if node and (pod["spec.priority"] or 0) < priority and not pod.deleting then
            on[node] = on[node] or {}
            table.insert(on[node], pod)
        end
    end
    return on
end

--- Room is made on one node: there, a budget lets as many of its pods go as it allows, and protects the others.
local function protected_by(world, round, priority)
    local known = round.protected[priority]
    if known then return known end
    local protected = {}
    for _, budget in ipairs(budgets_of(world, round)) do
        for _, pods in pairs(covered_by(world, budget, priority)) do
            table.sort(pods, is_more_important)
            for i = 1, #pods - budget.allowed do protected[pods[i].key] = true end
        end
    end
    round.protected[priority] = protected
    return protected
end

local function covers(budget, victim)
    return budget.namespace == victim.namespace and budget.selector:matches(victim.labels or {})
end

local function violations_of(victims, budgets)
    local violations = 0
    for _, budget in ipairs(budgets) do
        local count = 0
        for _, victim in ipairs(victims) do
            if covers(budget, victim) then count = count + 1 end
        end
        violations = violations + math.max(0, count - budget.allowed)
    end
    return violations
end

local function charge(victims, round)
    round.protected = {}
    for _, budget in ipairs(round.budgets) do
        for _, victim in ipairs(victims) do
            if covers(budget, victim) then budget.allowed = math.max(0, budget.allowed - 1) end
        end
    end
end

--- Pods of lower priority go the normal way; the node is kept for the one that they make room for.
local function make_room(world, plan, item, candidate)
    local node = candidate.node
    world:nominate(item.key, node, candidate.victims)
    for _, victim in ipairs(candidate.victims) do
        local reason = "Preempted by pod " .. item.key .. " on node " .. node
        plan:delete("pods", victim.key, { uid = victim.uid, disruption = { reason = "PreemptionByScheduler",
            message = "default-scheduler: preempting to accommodate a higher priority pod" } }, reason)
        plan:event(world:item("pods", victim.key), "Normal", "Preempted", reason)
    end
    plan:status("pods", item.key, { nominatedNodeName = node }, { uid = item.uid })
    plan:event(item, "Normal", "Nominated", string.format("Room is being made on node %s: %d pod(s) of lower priority go%s",
        node, #candidate.victims, candidate.violations > 0
            and (", %d more than disruption budgets allow"):format(candidate.violations) or ""))
end

local function preempt(world, plan, item, round)
    local priority, budgets = item["spec.priority"] or 0, budgets_of(world, round)
    local candidates = world:victims(item.key, protected_by(world, round, priority))
    if #candidates == 0 then return end
    for _, candidate in ipairs(candidates) do candidate.violations = violations_of(candidate.victims, budgets) end
    local pod = { key = item.key, priority = priority }
    local choice = world:ask("scheduler.preempt", { object = item.key, pod = pod, candidates = candidates })
    for _, candidate in ipairs(candidates) do
        if choice and candidate.node == choice.node then
            make_room(world, plan, item, candidate)
            charge(candidate.victims, round)
        end
    end
end

--- True: it has got a node. `round`: what the pods of one plan share: `taken`, claims of one node or pod only;
--- `budgets`, and by priority the pods that they protect.
local function place(world, plan, key, round)
    local item, found = world:item("pods", key), nil
    if not item then return false end
    if #volumes.claims_of(item.name, item["spec.volumes"]) > 0 then
        found = ask_claims(world, plan, item, round.taken)
        if not found then return false end
    end
    local placed, message, nodes = world:place(key, found and found.facts)
    if not placed then
        explain(world, plan, item, message, nodes)
        preempt(world, plan, item, round)
        return false
    end
    if found and #found.select > 0 then
        select(world, plan, found, key, placed.node)
        return false
    end
    for _, claim in ipairs(found and found.exclusive or {}) do round.taken[claim] = placed.node end
    plan:bind(key, placed.node, { uid = item.uid, annotations = {
        ["minik8s.io/scheduled-by"] = placed.by, ["minik8s.io/scheduling-scores"] = placed.scores } })
    plan:event(item, "Normal", "Scheduled",
        string.format("Successfully assigned %s to %s (%s)", key, placed.node, placed.by))
    return true
end

return {
    name = "scheduler",
    watches = {
        {
            resource = "pods",
            on = { "spec.nodeName", "status.phase", "spec.schedulingGates", "metadata.labels" },
            map = function(_, item, previous)
                if not item or not item["spec.nodeName"] then return QUEUE end -- waits, or has made room
                if previous and not m8.equal(previous["metadata.labels"], item["metadata.labels"]) then return QUEUE end
                local phase = item["status.phase"]
                if previous and (phase == "Succeeded" or phase == "Failed") then return QUEUE end
                return {}
            end,
        },
        {
            resource = "nodes",
            on = { "spec.unschedulable", "spec.taints", "metadata.labels", "status.conditions", "status.allocatable" },
            map = function() return QUEUE end,
        },
        { resource = volumes.CLAIMS, on = { "status.phase", "metadata.annotations" }, map = function() return QUEUE end },
        { resource = volumes.VOLUMES, on = { "status.phase" }, map = function() return QUEUE end },
        { resource = volumes.CLASSES, map = function() return QUEUE end },
    },
    project = {
        pods = { "spec.nodeName", "spec.volumes", "status.phase", "status.conditions", "spec.schedulingGates", "spec.priority",
            "metadata.labels", "metadata.creationTimestamp" },
        [BUDGETS] = { "spec.selector", "status.disruptionsAllowed" },
        nodes = { "spec.unschedulable", "spec.taints", "metadata.labels", "status.conditions", "status.allocatable" },
        [volumes.CLAIMS] = volumes.columns[volumes.CLAIMS], [volumes.VOLUMES] = volumes.columns[volumes.VOLUMES],
        [volumes.CLASSES] = volumes.columns[volumes.CLASSES],
    },
    index = volumes.indexes,
    reconcile = function(world)
        local plan = plans.new()
        local waiting, round, placed = world:pending(AT_ONCE), { taken = {}, protected = {} }, 0
        for _, key in ipairs(waiting) do
            if place(world, plan, key, round) then placed = placed + 1 end
        end
        -- more are waiting, or one that was placed may be the neighbour that another one needs
        if #waiting == AT_ONCE or placed > 0 and placed < #waiting then plan:requeue(0) end
        return plan
    end,
}
