local m8 = require("m8")
local testing = require("framework.testing")

local KEY, CLAIMS = "default/db", "persistentvolumeclaims"

local function statefulset(fields)
    fields = fields or {}
    return {
        apiVersion = "apps/v1", kind = "StatefulSet",
        metadata = { name = "db", namespace = "default", uid = "u-db", generation = fields.generation or 1 },
        spec = {
            replicas = fields.replicas or 3, serviceName = "db", selector = { matchLabels = { app = "db" } },
            podManagementPolicy = fields.management or "OrderedReady", ordinals = fields.start and { start = fields.start },
            updateStrategy = fields.strategy or { type = "RollingUpdate", rollingUpdate = { partition = fields.partition or 0 } },
            volumeClaimTemplates = fields.claims and { { metadata = { name = "data" }, spec = { accessModes = { "ReadWriteOnce" } } } },
            persistentVolumeClaimRetentionPolicy = fields.retention, minReadySeconds = fields.min_ready,
            revisionHistoryLimit = fields.history,
            template = { metadata = { labels = { app = "db" } },
                spec = { containers = { { name = "c", image = fields.image or "i:1" } } } },
        },
    }
end

local function world_of(fields)
    return testing.world({ objects = { ["statefulsets.apps"] = { statefulset(fields) } } })
end

local function settle(world)
    return testing.settle(world, "statefulset", KEY)
end

