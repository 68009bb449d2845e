-- The controller of GPUJobs: who may hand the job over, what is noted, when it is let go.
local m8 = require("m8")
local testing = require("framework.testing")

local JOBS, KEY = "gpujobs.minik8s.io", "default/mm"
local RBAC = ".rbac.authorization.k8s.io"

local function job(spec, status, metadata)
    local whole = m8.copy(spec or {})
    whole.cluster = whole.cluster or "default"
    local meta = { name = "mm", namespace = "default", uid = "u-mm", resourceVersion = "1", creationTimestamp = m8.time_text(1700000000) }
    for name, value in pairs(metadata or {}) do meta[name] = value end
    return { apiVersion = "minik8s.io/v1", kind = "GPUJob", metadata = meta, spec = whole, status = status or { state = "Pending" } }
end

local function cluster(spec)
    local whole = m8.copy(spec or {})
    whole.secretName, whole.directory, whole.user, whole.runAsUser = "slurm", "/srv/jobs", "alice", 1000
    whole.image, whole.pollSeconds = "localhost/m8-submitter:1", 3
    if not whole.ssh then whole.rest = { url = "http://login:6820", version = "v0.0.38" } end
    local meta = { name = "default", namespace = "default", uid = "u-c" }
    return { apiVersion = "minik8s.io/v1", kind = "SlurmCluster", metadata = meta, spec = whole }
end

local function world_of(the_job, the_cluster)
    return testing.world({ objects = {
        [JOBS] = { the_job }, ["slurmclusters.minik8s.io"] = the_cluster and { the_cluster } or {},
        namespaces = { { apiVersion = "v1", kind = "Namespace", metadata = { name = "default", uid = "u-ns" } } },
    } })
end

local function settle(world) return testing.settle(world, "gpujob", KEY) end
local function status(world) return world:get(JOBS, KEY).status or {} end
local function pod(world) return world:get("pods", KEY .. "-submitter") end
local function volume(the_pod, name)
    for _, one in ipairs(the_pod.spec.volumes) do
        if one.name == name then return one end
    end
    return nil
end

local HELD = { finalizers = { "minik8s.io/slurm" } }

