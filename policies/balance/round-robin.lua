-- New connections go to the endpoints in turn. Each node counts for itself.
return {
    api = 1, point = "balance", name = "round-robin",
    run = function(ctx)
        return { mode = "round-robin" }
    end,
    examples = {
        { name = "always", ctx = { service = { name = "web" }, endpoints = {} }, expect = { mode = "round-robin" } },
    },
}
