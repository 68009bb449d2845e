-- All strategies on the same random rollouts: each ends, each differs from the others, and canary and blue-green keep every old
-- pod until the new ones serve.
-- With real ReplicaSets: test/lua/controllers/deployment_canary_test.lua.
local m8 = require("m8")
local testing = require("framework.testing")
local STRATEGIES = { "rolling", "recreate", "canary", "blue-green" }

local function world_with(name, settings)
    local world = testing.world()
    assert(world:use({ ["rollout"] = { policies = { { name = name, settings = settings } } } }))
    return world
end

local function start(random)
    local desired = random(9)
    return { strategy = "RollingUpdate", desired = desired, max_surge = 1, max_unavailable = 0, now = 1000,
        new = { replicas = 0, available = 0 }, old = m8.array({ { name = "a", replicas = desired, available = desired } }) }
end

--- One answer taken: pods of the new set come up after a while.
local function take(ctx, result, random)
    ctx.new.replicas = result.new
    ctx.new.available = math.min(ctx.new.available, result.new)
    for _, set in ipairs(ctx.old) do
        set.replicas = result.old[set.name] or set.replicas
        set.available = math.min(set.available, set.replicas)
    end
    if ctx.new.available < ctx.new.replicas and random(2) == 1 then ctx.new.available = ctx.new.available + 1 end
    ctx.now = ctx.now + random(4)
end

--- The counts of each step as text, and whether it came to its end.
local function walk(world, seed, check)
    local random, states, story = testing.random(seed), {}, {}
    local ctx = start(random)
    for _ = 1, 400 do
        ctx.states = states
        local result, record = world:ask("rollout", ctx)
        assert(not record.fallback, record.failure)
        states = record.states or states
        if check then check(ctx, result) end
        take(ctx, result, random)
        story[#story + 1] = ctx.new.replicas .. "/" .. ctx.old[1].replicas
        if ctx.new.available == ctx.desired and ctx.old[1].replicas == 0 then return table.concat(story, " ") end
    end
    error("seed " .. seed .. " does not end: " .. m8.json(ctx))
end

local function keeps_the_old(ctx, result)
    if (result.old.a or ctx.old[1].replicas) < ctx.old[1].replicas then
        assert(ctx.new.available == ctx.desired, "an old pod goes while the new ones do not serve: " .. m8.json(ctx))
    end
end

return {
    ["each ends, and no two are the same"] = function()
        for seed = 1, 15 do
            local stories = {}
            for _, name in ipairs(STRATEGIES) do
                local story = walk(world_with(name, name == "canary" and { pause = 4 } or nil), seed,
                    (name == "canary" or name == "blue-green") and keeps_the_old or nil)
                assert(not stories[story] or #story < 12, name .. " is like " .. tostring(stories[story]) .. ": " .. story)
                stories[story] = name
            end
        end
    end,
}
