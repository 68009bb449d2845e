local testing = require("framework.testing")

local DNS, INGRESSES, ROUTES = "dns.minik8s.io", "ingresses.networking.k8s.io", "ingressroutes.minik8s.io"
local KEY = "default/shop"

local function dns(fields)
    return { apiVersion = "minik8s.io/v1", kind = "DNS", metadata = { namespace = "default", name = "shop", uid = "u-dns" },
        spec = { host = "shop.test", rewrite = fields.rewrite, secretName = fields.secretName,
            paths = fields.paths or { { path = "/api", service = "api", port = 80 }, { service = "home", port = 8080 } } } }
end

local function world_of(objects)
    return testing.world({ objects = objects })
end

local function condition(world)
    local status = world:get(DNS, KEY).status
    return status.conditions[1].status .. " " .. status.conditions[1].reason
end

return {
    ["it becomes an Ingress that it owns"] = function()
        local world = world_of({ [DNS] = { dns({ rewrite = "/v2", secretName = "cert" }) } })
        testing.settle(world, "dns", KEY)
        local ingress = world:get(INGRESSES, KEY)
        testing.equal(ingress.metadata.ownerReferences[1].kind, "DNS")
        testing.equal(ingress.spec.rules[1].host, "shop.test")
        testing.equal(ingress.spec.rules[1].http.paths[2],
            { path = "/", pathType = "Prefix", backend = { service = { name = "home", port = { number = 8080 } } } })
        testing.equal(ingress.spec.tls, { { hosts = { "shop.test" }, secretName = "cert" } })
        testing.equal(ingress.metadata.annotations["minik8s.io/rewrite-target"], "/v2")
        testing.equal(condition(world), "False Pending")
    end,

    ["it is followed, and its status says what became of it"] = function()
        local world = world_of({ [DNS] = { dns({}) } })
        testing.settle(world, "dns", KEY)
        world:put(ROUTES, { apiVersion = "minik8s.io/v1", kind = "IngressRoute",
            metadata = { namespace = "default", name = "shop", uid = "r" }, spec = { routes = {} } })
        testing.settle(world, "dns", KEY)
        testing.equal(condition(world), "True Served")
        local changed = world:get(DNS, KEY)
        changed.spec.paths = { { path = "/x", service = "api", port = 81 } }
        world:put(DNS, changed)
        testing.settle(world, "dns", KEY)
        testing.equal(#world:get(INGRESSES, KEY).spec.rules[1].http.paths, 1)
        world:put(ROUTES, { apiVersion = "minik8s.io/v1", kind = "IngressRoute",
            metadata = { namespace = "default", name = "shop", uid = "r" },
            spec = { routes = {}, problems = { { reason = "BackendNotFound", message = "no" } } } })
        testing.settle(world, "dns", KEY)
        testing.equal(condition(world), "False BackendNotFound")
    end,

    ["an Ingress of that name which is somebody's else stays as it is"] = function()
        local theirs = { apiVersion = "networking.k8s.io/v1", kind = "Ingress",
            metadata = { namespace = "default", name = "shop", uid = "i" }, spec = { rules = {} } }
        local world = world_of({ [DNS] = { dns({}) }, [INGRESSES] = { theirs } })
        local plan = testing.reconcile(world, "dns", KEY)
        testing.equal(plan.events[1].reason, "NameTaken")
        testing.apply(world, plan)
        testing.equal(#world:get(INGRESSES, KEY).spec.rules, 0)
        testing.equal(condition(world), "False NameTaken")
        testing.equal(#testing.reconcile(world, "dns", KEY).steps, 0)
    end,
}
