-- Fit: which nodes a pod's own wishes allow: name, nodeSelector, required node affinity, taints. For controllers that
-- count nodes; the scheduler's answer is that of its policies.
local fit = {}
local holds = {}

function holds.In(value, wanted)
    for _, one in ipairs(wanted) do
        if one == value then return true end
    end
    return false
end

function holds.NotIn(value, wanted) return not holds.In(value, wanted) end
function holds.Exists(value) return value ~= nil end
function holds.DoesNotExist(value) return value == nil end

function holds.Gt(value, wanted)
    local have, least = tonumber(value), tonumber(wanted[1])
    return have ~= nil and least ~= nil and have > least
end

function holds.Lt(value, wanted)
    local have, most = tonumber(value), tonumber(wanted[1])
    return have ~= nil and most ~= nil and have < most
end

local function all_hold(expressions, value_of)
    for _, expression in ipairs(expressions or {}) do
        local test = holds[expression.operator]
        if not test or not test(value_of(expression.key), expression.values or {}) then return false end
    end
    return true
end

--- True when nodeName, nodeSelector and required node affinity of a pod spec allow a node (item with metadata.labels).
function fit.selects(spec, node)
    local labels = node["metadata.labels"] or {}
    if spec.nodeName and spec.nodeName ~= node.name then return false end
    for key, value in pairs(spec.nodeSelector or {}) do
        if labels[key] ~= value then return false end
    end
    local required = ((spec.affinity or {}).nodeAffinity or {}).requiredDuringSchedulingIgnoredDuringExecution
    if not required then return true end
    for _, term in ipairs(required.nodeSelectorTerms or {}) do
        if (term.matchExpressions or term.matchFields)
            and all_hold(term.matchExpressions, function(key) return labels[key] end)
            and all_hold(term.matchFields, function(key) return key == "metadata.name" and node.name or nil end) then
            return true
        end
    end
    return false
end

local function tolerates(toleration, taint)
    if (toleration.effect or "") ~= "" and toleration.effect ~= taint.effect then return false end
    if (toleration.key or "") ~= "" and toleration.key ~= taint.key then return false end
    if toleration.operator == "Exists" then return true end
    return (toleration.key or "") ~= "" and (toleration.value or "") == (taint.value or "")
end

--- The first taint with one of the effects ({ NoExecute = true }) that the tolerations do not cover, or nil.
function fit.untolerated(tolerations, taints, effects)
    for _, taint in ipairs(taints or {}) do
        if effects[taint.effect] then
            local covered = false
            for _, toleration in ipairs(tolerations or {}) do covered = covered or tolerates(toleration, taint) end
            if not covered then return taint end
        end
    end
    return nil
end

return fit
