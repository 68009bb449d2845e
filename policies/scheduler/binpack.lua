-- The fuller the node would be, the better: keeps whole nodes free. settings.resources: share of each resource in the score.
return {
    api = 1,
    point = "scheduler.score",
    name = "binpack",
    settings = { resources = { cpu = 1, memory = 1 } },
    run = function(ctx, node)
        local sum, weights = 0, 0
        for name, weight in pairs(ctx.settings.resources) do
            local all = node.allocatable[name] or 0
            if all > 0 then
                local used = (node.requested[name] or 0) + (ctx.pod.requests[name] or 0)
                sum = sum + weight * math.min(1, used / all)
                weights = weights + weight
            end
        end
        return weights > 0 and 100 * sum / weights or 0
    end,
    examples = {
        {
            name = "full with this pod",
            ctx = { pod = { requests = { cpu = 500 } } },
            candidate = { allocatable = { cpu = 1000, memory = 1000 }, requested = { cpu = 500, memory = 1000 } },
            expect = 100,
        },
        {
            name = "cpu only",
            settings = { resources = { cpu = 1, memory = 0 } },
            ctx = { pod = { requests = { cpu = 250 } } },
            candidate = { allocatable = { cpu = 1000, memory = 1000 }, requested = {} },
            expect = 25,
        },
    },
}
