-- What follows a step: every branch whose condition holds. `when` = { step succeeded or failed, exit_code, output equals }; a branch
-- without conditions follows success.
local function holds(when, step)
    if not when then return step.succeeded end
    if when.succeeded ~= nil and when.succeeded ~= step.succeeded then return false end
    if when.exit_code and when.exit_code ~= step.exit_code then return false end
    for name, value in pairs(when.outputs or {}) do
        if (step.outputs or {})[name] ~= value then return false end
    end
    return when.succeeded ~= nil or when.exit_code ~= nil or step.succeeded
end

return {
    api = 1,
    point = "workflow.branch",
    name = "conditions",
    run = function(ctx)
        local following, reasons = {}, {}
        for _, branch in ipairs(ctx.branches) do
            if holds(branch.when, ctx.step) then
                following[#following + 1] = branch.name
                reasons[#reasons + 1] = branch.name .. " follows " .. ctx.step.name
            end
        end
        return { next = following, reasons = reasons }
    end,
    examples = {
        { name = "success", expect = { next = { "b" } },
          ctx = { step = { name = "a", succeeded = true, exit_code = 0 },
                  branches = { { name = "b" }, { name = "c", when = { succeeded = false } } } } },
        { name = "failure", expect = { next = { "c" } },
          ctx = { step = { name = "a", succeeded = false, exit_code = 1 },
                  branches = { { name = "b" }, { name = "c", when = { succeeded = false } } } } },
        { name = "an output", expect = { next = { "big" } },
          ctx = { step = { name = "a", succeeded = true, outputs = { size = "big" } },
                  branches = { { name = "big", when = { outputs = { size = "big" } } },
                               { name = "small", when = { outputs = { size = "small" } } } } } },
    },
}
