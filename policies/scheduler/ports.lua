-- Two pods that want the same port of the node cannot share it, unless each wants it at another address.
-- "TCP/80" is at every address, "TCP/80@10.0.0.1" at one; "TCP/80@" tells that somebody has it at one.

local function taken(used, port)
    local base, address = port:match("^([^@]*)@?(.*)$")
    if port:ends("@") then return false end -- a mark, no address
    if address == "" then return used[base] or used[base .. "@"] end
    return used[base] or used[port]
end

return {
    api = 1,
    point = "scheduler.filter",
    name = "ports",
    run = function(ctx, node)
        for _, port in ipairs(ctx.pod.host_ports or {}) do
            if node.used_ports and taken(node.used_ports, port) then
                return nil, "node(s) didn't have free ports for the requested pod ports"
            end
        end
        return true
    end,
    examples = {
        { name = "no ports", ctx = { pod = {} }, candidate = {} },
        { name = "free", ctx = { pod = { host_ports = { "TCP/80" } } }, candidate = { used_ports = { ["UDP/80"] = true } } },
        {
            name = "another address",
            ctx = { pod = { host_ports = { "TCP/80@", "TCP/80@10.0.0.1" } } },
            candidate = { used_ports = { ["TCP/80@"] = true, ["TCP/80@10.0.0.2"] = true } },
        },
        {
            name = "every address",
            ctx = { pod = { host_ports = { "TCP/80" } } },
            candidate = { used_ports = { ["TCP/80@"] = true, ["TCP/80@10.0.0.2"] = true } },
            refuse = "free ports",
        },
        {
            name = "taken",
            ctx = { pod = { host_ports = { "TCP/80" } } },
            candidate = { used_ports = { ["TCP/80"] = true } },
            refuse = "free ports",
        },
    },
}
