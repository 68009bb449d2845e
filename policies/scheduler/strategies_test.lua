-- Two strategies of one point on the same random worlds: they place differently, and each is better by its own measure.
local testing = require("framework.testing")

local function world_from(seed)
    local random, nodes, pods = testing.random(seed), {}, {}
    for i = 1, 3 + random(6) do
        nodes[i] = { apiVersion = "v1", kind = "Node", metadata = { name = "n" .. i, labels = {} }, spec = {},
            status = { allocatable = { cpu = tostring(3 + random(6)), memory = random(8) + 8 .. "Gi", pods = "110" },
                conditions = { { type = "Ready", status = "True" } } } }
    end
    for i = 1, 5 + random(15) do
        local owner = random(3) -- the pods of one owner are alike
        pods[i] = { apiVersion = "v1", kind = "Pod",
            metadata = { name = "p" .. i, namespace = "default", creationTimestamp = "2026-01-01T00:00:00Z",
                ownerReferences = { { uid = "rs" .. owner, controller = true, kind = "ReplicaSet", name = "x",
                    apiVersion = "apps/v1" } } },
            spec = { containers = { { name = "c", image = "i",
                resources = { requests = { cpu = owner * 100 .. "m", memory = owner * 64 .. "Mi" } } } } },
            status = { phase = "Pending" } }
    end
    return testing.world({ objects = { nodes = nodes, pods = pods } })
end

--- node of each pod, and how many nodes are in use.
local function place(seed, policies)
    local world = world_from(seed)
    if policies then assert(world:use({ ["scheduler.score"] = { policies = policies } })) end
    testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
    local placed, used, nodes = {}, 0, {}
    for pod in world:list("pods") do
        local node = pod["spec.nodeName"] or "none"
        placed[pod.name] = node
        if not nodes[node] then used = used + 1 end
        nodes[node] = true
    end
    return placed, used
end

return {
    ["binpack and the default differ on every world"] = function()
        local fewer = 0
        for seed = 1, 40 do
            local spread, spread_nodes = place(seed)
            local packed, packed_nodes = place(seed, { { name = "binpack" } })
            local same = true
            for name, node in pairs(spread) do same = same and packed[name] == node end
            assert(not same, "seed " .. seed .. ": both place alike")
            assert(packed_nodes <= spread_nodes, "seed " .. seed .. ": binpack uses more nodes")
            if packed_nodes < spread_nodes then fewer = fewer + 1 end
        end
        assert(fewer >= 30, "binpack needs fewer nodes on most worlds: " .. fewer .. " of 40")
    end,

    ["the same world, the same placement"] = function()
        for seed = 1, 5 do
            testing.equal((place(seed)), (place(seed)))
        end
    end,

    ["weights decide between two that disagree"] = function()
        local differ = 0
        for seed = 1, 10 do
            local packed = place(seed, { { name = "spread", weight = 1 }, { name = "binpack", weight = 100 } })
            local spread = place(seed, { { name = "spread", weight = 100 }, { name = "binpack", weight = 1 } })
            for name, node in pairs(spread) do
                if packed[name] ~= node then differ = differ + 1 end
            end
        end
        assert(differ > 10, "only " .. differ .. " pods differ")
    end,

    ["one that loops is cut off: every pod is placed as by the default"] = function()
        for seed = 1, 3 do
            local world = world_from(seed)
            assert(world:policy([[return { api = 1, point = "scheduler.score", name = "loops",
                run = function(ctx) if not ctx.calm then while true do end end return 1 end,
                examples = { { ctx = { calm = true }, candidate = {}, expect = 1 } } }]]))
            assert(world:use({ ["scheduler.score"] = { policies = { { name = "loops" } } } }))
            testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
            local wanted = place(seed)
            for pod in world:list("pods") do testing.equal(pod["spec.nodeName"] or "none", wanted[pod.name], pod.name) end
        end
    end,
}
