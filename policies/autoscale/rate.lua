-- For metrics that count work per pod (requests per second): all of the work, divided by what one pod should do, rounded up. No
-- tolerance: work is exact where CPU is noisy. `headroom` percent more than needed are kept. Without such a metric nothing moves.
return {
    api = 1, point = "autoscale.decide", name = "rate",
    settings = { headroom = 0 },
    run = function(ctx)
        local replicas, reasons = nil, {}
        for _, metric in ipairs(ctx.metrics) do
            if metric.kind == "Pods" or metric.kind == "Object" then
                local wanted = math.ceil(metric.ratio * metric.pods * (1 + ctx.settings.headroom / 100) - 1e-9)
                if not replicas or wanted > replicas then
                    replicas = wanted
                    reasons[1] = string.format("%s is work for %d pods", metric.name, wanted)
                end
            end
        end
        if not replicas then return { replicas = ctx.current, reasons = { "no metric counts work" } } end
        if (ctx.failed or 0) > 0 then replicas = math.max(replicas, ctx.current) end
        return { replicas = replicas, reasons = reasons }
    end,
    examples = {
        { name = "a little more than one pod's work", expect = { replicas = 2 },
          ctx = { current = 1, metrics = { { name = "rps", kind = "Pods", ratio = 1.05, pods = 1 } } } },
        { name = "CPU is no work", expect = { replicas = 3 },
          ctx = { current = 3, metrics = { { name = "cpu", kind = "Resource", ratio = 4, pods = 3 } } } },
        { name = "an unreadable one takes nothing away", expect = { replicas = 3 },
          ctx = { current = 3, failed = 1, metrics = { { name = "rps", kind = "Pods", ratio = 0.1, pods = 3 } } } },
    },
}
