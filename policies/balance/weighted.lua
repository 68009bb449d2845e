-- A pod with the label settings.label = "3" gets three times the connections of one without it: for machines of unequal
-- strength, or for a new version that first shall see little.
return {
    api = 1, point = "balance", name = "weighted",
    settings = { label = "minik8s.io/weight", most = 100 },
    run = function(ctx)
        local weights, reasons = {}, {}
        for _, endpoint in ipairs(ctx.endpoints) do
            local weight = tonumber((endpoint.labels or {})[ctx.settings.label])
            if weight then
                weights[endpoint.name] = math.max(1, math.min(math.floor(weight), ctx.settings.most))
                reasons[#reasons + 1] = string.format("%s weighs %d", endpoint.name, weights[endpoint.name])
            end
        end
        return { mode = "random", weights = weights, reasons = reasons }
    end,
    examples = {
        {
            name = "by label",
            ctx = { endpoints = { { name = "a", labels = { ["minik8s.io/weight"] = "3" } }, { name = "b", labels = {} } } },
            expect = { mode = "random", weights = { a = 3 } },
        },
        {
            name = "within bounds",
            ctx = { endpoints = { { name = "a", labels = { ["minik8s.io/weight"] = "1000" } } } },
            expect = { weights = { a = 100 } },
        },
    },
}
