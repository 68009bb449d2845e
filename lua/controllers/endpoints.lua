-- Endpoints: the older form of the EndpointSlices, for clients that ask for it (`kubectl get endpoints`, discovery of Prometheus).
-- They are made of the Service's slices, after those, and no node reads them. Endpoints that are made by hand for a Service
-- without a selector are carried into slices, as Kubernetes' mirroring controller does it.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")

local SLICES = "endpointslices.discovery.k8s.io"
local SERVICE_LABEL, SLICE_MANAGED = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
local SLICE_MAKER, MIRROR = "endpointslice-controller.minik8s.io", "endpointslicemirroring-controller.k8s.io"
local MANAGED, MANAGER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
local SKIP, LEADER = "endpointslice.kubernetes.io/skip-mirror", "control-plane.alpha.kubernetes.io/leader"
local HEADLESS, OVER = "service.kubernetes.io/headless", "endpoints.kubernetes.io/over-capacity"
local NOT_MIRRORED = {
    ["kubectl.kubernetes.io/last-applied-configuration"] = true, ["endpoints.kubernetes.io/last-change-trigger-time"] = true,
}
local ADDRESSES_MAX = 1000 -- of one Endpoints, and of one slice

local function nonempty(list)
    return #list > 0 and m8.array(list) or nil
end

local function slices_of(world, namespace, name, maker)
    return world:list(SLICES, { namespace = namespace, selector = { [SERVICE_LABEL] = name, [SLICE_MANAGED] = maker } })
end

-- ---- from slices ----

local function address_of(endpoint)
    return { ip = endpoint.addresses[1], hostname = endpoint.hostname, nodeName = endpoint.nodeName, targetRef = endpoint.targetRef }
end

local function ports_of(slice)
    local ports = {}
    for i, port in ipairs(slice.ports or {}) do
        ports[i] = { name = port.name ~= "" and port.name or nil, port = port.port, protocol = port.protocol,
            appProtocol = port.appProtocol }
    end
    return ports
end

