-- ReplicaSet: as many active pods as spec.replicas says; adopts matching orphans, releases what no longer matches.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local BURST = 500 -- pods made in one plan; the next plan makes the rest

--- Rank of a pod for removal, smaller goes first: unbound, pending, not ready, crowded node, youngest.
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
            -on_node[node or ""],
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

local function scale(world, replicaset, active, plan)
    local wanted, have = replicaset.spec.replicas or 1, #active
    local name = replicaset.metadata.name
    if have < wanted then
        for _ = 1, math.min(wanted - have, world:refused() and 1 or BURST) do -- one to see whether there is room again
            local pod = workload.pod_from_template(replicaset, replicaset.spec.template, name .. "-" .. world:suffix(5))
            plan:create("pods", pod, ("%d of %d pods exist"):format(have, wanted))
            plan:event(replicaset, "Normal", "SuccessfulCreate", "Created pod: " .. pod.metadata.name)
        end
    elseif have > wanted then
        local ranked = removal_order(active)
        for i = 1, have - wanted do
            local pod = ranked[i].pod
            plan:delete("pods", pod.key, { uid = pod.uid }, ("%d pods exist, %d are wanted"):format(have, wanted))
            plan:event(replicaset, "Normal", "SuccessfulDelete", "Deleted pod: " .. pod.name)
        end
    end
end

local function status_of(world, replicaset, active, plan)
    local ready, available, wait = 0, 0, nil
    for _, pod in ipairs(active) do
        if workload.ready_since(pod) then ready = ready + 1 end
        local is_available, left = workload.is_available(pod, replicaset.spec.minReadySeconds, world.now)
        if is_available then available = available + 1 end
        if left then wait = math.min(wait or left, left) end
    end
    if wait then plan:requeue(wait) end
    local conditions = (replicaset.status or {}).conditions
    local refused = #active < (replicaset.spec.replicas or 1) and not replicaset.metadata.deletionTimestamp and world:refused()
    if refused or workload.condition(conditions, "ReplicaFailure") then
        conditions = m8.array(workload.with_refusal(conditions, refused, world:time_text()))
    end
    return {
        conditions = conditions,
        replicas = #active, fullyLabeledReplicas = #active, readyReplicas = ready, availableReplicas = available,
        observedGeneration = replicaset.metadata.generation,
    }
end

local function lacks_pods(item)
    return (item["spec.replicas"] or 1) > (item["status.replicas"] or 0)
end

return {
    name = "replicaset",
    watches = {
        { resource = "replicasets.apps", key = "self" },
        { resource = "pods", key = "owner", owner = "replicasets.apps" },
        workload.watch_orphans("replicasets.apps"),
        workload.watch_room("replicasets.apps", lacks_pods),
        workload.watch_accounts("replicasets.apps", lacks_pods),
    },
    project = { pods = workload.pod_columns, ["replicasets.apps"] = { "spec.selector", "spec.replicas", "status.replicas" },
        resourcequotas = workload.quota_columns },
    reconcile = function(world, key)
        local replicaset = world:get("replicasets.apps", key)
        if not replicaset then return nil end
        local selector = m8.selector(replicaset.spec.selector)
        if not selector then return nil end -- refused at admission
        local plan, active = plans.new(), {}
        for _, pod in ipairs(workload.claim_pods(world, replicaset, selector, plan)) do
            if workload.is_active(pod) then active[#active + 1] = pod end
        end
        if not replicaset.metadata.deletionTimestamp then scale(world, replicaset, active, plan) end
        local status = status_of(world, replicaset, active, plan)
        if not workload.covers(replicaset.status, status) then
            plan:status("replicasets.apps", key, status, { uid = replicaset.metadata.uid })
        end
        return plan
    end,
}
