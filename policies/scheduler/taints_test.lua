local testing = require("framework.testing")

local function ask(pod, node)
    local world = testing.world()
    assert(world:use({ ["scheduler.filter"] = { policies = { { name = "taints" } } } }))
    local kept, record = world:ask("scheduler.filter", { pod = pod }, { node })
    assert(not record.fallback, "taints decides")
    return #kept == 1, record.reasons[1]
end

local function taint(effect, value) return { key = "gpu", value = value, effect = effect } end

return {
    ["every pair of effect and toleration"] = function()
        for _, effect in ipairs({ "NoSchedule", "NoExecute", "PreferNoSchedule" }) do
            local soft = effect == "PreferNoSchedule"
            local node = { taints = { taint(effect, "yes") } }
            testing.equal(ask({}, node), soft, effect .. ", no toleration")
            for _, tolerated in ipairs({ "NoSchedule", "NoExecute" }) do
                local pod = { tolerations = { { key = "gpu", operator = "Equal", value = "yes", effect = tolerated } } }
                testing.equal(ask(pod, node), soft or tolerated == effect, effect .. " against " .. tolerated)
            end
            testing.equal(ask({ tolerations = { { key = "gpu", operator = "Exists" } } }, node), true)
            testing.equal(ask({ tolerations = { { key = "other", operator = "Exists" } } }, node), soft)
            testing.equal(ask({ tolerations = { { operator = "Equal", value = "yes" } } }, node), soft, "Equal wants a key")
        end
    end,

    ["one taint that is not tolerated is enough"] = function()
        local node = { taints = { taint("NoSchedule", "yes"), { key = "disk", effect = "NoExecute" } } }
        local fits, reason = ask({ tolerations = { { key = "gpu", operator = "Exists" } } }, node)
        testing.equal(fits, false)
        testing.equal(reason, "node(s) had untolerated taint {disk:NoExecute}")
    end,
}
