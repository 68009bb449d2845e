-- In steps: a few new pods beside all the old ones, a pause, more of them, a pause, all; only then the old ones go. If new pods
-- do not become ready in time, or answer with more errors than allowed, they go again and nothing was lost: the old ones are all
-- still there (so up to twice the pods exist for a while).
--
-- settings: steps (percent of new pods), pause and wait (seconds), errors (percent of requests; needs pods that tell errors_total
-- and requests_total on their metrics page). ctx.state is kept on the new ReplicaSet: a new template begins anew.
local function gone_first(ctx, left)
    local old = {}
    for _, set in ipairs(ctx.old) do old[set.name] = 0 end
    return { new = left == 0 and ctx.desired or 0, old = old, reasons = { left .. " old pods have to go first" } }
end

local function left_of(ctx)
    local left = 0
    for _, set in ipairs(ctx.old) do left = left + set.replicas + (set.terminating or 0) end
    return left
end

local function finish(ctx, reason)
    local old = {}
    for _, set in ipairs(ctx.old) do old[set.name] = 0 end
    ctx.state = {}
    return { new = ctx.desired, old = old, reasons = { reason } }
end

local function abort(ctx, reason)
    ctx.state = { aborted = reason }
    return { new = 0, old = {}, reasons = { "aborted: " .. reason } }
end

local function error_percent(ctx)
    local requests = ctx.new.requests or 0
    return requests > 0 and 100 * (ctx.new.errors or 0) / requests or 0
end

local function wait_for(ctx, state, wanted, now)
    state.ready = nil
    state.since = state.since or now
    local waited = now - state.since
    if waited >= ctx.settings.wait then
        return abort(ctx, ("%d of %d new pods are available after %d s"):format(ctx.new.available, wanted, waited))
    end
    return { new = wanted, old = {}, after = ctx.settings.wait - waited,
        reasons = { ("step %d: %d of %d new pods are available"):format(state.step, ctx.new.available, wanted) } }
end

--- All pods of the step serve: the pause, then the next step.
local function watch(ctx, state, wanted, now)
    local errors, steps = error_percent(ctx), ctx.settings.steps
    if errors > ctx.settings.errors then return abort(ctx, ("%.1f %% of the requests to new pods fail"):format(errors)) end
    state.ready, state.since = state.ready or now, nil
    local left = ctx.settings.pause - (now - state.ready)
    if left > 0 then
        return { new = wanted, old = {}, after = math.min(left, 5),
            reasons = { ("step %d: %d new pods are watched"):format(state.step, wanted) } }
    end
    if state.step >= #steps then return finish(ctx, "all steps passed") end
    state.step, state.ready = state.step + 1, nil
    state.since = now
    return { new = math.max(1, math.ceil(ctx.desired * steps[state.step] / 100)), old = {}, after = ctx.settings.wait,
        reasons = { ("step %d: %d %%"):format(state.step, steps[state.step]) } }
end

return {
    api = 1, point = "rollout", name = "canary",
    uses = { "requests_per_second", "errors_per_second" },
    settings = { steps = { 10, 50, 100 }, pause = 30, wait = 120, errors = 5 },
    run = function(ctx)
        local left = left_of(ctx)
        if ctx.strategy == "Recreate" and left > 0 then return gone_first(ctx, left) end
        if left == 0 then return finish(ctx, "there are no old pods") end
        local state, now = ctx.state, math.floor(ctx.now)
        if state.aborted then return { new = 0, old = {}, reasons = { "aborted: " .. state.aborted } } end
        state.step = math.min(state.step or 1, #ctx.settings.steps)
        local wanted = math.min(ctx.desired, math.max(1, math.ceil(ctx.desired * ctx.settings.steps[state.step] / 100)))
        if ctx.new.replicas < wanted or ctx.new.available < wanted then return wait_for(ctx, state, wanted, now) end
        return watch(ctx, state, wanted, now)
    end,
    examples = {
        { name = "first deployment", expect = { new = 3 },
          ctx = { desired = 3, now = 100, new = { replicas = 0, available = 0 }, old = {} } },
        { name = "one canary", expect = { new = 1, old = {} }, state = { step = 1, since = 100 },
          ctx = { desired = 4, now = 100, new = { replicas = 0, available = 0 }, old = { { name = "a", replicas = 4, available = 4 } } } },
        { name = "half", expect = { new = 2 }, state = { step = 2, since = 200 },
          ctx = { desired = 4, now = 200, state = { step = 1, ready = 100 }, new = { replicas = 1, available = 1 },
                  old = { { name = "a", replicas = 4, available = 4 } } } },
        { name = "the end", expect = { new = 4, old = { a = 0 } },
          ctx = { desired = 4, now = 200, state = { step = 3, ready = 100 }, new = { replicas = 4, available = 4 },
                  old = { { name = "a", replicas = 4, available = 4 } } } },
        { name = "never ready", expect = { new = 0, old = {} }, state = { aborted = "0 of 1 new pods are available after 200 s" },
          ctx = { desired = 4, now = 300, state = { step = 1, since = 100 }, new = { replicas = 1, available = 0 },
                  old = { { name = "a", replicas = 4, available = 4 } } } },
        { name = "errors", expect = { new = 0 }, state = { aborted = "20.0 % of the requests to new pods fail" },
          ctx = { desired = 4, now = 110, state = { step = 1, ready = 100 },
                  new = { replicas = 1, available = 1, requests = 10000, errors = 2000 },
                  old = { { name = "a", replicas = 4, available = 4 } } } },
        { name = "it stays aborted", expect = { new = 0 },
          ctx = { desired = 4, now = 999, state = { aborted = "x" }, new = { replicas = 0, available = 0 },
                  old = { { name = "a", replicas = 4, available = 4 } } } },
    },
}
