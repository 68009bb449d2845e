-- Recreate: all old pods go first; new ones are made when none is left.
return {
    api = 1, point = "rollout", name = "recreate",
    run = function(ctx)
        local left, old, reasons = 0, {}, {}
        for _, set in ipairs(ctx.old) do
            left = left + set.replicas + (set.terminating or 0)
            old[set.name] = 0
        end
        if left > 0 then
            reasons[1] = string.format("%d old pods have to go before new ones are made", left)
            return { new = 0, old = old, reasons = reasons }
        end
        return { new = ctx.desired, old = old, reasons = reasons }
    end,
    examples = {
        { name = "old pods first", expect = { new = 0, old = { a = 0 } },
          ctx = { desired = 3, max_surge = 0, max_unavailable = 0, new = { replicas = 0, available = 0 },
                  old = { { name = "a", replicas = 3, available = 3 } } } },
        { name = "then the new ones", expect = { new = 3 },
          ctx = { desired = 3, max_surge = 0, max_unavailable = 0, new = { replicas = 0, available = 0 },
                  old = { { name = "a", replicas = 0, available = 0 } } } },
        { name = "waits for the last to end", expect = { new = 0 },
          ctx = { desired = 3, max_surge = 0, max_unavailable = 0, new = { replicas = 0, available = 0 },
                  old = { { name = "a", replicas = 0, available = 0, terminating = 1 } } } },
    },
}
