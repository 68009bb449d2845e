-- What spec.strategy says. Recreate: old pods first. RollingUpdate within maxSurge and maxUnavailable: new pods first as far
-- as the surge allows, then old pods that are not available, then available old pods as far as the rest keeps
-- desired − maxUnavailable available.
local function total_of(ctx)
    local replicas, available = ctx.new.replicas, ctx.new.available
    for _, old in ipairs(ctx.old) do
        replicas, available = replicas + old.replicas, available + old.available
    end
    return replicas, available
end

local function grow(ctx, replicas, reasons)
    local missing = ctx.desired - ctx.new.replicas
    if missing <= 0 then
        if missing < 0 then
            reasons[#reasons + 1] = string.format("%d are wanted, %d exist", ctx.desired, ctx.new.replicas)
        end
        return ctx.desired
    end
    local room = ctx.desired + ctx.max_surge - replicas
    local step = math.max(0, math.min(room, missing))
    if step > 0 then
        reasons[#reasons + 1] = string.format("maxSurge %d leaves room for %d more", ctx.max_surge, step)
    end
    return ctx.new.replicas + step
end

--- How many old pods may go now; those that are not available go first, for they serve nobody.
local function shrink(ctx, replicas, available, reasons)
    local least = ctx.desired - ctx.max_unavailable
    local new_missing = ctx.new.replicas - ctx.new.available
    local budget = replicas - least - new_missing
    local result = {}
    for _, old in ipairs(ctx.old) do result[old.name] = old.replicas end
    for _, old in ipairs(ctx.old) do
        local idle = math.min(math.max(budget, 0), old.replicas - old.available)
        if idle > 0 then
            result[old.name] = result[old.name] - idle
            budget = budget - idle
            reasons[#reasons + 1] = string.format("%d old pods of %s are not available", idle, old.name)
        end
    end
    local spare = math.min(budget, available - least)
    for _, old in ipairs(ctx.old) do
        local step = math.min(math.max(spare, 0), result[old.name])
        if step > 0 then
            result[old.name] = result[old.name] - step
            spare = spare - step
            reasons[#reasons + 1] = string.format("%d are available, %d have to stay", available, least)
        end
    end
    return result
end

local function recreate(ctx)
    local left, old = 0, {}
    for _, set in ipairs(ctx.old) do
        left = left + set.replicas + (set.terminating or 0)
        old[set.name] = 0
    end
    if left == 0 then return { new = ctx.desired, old = old, reasons = {} } end
    return { new = 0, old = old, reasons = { string.format("%d old pods have to go first", left) } }
end

return {
    api = 1, point = "rollout", name = "rolling",
    run = function(ctx)
        if ctx.strategy == "Recreate" then return recreate(ctx) end
        local reasons = {}
        local replicas, available = total_of(ctx)
        return { new = grow(ctx, replicas, reasons), old = shrink(ctx, replicas, available, reasons), reasons = reasons }
    end,
    examples = {
        { name = "Recreate waits for the old pods", expect = { new = 0, old = { a = 0 } },
          ctx = { strategy = "Recreate", desired = 3, max_surge = 0, max_unavailable = 0,
                  new = { replicas = 0, available = 0 }, old = { { name = "a", replicas = 3, available = 3 } } } },
        { name = "first deployment", expect = { new = 3 },
          ctx = { desired = 3, max_surge = 1, max_unavailable = 0, new = { replicas = 0, available = 0 }, old = {} } },
        { name = "surges by one", expect = { new = 1, old = { a = 3 } },
          ctx = { desired = 3, max_surge = 1, max_unavailable = 0, new = { replicas = 0, available = 0 },
                  old = { { name = "a", replicas = 3, available = 3 } } } },
        { name = "an old pod goes when a new one is available", expect = { new = 1, old = { a = 2 } },
          ctx = { desired = 3, max_surge = 1, max_unavailable = 0, new = { replicas = 1, available = 1 },
                  old = { { name = "a", replicas = 3, available = 3 } } } },
        { name = "waits for the new pod", expect = { new = 1, old = { a = 3 } },
          ctx = { desired = 3, max_surge = 1, max_unavailable = 0, new = { replicas = 1, available = 0 },
                  old = { { name = "a", replicas = 3, available = 3 } } } },
    },
}
