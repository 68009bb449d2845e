local testing = require("framework.testing")

local function service(name, target)
    return { apiVersion = "v1", kind = "Service", metadata = { namespace = "default", name = name, uid = "u-" .. name },
        spec = { type = target and "ExternalName" or "ClusterIP", externalName = target } }
end

local function events(services, name)
    return testing.reconcile(testing.world({ objects = { services = services } }), "externalname", "default/" .. name).events
end

return {
    ["a circle is said, with its members"] = function()
        local circle = { service("a", "b.default.svc.cluster.local"), service("b", "c.default.svc.cluster.local."),
            service("c", "a.default.svc.cluster.local") }
        local told = events(circle, "b")
        testing.equal(told[1].reason, "ExternalNameCircle")
        testing.contains(told[1].message, "default/b → default/c → default/a → default/b")
        testing.contains(events({ service("me", "me.default.svc.cluster.local") }, "me")[1].message, "default/me → default/me")
    end,

    ["a chain that ends is fine"] = function()
        local chain = { service("a", "b.default.svc.cluster.local"), service("b", "web.default.svc.cluster.local"), service("web") }
        testing.equal(#events(chain, "a"), 0)
        testing.equal(#events({ service("a", "example.org") }, "a"), 0)
        testing.equal(#events({ service("a", "gone.default.svc.cluster.local") }, "a"), 0)
    end,
}
