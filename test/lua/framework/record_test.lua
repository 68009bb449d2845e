-- The record of decisions: each is taken again exactly as it was, under the version that took it; another policy in its place is
-- compared; a shadow decides beside; what policies remember (ctx.state) is part of it.
local testing = require("framework.testing")

local function node(name, random)
    return { apiVersion = "v1", kind = "Node",
        metadata = { name = name, labels = { zone = "z" .. random(3), ["kubernetes.io/hostname"] = name,
            ["minik8s.io/price"] = tostring(random(5)) } },
        spec = {},
        status = { allocatable = { cpu = tostring(2 + random(6)), memory = random(8) + 4 .. "Gi", pods = "110" },
            conditions = { { type = "Ready", status = "True" } } } }
end

--- Without those about whose turn it is.
local function placements(world)
    local list = {}
    for _, decision in ipairs(world:log()) do
        if decision.point == "scheduler.score" then list[#list + 1] = decision end
    end
    return list
end

local TERMS = {
    { podAntiAffinity = { requiredDuringSchedulingIgnoredDuringExecution = {
        { topologyKey = "kubernetes.io/hostname", labelSelector = { matchLabels = { app = "a1" } } } } } },
    { podAffinity = { preferredDuringSchedulingIgnoredDuringExecution = {
        { weight = 5, podAffinityTerm = { topologyKey = "zone", labelSelector = { matchLabels = { app = "a2" } } } } } } },
}

local function pod(name, random)
    local owner = random(4)
    return { apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = "default", creationTimestamp = "2026-01-01T00:00:00Z", labels = { app = "a" .. owner },
            ownerReferences = { { uid = "rs" .. owner, controller = true, kind = "ReplicaSet", name = "x", apiVersion = "apps/v1" } } },
        spec = { affinity = TERMS[owner], containers = { { name = "c", image = "i", ports = owner == 3 and { { hostPort = 80 } } or nil,
            resources = { requests = { cpu = owner * 100 .. "m", memory = owner * 64 .. "Mi" } } } } },
        status = { phase = "Pending" } }
end

local function schedule(world)
    testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
end

--- Nodes come, change and go, pods come and go, policies change: everything that a recorded decision may depend on.
local function turmoil(seed, steps, world)
    local random = testing.random(seed)
    world = world or testing.world()
    world:record()
    for i = 1, 3 do world:put("nodes", node("n" .. i, random)) end
    for step = 1, steps do
        local what = random(10)
        if what <= 6 then
            for i = 1, random(3) do world:put("pods", pod(("p%d-%d"):format(step, i), random)) end
        elseif what == 7 then
            world:put("nodes", node("n" .. random(6), random))
        elseif what == 8 and random(2) == 1 then
            world:drop("nodes", "n" .. random(6))
        elseif what == 9 then
            for item in world:list("pods") do
                if random(3) == 1 then world:drop("pods", item.key) end
            end
        else
            local name = ({ "binpack", "spread", "least-requested" })[random(3)]
            assert(world:use({ ["scheduler.score"] = { policies = { { name = name, weight = random(9) } } } }))
        end
        schedule(world)
    end
    return world
end

local REMEMBERS = [[return { api = 1, point = "autoscale.decide", name = "remembers",
    run = function(ctx)
        ctx.state.asked = (ctx.state.asked or 0) + 1
        return { replicas = ctx.state.asked, reasons = { "asked " .. ctx.state.asked } }
    end,
    examples = {
        { ctx = { metrics = {} }, expect = { replicas = 1 }, state = { asked = 1 } },
        { ctx = { metrics = {}, state = { asked = 4 } }, expect = { replicas = 5 } },
    } }]]

local function ask_decide(world, name, current)
    return world:ask("autoscale.decide", { namespace = "default", name = name, current = current or 1, metrics = {} })
end

local function remembering()
    local world = testing.world()
    world:record()
    assert(world:policy(REMEMBERS))
    assert(world:use({ ["autoscale.decide"] = { policies = { { name = "remembers" } } } }))
    return world
end

