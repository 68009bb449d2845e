local m8 = require("m8")
local testing = require("framework.testing")

local KEY, SLICES = "default/web", "endpointslices.discovery.k8s.io"

local function service(fields)
    fields = fields or {}
    return {
        apiVersion = "v1", kind = "Service", metadata = { name = "web", namespace = "default", uid = "u-svc" },
        spec = { selector = fields.selector or { app = "web" }, clusterIP = fields.ip or "10.96.0.9",
            publishNotReadyAddresses = fields.publish,
            ports = fields.ports or { { port = 80, targetPort = 8080, protocol = "TCP" } } },
    }
end

local function pod(name, fields)
    fields = fields or {}
    return {
        apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", labels = fields.labels or { app = "web" },
            deletionTimestamp = fields.deleting },
        spec = { nodeName = fields.node or "n1", hostname = fields.hostname, subdomain = fields.subdomain,
            containers = { { name = "c", image = "i", ports = fields.ports } } },
        status = { phase = fields.phase or "Running", podIP = fields.ip or "10.244.0.5",
            conditions = { { type = "Ready", status = fields.ready == false and "False" or "True",
                lastTransitionTime = "2026-01-01T00:00:00Z" } } },
    }
end

local function node(name, ready)
    return { apiVersion = "v1", kind = "Node", metadata = { name = name },
        status = { conditions = { { type = "Ready", status = ready or "True" } } } }
end

local function world_of(svc, pods, nodes)
    return testing.world({ objects = { services = { svc }, pods = pods, nodes = nodes or { node("n1"), node("n2") } } })
end

