-- What the pod requests must fit beside what is requested already: cpu in thousandths, memory in bytes, pods, devices.
return {
    api = 1,
    point = "scheduler.filter",
    name = "resources",
    run = function(ctx, node)
        for name, wanted in pairs(ctx.pod.requests) do
            local free = (node.allocatable[name] or 0) - (node.requested[name] or 0)
            if wanted > free then
                if name == "pods" then return nil, "Too many pods" end
                return nil, "Insufficient " .. name
            end
        end
        return true
    end,
    examples = {
        {
            name = "fits exactly",
            ctx = { pod = { requests = { cpu = 500, pods = 1 } } },
            candidate = { allocatable = { cpu = 1000, pods = 2 }, requested = { cpu = 500, pods = 1 } },
        },
        {
            name = "memory is short",
            ctx = { pod = { requests = { memory = 2, pods = 1 } } },
            candidate = { allocatable = { memory = 10, pods = 110 }, requested = { memory = 9 } },
            refuse = "Insufficient memory",
        },
        {
            name = "a device that the node has not",
            ctx = { pod = { requests = { ["nvidia.com/gpu"] = 1 } } },
            candidate = { allocatable = { cpu = 1000 }, requested = {} },
            refuse = "Insufficient nvidia.com/gpu",
        },
        {
            name = "full",
            ctx = { pod = { requests = { pods = 1 } } },
            candidate = { allocatable = { pods = 3 }, requested = { pods = 3 } },
            refuse = "Too many pods",
        },
    },
}
