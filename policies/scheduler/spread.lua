-- Evenly over the nodes: the fewer pods of the same owner a node has, the better.
return {
    api = 1,
    point = "scheduler.score",
    name = "spread",
    run = function(ctx)
        return 100 / (1 + ctx.peers)
    end,
    examples = {
        { name = "none of its kind", ctx = { peers = 0 }, candidate = {}, expect = 100 },
        { name = "one already", ctx = { peers = 1 }, candidate = {}, expect = 50 },
        { name = "many", ctx = { peers = 99 }, candidate = {}, expect = 1 },
    },
}
