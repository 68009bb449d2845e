-- Deployment: one ReplicaSet per template; point `rollout` says how many replicas each gets next. Keeps the history that
-- `rollout undo` needs, and the conditions Available and Progressing.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local REVISION = "deployment.kubernetes.io/revision"
local SIZED = "deployment.kubernetes.io/desired-replicas" -- of a ReplicaSet: the Deployment's replicas for which it got its own
local CAUSE = "kubernetes.io/change-cause"
local HASH = "pod-template-hash"
local SETS = "replicasets.apps"
local STATES = "minik8s.io/rollout-state" -- of the new ReplicaSet: what policies of the point remember about this rollout
local METRICS = "pods.metrics.k8s.io"

local function limits(deployment)
    local desired, strategy = deployment.spec.replicas or 1, deployment.spec.strategy or {}
    if strategy.type == "Recreate" then return desired, 0, 0 end
    local rolling = strategy.rollingUpdate or {}
    local surge = workload.resolve(rolling.maxSurge or "25%", desired, true)
    local unavailable = workload.resolve(rolling.maxUnavailable or "25%", desired, false)
    if surge == 0 and unavailable == 0 then unavailable = 1 end
    return desired, surge, unavailable
end

local function template_without_hash(template)
    local copy = m8.copy(template)
    if copy.metadata and copy.metadata.labels then copy.metadata.labels[HASH] = nil end
    return copy
end

local function annotation(object, name)
    return (object.metadata.annotations or {})[name]
end

local function revision_of(set)
    return tonumber(annotation(set, REVISION)) or 0
end

local function sized_for(deployment)
    return tostring(deployment.spec.replicas or 1)
end

