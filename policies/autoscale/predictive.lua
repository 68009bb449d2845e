-- Follows the trend: a straight line through the total load of the last `window` seconds, `ahead` seconds further. Grows before
-- the load is there; shrinks only as far as the load that is there allows.
local function total(entry, pods) return entry.load / 100 * pods end

--- Slope of the line through the points { x, y } of least squares; 0 with fewer than three.
local function slope_of(points)
    local n, sx, sy, sxx, sxy = #points, 0, 0, 0, 0
    if n < 3 then return 0 end
    for _, point in ipairs(points) do
        sx, sy, sxx, sxy = sx + point.x, sy + point.y, sxx + point.x * point.x, sxy + point.x * point.y
    end
    local spread = n * sxx - sx * sx
    if spread <= 0 then return 0 end
    return (n * sxy - sx * sy) / spread
end

--- How many pods there were at a time, from the changes since.
local function pods_at(ctx, at)
    local pods = ctx.current
    for i = #(ctx.changes or {}), 1, -1 do
        if ctx.changes[i].at >= at then pods = ctx.changes[i].from end
    end
    return pods
end

return {
    api = 1, point = "autoscale.decide", name = "predictive",
    settings = { window = 120, ahead = 30, tolerance = 0.1 },
    run = function(ctx)
        local load = 0
        for _, metric in ipairs(ctx.metrics) do load = math.max(load, metric.ratio * metric.pods) end
        if #ctx.metrics == 0 then return { replicas = ctx.current, reasons = { "no metric can be read" } } end
        local points = { { x = 0, y = load } }
        for _, entry in ipairs(ctx.history or {}) do
            local x = entry.at / 1000 - ctx.now
            if x > -ctx.settings.window and x < 0 then points[#points + 1] = { x = x, y = total(entry, pods_at(ctx, entry.at)) } end
        end
        local expected = math.max(load, load + slope_of(points) * ctx.settings.ahead)
        local replicas = math.ceil(expected - 1e-9)
        if math.abs(expected / ctx.current - 1) <= ctx.settings.tolerance + 1e-9 then replicas = ctx.current end
        if (ctx.failed or 0) > 0 then replicas = math.max(replicas, ctx.current) end
        return { replicas = replicas, reasons = { string.format("load for %.1f pods now, %.1f expected in %d s",
            load, expected, ctx.settings.ahead) } }
    end,
    examples = {
        { name = "rising: grows for what comes", expect = { replicas = 5 },
          ctx = { current = 2, now = 100, metrics = { { name = "cpu", ratio = 1, pods = 2 } },
                  history = { { at = 80000, load = 0 }, { at = 90000, load = 50 } }, changes = {} } },
        { name = "steady", expect = { replicas = 2 },
          ctx = { current = 2, now = 100, metrics = { { name = "cpu", ratio = 1, pods = 2 } },
                  history = { { at = 80000, load = 100 }, { at = 90000, load = 100 } }, changes = {} } },
        { name = "falling: only to what is there", expect = { replicas = 2 },
          ctx = { current = 4, now = 100, metrics = { { name = "cpu", ratio = 0.5, pods = 4 } },
                  history = { { at = 80000, load = 150 }, { at = 90000, load = 100 } }, changes = {} } },
    },
}
