local testing = require("framework.testing")

local function score(node, requests)
    local world = testing.world()
    assert(world:use({ ["scheduler.score"] = { policies = { { name = "least-requested" } } } }))
    local scores, record = world:ask("scheduler.score", { pod = { requests = requests or {} }, peers = 0 }, { node })
    assert(not record.fallback, "least-requested decides")
    return scores[1]
end

return {
    ["the emptier, the better"] = function()
        local last = 101
        for used = 0, 1000, 100 do
            local now = score({ allocatable = { cpu = 1000, memory = 1000 }, requested = { cpu = used, memory = used } })
            assert(now < last, used)
            last = now
        end
        testing.equal(last, 0)
    end,

    ["more requested than there is counts as full"] = function()
        testing.equal(score({ allocatable = { cpu = 100, memory = 100 }, requested = { cpu = 500, memory = 500 } }), 0)
        testing.equal(score({ allocatable = {}, requested = {} }), 0)
    end,
}
