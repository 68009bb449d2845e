-- k.whatif: what another policy would decide about one object, now or at a past revision. Nothing is carried out.

local RESERVED = { policy = true, source = true, settings = true, ns = true, namespace = true, at = true }
local NO_PAST = { ["leases.coordination.k8s.io"] = true, ["policyqueries.minik8s.io"] = true,
    ["nodes.metrics.k8s.io"] = true, ["pods.metrics.k8s.io"] = true }

local MAX_STEP = 600 -- bytes of an object in the text of a plan

--- The option that names the object: { pod = "web-1" } → kind, namespace, name, manifest.
local function subject_of(options)
    local found, value
    for key, given in pairs(options) do
        if not RESERVED[key] then
            local kind = kinds.find(key) or host.fail("k.whatif: there is no option or kind \"" .. tostring(key) .. "\"")
            if found then host.fail("k.whatif: one object is wanted, not several") end
            found, value = kind, given
        end
    end
    if not found then host.fail("k.whatif: of which object? e.g. k.whatif{policy=\"binpack\", pod=\"web-1\"}") end
    local _, _, default = host.mode()
    local manifest = host.table(value)
    if type(manifest) == "table" then
        local meta = manifest.metadata or {}
        return found, meta.namespace or options.ns or default, meta.name or "what-if", plain(manifest)
    end
    local namespace, name = string.match(tostring(value), "^([^/]+)/([^/]+)$")
    return found, namespace or options.ns or options.namespace or default, name or tostring(value)
end

local function lists_for(kind, revision)
    local lists = {}
    for _, resource in ipairs(host.resources_for(kind.resource)) do
        local known = kinds.find(resource)
        if revision and known and not NO_PAST[resource] then
            lists[resource] = plain(k.at(revision)[resource]{})
        else
            lists[resource] = (host.objects(resource))
        end
    end
    return lists
end

--- The pod as it was before it had a node.
local function unbound(pod)
    pod.metadata.deletionTimestamp, pod.metadata.annotations = nil, nil
    pod.spec.nodeName, pod.status = nil, { phase = "Pending" }
    return pod
end

--- Puts the pod in question among the others, waiting.
local function with_waiting(list, namespace, name, manifest)
    local result, found = {}, manifest
    for _, pod in ipairs(list) do
        if pod.metadata.name == name and pod.metadata.namespace == namespace then
            found = found or plain(pod)
        else
            result[#result + 1] = pod
        end
    end
    if not found then host.fail("k.whatif: there is no pod " .. namespace .. "/" .. name) end
    found.metadata = found.metadata or {}
    found.metadata.namespace, found.metadata.name = namespace, name
    found.metadata.uid = found.metadata.uid or "what-if"
    found.spec = found.spec or {}
    result[#result + 1] = unbound(found)
    return host.array(result)
end

local function step_text(step)
    local parts = { step.verb, step.resource, step.key or at(step, "object.metadata.name") or "" }
    if step.object then
        local text = host.json(plain(step.object.spec or step.object.status or step.object))
        parts[#parts + 1] = #text > MAX_STEP and string.sub(text, 1, MAX_STEP - 3) .. "..." or text
    end
    if step.reason then parts[#parts + 1] = "(" .. step.reason .. ")" end
    return table.concat(parts, " ")
end

local function plan_text(plan)
    local lines = {}
    for _, step in ipairs(plan and plan.steps or {}) do lines[#lines + 1] = step_text(step) end
    for _, event in ipairs(plan and plan.events or {}) do lines[#lines + 1] = "event " .. event.reason .. ": " .. event.message end
    return #lines > 0 and table.concat(lines, "\n") or "nothing"
end

local function of_pod(result)
    return { node = result.node, score = result.score, by = result.by, scores = result.scores,
        message = result.message, nodes = result.nodes, fallback = result.fallback }
end

function k.whatif(options)
    if type(options) ~= "table" then host.fail("k.whatif{policy=\"binpack\", pod=\"web-1\"}: a table is wanted") end
    if not options.policy and not options.source then
        host.fail("k.whatif: which policy? policy=\"NAME\", or source=\"the text of a Lua file\"")
    end
    local kind, namespace, name, manifest = subject_of(options)
    local revision = options.at and k.at(options.at).revision
    local lists = lists_for(kind, revision)
    local key = kind.namespaced and namespace .. "/" .. name or name
    if kind.resource == "pods" then lists.pods = with_waiting(lists.pods, namespace, name, manifest) end
    local wish = { resource = kind.resource, key = key, policies = host.policies(kind.namespaced and namespace or nil), policy = options.policy,
        source = options.source, settings = options.settings and plain(options.settings) or nil, time = host.now() }
    local now = host.whatif(wish, lists)
    wish.candidate = true
    local would = host.whatif(wish, lists)
    local answer = { object = kind.singular .. " " .. key, at = revision, policy = options.policy or "source" }
    if kind.resource == "pods" then
        answer.now, answer.would_be = of_pod(now), of_pod(would)
        answer.differs = now.node ~= would.node
    else
        answer.now, answer.would_be = plan_text(now.plan), plan_text(would.plan)
        answer.differs = answer.now ~= answer.would_be
        answer.decisions = would.decisions
    end
    return answer
end

local TRY_OPTIONS = { policy = true, source = true, settings = true, ctx = true, candidates = true, candidate = true }

--- One policy asked alone with what one hands in: any point, also those that nodes ask.
function k.try(options)
    options = check_options(options, TRY_OPTIONS, "k.try")
    if not options.policy and not options.source then
        host.fail("k.try: which policy? policy=\"NAME\", or source=\"the text of a Lua file\"")
    end
    local candidates = options.candidate and { options.candidate } or options.candidates
    local answer = host.try({ policies = host.policies(), policy = options.policy, source = options.source,
        settings = options.settings and plain(options.settings) or nil, ctx = plain(options.ctx or {}),
        candidates = candidates and host.array(plain(candidates)) or nil })
    if answer.failure then host.fail("the policy failed: " .. answer.failure) end
    return answer
end
