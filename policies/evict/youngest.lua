-- The pod that has done least work goes: the youngest one of the lowest priority.
return {
    api = 1,
    point = "evict.choose",
    name = "youngest",
    run = function(ctx)
        local choice
        for _, pod in ipairs(ctx.candidates) do
            local better = not choice or pod.priority < choice.priority
                or (pod.priority == choice.priority and pod.created > choice.created)
            if better then choice = pod end
        end
        return choice and { name = choice.name, reasons = { "it has run for the shortest time" } } or nil
    end,
    examples = {
        { name = "nobody", ctx = { candidates = {} }, none = true },
        { name = "the youngest", expect = { name = "d/b" }, ctx = { candidates = {
            { name = "d/a", priority = 0, created = 100 }, { name = "d/b", priority = 0, created = 200 } } } },
        { name = "not an important one", expect = { name = "d/a" }, ctx = { candidates = {
            { name = "d/a", priority = 0, created = 100 }, { name = "d/b", priority = 9, created = 200 } } } },
    },
}
