-- Steps instead of proportion: above `high` percent of the target `up` pods more, below `low` percent `down` pods fewer. Calm for
-- loads that jump, and easy to predict.
return {
    api = 1, point = "autoscale.decide", name = "step",
    settings = { high = 120, low = 60, up = 1, down = 1 },
    run = function(ctx)
        local load = 0
        for _, metric in ipairs(ctx.metrics) do load = math.max(load, metric.ratio * 100) end
        local settings, replicas, word = ctx.settings, ctx.current, "between"
        if load > settings.high then
            replicas, word = ctx.current + settings.up, "above"
        elseif load < settings.low and (ctx.failed or 0) == 0 and #ctx.metrics > 0 then
            replicas, word = math.max(0, ctx.current - settings.down), "below"
        end
        return { replicas = replicas, reasons = { string.format("load is %d %% of the target, %s the steps of %d and %d",
            load, word, settings.low, settings.high) } }
    end,
    examples = {
        { name = "one more", ctx = { current = 2, metrics = { { name = "cpu", ratio = 5, pods = 2 } } }, expect = { replicas = 3 } },
        { name = "one fewer", ctx = { current = 2, metrics = { { name = "cpu", ratio = 0.1, pods = 2 } } }, expect = { replicas = 1 } },
        { name = "in between", ctx = { current = 2, metrics = { { name = "cpu", ratio = 1, pods = 2 } } }, expect = { replicas = 2 } },
        { name = "unknown", ctx = { current = 2, failed = 1, metrics = {} }, expect = { replicas = 2 } },
    },
}
