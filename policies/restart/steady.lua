-- The same wait each time, whatever happened before; longer when the container was killed for its memory, which a quick restart
-- would only repeat.
return {
    api = 1,
    point = "restart.backoff",
    name = "steady",
    settings = { wait = 5, out_of_memory = 30 }, -- seconds
    run = function(ctx)
        local wait = ctx.out_of_memory and ctx.settings.out_of_memory or ctx.settings.wait
        return { wait = wait, reset = true, reasons = { ("%g s"):format(wait) } }
    end,
    examples = {
        { name = "first end", ctx = { crashes = 0, ran = 1 }, expect = { wait = 5 } },
        { name = "hundredth", ctx = { crashes = 100, ran = 1 }, expect = { wait = 5 } },
        { name = "out of memory", ctx = { crashes = 0, ran = 1, out_of_memory = true }, expect = { wait = 30 } },
    },
}
