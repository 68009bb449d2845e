local m8 = require("m8")
local testing = require("framework.testing")

local KEY, SLICES = "default/web", "endpointslices.discovery.k8s.io"
local SERVICE, MANAGED = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
local MAKER, MIRROR = "endpointslice-controller.minik8s.io", "endpointslicemirroring-controller.k8s.io"

local function service(selector, labels)
    return {
        apiVersion = "v1", kind = "Service",
        metadata = { name = "web", namespace = "default", uid = "u-svc", labels = labels },
        spec = { selector = selector, clusterIP = "10.96.0.9", ports = { { name = "http", port = 80, protocol = "TCP" } } },
    }
end

local function endpoint(ip, ready, more)
    local found = m8.copy(more or {})
    found.addresses, found.conditions = { ip }, { ready = ready ~= false }
    return found
end

local function slice(name, port, endpoints)
    return {
        apiVersion = "discovery.k8s.io/v1", kind = "EndpointSlice", addressType = "IPv4",
        metadata = { name = name, namespace = "default", labels = { [SERVICE] = "web", [MANAGED] = MAKER } },
        endpoints = m8.array(endpoints), ports = { { name = "", port = port, protocol = "TCP" } },
    }
end

local function by_hand(subsets, fields)
    fields = fields or {}
    return {
        apiVersion = "v1", kind = "Endpoints", metadata = { name = "web", namespace = "default", uid = "u-ep", labels = fields.labels,
            annotations = fields.annotations },
        subsets = subsets,
    }
end

local function world_of(objects)
    return testing.world({ objects = objects })
end

local function settle(world)
    testing.settle(world, "endpoints", KEY)
    return world:get("endpoints", KEY)
end

