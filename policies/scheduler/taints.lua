-- A pod stays away from nodes with a NoSchedule or NoExecute taint that it does not tolerate.
local function tolerates(toleration, taint)
    if toleration.effect and toleration.effect ~= "" and toleration.effect ~= taint.effect then return false end
    if toleration.key and toleration.key ~= "" and toleration.key ~= taint.key then return false end
    if toleration.operator == "Exists" then return true end
    return (toleration.key or "") ~= "" and (toleration.value or "") == (taint.value or "")
end

return {
    api = 1,
    point = "scheduler.filter",
    name = "taints",
    run = function(ctx, node)
        for _, taint in ipairs(node.taints or {}) do
            local tolerated = taint.effect == "PreferNoSchedule"
            for _, toleration in ipairs(ctx.pod.tolerations or {}) do
                tolerated = tolerated or tolerates(toleration, taint)
            end
            if not tolerated then
                local value = taint.value and taint.value ~= "" and "=" .. taint.value or ""
                return nil, "node(s) had untolerated taint {" .. taint.key .. value .. ":" .. taint.effect .. "}"
            end
        end
        return true
    end,
    examples = {
        { name = "no taints", ctx = { pod = {} }, candidate = {} },
        {
            name = "untolerated",
            ctx = { pod = {} },
            candidate = { taints = { { key = "gpu", value = "yes", effect = "NoSchedule" } } },
            refuse = "untolerated taint {gpu=yes:NoSchedule}",
        },
        {
            name = "tolerated by value",
            ctx = { pod = { tolerations = { { key = "gpu", operator = "Equal", value = "yes", effect = "NoSchedule" } } } },
            candidate = { taints = { { key = "gpu", value = "yes", effect = "NoSchedule" } } },
        },
        {
            name = "another value",
            ctx = { pod = { tolerations = { { key = "gpu", value = "no" } } } },
            candidate = { taints = { { key = "gpu", value = "yes", effect = "NoExecute" } } },
            refuse = "untolerated",
        },
        {
            name = "tolerates everything",
            ctx = { pod = { tolerations = { { operator = "Exists" } } } },
            candidate = { taints = { { key = "a", effect = "NoExecute" } } },
        },
        { name = "only preferred", ctx = { pod = {} }, candidate = { taints = { { key = "a", effect = "PreferNoSchedule" } } } },
    },
}
