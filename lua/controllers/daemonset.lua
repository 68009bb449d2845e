-- DaemonSet: one pod on every node that the template's nodeSelector, affinity and tolerations allow. Pods wait for their
-- node through an affinity to its name, so the scheduler binds them (and says why, if it cannot).
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")
local history = require("framework.history")
local fit = require("framework.fit")

local SETS = "daemonsets.apps"
local HASH = "controller-revision-hash"
local RETRY = 5 -- seconds between a pod's creation and its replacement when it has failed
local BURST = 250
local KEEP_OUT, PUSH_OUT = { NoSchedule = true, NoExecute = true }, { NoExecute = true }

-- A node that is not well needs its daemons most: these taints do not keep them away. An unreachable node gets no new pod.
local STANDARD = {
    { key = "node.kubernetes.io/not-ready", operator = "Exists" },
    { key = "node.kubernetes.io/unreachable", operator = "Exists", effect = "NoExecute" },
    { key = "node.kubernetes.io/disk-pressure", operator = "Exists", effect = "NoSchedule" },
    { key = "node.kubernetes.io/memory-pressure", operator = "Exists", effect = "NoSchedule" },
    { key = "node.kubernetes.io/pid-pressure", operator = "Exists", effect = "NoSchedule" },
    { key = "node.kubernetes.io/unschedulable", operator = "Exists", effect = "NoSchedule" },
}