--- One subset for each set of ports, and whether addresses had to be left out.
local function subsets_of(world, namespace, name)
    local subsets, by_ports, left, over = {}, {}, ADDRESSES_MAX, false
    for item in slices_of(world, namespace, name, SLICE_MAKER) do
        local slice = world:get(SLICES, item.key)
        local ports = ports_of(slice)
        local id = m8.json(m8.array(ports))
        local subset = by_ports[id]
        if not subset then
            subset = { ready = {}, other = {}, ports = ports }
            by_ports[id], subsets[#subsets + 1] = subset, subset
        end
        for _, endpoint in ipairs(slice.endpoints or {}) do
            local conditions = endpoint.conditions
            if conditions.ready or not conditions.terminating then -- who is ending is in no Endpoints
                local into = conditions.ready and subset.ready or subset.other
                if left > 0 then into[#into + 1] = address_of(endpoint) else over = true end
                left = left - 1
            end
        end
    end
    local found = {}
    for _, subset in ipairs(subsets) do
        if #subset.ready + #subset.other > 0 then
            found[#found + 1] = { addresses = nonempty(subset.ready), notReadyAddresses = nonempty(subset.other),
                ports = nonempty(subset.ports) }
        end
    end
    return m8.array(found), over
end

local function labels_of(service)
    local labels = m8.copy(service.metadata.labels or {})
    labels[MANAGED] = MANAGER
    if service.spec.clusterIP == "None" then labels[HEADLESS] = "" end
    return labels
end

local function write_endpoints(world, plan, service, present)
    local metadata = service.metadata
    local subsets, over = subsets_of(world, metadata.namespace, metadata.name)
    local labels, owners = labels_of(service), m8.array({ workload.controller_reference(service) })
    local annotations = present and present.metadata.annotations or {}
    local truncated = over and "truncated" or nil
    if present and m8.equal(m8.array(present.subsets or {}), subsets) and m8.equal(present.metadata.labels or {}, labels)
        and m8.equal(present.metadata.ownerReferences or {}, owners) and annotations[OVER] == truncated then
        return
    end
    annotations[OVER] = truncated
    local endpoints = present or {
        apiVersion = "v1", kind = "Endpoints", metadata = { name = metadata.name, namespace = metadata.namespace },
    }
    endpoints.metadata.labels, endpoints.metadata.ownerReferences = labels, owners
    endpoints.metadata.annotations = next(annotations) and annotations or nil
    endpoints.subsets = subsets
    if present then
        plan:update("endpoints", endpoints, "the slices of the Service changed")
    else
        plan:create("endpoints", endpoints, "the Service has a selector")
    end
end

-- ---- by hand ----

local function mirrored(endpoints)
    local metadata = endpoints.metadata
    local labels, annotations = metadata.labels or {}, metadata.annotations or {}
    return not metadata.deletionTimestamp and labels[MANAGED] ~= MANAGER and labels[SKIP] ~= "true" and not annotations[LEADER]
end

local function mirror_of(endpoints, index, subset, family)
    local found = {}
    for _, list in ipairs({ "addresses", "notReadyAddresses" }) do
        for _, address in ipairs(subset[list] or {}) do
            local is_family = (address.ip:find(":", 1, true) and "IPv6" or "IPv4") == family
            if is_family and #found < ADDRESSES_MAX then
                found[#found + 1] = {
                    addresses = { address.ip }, conditions = { ready = list == "addresses" }, hostname = address.hostname,
                    nodeName = address.nodeName, targetRef = address.targetRef,
                }
            end
        end
    end
    if #found == 0 then return nil end
    local labels, annotations = m8.copy(endpoints.metadata.labels or {}), {}
    labels[SERVICE_LABEL], labels[SLICE_MANAGED] = endpoints.metadata.name, MIRROR
    for name, value in pairs(endpoints.metadata.annotations or {}) do
        if not NOT_MIRRORED[name] then annotations[name] = value end
    end
    local ports = {}
    for i, port in ipairs(subset.ports or {}) do
        ports[i] = { name = port.name or "", port = port.port, protocol = port.protocol or "TCP", appProtocol = port.appProtocol }
    end
    return {
        apiVersion = "discovery.k8s.io/v1", kind = "EndpointSlice", addressType = family,
        metadata = {
            name = ("%s-mirror-%s-%d"):format(endpoints.metadata.name, family:lower(), index),
            namespace = endpoints.metadata.namespace, labels = labels, annotations = next(annotations) and annotations or nil,
            ownerReferences = { workload.controller_reference(endpoints) },
        },
        endpoints = m8.array(found), ports = m8.array(ports),
    }
end

--- Slices by name.
local function mirrors_of(endpoints)
    local wanted = {}
    for index, subset in ipairs(endpoints and mirrored(endpoints) and endpoints.subsets or {}) do
        for _, family in ipairs({ "IPv4", "IPv6" }) do
            local slice = mirror_of(endpoints, index, subset, family)
            if slice then wanted[slice.metadata.name] = slice end
        end
    end
    return wanted
end

local function write_mirrors(world, plan, namespace, name, wanted)
    for item in slices_of(world, namespace, name, MIRROR) do
        local slice = wanted[item.name]
        wanted[item.name] = nil
        if not slice then
            plan:delete(SLICES, item.key, { uid = item.uid }, "its Endpoints do not have it any more")
        else
            local present = world:get(SLICES, item.key)
            local same = m8.equal(m8.array(present.endpoints or {}), slice.endpoints)
                and m8.equal(m8.array(present.ports or {}), slice.ports)
            for _, field in ipairs({ "labels", "annotations", "ownerReferences" }) do
                same = same and m8.equal(present.metadata[field] or {}, slice.metadata[field] or {})
                present.metadata[field] = slice.metadata[field]
            end
            present.endpoints, present.ports = slice.endpoints, slice.ports
            if not same then plan:update(SLICES, present, "its Endpoints changed") end
        end
    end
    for _, slice in pairs(wanted) do plan:create(SLICES, slice, "Endpoints made by hand") end
end

return {
    name = "endpoints",
    watches = {
        { resource = "services", key = "self" },
        { resource = "endpoints", key = "self" },
        { resource = SLICES, map = function(_, item, previous)
              local slice = item or previous
              local labels = slice["metadata.labels"] or {}
              local maker = labels[SLICE_MANAGED]
              local ours = labels[SERVICE_LABEL] and (maker == SLICE_MAKER or maker == MIRROR)
              return ours and { slice.namespace .. "/" .. labels[SERVICE_LABEL] } or {}
          end },
    },
    project = { [SLICES] = { "metadata.labels" } },
    reconcile = function(world, key)
        local namespace, name = workload.split_key(key)
        local service, endpoints, plan = world:get("services", key), world:get("endpoints", key), plans.new()
        local selector = service and service.spec.selector
        local gone = not service or service.metadata.deletionTimestamp ~= nil
        local selects = selector and next(selector) and service.spec.type ~= "ExternalName" and not gone
        if selects then
            write_endpoints(world, plan, service, endpoints)
        elseif endpoints and (gone or selector) and (endpoints.metadata.labels or {})[MANAGED] == MANAGER then
            plan:delete("endpoints", key, { uid = endpoints.metadata.uid }, "nothing stands behind the Service")
        end
        write_mirrors(world, plan, namespace, name, not selects and not gone and mirrors_of(endpoints) or {})
        return plan
    end,
}
