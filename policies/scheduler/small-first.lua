-- Small pods first: more of them get a node early, and the large ones wait. Never before more important ones.
-- settings.memory: so many bytes weigh as much as one thousandth of a core.
return {
    api = 1,
    point = "scheduler.first",
    name = "small-first",
    settings = { memory = 1048576 },
    run = function(ctx, pod)
        local requests = pod.spec.requests
        local size = (requests.cpu or 0) + (requests.memory or 0) / ctx.settings.memory
        return pod.priority + 1 / (1 + size) -- the fraction orders pods of one priority only
    end,
    examples = {
        { name = "nothing asked", candidate = { priority = 0, spec = { requests = {} } }, expect = 1 },
        { name = "a core", candidate = { priority = 0, spec = { requests = { cpu = 999 } } }, expect = 0.001 },
        { name = "important", candidate = { priority = 5, spec = { requests = { cpu = 999 } } }, min = 5 },
    },
}
