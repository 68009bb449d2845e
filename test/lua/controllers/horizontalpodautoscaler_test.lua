local m8 = require("m8")
local testing = require("framework.testing")

local HPAS, METRICS = "horizontalpodautoscalers.autoscaling", "pods.metrics.k8s.io"
local DEPLOYMENTS, SETS = "deployments.apps", "replicasets.apps"
local START = 1700000000

local function owner(kind, name, uid)
    return { { apiVersion = "apps/v1", kind = kind, name = name, uid = uid, controller = true } }
end

local function pod(app, i, options)
    options = options or {}
    return { apiVersion = "v1", kind = "Pod",
        metadata = { name = app .. "-" .. i, namespace = "default", uid = "u-" .. app .. i, labels = { app = app },
            ownerReferences = owner("ReplicaSet", app .. "-rs", "u-rs-" .. app) },
        spec = { containers = { { name = "c", resources = { requests = options.requests or { cpu = "100m", memory = "100Mi" } } } } },
        status = { phase = options.phase or "Running", startTime = m8.time_text(START - (options.age or 1000)),
            conditions = { { type = "Ready", status = options.ready == false and "False" or "True",
                lastTransitionTime = m8.time_text(START - (options.age or 1000) + 2) } } } }
end

local function metrics(app, i, cpu, now, extra)
    return { apiVersion = "metrics.k8s.io/v1beta1", kind = "PodMetrics",
        metadata = { name = app .. "-" .. i, namespace = "default" }, timestamp = m8.time_text(now or START), window = "1.000s",
        containers = { { name = "c", usage = { cpu = cpu .. "m", memory = "50Mi" } } }, values = extra }
end

local function deployment(app, replicas)
    return { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = app, namespace = "default", uid = "u-" .. app },
        spec = { replicas = replicas, selector = { matchLabels = { app = app } } }, status = { replicas = replicas } }
end

local function set(app)
    return { apiVersion = "apps/v1", kind = "ReplicaSet", metadata = { name = app .. "-rs", namespace = "default", uid = "u-rs-" .. app,
        ownerReferences = owner("Deployment", app, "u-" .. app) }, spec = { selector = { matchLabels = { app = app } } } }
end

local CPU = { type = "Resource", resource = { name = "cpu", target = { type = "Utilization", averageUtilization = 50 } } }

local function hpa(spec, name)
    spec = m8.copy(spec or {})
    spec.scaleTargetRef = spec.scaleTargetRef or { apiVersion = "apps/v1", kind = "Deployment", name = "web" }
    spec.minReplicas, spec.maxReplicas = spec.minReplicas or 1, spec.maxReplicas or 5
    spec.metrics = spec.metrics or { CPU }
    return { apiVersion = "autoscaling/v2", kind = "HorizontalPodAutoscaler",
        metadata = { name = name or "h", namespace = "default", uid = "u-hpa-" .. (name or "h"), generation = 1 }, spec = spec }
end

