-- How full each node is: minikubectl repl manifests/repl/nodes.lua   (-o json: the same as JSON)
-- A script sees what the prompt sees: k, print, json, sleep, and the Lua of policies.
local rows = {}
for _, node in ipairs(k.nodes{}) do
    local row = { node = node.metadata.name, pods = 0, restarts = 0, cpu = 0 }
    for _, pod in ipairs(k.pods{ field = "spec.nodeName=" .. node.metadata.name }) do
        row.pods = row.pods + 1
        for _, container in ipairs(pod.spec.containers) do
            local cpu = container.resources and container.resources.requests and container.resources.requests.cpu or "0"
            local milli = string.match(cpu, "^(%d+)m$")
            row.cpu = row.cpu + (milli and tonumber(milli) / 1000 or tonumber(cpu) or 0)
        end
        for _, status in ipairs(pod.status and pod.status.containerStatuses or {}) do
            row.restarts = row.restarts + status.restartCount
        end
    end
    rows[#rows + 1] = row
end
return rows
