local testing = require("framework.testing")

return {
    ["falls with every pod of the same owner, and stays above nothing"] = function()
        local world = testing.world()
        assert(world:use({ ["scheduler.score"] = { policies = { { name = "spread" } } } }))
        local last = 101
        for peers = 0, 200 do
            local scores, record = world:ask("scheduler.score", { pod = { requests = {} }, peers = peers }, { { name = "n" } })
            assert(not record.fallback and scores[1] < last and scores[1] > 0, peers)
            last = scores[1]
        end
    end,
}
