-- The cheapest node that fits. Its price stands in a label; nodes without one count as the dearest.
return {
    api = 1,
    point = "scheduler.score",
    name = "cost",
    settings = { label = "minik8s.io/price", dearest = 10 },
    run = function(ctx, node)
        local price = tonumber(node.labels[ctx.settings.label]) or ctx.settings.dearest
        return 100 * (1 - math.min(1, math.max(0, price) / ctx.settings.dearest))
    end,
    examples = {
        { name = "free", candidate = { labels = { ["minik8s.io/price"] = "0" } }, expect = 100 },
        { name = "cheap", candidate = { labels = { ["minik8s.io/price"] = "2.5" } }, expect = 75 },
        { name = "dear", candidate = { labels = { ["minik8s.io/price"] = "99" } }, expect = 0 },
        { name = "unknown", candidate = { labels = {} }, expect = 0 },
    },
}
