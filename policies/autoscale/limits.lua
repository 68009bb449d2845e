-- How fast one may get to the wanted count: spec.behavior's stabilization windows and policies, then min and max.
--
-- Stabilization: a count is only taken when everything wanted within the window agrees, so upwards the smallest counts and
-- downwards the greatest. Policies: from the count at the beginning of a period so many pods, or so many percent.
local function in_window(ctx, window)
    local least, most = ctx.wanted, ctx.wanted
    local history = ctx.history
    for i, entry in ipairs(history) do
        local next_entry = history[i + 1]
        local until_ms = next_entry and next_entry.at or ctx.now * 1000 -- an entry holds until the next
        if window > 0 and until_ms > (ctx.now - window) * 1000 then
            least, most = math.min(least, entry.least or entry.wanted), math.max(most, entry.wanted)
        end
    end
    return least, most
end

local function changed_within(ctx, period)
    local up, down = 0, 0
    for _, change in ipairs(ctx.changes) do
        if change.at > (ctx.now - period) * 1000 then
            up, down = up + math.max(0, change.to - change.from), down + math.max(0, change.from - change.to)
        end
    end
    return up, down
end

--- The furthest count that the rules of one direction (1 or -1) allow.
local function reach(ctx, rules, direction)
    if rules.select == "Disabled" then return ctx.current end
    local result
    for _, policy in ipairs(rules.policies) do
        local up, down = changed_within(ctx, policy.period)
        local start = ctx.current - up + down
        local limit
        if policy.type == "Pods" then
            limit = start + direction * policy.value
        elseif direction > 0 then
            limit = math.ceil(start * (1 + policy.value / 100))
        else
            limit = math.floor(start * (1 - policy.value / 100))
        end
        local further = result and (limit - result) * direction > 0
        if not result or further == (rules.select == "Max") then result = limit end
    end
    if direction > 0 then return math.max(result or ctx.current, ctx.current) end
    return math.min(result or ctx.current, ctx.current)
end

local function bounded(ctx, replicas)
    local low, high = ctx.min, ctx.max
    if replicas > high then return high, "TooManyReplicas", "the desired replica count is more than the maximum replica count" end
    if replicas < low then return low, "TooFewReplicas", "the desired replica count is less than the minimum replica count" end
    return replicas
end

return {
    api = 1, point = "autoscale.limit", name = "limits",
    run = function(ctx)
        local reasons, stabilized = {}, nil
        local least = in_window(ctx, ctx.up.window)
        local _, most = in_window(ctx, ctx.down.window)
        local target = math.max(math.min(ctx.current, most), least)
        if target ~= ctx.wanted and target == ctx.current then
            stabilized = string.format("recent recommendations were %s than the current one, applying the %s recent recommendation",
                ctx.wanted < ctx.current and "higher" or "lower", ctx.wanted < ctx.current and "highest" or "lowest")
        end
        local replicas, limit, message = bounded(ctx, target)
        if ctx.current < ctx.min or ctx.current > ctx.max then
            reasons[1] = string.format("%d is outside of %d to %d", ctx.current, ctx.min, ctx.max)
            return { replicas = replicas, limit = limit, message = message, reasons = reasons }
        end
        local direction = replicas > ctx.current and 1 or -1
        local far = replicas ~= ctx.current and reach(ctx, direction > 0 and ctx.up or ctx.down, direction) or replicas
        if (replicas - far) * direction > 0 then
            replicas, limit = far, direction > 0 and "ScaleUpLimit" or "ScaleDownLimit"
            message = direction > 0 and "the desired replica count is increasing faster than the maximum scale rate"
                or "the desired replica count is decreasing faster than the maximum scale rate"
            reasons[#reasons + 1] = string.format("%d are wanted, the behaviour allows %d now", target, far)
        elseif limit then
            local bound = limit == "TooManyReplicas" and "maximum" or "minimum"
            reasons[#reasons + 1] = string.format("%d are wanted, %d is the %s", target, replicas, bound)
        end
        return { replicas = replicas, limit = limit, message = message, stabilized = stabilized, reasons = reasons }
    end,
    examples = {
        { name = "up to the maximum", expect = { replicas = 5, limit = "TooManyReplicas" },
          ctx = { current = 1, wanted = 9, min = 1, max = 5, now = 100, history = {}, changes = {},
                  up = { window = 0, select = "Max", policies = { { type = "Pods", value = 4, period = 15 } } },
                  down = { window = 300, policies = {} } } },
        { name = "one pod in fifteen seconds", expect = { replicas = 2, limit = "ScaleUpLimit" },
          ctx = { current = 2, wanted = 9, min = 1, max = 5, now = 100, history = {}, changes = { { at = 90000, from = 1, to = 2 } },
                  up = { window = 0, select = "Max", policies = { { type = "Pods", value = 1, period = 15 } } },
                  down = { window = 300, policies = {} } } },
        { name = "the period is over", expect = { replicas = 3 },
          ctx = { current = 2, wanted = 9, min = 1, max = 5, now = 110, history = {}, changes = { { at = 90000, from = 1, to = 2 } },
                  up = { window = 0, select = "Max", policies = { { type = "Pods", value = 1, period = 15 } } },
                  down = { window = 300, policies = {} } } },
        { name = "what was wanted a moment ago keeps the pods", expect = { replicas = 5 },
          ctx = { current = 5, wanted = 1, min = 1, max = 5, now = 100, history = { { at = 90000, wanted = 5 } }, changes = {},
                  up = { window = 0, policies = {} },
                  down = { window = 60, select = "Max", policies = { { type = "Percent", value = 100, period = 15 } } } } },
        { name = "Disabled", expect = { replicas = 5, limit = "ScaleDownLimit" },
          ctx = { current = 5, wanted = 1, min = 1, max = 5, now = 100, history = {}, changes = {},
                  up = { window = 0, policies = {} },
                  down = { window = 0, select = "Disabled", policies = {} } } },
    },
}
