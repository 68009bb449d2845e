-- HorizontalPodAutoscaler: looks at each new round of figures, asks the policy points autoscale.metric (how loaded are the pods),
-- autoscale.decide (how many there should be) and autoscale.limit (how fast one may get there), and sets the target's replicas.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")
local autoscaling = require("framework.autoscaling")

local HPAS = "horizontalpodautoscalers.autoscaling"
local HISTORY, CHANGES = 48, 24 -- entries kept in the status
local SILENCE = 15              -- seconds until a look without new figures

local function all_autoscalers(world)
    local keys = {}
    for item in world:list(HPAS) do keys[#keys + 1] = item.key end
    return keys
end

--- What a metric of the spec is about: name, target type, target in milli-units (percent for Utilization), what to measure.
local function read_metric(metric)
    local source = metric.resource or metric.containerResource or metric.pods or metric.object
    local target = source.target
    local wanted = {
        name = source.name or source.metric.name, kind = metric.type, target_type = target.type,
        target = target.averageUtilization or m8.milli(target.averageValue or target.value or "0"),
        field = metric.type:sub(1, 1):lower() .. metric.type:sub(2),
    }
    local of_resource = metric.resource or metric.containerResource
    wanted.measure = of_resource
        and { resource = source.name, container = metric.containerResource and source.container, requests = target.type == "Utilization" }
        or { name = wanted.name }
    wanted.reason = ({ Resource = "FailedGetResourceMetric", ContainerResource = "FailedGetContainerResourceMetric",
        Pods = "FailedGetPodsMetric", Object = "FailedGetObjectMetric" })[metric.type]
    return wanted
end

--- What an Object metric says of the object that it describes: what the nodes count about it, else the sum over its pods; also
--- the names of nodes that say nothing. nil, message if nobody does.
local function object_value(world, namespace, metric, wanted)
    local object = metric.object.describedObject
    local counted, missing = autoscaling.counted(world, namespace, object, wanted.name)
    if counted then return counted, nil, missing end
    local pods, why = autoscaling.described(world, namespace, object)
    if not pods then return nil, why end
    local sum, found = 0, false
    for _, pod in ipairs(autoscaling.measure(world, pods, wanted.measure)) do
        if pod.value then sum, found = sum + pod.value, true end
    end
    if not found then return nil, ("no node and no pod of it tells %s"):format(wanted.name) end
    return sum
end

local function current_of(metric, wanted, result)
    local current = {}
    if wanted.target_type == "Utilization" then current.averageUtilization = math.floor(result.ratio_shown * wanted.target + 0.5) end
    if result.value then
        local text = wanted.measure.resource == "memory" and ("%.0f"):format(result.value / 1000) or ("%.0fm"):format(result.value)
        current[wanted.target_type == "Value" and "value" or "averageValue"] = text
    end
    local source = { current = current }
    local spec = metric[wanted.field]
    source.name, source.container, source.metric, source.describedObject = spec.name, spec.container, spec.metric, spec.describedObject
    return { type = metric.type, [wanted.field] = source }
end

--- Asks autoscale.metric about each metric: array of loads for autoscale.decide, the status' currentMetrics, first failure.
local function look(world, autoscaler, pods, current)
    local loads, shown, failure = {}, {}, nil
    for _, metric in ipairs(autoscaler.spec.metrics or {}) do
        local wanted = read_metric(metric)
        local ctx = { name = wanted.name, kind = wanted.kind, target_type = wanted.target_type, target = wanted.target,
            current = current, now = world.now, object = autoscaler.metadata.namespace .. "/" .. autoscaler.metadata.name }
        local why
        if metric.type == "Object" then
            ctx.value, why, ctx.missing = object_value(world, autoscaler.metadata.namespace, metric, wanted)
            ctx.pods = autoscaling.measure(world, pods, {})
        else
            ctx.pods, why = autoscaling.measure(world, pods, wanted.measure)
        end
        local result = not why and world:ask("autoscale.metric", ctx) or nil
        if not why and result.error then why = result.error end
        if why then
            failure = failure or { reason = wanted.reason, message = ("unable to get metric %s: %s"):format(wanted.name, why) }
        else
            loads[#loads + 1] = { name = wanted.name, kind = wanted.kind, ratio = result.ratio, pods = result.pods, value = result.value,
                target = wanted.target, target_type = wanted.target_type }
            shown[#shown + 1] = current_of(metric, wanted, result)
        end
    end
    return loads, shown, failure
end

local function rules_of(behavior, default_window, default_policies)
    behavior = behavior or {}
    local policies = {}
    for _, policy in ipairs(behavior.policies or default_policies) do
        policies[#policies + 1] = { type = policy.type, value = policy.value, period = policy.periodSeconds }
    end
    return { window = behavior.stabilizationWindowSeconds or default_window, select = behavior.selectPolicy or "Max", policies = policies }
end

local UP = { { type = "Pods", value = 4, periodSeconds = 15 }, { type = "Percent", value = 100, periodSeconds = 15 } }
local DOWN = { { type = "Percent", value = 100, periodSeconds = 15 } }

local function limit_context(world, autoscaler, history, current, wanted)
    local behavior, status = autoscaler.spec.behavior or {}, autoscaler.status or {}
    return {
        current = current, wanted = wanted, min = autoscaler.spec.minReplicas or 1, max = autoscaler.spec.maxReplicas,
        up = rules_of(behavior.scaleUp, 0, UP), down = rules_of(behavior.scaleDown, 300, DOWN),
        history = history, changes = status.changes or {}, now = world.now,
        namespace = autoscaler.metadata.namespace, name = autoscaler.metadata.name,
    }
end

--- History with what is wanted now: an entry holds until the next one, so a steady state adds nothing. The two oldest entries
--- are merged when there are too many; what is lost then is only how fast things were long ago.
local function remember(history, now, load, wanted)
    local result = m8.copy(history or {})
    local last = result[#result]
    if last and last.wanted == wanted and math.abs((last.load or 0) - load) < 10 then return result end
    result[#result + 1] = { at = math.floor(now * 1000), load = load, wanted = wanted }
    if #result > HISTORY then
        local oldest, second = table.remove(result, 1), result[1]
        second.at = oldest.at
        second.least = math.min(oldest.least or oldest.wanted, second.least or second.wanted)
        second.wanted = math.max(oldest.wanted, second.wanted)
    end
    return m8.array(result)
end

local function highest_load(loads)
    local load = 0
    for _, metric in ipairs(loads) do load = math.max(load, math.floor(metric.ratio * 100 + 0.5)) end
    return load
end

--- Before anything was wanted, what was there counts as wanted: a new autoscaler takes nothing away before the window is over.
local function history_of(world, autoscaler, current, loads)
    local history = (autoscaler.status or {}).history or {}
    if #history > 0 or #loads == 0 then return history end
    return { { at = math.floor(world.now * 1000), load = highest_load(loads), wanted = current } }
end

--- Sets a condition in `status`; a Warning Event tells of one that turns false.
local function note(world, plan, autoscaler, status, kind, value, reason, message)
    local before = workload.condition(status.conditions, kind)
    status.conditions = workload.with_condition(status.conditions,
        { type = kind, status = value, reason = reason, message = message }, world:time_text())
    if value == "False" and kind ~= "ScalingLimited" and not (before and before.reason == reason) then
        plan:event(autoscaler, "Warning", reason, message)
    end
end

local function finish(plan, key, autoscaler, status)
    status.observedGeneration = autoscaler.metadata.generation
    if not workload.covers(autoscaler.status, status) then plan:status(HPAS, key, status, { uid = autoscaler.metadata.uid }) end
    plan:requeue(SILENCE)
    return plan
end

--- Another autoscaler of the same target, by name, or nil.
local function rival(world, key, resource, target)
    for item in world:list(HPAS, { namespace = target:match("^[^/]+") }) do
        if item.key ~= key and item["spec.scaleTargetRef"] then
            local other_resource, other = autoscaling.target(world, item.namespace, item["spec.scaleTargetRef"])
            if other_resource == resource and other == target then return item.name end
        end
    end
    return nil
end

local function decide(world, autoscaler, history, current, loads, failed)
    local spec, status = autoscaler.spec, autoscaler.status or {}
    local result, record = world:ask("autoscale.decide", {
        current = current, min = spec.minReplicas or 1, max = spec.maxReplicas, metrics = loads, failed = failed,
        history = history, changes = status.changes or {}, now = world.now, namespace = autoscaler.metadata.namespace,
        name = autoscaler.metadata.name,
    })
    local limited, limits = world:ask("autoscale.limit", limit_context(world, autoscaler, history, current, result.replicas))
    local reasons = {}
    for _, reason in ipairs(record.reasons or {}) do reasons[#reasons + 1] = reason end
    for _, reason in ipairs(limits.reasons or {}) do reasons[#reasons + 1] = reason end
    return result.replicas, limited, table.concat(reasons, "; ")
end

local function rescale(world, plan, autoscaler, status, target, from, to, why)
    plan:patch(target.resource, target.key, { spec = { replicas = to } }, why, { uid = target.uid })
    plan:event(autoscaler, "Normal", "SuccessfulRescale", ("New size: %d; reason: %s"):format(to, why))
    local changes = m8.copy((autoscaler.status or {}).changes or {})
    changes[#changes + 1] = { at = math.floor(world.now * 1000), from = from, to = to, reason = why:sub(1, 500) }
    if #changes > CHANGES then table.remove(changes, 1) end
    status.changes = m8.array(changes)
    status.lastScaleTime = world:time_text()
    note(world, plan, autoscaler, status, "AbleToScale", "True", "SucceededRescale",
        ("the HPA controller was able to update the target scale to %d"):format(to))
end

local function autoscale(world, plan, autoscaler, status, target)
    local object = target.object
    local current = object.spec.replicas or 1
    status.currentReplicas = (object.status or {}).replicas or 0
    if current == 0 then
        note(world, plan, autoscaler, status, "ScalingActive", "False", "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero")
        return
    end
    local pods = autoscaling.pods(world, autoscaler.metadata.namespace, object.spec.selector)
    local loads, shown, failure = look(world, autoscaler, pods, current)
    status.currentMetrics = m8.array(shown)
    if failure then
        note(world, plan, autoscaler, status, "ScalingActive", "False", failure.reason, failure.message)
    else
        note(world, plan, autoscaler, status, "ScalingActive", "True", "ValidMetricFound",
            "the HPA was able to successfully calculate a replica count")
    end
    if #loads == 0 and current >= (autoscaler.spec.minReplicas or 1) and current <= autoscaler.spec.maxReplicas then
        status.desiredReplicas = current
        return
    end
    local history = history_of(world, autoscaler, current, loads)
    local wanted, limited, why = decide(world, autoscaler, history, current, loads, failure and 1 or 0)
    if #loads > 0 then status.history = remember(history, world.now, highest_load(loads), wanted) end
    status.desiredReplicas = limited.replicas
    note(world, plan, autoscaler, status, "ScalingLimited", limited.limit and "True" or "False",
        limited.limit or "DesiredWithinRange", limited.message or "the desired count is within the acceptable range")
    if limited.replicas ~= current then
        rescale(world, plan, autoscaler, status, target, current, limited.replicas, why)
    else
        local held = limited.stabilized
        note(world, plan, autoscaler, status, "AbleToScale", "True", held and "ScaleDownStabilized" or "ReadyForNewScale",
            held or "recommended size matches current size")
    end
end

return {
    name = "horizontalpodautoscaler",
    watches = {
        { resource = HPAS, key = "self", on = { "metadata.generation" } }, -- not what it has written itself
        { resource = "nodes.metrics.k8s.io", map = all_autoscalers }, -- a round of figures is complete
    },
    project = { [HPAS] = { "spec.scaleTargetRef", "metadata.generation" }, nodes = { "status.conditions" }, services = m8.array({}),
        ["deployments.apps"] = m8.array({}), ["replicasets.apps"] = m8.array({}), ["statefulsets.apps"] = m8.array({}),
        replicationcontrollers = m8.array({}), ["pods.metrics.k8s.io"] = m8.array({}),
        pods = { "metadata.labels", "status.phase", "status.conditions", "status.startTime" } },
    reconcile = function(world, key)
        local autoscaler = world:get(HPAS, key)
        if not autoscaler or autoscaler.metadata.deletionTimestamp then return nil end
        local plan, status = plans.new(), { conditions = (autoscaler.status or {}).conditions }
        local resource, name, message = autoscaling.target(world, autoscaler.metadata.namespace, autoscaler.spec.scaleTargetRef)
        local object = resource and world:get(resource, name)
        if not object then
            local reason = resource and "FailedGetScale" or name
            message = message or ('%s "%s" not found'):format(resource, autoscaler.spec.scaleTargetRef.name)
            note(world, plan, autoscaler, status, "AbleToScale", "False", reason,
                "the HPA controller was unable to get the target's current scale: " .. message)
            return finish(plan, key, autoscaler, status)
        end
        local other = rival(world, key, resource, name)
        if other then
            note(world, plan, autoscaler, status, "ScalingActive", "False", "AmbiguousSelector",
                ("the autoscaler %s has the same target"):format(other))
            return finish(plan, key, autoscaler, status)
        end
        local able = workload.condition(status.conditions, "AbleToScale")
        if not able or able.status == "False" then
            note(world, plan, autoscaler, status, "AbleToScale", "True", "SucceededGetScale",
                "the HPA controller was able to get the target's current scale")
        end
        autoscale(world, plan, autoscaler, status, { resource = resource, key = name, uid = object.metadata.uid, object = object })
        return finish(plan, key, autoscaler, status)
    end,
}
