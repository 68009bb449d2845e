local testing = require("framework.testing")

local function ask(policy, endpoints, node)
    local world = testing.world()
    assert(world:use({ balance = { policies = { { name = policy } } } }))
    local result, record = world:ask("balance", { service = { namespace = "default", name = "web" }, endpoints = endpoints,
        node = node })
    assert(not record.fallback, policy .. " decides")
    return result, record
end

local function pod(name, weight)
    return { name = name, address = "10.244.1.2", node = "node-1", labels = { ["minik8s.io/weight"] = weight } }
end

return {
    ["each says its mode"] = function()
        for _, mode in ipairs({ "random", "round-robin", "source-hash" }) do
            testing.equal(ask(mode, { pod("a") }).mode, mode)
        end
    end,
    ["weights come from labels, rounded and bounded"] = function()
        local result, record = ask("weighted", { pod("a", "4"), pod("b"), pod("c", "2.9"), pod("d", "-5"), pod("e", "many") })
        testing.equal(result.mode, "random")
        testing.equal(result.weights, { a = 4, c = 2, d = 1 })
        testing.contains(record.reasons[1], "a weighs 4")
    end,
    ["each node prefers its own pods"] = function()
        local pods = { pod("a"), pod("b") }
        pods[2].node = "node-2"
        testing.equal(ask("nearby", pods, "node-1").weights, { a = 100 })
        local result, record = ask("nearby", pods, "node-2")
        testing.equal(result.weights, { b = 100 })
        testing.equal(record.reasons, { "1 of 2 are here" })
        testing.equal(next(ask("nearby", pods, "node-3").weights), nil)
    end,
    ["what is no decision is replaced by the default"] = function()
        local world = testing.world()
        for _, wrong in ipairs({ { mode = "fastest" }, {}, { mode = "random", weights = { a = 0 } },
            { mode = "random", weights = { a = 1.5 } }, { mode = "random", weights = { a = 101 } },
            { mode = "random", weights = 3 } }) do
            local points = require("framework.points")
            assert(points.balance.check(wrong, {}), "refused")
        end
        testing.equal(world:ask("balance", { service = { name = "web" }, endpoints = {} }).mode, "random")
    end,
}
