-- The kinds that the server knows, found by any of their names, and the paths of their objects.

kinds = { names = nil, list = nil }

local function add(name, kind)
    name = string.lower(name)
    if not kinds.names[name] then kinds.names[name] = kind end
end

--- The answer, or raises what the server says, at the user's line.
function ask(method, target, content_type, body)
    local answer, status = host.request(method, target, content_type, body)
    if answer ~= nil then return answer end
    return host.fail(status and status.message or "the server did not answer")
end

local function read_group(path, group, version)
    for _, resource in ipairs(ask("GET", path).resources or {}) do
        if not string.find(resource.name, "/", 1, true) then
            local kind = { plural = resource.name, kind = resource.kind, group = group, version = version,
                namespaced = resource.namespaced, path = path,
                resource = group == "" and resource.name or resource.name .. "." .. group,
                singular = resource.singularName or string.lower(resource.kind), short = resource.shortNames or {} }
            kinds.list[#kinds.list + 1] = kind
        end
    end
end

local function load_kinds()
    kinds.names, kinds.list = {}, {}
    read_group("/api/v1", "", "v1")
    for _, group in ipairs(ask("GET", "/apis").groups or {}) do
        local preferred = group.preferredVersion
        read_group("/apis/" .. preferred.groupVersion, group.name, preferred.version)
    end
    for _, kind in ipairs(kinds.list) do add(kind.resource, kind) end
    for _, kind in ipairs(kinds.list) do
        add(kind.plural, kind)
        add(kind.kind, kind)
        add(kind.singular, kind)
        for _, short in ipairs(kind.short) do add(short, kind) end
    end
end

--- By plural, singular, kind, short name or "plural.group"; nil if there is none.
function kinds.find(name)
    if type(name) ~= "string" then return nil end
    if not kinds.names then load_kinds() end
    local found = kinds.names[string.lower(name)]
    if not found and not kinds.again then -- a kind that has been added since
        kinds.again = true
        load_kinds()
        found = kinds.names[string.lower(name)]
    end
    return found
end

function kinds.all()
    if not kinds.list then load_kinds() end
    return kinds.list
end

function kinds.must(name)
    return kinds.find(name) or host.fail("there is no kind \"" .. tostring(name) .. "\"; k.kinds() lists them")
end

function kinds.path(kind, namespace, name, subresource)
    local path = kind.path
    if kind.namespaced and namespace then path = path .. "/namespaces/" .. host.escape(namespace) end
    path = path .. "/" .. kind.plural
    if name then path = path .. "/" .. host.escape(name) end
    if subresource then path = path .. "/" .. subresource end
    return path
end

--- "pod/web", "pod/ns/web", an object, or a table { kind=, ns=, name= } → kind, namespace, name.
function kinds.reference(value, options)
    local _, _, default = host.mode()
    local inner = host.table(value)
    if type(inner) == "string" then
        local word, rest = string.match(inner, "^([^/]+)/(.+)$")
        if not word then host.fail("\"" .. inner .. "\" does not name an object: KIND/NAME or KIND/NAMESPACE/NAME is wanted") end
        local kind = kinds.must(word)
        local namespace, name = string.match(rest, "^([^/]+)/([^/]+)$")
        if not namespace then namespace, name = options and (options.ns or options.namespace) or default, rest end
        return kind, kind.namespaced and namespace or nil, name
    end
    if type(inner) ~= "table" or not (inner.kind or inner[1]) then
        host.fail("an object, or text like \"pod/web\", is wanted")
    end
    local kind = kinds.must(inner.kind or inner[1])
    local meta = type(inner.metadata) == "table" and inner.metadata or {}
    local name = meta.name or inner.name
    if not name then host.fail("the object has no metadata.name") end
    return kind, kind.namespaced and (meta.namespace or inner.ns or inner.namespace or default) or nil, name
end
