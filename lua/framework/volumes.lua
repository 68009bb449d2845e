-- What the controllers of storage and the scheduler share: names, which volume suits which claim and node. Pure functions of
-- the world.
local m8 = require("m8")
local volumes = {
    CLAIMS = "persistentvolumeclaims", VOLUMES = "persistentvolumes", CLASSES = "storageclasses.storage.k8s.io",
    LOCAL = "minik8s.io/local-path", SSHFS = "minik8s.io/sshfs", NO_PROVISIONER = "kubernetes.io/no-provisioner",
    PROVISIONED_BY = "pv.kubernetes.io/provisioned-by",
    BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller", BIND_COMPLETED = "pv.kubernetes.io/bind-completed",
    SELECTED_NODE = "volume.kubernetes.io/selected-node", NODE = "minik8s.io/node", FOLDER = "minik8s.io/storage-folder",
    CLAIM_PROTECTION = "kubernetes.io/pvc-protection", VOLUME_PROTECTION = "kubernetes.io/pv-protection",
    FINALIZER = "minik8s.io/volume",
}
local IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"

--- The columns that the functions below need.
volumes.columns = {
    pods = { "spec.nodeName", "status.phase", "spec.volumes" },
    nodes = { "metadata.labels", "metadata.annotations", "status.conditions" },
    [volumes.CLAIMS] = { "spec", "status.phase", "metadata.annotations" },
    [volumes.VOLUMES] = {
        "spec.claimRef", "spec.storageClassName", "spec.accessModes", "spec.capacity", "spec.nodeAffinity", "spec.csi.driver",
        "metadata.labels", "metadata.annotations", "status.phase",
    },
    [volumes.CLASSES] = {
        "provisioner", "volumeBindingMode", "allowedTopologies", "metadata.annotations", "metadata.creationTimestamp",
    },
}

volumes.indexes = {
    [volumes.CLAIMS] = { "status.phase", "spec.volumeName" },
    [volumes.VOLUMES] = { "status.phase", "spec.claimRef.name" },
}

function volumes.has(list, value)
    for _, entry in ipairs(list or {}) do
        if entry == value then return true end
    end
    return false
end

