local testing = require("framework.testing")

local CLAIMS, VOLUMES, CLASSES = "persistentvolumeclaims", "persistentvolumes", "storageclasses.storage.k8s.io"
local SELECTED = "volume.kubernetes.io/selected-node"

local function claim(name, fields)
    fields = fields or {}
    return {
        apiVersion = "v1", kind = "PersistentVolumeClaim",
        metadata = { name = name, namespace = "default", uid = "c0ffee-" .. name, finalizers = { "kubernetes.io/pvc-protection" },
            annotations = fields.annotations, deletionTimestamp = fields.deleting and "2026-01-01T00:00:00Z" or nil },
        spec = { accessModes = fields.modes or { "ReadWriteOnce" }, resources = { requests = { storage = fields.size or "1Gi" } },
            storageClassName = fields.class, volumeName = fields.volume, selector = fields.selector },
        status = { phase = fields.phase or "Pending" },
    }
end

local function volume(name, fields)
    fields = fields or {}
    return {
        apiVersion = "v1", kind = "PersistentVolume",
        metadata = { name = name, uid = "uid-" .. name, labels = fields.labels },
        spec = { capacity = { storage = fields.size or "1Gi" }, accessModes = fields.modes or { "ReadWriteOnce" },
            storageClassName = fields.class, claimRef = fields.claim, hostPath = { path = "/data" },
            nodeAffinity = fields.node and { required = { nodeSelectorTerms = { { matchExpressions = {
                { key = "kubernetes.io/hostname", operator = "In", values = { fields.node } } } } } } } },
        status = { phase = fields.phase or "Available" },
    }
end

local function class(name, fields)
    fields = fields or {}
    return {
        apiVersion = "storage.k8s.io/v1", kind = "StorageClass",
        metadata = { name = name, uid = "uid-" .. name, creationTimestamp = fields.since,
            annotations = fields.default and { ["storageclass.kubernetes.io/is-default-class"] = "true" } or nil },
        provisioner = fields.provisioner or "minik8s.io/local-path", reclaimPolicy = "Delete",
        volumeBindingMode = fields.waits and "WaitForFirstConsumer" or "Immediate",
        allowedTopologies = fields.topologies, parameters = fields.parameters,
    }
end

local function node(name, ready)
    return {
        apiVersion = "v1", kind = "Node",
        metadata = { name = name, uid = "uid-" .. name, labels = { ["kubernetes.io/hostname"] = name },
            annotations = { ["minik8s.io/storage-folder"] = "/var/" .. name } },
        status = { conditions = { { type = "Ready", status = ready == false and "False" or "True" } } },
    }
end

local function world_of(claims, volumes, classes, more)
    local objects = { [CLAIMS] = claims, [VOLUMES] = volumes or {}, [CLASSES] = classes or {}, nodes = { node("n1"), node("n2") } }
    for resource, list in pairs(more or {}) do objects[resource] = list end
    return testing.world({ objects = objects })
end

local function bind(world, name)
    testing.settle(world, "persistentvolumeclaim", "default/" .. name)
    return world:get(CLAIMS, "default/" .. name)
end

local function says(world, name)
    local plan = testing.reconcile(world, "persistentvolumeclaim", "default/" .. name)
    testing.apply(world, plan)
    local event = plan.events[1]
    return event and event.reason, event and event.message, plan
end

