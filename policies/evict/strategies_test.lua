-- Both strategies over random nodes: they choose differently, never a protected pod while there is another, never one that is more
-- important than another. With a node and its pods: test/lua/controllers/nodepressure_test.lua.
local testing = require("framework.testing")

local function candidates(seed)
    local random, list = testing.random(seed), {}
    for i = 1, random(6) + 1 do
        list[i] = { name = "d/p" .. i, priority = random(3), used = random(900), requested = random(400), created = random(1000),
            protected = random(3) == 1 }
    end
    return list
end

local function choose(name, list)
    local world = testing.world()
    assert(world:use({ ["evict.choose"] = { policies = { { name = name } } } }))
    local result, record = world:ask("evict.choose", { object = "n1", node = "n1", resource = "memory", candidates = list })
    assert(record.policy == name and not record.fallback, record.failure)
    for _, pod in ipairs(list) do
        if pod.name == result.name then return pod end
    end
end

return {
    ["the least of those that may go, and not the same one"] = function()
        local differ = 0
        for seed = 1, 30 do
            local list = candidates(seed)
            local greedy, young = choose("least-important", list), choose("youngest", list)
            for _, pod in ipairs(list) do
                for _, chosen in ipairs({ greedy, young }) do
                    assert(pod.protected or not chosen.protected, "seed " .. seed .. ": a protected one goes")
                    local equal = pod.protected == chosen.protected
                    assert(not equal or chosen.priority <= pod.priority, "seed " .. seed .. ": an important one goes")
                end
                local peer = pod.protected == young.protected and pod.priority == young.priority
                assert(not peer or young.created >= pod.created, "seed " .. seed .. ": there is a younger one")
                assert(not peer or greedy.used - greedy.requested >= pod.used - pod.requested, "seed " .. seed)
            end
            if greedy.name ~= young.name then differ = differ + 1 end
        end
        assert(differ > 5, "they differ on " .. differ .. " of 30 nodes only")
    end,
}
