-- Both strategies over random lives of a container: never more than a minute, never at once, and not alike.
local testing = require("framework.testing")

local function waits(name, seed)
    local world = testing.world()
    assert(world:use({ ["restart.backoff"] = { policies = { { name = name } } } }))
    local state, crashes, story, longest = seed, 0, {}, 0
    for i = 1, 60 do
        state = (state * 1103515245 + 12345) % 2147483648
        local ran = i % 20 == 0 and 100 or state % 5
        local result, record = world:ask("restart.backoff", { object = "d/p/c", crashes = crashes, ran = ran, exit_code = 1 })
        assert(record.policy == name and result.wait >= 1 and result.wait <= 60)
        crashes = result.reset and 1 or crashes + 1
        story[i], longest = result.wait, math.max(longest, result.wait)
    end
    return table.concat(story, " "), longest
end

return {
    ["doubling grows to a minute and begins anew; steady stays"] = function()
        for seed = 1, 3 do
            local doubling, longest = waits("doubling", seed)
            local steady, always = waits("steady", seed)
            assert(doubling ~= steady)
            testing.equal({ longest, always }, { 60, 5 })
            testing.equal(doubling:sub(1, 18), "1 2 4 8 16 32 60 6")
        end
    end,

    ["a wait that is no time is refused, and the default decides"] = function()
        local world = testing.world()
        for _, wait in ipairs({ "-1", "1e9", "'x'" }) do
            assert(world:policy(([[return { api = 1, point = "restart.backoff", name = "odd",
                run = function(ctx) if ctx.calm then return { wait = 1 } end return { wait = %s } end,
                examples = { { ctx = { calm = true }, expect = { wait = 1 } } } }]]):format(wait)))
            assert(world:use({ ["restart.backoff"] = { policies = { { name = "odd" } } } }))
            local result, record = world:ask("restart.backoff", { crashes = 1, ran = 0 })
            testing.equal({ result.wait, record.fallback }, { 2, true })
        end
    end,
}
