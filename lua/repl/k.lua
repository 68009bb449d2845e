-- k: reading the cluster from the manager's cache, and writing through the API server with the user's own rights.

local VOLATILE = { events = true, ["events.events.k8s.io"] = true, ["nodes.metrics.k8s.io"] = true,
    ["pods.metrics.k8s.io"] = true }                  -- not in the cache, or only while the manager wants them
local OPTIONS = { ns = true, namespace = true, label = true, field = true, name = true, all = true }
local APPLY = "application/apply-patch+yaml"
local MERGE, STRATEGIC, JSON_PATCH =
    "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json"

k = {}
docs = setmetatable({}, { __mode = "k" }) -- function or accessor → { usage, text }

function check_options(options, known, what)
    if options == nil then return {} end
    if type(options) ~= "table" then host.fail(what .. ": a table of options is wanted, e.g. " .. what .. "{ns=\"default\"}") end
    for key in pairs(options) do
        if not known[key] then host.fail(what .. ": there is no option \"" .. tostring(key) .. "\"") end
    end
    return options
end

local function text_selector(value)
    if type(value) ~= "table" then return tostring(value) end
    local parts = {}
    for key, wanted in pairs(value) do parts[#parts + 1] = key .. "=" .. tostring(wanted) end
    return table.concat(parts, ",")
end

--- Only those whose name fits; "*" stands for anything.
local function by_name(list, name)
    local kept = {}
    local pattern = "^" .. string.gsub(string.gsub(name, "[^%w*]", "%%%0"), "%*", ".*") .. "$"
    for _, object in ipairs(list) do
        if string.find(object.metadata.name, pattern) then kept[#kept + 1] = object end
    end
    return host.array(kept)
end

--- Filters that every way of listing has.
function filter(list, options)
    if options.name and string.find(options.name, "*", 1, true) then list = by_name(list, options.name) end
    if options.label then list = host.select(list, text_selector(options.label), "labels") end
    if options.field then list = host.select(list, text_selector(options.field), "fields") end
    return list
end

local function list_by_api(kind, options)
    local path = kinds.path(kind, options.ns or options.namespace)
    local answer = ask("GET", path)
    for _, object in ipairs(answer.items) do
        object.kind, object.apiVersion = kind.kind, kind.group == "" and kind.version or kind.group .. "/" .. kind.version
    end
    local list = answer.items
    if options.name and not string.find(options.name, "*", 1, true) then list = by_name(list, options.name) end
    return list
end

local function list_kind(kind, options)
    if VOLATILE[kind.resource] then return filter(list_by_api(kind, options), options) end
    local namespace, name = options.ns or options.namespace, options.name
    local exact = name and not string.find(name, "*", 1, true)
    if exact and kind.namespaced and not namespace then -- in any namespace
        return filter(by_name((host.objects(kind.resource)), name), options)
    end
    return filter((host.objects(kind.resource, kind.namespaced and namespace or nil, exact and name or nil)), options)
end

local function accessor(kind)
    local function call(_, options)
        if type(options) == "string" then -- one object by its name, or namespace/name
            local namespace, name = string.match(options, "^([^/]+)/([^/]+)$")
            return k.get(kind.resource, namespace, name or options)
        end
        return list_kind(kind, check_options(options, OPTIONS, "k." .. kind.plural))
    end
    local made = setmetatable({}, { __call = call, __metatable = "kind" })
    accessors[made] = { kind = kind, summary = "k." .. kind.plural .. "{ns=, name=, label=, field=}: see help(k." .. kind.plural .. ")" }
    return made
end

local made_accessors = {}

--- What k and k.at(…) look up: a kind by any of its names, or nil.
function accessor_of(name, make, kept)
    local kind = kinds.find(name)
    if not kind then return nil end
    kept[kind.resource] = kept[kind.resource] or make(kind)
    return kept[kind.resource]
end

function k.get(kind_name, namespace, name)
    local kind
    if name == nil and type(kind_name) == "string" and string.find(kind_name, "/", 1, true) then
        kind, namespace, name = kinds.reference(kind_name, { ns = namespace })
    else
        kind = kinds.must(kind_name)
        if name == nil then namespace, name = nil, namespace end
        local _, _, default = host.mode()
        namespace = kind.namespaced and (namespace or default) or nil
    end
    if type(name) ~= "string" then host.fail("k.get: a name is wanted: k.get(\"pod\", \"default\", \"web\")") end
    if VOLATILE[kind.resource] then return ask("GET", kinds.path(kind, namespace, name)) end
    return (host.objects(kind.resource, namespace, name))[1]
end

function k.kinds()
    local list = {}
    for _, kind in ipairs(kinds.all()) do
        list[#list + 1] = { name = kind.plural, kind = kind.kind, group = kind.group, namespaced = kind.namespaced,
            short = table.concat(kind.short, ",") }
    end
    columns_of[list] = { "name", "kind", "group", "namespaced", "short" }
    return host.array(list)
end

function k.policies_in_use(options)
    options = check_options(options, { ns = true }, "k.policies_in_use")
    local found, list = host.policies(options.ns), {}
    for point, active in pairs(found.active) do
        for _, policy in ipairs(active) do
            list[#list + 1] = { point = point, policy = policy.name, weight = policy.weight,
                version = found.known[policy.name] and found.known[policy.name].version }
        end
    end
    columns_of[list] = { "point", "policy", "weight", "version" }
    return host.array(list)
end

function k.policy(name)
    local found = host.policies()
    local policy = found.known[name]
    if not policy then host.fail("there is no policy \"" .. tostring(name) .. "\"; k.policies_in_use() lists those that decide") end
    policy.name, policy.in_use = name, false
    for _, active in ipairs(found.active[policy.point] or {}) do
        policy.in_use = policy.in_use or active.name == name
    end
    return policy
end

function k.revision()
    local _, revision = host.objects("namespaces", nil, "default")
    return revision
end

-- ---- writing ----

local function query(options)
    return options and options.dry_run and "dryRun=All" or nil
end

local function with_query(path, ...)
    local parts = {}
    for i = 1, select("#", ...) do parts[#parts + 1] = (select(i, ...)) end
    return #parts > 0 and path .. "?" .. table.concat(parts, "&") or path
end

local function api_version(kind)
    return kind.group == "" and kind.version or kind.group .. "/" .. kind.version
end

--- What apply and create take: one object, an array of them, or YAML.
local function each_object(value, act)
    local inner = type(value) == "string" and host.parse(value) or host.table(value)
    if type(inner) ~= "table" then host.fail("an object, an array of objects, or YAML is wanted") end
    if not host.is_array(inner) then return act(plain(inner)) end
    local results = {}
    for i, object in ipairs(inner) do results[i] = act(plain(object)) end
    return #results == 1 and results[1] or host.array(results)
end

function k.apply(value, options)
    return each_object(value, function(object)
        local kind, namespace, name = kinds.reference(object, options)
        object.apiVersion, object.kind = object.apiVersion or api_version(kind), kind.kind
        object.metadata = object.metadata or { name = name, namespace = namespace }
        object.metadata.managedFields, object.metadata.resourceVersion = nil, nil
        local path = kinds.path(kind, namespace, name)
        return ask("PATCH", with_query(path, "fieldManager=minik8s-repl", "force=true", query(options)), APPLY, object)
    end)
end

function k.create(value, options)
    return each_object(value, function(object)
        local kind = kinds.must(object.kind)
        local _, _, default = host.mode()
        object.apiVersion = object.apiVersion or api_version(kind)
        local namespace = kind.namespaced and (object.metadata and object.metadata.namespace or default) or nil
        return ask("POST", with_query(kinds.path(kind, namespace), query(options)), "application/json", object)
    end)
end

function k.patch(reference, patch, options)
    if type(patch) ~= "table" then host.fail("k.patch: a table is wanted: k.patch(\"deployment/web\", {spec={replicas=3}})") end
    local kind, namespace, name = kinds.reference(reference, options)
    local type_name = options and options.type or host.is_array(patch) and "json" or "merge"
    local content = type_name == "json" and JSON_PATCH or type_name == "strategic" and STRATEGIC or MERGE
    return ask("PATCH", with_query(kinds.path(kind, namespace, name, options and options.subresource), query(options)),
        content, patch)
end

function k.scale(reference, replicas, options)
    if type(replicas) ~= "number" then host.fail("k.scale: a number is wanted: k.scale(\"deployment/web\", 3)") end
    local kind, namespace, name = kinds.reference(reference, options)
    local path = with_query(kinds.path(kind, namespace, name, "scale"), query(options))
    return ask("PATCH", path, MERGE, { spec = { replicas = replicas } })
end

function k.delete(reference, options)
    local kind, namespace, name = kinds.reference(reference, options)
    local grace = options and options.grace and "gracePeriodSeconds=" .. tostring(options.grace) or nil
    local cascade = options and options.cascade and "propagationPolicy=" .. tostring(options.cascade) or nil
    return ask("DELETE", with_query(kinds.path(kind, namespace, name), grace or cascade, grace and cascade or nil, query(options)))
end

-- ---- watching ----

local WATCH_OPTIONS = { kind = true, ns = true, namespace = true, label = true, name = true, seconds = true, count = true,
    each = true, all = true }

local function tell(event)
    local object = event.object
    local where = object.metadata.namespace and object.metadata.namespace .. "/" or ""
    local what = object.status and object.status.phase or ""
    host.say(string.format("%-9s %s%s %s\n", event.type, where, object.metadata.name, what))
end

function k.watch(options)
    options = check_options(options, WATCH_OPTIONS, "k.watch")
    local kind = kinds.must(options.kind or "pods")
    local parts = { "watch=1" }
    if not options.all then parts[2] = "resourceVersion=" .. string.format("%.0f", k.revision()) end
    if options.label then parts[#parts + 1] = "labelSelector=" .. host.escape(text_selector(options.label)) end
    if options.name then parts[#parts + 1] = "fieldSelector=metadata.name%3D" .. host.escape(options.name) end
    local watch = host.watch(kinds.path(kind, options.ns or options.namespace) .. "?" .. table.concat(parts, "&"))
    local until_time, seen = options.seconds and host.now() + options.seconds, 0
    while not (options.count and seen >= options.count) do
        local left = until_time and until_time - host.now()
        if left and left <= 0 then break end
        local event = host.next(watch, left)
        if event == nil then break end
        if event and event.type == "ERROR" then host.fail(event.object.message or "the watch has failed") end
        if event and event.type ~= "BOOKMARK" then
            seen = seen + 1
            if options.each then
                if options.each(event.type, event.object) == false then break end
            else
                tell(event)
            end
        end
    end
    host.stop(watch)
    return seen
end

setmetatable(k, { __index = function(_, name) return accessor_of(name, accessor, made_accessors) end, __metatable = "k" })
-- k itself is never handed out: users get a view of it that they cannot change
local function field_of_k(_, name)
    local value = k[name]
    if value == nil then
        host.fail("k has no \"" .. tostring(name) .. "\" and the server no such kind; help() and k.kinds() list what there is")
    end
    return value
end
exports.k = setmetatable({}, { __index = field_of_k, __newindex = function() host.fail("k cannot be changed") end, __metatable = "k" })
accessors[exports.k] = { summary = "k: the cluster; help() tells what it offers" }
