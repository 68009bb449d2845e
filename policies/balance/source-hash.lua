-- A client's address chooses the endpoint: the same client comes to the same one while their number stays, on every node.
return {
    api = 1, point = "balance", name = "source-hash",
    run = function(ctx)
        return { mode = "source-hash" }
    end,
    examples = {
        { name = "always", ctx = { service = { name = "web" }, endpoints = {} }, expect = { mode = "source-hash" } },
    },
}
