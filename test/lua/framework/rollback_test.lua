-- A version that fails is taken out of use: three failures in a row, or ten of a hundred calls; the version before it decides then,
-- as far back as versions are kept, and after those the shipped default.
local testing = require("framework.testing")

local function source(number)
    return ([[return { api = 1, point = "workflow.retry", name = "mine",
        run = function(ctx)
            if ctx.fail then error("no") end
            return { retry = true, after = %d }
        end,
        examples = { { ctx = {}, expect = { after = %d } } } }]]):format(number, number)
end

local function world_with(versions)
    local world = testing.world()
    for number = 1, versions do assert(world:policy(source(1000 + number))) end
    assert(world:use({ ["workflow.retry"] = { policies = { { name = "mine" } } } }))
    return world
end

--- 1, 2, …: the version that decided; 0: the default, for this decision; nil: the default, because no version is left.
local function ask(world, fail)
    local result, record = world:ask("workflow.retry", { step = { name = "a", attempt = 1, exit_code = 1 }, fail = fail or nil })
    if record.fallback then return 0 end
    return record.policy == "mine" and result.after - 1000 or nil
end

return {
    ["three in a row: the one before it, then the one before that, then the default"] = function()
        local world = world_with(4)
        for _, version in ipairs({ 4, 3, 2 }) do -- three are kept
            testing.equal(ask(world), version)
            for _ = 1, 2 do testing.equal(ask(world, true), 0) end
            testing.equal(ask(world), version, "two in a row")
            for _ = 1, 3 do testing.equal(ask(world, true), 0) end
        end
        testing.equal(ask(world), nil)
        testing.equal(ask(world, true), nil)
    end,

    ["ten of a hundred, never two in a row"] = function()
        local world = world_with(2)
        for call = 1, 100 do testing.equal(ask(world, call % 10 == 0), call % 10 == 0 and 0 or 2, "call " .. call) end
        testing.equal(ask(world), 1)
    end,

    ["nine of each hundred are suffered"] = function()
        local world = world_with(2)
        for call = 1, 300 do
            local fail = call % 100 % 11 == 0 and call % 100 ~= 0
            testing.equal(ask(world, fail), fail and 0 or 2, "call " .. call)
        end
        testing.equal(ask(world), 2)
    end,

    ["a text that is put in again is used again"] = function()
        local world = world_with(2)
        for _ = 1, 3 do ask(world, true) end
        testing.equal(ask(world), 1)
        assert(world:policy(source(1003)))
        testing.equal(ask(world), 3)
    end,
}
