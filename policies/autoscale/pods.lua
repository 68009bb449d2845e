-- How loaded the pods are, compared with the target, as Kubernetes counts: a pod that is only starting is neither idle nor load,
-- and a pod without a figure is taken for what speaks against the change.
--
-- ratio 1 is "as wanted"; `pods` is how many the ratio is about, so ratio × pods are needed.
local function is_starting(ctx, pod)
    if pod.pending then return true end
    if ctx.name ~= "cpu" then return false end -- only CPU is high because of starting
    if not pod.started then return true end
    if ctx.now - pod.started < ctx.settings.initialization then
        return not pod.ready or (pod.at or 0) < (pod.ready_since or 0) + (pod.window or 0)
    end
    return not pod.ready and (pod.ready_since or 0) < pod.started + ctx.settings.readiness_delay
end

--- What one pod should have, and what it has, both in the metric's unit.
local function target_of(ctx, pod)
    if ctx.target_type == "Utilization" then return pod.request * ctx.target / 100 end
    return ctx.target
end

local function sums(ctx, pods, value_of)
    local used, wanted = 0, 0
    for _, pod in ipairs(pods) do
        used, wanted = used + value_of(pod), wanted + target_of(ctx, pod)
    end
    return used, wanted
end

--- A part of the object's load is not known (nodes that tell nothing of it): it is enough for more pods, not for fewer.
local function known_ratio(ctx, ratio)
    return ctx.missing and #ctx.missing > 0 and math.max(ratio, 1) or ratio
end

local function of_object(ctx)
    local ready = 0
    for _, pod in ipairs(ctx.pods) do
        if pod.ready then ready = ready + 1 end
    end
    if ctx.target_type == "Value" then
        local ratio = ctx.value / ctx.target
        return { ratio = known_ratio(ctx, ratio), ratio_shown = ratio, pods = ready, value = ctx.value, reasons = {} }
    end
    local count = math.max(ctx.current, 1)
    local ratio = ctx.value / (ctx.target * count)
    return { ratio = known_ratio(ctx, ratio), ratio_shown = ratio, pods = count, value = ctx.value / count, reasons = {} }
end

--- The ratio with assumptions about pods without a figure and pods that start; 1 when it would point the other way.
local function careful(ctx, ratio, groups)
    local all = {}
    for _, pod in ipairs(groups.known) do all[#all + 1] = { pod = pod, value = pod.value } end
    for _, pod in ipairs(groups.missing) do
        local assumed = ratio < 1 and math.max(target_of(ctx, pod), pod.request or 0) or 0
        if ratio ~= 1 then all[#all + 1] = { pod = pod, value = assumed } end
    end
    if ratio > 1 then
        for _, pod in ipairs(groups.starting) do all[#all + 1] = { pod = pod, value = 0 } end
    end
    local used, wanted = 0, 0
    for _, entry in ipairs(all) do
        used, wanted = used + entry.value, wanted + target_of(ctx, entry.pod)
    end
    local new = used / wanted
    if (ratio < 1 and new > 1) or (ratio > 1 and new < 1) then new = 1 end
    return new, #all
end

return {
    api = 1, point = "autoscale.metric", name = "pods",
    settings = { initialization = 300, readiness_delay = 30 },
    run = function(ctx)
        if ctx.value then return of_object(ctx) end
        local groups = { known = {}, missing = {}, starting = {} }
        for _, pod in ipairs(ctx.pods) do
            local group = is_starting(ctx, pod) and "starting" or pod.value and "known" or "missing"
            groups[group][#groups[group] + 1] = pod
        end
        local count = #groups.known
        if count == 0 then return { error = "no figure of a pod that is ready", ratio = 1, ratio_shown = 1, pods = 0, reasons = {} } end
        local used, wanted = sums(ctx, groups.known, function(pod) return pod.value end)
        if wanted <= 0 then return { error = "the pods request nothing of it", ratio = 1, ratio_shown = 1, pods = 0, reasons = {} } end
        local shown = used / wanted
        local ratio, pods = shown, count
        if #groups.missing > 0 or (#groups.starting > 0 and shown > 1) then ratio, pods = careful(ctx, shown, groups) end
        return { ratio = ratio, ratio_shown = shown, pods = pods, value = used / count, reasons = {} }
    end,
    examples = {
        { name = "twice the target", expect = { ratio = 2, pods = 1, value = 100 },
          ctx = { name = "cpu", target_type = "Utilization", target = 50, current = 1, now = 1000,
                  pods = { { value = 100, request = 100, ready = true, started = 0, ready_since = 1, at = 1000, window = 1 } } } },
        { name = "one that starts is neither idle nor load when there is little to do", expect = { ratio = 0.5, pods = 1 },
          ctx = { name = "cpu", target_type = "AverageValue", target = 100, current = 2, now = 1000,
                  pods = { { value = 50, ready = true, started = 0, ready_since = 1, at = 1000 },
                           { value = 900, ready = false, started = 999 } } } },
        { name = "one that starts will take its share", expect = { ratio = 1.5, pods = 2 },
          ctx = { name = "cpu", target_type = "AverageValue", target = 100, current = 2, now = 1000,
                  pods = { { value = 300, ready = true, started = 0, ready_since = 1, at = 1000 },
                           { value = 900, ready = false, started = 999 } } } },
        { name = "one without a figure counts as busy when pods would go", expect = { ratio = 0.6, pods = 2 },
          ctx = { name = "memory", target_type = "AverageValue", target = 100, current = 2, now = 1000, pods = { { value = 20 }, {} } } },
        { name = "no figure at all", expect = { error = "no figure of a pod that is ready" },
          ctx = { name = "memory", target_type = "AverageValue", target = 100, current = 2, now = 1000, pods = { {} } } },
        { name = "a value of an object", expect = { ratio = 3, pods = 1 },
          ctx = { name = "rps", target_type = "Value", target = 1000, value = 3000, current = 2, now = 1000,
                  pods = { { ready = true }, {} } } },
        { name = "a node says nothing of the object: nothing is taken away", expect = { ratio = 1, ratio_shown = 0.5, pods = 2 },
          ctx = { name = "rps", target_type = "AverageValue", target = 1000, value = 1000, current = 2, now = 1000,
                  pods = { { ready = true }, { ready = true } }, missing = { "node-2" } } },
        { name = "… but what is known is enough for more pods", expect = { ratio = 2, pods = 1 },
          ctx = { name = "rps", target_type = "AverageValue", target = 1000, value = 2000, current = 1, now = 1000,
                  pods = { { ready = true } }, missing = { "node-2" } } },
    },
}
