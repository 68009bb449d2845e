-- Preferred pod affinity and anti-affinity, of the pod and of those that are there already: the sum of weights per matching
-- pod in the node's domains, between the worst and the best node.
return {
    api = 1,
    point = "scheduler.score.near",
    name = "neighbours",
    run = function(_, near)
        local range = near.preference_max - near.preference_min
        if range <= 0 then return 0 end
        return 100 * (near.preference - near.preference_min) / range
    end,
    examples = {
        { name = "nobody cares", candidate = { preference = 0, preference_min = 0, preference_max = 0 }, expect = 0 },
        { name = "the best", candidate = { preference = 30, preference_min = -10, preference_max = 30 }, expect = 100 },
        { name = "in between", candidate = { preference = 10, preference_min = -10, preference_max = 30 }, expect = 50 },
        { name = "rather not", candidate = { preference = -10, preference_min = -10, preference_max = 30 }, expect = 0 },
    },
}