function volumes.without(list, value)
    local kept = {}
    for _, entry in ipairs(list or {}) do
        if entry ~= value then kept[#kept + 1] = entry end
    end
    return m8.array(kept)
end

--- The claims of a pod: { { name =, volume =, ephemeral = bool }, ... }.
function volumes.claims_of(pod_name, spec_volumes)
    local claims = {}
    for _, volume in ipairs(spec_volumes or {}) do
        local source = volume.persistentVolumeClaim
        if source then claims[#claims + 1] = { name = source.claimName, volume = volume.name } end
        if volume.ephemeral then
            claims[#claims + 1] = { name = pod_name .. "-" .. volume.name, volume = volume.name, ephemeral = true }
        end
    end
    return claims
end

--- True if the pod (an item) is on a node and has not ended.
function volumes.runs(pod)
    local phase = pod["status.phase"]
    return pod["spec.nodeName"] ~= nil and phase ~= "Succeeded" and phase ~= "Failed"
end

--- The running pods (items) that use a claim, in key order.
function volumes.users(world, namespace, name)
    local users = {}
    for pod in world:list("pods", { namespace = namespace }) do
        if pod["spec.volumes"] and volumes.runs(pod) then
            for _, claim in ipairs(volumes.claims_of(pod.name, pod["spec.volumes"])) do
                if claim.name == name then users[#users + 1] = pod end
            end
        end
    end
    return users
end

--- The class (an item) of claims that name none: the newest that is marked.
function volumes.default_class(world)
    local chosen
    for class in world:list(volumes.CLASSES) do
        local since = class["metadata.creationTimestamp"] or ""
        if (class["metadata.annotations"] or {})[IS_DEFAULT] == "true" and not class.deleting then
            if not chosen or since > (chosen["metadata.creationTimestamp"] or "") then chosen = class end
        end
    end
    return chosen
end

-- ---- nodes

local function expression_holds(expression, labels)
    local operator, value = expression.operator, tonumber(labels[expression.key])
    local bound = tonumber((expression.values or {})[1])
    if operator == "Gt" then return value ~= nil and bound ~= nil and value > bound end
    if operator == "Lt" then return value ~= nil and bound ~= nil and value < bound end
    local selector = m8.selector({ matchExpressions = m8.array({ expression }) })
    return selector ~= nil and selector:matches(labels)
end

--- Whether one of the NodeSelectorTerms holds for a node (an item).
function volumes.node_matches(terms, node)
    local labels = node["metadata.labels"] or {}
    for _, term in ipairs(terms) do
        local holds = (term.matchExpressions or term.matchFields) ~= nil
        for _, expression in ipairs(term.matchExpressions or {}) do
            holds = holds and expression_holds(expression, labels)
        end
        for _, expression in ipairs(term.matchFields or {}) do
            holds = holds and expression_holds(expression, { [expression.key] = node.name })
        end
        if holds then return true end
    end
    return false
end

--- The NodeSelectorTerms of a volume (an item), or nil: any node.
function volumes.terms_of(volume)
    local affinity = volume["spec.nodeAffinity"]
    return affinity and affinity.required and affinity.required.nodeSelectorTerms
end

--- The NodeSelectorTerms that allowedTopologies of a class (an item) mean, or nil: any node.
function volumes.topology_of(class)
    local terms
    for _, topology in ipairs(class["allowedTopologies"] or {}) do
        local expressions = {}
        for _, expression in ipairs(topology.matchLabelExpressions or {}) do
            expressions[#expressions + 1] = { key = expression.key, operator = "In", values = expression.values }
        end
        terms = terms or {}
        terms[#terms + 1] = { matchExpressions = expressions }
    end
    return terms
end

function volumes.is_ready(node)
    for _, condition in ipairs(node and node["status.conditions"] or {}) do
        if condition.type == "Ready" then return condition.status == "True" end
    end
    return false
end

-- ---- matching

local function bytes(amounts) return m8.quantity((amounts or {}).storage or "0") or 0 end

function volumes.size_of_claim(spec) return bytes(spec.resources and spec.resources.requests) end
function volumes.size_of(volume) return bytes(volume["spec.capacity"]) end

--- nil if the volume (an item) suits what the claim's spec asks for, else why not.
function volumes.mismatch(volume, spec)
    if volumes.size_of(volume) < volumes.size_of_claim(spec) then return "requested PV is too small" end
    if (volume["spec.storageClassName"] or "") ~= (spec.storageClassName or "") then return "storageClassName does not match" end
    for _, mode in ipairs(spec.accessModes or {}) do
        if not volumes.has(volume["spec.accessModes"], mode) then return "incompatible accessMode" end
    end
    if spec.selector and not m8.selector(spec.selector):matches(volume["metadata.labels"] or {}) then
        return "selector does not match"
    end
    return nil
end

--- "yes" if the volume's claimRef is this claim (metadata), "reserved" if it names it without uid, "no" if another, nil if none.
function volumes.reference(volume, metadata)
    local reference = volume["spec.claimRef"]
    if not reference then return nil end
    if reference.namespace ~= metadata.namespace or reference.name ~= metadata.name then return "no" end
    if not reference.uid then return "reserved" end
    return reference.uid == metadata.uid and "yes" or "no"
end

--- The free volumes (items) that suit the claim; smallest first.
function volumes.candidates(world, spec)
    local found = {}
    for volume in world:list(volumes.VOLUMES, { index = "status.phase", value = "Available" }) do
        local free = not volume["spec.claimRef"] and not volume.deleting
        if free and not volumes.mismatch(volume, spec) then found[#found + 1] = volume end
    end
    table.sort(found, function(a, b)
        local x, y = volumes.size_of(a), volumes.size_of(b)
        if x ~= y then return x < y end
        return a.name < b.name
    end)
    return found
end

--- Whether claims of this class (an item or nil) wait for their first pod.
function volumes.waits(class)
    return class ~= nil and class["volumeBindingMode"] == "WaitForFirstConsumer"
end

return volumes
