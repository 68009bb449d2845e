-- nodeSelector, and what node affinity requires: one of the terms must hold, and in it every expression.
local holds = {}

function holds.In(value, wanted)
    for _, one in ipairs(wanted) do
        if one == value then return true end
    end
    return false
end

function holds.NotIn(value, wanted) return value == nil or not holds.In(value, wanted) end
function holds.Exists(value) return value ~= nil end
function holds.DoesNotExist(value) return value == nil end

function holds.Gt(value, wanted)
    local have, least = tonumber(value), tonumber(wanted[1])
    return have ~= nil and least ~= nil and have > least
end

function holds.Lt(value, wanted)
    local have, most = tonumber(value), tonumber(wanted[1])
    return have ~= nil and most ~= nil and have < most
end

local function all_hold(expressions, value_of)
    for _, expression in ipairs(expressions or {}) do
        local test = holds[expression.operator]
        if not test or not test(value_of(expression.key), expression.values or {}) then return false end
    end
    return true
end

local function term_holds(term, node)
    if not term.matchExpressions and not term.matchFields then return false end
    return all_hold(term.matchExpressions, function(key) return node.labels[key] end)
        and all_hold(term.matchFields, function(key) return key == "metadata.name" and node.name or nil end)
end

return {
    api = 1,
    point = "scheduler.filter",
    name = "selector",
    run = function(ctx, node)
        local refused = "node(s) didn't match Pod's node affinity/selector"
        for key, value in pairs(ctx.pod.node_selector or {}) do
            if node.labels[key] ~= value then return nil, refused end
        end
        local affinity = ctx.pod.affinity and ctx.pod.affinity.nodeAffinity
        local required = affinity and affinity.requiredDuringSchedulingIgnoredDuringExecution
        if not required then return true end
        for _, term in ipairs(required.nodeSelectorTerms or {}) do
            if term_holds(term, node) then return true end
        end
        return nil, refused
    end,
    examples = {
        { name = "asks for nothing", ctx = { pod = {} }, candidate = { labels = {} } },
        { name = "selected", ctx = { pod = { node_selector = { disk = "ssd" } } }, candidate = { labels = { disk = "ssd" } } },
        {
            name = "not selected",
            ctx = { pod = { node_selector = { disk = "ssd" } } },
            candidate = { labels = { disk = "hdd" } },
            refuse = "didn't match",
        },
        {
            name = "one of two terms",
            ctx = { pod = { affinity = { nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = {
                { matchExpressions = { { key = "zone", operator = "In", values = { "a" } } } },
                { matchExpressions = { { key = "cores", operator = "Gt", values = { "4" } } } },
            } } } } } },
            candidate = { labels = { zone = "b", cores = "8" } },
        },
        {
            name = "by name",
            ctx = { pod = { affinity = { nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = {
                { matchFields = { { key = "metadata.name", operator = "In", values = { "n2" } } } },
            } } } } } },
            candidate = { name = "n1", labels = {} },
            refuse = "didn't match",
        },
    },
}
