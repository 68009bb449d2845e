local testing = require("framework.testing")

return {
    ["refuses exactly above maxSkew"] = function()
        local world = testing.world()
        for skew = 1, 4 do
            for count = 0, 8 do
                local constraint = { hard = true, count = count, min = 2, max_skew = skew, matches_itself = true }
                local kept, record = world:ask("scheduler.filter.near", { pod = {} }, { { spread = { constraint }, refused_by = 0 } })
                assert(not record.fallback)
                testing.equal(#kept == 1, count + 1 - 2 <= skew, "count " .. count .. " skew " .. skew)
            end
        end
    end,
}
