-- topologySpreadConstraints with DoNotSchedule: one more pod in the domain must not be more than maxSkew above the
-- emptiest domain.
return {
    api = 1,
    point = "scheduler.filter.near",
    name = "topology-spread",
    run = function(_, near)
        for _, constraint in ipairs(near.spread or {}) do
            if constraint.hard then
                if not constraint.count then
                    return nil, "node(s) didn't match pod topology spread constraints (missing required label)"
                end
                local after = constraint.count + (constraint.matches_itself and 1 or 0)
                if after - constraint.min > constraint.max_skew then
                    return nil, "node(s) didn't match pod topology spread constraints"
                end
            end
        end
        return true
    end,
    examples = {
        { name = "nothing to keep", candidate = {} },
        {
            name = "level",
            candidate = { spread = { { hard = true, count = 2, min = 2, max_skew = 1, matches_itself = true } } },
        },
        {
            name = "one too many",
            candidate = { spread = { { hard = true, count = 3, min = 2, max_skew = 1, matches_itself = true } } },
            refuse = "topology spread constraints",
        },
        {
            name = "does not count itself",
            candidate = { spread = { { hard = true, count = 3, min = 2, max_skew = 1, matches_itself = false } } },
        },
        { name = "no such label", candidate = { spread = { { hard = true, min = 0, max_skew = 1 } } }, refuse = "missing required label" },
        { name = "a wish only", candidate = { spread = { { hard = false, count = 9, min = 0, max_skew = 1 } } } },
    },
}
