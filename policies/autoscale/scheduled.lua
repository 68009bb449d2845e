-- Like target-utilization, but at certain hours (UTC) there are at least so many pods, before the load is there:
-- settings.hours = { { from = 8, to = 18, least = 5 } }; a range may go over midnight; `days` = { 1, 2, … } (1 is Monday) if given.
local function listed(list, value)
    for _, entry in ipairs(list) do
        if entry == value then return true end
    end
    return false
end

local function holds(range, now)
    local hour = now % 86400 / 3600
    local day = (math.floor(now / 86400) + 3) % 7 + 1 -- 1970 began on a Thursday
    if range.days and not listed(range.days, day) then return false end
    if range.from <= range.to then return hour >= range.from and hour < range.to end
    return hour >= range.from or hour < range.to
end

return {
    api = 1, point = "autoscale.decide", name = "scheduled",
    settings = { tolerance = 0.1, hours = {} },
    run = function(ctx)
        local wanted, reason = nil, "no metric can be read"
        for _, metric in ipairs(ctx.metrics) do
            local replicas = ctx.current
            if math.abs(metric.ratio - 1) > ctx.settings.tolerance + 1e-9 then replicas = math.ceil(metric.ratio * metric.pods - 1e-9) end
            if not wanted or replicas > wanted then
                wanted, reason = replicas, string.format("%s is at %d %% of its target", metric.name, math.floor(metric.ratio * 100 + 0.5))
            end
        end
        wanted = wanted or ctx.current
        if (ctx.failed or 0) > 0 then wanted = math.max(wanted, ctx.current) end
        for _, range in ipairs(ctx.settings.hours) do
            if holds(range, ctx.now) and range.least > wanted then
                wanted, reason = range.least, string.format("at least %d from %g to %g o'clock", range.least, range.from, range.to)
            end
        end
        return { replicas = wanted, reasons = { reason } }
    end,
    examples = {
        { name = "no hours: as the load says", expect = { replicas = 4 },
          ctx = { current = 2, now = 0, metrics = { { name = "cpu", ratio = 2, pods = 2 } } } },
        { name = "no load: nothing", expect = { replicas = 0 },
          ctx = { current = 2, now = 0, metrics = { { name = "cpu", ratio = 0, pods = 2 } } } },
    },
}
