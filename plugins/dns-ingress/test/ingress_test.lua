local m8 = require("m8")
local testing = require("framework.testing")

local INGRESSES, ROUTES = "ingresses.networking.k8s.io", "ingressroutes.minik8s.io"

local function service(name, address, ports)
    return { apiVersion = "v1", kind = "Service", metadata = { namespace = "default", name = name, uid = "u-" .. name },
        spec = { clusterIP = address, ports = ports or { { name = "http", port = 80, protocol = "TCP" } } } }
end

local function path(text, type, name, port)
    return { path = text, pathType = type, backend = { service = { name = name, port = port or { number = 80 } } } }
end

local function ingress(name, fields)
    return {
        apiVersion = "networking.k8s.io/v1", kind = "Ingress",
        metadata = { namespace = "default", name = name, uid = "i-" .. name, annotations = fields.annotations,
            creationTimestamp = fields.created or "2026-01-01T00:00:00Z" },
        spec = { ingressClassName = fields.ingressClassName, defaultBackend = fields.defaultBackend, tls = fields.tls,
            rules = fields.paths and { { host = fields.host or "shop.example.com", http = { paths = fields.paths } } } or nil },
    }
end

local address = { apiVersion = "v1", kind = "Service", metadata = { namespace = "kube-system", name = "ingress", uid = "u-a" },
    spec = { clusterIP = "10.96.9.9", ports = {} } }
local node = { apiVersion = "v1", kind = "Node", metadata = { name = "n1" },
    status = { addresses = { { type = "InternalIP", address = "10.0.0.1" } } } }

local function world_of(ingresses, more)
    local objects = { [INGRESSES] = ingresses, nodes = { node },
        services = { service("api", "10.96.1.1"), service("web", "10.96.1.2"), address } }
    for resource, list in pairs(more or {}) do
        objects[resource] = objects[resource] or {}
        for _, object in ipairs(list) do table.insert(objects[resource], object) end
    end
    return testing.world({ objects = objects })
end

--- "host path type → service address" of each route of the Ingress, after its reconcile; and the first plan.
local function routes_of(world, name)
    local plan = testing.reconcile(world, "ingress", "default/" .. name)
    testing.apply(world, plan)
    testing.settle(world, "ingress", "default/" .. name)
    local found, route = {}, world:get(ROUTES, "default/" .. name)
    for i, one in ipairs(route and route.spec.routes or {}) do
        found[i] = ("%s %s %s → %s %s"):format(one.host, one.path, one.type, one.service, one.address or "nowhere")
    end
    return found, plan, route
end

local function said(plan, reason)
    for _, event in ipairs(plan.events) do if event.reason == reason then return event.message end end
    return ""
end

