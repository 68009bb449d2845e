-- The pod that has done least work goes: the youngest one of the lowest priority; pods that a disruption budget protects only when
-- there is no other.
local function sooner(a, b)
    local protected = a.protected or false
    if protected ~= (b.protected or false) then return not protected end
    if a.priority ~= b.priority then return a.priority < b.priority end
    return a.created > b.created
end

return {
    api = 1,
    point = "evict.choose",
    name = "youngest",
    run = function(ctx)
        local choice
        for _, pod in ipairs(ctx.candidates) do
            if not choice or sooner(pod, choice) then choice = pod end
        end
        return choice and { name = choice.name, reasons = { "it has run for the shortest time" } } or nil
    end,
    examples = {
        { name = "nobody", ctx = { candidates = {} }, none = true },
        { name = "the youngest", expect = { name = "d/b" }, ctx = { candidates = {
            { name = "d/a", priority = 0, created = 100 }, { name = "d/b", priority = 0, created = 200 } } } },
        { name = "not an important one", expect = { name = "d/a" }, ctx = { candidates = {
            { name = "d/a", priority = 0, created = 100 }, { name = "d/b", priority = 9, created = 200 } } } },
        { name = "protected ones last", expect = { name = "d/b" }, ctx = { candidates = {
            { name = "d/a", priority = 0, created = 200, protected = true }, { name = "d/b", priority = 5, created = 100 } } } },
    },
}
