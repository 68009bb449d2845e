-- Every new connection goes to any of the endpoints, each equally likely.
return {
    api = 1, point = "balance", name = "random",
    run = function(ctx)
        return { mode = "random" }
    end,
    examples = {
        { name = "always", ctx = { service = { name = "web" }, endpoints = {} }, expect = { mode = "random" } },
    },
}
