local testing = require("framework.testing")

return {
    ["chooses among what it is given, and nothing of nothing"] = function()
        local world = testing.world()
        local answer, record = world:ask("scheduler.preempt", { pod = {}, candidates = {
            { node = "a", violations = 0, victims = { { priority = 7, created = 1 } } },
            { node = "b", violations = 0, victims = { { priority = 3, created = 1 } } } } })
        testing.equal(answer.node, "b")
        assert(not record.fallback)
        testing.equal(world:ask("scheduler.preempt", { pod = {}, candidates = {} }), nil)
    end,

    ["a node that was not offered is refused, the shipped policy decides"] = function()
        local world = testing.world()
        assert(world:policy([[return { api = 1, point = "scheduler.preempt", name = "wild",
            run = function(ctx) return { node = ctx.candidates[1] and ctx.wild and "nowhere" or "a" } end,
            examples = { { ctx = { candidates = { { node = "a", victims = {} } } }, expect = { node = "a" } } } }]]))
        assert(world:use({ ["scheduler.preempt"] = { policies = { { name = "wild" } } } }))
        local answer, record = world:ask("scheduler.preempt", { wild = true, candidates = {
            { node = "b", violations = 0, victims = { { priority = 3, created = 1 } } } } })
        testing.equal(answer.node, "b")
        assert(record.fallback)
    end,
}
