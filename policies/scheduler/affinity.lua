-- Required pod affinity and anti-affinity, of the pod and of those that are there already: what must be in the node's
-- topology domain, and what must not.

--- The first pod of a group that wants to be near itself may begin anywhere.
local function may_begin(terms)
    for _, term in ipairs(terms) do
        if term.anywhere or not term.matches_itself then return false end
    end
    return true
end

return {
    api = 1,
    point = "scheduler.filter.near",
    name = "affinity",
    run = function(_, near)
        for _, term in ipairs(near.affinity or {}) do
            if not term.count or term.count == 0 and not may_begin(near.affinity) then
                return nil, "node(s) didn't match pod affinity rules"
            end
        end
        for _, term in ipairs(near.anti_affinity or {}) do
            if (term.count or 0) > 0 then return nil, "node(s) didn't match pod anti-affinity rules" end
        end
        if near.refused_by > 0 then return nil, "node(s) didn't satisfy existing pods anti-affinity rules" end
        return true
    end,
    examples = {
        { name = "asks for nothing", candidate = { refused_by = 0 } },
        { name = "a neighbour is there", candidate = { affinity = { { count = 2, anywhere = true } }, refused_by = 0 } },
        {
            name = "the neighbour is elsewhere",
            candidate = { affinity = { { count = 0, anywhere = true, matches_itself = true } }, refused_by = 0 },
            refuse = "affinity rules",
        },
        { name = "the first of its group", candidate = { affinity = { { count = 0, matches_itself = true } }, refused_by = 0 } },
        {
            name = "the node has no such label",
            candidate = { affinity = { { matches_itself = true } }, refused_by = 0 },
            refuse = "didn't match pod affinity rules",
        },
        { name = "one must not", candidate = { anti_affinity = { { count = 1 } }, refused_by = 0 }, refuse = "anti-affinity" },
        { name = "not in any domain", candidate = { anti_affinity = { {} }, refused_by = 0 } },
        { name = "another pod wants to be alone", candidate = { refused_by = 1 }, refuse = "existing pods" },
    },
}
