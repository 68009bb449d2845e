-- A node takes pods only while it is Ready and not cordoned, but for those that tolerate just that, as a DaemonSet's do.
local function tolerates(ctx, taint, by_name)
    for _, toleration in ipairs(ctx.pod.tolerations or {}) do
        if toleration.key == taint or (toleration.key == nil and not by_name) then return true end
    end
    return false
end

return {
    api = 1,
    point = "scheduler.filter",
    name = "ready",
    run = function(ctx, node)
        if node.unschedulable and not tolerates(ctx, "node.kubernetes.io/unschedulable") then
            return nil, "node(s) were unschedulable"
        end
        if not node.ready and not tolerates(ctx, "node.kubernetes.io/not-ready", true) then
            return nil, "node(s) were not ready"
        end
        return true
    end,
    examples = {
        { name = "ready", ctx = { pod = {} }, candidate = { ready = true, unschedulable = false } },
        { name = "not ready", ctx = { pod = {} }, candidate = { ready = false }, refuse = "not ready" },
        { name = "cordoned", ctx = { pod = {} }, candidate = { ready = true, unschedulable = true }, refuse = "unschedulable" },
        {
            name = "cordoned, but the pod tolerates it",
            ctx = { pod = { tolerations = { { operator = "Exists" } } } },
            candidate = { ready = true, unschedulable = true },
        },
        {
            name = "not ready, but the pod tolerates it",
            ctx = { pod = { tolerations = { { key = "node.kubernetes.io/not-ready", operator = "Exists" } } } },
            candidate = { ready = false },
        },
    },
}
