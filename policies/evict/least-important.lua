-- Which pod goes when its node runs short of something: the least important first; among equals one that uses more than it asked
-- for, by how much; pods that a disruption budget protects only when there is no other.
local function worse(a, b)
    if a.protected ~= b.protected then return not a.protected end
    if a.priority ~= b.priority then return a.priority < b.priority end
    if a.over ~= b.over then return a.over > b.over end
    return a.name < b.name
end

return {
    api = 1,
    point = "evict.choose",
    name = "least-important",
    run = function(ctx)
        local worst
        for _, pod in ipairs(ctx.candidates) do
            local over, protected = pod.used - pod.requested, pod.protected or false
            local seen = { name = pod.name, priority = pod.priority, protected = protected, over = over }
            if not worst or worse(seen, worst) then worst = seen end
        end
        if not worst then return nil end
        local reason = ("priority %d, %s %d above its request"):format(worst.priority, ctx.resource, worst.over)
        return { name = worst.name, reasons = { reason } }
    end,
    examples = {
        { name = "nobody", ctx = { resource = "memory", candidates = {} }, none = true },
        { name = "the least important", expect = { name = "d/b" }, ctx = { resource = "memory", candidates = {
            { name = "d/a", priority = 10, used = 900, requested = 100 }, { name = "d/b", priority = 0, used = 10, requested = 100 } } } },
        { name = "the one that takes most beyond its request", expect = { name = "d/b" }, ctx = { resource = "memory", candidates = {
            { name = "d/a", priority = 0, used = 900, requested = 800 }, { name = "d/b", priority = 0, used = 500, requested = 100 } } } },
        { name = "protected ones last", expect = { name = "d/b" }, ctx = { resource = "memory", candidates = {
            { name = "d/a", priority = 0, used = 900, requested = 0, protected = true },
            { name = "d/b", priority = 5, used = 1, requested = 1 } } } },
    },
}