return {
    ["the smallest volume that suits is bound, in steps that each may be the last"] = function()
        local world = world_of({ claim("a", { class = "" }) },
            { volume("big", { size = "5Gi" }), volume("small", { size = "500Mi" }), volume("fits", { size = "2Gi" }),
              volume("classy", { class = "x" }), volume("reader", { modes = { "ReadOnlyMany" } }) })
        local plan = testing.reconcile(world, "persistentvolumeclaim", "default/a")
        testing.equal(#plan.steps, 1)
        testing.equal(plan.steps[1].key, "fits")
        testing.equal(plan.steps[1].object.spec.claimRef.uid, "c0ffee-a")
        testing.apply(world, plan)
        testing.equal(world:get(CLAIMS, "default/a").spec.volumeName, nil, "the volume is reserved first")
        local bound = bind(world, "a")
        testing.equal(bound.spec.volumeName, "fits")
        testing.equal(bound.status.phase, "Bound")
        testing.equal(bound.status.capacity.storage, "2Gi")
        testing.equal(bound.metadata.annotations["pv.kubernetes.io/bind-completed"], "yes")
    end,

    ["a selector chooses by label"] = function()
        local world = world_of({ claim("a", { class = "", selector = { matchLabels = { disk = "ssd" } } }) },
            { volume("hdd", { labels = { disk = "hdd" } }), volume("ssd", { size = "9Gi", labels = { disk = "ssd" } }) })
        testing.equal(bind(world, "a").spec.volumeName, "ssd")
    end,

    ["a claim that names its volume gets that one or hears why not"] = function()
        local world = world_of({ claim("a", { class = "", volume = "v" }), claim("small", { class = "", volume = "v2", size = "2Gi" }),
            claim("none", { class = "", volume = "v3" }) }, { volume("v"), volume("v2") })
        testing.equal(bind(world, "a").status.phase, "Bound")
        local reason, message = says(world, "small")
        testing.equal(reason, "VolumeMismatch")
        testing.contains(message, "too small")
        reason, message = says(world, "none")
        testing.equal(reason, "FailedBinding")
        testing.equal(message, 'volume "v3" not found')
    end,

    ["a volume reserved for a claim by name is not given to another"] = function()
        local reference = { kind = "PersistentVolumeClaim", namespace = "default", name = "mine" }
        local world = world_of({ claim("mine", { class = "" }), claim("other", { class = "" }) }, { volume("v", { claim = reference }) })
        testing.equal(says(world, "other"), "FailedBinding")
        testing.equal(bind(world, "mine").spec.volumeName, "v")
    end,

    ["a claimRef with another claim's uid is not ours"] = function()
        local reference = { namespace = "default", name = "a", uid = "older" }
        local world = world_of({ claim("a", { class = "", volume = "v" }) }, { volume("v", { claim = reference }) })
        local reason, message = says(world, "a")
        testing.equal(reason, "FailedBinding")
        testing.contains(message, "already bound to a different claim")
    end,

    ["no class, no volume: said once"] = function()
        local world = world_of({ claim("a") })
        local reason, message = says(world, "a")
        testing.equal(reason, "FailedBinding")
        testing.contains(message, "no storage class is set")
        world:set_now(1700000100)
        testing.equal(says(world, "a"), nil)
    end,

    ["an unknown class is named"] = function()
        local reason, message = says(world_of({ claim("a", { class = "gold" }) }), "a")
        testing.equal(reason, "ProvisioningFailed")
        testing.contains(message, '"gold" not found')
    end,

    ["the newest default class is taken; \"\" means none"] = function()
        local world = world_of({ claim("a"), claim("b", { class = "" }) }, {},
            { class("old", { default = true, since = "2025-01-01T00:00:00Z" }), class("new", { default = true,
                since = "2026-01-01T00:00:00Z" }),
              class("other", { since = "2026-02-01T00:00:00Z" }) })
        testing.equal(bind(world, "a").spec.storageClassName, "new")
        testing.equal(says(world, "b"), "FailedBinding")
    end,

    ["local-path makes a folder of one ready node"] = function()
        local world = world_of({ claim("a", { class = "fast", size = "3Gi" }) }, {}, { class("fast") }, { nodes = { node("n1",
            false), node("n2") } })
        local reason = says(world, "a")
        testing.equal(reason, "ProvisioningSucceeded")
        local made = world:get(VOLUMES, "pvc-c0ffee-a")
        testing.equal(made.spec["local"].path, "/var/n2/pvc-c0ffee-a")
        testing.equal(made.spec.nodeAffinity.required.nodeSelectorTerms[1].matchExpressions[1].values[1], "n2")
        testing.equal(made.metadata.annotations["minik8s.io/node"], "n2")
        testing.equal(made.spec.persistentVolumeReclaimPolicy, "Delete")
        testing.equal(bind(world, "a").status.capacity.storage, "3Gi")
        testing.equal(world:count(VOLUMES), 1)
    end,

    ["WaitForFirstConsumer waits for the scheduler's choice and follows it"] = function()
        local world = world_of({ claim("a", { class = "fast" }) }, {}, { class("fast", { waits = true }) })
        testing.equal(says(world, "a"), "WaitForFirstConsumer")
        local object = world:get(CLAIMS, "default/a")
        object.metadata.annotations = { [SELECTED] = "n2" }
        world:put(CLAIMS, object)
        testing.equal(bind(world, "a").status.phase, "Bound")
        testing.equal(world:get(VOLUMES, "pvc-c0ffee-a").metadata.annotations["minik8s.io/node"], "n2")
    end,

    ["a selected node binds a volume of that node only; one that is gone is taken back"] = function()
        local claims = { claim("a", { class = "disks", annotations = { [SELECTED] = "n2" } }),
            claim("b", { class = "fast", annotations = { [SELECTED] = "gone" } }) }
        local world = world_of(claims, { volume("v1", { class = "disks", node = "n1" }), volume("v2", { class = "disks",
            size = "9Gi", node = "n2" }) },
            { class("disks", { waits = true, provisioner = "kubernetes.io/no-provisioner" }), class("fast", { waits = true }) })
        testing.equal(bind(world, "a").spec.volumeName, "v2")
        local reason, message = says(world, "b")
        testing.equal(reason, "ProvisioningFailed")
        testing.contains(message, 'node "gone" not found')
        testing.equal((world:get(CLAIMS, "default/b").metadata.annotations or {})[SELECTED], nil)
    end,

    ["sshfs volumes have a folder of their own and the class's key"] = function()
        local parameters = { host = "h", path = "/srv", hostKey = "ssh-ed25519 AAAA", port = "2222",
            ["csi.storage.k8s.io/node-stage-secret-name"] = "key", ["csi.storage.k8s.io/node-stage-secret-namespace"] = "kube-system" }
        local world = world_of({ claim("a", { class = "net" }) }, {}, { class("net", { provisioner = "minik8s.io/sshfs",
            parameters = parameters }) })
        bind(world, "a")
        local csi = world:get(VOLUMES, "pvc-c0ffee-a").spec.csi
        testing.equal(csi.driver, "sshfs.minik8s.io")
        testing.equal(csi.volumeAttributes, { host = "h", path = "/srv", hostKey = "ssh-ed25519 AAAA", port = "2222",
            folder = "pvc-c0ffee-a" })
        testing.equal(csi.nodeStageSecretRef, { name = "key", namespace = "kube-system" })
    end,

    ["another program's class is left to it"] = function()
        local world = world_of({ claim("a", { class = "x" }) }, {}, { class("x", { provisioner = "example.com/nas" }) })
        local reason, message = says(world, "a")
        testing.equal(reason, "ExternalProvisioning")
        testing.contains(message, "example.com/nas")
        testing.equal(world:count(VOLUMES), 0)
    end,

    ["a bound claim whose volume goes is Lost"] = function()
        local annotations = { ["pv.kubernetes.io/bind-completed"] = "yes" }
        local world = world_of({ claim("a", { class = "", volume = "v", phase = "Bound", annotations = annotations }) })
        testing.equal(says(world, "a"), "ClaimLost")
        testing.equal(world:get(CLAIMS, "default/a").status.phase, "Lost")
        testing.equal(#testing.reconcile(world, "persistentvolumeclaim", "default/a").events, 0)
    end,

    ["a claim that asks for more grows its volume"] = function()
        local world = world_of({ claim("a", { class = "fast" }) }, {}, { class("fast") })
        local bound = bind(world, "a")
        bound.spec.resources.requests.storage = "4Gi"
        world:put(CLAIMS, bound)
        testing.equal(bind(world, "a").status.capacity.storage, "4Gi")
        testing.equal(world:get(VOLUMES, "pvc-c0ffee-a").spec.capacity.storage, "4Gi")
    end,

    ["a claim in use is kept and says who uses it"] = function()
        local pod = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "default", uid = "p" },
            spec = { nodeName = "n1", volumes = { { name = "d", persistentVolumeClaim = { claimName = "a" } } } },
                status = { phase = "Running" } }
        local world = world_of({ claim("a", { deleting = true }) }, {}, {}, { pods = { pod } })
        local reason, message, plan = says(world, "a")
        testing.equal(reason, "ClaimInUse")
        testing.contains(message, "use the claim: p")
        testing.equal(plan.steps[1].verb, "status")
        pod.status.phase = "Succeeded"
        world:put("pods", pod)
        testing.equal(testing.keys(world, "persistentvolumeclaim", "pods", "default/p"), { "default/a" })
        plan = testing.reconcile(world, "persistentvolumeclaim", "default/a")
        testing.equal(#plan.steps[1].object.metadata.finalizers, 0)
    end,
}
