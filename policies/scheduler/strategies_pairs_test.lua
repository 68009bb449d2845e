-- Every two strategies for scheduler.score place differently on the same random worlds, and each is the best by its own measure.
local testing = require("framework.testing")
local STRATEGIES = { "spread", "binpack", "least-requested", "in-turn", "least-loaded", "gpu", "cost" }
local WORLDS = 4

local function fill(world, seed)
    local random, nodes = testing.random(seed), 4 + seed % 3
    for i = 1, nodes do
        local gpus = i % 3 == 1 and "4" or nil
        world:put("nodes", { apiVersion = "v1", kind = "Node", spec = {},
            metadata = { name = "n" .. i, labels = { ["minik8s.io/price"] = tostring(random(9)) } },
            status = { allocatable = { cpu = tostring(4 + random(6)), memory = random(8) + 8 .. "Gi", pods = "110",
                ["nvidia.com/gpu"] = gpus }, conditions = { { type = "Ready", status = "True" } } } })
        world:put("nodes.metrics.k8s.io", { apiVersion = "metrics.k8s.io/v1beta1", kind = "NodeMetrics", metadata = { name = "n" .. i },
            usage = { cpu = random(3) .. "", memory = random(6) .. "Gi" } })
    end
    for i = 1, 12 do
        local owner = random(3)
        local requests = { cpu = owner * 100 .. "m", memory = owner * 64 .. "Mi", ["nvidia.com/gpu"] = owner == 3 and "1" or nil }
        world:put("pods", { apiVersion = "v1", kind = "Pod", status = { phase = "Pending" },
            metadata = { name = ("p%02d"):format(i), namespace = "default", creationTimestamp = "2026-01-01T00:00:00Z",
                ownerReferences = { { uid = "rs" .. owner, controller = true, kind = "ReplicaSet", name = "x", apiVersion = "apps/v1" } } },
            spec = { containers = { { name = "c", image = "i", resources = { requests = requests } } } } })
    end
end

--- Where the pods are, as one text, and how the nodes are then.
local function place(seed, name)
    local world = testing.world()
    assert(world:use({ ["scheduler.score"] = { policies = { { name = name } } } }))
    fill(world, seed)
    testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
    local places, on = {}, {}
    for pod in world:list("pods") do
        local node = pod["spec.nodeName"] or "none"
        places[#places + 1] = node
        on[node] = (on[node] or 0) + 1
    end
    return table.concat(places, " "), on, world
end

local function price_of(world, on)
    local sum = 0
    for node, pods in pairs(on) do
        sum = sum + pods * tonumber(world:get("nodes", node).metadata.labels["minik8s.io/price"])
    end
    return sum
end

local function most_minus_least(world, on)
    local least, most = math.huge, 0
    for node in world:list("nodes") do
        least, most = math.min(least, on[node.name] or 0), math.max(most, on[node.name] or 0)
    end
    return most - least
end

return {
    ["every two of them differ"] = function()
        local seen, differ = {}, {}
        for seed = 1, WORLDS do
            for _, name in ipairs(STRATEGIES) do seen[name] = place(seed, name) end
            for i, a in ipairs(STRATEGIES) do
                for j = i + 1, #STRATEGIES do
                    local pair = a .. "/" .. STRATEGIES[j]
                    differ[pair] = (differ[pair] or 0) + (seen[a] ~= seen[STRATEGIES[j]] and 1 or 0)
                end
            end
        end
        for pair, worlds in pairs(differ) do assert(worlds >= WORLDS / 2, pair .. " differ on " .. worlds .. " worlds only") end
    end,

    ["in turn: no node has two more than another"] = function()
        for seed = 1, WORLDS do
            local _, on, world = place(seed, "in-turn")
            -- pods that want a GPU have fewer nodes to choose from; without them it is exact
            local gpus = 0
            for pod in world:list("pods") do
                if world:get("pods", pod.key).spec.containers[1].resources.requests["nvidia.com/gpu"] then gpus = gpus + 1 end
            end
            assert(most_minus_least(world, on) <= 1 + gpus, "seed " .. seed)
        end
    end,

    ["cost: no other is cheaper"] = function()
        for seed = 1, WORLDS do
            local _, cheap, world = place(seed, "cost")
            for _, name in ipairs({ "spread", "binpack", "in-turn" }) do
                local _, on = place(seed, name)
                assert(price_of(world, cheap) <= price_of(world, on), name .. " is cheaper on seed " .. seed)
            end
        end
    end,

    ["gpu: pods without one stay away, those with one stay together"] = function()
        local _, _, world = place(2, "gpu")
        local with = {}
        for pod in world:list("pods") do
            local requests = world:get("pods", pod.key).spec.containers[1].resources.requests
            local node = world:get("nodes", pod["spec.nodeName"])
            local has = node.status.allocatable["nvidia.com/gpu"] ~= nil
            testing.equal(has, requests["nvidia.com/gpu"] ~= nil, pod.name)
            if has then with[node.metadata.name] = (with[node.metadata.name] or 0) + 1 end
        end
        local nodes, pods = 0, 0
        for _, count in pairs(with) do nodes, pods = nodes + 1, pods + count end
        testing.equal(nodes, math.ceil(pods / 4))
    end,

    ["least loaded: what is measured counts, and changes as it changes"] = function()
        local world = testing.world()
        assert(world:use({ ["scheduler.score"] = { policies = { { name = "least-loaded" } } } }))
        local function usage(node, cpu)
            world:put("nodes.metrics.k8s.io", { apiVersion = "metrics.k8s.io/v1beta1", kind = "NodeMetrics",
                metadata = { name = node }, usage = { cpu = cpu, memory = "1Gi" } })
        end
        local function pod_goes_to(name)
            world:put("pods", { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "default" },
                spec = { containers = { { name = "c", image = "i" } } }, status = { phase = "Pending" } })
            testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
            return world:item("pods", "default/" .. name)["spec.nodeName"]
        end
        for _, node in ipairs({ "a", "b" }) do
            world:put("nodes", { apiVersion = "v1", kind = "Node", metadata = { name = node, labels = {} }, spec = {},
                status = { allocatable = { cpu = "4", memory = "8Gi", pods = "110" },
                    conditions = { { type = "Ready", status = "True" } } } })
        end
        usage("a", "3") usage("b", "500m")
        testing.equal(pod_goes_to("first"), "b")
        usage("a", "100m") usage("b", "3900m")
        testing.equal(pod_goes_to("second"), "a")
    end,
}
