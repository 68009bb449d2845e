-- Whose pods make room for a more important one: the node where the fewest disruption budgets are broken, then the least
-- important pods go, then the fewest of them, then the youngest.

--- Smaller is better, compared one after the other.
local function harm_of(candidate)
    local highest, sum, oldest = -2147483648, 0, math.huge
    for _, victim in ipairs(candidate.victims) do
        sum = sum + victim.priority + 2147483649
        if victim.priority > highest then highest, oldest = victim.priority, math.huge end
        if victim.priority == highest then oldest = math.min(oldest, victim.created or 0) end
    end
    return { candidate.violations or 0, highest, sum, #candidate.victims, -oldest }
end

local function is_less(a, b)
    for i = 1, 5 do
        if a[i] ~= b[i] then return a[i] < b[i] end
    end
    return false
end

return {
    api = 1,
    point = "scheduler.preempt",
    name = "least-harm",
    run = function(ctx)
        local best, least
        for _, candidate in ipairs(ctx.candidates) do
            local harm = harm_of(candidate)
            if not least or is_less(harm, least) then best, least = candidate, harm end
        end
        return best and { node = best.node } or nil
    end,
    examples = {
        { name = "nowhere", ctx = { candidates = {} }, none = true },
        {
            name = "no budget is broken",
            ctx = { candidates = {
                { node = "a", violations = 1, victims = { { priority = 0 } } },
                { node = "b", violations = 0, victims = { { priority = 5 }, { priority = 5 } } } } },
            expect = { node = "b" },
        },
        {
            name = "the least important",
            ctx = { candidates = {
                { node = "a", victims = { { priority = 10 } } }, { node = "b", victims = { { priority = 1 }, { priority = 1 } } } } },
            expect = { node = "b" },
        },
        {
            name = "the fewest",
            ctx = { candidates = {
                { node = "a", victims = { { priority = 1 }, { priority = 1 } } }, { node = "b", victims = { { priority = 1 } } } } },
            expect = { node = "b" },
        },
        {
            name = "the youngest",
            ctx = { candidates = {
                { node = "a", victims = { { priority = 1, created = 100 } } },
                { node = "b", victims = { { priority = 1, created = 200 } } } } },
            expect = { node = "b" },
        },
    },
}
