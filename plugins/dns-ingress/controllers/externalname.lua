-- ExternalName Services that stand for each other in a circle: said on each of them. The name servers answer them with an error.
local plans = require("framework.plan")
local routes = require("dns-ingress.routes")

local LINKS = 8 -- as far as the name servers follow

--- Key of the Service that an ExternalName Service stands for, or nil.
local function target_of(service)
    if not service or service["spec.type"] ~= "ExternalName" then return nil end
    local inside = "^([^.]+)%.([^.]+)%.svc%." .. routes.DOMAIN:gsub("%.", "%%.") .. "%.?$"
    local name, namespace = (service["spec.externalName"] or ""):match(inside)
    return name and namespace .. "/" .. name
end

--- The keys of the circle that it is in, or nil.
local function circle_of(world, service)
    local keys, key = { service.key }, target_of(service)
    for _ = 1, LINKS do
        if not key then return nil end
        keys[#keys + 1] = key
        if key == service.key then return keys end
        key = target_of(world:item("services", key))
    end
    return nil
end

return {
    name = "externalname",
    watches = {
        { resource = "services", on = { "spec.type", "spec.externalName" }, map = function(world, item)
              if not target_of(item) then return {} end
              return circle_of(world, item) or { item.key } -- the others of the circle are told, too
          end },
    },
    project = { services = { "spec.type", "spec.externalName" } },
    reconcile = function(world, key)
        local service, plan = world:item("services", key), plans.new()
        local circle = service and not service.deleting and circle_of(world, service)
        if circle then
            plan:event(service, "Warning", "ExternalNameCircle",
                ("it stands for itself: %s; its name is answered with an error"):format(table.concat(circle, " → ")))
        end
        return plan
    end,
}
