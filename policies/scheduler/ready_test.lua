local testing = require("framework.testing")

local function ask(pod, node)
    local world = testing.world()
    assert(world:use({ ["scheduler.filter"] = { policies = { { name = "ready" } } } }))
    local kept, record = world:ask("scheduler.filter", { pod = pod }, { node })
    assert(not record.fallback, "ready decides")
    return #kept == 1, record.reasons[1]
end

return {
    ["NotReady: only for pods that tolerate it by name"] = function()
        local fits, reason = ask({ tolerations = { { operator = "Exists" } } }, { ready = false, unschedulable = false })
        testing.equal({ fits, reason }, { false, "node(s) were not ready" })
        testing.equal(ask({ tolerations = { { key = "node.kubernetes.io/not-ready", operator = "Exists" } } }, { ready = false }), true)
    end,

    ["cordoned: only with the toleration of that taint, or of all"] = function()
        local node = { ready = true, unschedulable = true }
        testing.equal(ask({}, node), false)
        testing.equal(ask({ tolerations = { { key = "other", operator = "Exists" } } }, node), false)
        testing.equal(ask({ tolerations = { { key = "node.kubernetes.io/unschedulable", operator = "Exists" } } }, node), true)
    end,
}
