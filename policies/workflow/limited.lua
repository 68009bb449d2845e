-- A step that failed is tried again: so many times, each time after a longer wait; not when its exit code says that it is no use.
return {
    api = 1,
    point = "workflow.retry",
    name = "limited",
    settings = { limit = 3, first = 2, most = 300, final = { 2, 64, 65, 126, 127 } }, -- final: exit codes that are not tried again
    run = function(ctx)
        local settings, step = ctx.settings, ctx.step
        for _, code in ipairs(settings.final) do
            if step.exit_code == code then return { retry = false, reasons = { "exit code " .. code .. " is final" } } end
        end
        if step.attempt > (ctx.limit or settings.limit) then return { retry = false, reasons = { step.attempt .. " attempts failed" } } end
        local wait = math.min(settings.most, settings.first * 2 ^ math.min(step.attempt - 1, 30))
        return { retry = true, after = wait, reasons = { ("attempt %d failed; again after %g s"):format(step.attempt, wait) } }
    end,
    examples = {
        { name = "first failure", ctx = { step = { attempt = 1, exit_code = 1 } }, expect = { retry = true, after = 2 } },
        { name = "third", ctx = { step = { attempt = 3, exit_code = 1 } }, expect = { retry = true, after = 8 } },
        { name = "enough", ctx = { step = { attempt = 4, exit_code = 1 } }, expect = { retry = false } },
        { name = "not found", ctx = { step = { attempt = 1, exit_code = 127 } }, expect = { retry = false } },
    },
}
