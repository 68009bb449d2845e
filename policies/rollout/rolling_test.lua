-- The numbers alone, asked in every state: whatever the agents are at, the answer keeps the bounds and ends.
local m8 = require("m8")
local testing = require("framework.testing")

local function ask(world, ctx)
    local result, record = world:ask("rollout", ctx)
    assert(record.policy == "rolling" and not record.fallback, "rolling decides")
    return result, record
end

local function sums(ctx)
    local total, available = ctx.new.replicas, ctx.new.available
    for _, set in ipairs(ctx.old) do total, available = total + set.replicas, available + set.available end
    return total, available
end

--- A removal takes pods that are not available first.
local function shrink(set, replicas)
    set.replicas = replicas
    set.available = math.min(set.available, replicas)
end

local function take(ctx, result)
    ctx.new.replicas = result.new
    ctx.new.available = math.min(ctx.new.available, result.new)
    for _, set in ipairs(ctx.old) do
        if result.old[set.name] then shrink(set, result.old[set.name]) end
    end
end

local function walk(world, seed)
    local random = testing.random(seed)
    local desired = random(20)
    local ctx = {
        strategy = "RollingUpdate", desired = desired, max_surge = random(5) - 1, max_unavailable = math.min(random(5) - 1, desired),
        new = { replicas = 0, available = 0 },
        old = m8.array({ { name = "a", replicas = desired, available = desired }, { name = "b", replicas = 0, available = 0 } }),
    }
    if ctx.max_surge + ctx.max_unavailable == 0 then ctx.max_surge = 1 end
    for step = 1, 400 do
        local result = ask(world, ctx)
        take(ctx, result)
        local total, available = sums(ctx)
        local where = ("seed %d, step %d: %s"):format(seed, step, m8.json(ctx))
        assert(total <= ctx.desired + ctx.max_surge, where)
        assert(available >= ctx.desired - ctx.max_unavailable, where)
        if ctx.new.available == ctx.desired and total == ctx.desired then return end
        if ctx.new.available < ctx.new.replicas and random(2) == 1 then ctx.new.available = ctx.new.available + 1 end
    end
    error("seed " .. seed .. " does not end: " .. m8.json(ctx))
end

return {
    ["random walks keep the bounds and end"] = function()
        local world = testing.world()
        for seed = 1, 200 do walk(world, seed) end
    end,

    ["old pods that serve nobody go first, whatever the surge"] = function()
        local result = ask(testing.world(), { strategy = "RollingUpdate", desired = 4, max_surge = 1, max_unavailable = 1,
            new = { replicas = 0, available = 0 },
            old = { { name = "bad", replicas = 2, available = 0 }, { name = "good", replicas = 3, available = 3 } } })
        testing.equal(result.old.good, 3)
        testing.equal(result.old.bad, 0)
    end,

    ["scaled down in the middle: old and new together come down"] = function()
        local result, record = ask(testing.world(), { strategy = "RollingUpdate", desired = 2, max_surge = 1, max_unavailable = 0,
            new = { replicas = 3, available = 3 }, old = { { name = "a", replicas = 3, available = 3 } } })
        testing.equal(result.new, 2)
        assert(result.old.a < 3)
        testing.contains(table.concat(record.reasons, "; "), "2 are wanted, 3 exist")
    end,
}