return {
    ["paths become routes to virtual addresses, its status says where"] = function()
        local world = world_of({ ingress("shop", { paths = { path("/api/", "Prefix", "api", { name = "http" }),
            path("/x", "Exact", "web"), path("/v[0-9]+", "ImplementationSpecific", "web") } }) })
        local found, _, route = routes_of(world, "shop")
        testing.equal(found, { "shop.example.com /api Prefix → default/api:http 10.96.1.1",
            "shop.example.com /x Exact → default/web:80 10.96.1.2", "shop.example.com /v[0-9]+ Regex → default/web:80 10.96.1.2" })
        testing.equal(route.spec.hosts, { "shop.example.com" })
        testing.equal(route.spec.address, "10.96.9.9")
        testing.equal(route.metadata.ownerReferences[1].kind, "Ingress")
        testing.equal(world:get(INGRESSES, "default/shop").status.loadBalancer.ingress, { { ip = "10.96.9.9" }, { ip = "10.0.0.1" } })
    end,

    ["of two that claim the same the older one has it, and the other is told"] = function()
        local old = ingress("z-old", { paths = { path("/api", "Prefix", "api") } })
        local new = ingress("a-new", { created = "2026-02-01T00:00:00Z",
            paths = { path("/api/", "Prefix", "web"), path("/api", "Exact", "web"), path("/", "Prefix", "web") } })
        local world = world_of({ old, new })
        local found, plan = routes_of(world, "a-new")
        testing.equal(found, { "shop.example.com /api Exact → default/web:80 10.96.1.2",
            "shop.example.com / Prefix → default/web:80 10.96.1.2" })
        testing.contains(said(plan, "RouteConflict"), "shop.example.com/api is served by the older Ingress default/z-old")
        testing.equal(#(routes_of(world, "z-old")), 1)
        world:drop(INGRESSES, "default/z-old") -- what it had goes to the other
        testing.equal(#(routes_of(world, "a-new")), 3)
    end,

    ["a claim that stands twice in one Ingress counts once"] = function()
        local world = world_of({ ingress("shop", { paths = { path("/a", "Prefix", "api"), path("/a", "Prefix", "web") } }) })
        local found, plan = routes_of(world, "shop")
        testing.equal(found, { "shop.example.com /a Prefix → default/api:80 10.96.1.1" })
        testing.contains(said(plan, "RouteConflict"), "default/shop")
    end,

    ["a backend that does not exist is a route to nowhere, and is said"] = function()
        local world = world_of({ ingress("shop", {
            paths = { path("/", "Prefix", "none"), path("/p", "Prefix", "api", { name = "x" }) } }) })
        local found, plan = routes_of(world, "shop")
        testing.equal(found[1], "shop.example.com / Prefix → default/none:80 nowhere")
        testing.equal(found[2], "shop.example.com /p Prefix → default/api:x nowhere")
        testing.contains(said(plan, "BackendNotFound"), "Service \"none\" does not exist")
        world:put("services", service("none", "10.96.1.7"))
        testing.equal(routes_of(world, "shop")[1], "shop.example.com / Prefix → default/none:80 10.96.1.7")
    end,

    ["a Service without a virtual address is a name with the pods' port"] = function()
        local headless = service("db", "None", { { name = "http", port = 80, targetPort = "web", protocol = "TCP" },
            { name = "plain", port = 81, targetPort = 8081 } })
        local far = service("far", nil, nil)
        far.spec = { type = "ExternalName", externalName = "db.example.org" }
        local world = world_of({ ingress("shop", { paths = { path("/", "Prefix", "db"), path("/p", "Prefix", "db", { number = 81 }),
            path("/far", "Prefix", "far", { number = 8000 }) } }) }, { services = { headless, far } })
        local found, _, route = routes_of(world, "shop")
        testing.equal(found[1], "shop.example.com / Prefix → default/db:80 nowhere") -- no slice says where "web" is
        testing.equal(found[2], "shop.example.com /p Prefix → default/db:81 db.default.svc.cluster.local")
        testing.equal(route.spec.routes[2].port, 8081)
        testing.equal(found[3], "shop.example.com /far Prefix → default/far:8000 db.example.org")
        world:put("endpointslices.discovery.k8s.io", { apiVersion = "discovery.k8s.io/v1", kind = "EndpointSlice",
            metadata = { namespace = "default", name = "db-1", uid = "e", labels = { ["kubernetes.io/service-name"] = "db" } },
            ports = { { name = "http", port = 8080 } } })
        found, _, route = routes_of(world, "shop")
        testing.equal(found[1], "shop.example.com / Prefix → default/db:80 db.default.svc.cluster.local")
        testing.equal(route.spec.routes[1].port, 8080)
    end,

    ["names of Services cannot be taken"] = function()
        for _, host in ipairs({ "api.default.svc.cluster.local", "*.svc.cluster.local", "cluster.local" }) do
            local world = world_of({ ingress("thief", { host = host, paths = { path("/", "Prefix", "web") } }) })
            local found, plan, route = routes_of(world, "thief")
            testing.equal(found, {})
            testing.equal(#route.spec.hosts, 0)
            testing.contains(said(plan, "HostReserved"), host)
        end
        local world = world_of({ ingress("fine", { host = "notcluster.local", paths = { path("/", "Prefix", "web") } }) })
        testing.equal(#(routes_of(world, "fine")), 1)
    end,

    ["a default backend is for every host, a rewrite for prefixes and exact paths"] = function()
        local world = world_of({ ingress("all", { defaultBackend = { service = { name = "web", port = { name = "http" } } },
            annotations = { ["minik8s.io/rewrite-target"] = "/v2", ["minik8s.io/ssl-redirect"] = "true" },
            paths = { path("/a", "Prefix", "api"), path("/b", "ImplementationSpecific", "api") } }) })
        local found, _, route = routes_of(world, "all")
        testing.equal(found[3], " / Default → default/web:http 10.96.1.2")
        testing.equal(route.spec.routes[1].target, "/v2")
        testing.equal(route.spec.routes[2].target, nil)
        testing.equal(route.spec.routes[1].redirect, true)
    end,

    ["only Ingresses of our class are served"] = function()
        local class = { apiVersion = "networking.k8s.io/v1", kind = "IngressClass", metadata = { name = "nginx", uid = "c" },
            spec = { controller = "k8s.io/ingress-nginx" } }
        local world = world_of({ ingress("theirs", { ingressClassName = "nginx", paths = { path("/", "Prefix", "web") } }),
            ingress("ours", { ingressClassName = "minik8s", paths = { path("/", "Prefix", "web") } }) },
            { ["ingressclasses.networking.k8s.io"] = { class } })
        testing.equal(#(routes_of(world, "theirs")), 0)
        testing.equal(#(routes_of(world, "ours")), 1)
        class.metadata.annotations = { ["ingressclass.kubernetes.io/is-default-class"] = "true" }
        world:put("ingressclasses.networking.k8s.io", class)
        world:put(INGRESSES, ingress("unnamed", { paths = { path("/", "Prefix", "web") }, host = "b.example.com" }))
        testing.equal(#(routes_of(world, "unnamed")), 0)
    end,

    ["a class that does not exist is said; one of an annotation may be somebody else's"] = function()
        local world = world_of({ ingress("typo", { ingressClassName = "minik", paths = { path("/", "Prefix", "web") } }),
            ingress("old", { annotations = { ["kubernetes.io/ingress.class"] = "nginx" }, paths = { path("/", "Prefix", "web") } }) })
        local routes, plan = routes_of(world, "typo")
        testing.equal(#routes, 0)
        testing.contains(said(plan, "IngressClassNotFound"), "there is no IngressClass \"minik\"")
        routes, plan = routes_of(world, "old")
        testing.equal(#routes, 0)
        testing.equal(said(plan, "IngressClassNotFound"), "")
    end,

    ["certificates: named with the Secret's revision, missing ones are said"] = function()
        local secret = { apiVersion = "v1", kind = "Secret", type = "kubernetes.io/tls",
            metadata = { namespace = "default", name = "cert", uid = "s" }, data = {} }
        local world = world_of({ ingress("shop", { paths = { path("/", "Prefix", "web") },
            tls = { { secretName = "cert" }, { secretName = "gone", hosts = { "x.example.com" } } } }) }, { secrets = { secret } })
        local _, plan, route = routes_of(world, "shop")
        testing.equal(#route.spec.tls, 1)
        testing.equal(route.spec.tls[1].hosts, { "shop.example.com" })
        testing.equal(route.spec.tls[1].secret, "cert")
        testing.contains(said(plan, "CertificateNotFound"), "Secret \"gone\"")
    end,

    ["its route goes with it"] = function()
        local world = world_of({ ingress("shop", { paths = { path("/", "Prefix", "web") } }) })
        routes_of(world, "shop")
        world:drop(INGRESSES, "default/shop")
        testing.settle(world, "ingress", "default/shop")
        testing.equal(world:get(ROUTES, "default/shop"), nil)
    end,

    ["the address is there while there is an Ingress"] = function()
        local world = world_of({ ingress("shop", { paths = { path("/", "Prefix", "web") } }) })
        world:drop("services", "kube-system/ingress")
        testing.settle(world, "ingressaddress", "ingress")
        testing.equal(world:get("services", "kube-system/ingress").spec.internalTrafficPolicy, "Local")
        local slice = world:get("endpointslices.discovery.k8s.io", "kube-system/ingress-nodes")
        testing.equal(slice.endpoints[1].nodeName, "n1")
        testing.equal(m8.is_array(slice.endpoints), true)
        world:drop(INGRESSES, "default/shop")
        testing.settle(world, "ingressaddress", "ingress")
        testing.equal(world:get("services", "kube-system/ingress"), nil)
        testing.equal(world:get("endpointslices.discovery.k8s.io", "kube-system/ingress-nodes"), nil)
    end,
}
