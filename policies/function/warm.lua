-- Never quite cold: some instances stay, so that the first request finds one; beyond them as many as requests are in flight, and
-- one fewer at a time when there is less to do.
return {
    api = 1,
    point = "function.scale",
    name = "warm",
    settings = { keep = 1, per_instance = 4 },
    run = function(ctx)
        local work = (ctx.in_flight or 0) + (ctx.queued or 0)
        local wanted = math.max(ctx.settings.keep, ctx.min, math.ceil(work / (ctx.concurrency or ctx.settings.per_instance)))
        if wanted < ctx.current then wanted = ctx.current - 1 end
        local reason = ("%d requests at a time, %d stay warm"):format(work, ctx.settings.keep)
        return { replicas = math.min(ctx.max, wanted), after = 10, reasons = { reason } }
    end,
    examples = {
        { name = "idle for long", ctx = { current = 1, min = 0, max = 9, in_flight = 0, idle = 999 }, expect = { replicas = 1 } },
        { name = "one fewer", ctx = { current = 5, min = 0, max = 9, in_flight = 4, idle = 0 }, expect = { replicas = 4 } },
        { name = "busy", ctx = { current = 1, min = 0, max = 9, in_flight = 20, idle = 0 }, expect = { replicas = 5 } },
    },
}