local function mirrors(world)
    local found = {}
    for item in world:list(SLICES, { selector = { [MANAGED] = MIRROR } }) do found[#found + 1] = world:get(SLICES, item.key) end
    return found
end

local SELECTOR = { app = "web" }

return {
    ["what stands in the slices, by ports"] = function()
        local reference = { kind = "Pod", namespace = "default", name = "a", uid = "u-a" }
        local world = world_of({ services = { service(SELECTOR, { team = "x" }) }, [SLICES] = {
            slice("web-1-0", 8080, { endpoint("10.0.0.1", true, { nodeName = "n1", hostname = "a-0", targetRef = reference }),
                endpoint("10.0.0.2", false) }),
            slice("web-1-1", 8080, { endpoint("10.0.0.3") }),
            slice("web-2-0", 9090, { endpoint("10.0.0.4") }),
        } })
        local found = settle(world)
        testing.equal(found.subsets, {
            { addresses = { { ip = "10.0.0.1", nodeName = "n1", hostname = "a-0", targetRef = reference }, { ip = "10.0.0.3" } },
              notReadyAddresses = { { ip = "10.0.0.2" } }, ports = { { port = 8080, protocol = "TCP" } } },
            { addresses = { { ip = "10.0.0.4" } }, ports = { { port = 9090, protocol = "TCP" } } },
        })
        testing.equal(found.metadata.labels, { team = "x", ["endpoints.kubernetes.io/managed-by"] = "endpoint-controller" })
        testing.equal(found.metadata.ownerReferences[1].uid, "u-svc")
        testing.equal(#testing.reconcile(world, "endpoints", KEY).steps, 0)
        testing.equal(testing.keys(world, "endpoints", SLICES, "default/web-2-0"), { KEY })
    end,

    ["they follow the slices, and stay when no pod is left"] = function()
        local world = world_of({ services = { service(SELECTOR) }, [SLICES] = { slice("web-1-0", 8080, { endpoint("10.0.0.1") }) } })
        settle(world)
        world:put(SLICES, slice("web-1-0", 8080, { endpoint("10.0.0.2") }))
        testing.equal(settle(world).subsets[1].addresses, { { ip = "10.0.0.2" } })
        local ending = endpoint("10.0.0.2", false)
        ending.conditions.terminating = true
        world:put(SLICES, slice("web-1-0", 8080, { ending, endpoint("10.0.0.3", false) }))
        testing.equal(settle(world).subsets[1],
            { notReadyAddresses = { { ip = "10.0.0.3" } }, ports = { { port = 8080, protocol = "TCP" } } })
        world:put(SLICES, slice("web-1-0", 8080, { ending }))
        testing.equal(settle(world).subsets, m8.array({}))
        world:drop(SLICES, "default/web-1-0")
        testing.equal(settle(world).subsets, m8.array({}))
    end,

    ["they go with the Service, those made by hand stay"] = function()
        local world = world_of({ services = { service(SELECTOR) } })
        assert(settle(world))
        world:drop("services", KEY)
        assert(not settle(world))
        world:put("endpoints", by_hand({ { addresses = { { ip = "192.0.2.1" } } } }))
        assert(settle(world))
        testing.equal(#mirrors(world), 0)
    end,

    ["at most a thousand addresses"] = function()
        local slices = {}
        for i = 1, 11 do
            local endpoints = {}
            for j = 1, 100 do endpoints[j] = endpoint(("10.1.%d.%d"):format(i, j)) end
            slices[i] = slice("web-1-" .. i, 8080, endpoints)
        end
        local found = settle(world_of({ services = { service(SELECTOR) }, [SLICES] = slices }))
        testing.equal(#found.subsets[1].addresses, 1000)
        testing.equal(found.metadata.annotations["endpoints.kubernetes.io/over-capacity"], "truncated")
    end,

    ["made by hand: they become slices"] = function()
        local world = world_of({ services = { service(nil) }, endpoints = { by_hand({
            { addresses = { { ip = "192.0.2.1" }, { ip = "2001:db8::1" } }, notReadyAddresses = { { ip = "192.0.2.2" } },
              ports = { { name = "http", port = 8080, protocol = "TCP", appProtocol = "http" } } } },
            { labels = { team = "x" }, annotations = { note = "y", ["kubectl.kubernetes.io/last-applied-configuration"] = "z" } }) } })
        settle(world)
        local found = mirrors(world)
        testing.equal(#found, 2)
        testing.equal(found[1].addressType, "IPv4")
        testing.equal(found[1].endpoints, { { addresses = { "192.0.2.1" }, conditions = { ready = true } },
            { addresses = { "192.0.2.2" }, conditions = { ready = false } } })
        testing.equal(found[1].ports, { { name = "http", port = 8080, protocol = "TCP", appProtocol = "http" } })
        testing.equal(found[1].metadata.labels, { team = "x", [SERVICE] = "web", [MANAGED] = MIRROR })
        testing.equal(found[1].metadata.annotations, { note = "y" })
        testing.equal(found[1].metadata.ownerReferences[1].kind, "Endpoints")
        testing.equal(found[2].endpoints[1].addresses, { "2001:db8::1" })
        testing.equal(#testing.reconcile(world, "endpoints", KEY).steps, 0)
        world:put("endpoints", by_hand({ { addresses = { { ip = "192.0.2.9" } }, ports = { { port = 1 } } } }))
        settle(world)
        testing.equal(#mirrors(world), 1)
        testing.equal(mirrors(world)[1].endpoints[1].addresses, { "192.0.2.9" })
        world:drop("endpoints", KEY)
        settle(world)
        testing.equal(#mirrors(world), 0)
    end,

    ["not mirrored: with the label, held as a lock, without a Service"] = function()
        local subsets = { { addresses = { { ip = "192.0.2.1" } } } }
        local cases = {
            by_hand(subsets, { labels = { ["endpointslice.kubernetes.io/skip-mirror"] = "true" } }),
            by_hand(subsets, { annotations = { ["control-plane.alpha.kubernetes.io/leader"] = "{}" } }),
        }
        for _, endpoints in ipairs(cases) do
            local world = world_of({ services = { service(nil) }, endpoints = { endpoints } })
            settle(world)
            testing.equal(#mirrors(world), 0)
        end
        local alone = world_of({ endpoints = { by_hand(subsets) } })
        testing.equal(#testing.reconcile(alone, "endpoints", KEY).steps, 0)
    end,

    ["with a selector from now on, the mirrors go and the pods count"] = function()
        local world = world_of({ services = { service(nil) }, endpoints = { by_hand({ { addresses = { { ip = "192.0.2.1" } } } }) } })
        settle(world)
        testing.equal(#mirrors(world), 1)
        world:put("services", service(SELECTOR))
        testing.equal(settle(world).subsets, m8.array({}))
        testing.equal(#mirrors(world), 0)
    end,
}
