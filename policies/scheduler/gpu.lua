-- Pods that want GPUs fill one node after the other, so that whole sets of GPUs stay together; all others stay away from nodes
-- that have GPUs as long as there is another place.
return {
    api = 1,
    point = "scheduler.score",
    name = "gpu",
    settings = { resource = "nvidia.com/gpu" },
    run = function(ctx, node)
        local name = ctx.settings.resource
        local all, wanted = node.allocatable[name] or 0, ctx.pod.requests[name] or 0
        if wanted == 0 then return all == 0 and 100 or 0 end
        if all == 0 then return 0 end
        return 100 * math.min(1, ((node.requested[name] or 0) + wanted) / all)
    end,
    examples = {
        {
            name = "the rest of a node",
            ctx = { pod = { requests = { ["nvidia.com/gpu"] = 2 } } },
            candidate = { allocatable = { ["nvidia.com/gpu"] = 8 }, requested = { ["nvidia.com/gpu"] = 6 } },
            expect = 100,
        },
        {
            name = "an empty node",
            ctx = { pod = { requests = { ["nvidia.com/gpu"] = 2 } } },
            candidate = { allocatable = { ["nvidia.com/gpu"] = 8 }, requested = {} },
            expect = 25,
        },
        { name = "no GPU wanted", ctx = { pod = { requests = {} } }, candidate = { allocatable = { ["nvidia.com/gpu"] = 8 } }, expect = 0 },
        { name = "none there", ctx = { pod = { requests = {} } }, candidate = { allocatable = {} }, expect = 100 },
    },
}
