-- As many pods as bring each metric to its target; the metric that wants most decides. Within the tolerance nothing moves, and
-- while a metric cannot be read nothing is taken away.
local function of_metric(ctx, metric)
    if math.abs(metric.ratio - 1) <= ctx.settings.tolerance + 1e-9 then return ctx.current end
    local wanted = math.ceil(metric.ratio * metric.pods - 1e-9)
    -- Fewer pods were counted than there are: never grow because of little load, never shrink because of much.
    if metric.ratio < 1 then return math.min(wanted, ctx.current) end
    return math.max(wanted, ctx.current)
end

return {
    api = 1, point = "autoscale.decide", name = "target-utilization",
    settings = { tolerance = 0.1 },
    run = function(ctx)
        local wanted, by = nil, nil
        for _, metric in ipairs(ctx.metrics) do
            local replicas = of_metric(ctx, metric)
            if not wanted or replicas > wanted then wanted, by = replicas, metric end
        end
        if not wanted then return { replicas = ctx.current, reasons = { "no metric can be read" } } end
        if (ctx.failed or 0) > 0 and wanted < ctx.current then
            return { replicas = ctx.current, reasons = { "a metric cannot be read: nothing is taken away" } }
        end
        local side = by.ratio > 1 and "above" or "below"
        local reason = wanted == ctx.current and string.format("%s is near its target (%d %%)", by.name, math.floor(by.ratio * 100 + 0.5))
            or string.format("%s %s target (%d %% of it)", by.name, side, math.floor(by.ratio * 100 + 0.5))
        return { replicas = wanted, reasons = { reason } }
    end,
    examples = {
        { name = "three times the target",
          ctx = { current = 2, metrics = { { name = "cpu", ratio = 3, pods = 2 } } }, expect = { replicas = 6 } },
        { name = "within the tolerance",
          ctx = { current = 2, metrics = { { name = "cpu", ratio = 1.1, pods = 2 } } }, expect = { replicas = 2 } },
        { name = "idle", ctx = { current = 6, metrics = { { name = "cpu", ratio = 0, pods = 6 } } }, expect = { replicas = 0 } },
        { name = "the greatest wins", expect = { replicas = 4 },
          ctx = { current = 2, metrics = { { name = "cpu", ratio = 0.1, pods = 2 }, { name = "memory", ratio = 2, pods = 2 } } } },
        { name = "one is unreadable", expect = { replicas = 6 },
          ctx = { current = 6, failed = 1, metrics = { { name = "cpu", ratio = 0, pods = 6 } } } },
    },
}
