-- Pods and their neighbours: affinity, anti-affinity, spreading. Random worlds against a check that looks at every pod.
local testing = require("framework.testing")
local m8 = require("m8")

local ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"

local function node(name, zone, fields)
    fields = fields or {}
    return { apiVersion = "v1", kind = "Node",
        metadata = { name = name, labels = { [HOST] = name, [ZONE] = zone, disk = fields.disk } },
        spec = { taints = fields.taints },
        status = { allocatable = { cpu = "64", memory = "64Gi", pods = fields.pods or "110" },
            conditions = { { type = "Ready", status = "True" } } } }
end

local function pod(name, app, spec, fields)
    fields = fields or {}
    spec = m8.copy(spec or {})
    spec.containers = { { name = "c", image = "i" } }
    spec.nodeName = fields.node
    return { apiVersion = "v1", kind = "Pod",
        metadata = { name = name, namespace = fields.namespace or "default", labels = { app = app, rev = fields.rev },
            deletionTimestamp = fields.deleted, creationTimestamp = "2026-01-01T00:00:00Z" },
        spec = spec, status = { phase = "Pending" } }
end

local function selects(app) return { matchLabels = { app = app } } end
local function near(kind, app, key, more)
    local term = { labelSelector = selects(app), topologyKey = key }
    for name, value in pairs(more or {}) do term[name] = value end
    return { affinity = { [kind] = { requiredDuringSchedulingIgnoredDuringExecution = { term } } } }
end
local function wish(kind, app, key, weight)
    return { affinity = { [kind] = { preferredDuringSchedulingIgnoredDuringExecution = {
        { weight = weight, podAffinityTerm = { labelSelector = selects(app), topologyKey = key } } } } } }
end
local function spread(app, key, skew, more)
    local constraint = { maxSkew = skew, topologyKey = key, whenUnsatisfiable = "DoNotSchedule", labelSelector = selects(app) }
    for name, value in pairs(more or {}) do constraint[name] = value end
    return { topologySpreadConstraints = { constraint } }
end

local function zones()
    return { node("a1", "a"), node("a2", "a"), node("b1", "b"), node("b2", "b"), node("c1", "c") }
end

local function schedule(world)
    local last
    for _ = 1, 10 do
        last = testing.reconcile(world, "scheduler", "pods")
        testing.apply(world, last)
        if last.after == nil then break end
    end
    return last
end

local function place_of(world, name) return world:get("pods", "default/" .. name).spec.nodeName end
local function zone_of(world, name)
    local on = place_of(world, name)
    return on and on:sub(1, 1)
end
local function message_of(world, name)
    for _, condition in ipairs(world:get("pods", "default/" .. name).status.conditions or {}) do
        if condition.type == "PodScheduled" then return condition.message end
    end
    return ""
end
local function count_by(world, cut)
    local counts = {}
    for item in world:list("pods") do
        local on = item["spec.nodeName"] and item["spec.nodeName"]:sub(1, cut) or "none"
        counts[on] = (counts[on] or 0) + 1
    end
    return counts
end
local function world_of(nodes, pods, namespaces)
    return testing.world({ objects = { nodes = nodes, pods = pods, namespaces = namespaces or {} } })
end

-- ---- random worlds ----

local APPS, KEYS = { "x", "y", "z" }, { ZONE, HOST }

local function random_spec(random, app)
    local other, key = APPS[random(3)], KEYS[random(2)]
    local kind = random(8)
    if kind == 1 then return near("podAntiAffinity", other, key) end
    if kind == 2 then return near("podAffinity", other, key) end
    if kind == 3 then return near("podAntiAffinity", app, HOST) end
    if kind == 4 then return spread(app, key, random(2)) end
    if kind == 5 then return spread(app, ZONE, 1, { minDomains = 2, nodeTaintsPolicy = "Honor" }) end
    if kind == 6 then return wish("podAffinity", other, key, random(100)) end
    if kind == 7 then return wish("podAntiAffinity", other, key, random(100)) end
    return {}
end

