-- No second attempt: for steps that must not happen twice.
return {
    api = 1,
    point = "workflow.retry",
    name = "never",
    run = function()
        return { retry = false, reasons = { "a step is not tried again" } }
    end,
    examples = {
        { name = "first failure", ctx = { step = { attempt = 1, exit_code = 1 } }, expect = { retry = false } },
    },
}
