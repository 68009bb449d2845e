-- k.why("pod/x"): everything that was decided about an object, and what became of it, in order: recorded decisions of
-- policies, Events, and the changes of the object itself from the server's log. k.decisions{…}: the record alone.

local QUIET = { -- paths whose changes say nothing
    ["metadata.resourceVersion"] = true, ["metadata.generation"] = true, ["metadata.managedFields"] = true,
    ["status.observedGeneration"] = true, ["metadata.uid"] = true, ["metadata.creationTimestamp"] = true,
}
local TIMES = { lastTransitionTime = true, lastProbeTime = true, lastUpdateTime = true, lastHeartbeatTime = true }
local MAX_CHANGES, MAX_TEXT = 6, 120
local DECISION_OPTIONS = { object = true, ns = true, point = true, since = true, limit = true, inputs = true }

local function short(value)
    local inner = host.table(value)
    local text = type(inner) == "table" and host.json(plain(inner)) or tostring(inner)
    if type(inner) == "userdata" then text = "null" end
    return #text > MAX_TEXT and string.sub(text, 1, MAX_TEXT - 3) .. "..." or text
end

local function label_of(array_item, index)
    if type(array_item) == "table" then
        local name = array_item.name or array_item.type or array_item.key
        if type(name) == "string" then return "[" .. name .. "]" end
    end
    return "[" .. index .. "]"
end

local differences

