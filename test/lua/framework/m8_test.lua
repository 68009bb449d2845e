local m8 = require("m8")
local testing = require("framework.testing")
local plans = require("framework.plan")

return {
    ["pairs goes in key order"] = function()
        local seen = {}
        for key in pairs({ b = 1, a = 2, [2] = 3, [1] = 4, c = 5, [10] = 6 }) do seen[#seen + 1] = key end
        testing.equal(seen, { 1, 2, 10, "a", "b", "c" })
        testing.equal(next({ b = 1, a = 2 }), "a")
        assert(next({}) == nil)
    end,

    ["pairs sees every key of a table with holes"] = function()
        local seen = {}
        for key in pairs({ [0] = true, [2] = true }) do seen[#seen + 1] = key end
        testing.equal(seen, { 0, 2 })
    end,

    ["pairs survives removal during the walk"] = function()
        local t, count = { a = 1, b = 2, c = 3 }, 0
        for key in pairs(t) do
            count = count + 1
            t.b, t[key] = nil, nil
        end
        testing.equal(count, 2)
    end,

    ["JSON both ways"] = function()
        testing.equal(m8.json({ b = { 1, 2 }, a = "x", n = m8.null, e = m8.array({}) }), '{"a":"x","b":[1,2],"e":[],"n":null}')
        testing.equal(m8.parse('{"a":[{"b":null}],"c":1e3}'), { a = { {} }, c = 1000 })
        local nothing, err = m8.parse('{"a":1,"a":2}')
        assert(nothing == nil)
        testing.equal(err.code, "bad-request")
        testing.equal(m8.json(9007199254740991), "9007199254740991")
        testing.raises(function() m8.json({ f = tostring }) end, "function")
        testing.raises(function() m8.json({ n = 0 / 0 }) end, "not finite")
        testing.raises(function() local t = {} t.t = t m8.json(t) end, "deeper")
        testing.raises(function() m8.json({ 1, nil, 3, x = 1 }) end, "array")
    end,

    ["hash does not depend on the order of keys"] = function()
        testing.equal(m8.hash({ a = 1, b = 2 }), m8.hash({ b = 2, a = 1 }))
        assert(m8.hash({ a = 1 }) ~= m8.hash({ a = 2 }))
        testing.equal(#m8.hash("x"), 10)
    end,

    ["selectors"] = function()
        local selector = assert(m8.selector({ matchLabels = { app = "web" },
            matchExpressions = { { key = "tier", operator = "NotIn", values = { "db" } } } }))
        assert(selector:matches({ app = "web" }))
        assert(not selector:matches({ app = "web", tier = "db" }))
        assert(not selector:matches(nil))
        assert(m8.selector({ app = "web" }):matches({ app = "web", x = "y" }))
        assert(m8.selector("a in (b,c)"):matches({ a = "c" }))
        local nothing, err = m8.selector("a in (")
        assert(nothing == nil and err.code == "bad-request", err and err.code)
    end,

    ["quantities and times"] = function()
        testing.equal(m8.quantity("64Mi"), 67108864)
        testing.equal(m8.milli("250m"), 250)
        assert(m8.quantity("x") == nil)
        testing.equal(m8.time_text(m8.time("2026-01-02T03:04:05Z")), "2026-01-02T03:04:05Z")
    end,

    ["copy is deep and keeps arrays"] = function()
        local t = m8.parse('{"a":[],"b":{"c":[1]}}')
        local copy = m8.copy(t)
        copy.b.c[1] = 2
        testing.equal(t.b.c[1], 1)
        testing.equal(m8.json(copy), '{"a":[],"b":{"c":[2]}}')
    end,

    ["world: get, item, list by owner, namespace, index, selector"] = function()
        local function pod(name, labels, node, owner)
            return { apiVersion = "v1", kind = "Pod", spec = { nodeName = node },
                metadata = { name = name, namespace = name:sub(1, 1), labels = labels,
                    ownerReferences = owner and { { uid = owner, controller = true } } } }
        end
        local world = testing.world({ now = 1000, objects = { pods = {
            pod("a1", { app = "web" }, "n1", "u1"), pod("a2", { app = "db" }, "n2", "u1"), pod("b1", { app = "web" }, "n1"),
        } } })
        local function names(options)
            local found = {}
            for item in world:list("pods", options) do found[#found + 1] = item.name end
            return found
        end
        testing.equal(names(), { "a1", "a2", "b1" })
        testing.equal(names({ namespace = "a" }), { "a1", "a2" })
        testing.equal(names({ owner = "u1" }), { "a1", "a2" })
        testing.equal(names({ namespace = "a", selector = { app = "web" } }), { "a1" })
        testing.equal(world:item("pods", "a/a1").kind, "Pod")
        testing.equal(world:get("pods", "a/a1").spec.nodeName, "n1")
        assert(world:get("pods", "a/none") == nil and world:item("things", "x") == nil)
        testing.equal(world:count("pods"), 3)
        testing.equal(world:by_uid("uid-pods-a1").key, "a/a1")
        testing.equal(world.now, 1000)
        testing.raises(function() world:list("pods", { label = "x" }) end, "no option")
    end,

    ["world: seen judges by the own clock"] = function()
        local world = testing.world({ now = 1000 })
        testing.equal(world:seen("lease/a", "t1"), 0)
        world:set_now(1005)
        testing.equal(world:seen("lease/a", "t1"), 5)
        testing.equal(world:seen("lease/a", "t2"), 0)
    end,

    ["plan refuses nonsense"] = function()
        testing.raises(function() plans.new():create("pods", {}) end, "metadata.name")
        testing.raises(function() plans.new():requeue("soon") end, "number")
        testing.raises(function() plans.new():update("pods", { metadata = { name = "x" } }) end, "resourceVersion")
    end,

    ["ask: filter and score over candidates"] = function()
        local world = testing.world()
        local kept, record = world:ask("scheduler.filter", { pod = { requests = { cpu = 2 } } }, {
            { ready = true, labels = {}, allocatable = { cpu = 1 }, requested = {} },
            { ready = true, labels = {}, allocatable = { cpu = 4 }, requested = {} },
        })
        testing.equal(#kept, 1)
        testing.equal(kept[1].index, 2)
        testing.equal(record.reasons[1], "Insufficient cpu")
        testing.raises(function() world:ask("no.such.point", {}) end, "no decision point")
    end,

    ["a controller's error is an error of that test only"] = function()
        testing.raises(function() testing.reconcile(testing.world(), "no-such", "x") end, "no controller")
    end,
}
