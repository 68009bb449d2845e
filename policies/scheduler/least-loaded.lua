-- The node that is least busy now, whatever was asked for: what is measured there, and at least what its pods have asked for
-- (a pod that was placed a second ago is not to be seen yet). Without figures: what was asked for.
local function busy(name, node)
    local all = node.allocatable[name] or 0
    if all <= 0 then return 1 end
    local used = math.max((node.usage or {})[name] or 0, node.requested[name] or 0)
    return math.min(1, used / all)
end

return {
    api = 1,
    point = "scheduler.score",
    name = "least-loaded",
    uses = { "usage" }, -- collected while this policy is in force
    settings = { cpu = 1, memory = 1 },
    run = function(ctx, node)
        local weights = ctx.settings.cpu + ctx.settings.memory
        local load = ctx.settings.cpu * busy("cpu", node) + ctx.settings.memory * busy("memory", node)
        return 100 * (1 - load / weights)
    end,
    examples = {
        {
            name = "idle",
            candidate = { allocatable = { cpu = 1000, memory = 1000 }, requested = {}, usage = { cpu = 0, memory = 0 } },
            expect = 100,
        },
        {
            name = "busy, although nobody asked for anything",
            candidate = { allocatable = { cpu = 1000, memory = 1000 }, requested = {}, usage = { cpu = 1000, memory = 500 } },
            expect = 25,
        },
        {
            name = "no figures",
            candidate = { allocatable = { cpu = 1000, memory = 1000 }, requested = { cpu = 500, memory = 500 } },
            expect = 50,
        },
    },
}
