-- Ingress: turns each into one IngressRoute, which the proxies of all nodes follow. Of two that claim the same host and path the
-- older one has it; the other is told so. A backend that does not exist is a route to nowhere (503), and is said.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")
local routes = require("dns-ingress.routes")

local INGRESSES, ROUTES, ADDRESS = routes.INGRESSES, routes.ROUTES, routes.ADDRESS
local NODES_SHOWN = 16

local function virtual_address(world)
    local service = world:item("services", ADDRESS)
    local address = service and service["spec.clusterIP"]
    return address and address ~= "" and address ~= "None" and address or nil
end

local function item_of(world, key)
    local item = world:item(INGRESSES, key)
    return item and not item.deleting and item or nil
end

--- The routes that are left to it, and what is to be told: { reason, message }.
local function wanted_routes(world, item)
    local list, problems = {}, {}
    local taken, annotations = routes.taken(world, item), item["metadata.annotations"] or {}
    for _, claim in ipairs(routes.claims(item)) do
        local holder = taken[claim.id]
        if routes.reserved(claim.host) then
            problems[#problems + 1] = { "HostReserved",
                ("%s lies in the cluster's own domain, whose names are those of Services: it is not served"):format(claim.host) }
        elseif holder then
            problems[#problems + 1] = { "RouteConflict", ("%s %s%s is served by the older Ingress %s"):format(
                claim.type, claim.host == "" and "*" or claim.host, claim.path, holder.key) }
        else
            taken[claim.id] = item
            local label, address, port, why = routes.backend(world, item.namespace, claim.backend)
            if why then problems[#problems + 1] = { "BackendNotFound", why .. ": requests are answered with 503" } end
            local rewrite = annotations[routes.REWRITE]
            list[#list + 1] = {
                host = claim.host, type = claim.type, path = claim.path, service = label, address = address, port = port,
                target = (claim.type == "Prefix" or claim.type == "Exact") and rewrite or nil,
                redirect = annotations[routes.REDIRECT] == "true" or nil,
            }
        end
    end
    return list, problems
end

--- Hosts that have at least one route, sorted.
local function named_hosts(list)
    local seen, hosts = {}, {}
    for _, route in ipairs(list) do
        if route.host ~= "" and not seen[route.host] then
            seen[route.host] = true
            hosts[#hosts + 1] = route.host
        end
    end
    table.sort(hosts)
    return hosts
end

local function certificates(world, item, hosts, problems)
    local list = {}
    for _, tls in ipairs(item["spec.tls"] or {}) do
        local secret = tls.secretName and world:item("secrets", item.namespace .. "/" .. tls.secretName)
        if tls.secretName and not secret then
            problems[#problems + 1] = { "CertificateNotFound", ("Secret \"%s\" does not exist: the default certificate is shown")
                :format(tls.secretName) }
        end
        if secret then
            list[#list + 1] = {
                secret = tls.secretName, revision = tostring(secret.revision),
                hosts = m8.array(tls.hosts and #tls.hosts > 0 and m8.copy(tls.hosts) or hosts),
            }
        end
    end
    return list
end

--- Each problem once.
local function distinct(problems)
    local seen, list = {}, {}
    for _, problem in ipairs(problems) do
        if not seen[problem[2]] then list[#list + 1] = { reason = problem[1], message = problem[2] } end
        seen[problem[2]] = true
    end
    return list
end

local function keep_route(world, plan, key, item)
    local ingress, present = world:get(INGRESSES, key), world:get(ROUTES, key)
    local list, problems = wanted_routes(world, item)
    local hosts = named_hosts(list)
    local spec = { address = virtual_address(world), hosts = m8.array(hosts), routes = m8.array(list) }
    local tls = certificates(world, item, hosts, problems)
    if #tls > 0 then spec.tls = m8.array(tls) end
    if #problems > 0 then spec.problems = m8.array(distinct(problems)) end
    if present and m8.equal(present.spec, spec) then return end
    for _, problem in ipairs(spec.problems or {}) do plan:event(item, "Warning", problem.reason, problem.message) end
    if present then
        present.spec = spec
        plan:update(ROUTES, present, "the Ingress, or what it refers to, changed")
        return
    end
    plan:create(ROUTES, {
        apiVersion = "minik8s.io/v1", kind = "IngressRoute", spec = spec,
        metadata = { namespace = item.namespace, name = item.name, ownerReferences = { workload.controller_reference(ingress) } },
    }, "an Ingress is to be served")
end

--- Virtual address first, then nodes.
local function wanted_status(world)
    local list, address = {}, virtual_address(world)
    if not address then return list end
    list[1] = { ip = address }
    for node in world:list("nodes") do
        for _, entry in ipairs(node["status.addresses"] or {}) do
            if entry.type == "InternalIP" and #list <= NODES_SHOWN then list[#list + 1] = { ip = entry.address } end
        end
    end
    return list
end

local function keep_status(world, plan, key, list)
    local ingress = world:get(INGRESSES, key)
    local old = ((ingress.status or {}).loadBalancer or {}).ingress or {}
    if m8.equal(old, list) then return end
    plan:status(INGRESSES, key, { loadBalancer = { ingress = #list > 0 and m8.array(list) or m8.null } },
        { uid = ingress.metadata.uid })
end

local function all_keys(world)
    local keys = {}
    for item in world:list(INGRESSES) do keys[#keys + 1] = item.key end
    return keys
end

local function keys_in(namespace, refers)
    return function(world, item, previous)
        local keys, changed = {}, item or previous
        for ingress in world:list(INGRESSES, { namespace = changed.namespace }) do
            if refers(ingress, changed.name) then keys[#keys + 1] = ingress.key end
        end
        return keys
    end
end

local of_service = keys_in(nil, function(ingress, name) return routes.services(ingress)[name] end)
local of_secret = keys_in(nil, function(ingress, name)
    for _, tls in ipairs(ingress["spec.tls"] or {}) do if tls.secretName == name then return true end end
    return false
end)

return {
    name = "ingress",
    watches = {
        { resource = INGRESSES, map = routes.related,
          on = { "spec.rules", "spec.defaultBackend", "spec.ingressClassName", "spec.tls", "metadata.annotations" } },
        { resource = ROUTES, key = "owner", owner = INGRESSES },
        { resource = routes.CLASSES, map = all_keys },
        { resource = "services", on = { "spec.clusterIP", "spec.ports", "spec.type", "spec.externalName" },
          map = function(world, item, previous)
              if (item or previous).key == ADDRESS then return all_keys(world) end
              return of_service(world, item, previous)
          end },
        { resource = "endpointslices.discovery.k8s.io", on = { "ports" }, map = function(world, item, previous)
              local slice = item or previous -- the pods' port of a headless Service may be known now
              local name = (slice["metadata.labels"] or {})["kubernetes.io/service-name"]
              local service = name and world:item("services", slice.namespace .. "/" .. name)
              return service and service["spec.clusterIP"] == "None" and of_service(world, service) or {}
          end },
        { resource = "secrets", map = of_secret },
        { resource = "nodes", on = { "status.addresses" }, map = all_keys },
    },
    project = {
        [INGRESSES] = routes.columns, [routes.CLASSES] = { "spec.controller", "metadata.annotations" },
        services = { "spec.clusterIP", "spec.ports", "spec.type", "spec.externalName" },
        ["endpointslices.discovery.k8s.io"] = { "metadata.labels", "ports" }, nodes = { "status.addresses" },
    },
    index = { [INGRESSES] = { routes.HOST } },
    reconcile = function(world, key)
        local plan, item = plans.new(), item_of(world, key)
        local present = world:item(ROUTES, key)
        local served, why = false, nil
        if item then served, why = routes.served(world, item) end
        if served then
            keep_route(world, plan, key, item)
            keep_status(world, plan, key, wanted_status(world))
            return plan
        end
        if present then plan:delete(ROUTES, key, { uid = present.uid }, "its Ingress is gone or somebody else's") end
        if why and (present or item["spec.ingressClassName"]) then plan:event(item, "Warning", "IngressClassNotFound", why) end
        if item and present then keep_status(world, plan, key, {}) end
        return plan
    end,
}
