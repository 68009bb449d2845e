-- What an Ingress claims, who serves it, and what is left of its claims after those of older ones. Pure functions.
local routes = {}

routes.INGRESSES, routes.ROUTES = "ingresses.networking.k8s.io", "ingressroutes.minik8s.io"
routes.CLASSES = "ingressclasses.networking.k8s.io"
routes.CONTROLLER = "minik8s.io/ingress"
routes.ADDRESS = "kube-system/ingress" -- the Service whose virtual address leads to the proxies
routes.REWRITE, routes.REDIRECT = "minik8s.io/rewrite-target", "minik8s.io/ssl-redirect"

local CLASS_ANNOTATION = "kubernetes.io/ingress.class"
local DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
local TYPES = { Exact = "Exact", Prefix = "Prefix", ImplementationSpecific = "Regex" }

routes.DOMAIN = "cluster.local"
routes.HOST = "spec.rules[*].host" -- Ingresses are found by it

--- Columns of Ingresses that the functions here need.
routes.columns = {
    "spec.rules", "spec.defaultBackend", "spec.ingressClassName", "spec.tls", "metadata.annotations",
    "metadata.creationTimestamp",
}

--- True if the nodes' proxies serve that Ingress (an item); else false and, if it is a mistake, why.
function routes.served(world, item)
    local name = item["spec.ingressClassName"] or (item["metadata.annotations"] or {})[CLASS_ANNOTATION]
    if name then
        local class = world:item(routes.CLASSES, name)
        if class then return class["spec.controller"] == routes.CONTROLLER end
        if name == "minik8s" then return true end
        return false, ("there is no IngressClass \"%s\""):format(name)
    end
    for class in world:list(routes.CLASSES) do
        local default = (class["metadata.annotations"] or {})[DEFAULT_ANNOTATION] == "true"
        if default then return class["spec.controller"] == routes.CONTROLLER end
    end
    return true
end

--- Claims in the order in which they are written: { host=, type=, path=, backend=, id= }.
function routes.claims(item)
    local claims = {}
    local function add(host, type, path, backend)
        if type == "Prefix" and #path > 1 then path = path:gsub("/+$", "") end
        claims[#claims + 1] = { host = host, type = type, path = path, backend = backend, id = type .. " " .. host .. path }
    end
    for _, rule in ipairs(item["spec.rules"] or {}) do
        local host = rule.host or "" -- lower case: the server accepts no other
        for _, path in ipairs((rule.http or {}).paths or {}) do
            local text = path.path or ""
            add(host, TYPES[path.pathType] or "Prefix", text == "" and "/" or text, path.backend or {})
        end
        if not rule.http and item["spec.defaultBackend"] then add(host, "Prefix", "/", item["spec.defaultBackend"]) end
    end
    if item["spec.defaultBackend"] then add("", "Default", "/", item["spec.defaultBackend"]) end
    return claims
end

--- Hosts that would take names away from Services.
function routes.reserved(host)
    return ("." .. host):sub(-#routes.DOMAIN - 1) == "." .. routes.DOMAIN
end

--- Older first, then by key.
function routes.before(a, b)
    local x, y = a["metadata.creationTimestamp"] or "", b["metadata.creationTimestamp"] or ""
    if x ~= y then return x < y end
    return a.key < b.key
end

--- Hosts of its rules as a set; "" for rules without one and for a default backend.
function routes.hosts(item)
    local hosts = {}
    for _, claim in ipairs(routes.claims(item)) do hosts[claim.host] = true end
    return hosts
end

local function shares(a, b)
    for host in pairs(a) do if b[host] then return true end end
    return false
end

--- The other Ingresses that have one of these hosts. Those without a host are found by looking at all: they are few.
local function each_sharing(world, hosts, own, visit)
    local seen = { [own] = true }
    local function look(other)
        if not seen[other.key] then
            seen[other.key] = true
            visit(other)
        end
    end
    for host in pairs(hosts) do
        if host == "" then
            for other in world:list(routes.INGRESSES) do
                if not seen[other.key] and shares(hosts, routes.hosts(other)) then look(other) end
            end
        else
            for other in world:list(routes.INGRESSES, { index = routes.HOST, value = host }) do look(other) end
        end
    end
end

--- id → the Ingress that has it, for all older Ingresses that share a host.
function routes.taken(world, item)
    local taken = {}
    each_sharing(world, routes.hosts(item), item.key, function(other)
        if other.deleting or not routes.before(other, item) or not routes.served(world, other) then return end
        for _, claim in ipairs(routes.claims(other)) do
            local holder = taken[claim.id]
            if not holder or routes.before(other, holder) then taken[claim.id] = other end
        end
    end)
    return taken
end

--- Keys of the Ingresses that share a host with one of these items (each may be nil), themselves included.
function routes.related(world, item, previous)
    local hosts, keys = {}, { (item or previous).key }
    for _, one in pairs({ item or false, previous or false }) do
        if one then for host in pairs(routes.hosts(one)) do hosts[host] = true end end
    end
    each_sharing(world, hosts, keys[1], function(other) keys[#keys + 1] = other.key end)
    return keys
end

--- Names of the Services that it refers to, as a set.
function routes.services(item)
    local names = {}
    for _, claim in ipairs(routes.claims(item)) do
        local service = claim.backend.service
        if service then names[service.name] = true end
    end
    return names
end

--- The Service's port that a backend means, or nil. An ExternalName Service need not list its ports.
local function port_of(service, port)
    for _, candidate in ipairs(service["spec.ports"] or {}) do
        if (port.name and candidate.name == port.name) or (not port.name and candidate.port == port.number) then return candidate end
    end
    if service["spec.type"] == "ExternalName" and port.number then return { port = port.number } end
    return nil
end

--- Where pods of a headless Service listen: a number, or what its slices say of the port's name.
local function pod_port(world, service, port)
    local target = port.targetPort or port.port
    if type(target) == "number" then return target end
    local selector = { ["kubernetes.io/service-name"] = service.name }
    for slice in world:list("endpointslices.discovery.k8s.io", { namespace = service.namespace, selector = selector }) do
        for _, candidate in ipairs(slice.ports or {}) do
            if (candidate.name or "") == (port.name or "") then return candidate.port end
        end
    end
    return nil
end

--- "NAMESPACE/NAME:PORT", address and port of a backend; the address is nil if there is none, then also why. A Service without a
--- virtual address is a name, which the proxies ask their node's name servers for.
function routes.backend(world, namespace, backend)
    local wanted = backend.service or { name = "", port = {} }
    local port = wanted.port or {}
    local label = ("%s/%s:%s"):format(namespace, wanted.name, port.name or port.number or "")
    local service = world:item("services", namespace .. "/" .. wanted.name)
    if not service then return label, nil, nil, ("Service \"%s\" does not exist"):format(wanted.name) end
    local found = port_of(service, port)
    if not found then
        return label, nil, nil, ("Service \"%s\" has no port %s"):format(wanted.name, port.name or port.number or "")
    end
    if service["spec.type"] == "ExternalName" then return label, service["spec.externalName"], found.port end
    if service["spec.clusterIP"] ~= "None" then return label, service["spec.clusterIP"], found.port end
    local number = pod_port(world, service, found)
    if not number then
        return label, nil, nil, ("no pod of Service \"%s\" has the port \"%s\""):format(wanted.name, tostring(found.targetPort))
    end
    return label, ("%s.%s.svc.%s"):format(wanted.name, namespace, routes.DOMAIN), number
end

return routes
