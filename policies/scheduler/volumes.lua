-- The volumes of the pod: each may be usable on some nodes only; the scheduler says on which.
return {
    api = 1,
    point = "scheduler.filter",
    name = "volumes",
    run = function(ctx, node)
        for _, volume in ipairs(ctx.pod.volumes or {}) do
            if not volume.nodes[node.name] then return nil, volume.reason end
        end
        return true
    end,
    examples = {
        { name = "no volumes", ctx = { pod = {} }, candidate = { name = "n1" } },
        {
            name = "on its node",
            ctx = { pod = { volumes = { { claim = "data", nodes = { n1 = true }, reason = "volume elsewhere" } } } },
            candidate = { name = "n1" },
        },
        {
            name = "not on another",
            ctx = { pod = { volumes = { { claim = "data", nodes = { n1 = true }, reason = "volume elsewhere" } } } },
            candidate = { name = "n2" },
            refuse = "volume elsewhere",
        },
    },
}
