-- As many instances as the requests in flight need; none when nothing was asked for a while; one at once when something waits.
return {
    api = 1,
    point = "function.scale",
    name = "concurrency",
    settings = { per_instance = 4, idle = 30 }, -- requests at a time; seconds
    run = function(ctx)
        local settings = ctx.settings
        local work = (ctx.in_flight or 0) + (ctx.queued or 0)
        local wanted = math.ceil(work / (ctx.concurrency or settings.per_instance))
        local idle = ctx.idle_after or settings.idle
        if work == 0 then
            if ctx.idle >= idle then return { replicas = math.max(0, ctx.min), reasons = { ("nothing for %g s"):format(ctx.idle) } } end
            return { replicas = math.min(ctx.current, ctx.max), after = idle - ctx.idle, reasons = { "it may be wanted again" } }
        end
        local replicas = math.min(ctx.max, math.max(ctx.min, wanted, 1))
        return { replicas = replicas, reasons = { ("%d requests at a time"):format(work) } }
    end,
    examples = {
        { name = "woken", ctx = { current = 0, min = 0, max = 9, queued = 1, idle = 0 }, expect = { replicas = 1 } },
        { name = "busy", ctx = { current = 1, min = 0, max = 9, in_flight = 10, queued = 3, idle = 0 }, expect = { replicas = 4 } },
        { name = "at most", ctx = { current = 1, min = 0, max = 2, in_flight = 100, idle = 0 }, expect = { replicas = 2 } },
        { name = "a pause", ctx = { current = 3, min = 0, max = 9, in_flight = 0, idle = 10 }, expect = { replicas = 3, after = 20 } },
        { name = "idle", ctx = { current = 3, min = 0, max = 9, in_flight = 0, idle = 31 }, expect = { replicas = 0 } },
    },
}
