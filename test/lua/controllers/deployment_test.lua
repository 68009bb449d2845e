local m8 = require("m8")
local testing = require("framework.testing")

local KEY = "default/web"
local SETS = "replicasets.apps"

local function deployment(fields)
    fields = fields or {}
    return {
        apiVersion = "apps/v1", kind = "Deployment",
        metadata = { name = "web", namespace = "default", uid = "u-web", generation = 1, annotations = fields.annotations },
        spec = {
            replicas = fields.replicas or 3, paused = fields.paused, minReadySeconds = fields.min_ready,
            revisionHistoryLimit = fields.history, progressDeadlineSeconds = fields.deadline,
            selector = { matchLabels = { app = "web" } },
            strategy = fields.strategy or { type = "RollingUpdate",
                rollingUpdate = { maxSurge = fields.surge or 1, maxUnavailable = fields.unavailable or 0 } },
            template = { metadata = { labels = { app = "web" } },
                spec = { containers = { { name = "c", image = fields.image or "v1" } } } },
        },
    }
end

local function world_of(fields)
    return testing.world({ objects = { ["deployments.apps"] = { deployment(fields) } } })
end

local function change(world, edit)
    local object = world:get("deployments.apps", KEY)
    edit(object)
    object.metadata.generation = object.metadata.generation + 1
    world:put("deployments.apps", object)
end

local function set_image(world, image)
    change(world, function(object) object.spec.template.spec.containers[1].image = image end)
end

local function scale_to(world, replicas)
    change(world, function(object) object.spec.replicas = replicas end)
end

