-- Round-robin: the node whose last pod was placed longest ago. node.turn counts placements in the whole cluster; each node has the
-- number of its own last one (0: none since the manager started).
return {
    api = 1,
    point = "scheduler.score",
    name = "in-turn",
    run = function(_, node)
        return 100 / (1 + node.turn)
    end,
    examples = {
        { name = "none yet", candidate = { turn = 0 }, expect = 100 },
        { name = "long ago", candidate = { turn = 3 }, expect = 25 },
        { name = "just now", candidate = { turn = 99 }, expect = 1 },
    },
}
