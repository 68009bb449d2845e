-- Both strategies over the same random load: each serves it; one goes to zero afterwards, the other stays warm; neither goes beyond
-- what is allowed.
local testing = require("framework.testing")

local function world_with(name)
    local world = testing.world()
    assert(world:use({ ["function.scale"] = { policies = { { name = name } } } }))
    return function(ctx)
        local result, record = world:ask("function.scale", ctx)
        assert(record.policy == name and not record.fallback, record.failure)
        return result
    end
end

return {
    ["both serve the load; one goes to zero, the other stays warm"] = function()
        for seed = 1, 5 do
            for _, name in ipairs({ "concurrency", "warm" }) do
                local ask, random, current = world_with(name), testing.random(seed), 0
                for look = 1, 60 do
                    local load = look <= 20 and random(20) or 0
                    current = ask({ object = "d/f", current = current, min = 0, max = 9, in_flight = load, queued = 0,
                        idle = math.max(0, look - 20) * 2 }).replicas
                    assert(current * 4 >= load, name .. ": " .. current .. " for " .. load)
                end
                testing.equal(current, name == "warm" and 1 or 0)
            end
        end
    end,

    ["never above max, and one at once when something waits"] = function()
        for _, name in ipairs({ "concurrency", "warm" }) do
            local ask = world_with(name)
            testing.equal(ask({ object = "d/f", current = 0, min = 0, max = 9, in_flight = 0, queued = 1, idle = 99 }).replicas, 1, name)
            testing.equal(ask({ object = "d/f", current = 2, min = 0, max = 3, in_flight = 100, queued = 9, idle = 0 }).replicas, 3, name)
        end
    end,
}
