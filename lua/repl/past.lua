-- k.at(revision): the cluster as it was, from the server's log; k.history(reference): every form of one object.

local PAST = "/apis/minik8s.io/v1/past?resource="
local OPTIONS = { ns = true, namespace = true, label = true, field = true, name = true }

local function past_target(kind, revision, namespace, name)
    local target = PAST .. host.escape(kind.resource)
    if revision then target = target .. "&resourceVersion=" .. string.format("%.0f", revision) end
    if namespace then target = target .. "&namespace=" .. host.escape(namespace) end
    if name then target = target .. "&name=" .. host.escape(name) end
    return target
end

local function list_at(kind, revision, options)
    local namespace, name = kind.namespaced and (options.ns or options.namespace) or nil, options.name
    local exact = name and not string.find(name, "*", 1, true) and (namespace or not kind.namespaced)
    local answer = ask("GET", past_target(kind, revision, namespace, exact and name or nil))
    if answer.lost > 0 then
        host.say(string.format("note: %d more existed at revision %.0f in a form that the log no longer holds\n", answer.lost, revision))
    end
    if name and not exact and not string.find(name, "*", 1, true) then -- one name in any namespace
        local kept = {}
        for _, object in ipairs(answer.items) do
            if object.metadata.name == name then kept[#kept + 1] = object end
        end
        answer.items = host.array(kept)
    end
    return filter(answer.items, options)
end

local function accessor_at(revision)
    return function(kind)
        local function call(_, options)
            if type(options) == "string" then
                local namespace, name = string.match(options, "^([^/]+)/([^/]+)$")
                local _, _, default = host.mode()
                return list_at(kind, revision, { ns = namespace or default, name = name or options })[1]
            end
            return list_at(kind, revision, check_options(options, OPTIONS, "k.at(…)." .. kind.plural))
        end
        local made = setmetatable({}, { __call = call, __metatable = "kind" })
        accessors[made] = { kind = kind, summary = string.format("%s as they were at revision %.0f", kind.plural, revision) }
        return made
    end
end

--- A revision, a time ("2026-11-29T12:00:00Z") or how long ago ("10m") → a revision.
local function revision_of(when)
    if type(when) ~= "string" or tonumber(when) then return tonumber(when) end
    local ago, time = host.duration(when), host.time(when)
    if not ago and not time then return nil end
    return host.revision_at(time or host.now() - ago)
end

function k.at(when)
    local revision = revision_of(when)
    if type(revision) ~= "number" or revision < 0 or revision ~= math.floor(revision) then
        host.fail("k.at: a revision is wanted, or a time: k.at(k.revision() - 100), k.at(\"10m\"), k.at(\"2026-11-29T12:00:00Z\")")
    end
    local made, view = {}, { revision = revision }
    function view.get(reference, namespace, name)
        local kind
        if name == nil and string.find(tostring(reference), "/", 1, true) then
            kind, namespace, name = kinds.reference(reference, { ns = namespace })
        else
            kind = kinds.must(reference)
            if name == nil then namespace, name = nil, namespace end
            local _, _, default = host.mode()
            namespace = kind.namespaced and (namespace or default) or nil
        end
        return list_at(kind, revision, { ns = namespace, name = name })[1]
    end
    setmetatable(view, { __index = function(_, name)
        return accessor_of(name, accessor_at(revision), made) or
            host.fail("there is no kind \"" .. tostring(name) .. "\"; k.kinds() lists them")
    end, __metatable = "past" })
    accessors[view] = { summary = string.format("the cluster at revision %.0f", revision) }
    return view
end

--- Forms of one object, oldest first: { revision=, type=, object= }.
function k.history(reference, options)
    local kind, namespace, name = kinds.reference(reference, options)
    local items = ask("GET", past_target(kind, nil, namespace, name) .. "&history=true").items
    columns_of[items] = { "revision", "type", "object" }
    return items
end