local function random_world(seed)
    local random, nodes, pods, specs = testing.random(seed), {}, {}, {}
    for i = 1, 4 + random(5) do
        local taints = random(6) == 1 and { { key = "own", effect = "NoSchedule" } } or nil
        nodes[i] = node("n" .. i, random(5) > 1 and string.char(96 + random(3)) or nil, { pods = tostring(random(6)), taints = taints })
    end
    for i = 1, 6 do
        local app = APPS[random(3)]
        specs[i] = { app = app, spec = random_spec(random, app) }
    end
    for i = 1, 8 + random(12) do
        local kind = specs[random(6)]
        pods[i] = pod("p" .. i, kind.app, kind.spec)
    end
    return nodes, pods
end

--- The pods that count in the domain of a node.
local function around(placed, nodes, where, key, app)
    local count, domain = 0, nodes[where].metadata.labels[key]
    for _, other in ipairs(placed) do
        if other.metadata.labels.app == app and domain and nodes[other.spec.nodeName].metadata.labels[key] == domain then
            count = count + 1
        end
    end
    return count, domain
end

local function required(object, kind)
    local affinity = object.spec.affinity and object.spec.affinity[kind]
    return affinity and affinity.requiredDuringSchedulingIgnoredDuringExecution or {}
end

local function skew_holds(placed, nodes, object, where, constraint)
    local counts, domains, least = {}, 0, nil
    for name, candidate in pairs(nodes) do
        local domain = candidate.metadata.labels[constraint.topologyKey]
        local tainted = constraint.nodeTaintsPolicy == "Honor" and candidate.spec.taints
        if domain and not tainted and not counts[domain] then counts[domain], domains = 0, domains + 1 end
    end
    for _, other in ipairs(placed) do
        local on = nodes[other.spec.nodeName]
        local domain = on.metadata.labels[constraint.topologyKey]
        local tainted = constraint.nodeTaintsPolicy == "Honor" and on.spec.taints
        if domain and not tainted and other.metadata.labels.app == constraint.labelSelector.matchLabels.app then
            counts[domain] = counts[domain] + 1
        end
    end
    for _, count in pairs(counts) do least = math.min(least or count, count) end
    if domains < (constraint.minDomains or 1) then least = 0 end
    local own = nodes[where].metadata.labels[constraint.topologyKey]
    local after = own and (counts[own] or 0) + (object.metadata.labels.app == constraint.labelSelector.matchLabels.app and 1 or 0)
    return own ~= nil and after - (least or 0) <= constraint.maxSkew
end

--- Whether a pod may be on a node beside those that are placed, found by looking at all of them.
local function allowed(placed, nodes, object, where)
    local on, here = nodes[where], 0
    for _, other in ipairs(placed) do
        if other.spec.nodeName == where then here = here + 1 end
    end
    if here >= tonumber(on.status.allocatable.pods) or on.spec.taints then return false end
    for _, term in ipairs(required(object, "podAffinity")) do
        local app = term.labelSelector.matchLabels.app
        local count, domain = around(placed, nodes, where, term.topologyKey, app)
        local anywhere = false
        for _, other in ipairs(placed) do
            anywhere = anywhere or other.metadata.labels.app == app
                and nodes[other.spec.nodeName].metadata.labels[term.topologyKey] ~= nil
        end
        if not domain or count == 0 and (anywhere or object.metadata.labels.app ~= app) then return false end
    end
    for _, term in ipairs(required(object, "podAntiAffinity")) do
        if around(placed, nodes, where, term.topologyKey, term.labelSelector.matchLabels.app) > 0 then return false end
    end
    for _, other in ipairs(placed) do
        for _, term in ipairs(required(other, "podAntiAffinity")) do
            local domain = on.metadata.labels[term.topologyKey]
            if term.labelSelector.matchLabels.app == object.metadata.labels.app and domain
                and domain == nodes[other.spec.nodeName].metadata.labels[term.topologyKey] then return false end
        end
    end
    for _, constraint in ipairs(object.spec.topologySpreadConstraints or {}) do
        if not skew_holds(placed, nodes, object, where, constraint) then return false end
    end
    return true
end

