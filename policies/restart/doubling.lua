-- How long a container that ended waits before it is started again: the first time a second, then twice as long each time, a
-- minute at most. One that ran for a while begins anew.
return {
    api = 1,
    point = "restart.backoff",
    name = "doubling",
    settings = { first = 1, most = 60, reset = 60 }, -- seconds
    run = function(ctx)
        local settings = ctx.settings
        local fresh = ctx.ran >= settings.reset
        local crashes = fresh and 0 or ctx.crashes
        local wait = math.min(settings.most, settings.first * 2 ^ math.min(crashes, 30))
        return { wait = wait, reset = fresh, reasons = { ("%d ends in a row: %g s"):format(crashes + 1, wait) } }
    end,
    examples = {
        { name = "first end", ctx = { crashes = 0, ran = 1 }, expect = { wait = 1, reset = false } },
        { name = "fourth", ctx = { crashes = 3, ran = 1 }, expect = { wait = 8, reset = false } },
        { name = "never more than a minute", ctx = { crashes = 500, ran = 1 }, expect = { wait = 60 } },
        { name = "it ran for a minute", ctx = { crashes = 7, ran = 60 }, expect = { wait = 1, reset = true } },
    },
}
