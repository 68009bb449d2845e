-- All strategies for autoscale.decide on the same random loads: no two behave alike, and with each the pods carry the load after a
-- while and go when it is gone.
local testing = require("framework.testing")
local STRATEGIES = { "target-utilization", "step", "rate", "predictive", "scheduled" }
local SETTINGS = { scheduled = { hours = { { from = 0, to = 24, least = 2 } } } }

--- One pod carries 1; the load moves to another value every 20 looks, 5 s apart, and is gone after 100. The counts of pods over time.
local function run(name, seed)
    local world, random = testing.world(), testing.random(seed)
    assert(world:use({ ["autoscale.decide"] = { policies = { { name = name, settings = SETTINGS[name] } } } }))
    local pods, load, goal, history, story = 1, 0, 0, {}, {}
    for look = 1, 180 do
        local now = 1700000000 + look * 5
        if look % 20 == 1 then goal = look < 100 and random(12) + 0.3 * random(3) or 0 end
        load = load + (goal - load) * 0.4 -- by and by, and the last of it within the tolerance of some
        local ratio = load / pods
        local result, record = world:ask("autoscale.decide", { namespace = "d", name = "a", current = pods, min = 1, max = 30, now = now,
            metrics = { { name = "rps", kind = "Pods", ratio = ratio, pods = pods } }, failed = 0, history = history, changes = {} })
        assert(record.policy == name and not record.fallback, record.failure)
        history[#history + 1] = { at = now * 1000, load = ratio * 100, wanted = result.replicas }
        if #history > 48 then table.remove(history, 1) end
        pods = math.min(30, math.max(1, result.replicas))
        story[#story + 1] = pods
        if look % 20 == 0 and look <= 100 then
            assert(pods * 1.25 >= load, ("%s, seed %d, look %d: %d pods for %g"):format(name, seed, look, pods, load))
        end
    end
    assert(pods <= 2, name .. " keeps " .. pods .. " pods for no load")
    return table.concat(story, " ")
end

return {
    ["each carries the load, and no two are the same"] = function()
        for seed = 1, 6 do
            local stories = {}
            for _, name in ipairs(STRATEGIES) do
                local story = run(name, seed)
                assert(not stories[story], "seed " .. seed .. ": " .. name .. " is like " .. tostring(stories[story]))
                stories[story] = name
            end
        end
    end,
}