local function run_random(seed)
    local nodes, pods = random_world(seed)
    local world = world_of(nodes, pods)
    local by_name, by_key, order = {}, {}, {}
    for _, each in ipairs(nodes) do by_name[each.metadata.name] = each end
    for _, each in ipairs(pods) do by_key["default/" .. each.metadata.name] = each end
    for _ = 1, 30 do
        local plan = testing.reconcile(world, "scheduler", "pods")
        testing.apply(world, plan)
        for _, step in ipairs(plan.steps) do
            if step.verb == "bind" then order[#order + 1] = { pod = by_key[step.key], node = step.node } end
        end
        if plan.after == nil then break end
    end
    return by_name, by_key, order, nodes
end

return {
    ["anti-affinity: one per node, also against those that are there"] = function()
        local pods = {}
        for i = 1, 6 do pods[i] = pod("p" .. i, "web", near("podAntiAffinity", "web", HOST)) end
        local world = world_of(zones(), pods)
        schedule(world)
        testing.equal(count_by(world), { a1 = 1, a2 = 1, b1 = 1, b2 = 1, c1 = 1, none = 1 })
        world:put("pods", pod("plain", "web"))
        schedule(world)
        testing.equal(message_of(world, "plain"),
            "0/5 nodes are available: 5 node(s) didn't satisfy existing pods anti-affinity rules.")
        world:drop("pods", "default/p1")
        schedule(world)
        testing.equal(count_by(world).none, 1, "one of the two that waited has got the place")
    end,

    ["a pod that runs gets other labels: counted by those, also while it goes, and one that waited for that is placed"] = function()
        local function relabel(world, name, app)
            local object = world:get("pods", "default/" .. name)
            object.metadata.labels.app = app
            world:put("pods", object)
        end
        local world = world_of({ node("a1", "a") }, { pod("old", "web", near("podAntiAffinity", "web", HOST), { node = "a1" }),
            pod("new", "web", near("podAntiAffinity", "web", HOST)), pod("f", "f", near("podAffinity", "debug", HOST)) })
        schedule(world)
        assert(not place_of(world, "new") and not place_of(world, "f"))
        relabel(world, "old", "debug") -- its own term still keeps app=web away
        schedule(world)
        assert(not place_of(world, "new"))
        testing.equal(place_of(world, "f"), "a1")
        local plain = pod("plain", "web", {}, { node = "b1" })
        world = world_of({ node("b1", "b") }, { plain, pod("new", "web", near("podAntiAffinity", "web", HOST)) })
        schedule(world)
        testing.equal(place_of(world, "new"), nil)
        plain.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
        world:put("pods", plain)
        relabel(world, "plain", "debug")
        schedule(world)
        testing.equal(place_of(world, "new"), "b1")
        world:drop("pods", "default/plain")
        world:drop("pods", "default/new")
        world:put("pods", pod("one", "one", near("podAffinity", "debug", HOST)))
        schedule(world)
        testing.equal(place_of(world, "one"), nil, "nothing is left of the one that was relabelled")
    end,

    ["affinity: the first begins anywhere, the others follow it"] = function()
        local pods = {}
        for i = 1, 6 do pods[i] = pod("p" .. i, "cache", near("podAffinity", "cache", ZONE)) end
        local world = world_of(zones(), pods)
        schedule(world)
        local counts = count_by(world, 1)
        testing.equal(counts[zone_of(world, "p1")], 6)
    end,

    ["affinity to a pod that comes later in the same round"] = function()
        local world = world_of(zones(), { pod("a-follower", "f", near("podAffinity", "leader", HOST)), pod("z-leader", "leader") })
        schedule(world)
        testing.equal(place_of(world, "a-follower"), place_of(world, "z-leader"))
        assert(place_of(world, "z-leader"))
    end,

    ["affinity to nobody waits, with the reason of each node"] = function()
        local world = world_of(zones(), { pod("p", "f", near("podAffinity", "nobody", ZONE)) })
        schedule(world)
        testing.equal(message_of(world, "p"), "0/5 nodes are available: 5 node(s) didn't match pod affinity rules.")
        local conditions = world:get("pods", "default/p").status.conditions
        testing.contains(conditions[2].message, "b1: node(s) didn't match pod affinity rules; b2: ")
    end,

    ["namespaces by name and by label"] = function()
        local function term(more) return near("podAffinity", "db", HOST, more) end
        local namespaces = {
            { apiVersion = "v1", kind = "Namespace", metadata = { name = "default", labels = {} } },
            { apiVersion = "v1", kind = "Namespace", metadata = { name = "data", labels = { team = "db" } } },
        }
        local world = world_of(zones(), {
            pod("db", "db", {}, { namespace = "data", node = "b2" }),
            pod("own", "x", term()), pod("named", "x", term({ namespaces = { "data" } })),
            pod("labelled", "x", term({ namespaceSelector = { matchLabels = { team = "db" } } })),
            pod("all", "x", term({ namespaceSelector = {} })),
            pod("other", "x", term({ namespaceSelector = { matchLabels = { team = "web" } } })),
        }, namespaces)
        schedule(world)
        testing.equal(place_of(world, "own"), nil)
        testing.equal(place_of(world, "named"), "b2")
        testing.equal(place_of(world, "labelled"), "b2")
        testing.equal(place_of(world, "all"), "b2")
        testing.equal(place_of(world, "other"), nil)
        namespaces[2].metadata.labels = { team = "web" }
        world:put("namespaces", namespaces[2])
        schedule(world)
        testing.equal(place_of(world, "other"), "b2", "the namespace has got the label")
    end,

    ["preferences decide, and those of others count too"] = function()
        local world = world_of(zones(), {
            pod("db", "db", {}, { node = "b1" }), pod("likes", "x", wish("podAffinity", "db", HOST, 100)),
            pod("hates", "y", wish("podAntiAffinity", "db", ZONE, 100)) })
        schedule(world)
        testing.equal(place_of(world, "likes"), "b1")
        assert(zone_of(world, "hates") ~= "b")
        world:put("pods", pod("wanted", "db"))
        schedule(world)
        testing.equal(place_of(world, "wanted"), "b1", "where the one is that likes it, not where it is hated")
    end,

    ["spread: DoNotSchedule keeps maxSkew"] = function()
        local pods = {}
        for i = 1, 9 do pods[i] = pod("p" .. i, "web", spread("web", ZONE, 1)) end
        local world = world_of(zones(), pods)
        schedule(world)
        testing.equal(count_by(world, 1), { a = 3, b = 3, c = 3 })
    end,

    ["spread: waits where the emptiest domain is full"] = function()
        local nodes = zones()
        nodes[5] = node("c1", "c", { pods = "1" })
        local pods = {}
        for i = 1, 9 do pods[i] = pod("p" .. i, "web", spread("web", ZONE, 1)) end
        local world = world_of(nodes, pods)
        schedule(world)
        testing.equal(count_by(world, 1), { a = 2, b = 2, c = 1, none = 4 })
        testing.contains(message_of(world, "p9"), "4 node(s) didn't match pod topology spread constraints")
        testing.contains(message_of(world, "p9"), "1 Too many pods")
    end,

    ["spread: a pod that is leaving does not count"] = function()
        local world = world_of({ node("a1", "a"), node("b1", "b") }, {
            pod("a-1", "web", {}, { node = "a1" }), pod("a-2", "web", {}, { node = "a1", deleted = "2026-01-01T00:00:00Z" }),
            pod("b-1", "web", {}, { node = "b1" }), pod("b-2", "web", {}, { node = "b1" }),
            pod("new", "web", spread("web", ZONE, 1)) })
        schedule(world)
        testing.equal(place_of(world, "new"), "a1")
    end,

    ["spread: nodes that the pod's affinity or taints exclude count as asked"] = function()
        local nodes = { node("a1", "a", { disk = "ssd" }), node("b1", "b", { disk = "ssd" }), node("c1", "c"),
            node("d1", "d", { disk = "ssd", taints = { { key = "own", effect = "NoSchedule" } } }) }
        local function round(more)
            local pods = {}
            for i = 1, 4 do
                local spec = spread("web", ZONE, 1, more)
                spec.nodeSelector = { disk = "ssd" }
                pods[i] = pod("p" .. i, "web", spec)
            end
            local world = world_of(nodes, pods)
            schedule(world)
            return count_by(world, 1)
        end
        testing.equal(round({ nodeTaintsPolicy = "Honor" }), { a = 2, b = 2 })
        testing.equal(round({}), { a = 1, b = 1, none = 2 }, "zone d counts and stays empty")
        testing.equal(round({ nodeTaintsPolicy = "Honor", nodeAffinityPolicy = "Ignore" }), { a = 1, b = 1, none = 2 })
    end,

    ["spread: minDomains, a missing label, and a wish only"] = function()
        local pods = {}
        for i = 1, 4 do pods[i] = pod("p" .. i, "web", spread("web", ZONE, 1, { minDomains = 3 })) end
        local world = world_of({ node("a1", "a"), node("b1", "b"), node("x1") }, pods)
        schedule(world)
        testing.equal(count_by(world, 1), { a = 1, b = 1, none = 2 })
        testing.contains(message_of(world, "p4"), "(missing required label)")
        local soft = {}
        for i = 1, 6 do
            local spec = spread("web", ZONE, 1, { whenUnsatisfiable = "ScheduleAnyway" })
            soft[i] = pod("p" .. i, "web", spec)
        end
        world = world_of(zones(), soft)
        schedule(world)
        testing.equal(count_by(world, 1), { a = 2, b = 2, c = 2 })
    end,

    ["spread: matchLabelKeys counts the pods of one revision"] = function()
        local function of(name, rev, fields)
            fields = fields or {}
            fields.rev = rev
            return pod(name, "web", spread("web", ZONE, 1, { matchLabelKeys = { "rev" } }), fields)
        end
        local world = world_of({ node("a1", "a"), node("b1", "b") }, {
            of("old-1", "1", { node = "a1" }), of("old-2", "1", { node = "a1" }), of("old-3", "1", { node = "a1" }),
            of("new-1", "2"), of("new-2", "2") })
        schedule(world)
        assert(zone_of(world, "new-1") ~= zone_of(world, "new-2"), "the old ones do not count")
    end,

    ["anti-affinity: mismatchLabelKeys means the others only"] = function()
        local function of(name, rev, fields)
            fields = fields or {}
            fields.rev = rev
            return pod(name, "web", near("podAntiAffinity", "web", ZONE, { mismatchLabelKeys = { "rev" } }), fields)
        end
        local world = world_of({ node("a1", "a"), node("b1", "b") }, {
            of("other", "1", { node = "a1" }), of("one", "2"), of("two", "2") })
        schedule(world)
        testing.equal(count_by(world, 1), { a = 1, b = 2 })
    end,

    ["random worlds: no required rule is broken, and nothing waits that fits"] = function()
        local waited, placed_in_all = 0, 0
        for seed = 1, 60 do
            local nodes, pods, order = run_random(seed)
            local placed = {}
            for _, each in ipairs(order) do
                assert(allowed(placed, nodes, each.pod, each.node),
                    "seed " .. seed .. ": " .. each.pod.metadata.name .. " must not be on " .. each.node)
                local copy = m8.copy(each.pod)
                copy.spec.nodeName = each.node
                placed[#placed + 1] = copy
                pods["default/" .. each.pod.metadata.name] = nil
            end
            placed_in_all = placed_in_all + #placed
            for _, waiting in pairs(pods) do
                waited = waited + 1
                for name in pairs(nodes) do
                    assert(not allowed(placed, nodes, waiting, name),
                        "seed " .. seed .. ": " .. waiting.metadata.name .. " would fit on " .. name)
                end
            end
        end
        assert(waited > 60 and placed_in_all > 200, waited .. " waited, " .. placed_in_all .. " placed")
    end,

    ["random worlds: what is remembered changes nothing"] = function()
        for seed = 200, 212 do
            local _, _, order, nodes = run_random(seed)
            local placed = {}
            for i, each in ipairs(order) do
                if i <= 12 then
                    local pods = m8.copy(placed)
                    pods[#pods + 1] = m8.copy(each.pod)
                    local world = world_of(nodes, pods) -- an engine that has never seen anything
                    testing.apply(world, testing.reconcile(world, "scheduler", "pods"))
                    testing.equal(place_of(world, each.pod.metadata.name), each.node, "seed " .. seed .. " " .. each.pod.metadata.name)
                end
                local copy = m8.copy(each.pod)
                copy.spec.nodeName = each.node
                placed[#placed + 1] = copy
            end
        end
    end,
}
