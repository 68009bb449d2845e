-- Plan: what a reconcile wants done. The only way in which Lua changes anything; the engine sends the steps (CONTRACT.md).
local plan = {}
local Plan = { __index = {} }

local function check(condition, message)
    if not condition then error("plan: " .. message, 4) end
end

local function add(self, step)
    check(type(step.resource) == "string", "a resource is needed")
    self.steps[#self.steps + 1] = step
    return step
end

local function key_of(object)
    local metadata = object.metadata or {}
    check(type(metadata.name) == "string", "metadata.name is needed")
    if metadata.namespace and metadata.namespace ~= "" then
        return metadata.namespace .. "/" .. metadata.name
    end
    return metadata.name
end

function Plan.__index:create(resource, object, reason)
    return add(self, { verb = "create", resource = resource, key = key_of(object), object = object, reason = reason })
end

function Plan.__index:update(resource, object, reason)
    check(object.metadata and object.metadata.resourceVersion, "update needs metadata.resourceVersion")
    return add(self, { verb = "update", resource = resource, key = key_of(object), object = object, reason = reason,
        revision = object.metadata.resourceVersion })
end

function Plan.__index:patch(resource, key, patch, reason, options)
    check(type(key) == "string" and type(patch) == "table", "patch needs a key and a table")
    options = options or {}
    return add(self, { verb = "patch", resource = resource, key = key, object = patch, reason = reason,
        uid = options.uid, revision = options.revision })
end

function Plan.__index:status(resource, key, status, options)
    check(type(key) == "string" and type(status) == "table", "status needs a key and a table")
    options = options or {}
    return add(self, { verb = "status", resource = resource, key = key, object = { status = status },
        uid = options.uid, revision = options.revision })
end

function Plan.__index:delete(resource, key, options, reason)
    check(type(key) == "string", "delete needs a key")
    options = options or {}
    return add(self, { verb = "delete", resource = resource, key = key, uid = options.uid, grace = options.grace,
        propagation = options.propagation, disruption = options.disruption, reason = reason })
end

function Plan.__index:bind(key, node, options)
    check(type(key) == "string" and type(node) == "string", "bind needs a pod and a node")
    options = options or {}
    return add(self, { verb = "bind", resource = "pods", key = key, node = node, uid = options.uid,
        annotations = options.annotations })
end

--- Tells about `involved` (an object or an item) in an Event: when the step before it has taken effect, and not if it failed.
function Plan.__index:event(involved, event_type, reason, message)
    check(event_type == "Normal" or event_type == "Warning", 'an event is "Normal" or "Warning"')
    local metadata = involved.metadata or involved
    self.events[#self.events + 1] = {
        involved = { apiVersion = involved.apiVersion, kind = involved.kind, namespace = metadata.namespace,
            name = metadata.name, uid = metadata.uid },
        type = event_type, reason = reason, message = message, step = #self.steps,
    }
end

--- The same key again after that time; of several calls the earliest wins.
function Plan.__index:requeue(seconds)
    check(type(seconds) == "number" and seconds >= 0, "requeue needs a number of seconds")
    if not self.after or seconds < self.after then self.after = seconds end
end

function Plan.__index:empty()
    return #self.steps == 0
end

function plan.new()
    return setmetatable({ steps = {}, events = {} }, Plan)
end

return plan
