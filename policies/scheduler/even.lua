-- topologySpreadConstraints with ScheduleAnyway: the emptier the node's domain, the better; without the label: last.
return {
    api = 1,
    point = "scheduler.score.near",
    name = "even",
    run = function(_, near)
        local sum, constraints = 0, 0
        for _, constraint in ipairs(near.spread or {}) do
            if not constraint.hard then
                constraints = constraints + 1
                local range = constraint.max - constraint.min
                if constraint.count then
                    local above = range > 0 and (constraint.count - constraint.min) / range or 0
                    sum = sum + 100 * (1 - math.max(0, math.min(1, above)))
                end
            end
        end
        return constraints > 0 and sum / constraints or 0
    end,
    examples = {
        { name = "nothing to keep", candidate = {}, expect = 0 },
        { name = "the emptiest", candidate = { spread = { { hard = false, count = 1, min = 1, max = 5 } } }, expect = 100 },
        { name = "the fullest", candidate = { spread = { { hard = false, count = 5, min = 1, max = 5 } } }, expect = 0 },
        { name = "all alike", candidate = { spread = { { hard = false, count = 2, min = 2, max = 2 } } }, expect = 100 },
        { name = "no such label", candidate = { spread = { { hard = false, min = 0, max = 2 } } }, expect = 0 },
        { name = "conditions are not wishes", candidate = { spread = { { hard = true, count = 1, min = 1, max = 5 } } }, expect = 0 },
    },
}
