-- The address of the ingress: a Service without a selector in kube-system, whose endpoints are the nodes' own proxies; a client
-- reaches that of its own node (internalTrafficPolicy Local). It is there as long as there is an Ingress to serve.
local m8 = require("m8")
local plans = require("framework.plan")
local routes = require("dns-ingress.routes")

local NAMESPACE, NAME = "kube-system", "ingress"
local SLICES, SLICE = "endpointslices.discovery.k8s.io", "ingress-nodes"
local PORTS = { { name = "http", port = 80 }, { name = "https", port = 443 } }

local function wanted(world)
    for item in world:list(routes.INGRESSES) do
        if not item.deleting and routes.served(world, item) then return true end
    end
    return false
end

local function service()
    local ports = {}
    for i, port in ipairs(PORTS) do ports[i] = { name = port.name, port = port.port, protocol = "TCP", targetPort = port.port } end
    return {
        apiVersion = "v1", kind = "Service",
        metadata = { namespace = NAMESPACE, name = NAME, labels = { ["app.kubernetes.io/managed-by"] = "minik8s" } },
        spec = { type = "ClusterIP", internalTrafficPolicy = "Local", ports = m8.array(ports) },
    }
end

local function endpoints(world)
    local list = {}
    for node in world:list("nodes") do
        for _, entry in ipairs(node["status.addresses"] or {}) do
            if entry.type == "InternalIP" then
                list[#list + 1] = { addresses = m8.array({ entry.address }), nodeName = node.name,
                    conditions = { ready = true, serving = true, terminating = false } }
            end
        end
    end
    return list
end

local function slice(world)
    local ports = {}
    for i, port in ipairs(PORTS) do ports[i] = { name = port.name, port = port.port, protocol = "TCP" } end
    return {
        apiVersion = "discovery.k8s.io/v1", kind = "EndpointSlice", addressType = "IPv4",
        metadata = { namespace = NAMESPACE, name = SLICE, labels = {
            ["kubernetes.io/service-name"] = NAME, ["endpointslice.kubernetes.io/managed-by"] = "ingress.minik8s.io" } },
        endpoints = m8.array(endpoints(world)), ports = m8.array(ports),
    }
end

local function one(_, item) return item and item.key == routes.ADDRESS and { "ingress" } or {} end
local function always() return { "ingress" } end

return {
    name = "ingressaddress",
    watches = {
        { resource = routes.INGRESSES, on = { "spec.ingressClassName" }, map = always },
        { resource = routes.CLASSES, map = always },
        { resource = "nodes", on = { "status.addresses" }, map = always },
        { resource = "services", map = function(_, item, previous) return one(nil, item or previous) end },
    },
    project = {
        [routes.INGRESSES] = routes.columns, [routes.CLASSES] = { "spec.controller", "metadata.annotations" },
        nodes = { "status.addresses" },
    },
    reconcile = function(world)
        local plan, key = plans.new(), NAMESPACE .. "/" .. SLICE
        local present, nodes = world:item("services", routes.ADDRESS), world:get(SLICES, key)
        if not wanted(world) then
            if nodes then plan:delete(SLICES, key, { uid = nodes.metadata.uid }, "there is no Ingress any more") end
            if present then plan:delete("services", routes.ADDRESS, { uid = present.uid }, "there is no Ingress any more") end
            return plan
        end
        if not present then plan:create("services", service(), "there is an Ingress to be reached") end
        local target = slice(world)
        if not nodes then
            plan:create(SLICES, target, "the nodes' proxies serve the ingress")
        elseif not m8.equal(nodes.endpoints or {}, target.endpoints) then
            nodes.endpoints = target.endpoints
            plan:update(SLICES, nodes, "nodes have changed")
        end
        return plan
    end,
}