return {
    ["a submitter that may only read its job and report about it"] = function()
        local world = world_of(job(), cluster())
        settle(world)
        testing.equal(world:get(JOBS, KEY).metadata.finalizers, { "minik8s.io/slurm" })
        local made = pod(world)
        testing.equal(made.spec.serviceAccountName, "mm-submitter")
        testing.equal(made.spec.securityContext, { runAsUser = 1000, runAsGroup = 1000 })
        local container = made.spec.containers[1]
        testing.equal(container.args, { "default", "mm" })
        testing.equal(container.image, "localhost/m8-submitter:1")
        testing.equal(container.securityContext.capabilities, { drop = { "ALL" } })
        local told = m8.parse(container.env[1].value)
        testing.equal({ told.pollSeconds, told.rest.version, told.directory }, { 3, "v0.0.38", "/srv/jobs" })
        testing.equal(volume(made, "secret").secret.secretName, "slurm")
        testing.equal(volume(made, "jobs").hostPath.path, "/srv/jobs")
        local role = world:get("roles" .. RBAC, KEY .. "-submitter")
        for _, rule in ipairs(role.rules) do testing.equal(rule.resourceNames, { "mm" }) end
        testing.equal(world:get("rolebindings" .. RBAC, KEY .. "-submitter").subjects[1].name, "mm-submitter")
        testing.equal(world:get("secrets", "default/slurm"), nil)
    end,

    ["the account is there before the pod"] = function()
        local world = world_of(job({}, nil, HELD), cluster())
        local plan = testing.reconcile(world, "gpujob", KEY)
        for _, step in ipairs(plan.steps) do assert(step.resource ~= "pods", "a pod without an account") end
        testing.apply(world, plan)
        testing.equal(testing.reconcile(world, "gpujob", KEY).steps[1].resource, "pods")
    end,

    ["volumes: a claim, a ConfigMap; over ssh no folder is mounted"] = function()
        local world = world_of(job({ sources = { configMap = { name = "src" } } }),
            cluster({ volume = { persistentVolumeClaim = { claimName = "shared" } } }))
        settle(world)
        testing.equal(volume(pod(world), "jobs").persistentVolumeClaim.claimName, "shared")
        testing.equal(volume(pod(world), "config").configMap.name, "src")
        world = world_of(job(), cluster({ ssh = { host = "login", port = 22 } }))
        settle(world)
        testing.equal(volume(pod(world), "jobs"), nil)
        testing.equal(pod(world).spec.securityContext.runAsUser, 65534)
    end,

    ["without its cluster it waits, and says so once"] = function()
        local world = world_of(job({ cluster = "other" }, nil, HELD))
        local plan = testing.reconcile(world, "gpujob", KEY)
        testing.equal(#plan.events, 1)
        testing.apply(world, plan)
        testing.equal(status(world).reason, "ClusterNotFound")
        testing.contains(status(world).message, '"other"')
        testing.equal(testing.reconcile(world, "gpujob", KEY):empty(), true)
        world:put("slurmclusters.minik8s.io", cluster())
        testing.equal(testing.keys(world, "gpujob", "slurmclusters.minik8s.io", "default/default"), {})
    end,

    ["a submitter that has ended before the job is replaced"] = function()
        for _, phase in ipairs({ "Failed", "Succeeded" }) do
            local world = world_of(job({}, nil, HELD), cluster())
            settle(world)
            local old = pod(world)
            old.status, old.metadata.uid = { phase = phase }, "old"
            world:put("pods", old)
            settle(world)
            assert(pod(world).metadata.uid ~= "old")
        end
    end,

    ["what the submitter reports becomes conditions and Events"] = function()
        local running = { state = "Running", slurmId = 5, startTime = "2026-01-01T00:00:00Z", nodes = "gpu0" }
        local world = world_of(job({}, running, HELD), cluster())
        local plan = testing.reconcile(world, "gpujob", KEY)
        local reasons = {}
        for _, event in ipairs(plan.events) do reasons[#reasons + 1] = event.reason end
        testing.equal(reasons, { "Submitted", "Started" })
        testing.apply(world, plan)
        settle(world)
        local now = world:get(JOBS, KEY)
        now.status.state, now.status.done, now.status.reason, now.status.message = "Failed", true, "BuildFailed", "exit code 2: nvcc"
        world:put(JOBS, now)
        plan = testing.reconcile(world, "gpujob", KEY)
        local event = plan.events[1]
        testing.equal({ event.type, event.reason, event.message }, { "Warning", "BuildFailed", "exit code 2: nvcc" })
        testing.apply(world, plan)
        settle(world)
        testing.equal(#(world:get(JOBS, KEY).metadata.finalizers or {}), 0)
    end,

    ["deleting: at once when Slurm never had it, after the cancellation when it had"] = function()
        local gone = { finalizers = HELD.finalizers, deletionTimestamp = "2026-01-01T00:00:00Z" }
        local world = world_of(job({}, nil, gone), cluster())
        settle(world)
        local left = world:get(JOBS, KEY)
        testing.equal(left == nil or #(left.metadata.finalizers or {}) == 0, true)
        world = world_of(job({}, { state = "Running", attempt = { pod = "p" }, slurmId = 5 }, gone), cluster())
        settle(world)
        testing.equal(world:get(JOBS, KEY).metadata.finalizers, { "minik8s.io/slurm" })
        assert(pod(world), "somebody has to cancel it")
    end,

    ["deleting while Slurm does not answer waits, and says how to give up"] = function()
        local gone = { finalizers = HELD.finalizers, deletionTimestamp = "2026-01-01T00:00:00Z" }
        local away = { state = "Running", attempt = { pod = "p" }, slurmId = 5, reason = "SlurmUnavailable", message = "refused" }
        local world = world_of(job({}, away, gone), cluster())
        local told = 0
        for _ = 1, 3 do
            local plan = testing.reconcile(world, "gpujob", KEY)
            for _, event in ipairs(plan.events) do
                if event.reason == "CannotCancel" then told = told + 1 end
            end
            testing.apply(world, plan)
            world:set_now(1700000000 + 10)
        end
        testing.equal(told, 1)
        testing.equal(world:get(JOBS, KEY).metadata.finalizers, { "minik8s.io/slurm" })
    end,

    ["cancel before anything happened"] = function()
        local world = world_of(job({ cancel = true }), cluster())
        settle(world)
        testing.equal({ status(world).state, status(world).done, pod(world) }, { "Cancelled", true, nil })
    end,

    ["ttlSecondsAfterFinished"] = function()
        local ended = { state = "Succeeded", done = true, completionTime = m8.time_text(1700000000) }
        local world = world_of(job({ ttlSecondsAfterFinished = 60 }, ended), cluster())
        settle(world)
        testing.equal(testing.reconcile(world, "gpujob", KEY).after, 60)
        world:set_now(1700000061)
        testing.equal(testing.reconcile(world, "gpujob", KEY).steps[1].verb, "delete")
    end,
}