--- A world of `replicas` ready pods that use cpu[i] thousandths of a core each (nil: no figure).
local function world_of(autoscaler, replicas, cpu)
    local pods, figures = {}, {}
    for i = 1, replicas do
        pods[i] = pod("web", i)
        if cpu[i] then figures[#figures + 1] = metrics("web", i, cpu[i]) end
    end
    return testing.world({ now = START, objects = { [HPAS] = { autoscaler }, [DEPLOYMENTS] = { deployment("web", replicas) },
        [SETS] = { set("web") }, pods = pods, [METRICS] = figures, services = {} } })
end

local function look(world, name)
    local plan = testing.reconcile(world, "horizontalpodautoscaler", "default/" .. (name or "h"))
    testing.apply(world, plan)
    return plan, world:get(HPAS, "default/" .. (name or "h")).status or {}
end

local function replicas(world) return world:get(DEPLOYMENTS, "default/web").spec.replicas end

local function condition(status, kind)
    for _, entry in ipairs(status.conditions or {}) do
        if entry.type == kind then return entry end
    end
    return {}
end

local function reasons(plan)
    local list = {}
    for i, event in ipairs(plan.events) do list[i] = event.reason end
    return table.concat(list, " ")
end

return {
    ["load grows the target, and everybody is told"] = function()
        local world = world_of(hpa(), 1, { 150 })
        local plan, status = look(world)
        testing.equal(replicas(world), 3)
        testing.equal(reasons(plan), "SuccessfulRescale")
        testing.contains(plan.events[1].message, "New size: 3; reason: cpu above target (300 % of it)")
        testing.equal(status.desiredReplicas, 3)
        testing.equal(status.currentMetrics[1].resource.current.averageUtilization, 150)
        testing.equal(condition(status, "AbleToScale").reason, "SucceededRescale")
        testing.equal(condition(status, "ScalingActive").status, "True")
        testing.equal(status.changes[1].from .. status.changes[1].to, "13")
    end,

    ["the maximum limits"] = function()
        local world = world_of(hpa(), 2, { 400, 400 })
        local _, status = look(world)
        testing.equal(replicas(world), 5)
        testing.equal(condition(status, "ScalingLimited").reason, "TooManyReplicas")
    end,

    ["the same figures again change nothing"] = function()
        local world = world_of(hpa(), 2, { 50, 52 })
        look(world)
        testing.equal(#look(world).steps, 0)
        testing.equal(replicas(world), 2)
    end,

    ["down only after the window"] = function()
        local slow = hpa({ behavior = { scaleDown = { stabilizationWindowSeconds = 60 } } })
        local world = world_of(slow, 4, { 50, 50, 50, 50 })
        look(world)
        local function idle(at)
            world:set_now(START + at)
            for i = 1, 4 do world:put(METRICS, metrics("web", i, 1, START + at)) end
            return look(world)
        end
        local _, status = idle(10)
        testing.equal(replicas(world), 4)
        testing.equal(condition(status, "AbleToScale").reason, "ScaleDownStabilized")
        idle(69)
        testing.equal(replicas(world), 4)
        idle(71)
        testing.equal(replicas(world), 1)
    end,

    ["a new autoscaler takes nothing away before the window is over"] = function()
        local world = world_of(hpa(), 4, { 1, 1, 1, 1 })
        local _, status = look(world)
        testing.equal(replicas(world), 4)
        testing.equal(condition(status, "AbleToScale").reason, "ScaleDownStabilized")
        for _, second in ipairs({ 299, 301 }) do
            world:set_now(START + second)
            for i = 1, 4 do world:put(METRICS, metrics("web", i, 1, START + second)) end
            look(world)
            testing.equal(replicas(world), second == 299 and 4 or 1)
        end
    end,

    ["the behaviour sets the speed"] = function()
        local slow = hpa({ behavior = { scaleUp = { policies = { { type = "Pods", value = 1, periodSeconds = 15 } } } } })
        local world = world_of(slow, 1, { 500 })
        local counts = {}
        for second = 0, 46 do
            world:set_now(START + second)
            world:put(METRICS, metrics("web", 1, 500, START + second))
            look(world)
            counts[second] = replicas(world)
        end
        testing.equal(counts[0], 2)
        testing.equal(counts[14], 2)
        testing.equal(counts[15], 3)
        testing.equal(counts[29], 3)
        testing.equal(counts[30], 4)
        testing.equal(counts[45], 5)
    end,

    ["a pod without a figure speaks against going down"] = function()
        local world = world_of(hpa({ behavior = { scaleDown = { stabilizationWindowSeconds = 0 } } }), 3, { 10, 10 })
        look(world)
        testing.equal(replicas(world), 3) -- 10 + 10 + 100 assumed of 150: wants 3
    end,

    ["old figures are none"] = function()
        local world = world_of(hpa(), 1, { 400 })
        world:set_now(START + 20)
        local plan, status = look(world)
        testing.equal(replicas(world), 1)
        testing.equal(condition(status, "ScalingActive").reason, "FailedGetResourceMetric")
        testing.contains(reasons(plan), "FailedGetResourceMetric")
        testing.equal(reasons(look(world)), "") -- told once
    end,

    ["pods that start do not count as load"] = function()
        local world = world_of(hpa(), 1, { 150 })
        world:put("pods", pod("web", 2, { ready = false, age = 3 }))
        world:put(METRICS, metrics("web", 2, 1000))
        world:put(DEPLOYMENTS, deployment("web", 2))
        look(world)
        testing.equal(replicas(world), 3) -- 150 of 50 over two: 3, not the 23 that 1,150 would want
    end,

    ["a container without a request is told by name"] = function()
        local world = world_of(hpa(), 1, { 150 })
        world:put("pods", pod("web", 1, { requests = { memory = "1Mi" } }))
        local _, status = look(world)
        testing.contains(condition(status, "ScalingActive").message, "missing request for cpu in container c of Pod web-1")
    end,

    ["what is not there cannot be scaled"] = function()
        local world = world_of(hpa({ scaleTargetRef = { apiVersion = "v1", kind = "Banana", name = "x" } }), 1, { 150 })
        local plan, status = look(world)
        testing.equal(condition(status, "AbleToScale").reason, "FailedGetScale")
        testing.contains(condition(status, "AbleToScale").message, 'no matches for kind "Banana" in version "v1"')
        testing.equal(reasons(plan), "FailedGetScale")
        world:put(HPAS, hpa({ scaleTargetRef = { apiVersion = "apps/v1", kind = "Deployment", name = "none" } }))
        testing.contains(condition(select(2, look(world)), "AbleToScale").message, 'deployments.apps "none" not found')
    end,

    ["a Service means the one workload behind it"] = function()
        local world = world_of(hpa({ scaleTargetRef = { apiVersion = "v1", kind = "Service", name = "svc" } }), 1, { 150 })
        world:put("services", { apiVersion = "v1", kind = "Service", metadata = { name = "svc", namespace = "default", uid = "u-svc" },
            spec = { selector = { app = "web" } } })
        look(world)
        testing.equal(replicas(world), 3)
    end,

    ["a Service of several workloads is ambiguous"] = function()
        local world = world_of(hpa({ scaleTargetRef = { apiVersion = "v1", kind = "Service", name = "svc" } }), 1, { 150 })
        world:put(DEPLOYMENTS, deployment("other", 1))
        world:put(SETS, set("other"))
        local both, stranger = pod("web", 1), pod("other", 1)
        both.metadata.labels.tier, stranger.metadata.labels.tier = "t", "t"
        world:put("pods", both)
        world:put("pods", stranger)
        world:put("services", { apiVersion = "v1", kind = "Service", metadata = { name = "svc", namespace = "default", uid = "u-svc" },
            spec = { selector = { tier = "t" } } })
        local _, status = look(world)
        testing.equal(condition(status, "AbleToScale").reason, "AmbiguousTarget")
        testing.contains(condition(status, "AbleToScale").message, "Deployment/other, Deployment/web")
        testing.equal(replicas(world), 1)
    end,

    ["two autoscalers of one target"] = function()
        local world = world_of(hpa(), 1, { 150 })
        world:put(HPAS, hpa(nil, "second"))
        testing.equal(condition(select(2, look(world)), "ScalingActive").reason, "AmbiguousSelector")
        testing.equal(replicas(world), 1)
    end,

    ["requests per second of the pods"] = function()
        local world = world_of(hpa({ metrics = { { type = "Pods", pods = { metric = { name = "http_requests_per_second" },
            target = { type = "AverageValue", averageValue = "10" } } } } }), 1, {})
        world:put(METRICS, metrics("web", 1, 1, START, { { name = "http_requests_per_second", value = "39500m" } }))
        local _, status = look(world)
        testing.equal(replicas(world), 4)
        testing.equal(status.currentMetrics[1].pods.current.averageValue, "39500m")
    end,

    ["a value of all pods behind a Service"] = function()
        local world = world_of(hpa({ metrics = { { type = "Object", object = { metric = { name = "queue" },
            describedObject = { apiVersion = "v1", kind = "Service", name = "svc" },
            target = { type = "Value", value = "10" } } } } }), 2, {})
        world:put("services", { apiVersion = "v1", kind = "Service", metadata = { name = "svc", namespace = "default", uid = "u-svc" },
            spec = { selector = { app = "web" } } })
        for i = 1, 2 do world:put(METRICS, metrics("web", i, 1, START, { { name = "queue", value = "10" } })) end
        look(world)
        testing.equal(replicas(world), 4)
    end,

    ["requests that the nodes' proxies led to an Ingress"] = function()
        local NODES = "nodes.metrics.k8s.io"
        local autoscaler = hpa({ behavior = { scaleDown = { stabilizationWindowSeconds = 0 } }, metrics = { { type = "Object", object = {
            metric = { name = "rps" }, describedObject = { apiVersion = "networking.k8s.io/v1", kind = "Ingress", name = "shop" },
            target = { type = "AverageValue", averageValue = "10" } } } } })
        local world = world_of(autoscaler, 2, { 1, 1 })
        local function node(name, ready)
            world:put("nodes", { apiVersion = "v1", kind = "Node", metadata = { name = name, uid = "u-" .. name },
                status = { conditions = { { type = "Ready", status = ready } } } })
        end
        local function tells(name, value, object)
            world:put(NODES, { apiVersion = "metrics.k8s.io/v1beta1", kind = "NodeMetrics", metadata = { name = name },
                timestamp = m8.time_text(START), objects = { { kind = "Ingress", namespace = "default", name = object or "shop",
                metrics = { { name = "rps", value = value } } } } })
        end
        node("n1", "True")
        node("n2", "True")
        node("dead", "Unknown")
        tells("n1", "20", "other")
        local _, status = look(world)
        testing.equal(replicas(world), 2)
        testing.equal(condition(status, "ScalingActive").reason, "FailedGetObjectMetric")
        tells("n1", "20")
        tells("n2", "19500m")
        _, status = look(world)
        testing.equal(replicas(world), 4)
        testing.equal(status.currentMetrics[1].object.current.averageValue, "19750m")
        testing.equal(status.currentMetrics[1].object.describedObject.kind, "Ingress")
        tells("n2", nil) -- an agent that has just begun
        tells("n1", "4")
        look(world)
        testing.equal(replicas(world), 4)
        tells("n2", "0")
        look(world)
        testing.equal(replicas(world), 1)
    end,

    ["one container only, and the strictest of several policies"] = function()
        local metric = { type = "ContainerResource", containerResource = { name = "memory", container = "c",
            target = { type = "AverageValue", averageValue = "10Mi" } } }
        local behavior = { scaleUp = { selectPolicy = "Min", policies = { { type = "Percent", value = 100, periodSeconds = 15 },
            { type = "Pods", value = 3, periodSeconds = 15 } } }, scaleDown = { selectPolicy = "Disabled" } }
        local world = world_of(hpa({ metrics = { metric }, behavior = behavior }), 1, { 1 })
        local _, status = look(world)
        testing.equal(replicas(world), 2)
        testing.equal(condition(status, "ScalingLimited").reason, "ScaleUpLimit")
        testing.equal(status.currentMetrics[1].containerResource.current.averageValue, "52428800")
    end,

    ["Disabled: never in that direction"] = function()
        local behavior = { scaleDown = { selectPolicy = "Disabled", stabilizationWindowSeconds = 0 } }
        local world = world_of(hpa({ behavior = behavior }), 3, { 1, 1, 1 })
        local _, status = look(world)
        testing.equal(replicas(world), 3)
        testing.equal(condition(status, "ScalingLimited").reason, "ScaleDownLimit")
    end,

    ["a target of zero is left alone"] = function()
        local world = world_of(hpa(), 0, {})
        testing.equal(condition(select(2, look(world)), "ScalingActive").reason, "ScalingDisabled")
        testing.equal(replicas(world), 0)
    end,

    ["the memory of an autoscaler is bounded"] = function()
        local world = world_of(hpa(), 1, { 1 })
        for second = 1, 200 do
            world:set_now(START + second)
            world:put(METRICS, metrics("web", 1, second % 2 == 0 and 10 or 45, START + second))
            look(world)
        end
        local status = world:get(HPAS, "default/h").status
        assert(#status.history <= 48, #status.history)
        testing.equal(status.history[1].at, (START + 1) * 1000)
    end,
}
