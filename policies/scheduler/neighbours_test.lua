local testing = require("framework.testing")

return {
    ["grows with the preference and stays within the scale"] = function()
        local world = testing.world()
        assert(world:use({ ["scheduler.score.near"] = { policies = { { name = "neighbours" } } } }))
        local last = -1
        for preference = -50, 100, 10 do
            local scores, record = world:ask("scheduler.score.near", { pod = {} },
                { { preference = preference, preference_min = -50, preference_max = 100 } })
            assert(not record.fallback and scores[1] > last and scores[1] <= 100, preference)
            last = scores[1]
        end
        testing.equal(last, 100)
    end,
}
