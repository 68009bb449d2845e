local testing = require("framework.testing")

local function score(node, requests)
    local world = testing.world()
    assert(world:use({ ["scheduler.score"] = { policies = { { name = "binpack" } } } }))
    local scores, record = world:ask("scheduler.score", { pod = { requests = requests or {} }, peers = 0 }, { node })
    assert(not record.fallback, "binpack decides")
    return scores[1]
end

return {
    ["the fuller, the better"] = function()
        local last = -1
        for used = 0, 1000, 100 do
            local now = score({ allocatable = { cpu = 1000, memory = 1000 }, requested = { cpu = used, memory = used } })
            assert(now > last, used)
            last = now
        end
        testing.equal(last, 100)
    end,

    ["a node that offers nothing is no reason to fail"] = function()
        local value = score({ allocatable = {}, requested = {} }, { cpu = 100 })
        assert(value >= 0 and value <= 100)
    end,
}
