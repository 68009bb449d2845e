local testing = require("framework.testing")

local function ask(pod, node)
    local world = testing.world()
    assert(world:use({ ["scheduler.filter"] = { policies = { { name = "ports" } } } }))
    local kept, record = world:ask("scheduler.filter", { pod = pod }, { node })
    assert(not record.fallback, "ports decides")
    return #kept == 1, record.reasons[1]
end

return {
    ["protocol and number both count"] = function()
        local node = { used_ports = { ["TCP/80"] = true, ["UDP/53"] = true } }
        testing.equal(ask({ host_ports = { "TCP/53", "UDP/80" } }, node), true)
        testing.equal(ask({ host_ports = { "TCP/81", "UDP/53" } }, node), false)
        testing.equal(ask({ host_ports = { "TCP/80" } }, {}), true)
    end,
    ["an address of its own is shared with nobody but others' addresses"] = function()
        local one = { host_ports = { "TCP/80@", "TCP/80@10.0.0.1" } }
        testing.equal(ask(one, { used_ports = { ["TCP/80@"] = true, ["TCP/80@10.0.0.2"] = true } }), true)
        testing.equal(ask(one, { used_ports = { ["TCP/80@"] = true, ["TCP/80@10.0.0.1"] = true } }), false)
        testing.equal(ask(one, { used_ports = { ["TCP/80"] = true } }), false)
        testing.equal(ask({ host_ports = { "TCP/80" } }, { used_ports = { ["TCP/80@"] = true } }), false)
        testing.equal(ask({ host_ports = { "UDP/80" } }, { used_ports = { ["TCP/80@"] = true } }), true)
    end,
}