--- Plans to take over ReplicaSets that match and have no controller; they count at once.
local function adopt(world, deployment, plan, sets)
    if deployment.metadata.deletionTimestamp then return end -- they may just have been orphaned
    local selector = m8.selector(deployment.spec.selector)
    for item in world:list(SETS, { namespace = deployment.metadata.namespace, selector = selector }) do
        if not item.owner_uid and not item.deleting then
            local reference = workload.controller_reference(deployment)
            plan:patch(SETS, item.key, { metadata = { ownerReferences = { reference } } },
                "it matches the selector and has no controller", { uid = item.uid })
            sets[#sets + 1] = world:get(SETS, item.key)
        end
    end
end

--- The ReplicaSets of this Deployment as full objects, oldest revision first.
local function owned_sets(world, deployment, plan)
    local sets = {}
    for item in world:list(SETS, { owner = deployment.metadata.uid }) do
        if not item.deleting then sets[#sets + 1] = world:get(SETS, item.key) end
    end
    adopt(world, deployment, plan, sets)
    table.sort(sets, function(a, b)
        local x, y = revision_of(a), revision_of(b)
        if x ~= y then return x < y end
        return a.metadata.name < b.metadata.name
    end)
    return sets
end

local function find_current(deployment, sets)
    local template = template_without_hash(deployment.spec.template)
    for _, set in ipairs(sets) do
        if m8.equal(template_without_hash(set.spec.template), template) then return set end
    end
    return nil
end

--- Annotations that a ReplicaSet takes over from its Deployment.
local function annotations_for(deployment, revision)
    local annotations = { [REVISION] = tostring(revision), [SIZED] = sized_for(deployment) }
    annotations[CAUSE] = annotation(deployment, CAUSE)
    return annotations
end

local function new_set(deployment, revision)
    local template = m8.copy(deployment.spec.template)
    local hash = m8.hash({ template = template_without_hash(template), collisions = (deployment.status or {}).collisionCount })
    template.metadata = template.metadata or {}
    template.metadata.labels = template.metadata.labels or {}
    template.metadata.labels[HASH] = hash
    local selector = m8.copy(deployment.spec.selector)
    selector.matchLabels = selector.matchLabels or {}
    selector.matchLabels[HASH] = hash
    return {
        apiVersion = "apps/v1", kind = "ReplicaSet",
        metadata = {
            name = deployment.metadata.name .. "-" .. hash, namespace = deployment.metadata.namespace,
            labels = m8.copy(template.metadata.labels), annotations = annotations_for(deployment, revision),
            ownerReferences = { workload.controller_reference(deployment) },
        },
        spec = { replicas = 0, selector = selector, template = template, minReadySeconds = deployment.spec.minReadySeconds },
    }
end

local function counts(world, set)
    local terminating, active = 0, 0
    for pod in world:list("pods", { owner = set.metadata.uid }) do
        if pod.deleting then terminating = terminating + 1 end
        if workload.is_active(pod) then active = active + 1 end
    end
    local status = set.status or {}
    local spec = set.spec.replicas or 0
    return {
        name = set.metadata.name, replicas = math.max(spec, status.replicas or 0, active), wanted = spec, -- the status may come late
        ready = status.readyReplicas or 0, available = math.min(status.availableReplicas or 0, spec),
        terminating = terminating,
    }
end

--- Requests and errors a second (in thousandths) that the set's pods tell, or nil.
local function told(world, set)
    local requests, errors
    for pod in world:list("pods", { owner = set.metadata.uid }) do
        local metrics = world:get(METRICS, pod.key)
        for _, entry in ipairs(metrics and metrics.values or {}) do
            local value = m8.milli(entry.value or "") or 0
            if entry.name == "requests_per_second" then requests = (requests or 0) + value end
            if entry.name == "errors_per_second" then errors = (errors or 0) + value end
        end
    end
    return requests, errors
end

local function states_of(current)
    local text = current and (current.metadata.annotations or {})[STATES]
    return text and m8.parse(text) or {}
end

local function decide(world, deployment, current, old_sets)
    local desired, surge, unavailable = limits(deployment)
    local old = {}
    for _, set in ipairs(old_sets) do
        local count = counts(world, set)
        if count.replicas > 0 or count.terminating > 0 then old[#old + 1] = count end
    end
    local new = current and counts(world, current) or { replicas = 0, wanted = 0, ready = 0, available = 0, terminating = 0 }
    new.replicas = math.max(new.wanted, 0)
    if current then new.requests, new.errors = told(world, current) end
    return world:ask("rollout", {
        namespace = deployment.metadata.namespace, name = deployment.metadata.name,
        strategy = (deployment.spec.strategy or {}).type or "RollingUpdate", paused = deployment.spec.paused == true,
        desired = desired, max_surge = surge, max_unavailable = unavailable, new = new, old = m8.array(old),
        annotations = deployment.metadata.annotations or {}, states = states_of(current),
    })
end

local function scale(plan, deployment, set, replicas, reasons)
    local before, sized = set.spec.replicas or 0, sized_for(deployment)
    if before == replicas and (replicas == 0 or annotation(set, SIZED) == sized) then return end
    local reason = table.concat(reasons or {}, "; ")
    local key = set.metadata.namespace .. "/" .. set.metadata.name
    plan:patch(SETS, key, { metadata = { annotations = { [SIZED] = sized } }, spec = { replicas = replicas } }, reason,
        { uid = set.metadata.uid })
    set.spec.replicas = replicas
    if before == replicas then return end
    plan:event(deployment, "Normal", "ScalingReplicaSet", ("Scaled %s replica set %s to %d from %d%s"):format(
        replicas > before and "up" or "down", set.metadata.name, replicas, before,
        reason ~= "" and (": " .. reason) or ""))
end

local function annotate(plan, resource, object, wanted, reason)
    local changed = {}
    for name, value in pairs(wanted) do
        if (annotation(object, name) or m8.null) ~= value then changed[name] = value end
    end
    if not next(changed) then return end
    plan:patch(resource, object.metadata.namespace .. "/" .. object.metadata.name, { metadata = { annotations = changed } }, reason,
        { uid = object.metadata.uid })
end

--- Revision and change-cause: the current set carries the highest revision, also an old one that is current again, and the cause
--- that the Deployment tells. A cause told for the former template does not move to one that is in use again: that keeps its own.
local function keep_revision(plan, deployment, current, sets)
    local highest, former = 0, nil
    for _, set in ipairs(sets) do -- oldest first
        if set ~= current then highest, former = math.max(highest, revision_of(set)), set end
    end
    local revision, cause = highest + 1, annotation(deployment, CAUSE)
    if current and revision_of(current) > highest then
        revision = revision_of(current)
    elseif current and former and cause == annotation(former, CAUSE) then
        cause = annotation(current, CAUSE)
    end
    local wanted = { [REVISION] = tostring(revision), [CAUSE] = cause or m8.null }
    -- the Deployment first: told again with only this step done, the cause is the same
    annotate(plan, "deployments.apps", deployment, wanted, "the revision or its cause changed")
    if current then annotate(plan, SETS, current, wanted, "the revision or its cause changed") end
    return revision
end

--- The current set follows minReadySeconds, also one that is in use again; old ones keep what their pods were judged by.
local function keep_ready_seconds(plan, deployment, current)
    local wanted = deployment.spec.minReadySeconds
    if not current or (current.spec.minReadySeconds or 0) == (wanted or 0) then return end
    plan:patch(SETS, current.metadata.namespace .. "/" .. current.metadata.name, { spec = { minReadySeconds = wanted or m8.null } },
        "minReadySeconds changed", { uid = current.metadata.uid })
end

--- How many pods each of several sets gets: all of them as many as a rollout may have, in proportion to what they have now.
local function shares(deployment, active)
    local desired, surge = limits(deployment)
    local total, left, order, share = 0, desired > 0 and desired + surge or 0, {}, {}
    for i, set in ipairs(active) do
        total = total + set.spec.replicas
        order[i] = i
    end
    table.sort(order, function(a, b) -- the largest first, of equal ones the newest
        local x, y = active[a].spec.replicas, active[b].spec.replicas
        if x ~= y then return x > y end
        return a > b
    end)
    local factor = left / total
    for _, i in ipairs(order) do
        share[i] = math.min(left, math.floor(active[i].spec.replicas * factor + 0.5))
        left = left - share[i]
    end
    share[order[1]] = share[order[1]] + left
    return share
end

--- Paused: the templates stay as they are, the number of pods follows. The one set that has pods gets all of them; those of a
--- rollout that stands still share them when the number has changed.
local function scale_paused(plan, deployment, current, old_sets)
    local active, changed = {}, false
    local function add(set)
        if not set or (set.spec.replicas or 0) == 0 then return end
        active[#active + 1] = set
        local sized = annotation(set, SIZED) -- none: of a former version, or adopted
        changed = changed or (sized ~= nil and sized ~= sized_for(deployment))
    end
    for _, set in ipairs(old_sets) do add(set) end
    add(current)
    local reasons = { "the Deployment was scaled while paused" }
    if #active <= 1 then
        local only = active[1] or current or old_sets[#old_sets]
        if only then scale(plan, deployment, only, deployment.spec.replicas or 1, reasons) end
    elseif changed then
        local share = shares(deployment, active)
        for i, set in ipairs(active) do scale(plan, deployment, set, share[i], reasons) end
    end
end

--- Kept where it is about: a ReplicaSet that is made in this plan gets it with the first look at it.
local function keep_states(plan, current, states)
    if not current or not states then return end
    local kept = {}
    for name, state in pairs(states) do
        if state ~= m8.null and next(state) then kept[name] = state end
    end
    local text = next(kept) and m8.json(kept) or m8.null
    if text == ((current.metadata.annotations or {})[STATES] or m8.null) then return end
    plan:patch(SETS, current.metadata.namespace .. "/" .. current.metadata.name, { metadata = { annotations = { [STATES] = text } } },
        "the rollout has come further", { uid = current.metadata.uid })
end

local function roll(world, plan, deployment, current, old_sets, revision)
    if deployment.spec.paused then
        scale_paused(plan, deployment, current, old_sets)
        return
    end
    local decision, record = decide(world, deployment, current, old_sets)
    local reasons = record and record.reasons
    keep_states(plan, current, record and record.states)
    if decision.after then plan:requeue(math.max(decision.after, 0.5)) end
    if current then
        scale(plan, deployment, current, decision.new, reasons)
    elseif decision.new > 0 or #old_sets == 0 then
        local set = new_set(deployment, revision)
        set.spec.replicas = decision.new
        plan:create(SETS, set, "a new template")
        plan:event(deployment, "Normal", "ScalingReplicaSet",
            ("Scaled up replica set %s to %d from 0"):format(set.metadata.name, decision.new))
    end
    for _, set in ipairs(old_sets) do
        local replicas = set.spec.replicas or 0
        -- pods that are on their way out still count above: an old set never grows again
        scale(plan, deployment, set, math.min((decision.old or {})[set.metadata.name] or replicas, replicas), reasons)
    end
end

local function trim_history(plan, deployment, old_sets)
    local empty = {}
    for _, set in ipairs(old_sets) do
        if (set.spec.replicas or 0) == 0 and ((set.status or {}).replicas or 0) == 0 then empty[#empty + 1] = set end
    end
    for i = 1, #empty - (deployment.spec.revisionHistoryLimit or 10) do
        local set = empty[i]
        plan:delete(SETS, set.metadata.namespace .. "/" .. set.metadata.name, { uid = set.metadata.uid },
            "older than revisionHistoryLimit")
    end
end

--- True when the deadline had passed for this ReplicaSet and no count has changed since: the status knows that also after a
--- restart, which forgets what the world has seen.
local function still_exceeded(deployment, before, status, name)
    if not before or before.reason ~= "ProgressDeadlineExceeded" then return false end
    local last = deployment.status
    if last.observedGeneration ~= deployment.metadata.generation then return false end
    if not before.message:find('"' .. name .. '"', 1, true) then return false end
    for _, field in ipairs({ "replicas", "updatedReplicas", "readyReplicas", "availableReplicas" }) do
        if (last[field] or 0) ~= status[field] then return false end
    end
    return true
end

--- Progressing: complete, or moving since the last change of any count, or stuck for progressDeadlineSeconds.
local function progressing(world, plan, deployment, status, current)
    local before = workload.condition((deployment.status or {}).conditions, "Progressing")
    local name = current and current.metadata.name or "(new)"
    local complete = status.updatedReplicas == status.wanted and status.replicas == status.wanted
        and status.availableReplicas >= status.wanted
    if complete then
        return { type = "Progressing", status = "True", reason = "NewReplicaSetAvailable", lastUpdateTime = "",
            message = ("ReplicaSet \"%s\" has successfully progressed."):format(name) }
    end
    local settled = before and before.reason == "NewReplicaSetAvailable" and current ~= nil
        and status.updatedReplicas == status.replicas and before.message:find('"' .. name .. '"', 1, true)
    if settled then return m8.copy(before) end -- pods that fail later are no rollout
    if deployment.spec.paused then
        return { type = "Progressing", status = "Unknown", reason = "DeploymentPaused", lastUpdateTime = "",
            message = "Deployment is paused" }
    end
    if still_exceeded(deployment, before, status, name) then return m8.copy(before) end
    local counts_now = table.concat({ name, status.updatedReplicas, status.replicas, status.availableReplicas,
        status.readyReplicas, deployment.metadata.generation or 0 }, "/")
    local silent = world:seen("progress/" .. deployment.metadata.uid, counts_now)
    local deadline = deployment.spec.progressDeadlineSeconds or 600
    if silent >= deadline then
        return { type = "Progressing", status = "False", reason = "ProgressDeadlineExceeded", lastUpdateTime = "",
            message = ("ReplicaSet \"%s\" has timed out progressing."):format(name) }
    end
    plan:requeue(math.min(deadline - silent, 1800)) -- what has been seen is forgotten after an hour without a look
    return { type = "Progressing", status = "True", reason = "ReplicaSetUpdated", lastUpdateTime = "",
        message = ("ReplicaSet \"%s\" is progressing."):format(name) }
end

local function available(deployment, status, unavailable)
    local least = status.wanted - unavailable
    if status.availableReplicas >= least then
        return { type = "Available", status = "True", reason = "MinimumReplicasAvailable", lastUpdateTime = "",
            message = "Deployment has minimum availability." }
    end
    return { type = "Available", status = "False", reason = "MinimumReplicasUnavailable", lastUpdateTime = "",
        message = ("Deployment %s has %d of at least %d pods available."):format(deployment.metadata.name,
            status.availableReplicas, least) }
end

local function write_status(world, plan, deployment, current, sets)
    local wanted, _, unavailable = limits(deployment)
    local sum = { wanted = wanted, replicas = 0, readyReplicas = 0, availableReplicas = 0, updatedReplicas = 0 }
    for _, set in ipairs(sets) do
        local status = set.status or {}
        sum.replicas = sum.replicas + (status.replicas or 0)
        sum.readyReplicas = sum.readyReplicas + (status.readyReplicas or 0)
        sum.availableReplicas = sum.availableReplicas + (status.availableReplicas or 0)
    end
    sum.updatedReplicas = current and (current.status or {}).replicas or 0
    local conditions = (deployment.status or {}).conditions
    conditions = workload.with_condition(conditions, available(deployment, sum, unavailable), world:time_text())
    conditions = workload.with_condition(conditions, progressing(world, plan, deployment, sum, current), world:time_text())
    local failure = current and workload.condition((current.status or {}).conditions, "ReplicaFailure")
    conditions = workload.with_refusal(conditions, failure and failure.message, world:time_text())
    local status = {
        observedGeneration = deployment.metadata.generation, replicas = sum.replicas,
        updatedReplicas = sum.updatedReplicas, readyReplicas = sum.readyReplicas,
        availableReplicas = sum.availableReplicas, unavailableReplicas = math.max(0, wanted - sum.availableReplicas),
        conditions = conditions,
    }
    if not workload.covers(deployment.status, status) then
        plan:status("deployments.apps", deployment.metadata.namespace .. "/" .. deployment.metadata.name, status,
            { uid = deployment.metadata.uid })
    end
end

return {
    name = "deployment",
    watches = {
        { resource = "deployments.apps", key = "self" },
        { resource = SETS, key = "owner", owner = "deployments.apps" },
        { resource = "pods", on = { "metadata.deletionTimestamp" }, map = function(world, item, previous)
            if item then return {} end -- a pod that is gone: a Recreate rollout may go on
            local set = previous.owner_uid and world:by_uid(previous.owner_uid)
            local deployment = set and set.owner_uid and world:by_uid(set.owner_uid)
            return deployment and { deployment.key } or {}
        end },
    },
    project = { [SETS] = { "metadata.labels" }, [METRICS] = m8.array({}),
        pods = { "metadata.deletionTimestamp", "metadata.labels", "status.phase" } },
    reconcile = function(world, key)
        local deployment = world:get("deployments.apps", key)
        if not deployment then return nil end
        local plan = plans.new()
        local sets = owned_sets(world, deployment, plan)
        local current, old_sets = find_current(deployment, sets), {}
        for _, set in ipairs(sets) do
            if set ~= current then old_sets[#old_sets + 1] = set end
        end
        if not deployment.metadata.deletionTimestamp then
            local revision = keep_revision(plan, deployment, current, sets)
            keep_ready_seconds(plan, deployment, current)
            roll(world, plan, deployment, current, old_sets, revision)
            trim_history(plan, deployment, old_sets)
        end
        write_status(world, plan, deployment, current, sets)
        return plan
    end,
}
