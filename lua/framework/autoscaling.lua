-- What the autoscaler's controller looks up: the target that is scaled, its pods, and what they use. No decisions.
local m8 = require("m8")
local workload = require("framework.workload")
local autoscaling = {}

local METRICS, NODE_METRICS = "pods.metrics.k8s.io", "nodes.metrics.k8s.io"
local STALE = 15 -- seconds after which a figure says nothing about now

local SCALABLE = {
    ["apps/Deployment"] = "deployments.apps", ["apps/ReplicaSet"] = "replicasets.apps", ["apps/StatefulSet"] = "statefulsets.apps",
    ["/ReplicationController"] = "replicationcontrollers",
}
local RESOURCES = {}
for _, resource in pairs(SCALABLE) do RESOURCES[resource] = true end

local function group_of(api_version)
    return (api_version or ""):match("^(.*)/") or ""
end

--- The workload behind a pod: its controller, or that one's.
local function owner_of(world, pod)
    local owner = pod.owner_uid and world:by_uid(pod.owner_uid)
    local above = owner and owner.owner_uid and world:by_uid(owner.owner_uid)
    if above and RESOURCES[above.resource] then return above end
    return owner and RESOURCES[owner.resource] and owner or nil
end

--- The one workload whose pods a Service selects; nil, reason, message if there is none or several.
local function behind_service(world, namespace, name)
    local service = world:get("services", namespace .. "/" .. name)
    if not service then return nil, "FailedGetScale", ('services "%s" not found'):format(name) end
    local selector = (service.spec or {}).selector
    if not selector then return nil, "FailedGetScale", ("the Service %s has no selector"):format(name) end
    local found, names = nil, {}
    for pod in world:list("pods", { namespace = namespace, selector = m8.selector(selector) }) do
        local owner = workload.is_active(pod) and owner_of(world, pod)
        if owner and not names[owner.uid] then
            names[#names + 1] = owner.kind .. "/" .. owner.name
            names[owner.uid], found = true, owner
        end
    end
    if #names == 0 then return nil, "FailedGetScale", ("no pod of the Service %s belongs to a workload"):format(name) end
    if #names > 1 then
        table.sort(names)
        return nil, "AmbiguousTarget", ("pods of several workloads answer for the Service %s: %s"):format(name, table.concat(names, ", "))
    end
    return found.resource, found.key
end

--- resource, key of what spec.scaleTargetRef means; or nil, reason, message.
function autoscaling.target(world, namespace, reference)
    local group = group_of(reference.apiVersion)
    if reference.kind == "Service" and group == "" then return behind_service(world, namespace, reference.name) end
    local resource = SCALABLE[group .. "/" .. reference.kind]
    if not resource then
        return nil, "FailedGetScale",
            ('no matches for kind "%s" in version "%s" that can be scaled'):format(reference.kind, reference.apiVersion or "")
    end
    return resource, namespace .. "/" .. reference.name
end

--- Sum of requests of `resource` in milli-units over the containers (or one of them); nil if one has none.
local function requests_of(object, resource, container)
    local sum = 0
    for _, entry in ipairs(object.spec.containers or {}) do
        if not container or entry.name == container then
            local text = ((entry.resources or {}).requests or {})[resource]
            if not text then return nil, entry.name end
            sum = sum + (m8.milli(text) or 0)
        end
    end
    return sum
end

local function usage_of(metrics, resource, container)
    local sum, found = 0, false
    for _, entry in ipairs(metrics.containers or {}) do
        if not container or entry.name == container then
            sum, found = sum + (m8.milli((entry.usage or {})[resource] or "") or 0), true
        end
    end
    return found and sum or nil
end

local function told(values, name)
    for _, entry in ipairs(values or {}) do
        if entry.name == name then return m8.milli(entry.value or "") end
    end
    return nil
end

local function fresh_metrics(world, resource, key)
    local metrics = world:get(resource, key)
    local at = metrics and m8.time(metrics.timestamp or "")
    return at and world.now - at <= STALE and metrics or nil, at
end

local function seconds_of(window)
    return tonumber(((window or "0s"):gsub("s$", ""))) or 0
end

--- The pods as policies see them: { name, value, request, pending, ready, ready_since, started, at, window }; values in
--- milli-units. wanted: { resource =, container =, name =, requests = true if they are needed }. nil, message on a pod
--- without a request.
function autoscaling.measure(world, pods, wanted)
    local list = {}
    for _, pod in ipairs(pods) do
        local metrics, at = fresh_metrics(world, METRICS, pod.key)
        local ready = workload.condition(pod["status.conditions"], "Ready")
        local entry = {
            name = pod.name, pending = pod["status.phase"] ~= "Running", ready = ready ~= nil and ready.status == "True",
            ready_since = ready and m8.time(ready.lastTransitionTime or ""), started = m8.time(pod["status.startTime"] or ""),
            at = at, window = metrics and seconds_of(metrics.window),
        }
        if metrics then
            entry.value = wanted.resource and usage_of(metrics, wanted.resource, wanted.container) or nil
            if wanted.name then entry.value = told(metrics.values, wanted.name) end
        end
        if wanted.requests then
            local missing
            entry.request, missing = requests_of(world:get("pods", pod.key), wanted.resource, wanted.container)
            if not entry.request then
                return nil, ("missing request for %s in container %s of Pod %s"):format(wanted.resource, missing, pod.name)
            end
        end
        list[#list + 1] = entry
    end
    return list
end

--- Active pods that a selector (text, table) picks in a namespace.
function autoscaling.pods(world, namespace, selector)
    local pods = {}
    for pod in world:list("pods", { namespace = namespace, selector = m8.selector(selector) }) do
        if workload.is_active(pod) then pods[#pods + 1] = pod end
    end
    return pods
end

local function is_ready(node)
    local ready = workload.condition(node["status.conditions"], "Ready")
    return ready ~= nil and ready.status == "True"
end

--- What one node's extensions count about an object: its milli-units; nil: nothing, or not yet.
local function counted_on(metrics, namespace, object, name)
    for _, entry in ipairs(metrics and metrics.objects or {}) do
        if entry.kind == object.kind and entry.namespace == namespace and entry.name == object.name then
            return told(entry.metrics, name)
        end
    end
    return nil
end

--- What all nodes together count about an object under that name (requests that their proxies led to it), in milli-units, and the
--- names of the ready nodes that say nothing of it, so that it may be more. nil: no node counts it.
function autoscaling.counted(world, namespace, object, name)
    local sum, missing = nil, {}
    for node in world:list("nodes") do
        local value = counted_on(fresh_metrics(world, NODE_METRICS, node.name), namespace, object, name)
        if value then
            sum = (sum or 0) + value
        elseif is_ready(node) then
            missing[#missing + 1] = node.name
        end
    end
    return sum, missing
end

--- The pods behind the object that an Object metric describes; nil, message.
function autoscaling.described(world, namespace, object)
    local group = group_of(object.apiVersion)
    if object.kind == "Pod" and group == "" then
        local pod = world:item("pods", namespace .. "/" .. object.name)
        if pod then return { pod } end
    elseif object.kind == "Service" and group == "" then
        local service = world:get("services", namespace .. "/" .. object.name)
        if service and (service.spec or {}).selector then return autoscaling.pods(world, namespace, service.spec.selector) end
    else
        local resource = SCALABLE[group .. "/" .. object.kind]
        local owner = resource and world:get(resource, namespace .. "/" .. object.name)
        if owner then return autoscaling.pods(world, namespace, owner.spec.selector) end
    end
    return nil, ('%s "%s" is not there, or has no pods to ask'):format(object.kind, object.name)
end

return autoscaling
