-- EndpointSlices: which pods answer for a Service. A pod that is being deleted leaves its slices at once (drain protocol);
-- a pod on a node that is not ready is not ready. Ports are resolved per pod, so a slice holds pods with equal ports. How new
-- connections are balanced is decided by the nodes (point `balance`); what only the manager knows of all pods travels to them as
-- annotations of the slices: their labels, and what names of their ports mean.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local PER_SLICE = 100
local SERVICE_LABEL, MANAGED_LABEL = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
local BALANCE, LABELS, TARGETS = "minik8s.io/balance", "minik8s.io/endpoint-labels", "minik8s.io/target-ports"
local LABELS_MAX = 65536 -- bytes of one slice; an object's annotations may have 262,144 together
local MANAGER = "endpointslice-controller.minik8s.io"

local function services_of_pod(world, item, keys, seen)
    for service in world:list("services", { namespace = item.namespace }) do
        local selector = service["spec.selector"]
        if selector and next(selector) and not seen[service.key] then
            if m8.selector(selector):matches(item["metadata.labels"] or {}) then
                seen[service.key] = true
                keys[#keys + 1] = service.key
            end
        end
    end
end

local function node_ready(world, name)
    local node = world:item("nodes", name)
    if not node then return false end
    local ready = workload.condition(node["status.conditions"], "Ready")
    return ready ~= nil and ready.status == "True"
end

--- The number that a Service port means in this pod, or nil: targetPort is a number, or a container port's name.
local function resolve_port(pod_ports, port)
    local target = port.targetPort or port.port
    if type(target) == "number" then return target end
    for _, container in ipairs(pod_ports or {}) do
        for _, declared in ipairs(container.ports or {}) do
            if declared.name == target and (declared.protocol or "TCP") == (port.protocol or "TCP") then
                return declared.containerPort
            end
        end
    end
    return nil
end

--- Ports that the pod has, and what names among the targetPorts mean in it; notes in `unknown` (port → pod's name) those whose
--- targetPort it does not declare.
local function ports_of(service, pod, unknown)
    local ports, targets = {}, {}
    for _, port in ipairs(service.spec.ports or {}) do
        local number = resolve_port(pod["spec.containers"], port)
        if not number then unknown[port.targetPort] = unknown[port.targetPort] or pod.name end
        if number then
            if type(port.targetPort) == "string" then targets[port.targetPort] = number end
            ports[#ports + 1] = {
                name = port.name or "", port = number, protocol = port.protocol or "TCP", appProtocol = port.appProtocol,
            }
        end
    end
    return ports, targets
end

local function endpoint_of(world, service, pod)
    local ready = workload.ready_since(pod) ~= nil and node_ready(world, pod["spec.nodeName"])
    return {
        addresses = { pod["status.podIP"] },
        conditions = {
            ready = ready or service.spec.publishNotReadyAddresses == true, serving = ready, terminating = false,
        },
        hostname = pod["spec.subdomain"] == service.metadata.name and pod["spec.hostname"] or nil,
        nodeName = pod["spec.nodeName"],
        targetRef = { kind = "Pod", namespace = pod.namespace, name = pod.name, uid = pod.uid },
    }
end

--- The pods behind the Service, in key order.
local function pods_of(world, service)
    local pods = {}
    local options = { namespace = service.metadata.namespace, selector = service.spec.selector }
    for pod in world:list("pods", options) do
        if workload.is_active(pod) and pod["status.podIP"] and pod["spec.nodeName"] then pods[#pods + 1] = pod end
    end
    return pods
end

--- The labels that all pods of the list have.
local function common_labels(pods)
    local common = {}
    for name, value in pairs(pods[1]["metadata.labels"] or {}) do common[name] = value end
    for _, pod in ipairs(pods) do
        local labels = pod["metadata.labels"] or {}
        for name, value in pairs(common) do
            if labels[name] ~= value then common[name] = nil end
        end
    end
    return common
end

--- { common = labels, pods = { [name] = what it has beside } } as text, or nil and that it is too long.
local function labels_text(pods)
    local common, own = common_labels(pods), {}
    for _, pod in ipairs(pods) do
        for name, value in pairs(pod["metadata.labels"] or {}) do
            if common[name] == nil then
                own[pod.name] = own[pod.name] or {}
                own[pod.name][name] = value
            end
        end
    end
    local text = m8.json({ common = next(common) and common or nil, pods = next(own) and own or nil })
    if #text > LABELS_MAX then return nil, true end
    return text
end

--- The annotations of a slice with these pods. Labels only where somebody is asked how connections are balanced; the meaning of
--- names for the moment in which the Service has a port that its slices do not know yet.
local function annotations_of(service, targets, pods, trouble)
    local annotations = { [TARGETS] = next(targets) and m8.json(targets) or nil }
    if not (service.metadata.annotations or {})[BALANCE] then
        local text, too_long = labels_text(pods)
        trouble.labels = trouble.labels or too_long
        annotations[LABELS] = text
    end
    return annotations
end

--- Wanted slices by name: { endpoints, ports, annotations }. Names depend on the port set and the chunk, so they are stable.
--- Notes in `trouble`: ports = see ports_of, labels = true if those of some slice are too long.
local function wanted_slices(world, service, trouble)
    local groups, order = {}, {}
    for _, pod in ipairs(pods_of(world, service)) do
        local ports, targets = ports_of(service, pod, trouble.ports)
        local id = m8.hash({ ports = m8.array(ports) })
        if not groups[id] then
            groups[id] = { ports = ports, targets = targets, pods = {} }
            order[#order + 1] = id
        end
        table.insert(groups[id].pods, pod)
    end
    local slices = {}
    for _, id in ipairs(order) do
        local group = groups[id]
        for first = 1, #group.pods, PER_SLICE do
            local pods, endpoints = {}, {}
            for i = first, math.min(first + PER_SLICE - 1, #group.pods) do
                pods[#pods + 1] = group.pods[i]
                endpoints[#endpoints + 1] = endpoint_of(world, service, group.pods[i])
            end
            local name = ("%s-%s-%d"):format(service.metadata.name, id:sub(1, 5), (first - 1) / PER_SLICE)
            slices[name] =
                { endpoints = endpoints, ports = group.ports, annotations = annotations_of(service, group.targets, pods, trouble) }
        end
    end
    return slices
end

local function slice_object(service, name, wanted)
    local labels = { [SERVICE_LABEL] = service.metadata.name, [MANAGED_LABEL] = MANAGER }
    if service.spec.clusterIP == "None" then labels["service.kubernetes.io/headless"] = "" end
    return {
        apiVersion = "discovery.k8s.io/v1", kind = "EndpointSlice", addressType = "IPv4",
        metadata = {
            name = name, namespace = service.metadata.namespace, labels = labels,
            annotations = next(wanted.annotations) and wanted.annotations or nil,
            ownerReferences = { workload.controller_reference(service) },
        },
        endpoints = m8.array(wanted.endpoints), ports = m8.array(wanted.ports),
    }
end

local function existing_slices(world, namespace, name)
    local selector = { [SERVICE_LABEL] = name, [MANAGED_LABEL] = MANAGER }
    return world:list("endpointslices.discovery.k8s.io", { namespace = namespace, selector = selector })
end

--- Makes `present` what is wanted; false if it is so already.
local function bring_up_to_date(present, slice, service)
    local annotations, own = present.metadata.annotations or {}, slice.annotations
    local owner = (present.metadata.ownerReferences or {})[1]
    if owner and owner.uid == service.metadata.uid and m8.equal(present.endpoints or {}, slice.endpoints)
        and m8.equal(present.ports or {}, slice.ports) and annotations[LABELS] == own[LABELS]
        and annotations[TARGETS] == own[TARGETS] then
        return false
    end
    annotations[LABELS], annotations[TARGETS] = own[LABELS], own[TARGETS]
    present.metadata.ownerReferences = { workload.controller_reference(service) }
    present.endpoints, present.ports = m8.array(slice.endpoints), m8.array(slice.ports)
    present.metadata.annotations = next(annotations) and annotations or nil
    return true
end

--- Said whenever the slices change: a targetPort that a pod does not declare leads nowhere there.
local function tell(plan, service, trouble)
    if plan:empty() then return end
    if trouble.labels then
        plan:event(service, "Warning", "LabelsTooLong",
            ("the labels of its pods have more than %d bytes: policies of balance do not see them"):format(LABELS_MAX))
    end
    for port, pod in pairs(trouble.ports) do
        plan:event(service, "Warning", "UnknownTargetPort",
            ("targetPort \"%s\" is no port name of pod %s: it gets no traffic for it"):format(tostring(port), pod))
    end
end

return {
    name = "endpointslice",
    watches = {
        { resource = "services", key = "self" },
        { resource = "pods",
          on = { "metadata.labels", "status.podIP", "status.conditions", "status.phase", "metadata.deletionTimestamp" },
          map = function(world, item, previous)
              local keys, seen = {}, {}
              if item then services_of_pod(world, item, keys, seen) end
              if previous then services_of_pod(world, previous, keys, seen) end
              return keys
          end },
        { resource = "nodes", on = { "status.conditions" }, map = function(world, item, previous)
              local now = item and workload.condition(item["status.conditions"], "Ready")
              local before = previous and workload.condition(previous["status.conditions"], "Ready")
              local keys, seen = {}, {}
              if now and before and now.status == before.status then return keys end
              local name = (item or previous).name
              for pod in world:list("pods", { index = "spec.nodeName", value = name }) do
                  services_of_pod(world, pod, keys, seen)
              end
              return keys
          end },
        -- by label, not by owner: one that an earlier Service of this name left is taken away from its successor
        { resource = "endpointslices.discovery.k8s.io", map = function(_, item, previous)
              local slice = item or previous
              local service = (slice["metadata.labels"] or {})[SERVICE_LABEL]
              return service and { slice.namespace .. "/" .. service } or {}
          end },
    },
    project = {
        pods = {
            "metadata.labels", "metadata.deletionTimestamp", "spec.nodeName", "spec.containers", "spec.hostname",
            "spec.subdomain", "status.phase", "status.conditions", "status.podIP",
        },
        services = { "spec.selector" },
        nodes = { "status.conditions" },
        ["endpointslices.discovery.k8s.io"] = { "metadata.labels" },
    },
    index = { pods = { "spec.nodeName" } },
    reconcile = function(world, key)
        local namespace, name = workload.split_key(key)
        local service, plan = world:get("services", key), plans.new()
        local wanted, trouble = {}, { ports = {} }
        if service and not service.metadata.deletionTimestamp then
            local selector = service.spec.selector
            if not selector or not next(selector) then return nil end -- somebody else keeps the slices
            if service.spec.type ~= "ExternalName" then wanted = wanted_slices(world, service, trouble) end
        end
        local gone = {}
        for item in existing_slices(world, namespace, name) do
            local slice = wanted[item.name]
            wanted[item.name] = nil
            if not slice then
                gone[#gone + 1] = item
            else
                local present = world:get("endpointslices.discovery.k8s.io", item.key)
                if bring_up_to_date(present, slice, service) then
                    plan:update("endpointslices.discovery.k8s.io", present, "the pods behind the Service changed")
                end
            end
        end
        for slice_name, slice in pairs(wanted) do
            plan:create("endpointslices.discovery.k8s.io", slice_object(service, slice_name, slice),
                "pods stand behind the Service")
        end
        for _, item in ipairs(gone) do -- last: with other ports the same pods stand in another slice by now
            plan:delete("endpointslices.discovery.k8s.io", item.key, { uid = item.uid }, "no pod is left for it")
        end
        tell(plan, service, trouble)
        return plan
    end,
}
