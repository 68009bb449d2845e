-- History: the templates that a DaemonSet or StatefulSet has had, as ControllerRevisions, in the form that
-- `rollout history` and `rollout undo` apply again.
local m8 = require("m8")
local workload = require("framework.workload")
local history = {}

local REVISIONS = "controllerrevisions.apps"

--- What a revision holds of an object: a strategic patch that brings its template back.
local function data_of(object)
    local template = m8.copy(object.spec.template)
    template["$patch"] = "replace"
    return { spec = { template = template } }
end

local function annotations_of(object)
    local kept = {}
    for key, value in pairs(object.metadata.annotations or {}) do
        if key ~= "kubectl.kubernetes.io/last-applied-configuration" then kept[key] = value end
    end
    return kept
end

local function new_revision(object, data, number)
    local hash = m8.hash({ data = data, collisions = (object.status or {}).collisionCount })
    local labels = m8.copy((object.spec.template.metadata or {}).labels or {})
    labels["controller-revision-hash"] = hash
    return {
        apiVersion = "apps/v1", kind = "ControllerRevision",
        metadata = {
            name = object.metadata.name .. "-" .. hash, namespace = object.metadata.namespace, labels = labels,
            annotations = annotations_of(object), ownerReferences = { workload.controller_reference(object) },
        },
        data = data, revision = number,
    }
end

--- The hash that marks pods of a revision.
function history.hash_of(revision)
    return (revision.metadata.labels or {})["controller-revision-hash"]
end

local function owned(world, object)
    local revisions = {}
    for item in world:list(REVISIONS, { owner = object.metadata.uid }) do
        if not item.deleting then revisions[#revisions + 1] = world:get(REVISIONS, item.key) end
    end
    table.sort(revisions, function(a, b)
        if a.revision ~= b.revision then return a.revision < b.revision end
        return a.metadata.name < b.metadata.name
    end)
    return revisions
end

--- Takes over revisions of an owner that was deleted with Orphan: same selector, no controller.
local function adopt(world, object, plan, revisions)
    local selector = m8.selector(object.spec.selector)
    for item in world:list(REVISIONS, { namespace = object.metadata.namespace, selector = selector }) do
        if not item.owner_uid and not item.deleting and item.name:find(object.metadata.name .. "-", 1, true) == 1 then
            plan:patch(REVISIONS, item.key, { metadata = { ownerReferences = { workload.controller_reference(object) } } },
                "it matches the selector and has no controller", { uid = item.uid })
            revisions[#revisions + 1] = world:get(REVISIONS, item.key)
        end
    end
end

--- The revision of the present template and all revisions, oldest first. Plans its creation, or its return to the top.
function history.current(world, object, plan)
    local revisions = owned(world, object)
    if not object.metadata.deletionTimestamp then adopt(world, object, plan, revisions) end
    local data, newest, found = data_of(object), 0, nil
    for _, revision in ipairs(revisions) do
        newest = math.max(newest, revision.revision)
        if m8.equal(revision.data, data) then found = revision end
    end
    if object.metadata.deletionTimestamp then return found or new_revision(object, data, newest + 1), revisions end
    if not found then
        found = new_revision(object, data, newest + 1)
        plan:create(REVISIONS, found, "a new template")
        revisions[#revisions + 1] = found
    elseif found.revision < newest then
        found.revision = newest + 1
        plan:patch(REVISIONS, found.metadata.namespace .. "/" .. found.metadata.name,
            { revision = found.revision, metadata = { annotations = annotations_of(object) } }, "its template is in use again")
    end
    return found, revisions
end

--- Deletes the oldest revisions beyond `limit`; those for which in_use(revision) holds stay and do not count.
function history.trim(plan, revisions, limit, in_use)
    local idle = {}
    for _, revision in ipairs(revisions) do
        if not in_use(revision) and revision.metadata.uid then idle[#idle + 1] = revision end
    end
    for i = 1, #idle - (limit or 10) do
        local metadata = idle[i].metadata
        plan:delete(REVISIONS, metadata.namespace .. "/" .. metadata.name, { uid = metadata.uid },
            "older than revisionHistoryLimit")
    end
end

history.columns = { "metadata.labels" }
history.resource = REVISIONS
return history
