-- Generic ephemeral volumes: the claim POD-VOLUME for each, owned by the pod, so that it goes with it.
local plans = require("framework.plan")
local volumes = require("framework.volumes")
local workload = require("framework.workload")

local function claim_of(pod, volume, name)
    local template = volume.ephemeral.volumeClaimTemplate
    local metadata = template.metadata or {}
    return {
        apiVersion = "v1", kind = "PersistentVolumeClaim",
        metadata = {
            name = name, namespace = pod.metadata.namespace, labels = metadata.labels, annotations = metadata.annotations,
            ownerReferences = { workload.controller_reference(pod) },
        },
        spec = template.spec,
    }
end

return {
    name = "ephemeralvolume",
    watches = {
        { resource = "pods", on = { "spec.volumes" }, map = function(_, item)
              for _, volume in ipairs(item and item["spec.volumes"] or {}) do
                  if volume.ephemeral then return { item.key } end
              end
              return {}
          end },
        { resource = volumes.CLAIMS, key = "owner", owner = "pods" },
    },
    project = volumes.columns,
    reconcile = function(world, key)
        local pod, plan = world:get("pods", key), plans.new()
        if not pod or pod.metadata.deletionTimestamp then return nil end
        for _, volume in ipairs(pod.spec.volumes or {}) do
            local name = pod.metadata.name .. "-" .. volume.name
            local present = volume.ephemeral and world:item(volumes.CLAIMS, pod.metadata.namespace .. "/" .. name)
            if volume.ephemeral and not present then
                plan:create(volumes.CLAIMS, claim_of(pod, volume, name), "the pod has this ephemeral volume")
            elseif present and present.owner_uid ~= pod.metadata.uid and world:seen("ephemeral/" .. pod.metadata.uid, name) == 0 then
                plan:event(pod, "Warning", "FailedBinding",
                    ('PVC "%s" was not created for pod "%s" (pod is not owner)'):format(pod.metadata.namespace .. "/" .. name, key))
            end
        end
        return plan
    end,
}