local function names(world)
    local list = {}
    for item in world:list("pods") do list[#list + 1] = item.name .. (item.deleting and "*" or "") end
    return table.concat(list, " ")
end

--- As scheduler and agents would do.
local function run(world, only)
    local keys = {}
    for item in world:list("pods") do
        if not item.deleting and (not only or item.name == only) then keys[#keys + 1] = item.key end
    end
    for _, key in ipairs(keys) do
        local pod = world:get("pods", key)
        pod.spec.nodeName = "n"
        local ready = (pod.status or {}).conditions
        ready = ready or { { type = "Ready", status = "True", lastTransitionTime = world:time_text() } }
        pod.status = { phase = "Running", conditions = ready }
        world:put("pods", pod)
    end
end

local function confirm(world)
    local gone = {}
    for item in world:list("pods") do
        if item.deleting then gone[#gone + 1] = item.key end
    end
    for _, key in ipairs(gone) do world:drop("pods", key) end
    return #gone
end

local function steps(world, rounds)
    for _ = 1, rounds do
        settle(world)
        if confirm(world) == 0 then run(world) end
    end
    settle(world)
end

local function change(world, fields)
    local set = statefulset(fields)
    set.metadata.generation = 2
    set.status = world:get("statefulsets.apps", KEY).status
    world:put("statefulsets.apps", set)
end

local function images(world)
    local list = {}
    for item in world:list("pods") do list[#list + 1] = world:get("pods", item.key).spec.containers[1].image end
    return table.concat(list, " ")
end

local function status(world)
    return world:get("statefulsets.apps", KEY).status
end

local function owners(world, claim)
    local list = {}
    for _, reference in ipairs(world:get(CLAIMS, "default/" .. claim).metadata.ownerReferences or {}) do
        list[#list + 1] = reference.kind .. " " .. reference.name
    end
    return table.concat(list, ", ")
end

return {
    ["one after the other, each with its names"] = function()
        local world = world_of()
        settle(world)
        testing.equal(names(world), "db-0")
        settle(world)
        testing.equal(names(world), "db-0", "not ready yet")
        run(world)
        settle(world)
        testing.equal(names(world), "db-0 db-1")
        run(world)
        settle(world)
        testing.equal(names(world), "db-0 db-1 db-2")
        local pod = world:get("pods", "default/db-1")
        testing.equal({ pod.spec.hostname, pod.spec.subdomain }, { "db-1", "db" })
        testing.equal(pod.metadata.labels["statefulset.kubernetes.io/pod-name"], "db-1")
        testing.equal(pod.metadata.labels["apps.kubernetes.io/pod-index"], "1")
        run(world)
        settle(world)
        testing.equal(status(world).availableReplicas, 3)
        testing.equal(status(world).currentRevision, status(world).updateRevision)
    end,

    ["minReadySeconds delays the next one"] = function()
        local world = world_of({ min_ready = 10 })
        settle(world)
        run(world)
        local plan = testing.reconcile(world, "statefulset", KEY)
        testing.equal(plan.after, 10)
        settle(world)
        testing.equal(names(world), "db-0")
        world:set_now(world.now + 10)
        settle(world)
        testing.equal(names(world), "db-0 db-1")
    end,

    ["Parallel: all at once, and away at once"] = function()
        local world = world_of({ management = "Parallel" })
        settle(world)
        testing.equal(names(world), "db-0 db-1 db-2")
        run(world)
        change(world, { management = "Parallel", replicas = 1 })
        settle(world)
        testing.equal(names(world), "db-0 db-1* db-2*")
    end,

    ["scales in from the highest, one after the other"] = function()
        local world = world_of()
        steps(world, 6)
        change(world, { replicas = 1 })
        settle(world)
        testing.equal(names(world), "db-0 db-1 db-2*")
        settle(world)
        testing.equal(names(world), "db-0 db-1 db-2*", "waits for the end of db-2")
        confirm(world)
        settle(world)
        testing.equal(names(world), "db-0 db-1*")
    end,

    ["ordinals.start"] = function()
        local world = world_of({ start = 5, replicas = 2 })
        steps(world, 4)
        testing.equal(names(world), "db-5 db-6")
    end,

    ["a pod on a lost node is not made again while its object is there"] = function()
        local world = world_of()
        steps(world, 6)
        local pod = world:get("pods", "default/db-1")
        pod.status.conditions[1].status = "Unknown"
        world:put("pods", pod)
        settle(world)
        testing.equal(names(world), "db-0 db-1 db-2", "silence alone replaces nothing")
        pod.metadata.deletionTimestamp = world:time_text()
        world:put("pods", pod)
        for _ = 1, 3 do settle(world) end
        testing.equal(names(world), "db-0 db-1* db-2", "its end is not confirmed")
        confirm(world) -- its node was deleted, or a person used force
        settle(world)
        testing.equal(names(world), "db-0 db-1 db-2")
    end,

    ["a foreign pod of the name is left alone, with an Event"] = function()
        local world = world_of({ replicas = 1 })
        world:put("pods", { apiVersion = "v1", kind = "Pod", spec = {},
            metadata = { name = "db-0", namespace = "default", uid = "x", labels = {} } })
        local plan = testing.reconcile(world, "statefulset", KEY)
        testing.equal(plan.events[1].reason, "FailedCreate")
        testing.contains(plan.events[1].message, "belongs to somebody else")
    end,

    ["updates from the highest ordinal, one at a time"] = function()
        local world = world_of()
        steps(world, 6)
        change(world, { image = "i:2" })
        local seen = {}
        for _ = 1, 10 do
            settle(world)
            seen[#seen + 1] = images(world)
            if confirm(world) == 0 then run(world) end
        end
        local text = table.concat(seen, "|")
        testing.contains(text, "i:1 i:1 i:2")
        testing.contains(text, "i:1 i:2 i:2")
        testing.equal(images(world), "i:2 i:2 i:2")
        settle(world)
        testing.equal(status(world).currentRevision, status(world).updateRevision)
        assert(not text:find("i:2 i:1", 1, true), text)
    end,

    ["partition: those below keep the old template, also when they are made again"] = function()
        local world = world_of()
        steps(world, 6)
        change(world, { image = "i:2", partition = 2 })
        steps(world, 8)
        testing.equal(images(world), "i:1 i:1 i:2")
        world:drop("pods", "default/db-0")
        steps(world, 4)
        testing.equal(images(world), "i:1 i:1 i:2")
        assert(status(world).currentRevision ~= status(world).updateRevision, "two revisions are in use")
        testing.equal(status(world).updatedReplicas, 1)
        change(world, { image = "i:2", partition = 0 })
        steps(world, 8)
        testing.equal(images(world), "i:2 i:2 i:2")
    end,

    ["partition counts from ordinals.start"] = function()
        local world = world_of({ start = 5 })
        steps(world, 6)
        change(world, { start = 5, image = "i:2", partition = 1 })
        steps(world, 8)
        testing.equal({ names(world), images(world) }, { "db-5 db-6 db-7", "i:1 i:2 i:2" })
        world:drop("pods", "default/db-5")
        steps(world, 4)
        testing.equal(images(world), "i:1 i:2 i:2", "made again as it was")
    end,

    ["maxUnavailable 2: two at a time; revisionHistoryLimit 0 forgets what is not in use"] = function()
        local strategy = { type = "RollingUpdate", rollingUpdate = { partition = 0, maxUnavailable = 2 } }
        local fields = { management = "Parallel", strategy = strategy, history = 0 }
        local world = world_of(fields)
        steps(world, 4)
        fields.image = "i:2"
        change(world, fields)
        settle(world)
        testing.equal(names(world), "db-0 db-1* db-2*")
        steps(world, 6)
        testing.equal(images(world), "i:2 i:2 i:2")
        local count = 0
        for _ in world:list("controllerrevisions.apps") do count = count + 1 end
        testing.equal(count, 1)
    end,

    ["OnDelete waits for you"] = function()
        local world = world_of({ strategy = { type = "OnDelete" } })
        steps(world, 6)
        change(world, { strategy = { type = "OnDelete" }, image = "i:2" })
        steps(world, 3)
        testing.equal(images(world), "i:1 i:1 i:1")
        world:drop("pods", "default/db-1")
        steps(world, 3)
        testing.equal(images(world), "i:1 i:2 i:1")
    end,

    ["an update that never gets ready can be mended"] = function()
        local world = world_of({ replicas = 2 })
        steps(world, 5)
        change(world, { replicas = 2, image = "bad" })
        settle(world)
        confirm(world)
        for _ = 1, 3 do settle(world) end
        testing.equal(images(world), "i:1 bad", "stops at the first that is not ready")
        change(world, { replicas = 2, image = "i:3" })
        steps(world, 8)
        testing.equal(images(world), "i:3 i:3")
    end,

    ["claims: made before their pod, mounted, kept"] = function()
        local world = world_of({ claims = true, replicas = 2 })
        local plan = testing.reconcile(world, "statefulset", KEY)
        for _, step in ipairs(plan.steps) do assert(step.resource ~= "pods", "the claim first") end
        testing.apply(world, plan)
        settle(world)
        local pod = world:get("pods", "default/db-0")
        testing.equal(pod.spec.volumes, { { name = "data", persistentVolumeClaim = { claimName = "data-db-0" } } })
        steps(world, 5)
        testing.equal(owners(world, "data-db-1"), "")
        change(world, { claims = true, replicas = 0 })
        steps(world, 6)
        testing.equal(names(world), "")
        assert(world:item(CLAIMS, "default/data-db-0") and world:item(CLAIMS, "default/data-db-1"), "claims outlive their pods")
    end,

    ["retention Delete: claims belong to the set, and to their pod once it is scaled away"] = function()
        local retention = { whenDeleted = "Delete", whenScaled = "Delete" }
        local world = world_of({ claims = true, replicas = 2, retention = retention })
        steps(world, 5)
        testing.equal(owners(world, "data-db-1"), "StatefulSet db")
        change(world, { claims = true, replicas = 1, retention = retention })
        settle(world)
        testing.equal(owners(world, "data-db-1"), "Pod db-1")
        testing.equal(owners(world, "data-db-0"), "StatefulSet db")
        change(world, { claims = true, replicas = 1 })
        settle(world)
        testing.equal(owners(world, "data-db-0"), "")
    end,

    ["adopts a pod of its numbering only"] = function()
        local world = world_of({ replicas = 1 })
        for _, name in ipairs({ "db-0", "db-x", "other" }) do
            world:put("pods", { apiVersion = "v1", kind = "Pod", spec = { containers = { { name = "c", image = "i:1" } } },
                metadata = { name = name, namespace = "default", uid = name, labels = { app = "db" } } })
        end
        settle(world)
        testing.equal(world:item("pods", "default/db-0").owner_uid, "u-db")
        testing.equal(world:item("pods", "default/db-x").owner_uid, nil)
        testing.equal(m8.json(world:get("pods", "default/other").metadata.ownerReferences or {}), "{}")
    end,
}