local function compare(changes, path, old, new)
    if type(old) == "table" and type(new) == "table" then
        differences(changes, path, old, new)
    elseif old ~= new and not QUIET[path] then
        if old == nil then
            changes[#changes + 1] = path .. " = " .. short(new)
        elseif new == nil then
            changes[#changes + 1] = path .. " gone"
        else
            changes[#changes + 1] = path .. ": " .. short(old) .. " → " .. short(new)
        end
    end
end

--- Items of lists are matched by what they are called.
local function by_label(list)
    local items = {}
    for i, item in ipairs(list) do items[label_of(item, i)] = item end
    return items
end

function differences(changes, path, old, new)
    if host.is_array(old) or host.is_array(new) then old, new = by_label(old), by_label(new) end
    local keys = {}
    for key in pairs(old) do keys[key] = true end
    for key in pairs(new) do keys[key] = true end
    for key in pairs(keys) do
        local joined = path == "" and key or string.sub(key, 1, 1) == "[" and path .. key or path .. "." .. key
        if not TIMES[key] then compare(changes, joined, old[key], new[key]) end
    end
end

local function change_text(previous, form)
    if form.type == "DELETED" then return "deleted" end
    if form.type == "ADDED" or not previous then return form.type == "ADDED" and "created" or "first form that the log holds" end
    local changes = {}
    differences(changes, "", previous, form.object)
    if #changes == 0 then return nil end
    local more = #changes - MAX_CHANGES
    local text = table.concat(changes, "; ", 1, math.min(#changes, MAX_CHANGES))
    return more > 0 and text .. "; and " .. more .. " more" or text
end

local function add(list, entry)
    list[#list + 1] = entry
end

local function add_changes(list, reference, options)
    local forms, previous, last = k.history(reference, options), nil, nil
    for _, form in ipairs(forms) do
        local text = change_text(previous, form)
        if text then add(list, { revision = form.revision, source = "change", what = text }) end
        previous = form.type ~= "DELETED" and form.object or nil
        last = form.object
    end
    return last
end

local function add_events(list, kind, namespace, name)
    local selector = "involvedObject.kind=" .. kind.kind .. ",involvedObject.name=" .. name
    local path = kinds.path(kinds.must("events"), namespace) .. "?fieldSelector=" .. host.escape(selector)
    for _, event in ipairs(ask("GET", path).items) do
        local times = event.count and event.count > 1 and " (" .. event.count .. " times)" or ""
        local by = event.reportingComponent or at(event, "source.component") or ""
        add(list, { revision = tonumber(event.metadata.resourceVersion), source = "event",
            time = event.lastTimestamp or event.eventTime or event.metadata.creationTimestamp,
            what = event.reason .. ": " .. event.message .. times, by = by })
    end
end

local function result_text(decision)
    local result = decision.result
    local text = type(result) == "table" and result.node or nil
    if type(result) == "table" and type(result[1]) == "number" and #result == 1 then text = tostring(result[1]) end -- of the one candidate
    local nothing = result == nil or type(result) == "table" and next(result) == nil
    if not text then text = nothing and "nothing" or short(result) end
    local reasons = decision.reasons and #decision.reasons > 0 and " because " .. table.concat(decision.reasons, "; ") or ""
    if decision.failure then reasons = reasons .. " (fallback: " .. decision.failure .. ")" end
    return decision.point .. " → " .. text .. reasons
end

local function add_decisions(list, kind, key)
    local last = {} -- point → { text, entry, times }: of several points in turn each is looked at by itself
    for _, decision in ipairs(host.decisions({ kind = kind.kind, object = key, limit = 200 }).decisions) do
        local text = result_text(decision)
        local before = last[decision.point]
        if before and before.text == text then -- the same again
            before.times = before.times + 1
            before.entry.what = string.format("%s (%d times)", text, before.times)
        else
            local by = string.gsub(string.gsub(decision.by or "", "@%x+", ""), ",", ", ")
            local entry = { revision = decision.revision, source = "decision", time = decision.time, what = text, by = by }
            last[decision.point] = { text = text, entry = entry, times = 1 }
            add(list, entry)
        end
    end
end

--- Who owns it, one step up: its decisions are this object's, too.
local function add_owner(list, object, namespace)
    for _, owner in ipairs(at(object, "metadata.ownerReferences") or {}) do
        local kind = owner.controller and kinds.find(owner.kind)
        if kind then
            add(list, { revision = 0, source = "owner", what = "belongs to " .. kind.singular .. " " .. owner.name ..
                ": k.why(\"" .. kind.singular .. "/" .. (kind.namespaced and namespace .. "/" or "") .. owner.name .. "\") tells more" })
        end
    end
end

local function clock(time)
    return time and string.match(time, "T(%d+:%d+:%d+)") or ""
end

function k.why(reference, options)
    local kind, namespace, name = kinds.reference(reference, options)
    local key = kind.namespaced and namespace .. "/" .. name or name
    local list = {}
    local last = add_changes(list, kind.namespaced and kind.resource .. "/" .. key or kind.resource .. "/" .. name, options)
    add_decisions(list, kind, key)
    add_events(list, kind, namespace, name)
    if #list == 0 then host.fail("nothing is known about " .. kind.singular .. " " .. key) end
    if last then add_owner(list, last, namespace) end
    for i, entry in ipairs(list) do entry.order = i end
    table.sort(list, function(a, b)
        if a.revision ~= b.revision then return a.revision < b.revision end
        return a.order < b.order
    end)
    for _, entry in ipairs(list) do
        entry.order, entry.time = nil, clock(entry.time)
        entry.by = entry.by or ""
    end
    columns_of[list] = { "revision", "time", "source", "what", "by" }
    return host.array(list)
end

function k.decisions(options)
    options = check_options(options, DECISION_OPTIONS, "k.decisions")
    local spec = { point = options.point, sinceSeconds = options.since, limit = options.limit, inputs = options.inputs }
    if options.object then
        local kind, namespace, name = kinds.reference(options.object, { ns = options.ns })
        spec.kind = kind.kind
        spec.object = kind.namespaced and namespace .. "/" .. name or name
    elseif options.ns then
        spec.object = options.ns .. "/"
    end
    local list = host.decisions(spec).decisions
    columns_of[list] = { "time", "point", "kind", "object", "result", "by", "reasons" }
    return list
end
