local testing = require("framework.testing")

return {
    ["averages over the constraints"] = function()
        local world = testing.world()
        assert(world:use({ ["scheduler.score.near"] = { policies = { { name = "even" } } } }))
        local scores = world:ask("scheduler.score.near", { pod = {} }, { { spread = {
            { hard = false, count = 0, min = 0, max = 4 }, { hard = false, count = 4, min = 0, max = 4 } } } })
        testing.equal(scores[1], 50)
    end,
}
