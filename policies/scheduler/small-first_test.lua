local testing = require("framework.testing")

return {
    ["first: small pods are served first, and never before more important ones"] = function()
        local world = testing.world()
        assert(world:use({ ["scheduler.first"] = { policies = { { name = "small-first" } } } }))
        world:put("nodes", { apiVersion = "v1", kind = "Node", metadata = { name = "n", labels = {} }, spec = {},
            status = { allocatable = { cpu = "4", memory = "8Gi", pods = "110" }, conditions = { { type = "Ready", status = "True" } } } })
        for name, cpu in pairs({ large = "3", small = "1", middle = "2", vital = "1" }) do
            world:put("pods", { apiVersion = "v1", kind = "Pod", status = { phase = "Pending" },
                metadata = { name = name, namespace = "default", creationTimestamp = "2026-01-01T00:00:00Z" },
                spec = { priority = name == "vital" and 7 or 0,
                    containers = { { name = "c", image = "i", resources = { requests = { cpu = cpu } } } } } })
        end
        testing.equal(world:pending(4), { "default/vital", "default/small", "default/middle", "default/large" })
        testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
        testing.equal(world:item("pods", "default/large")["spec.nodeName"], nil)
        testing.equal(world:item("pods", "default/middle")["spec.nodeName"], "n")
        assert(world:use({}))
        world:put("pods", { apiVersion = "v1", kind = "Pod", status = { phase = "Pending" },
            metadata = { name = "zero", namespace = "default", creationTimestamp = "2026-01-02T00:00:00Z" },
            spec = { priority = 0, containers = { { name = "c", image = "i" } } } })
        testing.equal(world:pending(1), { "default/large" }) -- the older one of equals
    end,
}