local function tolerations_of(spec)
    local all = m8.copy(spec.tolerations or {})
    for _, toleration in ipairs(STANDARD) do all[#all + 1] = m8.copy(toleration) end
    if spec.hostNetwork then
        all[#all + 1] = { key = "node.kubernetes.io/network-unavailable", operator = "Exists", effect = "NoSchedule" }
    end
    return all
end

--- The node that a pod runs on or waits for.
local function node_of(pod)
    if pod["spec.nodeName"] then return pod["spec.nodeName"] end
    local required = (((pod["spec.affinity"] or {}).nodeAffinity or {}).requiredDuringSchedulingIgnoredDuringExecution or {})
    for _, term in ipairs(required.nodeSelectorTerms or {}) do
        for _, field in ipairs(term.matchFields or {}) do
            if field.key == "metadata.name" and field.operator == "In" then return field.values[1] end
        end
    end
    return nil
end

--- Affinity to one node, beside what the template prefers; what it requires has been checked here.
local function affinity_to(node, affinity)
    local result = m8.copy(affinity or {})
    result.nodeAffinity = result.nodeAffinity or {}
    result.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = { {
        matchFields = { { key = "metadata.name", operator = "In", values = { node } } } } } }
    return result
end

local function new_pod(world, set, node, hash)
    local pod = workload.pod_from_template(set, set.spec.template, set.metadata.name .. "-" .. world:suffix(5))
    pod.metadata.labels = pod.metadata.labels or {}
    pod.metadata.labels[HASH] = hash
    pod.spec.affinity = affinity_to(node, pod.spec.affinity)
    pod.spec.tolerations = tolerations_of(pod.spec)
    return pod
end

--- What there is per node: { old = active pods of former templates, new = of the present one, ending = number }.
local function sort_pods(pods, hash)
    local nodes = {}
    for _, pod in ipairs(pods) do
        local name = node_of(pod) or ""
        local at = nodes[name] or { old = {}, new = {}, ended = {}, ending = 0 }
        nodes[name] = at
        if pod.deleting then
            at.ending = at.ending + 1
        elseif not workload.is_active(pod) then
            at.ended[#at.ended + 1] = pod
        elseif (pod["metadata.labels"] or {})[HASH] == hash then
            at.new[#at.new + 1] = pod
        else
            at.old[#at.old + 1] = pod
        end
    end
    return nodes
end

local State = {}

function State:create(node, why)
    if self.created >= 1 and self.world:refused() then return end -- one to see whether there is room again
    if self.created >= BURST then self.plan:requeue(0) return end
    self.created = self.created + 1
    local pod = new_pod(self.world, self.set, node, self.hash)
    self.plan:create("pods", pod, why)
    self.plan:event(self.set, "Normal", "SuccessfulCreate", ("Created pod: %s (for node %s: %s)"):format(pod.metadata.name, node, why))
end

function State:delete(pod, why)
    self.plan:delete("pods", pod.key, { uid = pod.uid }, why)
    self.plan:event(self.set, "Normal", "SuccessfulDelete", ("Deleted pod: %s (%s)"):format(pod.name, why))
end

function State:is_available(pod)
    local yes, left = workload.is_available(pod, self.set.spec.minReadySeconds, self.world.now)
    if left then self.plan:requeue(left) end
    return yes
end

--- A pod that has ended is replaced, but not faster than every RETRY seconds.
function State:replace_ended(at)
    for _, pod in ipairs(at.ended) do
        local age = self.world.now - (m8.time(pod["metadata.creationTimestamp"] or "") or 0)
        if age >= RETRY then
            self.plan:event(self.set, "Warning", "FailedDaemonPod",
                ("Found %s daemon pod %s on node %s, will replace it"):format(pod["status.phase"], pod.name, node_of(pod) or "?"))
            self:delete(pod, "it has ended")
        else
            self.plan:requeue(RETRY - age)
        end
    end
end

--- Of several pods on one node one stays: the oldest that is available, else the oldest.
function State:thin_out(pods)
    if #pods < 2 then return end
    table.sort(pods, function(a, b)
        local x, y = self:is_available(a), self:is_available(b)
        if x ~= y then return x end
        local s, t = a["metadata.creationTimestamp"] or "", b["metadata.creationTimestamp"] or ""
        if s ~= t then return s < t end
        return a.name < b.name
    end)
    for i = #pods, 2, -1 do
        self:delete(pods[i], "one pod a node is enough")
        pods[i] = nil
    end
end

--- One node that should run the pod: makes the missing one, removes what is too many.
function State:keep_one(node, at)
    self:replace_ended(at)
    self:thin_out(at.new)
    self:thin_out(at.old)
    if #at.new + #at.old + #at.ended + at.ending == 0 then self:create(node, "it has none") end
end

function State:clear(at, why)
    for _, list in ipairs({ at.new, at.old, at.ended }) do
        for _, pod in ipairs(list) do self:delete(pod, why) end
    end
end

--- Old pods that are replaced where they are: as many as maxUnavailable leaves, those that serve nobody first.
function State:roll_in_place(names, nodes, budget)
    local candidates = {}
    for _, name in ipairs(names) do
        local at = nodes[name]
        local old, new = at and at.old[1], at and at.new[1]
        if old and not self:is_available(old) then
            self:delete(old, "of a former template and not available")
            budget = budget - 1
        elseif old then
            candidates[#candidates + 1] = old
        elseif not new or not self:is_available(new) then
            budget = budget - 1
        end
    end
    for i = 1, math.min(math.max(budget, 0), #candidates) do
        self:delete(candidates[i], "of a former template; maxUnavailable allows it")
    end
end

--- New pods beside old ones, on as many nodes as maxSurge allows; an old one goes when its successor is available.
function State:roll_beside(names, nodes, budget)
    local candidates = {}
    for _, name in ipairs(names) do
        local at = nodes[name]
        local old, new = at and at.old[1], at and at.new[1]
        if old and new then
            budget = budget - 1
            if self:is_available(new) then self:delete(old, "its successor is available") end
        elseif at and at.ending > 0 then
            budget = budget - 1 -- the former one still ends
        elseif old then
            if self:is_available(old) then
                candidates[#candidates + 1] = name
            else
                self:create(name, "the old pod is not available")
                budget = budget - 1
            end
        end
    end
    for i = 1, math.min(math.max(budget, 0), #candidates) do self:create(candidates[i], "maxSurge allows it beside the old one") end
end

function State:roll(names, nodes)
    local strategy = self.set.spec.updateStrategy or {}
    if strategy.type == "OnDelete" then return end
    local rolling = strategy.rollingUpdate or {}
    local surge = workload.resolve(rolling.maxSurge or 0, #names, true)
    if surge > 0 then
        self:roll_beside(names, nodes, surge)
    else
        self:roll_in_place(names, nodes, math.max(1, workload.resolve(rolling.maxUnavailable or 1, #names, true)))
    end
end

--- Sorts the nodes: names that should run the pod; those that must not keep it are cleared.
local function choose_nodes(state, nodes)
    local spec, names = state.set.spec.template.spec, {}
    local tolerations, misplaced = tolerations_of(spec), 0
    for node in state.world:list("nodes") do
        local at = nodes[node.name]
        local selected = fit.selects(spec, node)
        local taint = fit.untolerated(tolerations, node["spec.taints"], KEEP_OUT)
        if selected and not taint then
            names[#names + 1] = node.name
        elseif at and #at.new + #at.old > 0 then
            misplaced = misplaced + 1
            local push = fit.untolerated(tolerations, node["spec.taints"], PUSH_OUT)
            if not selected or push then
                state:clear(at, selected and ("its node has the taint " .. push.key) or "its node does not fit any more")
            end
        end
    end
    for name, at in pairs(nodes) do
        if not state.world:item("nodes", name) then state:clear(at, "its node does not exist") end
    end
    return names, misplaced
end

local function status_of(state, names, misplaced, nodes)
    local status = {
        desiredNumberScheduled = #names, currentNumberScheduled = 0, numberMisscheduled = misplaced, numberReady = 0,
        updatedNumberScheduled = 0, numberAvailable = 0, observedGeneration = state.set.metadata.generation,
    }
    for _, name in ipairs(names) do
        local at = nodes[name]
        local best = at and (at.new[1] or at.old[1])
        if best then
            status.currentNumberScheduled = status.currentNumberScheduled + 1
            local ready, available = false, false
            for _, pod in ipairs({ best, best ~= at.old[1] and at.old[1] or nil }) do
                ready = ready or workload.ready_since(pod) ~= nil
                available = available or state:is_available(pod)
            end
            if ready then status.numberReady = status.numberReady + 1 end
            if available then status.numberAvailable = status.numberAvailable + 1 end
            if at.new[1] then status.updatedNumberScheduled = status.updatedNumberScheduled + 1 end
        end
    end
    status.numberUnavailable = #names - status.numberAvailable
    return status
end

local function all_sets(world)
    local keys = {}
    for set in world:list(SETS) do keys[#keys + 1] = set.key end
    return keys
end

local function reconcile(world, key)
    local set = world:get(SETS, key)
    local selector = set and m8.selector(set.spec.selector)
    if not selector then return nil end
    local plan = plans.new()
    local revision, revisions = history.current(world, set, plan)
    local state = workload.state(State, { world = world, set = set, plan = plan, hash = history.hash_of(revision), created = 0 })
    local pods = workload.claim_pods(world, set, selector, plan)
    local nodes = sort_pods(pods, state.hash)
    if set.metadata.deletionTimestamp then return plan end
    local names, misplaced = choose_nodes(state, nodes)
    for _, name in ipairs(names) do
        nodes[name] = nodes[name] or { old = {}, new = {}, ended = {}, ending = 0 }
        state:keep_one(name, nodes[name])
    end
    state:roll(names, nodes)
    history.trim(plan, revisions, set.spec.revisionHistoryLimit, function(one)
        if history.hash_of(one) == state.hash then return true end
        for _, pod in ipairs(pods) do
            if (pod["metadata.labels"] or {})[HASH] == history.hash_of(one) then return true end
        end
        return false
    end)
    local status = status_of(state, names, misplaced, nodes)
    if not workload.covers(set.status, status) then plan:status(SETS, key, status, { uid = set.metadata.uid }) end
    return plan
end

local function lacks_pods(item)
    return (item["status.currentNumberScheduled"] or 0) < (item["status.desiredNumberScheduled"] or 0)
end

return {
    name = "daemonset",
    watches = {
        { resource = SETS, key = "self" },
        { resource = "pods", key = "owner", owner = SETS },
        { resource = history.resource, key = "owner", owner = SETS },
        workload.watch_orphans(SETS),
        workload.watch_room(SETS, lacks_pods),
        workload.watch_accounts(SETS, lacks_pods),
        { resource = "nodes", on = { "metadata.labels", "spec.taints" }, map = all_sets },
    },
    project = {
        pods = workload.pod_columns_with({ "spec.affinity" }), nodes = { "metadata.labels", "spec.taints" },
        [SETS] = { "spec.selector", "status.currentNumberScheduled", "status.desiredNumberScheduled" },
        resourcequotas = workload.quota_columns, [history.resource] = history.columns,
    },
    reconcile = reconcile,
}
