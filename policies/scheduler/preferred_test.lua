local testing = require("framework.testing")

local function score(pod, node)
    local world = testing.world()
    assert(world:use({ ["scheduler.score"] = { policies = { { name = "preferred" } } } }))
    pod.requests = {}
    local scores, record = world:ask("scheduler.score", { pod = pod, peers = 0 }, { node })
    assert(not record.fallback, "preferred decides")
    return scores[1]
end

return {
    ["a tolerated soft taint costs nothing"] = function()
        local node = { labels = {}, taints = { { key = "old", value = "very", effect = "PreferNoSchedule" } } }
        testing.equal(score({}, node), 50)
        testing.equal(score({ tolerations = { { key = "old", operator = "Exists" } } }, node), 100)
        testing.equal(score({ tolerations = { { key = "old", value = "little" } } }, node), 50)
    end,

    ["more of the preferred weight is better"] = function()
        local terms = {}
        for i = 1, 4 do
            terms[i] = { weight = i * 10, preference = { matchExpressions = { { key = "l" .. i, operator = "Exists" } } } }
        end
        local pod = { affinity = { nodeAffinity = { preferredDuringSchedulingIgnoredDuringExecution = terms } } }
        local labels = {}
        testing.equal(score(pod, { labels = labels }), 0)
        for i, sum in ipairs({ 10, 30, 60, 100 }) do
            labels["l" .. i] = "x"
            testing.equal(score(pod, { labels = labels }), sum)
        end
    end,
}
