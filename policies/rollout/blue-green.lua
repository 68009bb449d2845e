-- All new pods beside all old ones; when every new one has been available for settings.hold seconds, all old ones go at once.
-- When they are not available within settings.wait seconds, the new ones go again. Twice the pods exist for a while.
local function left_of(ctx)
    local left, old = 0, {}
    for _, set in ipairs(ctx.old) do
        left = left + set.replicas + (set.terminating or 0)
        old[set.name] = 0
    end
    return left, old
end

return {
    api = 1, point = "rollout", name = "blue-green",
    settings = { hold = 10, wait = 300 },
    run = function(ctx)
        local left, none = left_of(ctx)
        if ctx.strategy == "Recreate" and left > 0 then return { new = 0, old = none, reasons = { "the old pods have to go first" } } end
        if left == 0 then
            ctx.state = {}
            return { new = ctx.desired, old = none, reasons = {} }
        end
        local state, now = ctx.state, math.floor(ctx.now)
        if state.aborted then return { new = 0, old = {}, reasons = { "aborted: " .. state.aborted } } end
        if ctx.new.replicas < ctx.desired or ctx.new.available < ctx.desired then
            state.since, state.ready = state.since or now, nil
            local waited = now - state.since
            if waited >= ctx.settings.wait then
                ctx.state = { aborted = ("%d of %d new pods are available after %d s"):format(ctx.new.available, ctx.desired, waited) }
                return { new = 0, old = {}, reasons = { "aborted: " .. ctx.state.aborted } }
            end
            return { new = ctx.desired, old = {}, after = ctx.settings.wait - waited,
                reasons = { ("%d of %d new pods are available"):format(ctx.new.available, ctx.desired) } }
        end
        state.ready, state.since = state.ready or now, nil
        local hold = ctx.settings.hold - (now - state.ready)
        if hold > 0 then
            return { new = ctx.desired, old = {}, after = hold, reasons = { "all new pods are available; a moment to look" } }
        end
        ctx.state = {}
        return { new = ctx.desired, old = none, reasons = { "all new pods are available: the old ones go" } }
    end,
    examples = {
        { name = "all new ones at once", expect = { new = 3, old = {} }, state = { since = 100 },
          ctx = { desired = 3, now = 100, new = { replicas = 0, available = 0 }, old = { { name = "a", replicas = 3, available = 3 } } } },
        { name = "a moment to look", expect = { new = 3, old = {}, after = 10 }, state = { ready = 100 },
          ctx = { desired = 3, now = 100, state = { since = 90 }, new = { replicas = 3, available = 3 },
                  old = { { name = "a", replicas = 3, available = 3 } } } },
        { name = "the switch", expect = { new = 3, old = { a = 0 } },
          ctx = { desired = 3, now = 110, state = { ready = 100 }, new = { replicas = 3, available = 3 },
                  old = { { name = "a", replicas = 3, available = 3 } } } },
        { name = "never ready", expect = { new = 0, old = {} }, state = { aborted = "2 of 3 new pods are available after 300 s" },
          ctx = { desired = 3, now = 400, state = { since = 100 }, new = { replicas = 3, available = 2 },
                  old = { { name = "a", replicas = 3, available = 3 } } } },
    },
}
