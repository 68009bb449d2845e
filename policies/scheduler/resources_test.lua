local testing = require("framework.testing")

local function ask(pod, node)
    local world = testing.world()
    assert(world:use({ ["scheduler.filter"] = { policies = { { name = "resources" } } } }))
    local kept, record = world:ask("scheduler.filter", { pod = pod }, { node })
    assert(not record.fallback, "resources decides")
    return #kept == 1, record.reasons[1]
end

return {
    ["to the last thousandth, not one more"] = function()
        for used = 0, 1000, 50 do
            local node = { allocatable = { cpu = 1000, pods = 10 }, requested = { cpu = used, pods = 1 } }
            testing.equal(ask({ requests = { cpu = 1000 - used, pods = 1 } }, node), true)
            local fits, reason = ask({ requests = { cpu = 1001 - used, pods = 1 } }, node)
            testing.equal({ fits, reason }, { false, "Insufficient cpu" })
        end
    end,

    ["a pod that requests nothing fits a node that is over-full"] = function()
        testing.equal(ask({ requests = { pods = 1 } }, { allocatable = { cpu = 1, pods = 9 }, requested = { cpu = 5 } }), true)
    end,

    ["any resource that the node names"] = function()
        local node = { allocatable = { ["example.com/fpga"] = 2 }, requested = { ["example.com/fpga"] = 1 } }
        testing.equal(ask({ requests = { ["example.com/fpga"] = 1 } }, node), true)
        testing.equal(ask({ requests = { ["example.com/fpga"] = 2 } }, node), false)
    end,
}
