-- What ReplicaSets and ReplicationControllers do: as many active pods as spec.replicas says; adopts matching orphans, releases
-- what no longer matches.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")
local replicas = {}

local BURST = 500 -- pods made in one plan; the next plan makes the rest

local COST = "controller.kubernetes.io/pod-deletion-cost" -- the user's word on which pods go first
local COLUMNS = workload.pod_columns_with({ "metadata.annotations" })

--- A whole number, as in Kubernetes; anything else counts as none ("nan" would leave the pods without an order).
local function cost_of(pod)
    local text = (pod["metadata.annotations"] or {})[COST]
    return text and tonumber(text:match("^[+-]?%d+$")) or 0
end

--- Rank of a pod for removal, smaller goes first: unbound, pending, not ready, cheap, crowded node, ready since last, youngest.
local function removal_order(pods)
    local on_node = {}
    for _, pod in ipairs(pods) do
        local node = pod["spec.nodeName"] or ""
        on_node[node] = (on_node[node] or 0) + 1
    end
    local function rank(pod)
        local node = pod["spec.nodeName"]
        return {
            node and 1 or 0,
            pod["status.phase"] == "Running" and 1 or 0,
            workload.ready_since(pod) and 1 or 0,
            cost_of(pod),
            -on_node[node or ""],
            -(workload.ready_since(pod) or 0),
            -(m8.time(pod["metadata.creationTimestamp"] or "") or 0),
        }
    end
    local ranked = {}
    for _, pod in ipairs(pods) do ranked[#ranked + 1] = { pod = pod, rank = rank(pod) } end
    table.sort(ranked, function(a, b)
        for i = 1, #a.rank do
            if a.rank[i] ~= b.rank[i] then return a.rank[i] < b.rank[i] end
        end
        return a.pod.key < b.pod.key
    end)
    return ranked
end

local function scale(world, set, active, plan)
    local wanted, have = set.spec.replicas or 1, #active
    local name = set.metadata.name
    if have < wanted then
        for _ = 1, math.min(wanted - have, world:refused() and 1 or BURST) do -- one to see whether there is room again
            local pod = workload.pod_from_template(set, set.spec.template, name .. "-" .. world:suffix(5))
            plan:create("pods", pod, ("%d of %d pods exist"):format(have, wanted))
            plan:event(set, "Normal", "SuccessfulCreate", "Created pod: " .. pod.metadata.name)
        end
    elseif have > wanted then
        local ranked = removal_order(active)
        for i = 1, have - wanted do
            local pod = ranked[i].pod
            plan:delete("pods", pod.key, { uid = pod.uid }, ("%d pods exist, %d are wanted"):format(have, wanted))
            plan:event(set, "Normal", "SuccessfulDelete", "Deleted pod: " .. pod.name)
        end
    end
end

local function status_of(world, set, active, plan)
    local ready, available, wait = 0, 0, nil
    for _, pod in ipairs(active) do
        if workload.ready_since(pod) then ready = ready + 1 end
        local is_available, left = workload.is_available(pod, set.spec.minReadySeconds, world.now)
        if is_available then available = available + 1 end
        if left then wait = math.min(wait or left, left) end
    end
    if wait then plan:requeue(wait) end
    local conditions = (set.status or {}).conditions
    local refused = #active < (set.spec.replicas or 1) and not set.metadata.deletionTimestamp and world:refused()
    if refused or workload.condition(conditions, "ReplicaFailure") then
        conditions = m8.array(workload.with_refusal(conditions, refused, world:time_text()))
    end
    return {
        conditions = conditions,
        replicas = #active, fullyLabeledReplicas = #active, readyReplicas = ready, availableReplicas = available,
        observedGeneration = set.metadata.generation,
    }
end

local function lacks_pods(item)
    return (item["spec.replicas"] or 1) > (item["status.replicas"] or 0)
end

--- The controller `name` of the objects of `resource`, which keep spec.replicas pods.
function replicas.controller(name, resource)
    return {
        name = name,
        watches = {
            { resource = resource, key = "self" },
            { resource = "pods", key = "owner", owner = resource },
            workload.watch_orphans(resource),
            workload.watch_room(resource, lacks_pods),
            workload.watch_accounts(resource, lacks_pods),
        },
        project = { pods = COLUMNS, [resource] = { "spec.selector", "spec.replicas", "status.replicas" },
            resourcequotas = workload.quota_columns },
        reconcile = function(world, key)
            local set = world:get(resource, key)
            if not set then return nil end
            local selector = workload.selector_of(set.spec.selector)
            if not selector then return nil end -- refused at admission
            local plan, active = plans.new(), {}
            for _, pod in ipairs(workload.claim_pods(world, set, selector, plan)) do
                if workload.is_active(pod) then active[#active + 1] = pod end
            end
            if not set.metadata.deletionTimestamp then scale(world, set, active, plan) end
            local status = status_of(world, set, active, plan)
            if not workload.covers(set.status, status) then
                plan:status(resource, key, status, { uid = set.metadata.uid })
            end
            return plan
        end,
    }
end

return replicas
