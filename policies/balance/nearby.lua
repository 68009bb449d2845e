-- New connections stay on the node that they begin on, as long as it has a pod of the Service; settings.share of them, in shares
-- of a pod elsewhere. Each node decides for itself.
return {
    api = 1, point = "balance", name = "nearby",
    settings = { share = 100 },
    run = function(ctx)
        local weights, here = {}, 0
        for _, endpoint in ipairs(ctx.endpoints) do
            if endpoint.node == ctx.node then
                weights[endpoint.name] = math.max(1, math.min(math.floor(ctx.settings.share), 100))
                here = here + 1
            end
        end
        return { mode = "random", weights = weights, reasons = { ("%d of %d are here"):format(here, #ctx.endpoints) } }
    end,
    examples = {
        {
            name = "one here, one elsewhere",
            ctx = { node = "node-1", endpoints = { { name = "a", node = "node-1" }, { name = "b", node = "node-2" } } },
            expect = { mode = "random", weights = { a = 100 } },
        },
        {
            name = "none here",
            ctx = { node = "node-3", endpoints = { { name = "a", node = "node-1" } } },
            expect = { mode = "random", weights = {} },
        },
    },
}
