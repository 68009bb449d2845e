-- Testing: worlds of objects for tests of controllers and policies (CONTRACT.md). The cache, the policies and the controllers
-- are the real ones; only the server is played here: `apply` does to the world what the server would do for a plan.
local m8 = require("m8")
local native = require("m8.testing")
local testing = {}

local World = {}
World.__index = function(self, field)
    local own = rawget(World, field)
    if own then return own end
    local value = self.native[field]
    if type(value) ~= "function" then return value end
    return function(first, ...)
        if first == self then return value(self.native, ...) end
        return value(first, ...)
    end
end

function World:put(resource, object)
    native.put(self.native, resource, object)
end

function World:drop(resource, key)
    return native.drop(self.native, resource, key)
end

--- Moves both clocks to `now` (wall seconds).
function World:set_now(now)
    self.clock = now
    native.set_time(self.native, now, now - self.start)
end

--- As if the server had refused the last plan with this message; nil: no more.
function World:refuse(message)
    native.refuse(self.native, message)
end

--- Replaces the policies of a point: run(ctx, candidates) returns what ask shall return.
function World:answer(point, run)
    native.answer(point, run)
end

--- A Policy object with this source; returns its hash, or nil, err.
function World:policy(source)
    return native.policy(self.native, source)
end

--- The profile in force: { ["scheduler.score"] = { policies = { { name = "binpack" } } } }
function World:use(points)
    return native.use(self.native, points)
end

--- Decisions are recorded from now on (at most so many are kept).
function World:record(most)
    native.record(self.native, most)
end

--- Takes every recorded decision again, by those who took it or by the policy with this source: the report of script_replay.h.
function World:replay(source)
    return native.replay(self.native, source)
end

--- The policy of that name decides beside the active ones of the point, without effect; nil: none does.
function World:shadow(point, ...)
    return native.shadow(self.native, point, ...)
end

--- The recorded decisions with their inputs, oldest first.
function World:log()
    return native.log(self.native)
end

--- options: now (wall seconds), objects = { resource = { object, ... } }
function testing.world(options)
    options = options or {}
    local world = setmetatable({ native = native.new(), start = options.now or 1700000000 }, World)
    world:set_now(world.start)
    for resource, objects in pairs(options.objects or {}) do
        for _, object in ipairs(objects) do world:put(resource, object) end
    end
    return world
end

function testing.reconcile(world, controller, key)
    local plan = native.reconcile(world.native, controller, key)
    return plan or require("framework.plan").new()
end

--- The keys that the appearance of an object queues.
function testing.keys(world, controller, resource, key)
    return native.keys(world.native, controller, resource, key)
end

local function merge(target, patch)
    if type(patch) ~= "table" or m8.is_array(patch) then return m8.copy(patch) end
    local result = type(target) == "table" and not m8.is_array(target) and m8.copy(target) or {}
    for key, value in pairs(patch) do
        if value == m8.null then result[key] = nil else result[key] = merge(result[key], value) end
    end
    return result
end

local apply = {}

function apply.create(world, step)
    assert(not world:get(step.resource, step.key), step.key .. " exists already")
    local object = m8.copy(step.object)
    object.metadata.creationTimestamp = m8.time_text(world.clock)
    object.metadata.generation = object.metadata.generation or 1
    world:put(step.resource, object)
end

function apply.update(world, step)
    local old = assert(world:get(step.resource, step.key), step.key .. " does not exist")
    assert(old.metadata.resourceVersion == step.revision, "conflict on " .. step.key)
    world:put(step.resource, step.object)
end

function apply.patch(world, step)
    local old = assert(world:get(step.resource, step.key), step.key .. " does not exist")
    assert(not step.uid or old.metadata.uid == step.uid, "another uid: " .. step.key)
    local new = merge(old, step.object)
    if not m8.equal(old.spec or {}, new.spec or {}) then
        new.metadata.generation = (old.metadata.generation or 1) + 1
    end
    world:put(step.resource, new)
end

apply.status = function(world, step)
    local old = assert(world:get(step.resource, step.key), step.key .. " does not exist")
    world:put(step.resource, merge(old, { status = step.object.status }))
end

--- As the server: an object with finalizers, and a pod on a node, stay with a deletionTimestamp.
function apply.delete(world, step)
    local old = world:get(step.resource, step.key)
    if not old then return end
    assert(not step.uid or old.metadata.uid == step.uid, "another uid: " .. step.key)
    local kept = #(old.metadata.finalizers or {}) > 0
    local running = step.resource == "pods" and old.spec and old.spec.nodeName and step.grace ~= 0
    if kept or running then
        old.metadata.deletionTimestamp = old.metadata.deletionTimestamp or m8.time_text(world.clock)
        world:put(step.resource, old)
    else
        world:drop(step.resource, step.key)
    end
end

function apply.bind(world, step)
    local old = assert(world:get("pods", step.key), step.key .. " does not exist")
    assert(not old.spec.nodeName, step.key .. " is bound already")
    world:put("pods", merge(old, { spec = { nodeName = step.node }, metadata = { annotations = step.annotations } }))
end

--- Writes the steps into the world as the server would.
function testing.apply(world, plan)
    for _, step in ipairs(plan.steps) do
        assert(apply[step.verb], "no such verb: " .. tostring(step.verb))(world, step)
    end
end

--- Reconciles and applies until a plan has no steps; fails after 50 rounds. Returns all plans.
function testing.settle(world, controller, key)
    local plans = {}
    for _ = 1, 50 do
        local plan = testing.reconcile(world, controller, key)
        plans[#plans + 1] = plan
        if plan:empty() then return plans end
        testing.apply(world, plan)
    end
    error(controller .. " does not come to rest on " .. key, 2)
end

--- Numbers that look random and are the same for a seed: function(n) → 1 to n.
function testing.random(seed)
    local state = seed
    return function(n)
        state = (state * 1103515245 + 12345) % 2147483648
        return math.floor(state / 65536) % n + 1
    end
end

function testing.equal(got, wanted, what)
    if m8.equal(got, wanted) then return end
    local function show(value)
        return type(value) == "table" and m8.json(value) or tostring(value)
    end
    error((what and what .. ": " or "") .. "got " .. show(got) .. ", wanted " .. show(wanted), 2)
end

function testing.contains(text, part)
    if type(text) == "string" and text:find(part, 1, true) then return end
    error("got " .. tostring(text) .. ", wanted a text with " .. part, 2)
end

function testing.raises(run, part)
    local ok, message = pcall(run)
    if ok then error("nothing was raised", 2) end
    testing.contains(tostring(message), part)
end

return testing
