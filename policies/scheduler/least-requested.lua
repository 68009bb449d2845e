-- The emptier the node would be, the better: the mean of the free shares of cpu and memory.
local function free_share(name, ctx, node)
    local all = node.allocatable[name] or 0
    if all <= 0 then return 0 end
    local left = all - (node.requested[name] or 0) - (ctx.pod.requests[name] or 0)
    return math.max(0, left / all)
end

return {
    api = 1,
    point = "scheduler.score",
    name = "least-requested",
    run = function(ctx, node)
        return 50 * (free_share("cpu", ctx, node) + free_share("memory", ctx, node))
    end,
    examples = {
        {
            name = "empty",
            ctx = { pod = { requests = {} } },
            candidate = { allocatable = { cpu = 1000, memory = 1000 }, requested = {} },
            expect = 100,
        },
        {
            name = "half full with this pod",
            ctx = { pod = { requests = { cpu = 250, memory = 250 } } },
            candidate = { allocatable = { cpu = 1000, memory = 1000 }, requested = { cpu = 250, memory = 250 } },
            expect = 50,
        },
    },
}
