-- The strategy canary on a Deployment with its ReplicaSets and pods: what it remembers lies on the new ReplicaSet.
local m8 = require("m8")
local testing = require("framework.testing")

local function world_with(name, settings)
    local world = testing.world()
    assert(world:use({ ["rollout"] = { policies = { { name = name, settings = settings } } } }))
    return world
end

local function deployment()
    return { apiVersion = "apps/v1", kind = "Deployment",
        metadata = { name = "web", namespace = "default", uid = "u-web", generation = 1 },
        spec = { replicas = 4, selector = { matchLabels = { app = "web" } },
            template = { metadata = { labels = { app = "web" } }, spec = { containers = { { name = "c", image = "v1" } } } } } }
end

local function reconcile(world)
    local plan = testing.reconcile(world, "deployment", "default/web")
    testing.apply(world, plan)
    local sets = {}
    for item in world:list("replicasets.apps") do sets[#sets + 1] = item.key end
    for _, key in ipairs(sets) do testing.apply(world, testing.reconcile(world, "replicaset", key)) end
    return plan
end

--- Every pod runs and is ready unless its image is `broken`; one that is to go is gone.
local function run_pods(world, broken)
    local keys = {}
    for item in world:list("pods") do keys[#keys + 1] = item.key end
    for _, key in ipairs(keys) do
        local pod = world:get("pods", key)
        if pod.metadata.deletionTimestamp then
            world:drop("pods", key)
        elseif pod.spec.containers[1].image ~= broken then
            pod.spec.nodeName = "n1"
            pod.status = { phase = "Running", conditions = {
                { type = "Ready", status = "True", lastTransitionTime = m8.time_text(world.clock) } } }
            world:put("pods", pod)
        end
    end
end

local function pods_by_image(world)
    local count = {}
    for item in world:list("pods") do
        local image = world:get("pods", item.key).spec.containers[1].image
        count[image] = (count[image] or 0) + 1
    end
    return count
end

local function pass(world, seconds, broken)
    for _ = 1, seconds do
        world:set_now(world.clock + 1)
        reconcile(world)
        run_pods(world, broken)
    end
end

--- A canary rollout from v1 to `image`, a few seconds in.
local function canary_to(image)
    local world = world_with("canary", { pause = 5, wait = 20, steps = { 25, 100 } })
    world:put("deployments.apps", deployment())
    pass(world, 5)
    local object = world:get("deployments.apps", "default/web")
    object.spec.template.spec.containers[1].image = image
    object.metadata.generation = 2
    world:put("deployments.apps", object)
    return world
end

local function events_of(world, part)
    local plan = reconcile(world)
    for _, event in ipairs(plan.events) do
        if event.message:find(part, 1, true) then return true end
    end
    return false
end

return {
    ["canary on a Deployment: one pod, a pause, then all, then the old ones go"] = function()
        local world = canary_to("v2")
        pass(world, 4)
        testing.equal(pods_by_image(world), { v1 = 4, v2 = 1 })
        pass(world, 5)
        testing.equal(pods_by_image(world), { v1 = 4, v2 = 4 })
        pass(world, 8)
        testing.equal(pods_by_image(world), { v2 = 4 })
        for item in world:list("replicasets.apps") do
            local annotations = world:get("replicasets.apps", item.key).metadata.annotations
            testing.equal(annotations["minik8s.io/rollout-state"], nil)
        end
    end,

    ["canary: pods that do not become ready go again, and stay away; a new template begins anew"] = function()
        local world = canary_to("broken")
        pass(world, 10, "broken")
        testing.equal(pods_by_image(world), { v1 = 4, broken = 1 })
        pass(world, 15, "broken")
        testing.equal(pods_by_image(world), { v1 = 4 })
        pass(world, 30, "broken")
        testing.equal(pods_by_image(world), { v1 = 4 })
        -- what it knows is on the ReplicaSet: a manager that starts anew knows it, too
        local objects = { ["deployments.apps"] = {}, ["replicasets.apps"] = {}, pods = {} }
        for resource, list in pairs(objects) do
            for item in world:list(resource) do list[#list + 1] = world:get(resource, item.key) end
        end
        local again = testing.world({ objects = objects, now = world.clock })
        local settings = { pause = 5, wait = 20, steps = { 25, 100 } }
        assert(again:use({ ["rollout"] = { policies = { { name = "canary", settings = settings } } } }))
        pass(again, 5, "broken")
        testing.equal(pods_by_image(again), { v1 = 4 })
        local object = again:get("deployments.apps", "default/web")
        object.spec.template.spec.containers[1].image = "v3"
        again:put("deployments.apps", object)
        pass(again, 4)
        testing.equal(pods_by_image(again), { v1 = 4, v3 = 1 })
    end,

    ["canary: errors of the new pods end it, errors of the old ones do not"] = function()
        local world = canary_to("v2")
        pass(world, 3)
        for item in world:list("pods") do
            local image = world:get("pods", item.key).spec.containers[1].image
            local errors = image == "v2" and "3" or "90"
            world:put("pods.metrics.k8s.io", { apiVersion = "metrics.k8s.io/v1beta1", kind = "PodMetrics",
                metadata = { name = item.name, namespace = "default" },
                values = { { name = "requests_per_second", value = "100" }, { name = "errors_per_second", value = errors } } })
        end
        pass(world, 1)
        testing.equal(pods_by_image(world), { v1 = 4, v2 = 1 }) -- 3 % are allowed
        for item in world:list("pods.metrics.k8s.io") do
            local metrics = world:get("pods.metrics.k8s.io", item.key)
            if metrics.values[2].value == "3" then metrics.values[2].value = "30" end
            world:put("pods.metrics.k8s.io", metrics)
        end
        assert(events_of(world, "aborted: 30.0 % of the requests to new pods fail"), "an Event says why")
        pass(world, 2)
        testing.equal(pods_by_image(world), { v1 = 4 })
    end,
}