return {
    ["scheduling: every decision of random worlds is taken again exactly"] = function()
        local total = 0
        for seed = 1, 12 do
            local report = turmoil(seed, 40):replay()
            testing.equal({ report.differ, report.failed, report.gone }, { 0, 0, 0 }, "seed " .. seed)
            testing.equal(report.same, report.decisions)
            total = total + report.decisions
        end
        assert(total > 400, "decisions: " .. total)
    end,

    ["a candidate is compared, with what it would have meant"] = function()
        local world = turmoil(7, 40)
        local source = [[return { api = 1, point = "scheduler.score", name = "cheap",
            run = function(_, node) return 100 - 10 * tonumber(node.labels["minik8s.io/price"]) end,
            examples = { { candidate = { labels = { ["minik8s.io/price"] = "2" } }, expect = 80 } } }]]
        local report = assert(world:replay(source))
        assert(report.differ > 0 and report.same > 0, "some differ, some do not")
        testing.equal(report.failed, 0)
        assert(report.meaning.would.cost < report.meaning.was.cost, "it is cheaper")
        testing.equal(report.differences[1].point, "scheduler.score")
        assert(report.differences[1].was.node ~= report.differences[1].would.node)
        -- the same with one constant changed: another list
        local other = assert(world:replay((source:gsub("100 %- 10", "0 + 10"):gsub("expect = 80", "expect = 20"))))
        assert(other.meaning.would.cost > report.meaning.would.cost, "the replay executes the policy")
    end,

    ["a candidate that lets everything through is told what it broke"] = function()
        local world = testing.world()
        world:record()
        for i = 1, 2 do
            local full = node("n" .. i, testing.random(i))
            full.status.allocatable.cpu = i == 1 and "50m" or "8"
            world:put("nodes", full)
        end
        for i = 1, 4 do world:put("pods", pod("p" .. i, function() return 4 end)) end
        schedule(world)
        local report = assert(world:replay([[return { api = 1, point = "scheduler.filter", name = "resources",
            run = function() return true end, examples = { { candidate = {} } } }]]))
        assert(report.differ > 0)
        testing.equal(report.meaning.violations, report.differ)
    end,

    ["a candidate that is broken is refused"] = function()
        local report, err = testing.world():replay("return { api = 1, point = 'scheduler.score', name = 'x', run = 1 }")
        assert(not report)
        testing.contains(err.message, "run: must be a function")
    end,

    ["ctx.state is kept per policy and object, recorded and replayed"] = function()
        local world = remembering()
        for turn = 1, 5 do testing.equal(ask_decide(world, "a").replicas, turn) end
        testing.equal(ask_decide(world, "b").replicas, 1)
        local log = world:log()
        testing.equal(log[5].states.remembers.asked, 4)
        testing.equal(log[6].states, nil)
        local report = world:replay()
        testing.equal({ report.decisions, report.same }, { 6, 6 })
    end,

    ["ctx.state: an asker keeps it itself"] = function()
        local world = remembering()
        local states = {}
        for turn = 1, 3 do
            local result, record = world:ask("autoscale.decide", { object = "x", current = 1, metrics = {}, states = states })
            testing.equal(result.replicas, turn)
            states = record.states
        end
        testing.equal(states, { remembers = { asked = 3 } })
        testing.equal(ask_decide(world, "x").replicas, 1)
    end,

    ["ctx.state: too much of it is a failure, and nothing of it is kept"] = function()
        local world = testing.world()
        assert(world:policy([[return { api = 1, point = "autoscale.decide", name = "hoards",
            run = function(ctx)
                if not ctx.calm then ctx.state.text = ("x"):rep(5000) end
                return { replicas = 7 }
            end,
            examples = { { ctx = { calm = true }, expect = { replicas = 7 } } } }]]))
        assert(world:use({ ["autoscale.decide"] = { policies = { { name = "hoards" } } } }))
        local result, record = ask_decide(world, "a")
        testing.equal({ result.replicas, record.fallback }, { 1, true })
        testing.contains(record.failure, "ctx.state is larger than 4096 bytes")
    end,

    ["mode: an optional policy that fails is left out, a disabled one is not asked"] = function()
        local raises = [[return { api = 1, point = "scheduler.score", name = "raises",
            run = function(_, node) if node.name == "n2" then error("no") end return 50 end,
            examples = { { candidate = { name = "x" }, expect = 50 } } }]]
        for mode, failure in pairs({ Optional = false, Required = true, Disabled = false }) do
            local world = testing.world()
            assert(world:policy(raises))
            local chosen = { { name = "spread", weight = 10 }, { name = "raises", mode = mode } }
            assert(world:use({ ["scheduler.score"] = { policies = chosen } }))
            world:record()
            for i = 1, 3 do world:put("nodes", node("n" .. i, testing.random(i))) end
            for i = 1, 2 do
                world:put("pods", pod("p" .. i, function() return 4 end))
                schedule(world)
            end
            local log = placements(world)
            testing.equal(#log, 2)
            for _, decision in ipairs(log) do
                testing.equal(decision.failure ~= nil, failure, mode)
                testing.equal(decision.by:find("raises", 1, true), nil, mode)
                assert(decision.result.node)
            end
            testing.equal(world:replay().same, 4, mode)
        end
    end,

    ["mode: at a point that asks one, optional is no way around the default"] = function()
        local world = testing.world()
        world:record()
        assert(world:policy([[return { api = 1, point = "autoscale.decide", name = "raises",
            run = function(ctx) if ctx.calm then return { replicas = 7 } end error("no") end,
            examples = { { ctx = { calm = true }, expect = { replicas = 7 } } } }]]))
        assert(world:use({ ["autoscale.decide"] = { policies = { { name = "raises", mode = "Optional" } } } }))
        local result, record = ask_decide(world, "a", 3)
        testing.equal({ result.replicas, record.fallback }, { 3, true })
        testing.equal(world:replay().same, 1)
    end,

    ["a failed decision is replayed as the default took it"] = function()
        local world = testing.world()
        world:record()
        assert(world:policy([[return { api = 1, point = "autoscale.decide", name = "raises",
            run = function(ctx) if ctx.calm then return { replicas = 7 } end error("no") end,
            examples = { { ctx = { calm = true }, expect = { replicas = 7 } } } }]]))
        assert(world:use({ ["autoscale.decide"] = { policies = { { name = "raises" } } } }))
        ask_decide(world, "a", 3)
        local log = world:log()
        testing.contains(log[1].failure, "no")
        testing.contains(log[1].by, "target-utilization@")
        testing.equal(world:replay().same, 1)
    end,

    ["whose turn it is: recorded, taken again exactly, compared with another policy"] = function()
        local world = testing.world()
        world:record()
        world:put("nodes", node("n1", testing.random(1)))
        for i = 1, 4 do
            local waits = pod("p" .. i, testing.random(i))
            waits.spec.priority = i * 10
            world:put("pods", waits)
        end
        schedule(world)
        local first = {}
        for _, decision in ipairs(world:log()) do
            if decision.point == "scheduler.first" then first[decision.object] = decision end
        end
        testing.equal(first["default/p3"].result, { 30 })
        testing.equal(first["default/p3"].kind, "Pod")
        testing.contains(first["default/p3"].by, "priority@")
        local report = world:replay()
        testing.equal({ report.differ, report.same }, { 0, 8 })
        report = assert(world:replay([[return { api = 1, point = "scheduler.first", name = "last",
            run = function(ctx, pod) return pod.priority == 10 and 10 or -pod.priority - pod.spec.requests.cpu * 0 end,
            examples = { { candidate = { priority = 1, spec = { requests = { cpu = 1 } } }, expect = -1 } } }]]))
        testing.equal({ report.differ, report.same }, { 3, 1 })
    end,

    ["a shadow decides beside, without effect"] = function()
        local world = testing.world()
        assert(world:shadow("scheduler.score", "binpack"))
        turmoil(3, 25, world)
        local asked, differed = 0, 0
        for _, decision in ipairs(placements(world)) do
            testing.contains(decision.shadow, "binpack@")
            asked = asked + 1
            if decision.shadowDiffers then
                differed = differed + 1
                assert(not decision.result.node or decision.shadowResult.node ~= decision.result.node)
            end
        end
        assert(asked > 20 and differed > 0 and differed < asked, asked .. " asked, " .. differed .. " differ")
        testing.equal(world:replay().differ, 0)
    end,

    ["several shadows decide beside, each by itself"] = function()
        local world = testing.world()
        assert(world:shadow("scheduler.score", "binpack", "least-requested", "spread"))
        turmoil(3, 25, world)
        local differed = { 0, 0, 0 }
        for _, decision in ipairs(placements(world)) do
            testing.equal(#decision.shadows, 3)
            for i, name in ipairs({ "binpack", "least-requested", "spread" }) do
                testing.contains(decision.shadows[i].by, name .. "@")
                if decision.shadows[i].differs then differed[i] = differed[i] + 1 end
            end
        end
        assert(differed[1] > 0 and differed[1] ~= differed[3], table.concat(differed, " "))
        testing.equal(world:replay().differ, 0)
        local function refused(part, ...)
            local fine, why = world:shadow("scheduler.score", ...)
            testing.equal(fine, nil)
            testing.contains(why.message, part)
        end
        refused('"nobody"', "binpack", "nobody")
        refused("at most 4", "binpack", "spread", "least-requested", "cost", "gpu")
    end,

    ["a shadow says what a replay says later"] = function()
        local world = testing.world()
        assert(world:policy(REMEMBERS))
        assert(world:shadow("autoscale.decide", "remembers"))
        world:record()
        for _ = 1, 4 do ask_decide(world, "a", 2) end
        local log = world:log()
        for i = 1, 4 do testing.equal({ log[i].result.replicas, log[i].shadowResult.replicas }, { 2, i }) end
        local report = world:replay(REMEMBERS)
        testing.equal({ report.decisions, report.differ }, { 4, 3 })
        testing.equal(report.meaning, { was = { replicas = 8 }, would = { replicas = 10 }, violations = 0 })
    end,

    ["the record is bounded: the oldest go, the rest is still exact"] = function()
        local world = testing.world()
        world:record(20)
        local random = testing.random(5)
        for i = 1, 3 do world:put("nodes", node("n" .. i, random)) end
        for i = 1, 40 do
            world:put("pods", pod("p" .. i, random))
            schedule(world)
        end
        local log = world:log()
        testing.equal(#log, 20)
        local report = world:replay()
        testing.equal({ report.decisions, report.same, report.gone }, { 20, 20, 0 })
    end,
}
