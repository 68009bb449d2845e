-- As a chain of if and else: only the first branch whose condition holds; one named `else` when none does.
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
    name = "first-match",
    run = function(ctx)
        local otherwise
        for _, branch in ipairs(ctx.branches) do
            if branch.name == "else" then
                otherwise = branch
            elseif holds(branch.when, ctx.step) then
                return { next = { branch.name }, reasons = { "the first condition that holds" } }
            end
        end
        return { next = otherwise and { "else" } or {}, reasons = { "no condition holds" } }
    end,
    examples = {
        { name = "one of two", expect = { next = { "b" } },
          ctx = { step = { name = "a", succeeded = true }, branches = { { name = "b" }, { name = "c" } } } },
        { name = "else", expect = { next = { "else" } },
          ctx = { step = { name = "a", succeeded = false }, branches = { { name = "else" }, { name = "b" } } } },
    },
}
