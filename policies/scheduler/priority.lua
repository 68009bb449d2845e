-- The more important a pod, the earlier its turn; among equals the oldest.
return {
    api = 1,
    point = "scheduler.first",
    name = "priority",
    run = function(_, pod)
        return pod.priority
    end,
    examples = {
        { name = "nothing said", candidate = { priority = 0 }, expect = 0 },
        { name = "important", candidate = { priority = 1000 }, expect = 1000 },
    },
}
