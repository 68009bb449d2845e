-- DNS: makes the Ingress that it is short for, of the same name, and says in its status what became of it.
local m8 = require("m8")
local plans = require("framework.plan")
local workload = require("framework.workload")
local routes = require("dns-ingress.routes")

local DNS = "dns.minik8s.io"

local function wanted(dns)
    local paths, spec = {}, dns.spec
    for i, path in ipairs(spec.paths) do
        paths[i] = { path = path.path or "/", pathType = "Prefix",
            backend = { service = { name = path.service, port = { number = path.port } } } }
    end
    return {
        rules = m8.array({ { host = spec.host, http = { paths = m8.array(paths) } } }),
        tls = spec.secretName and m8.array({ { hosts = m8.array({ spec.host }), secretName = spec.secretName } }) or nil,
    }, spec.rewrite and { [routes.REWRITE] = spec.rewrite } or nil
end

local function keep_ingress(plan, dns, present)
    local spec, annotations = wanted(dns)
    if not present then
        plan:create(routes.INGRESSES, {
            apiVersion = "networking.k8s.io/v1", kind = "Ingress", spec = spec,
            metadata = { namespace = dns.metadata.namespace, name = dns.metadata.name, annotations = annotations,
                ownerReferences = { workload.controller_reference(dns) } },
        }, "a DNS object is short for it")
        return
    end
    local old = (present.metadata.annotations or {})[routes.REWRITE]
    if m8.equal(present.spec.rules, spec.rules) and m8.equal(present.spec.tls, spec.tls) and old == dns.spec.rewrite then return end
    present.spec.rules, present.spec.tls = spec.rules, spec.tls
    present.metadata.annotations = present.metadata.annotations or {}
    present.metadata.annotations[routes.REWRITE] = dns.spec.rewrite
    plan:update(routes.INGRESSES, present, "the DNS object changed")
end

local function ready(present, mine, route)
    local function no(reason, message) return { type = "Ready", status = "False", reason = reason, message = message } end
    if present and not mine then return no("NameTaken", "an Ingress of this name exists already and is not of this object") end
    if not route then return no("Pending", "it is not served yet") end
    local problem = (route.spec.problems or {})[1]
    if problem then return no(problem.reason, problem.message) end
    return { type = "Ready", status = "True", reason = "Served", message = "every path leads to its Service" }
end

local function keep_status(world, plan, dns, present, mine)
    local old = dns.status or {}
    local route = mine and world:get(routes.ROUTES, dns.metadata.namespace .. "/" .. dns.metadata.name) or nil
    local condition = ready(present, mine, route)
    local balancer = mine and present.status and present.status.loadBalancer or {}
    local before = workload.condition(old.conditions, "Ready")
    local conditions = workload.with_condition(old.conditions, condition, world:time_text())
    if m8.equal(old.loadBalancer or {}, balancer) and m8.equal(old.conditions or {}, conditions) then return end
    if condition.reason == "NameTaken" and (not before or before.reason ~= "NameTaken") then
        plan:event(dns, "Warning", condition.reason, condition.message)
    end
    plan:status(DNS, dns.metadata.namespace .. "/" .. dns.metadata.name,
        { loadBalancer = { ingress = balancer.ingress or m8.null }, conditions = m8.array(conditions) }, { uid = dns.metadata.uid })
end

return {
    name = "dns",
    watches = {
        { resource = DNS, key = "self" },
        { resource = routes.INGRESSES, key = "self" }, -- also one that was there first
        { resource = routes.ROUTES, key = "self" },
    },
    project = { [routes.INGRESSES] = routes.columns },
    reconcile = function(world, key)
        local dns, plan = world:get(DNS, key), plans.new()
        if not dns or dns.metadata.deletionTimestamp then return nil end
        local present = world:get(routes.INGRESSES, key)
        local item = world:item(routes.INGRESSES, key)
        local mine = present ~= nil and item.owner_uid == dns.metadata.uid
        if not present or mine then keep_ingress(plan, dns, present) end
        keep_status(world, plan, dns, present, mine)
        return plan
    end,
}
