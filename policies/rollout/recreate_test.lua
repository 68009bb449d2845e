local testing = require("framework.testing")

local function ask(old, new)
    local world = testing.world()
    assert(world:use({ rollout = { policies = { { name = "recreate" } } } }))
    local result, record = world:ask("rollout", { strategy = "RollingUpdate", desired = 3, max_surge = 1, max_unavailable = 0,
        new = new or { replicas = 0, available = 0 }, old = old })
    testing.equal(record.policy, "recreate")
    return result
end

return {
    ["never old and new at once"] = function()
        for replicas = 0, 3 do
            for terminating = 0, 3 do
                local result = ask({ { name = "a", replicas = replicas, available = replicas, terminating = terminating } })
                testing.equal(result.old.a, 0)
                testing.equal(result.new, replicas + terminating == 0 and 3 or 0)
            end
        end
    end,

    ["differs from rolling where rolling surges"] = function()
        local old = { { name = "a", replicas = 3, available = 3 } }
        testing.equal(ask(old).new, 0)
        local rolling = testing.world():ask("rollout", { strategy = "RollingUpdate", desired = 3, max_surge = 1,
            max_unavailable = 0, new = { replicas = 0, available = 0 }, old = old })
        testing.equal(rolling.new, 1)
    end,
}
