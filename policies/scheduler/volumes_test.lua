local testing = require("framework.testing")

local function ask(volumes, name)
    local world = testing.world()
    assert(world:use({ ["scheduler.filter"] = { policies = { { name = "volumes" } } } }))
    local kept, record = world:ask("scheduler.filter", { pod = { volumes = volumes } }, { { name = name, labels = {} } })
    assert(not record.fallback, "volumes decides")
    return #kept == 1, record.reasons[1]
end

return {
    ["every volume has to be usable there"] = function()
        local both = {
            { claim = "a", nodes = { n1 = true, n2 = true }, reason = "a is elsewhere" },
            { claim = "b", nodes = { n2 = true }, reason = "b is elsewhere" },
        }
        testing.equal(ask(both, "n2"), true)
        local kept, reason = ask(both, "n1")
        testing.equal(kept, false)
        testing.equal(reason, "b is elsewhere")
        testing.equal(ask(nil, "n1"), true)
    end,
}
