-- The submitter of a GPUJob: its account, what that may do, its pod. Pure.
local m8 = require("m8")
local workload = require("framework.workload")

local NOBODY = 65534 -- over ssh no file is written as somebody

local submitter = { SUFFIX = "-submitter" }

local function metadata(job, owner)
    return {
        name = job.metadata.name .. submitter.SUFFIX, namespace = job.metadata.namespace, ownerReferences = { owner },
        labels = { ["minik8s.io/gpujob"] = job.metadata.name },
    }
end

--- It may read its job and its files, report about it, and nothing else.
local function rules_of(job)
    local names = { job.metadata.name }
    return {
        { apiGroups = { "minik8s.io" }, resources = { "gpujobs" }, verbs = { "get", "list", "watch" }, resourceNames = names },
        { apiGroups = { "minik8s.io" }, resources = { "gpujobs/status" }, verbs = { "patch" }, resourceNames = names },
        { apiGroups = { "minik8s.io" }, resources = { "gpujobs/blobs" }, verbs = { "get", "update" }, resourceNames = names },
    }
end

local function volumes_of(job, cluster)
    local spec = cluster.spec
    local volumes = {
        { name = "secret", secret = { secretName = spec.secretName } },
        { name = "tmp", emptyDir = {} },
    }
    local mounts = {
        { name = "secret", mountPath = "/slurm/secret", readOnly = true },
        { name = "tmp", mountPath = "/tmp" },
    }
    if spec.rest then
        local source = m8.copy(spec.volume or { hostPath = { path = spec.directory } })
        source.name = "jobs"
        volumes[#volumes + 1] = source
        mounts[#mounts + 1] = { name = "jobs", mountPath = "/slurm/jobs" }
    end
    local config = ((job.spec.sources or {}).configMap or {}).name
    if config then
        volumes[#volumes + 1] = { name = "config", configMap = { name = config } }
        mounts[#mounts + 1] = { name = "config", mountPath = "/slurm/config", readOnly = true }
    end
    return volumes, mounts
end

function submitter.pod(job, cluster, owner)
    local volumes, mounts = volumes_of(job, cluster)
    local spec = cluster.spec
    local user = spec.rest and spec.runAsUser or NOBODY
    return {
        apiVersion = "v1", kind = "Pod", metadata = metadata(job, owner),
        spec = {
            restartPolicy = "OnFailure", serviceAccountName = job.metadata.name .. submitter.SUFFIX, terminationGracePeriodSeconds = 1,
            securityContext = { runAsUser = user, runAsGroup = user },
            volumes = volumes,
            containers = { {
                name = "submitter", image = spec.image, args = { job.metadata.namespace, job.metadata.name },
                env = {
                    { name = "SLURM_CLUSTER", value = m8.json(spec) },
                    { name = "POD_UID", valueFrom = { fieldRef = { fieldPath = "metadata.uid" } } },
                },
                resources = { requests = { cpu = "10m", memory = "16Mi" }, limits = { memory = "256Mi" } },
                securityContext = { allowPrivilegeEscalation = false, readOnlyRootFilesystem = true, capabilities = { drop = { "ALL" } } },
                volumeMounts = mounts,
            } },
        },
    }
end

--- What the submitter needs before its pod; false while any of it is still to be made: a pod is given the token of an account
--- that is there.
local function has_rights(world, plan, job, meta)
    local key, group = meta.namespace .. "/" .. meta.name, "rbac.authorization.k8s.io"
    local wanted = {
        { "serviceaccounts", { apiVersion = "v1", kind = "ServiceAccount" }, "the submitter's account" },
        { "roles." .. group, { apiVersion = group .. "/v1", kind = "Role", rules = rules_of(job) }, "what the submitter may do" },
        { "rolebindings." .. group, { apiVersion = group .. "/v1", kind = "RoleBinding",
            roleRef = { apiGroup = group, kind = "Role", name = meta.name },
            subjects = { { kind = "ServiceAccount", name = meta.name, namespace = meta.namespace } } }, "who may do it" },
    }
    local complete = true
    for _, one in ipairs(wanted) do
        local resource, object = one[1], one[2]
        if not world:item(resource, key) then
            complete = false
            object.metadata = m8.copy(meta)
            plan:create(resource, object, one[3])
        end
    end
    return complete
end

function submitter.create(world, plan, job, cluster)
    local owner = workload.controller_reference(job)
    local meta = metadata(job, owner)
    if not has_rights(world, plan, job, meta) then return end
    plan:create("pods", submitter.pod(job, cluster, owner), "the job has no submitter")
    plan:event(job, "Normal", "SubmitterCreated", "Created pod: " .. meta.name)
end

return submitter
