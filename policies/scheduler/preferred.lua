-- What node affinity prefers, by weight, and nodes without a PreferNoSchedule taint that the pod does not tolerate.
local function in_list(values, value)
    for _, one in ipairs(values or {}) do
        if one == value then return true end
    end
    return false
end

local function expression_holds(expression, value)
    local operator = expression.operator
    if operator == "In" then return value ~= nil and in_list(expression.values, value) end
    if operator == "NotIn" then return value == nil or not in_list(expression.values, value) end
    if operator == "Exists" then return value ~= nil end
    if operator == "DoesNotExist" then return value == nil end
    local have, bound = tonumber(value), tonumber((expression.values or {})[1])
    if not have or not bound then return false end
    return operator == "Gt" and have > bound or operator == "Lt" and have < bound
end

local function preference_share(ctx, node)
    local affinity = ctx.pod.affinity and ctx.pod.affinity.nodeAffinity
    local sum, all = 0, 0
    for _, term in ipairs(affinity and affinity.preferredDuringSchedulingIgnoredDuringExecution or {}) do
        local holds = true
        for _, expression in ipairs(term.preference and term.preference.matchExpressions or {}) do
            holds = holds and expression_holds(expression, node.labels[expression.key])
        end
        all = all + term.weight
        if holds then sum = sum + term.weight end
    end
    return all > 0 and sum / all or 1
end

local function is_tolerated(taint, tolerations)
    for _, toleration in ipairs(tolerations or {}) do
        local key = toleration.key == nil or toleration.key == "" or toleration.key == taint.key
        local value = toleration.operator == "Exists" or (toleration.value or "") == (taint.value or "")
        if key and value and (not toleration.effect or toleration.effect == taint.effect) then return true end
    end
    return false
end

return {
    api = 1,
    point = "scheduler.score",
    name = "preferred",
    run = function(ctx, node)
        local score = 100 * preference_share(ctx, node)
        for _, taint in ipairs(node.taints or {}) do
            if taint.effect == "PreferNoSchedule" and not is_tolerated(taint, ctx.pod.tolerations) then return score / 2 end
        end
        return score
    end,
    examples = {
        { name = "prefers nothing", ctx = { pod = {} }, candidate = { labels = {} }, expect = 100 },
        {
            name = "three quarters of the weight",
            ctx = { pod = { affinity = { nodeAffinity = { preferredDuringSchedulingIgnoredDuringExecution = {
                { weight = 75, preference = { matchExpressions = { { key = "disk", operator = "In", values = { "ssd" } } } } },
                { weight = 25, preference = { matchExpressions = { { key = "gpu", operator = "Exists" } } } },
            } } } } },
            candidate = { labels = { disk = "ssd" } },
            expect = 75,
        },
        {
            name = "rather not here",
            ctx = { pod = {} },
            candidate = { labels = {}, taints = { { key = "old", effect = "PreferNoSchedule" } } },
            expect = 50,
        },
    },
}