local function settle(world)
    testing.settle(world, "endpointslice", KEY)
    local slices = {}
    for item in world:list(SLICES) do slices[#slices + 1] = world:get(SLICES, item.key) end
    return slices
end

--- "ip" of each endpoint; "ip!" when it is not ready.
local function addresses(slices)
    local found = {}
    for _, slice in ipairs(slices) do
        for _, endpoint in ipairs(slice.endpoints) do
            found[#found + 1] = endpoint.addresses[1] .. (endpoint.conditions.ready and "" or "!")
        end
    end
    table.sort(found)
    return m8.array(found)
end

local BALANCE, LABELS = "minik8s.io/balance", "minik8s.io/endpoint-labels"

return {
    ["the labels of the pods stand on the slices, what all have once"] = function()
        local world = world_of(service(), { pod("a", { ip = "10.0.0.1" }), pod("b", { ip = "10.0.0.2",
            labels = { app = "web", weight = "3" } }) })
        local labels = m8.parse(settle(world)[1].metadata.annotations[LABELS])
        testing.equal(labels, { common = { app = "web" }, pods = { b = { weight = "3" } } })
        local heavy = pod("a", { ip = "10.0.0.1", labels = { app = "web", weight = "5" } })
        world:put("pods", heavy)
        labels = m8.parse(settle(world)[1].metadata.annotations[LABELS])
        testing.equal(labels.pods.a, { weight = "5" })
    end,

    ["what a targetPort by name means stands on the slices"] = function()
        local ports = { { name = "web", containerPort = 8081 } }
        local svc = service({ ports = { { port = 80, targetPort = "web", protocol = "TCP" } } })
        local world = world_of(svc, { pod("a", { ports = ports }) })
        testing.equal(m8.parse(settle(world)[1].metadata.annotations["minik8s.io/target-ports"]), { web = 8081 })
        svc.spec.ports[1].targetPort = 8081
        world:put("services", svc)
        testing.equal(settle(world)[1].metadata.annotations["minik8s.io/target-ports"], nil)
    end,

    ["labels that are too long are left out, and told"] = function()
        local pods = {}
        for i = 1, 20 do
            pods[i] = pod("p" .. i, { ip = "10.0.0." .. i, labels = { app = "web" } })
            for j = 1, 60 do pods[i].metadata.labels["l" .. j] = ("x"):rep(60) .. i end
        end
        local world = world_of(service(), pods)
        local plan = testing.reconcile(world, "endpointslice", KEY)
        testing.equal(plan.events[1].reason, "LabelsTooLong")
        testing.apply(world, plan)
        testing.equal(settle(world)[1].metadata.annotations, nil)
    end,

    ["a Service that says itself how it is balanced needs no labels"] = function()
        local svc = service()
        local world = world_of(svc, { pod("a") })
        assert(settle(world)[1].metadata.annotations[LABELS])
        svc.metadata.annotations = { [BALANCE] = "source-hash" }
        world:put("services", svc)
        testing.equal((settle(world)[1].metadata.annotations or {})[LABELS], nil)
    end,

    ["a targetPort that no container declares is told"] = function()
        local world = world_of(service({ ports = { { port = 80, targetPort = "http", protocol = "TCP" } } }),
            { pod("a", { ip = "10.0.0.1" }) })
        local plan = testing.reconcile(world, "endpointslice", KEY)
        testing.equal(plan.events[1].reason, "UnknownTargetPort")
        testing.contains(plan.events[1].message, 'targetPort "http" is no port name of pod a')
        testing.apply(world, plan)
        testing.equal(#testing.reconcile(world, "endpointslice", KEY).events, 0) -- once, not with every look
    end,

    ["the pods behind a Service"] = function()
        local world = world_of(service(), { pod("a", { ip = "10.0.0.1" }), pod("b", { ip = "10.0.0.2", node = "n2" }),
            pod("c", { ip = "10.0.0.3", labels = { app = "other" } }) })
        local slices = settle(world)
        testing.equal(#slices, 1)
        testing.equal(addresses(slices), { "10.0.0.1", "10.0.0.2" })
        testing.equal(slices[1].ports, { { name = "", port = 8080, protocol = "TCP" } })
        testing.equal(slices[1].metadata.labels["kubernetes.io/service-name"], "web")
        testing.equal(slices[1].endpoints[2].nodeName, "n2")
    end,

    ["pods that are not ready, finished, without an address"] = function()
        local lost = pod("c")
        lost.status.podIP = nil
        local world = world_of(service(), { pod("a", { ip = "10.0.0.1", ready = false }),
            pod("b", { ip = "10.0.0.2", phase = "Succeeded" }), lost })
        testing.equal(addresses(settle(world)), { "10.0.0.1!" })
    end,

    ["publishNotReadyAddresses: every address counts"] = function()
        local world = world_of(service({ publish = true }), { pod("a", { ip = "10.0.0.1", ready = false }) })
        local slices = settle(world)
        testing.equal(addresses(slices), { "10.0.0.1" })
        testing.equal(slices[1].endpoints[1].conditions.serving, false)
    end,

    ["a pod that is being deleted leaves at once"] = function()
        local world = world_of(service(), { pod("a", { ip = "10.0.0.1" }), pod("b", { ip = "10.0.0.2" }) })
        settle(world)
        world:put("pods", pod("b", { ip = "10.0.0.2", deleting = "2026-01-01T00:00:00Z" }))
        local plan = testing.reconcile(world, "endpointslice", KEY)
        testing.equal(#plan.steps, 1)
        testing.apply(world, plan)
        testing.equal(addresses(settle(world)), { "10.0.0.1" })
    end,

    ["with other ports the new slice is there before the old one goes"] = function()
        local world = world_of(service(), { pod("a") })
        settle(world)
        world:put("services", service({ ports = { { name = "front", port = 80, targetPort = 8080, protocol = "TCP" } } }))
        local verbs = {}
        for _, step in ipairs(testing.reconcile(world, "endpointslice", KEY).steps) do verbs[#verbs + 1] = step.verb end
        testing.equal(m8.array(verbs), { "create", "delete" })
    end,

    ["the last pod takes its slice with it"] = function()
        local world = world_of(service(), { pod("a") })
        settle(world)
        world:drop("pods", "default/a")
        testing.equal(#settle(world), 0)
    end,

    ["pods on a node that is not ready are not ready"] = function()
        local world = world_of(service(), { pod("a", { ip = "10.0.0.1" }), pod("b", { ip = "10.0.0.2", node = "n2" }) })
        settle(world)
        world:put("nodes", node("n2", "Unknown"))
        testing.equal(testing.keys(world, "endpointslice", "nodes", "n2"), { KEY })
        testing.equal(addresses(settle(world)), { "10.0.0.1", "10.0.0.2!" })
        world:drop("nodes", "n2")
        testing.equal(addresses(settle(world)), { "10.0.0.1", "10.0.0.2!" })
    end,

    ["a named port is resolved per pod: one slice per set of numbers"] = function()
        local ports = { { name = "http", port = 80, targetPort = "web", protocol = "TCP" } }
        local function with(number) return { { name = "web", containerPort = number } } end
        local world = world_of(service({ ports = ports }), {
            pod("a", { ip = "10.0.0.1", ports = with(8080) }), pod("b", { ip = "10.0.0.2", ports = with(9090) }),
            pod("c", { ip = "10.0.0.3", ports = with(8080) }),
        })
        local slices = settle(world)
        testing.equal(#slices, 2)
        for _, slice in ipairs(slices) do
            testing.equal(#slice.endpoints, slice.ports[1].port == 8080 and 2 or 1)
            testing.equal(slice.ports[1].name, "http")
        end
    end,

    ["an udp port of the same name is another port"] = function()
        local ports = { { name = "dns", port = 53, targetPort = "dns", protocol = "UDP" } }
        local world = world_of(service({ ports = ports }), { pod("a", { ports = {
            { name = "dns", containerPort = 1053, protocol = "TCP" }, { name = "dns", containerPort = 2053, protocol = "UDP" } } }) })
        testing.equal(settle(world)[1].ports[1].port, 2053)
    end,

    ["headless: labelled, with host names"] = function()
        local world = world_of(service({ ip = "None" }), { pod("a", { hostname = "a-0", subdomain = "web" }),
            pod("b", { hostname = "b-0", subdomain = "other" }) })
        local slice = settle(world)[1]
        testing.equal(slice.metadata.labels["service.kubernetes.io/headless"], "")
        testing.equal(slice.endpoints[1].hostname, "a-0")
        assert(slice.endpoints[2].hostname == nil)
    end,

    ["no selector: somebody else keeps the slices"] = function()
        local svc = service()
        svc.spec.selector = nil
        local world = world_of(svc, { pod("a") })
        world:put(SLICES, { apiVersion = "discovery.k8s.io/v1", kind = "EndpointSlice", addressType = "IPv4",
            metadata = { name = "web-mine", namespace = "default", labels = { ["kubernetes.io/service-name"] = "web" } },
            endpoints = { { addresses = { "192.0.2.1" } } }, ports = m8.array({}) })
        testing.equal(#settle(world), 1)
    end,

    ["slices of others are left alone, own ones go with the Service"] = function()
        local world = world_of(service(), { pod("a") })
        settle(world)
        world:put(SLICES, { apiVersion = "discovery.k8s.io/v1", kind = "EndpointSlice", addressType = "IPv4",
            metadata = { name = "web-mine", namespace = "default", labels = { ["kubernetes.io/service-name"] = "web" } },
            endpoints = { { addresses = { "192.0.2.1" } } }, ports = m8.array({}) })
        world:drop("services", KEY)
        local slices = settle(world)
        testing.equal(#slices, 1)
        testing.equal(slices[1].metadata.name, "web-mine")
    end,

    ["a hundred pods per slice"] = function()
        local pods = {}
        for i = 1, 230 do pods[i] = pod("p" .. i, { ip = ("10.0.%d.%d"):format(i / 200, i % 200) }) end
        local slices = settle(world_of(service(), pods))
        testing.equal(#slices, 3)
        testing.equal(#addresses(slices), 230)
    end,

    ["a pod wakes the Services that select it"] = function()
        local other = service({ selector = { app = "x" } })
        other.metadata.name = "other"
        local world = world_of(service(), { pod("a") })
        world:put("services", other)
        testing.equal(testing.keys(world, "endpointslice", "pods", "default/a"), { KEY })
    end,
}
