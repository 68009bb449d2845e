-- StatefulSet: pods NAME-ORDINAL, each with its name, its host name under the governing Service and its claims. A pod is made
-- only after the former one of its name is gone from the server, and that is so only when its node has said so or a person
-- has (node deleted or out of service, force): an identity never runs twice.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")
local history = require("framework.history")

local SETS, CLAIMS = "statefulsets.apps", "persistentvolumeclaims"
local HASH = "controller-revision-hash"

--- The ordinal of a pod of that set by its name, or nil.
local function ordinal_of(set_name, name)
    if name:sub(1, #set_name + 1) ~= set_name .. "-" then return nil end
    local digits = name:sub(#set_name + 2)
    return digits:match("^%d+$") and (digits == "0" or digits:sub(1, 1) ~= "0") and tonumber(digits) or nil
end

local function start_of(set)
    return (set.spec.ordinals or {}).start or 0
end

-- ---- claims ----

local function claim_name(template, pod_name)
    return template.metadata.name .. "-" .. pod_name
end

--- ownerReferences that a claim shall have by the retention policy; `pod` is the item of its pod or nil.
local function claim_owners(set, claim, pod, condemned)
    local policy = set.spec.persistentVolumeClaimRetentionPolicy or {}
    local kept = {}
    for _, reference in ipairs(claim["metadata.ownerReferences"] or {}) do
        local of_pod = reference.kind == "Pod" and reference.name:find(set.metadata.name .. "-", 1, true) == 1
        local ours = of_pod or reference.uid == set.metadata.uid
        if not ours then kept[#kept + 1] = m8.copy(reference) end
    end
    if policy.whenDeleted == "Delete" then
        local reference = workload.controller_reference(set)
        reference.controller, reference.blockOwnerDeletion = nil, nil
        kept[#kept + 1] = reference
    end
    if policy.whenScaled == "Delete" and condemned and pod then
        kept[#kept + 1] = { apiVersion = "v1", kind = "Pod", name = pod.name, uid = pod.uid }
        for i = #kept, 1, -1 do
            if kept[i].uid == set.metadata.uid then table.remove(kept, i) end -- one living owner would keep it
        end
    end
    return kept
end

local function new_claim(set, template, pod_name)
    local claim = {
        apiVersion = "v1", kind = "PersistentVolumeClaim", metadata = m8.copy(template.metadata), spec = m8.copy(template.spec),
    }
    claim.metadata.name = claim_name(template, pod_name)
    claim.metadata.namespace = set.metadata.namespace
    claim.metadata.labels = claim.metadata.labels or {}
    for key, value in pairs(set.spec.selector.matchLabels or {}) do claim.metadata.labels[key] = value end
    local owners = claim_owners(set, {}, nil, false)
    if #owners > 0 then claim.metadata.ownerReferences = owners end
    return claim
end

--- Plans the claims of a pod; true when all of them exist already.
local function keep_claims(state, pod_name)
    local complete = true
    for _, template in ipairs(state.set.spec.volumeClaimTemplates or {}) do
        local key = state.set.metadata.namespace .. "/" .. claim_name(template, pod_name)
        local claim = state.world:item(CLAIMS, key)
        if not claim then
            complete = false
            state.plan:create(CLAIMS, new_claim(state.set, template, pod_name), "pod " .. pod_name .. " needs it")
            state.plan:event(state.set, "Normal", "SuccessfulCreate", ("create Claim %s Pod %s in StatefulSet %s success"):format(
                claim_name(template, pod_name), pod_name, state.set.metadata.name))
        elseif claim.deleting then
            complete = false -- a former one on its way out: the pod waits until its name is free
        end
    end
    return complete
end

--- Owners of existing claims follow the retention policy.
local function keep_claim_owners(state, pod, condemned)
    for _, template in ipairs(state.set.spec.volumeClaimTemplates or {}) do
        local claim = state.world:item(CLAIMS, state.set.metadata.namespace .. "/" .. claim_name(template, pod.name))
        if claim and not claim.deleting then
            local owners = claim_owners(state.set, claim, pod, condemned)
            if not m8.equal(owners, claim["metadata.ownerReferences"] or {}) then
                state.plan:patch(CLAIMS, claim.key, { metadata = { ownerReferences = m8.array(owners) } },
                    "persistentVolumeClaimRetentionPolicy", { uid = claim.uid })
            end
        end
    end
end

-- ---- pods ----

local function mount_claims(set, pod)
    local volumes, ours = m8.array({}), {}
    for _, template in ipairs(set.spec.volumeClaimTemplates or {}) do
        ours[template.metadata.name] = true
        volumes[#volumes + 1] = { name = template.metadata.name,
            persistentVolumeClaim = { claimName = claim_name(template, pod.metadata.name) } }
    end
    for _, volume in ipairs(pod.spec.volumes or {}) do
        if not ours[volume.name] then volumes[#volumes + 1] = volume end
    end
    if #volumes > 0 then pod.spec.volumes = volumes end
end

local function new_pod(set, ordinal, revision)
    local template = revision.data.spec.template
    local name = set.metadata.name .. "-" .. ordinal
    local pod = workload.pod_from_template(set, { metadata = template.metadata, spec = template.spec }, name)
    local labels = pod.metadata.labels or {}
    pod.metadata.labels = labels
    labels[HASH] = revision.metadata.name
    labels["statefulset.kubernetes.io/pod-name"] = name
    labels["apps.kubernetes.io/pod-index"] = tostring(ordinal)
    pod.spec.hostname = name
    if (set.spec.serviceName or "") ~= "" then pod.spec.subdomain = set.spec.serviceName end
    mount_claims(set, pod)
    return pod
end

local State = {}

function State:key_of(ordinal)
    return self.set.metadata.namespace .. "/" .. self.set.metadata.name .. "-" .. ordinal
end

--- True for pods that keep their revision: the partition counts from the first ordinal.
function State:below_partition(ordinal)
    local rolling = (self.set.spec.updateStrategy or {}).rollingUpdate or {}
    return ordinal < self.first + (rolling.partition or 0)
end

--- The revision that a new pod of that ordinal gets: those below the partition stay what they are.
function State:revision_for(ordinal)
    local strategy = self.set.spec.updateStrategy or {}
    if strategy.type ~= "OnDelete" and self:below_partition(ordinal) and self.current then return self.current end
    return self.update
end

function State:create(ordinal)
    local name = self.set.metadata.name .. "-" .. ordinal
    local other = self.world:item("pods", self:key_of(ordinal))
    if other then -- of somebody else: nothing may be made in its place
        self.plan:event(self.set, "Warning", "FailedCreate", ("pod %s exists and belongs to somebody else"):format(name))
        self.plan:requeue(5)
        return
    end
    if not keep_claims(self, name) then return end
    self.plan:create("pods", new_pod(self.set, ordinal, self:revision_for(ordinal)), "ordinal " .. ordinal .. " has no pod")
    self.plan:event(self.set, "Normal", "SuccessfulCreate",
        ("create Pod %s in StatefulSet %s successful"):format(name, self.set.metadata.name))
end

function State:delete(pod, why)
    self.plan:delete("pods", pod.key, { uid = pod.uid }, why)
    self.plan:event(self.set, "Normal", "SuccessfulDelete",
        ("delete Pod %s in StatefulSet %s successful: %s"):format(pod.name, self.set.metadata.name, why))
end

function State:is_available(pod)
    if pod.deleting then return false end
    local yes, left = workload.is_available(pod, self.set.spec.minReadySeconds, self.world.now)
    if left then self.plan:requeue(left) end
    return yes
end

function State:is_updated(pod)
    return (pod["metadata.labels"] or {})[HASH] == self.update.metadata.name
end

--- True when a rolling update may replace pods of that ordinal.
function State:rolls(ordinal)
    local strategy = self.set.spec.updateStrategy or {}
    return strategy.type ~= "OnDelete" and not self:below_partition(ordinal)
end

--- Makes what is missing, in order. False: the next step has to wait.
function State:fill()
    for ordinal = self.first, self.last do
        local pod = self.pods[ordinal]
        if not pod then
            self:create(ordinal)
            if self.ordered then return false end
        elseif not pod.deleting and not workload.is_active(pod) then
            self:delete(pod, "it has ended")
            if self.ordered then return false end
        else
            keep_claims(self, pod.name)
            keep_claim_owners(self, pod, false)
            if self.ordered and not self:is_available(pod) then
                -- a pod of a former template that never became ready would block its own repair
                if not pod.deleting and not workload.ready_since(pod) and not self:is_updated(pod) and self:rolls(ordinal) then
                    self:delete(pod, "of a former template and not ready")
                end
                return false
            end
        end
    end
    return true
end

--- Removes what is too much, from the highest ordinal down. False: the next step has to wait.
function State:drop_condemned()
    for _, pod in ipairs(self.condemned) do
        keep_claim_owners(self, pod, true)
        if not pod.deleting then
            self:delete(pod, ("%d replicas are wanted"):format(self.last - self.first + 1))
        end
        if self.ordered then return false end
    end
    return true
end

--- Replaces pods of former templates from the highest ordinal down, as many at a time as maxUnavailable allows.
function State:roll()
    local rolling = (self.set.spec.updateStrategy or {}).rollingUpdate or {}
    local budget = math.max(1, workload.resolve(rolling.maxUnavailable or 1, self.last - self.first + 1, true))
    for ordinal = self.last, self.first, -1 do
        local pod = self.pods[ordinal]
        if not pod or not self:is_available(pod) then budget = budget - 1 end
    end
    for ordinal = self.last, self.first, -1 do
        local pod = self.pods[ordinal]
        if not self:rolls(ordinal) then return end
        if pod and not pod.deleting and not self:is_updated(pod) then
            if not self:is_available(pod) then
                self:delete(pod, "of a former template and not available") -- it is counted as missing already
            elseif budget > 0 then
                budget = budget - 1
                self:delete(pod, "of a former template")
            else
                return
            end
        elseif budget <= 0 then
            return
        end
    end
end

-- ---- all ----

local function sort_pods(set, pods)
    local first = start_of(set)
    local last = first + (set.spec.replicas or 1) - 1
    local wanted, condemned = {}, {}
    for _, pod in ipairs(pods) do
        local ordinal = ordinal_of(set.metadata.name, pod.name)
        if ordinal and ordinal >= first and ordinal <= last then
            wanted[ordinal] = pod
        elseif ordinal then
            condemned[#condemned + 1] = pod
        end
    end
    table.sort(condemned, function(a, b)
        return ordinal_of(set.metadata.name, a.name) > ordinal_of(set.metadata.name, b.name)
    end)
    return wanted, condemned, first, last
end

--- The revision named in the status that pods below a partition keep, or that of the present template.
local function current_of(set, update, revisions)
    local name = (set.status or {}).currentRevision
    for _, revision in ipairs(revisions) do
        if revision.metadata.name == name then return revision end
    end
    return update
end

local function status_of(state, pods)
    local status = {
        observedGeneration = state.set.metadata.generation, replicas = 0, readyReplicas = 0, availableReplicas = 0,
        currentReplicas = 0, updatedReplicas = 0, currentRevision = state.current.metadata.name,
        updateRevision = state.update.metadata.name,
    }
    local function add(field) status[field] = status[field] + 1 end
    for _, pod in ipairs(pods) do
        add("replicas")
        if not pod.deleting then
            if workload.ready_since(pod) then add("readyReplicas") end
            if state:is_available(pod) then add("availableReplicas") end
            local hash = (pod["metadata.labels"] or {})[HASH]
            if hash == status.currentRevision then add("currentReplicas") end
            if hash == status.updateRevision then add("updatedReplicas") end
        end
    end
    local wanted = state.set.spec.replicas or 1
    if status.updatedReplicas == wanted and status.readyReplicas == wanted and status.replicas == wanted then
        status.currentRevision, status.currentReplicas = status.updateRevision, status.updatedReplicas
    end
    return status
end

local function trim(state, revisions, pods)
    history.trim(state.plan, revisions, state.set.spec.revisionHistoryLimit, function(one)
        local name = one.metadata.name
        if name == state.update.metadata.name or name == state.current.metadata.name then return true end
        for _, pod in ipairs(pods) do
            if (pod["metadata.labels"] or {})[HASH] == name then return true end
        end
        return false
    end)
end

local function reconcile(world, key)
    local set = world:get(SETS, key)
    local selector = set and m8.selector(set.spec.selector)
    if not selector then return nil end
    local plan = plans.new()
    local update, revisions = history.current(world, set, plan)
    local pods = workload.claim_pods(world, set, selector, plan, function(pod)
        return ordinal_of(set.metadata.name, pod.name) ~= nil
    end)
    if set.metadata.deletionTimestamp then return plan end
    local wanted, condemned, first, last = sort_pods(set, pods)
    local state = workload.state(State, {
        world = world, set = set, plan = plan, update = update, current = current_of(set, update, revisions), pods = wanted,
        condemned = condemned, first = first, last = last, ordered = set.spec.podManagementPolicy ~= "Parallel",
    })
    if state:fill() and state:drop_condemned() then state:roll() end
    trim(state, revisions, pods)
    local status = status_of(state, pods)
    if not workload.covers(set.status, status) then plan:status(SETS, key, status, { uid = set.metadata.uid }) end
    return plan
end

local function lacks_pods(item)
    return (item["spec.replicas"] or 1) > (item["status.replicas"] or 0)
end

return {
    name = "statefulset",
    watches = {
        { resource = SETS, key = "self" },
        { resource = "pods", key = "owner", owner = SETS },
        { resource = history.resource, key = "owner", owner = SETS },
        workload.watch_orphans(SETS),
        workload.watch_room(SETS, lacks_pods),
        workload.watch_accounts(SETS, lacks_pods),
        -- a pod or claim that is gone has made its name free
        { resource = "pods", on = { "metadata.deletionTimestamp" }, map = function(world, item, previous)
            local set = not item and (previous["metadata.labels"] or {})["apps.kubernetes.io/pod-index"]
                and previous.namespace .. "/" .. previous.name:gsub("%-%d+$", "")
            return set and world:item(SETS, set) and { set } or {}
        end },
        { resource = CLAIMS, on = { "metadata.deletionTimestamp", "metadata.ownerReferences" }, map = function(world, item, previous)
            local claim, keys = item or previous, {}
            for set in world:list(SETS, { namespace = claim.namespace }) do
                if claim.name:find("-" .. set.name .. "-", 1, true) then keys[#keys + 1] = set.key end
            end
            return keys
        end },
    },
    project = {
        pods = workload.pod_columns_with({ "metadata.deletionTimestamp" }),
        [SETS] = { "spec.selector", "spec.replicas", "status.replicas" },
        resourcequotas = workload.quota_columns,
        [history.resource] = history.columns, [CLAIMS] = { "metadata.ownerReferences", "metadata.deletionTimestamp" },
    },
    reconcile = reconcile,
}
