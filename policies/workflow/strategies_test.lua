-- Branching and retries over random steps: two strategies of one point differ, and each keeps what it promises.
local testing = require("framework.testing")

local function world_with(point, name)
    local world = testing.world()
    assert(world:use({ [point] = { policies = { { name = name } } } }))
    return function(ctx)
        local result, record = world:ask(point, ctx)
        assert(record.policy == name and not record.fallback, record.failure)
        return result
    end
end

return {
    ["branch: all that hold, or the first of them"] = function()
        local all, first, differ = world_with("workflow.branch", "conditions"), world_with("workflow.branch", "first-match"), 0
        for seed = 1, 30 do
            local random = testing.random(seed)
            local ctx = { step = { name = "a", succeeded = random(2) == 1, exit_code = random(3) - 1 }, branches = {} }
            for i = 1, random(4) + 1 do
                local kind = random(3)
                ctx.branches[i] = { name = "b" .. i,
                    when = kind == 1 and { succeeded = true } or kind == 2 and { exit_code = random(3) - 1 } or nil }
            end
            local many, one = all(ctx).next, first(ctx).next
            assert(#one <= 1 and #one <= #many)
            testing.equal(one[1], many[1])
            if #many > 1 then differ = differ + 1 end
        end
        assert(differ > 5)
    end,

    ["retry: limited ends, never does not begin"] = function()
        local limited, never = world_with("workflow.retry", "limited"), world_with("workflow.retry", "never")
        local attempt, waited = 1, 0
        while limited({ step = { attempt = attempt, exit_code = 1 } }).retry do
            waited = waited + limited({ step = { attempt = attempt, exit_code = 1 } }).after
            attempt = attempt + 1
        end
        testing.equal({ attempt, waited }, { 4, 14 })
        testing.equal(never({ step = { attempt = 1, exit_code = 1 } }).retry, false)
    end,

    ["a branch that does not exist is refused, and the default decides"] = function()
        local world = testing.world()
        assert(world:policy([[return { api = 1, point = "workflow.branch", name = "odd",
            run = function(ctx) return { next = ctx.calm and {} or { "nowhere" } } end,
            examples = { { ctx = { calm = true }, expect = {} } } }]]))
        assert(world:use({ ["workflow.branch"] = { policies = { { name = "odd" } } } }))
        local result, record = world:ask("workflow.branch", { step = { name = "a", succeeded = true }, branches = { { name = "b" } } })
        testing.equal({ result.next, record.fallback }, { { "b" }, true })
    end,
}
