local testing = require("framework.testing")

local function ask(pod, node)
    local world = testing.world()
    assert(world:use({ ["scheduler.filter"] = { policies = { { name = "selector" } } } }))
    local kept, record = world:ask("scheduler.filter", { pod = pod }, { node })
    assert(not record.fallback, "selector decides")
    return #kept == 1, record.reasons[1]
end

local function required(...)
    return { affinity = { nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = { ... } } } } }
end

local function term(key, operator, ...)
    return { matchExpressions = { { key = key, operator = operator, values = { ... } } } }
end

return {
    ["every operator, on a node that has the label and on one that has not"] = function()
        local with, without = { name = "n", labels = { cores = "8" } }, { name = "n", labels = {} }
        local cases = {
            { term("cores", "In", "4", "8"), true, false }, { term("cores", "NotIn", "8"), false, true },
            { term("cores", "Exists"), true, false }, { term("cores", "DoesNotExist"), false, true },
            { term("cores", "Gt", "7"), true, false }, { term("cores", "Gt", "8"), false, false },
            { term("cores", "Lt", "9"), true, false }, { term("cores", "Lt", "x"), false, false },
            { term("cores", "Approximately", "8"), false, false },
        }
        for i, case in ipairs(cases) do
            testing.equal((ask(required(case[1]), with)), case[2], "with, case " .. i)
            testing.equal((ask(required(case[1]), without)), case[3], "without, case " .. i)
        end
    end,

    ["terms are alternatives, expressions of one are not"] = function()
        local node = { name = "n", labels = { a = "1", b = "2" } }
        testing.equal(ask(required(term("a", "In", "9"), term("b", "In", "2")), node), true)
        local both = { matchExpressions = { term("a", "In", "9").matchExpressions[1], term("b", "In", "2").matchExpressions[1] } }
        testing.equal((ask(required(both), node)), false)
        testing.equal((ask(required({}), node)), false, "an empty term matches nothing")
    end,

    ["nodeSelector and affinity both have to hold"] = function()
        local pod = required(term("a", "Exists"))
        pod.node_selector = { b = "2" }
        testing.equal(ask(pod, { name = "n", labels = { a = "1", b = "2" } }), true)
        testing.equal((ask(pod, { name = "n", labels = { a = "1" } })), false)
    end,
}