local function keys_of(world, resource)
    local keys = {}
    for item in world:list(resource) do keys[#keys + 1] = item.key end
    return keys
end

local function reconcile(world)
    local plan = testing.reconcile(world, "deployment", KEY)
    testing.apply(world, plan)
    for _, key in ipairs(keys_of(world, SETS)) do
        testing.apply(world, testing.reconcile(world, "replicaset", key))
    end
    return plan
end

--- The agent: the pod is on a node and ready.
local function make_ready(world, key)
    local pod = world:get("pods", key)
    pod.spec.nodeName = "n1"
    pod.status = { phase = "Running", conditions = {
        { type = "Ready", status = "True", lastTransitionTime = m8.time_text(world.clock) } } }
    world:put("pods", pod)
end

local function each_pod(world, run)
    for _, key in ipairs(keys_of(world, "pods")) do run(key, world:item("pods", key)) end
end

--- Everything that agents would do: pods become ready, deleted ones end.
local function run_agents(world)
    each_pod(world, function(key, pod)
        if pod.deleting then world:drop("pods", key) else make_ready(world, key) end
    end)
end

local function finish(world)
    for _ = 1, 30 do
        reconcile(world)
        run_agents(world)
    end
end

local function image_counts(world)
    local counts = {}
    each_pod(world, function(key, pod)
        local image = world:get("pods", key).spec.containers[1].image
        if not pod.deleting then counts[image] = (counts[image] or 0) + 1 end
    end)
    return counts
end

local function condition(world, type)
    for _, one in ipairs(world:get("deployments.apps", KEY).status.conditions) do
        if one.type == type then return one end
    end
    return nil
end

--- The annotation of each ReplicaSet, by its image.
local function annotations_by_image(world, annotation)
    local found = {}
    for _, key in ipairs(keys_of(world, SETS)) do
        local set = world:get(SETS, key)
        found[set.spec.template.spec.containers[1].image] = set.metadata.annotations[annotation]
    end
    return found
end

local function revisions(world)
    return annotations_by_image(world, "deployment.kubernetes.io/revision")
end

local function counts(world)
    local total, available = 0, 0
    each_pod(world, function(_, pod)
        if not pod.deleting then
            total = total + 1
            local ready = (pod["status.conditions"] or {})[1]
            if ready and ready.status == "True" then available = available + 1 end
        end
    end)
    return total, available
end

--- Deployment, ReplicaSets and agents act in any order, templates change on the way: the bounds hold at every step.
local function random_walk(seed)
    local random = testing.random(seed)
    local desired, surge, unavailable = random(6), random(3) - 1, random(3) - 1
    if surge == 0 and unavailable == 0 then surge = 1 end
    unavailable = math.min(unavailable, desired)
    local world = world_of({ replicas = desired, surge = surge, unavailable = unavailable })
    finish(world)
    testing.equal(image_counts(world), { v1 = desired })
    local image = 1
    for step = 1, 150 do
        local pods, sets, action = keys_of(world, "pods"), keys_of(world, SETS), random(10)
        if action <= 3 then
            testing.apply(world, testing.reconcile(world, "deployment", KEY))
        elseif action <= 6 then
            testing.apply(world, testing.reconcile(world, "replicaset", sets[random(#sets)]))
        elseif action <= 9 and #pods > 0 then
            local key = pods[random(#pods)]
            if world:item("pods", key).deleting then world:drop("pods", key) else make_ready(world, key) end
        elseif random(8) == 1 then
            image = image + 1
            set_image(world, "v" .. (random(3) == 1 and math.max(1, image - 2) or image))
        end
        local total, available = counts(world)
        local where = ("seed %d step %d: %d wanted, surge %d, unavailable %d: %d pods, %d available"):format(
            seed, step, desired, surge, unavailable, total, available)
        assert(total <= desired + surge, where)
        assert(available >= desired - unavailable, where)
    end
    finish(world)
    local last = world:get("deployments.apps", KEY).spec.template.spec.containers[1].image
    testing.equal(image_counts(world), { [last] = desired }, "seed " .. seed)
end

return {
    ["makes one ReplicaSet with the hash of the template"] = function()
        local world = world_of()
        local plan = testing.reconcile(world, "deployment", KEY)
        local set
        for _, step in ipairs(plan.steps) do if step.verb == "create" then set = step.object end end
        testing.equal(set.spec.replicas, 3)
        local hash = set.metadata.labels["pod-template-hash"]
        testing.equal(set.metadata.name, "web-" .. hash)
        testing.equal(set.spec.selector.matchLabels, { app = "web", ["pod-template-hash"] = hash })
        testing.equal(set.metadata.ownerReferences[1].uid, "u-web")
    end,

    ["reports when it is complete"] = function()
        local world = world_of()
        reconcile(world)
        reconcile(world)
        testing.equal(condition(world, "Available").status, "False")
        testing.equal(condition(world, "Progressing").reason, "ReplicaSetUpdated")
        finish(world)
        local status = world:get("deployments.apps", KEY).status
        testing.equal({ status.replicas, status.readyReplicas, status.availableReplicas, status.updatedReplicas,
            status.unavailableReplicas }, { 3, 3, 3, 3, 0 })
        testing.equal(condition(world, "Available").status, "True")
        testing.equal(condition(world, "Progressing").reason, "NewReplicaSetAvailable")
    end,

    ["surge 1, none unavailable: one more, then one less"] = function()
        local world = world_of()
        finish(world)
        set_image(world, "v2")
        for expected = 1, 3 do
            reconcile(world)
            reconcile(world)
            local total, available = counts(world)
            testing.equal({ total, available }, { 4, 3 })
            testing.equal(image_counts(world).v2, expected)
            run_agents(world)
            reconcile(world)
            reconcile(world)
            run_agents(world)
        end
        finish(world)
        testing.equal(image_counts(world), { v2 = 3 })
    end,

    ["a template that never becomes ready stops at the surge"] = function()
        local world = world_of({ replicas = 4, surge = 1, unavailable = 1 })
        finish(world)
        set_image(world, "broken")
        for _ = 1, 20 do
            reconcile(world)
            each_pod(world, function(key, pod) if pod.deleting then world:drop("pods", key) end end)
        end
        testing.equal(image_counts(world), { v1 = 3, broken = 2 })
        set_image(world, "v1")
        finish(world)
        testing.equal(image_counts(world), { v1 = 4 })
    end,

    ["replaced half-way: a pod that no status tells yet is there"] = function()
        local world = world_of()
        finish(world)
        set_image(world, "v2")
        reconcile(world) -- the pod is made, and the set's status will say so at its next turn
        set_image(world, "v3")
        for _ = 1, 2 do testing.apply(world, testing.reconcile(world, "deployment", KEY)) end
        local newest, pods = 0, #keys_of(world, "pods")
        for _, key in ipairs(keys_of(world, SETS)) do
            local spec = world:get(SETS, key).spec
            if spec.template.spec.containers[1].image == "v3" then newest = spec.replicas end
        end
        testing.equal({ pods, newest }, { 4, 0 })
    end,

    ["within its bounds in any order of events"] = function()
        for seed = 1, 60 do random_walk(seed) end
    end,

    ["Recreate: no new pod while an old one lives"] = function()
        local world = world_of({ strategy = { type = "Recreate" } })
        finish(world)
        set_image(world, "v2")
        for _ = 1, 5 do reconcile(world) end
        testing.equal(image_counts(world), {}, "all are being deleted, none has ended")
        local pods = keys_of(world, "pods")
        testing.equal(#pods, 3)
        world:drop("pods", pods[1])
        world:drop("pods", pods[2])
        for _ = 1, 3 do reconcile(world) end
        testing.equal(image_counts(world), {})
        world:drop("pods", pods[3])
        for _ = 1, 3 do reconcile(world) end
        testing.equal(image_counts(world), { v2 = 3 })
    end,

    ["Recreate: available with all of its pods only"] = function()
        local world = world_of({ replicas = 4, strategy = { type = "Recreate" } })
        finish(world)
        testing.equal(condition(world, "Available").status, "True")
        world:drop("pods", keys_of(world, "pods")[1])
        for _ = 1, 3 do reconcile(world) end
        testing.equal(condition(world, "Available").status, "False")
        testing.contains(condition(world, "Available").message, "3 of at least 4")
    end,

    ["paused: a new template waits, scaling does not"] = function()
        local world = world_of()
        finish(world)
        set_image(world, "v2")
        finish(world) -- leaves an old, empty ReplicaSet
        change(world, function(object) object.spec.paused = true end)
        set_image(world, "v3")
        finish(world)
        testing.equal(image_counts(world), { v2 = 3 })
        testing.equal(condition(world, "Progressing").reason, "DeploymentPaused")
        set_image(world, "v2")
        change(world, function(object) object.spec.replicas = 5 end)
        finish(world)
        testing.equal(image_counts(world), { v2 = 5 })
        set_image(world, "v3")
        change(world, function(object) object.spec.paused = nil end)
        finish(world)
        testing.equal(image_counts(world), { v3 = 5 })
    end,

    ["paused: the set that has pods follows the number, whatever the template"] = function()
        local world = world_of()
        finish(world)
        change(world, function(object) object.spec.paused = true end)
        set_image(world, "v2")
        for _, replicas in ipairs({ 6, 1, 0, 4 }) do -- from none: the newest set
            scale_to(world, replicas)
            finish(world)
            testing.equal(image_counts(world), replicas > 0 and { v1 = replicas } or {})
        end
    end,

    ["paused half-way: nothing moves until the number changes, then all sets share"] = function()
        local world = world_of()
        finish(world)
        set_image(world, "v2")
        reconcile(world) -- maxSurge: one of v2 beside three of v1
        change(world, function(object) object.spec.paused = true end)
        finish(world)
        testing.equal(image_counts(world), { v1 = 3, v2 = 1 })
        for _, case in ipairs({ { 6, { v1 = 5, v2 = 2 } }, { 2, { v1 = 2, v2 = 1 } }, { 0, {} }, { 3, { v2 = 3 } } }) do
            scale_to(world, case[1])
            finish(world)
            testing.equal(image_counts(world), case[2], case[1] .. " wanted")
        end
    end,

    ["paused with more than maxSurge, as a policy may have it: nothing moves"] = function()
        local world = world_of()
        finish(world)
        world:answer("rollout", function() return { new = 3, old = {} } end)
        set_image(world, "v2")
        reconcile(world)
        change(world, function(object) object.spec.paused = true end)
        finish(world)
        testing.equal(image_counts(world), { v1 = 3, v2 = 3 })
    end,

    ["undo: the former template gets the highest revision"] = function()
        local world = world_of()
        finish(world)
        set_image(world, "v2")
        finish(world)
        testing.equal(revisions(world), { v1 = "1", v2 = "2" })
        set_image(world, "v1")
        finish(world)
        testing.equal(revisions(world), { v1 = "3", v2 = "2" })
        testing.equal(#keys_of(world, SETS), 2)
        local annotations = world:get("deployments.apps", KEY).metadata.annotations
        testing.equal(annotations["deployment.kubernetes.io/revision"], "3")
    end,

    ["change-cause, told after the change, is in the history; a template in use again keeps its own"] = function()
        local CAUSE = "kubernetes.io/change-cause"
        local world = world_of({ annotations = { [CAUSE] = "first" } })
        local function tell(cause)
            change(world, function(object) object.metadata.annotations[CAUSE] = cause end)
            finish(world)
        end
        finish(world)
        set_image(world, "v2")
        finish(world)
        tell("second")
        testing.equal(annotations_by_image(world, CAUSE), { v1 = "first", v2 = "second" })
        set_image(world, "v1") -- minikubectl rollout undo
        finish(world)
        testing.equal(annotations_by_image(world, CAUSE), { v1 = "first", v2 = "second" })
        testing.equal(world:get("deployments.apps", KEY).metadata.annotations[CAUSE], "first")
        tell("back to the first")
        testing.equal(annotations_by_image(world, CAUSE), { v1 = "back to the first", v2 = "second" })
        change(world, function(object) -- kubectl rollout undo tells the cause with the template
            object.spec.template.spec.containers[1].image = "v2"
            object.metadata.annotations[CAUSE] = "second once more"
        end)
        finish(world)
        testing.equal(annotations_by_image(world, CAUSE), { v1 = "back to the first", v2 = "second once more" })
        tell(nil)
        testing.equal(annotations_by_image(world, CAUSE), { v1 = "back to the first" })
    end,

    ["keeps revisionHistoryLimit old ReplicaSets"] = function()
        local world = world_of({ history = 2 })
        for i = 1, 6 do
            set_image(world, "v" .. i)
            finish(world)
        end
        testing.equal(revisions(world), { v4 = "4", v5 = "5", v6 = "6" })
    end,

    ["tells when progressDeadlineSeconds have passed without a change"] = function()
        local world = world_of({ deadline = 60 })
        local start = world.clock
        for _ = 1, 4 do reconcile(world) end
        local plan = testing.reconcile(world, "deployment", KEY)
        assert(plan.after and plan.after <= 60, "looks again at the deadline")
        world:set_now(start + 59)
        reconcile(world)
        testing.equal(condition(world, "Progressing").reason, "ReplicaSetUpdated")
        world:set_now(start + 61)
        reconcile(world)
        local progressing = condition(world, "Progressing")
        testing.equal({ progressing.status, progressing.reason }, { "False", "ProgressDeadlineExceeded" })
        run_agents(world)
        for _ = 1, 3 do reconcile(world) end
        testing.equal(condition(world, "Progressing").reason, "NewReplicaSetAvailable")
    end,

    ["ProgressDeadlineExceeded stays over a restart of the manager, until something moves"] = function()
        local before = world_of({ deadline = 60 })
        for _ = 1, 3 do reconcile(before) end
        before:set_now(before.clock + 61)
        reconcile(before)
        local objects, told = {}, condition(before, "Progressing")
        for _, resource in ipairs({ "deployments.apps", SETS, "pods" }) do
            objects[resource] = {}
            for _, key in ipairs(keys_of(before, resource)) do table.insert(objects[resource], before:get(resource, key)) end
        end
        local world = testing.world({ now = before.clock + 5, objects = objects })
        for _ = 1, 2 do reconcile(world) end
        testing.equal(condition(world, "Progressing"), told)
        make_ready(world, keys_of(world, "pods")[1])
        for _ = 1, 2 do reconcile(world) end
        testing.equal(condition(world, "Progressing").reason, "ReplicaSetUpdated")
        world:set_now(world.clock + 61)
        reconcile(world)
        testing.equal(condition(world, "Progressing").reason, "ProgressDeadlineExceeded")
        set_image(world, "v2")
        for _ = 1, 2 do reconcile(world) end
        testing.equal(condition(world, "Progressing").reason, "ReplicaSetUpdated")
    end,

    ["a deadline of hours: looked at before what was seen is forgotten"] = function()
        local world = world_of({ deadline = 7200 })
        for _ = 1, 3 do reconcile(world) end
        assert(testing.reconcile(world, "deployment", KEY).after <= 1800)
    end,

    ["a pod that fails later does not start the deadline again"] = function()
        local world = world_of({ deadline = 60 })
        finish(world)
        world:drop("pods", keys_of(world, "pods")[1])
        for _ = 1, 4 do reconcile(world) end
        testing.equal(world:get("deployments.apps", KEY).status.availableReplicas, 2)
        world:set_now(world.clock + 100)
        reconcile(world)
        testing.equal(condition(world, "Progressing").reason, "NewReplicaSetAvailable")
    end,

    ["a change of minReadySeconds reaches the ReplicaSet, also while paused, and one that is in use again"] = function()
        local world = world_of()
        finish(world)
        local function seconds_of(image)
            for _, key in ipairs(keys_of(world, SETS)) do
                local spec = world:get(SETS, key).spec
                if spec.template.spec.containers[1].image == image then return spec.minReadySeconds end
            end
            return nil
        end
        for _, seconds in ipairs({ 30, 5, 0 }) do
            change(world, function(object)
                object.spec.paused = seconds == 5 or nil
                object.spec.minReadySeconds = seconds > 0 and seconds or nil
            end)
            finish(world)
            testing.equal(seconds_of("v1") or 0, seconds)
            local available = seconds > 0 and 0 or 3
            testing.equal(world:get("deployments.apps", KEY).status.availableReplicas, available, seconds .. " s")
        end
        set_image(world, "v2")
        finish(world)
        change(world, function(object) object.spec.minReadySeconds = 7 end)
        finish(world)
        testing.equal({ seconds_of("v1") or 0, seconds_of("v2") }, { 0, 7 }, "an old set keeps its own")
        set_image(world, "v1")
        finish(world)
        testing.equal(seconds_of("v1"), 7)
    end,

    ["takes over a ReplicaSet that matches and has no controller"] = function()
        local world = world_of()
        finish(world)
        local set = world:get(SETS, keys_of(world, SETS)[1])
        set.metadata.ownerReferences = nil
        world:put(SETS, set)
        finish(world)
        testing.equal(#keys_of(world, SETS), 1)
        testing.equal(world:get(SETS, keys_of(world, SETS)[1]).metadata.ownerReferences[1].uid, "u-web")
        testing.equal(image_counts(world), { v1 = 3 })
    end,

    ["takes nothing over while it is being deleted: they may just have been orphaned"] = function()
        local world = world_of()
        finish(world)
        change(world, function(object)
            object.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
            object.metadata.finalizers = { "orphan" }
        end)
        local set = world:get(SETS, keys_of(world, SETS)[1])
        set.metadata.ownerReferences = nil
        world:put(SETS, set)
        finish(world)
        assert(world:item(SETS, keys_of(world, SETS)[1]).owner_uid == nil)
    end,

    ["scales down to nothing and up again"] = function()
        local world = world_of({ replicas = 2 })
        finish(world)
        change(world, function(object) object.spec.replicas = 0 end)
        finish(world)
        testing.equal(keys_of(world, "pods"), {})
        change(world, function(object) object.spec.replicas = 4 end)
        finish(world)
        testing.equal(image_counts(world), { v1 = 4 })
    end,

    ["one that is being deleted makes nothing"] = function()
        local world = world_of()
        change(world, function(object)
            object.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
            object.metadata.finalizers = { "foregroundDeletion" }
        end)
        finish(world)
        testing.equal(keys_of(world, SETS), {})
    end,
}
