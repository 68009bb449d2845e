local testing = require("framework.testing")

return {
    ["all terms must hold, and any one of the others refuses"] = function()
        local world = testing.world()
        local function ask(near)
            near.refused_by = near.refused_by or 0
            local kept, record = world:ask("scheduler.filter.near", { pod = {} }, { near })
            assert(not record.fallback)
            return #kept == 1, record.reasons[1]
        end
        assert(ask({ affinity = { { count = 1, anywhere = true }, { count = 3, anywhere = true } } }))
        assert(not ask({ affinity = { { count = 1, anywhere = true }, { count = 0, anywhere = true } } }))
        assert(ask({ affinity = { { count = 0, matches_itself = true }, { count = 0, matches_itself = true } } }))
        assert(not ask({ affinity = { { count = 0, matches_itself = true }, { count = 0 } } }))
        local fits, reason = ask({ affinity = { { count = 1, anywhere = true } }, anti_affinity = { { count = 0 }, { count = 2 } } })
        assert(not fits)
        testing.contains(reason, "anti-affinity")
    end,
}
