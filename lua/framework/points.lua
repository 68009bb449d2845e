-- Decision points: what a policy can be asked, in which shape, and which shipped policy decides when all else fails.
-- `about`: kind of the object that a decision is about (ctx.object, or ctx.namespace and ctx.name); may be left out.
-- `check(result, ctx)` returns what is wrong with a result, or nil. The profile policies/default.lua says which are active.

local function count(value)
    return type(value) == "number" and value >= 0 and value == math.floor(value) and value < 1e9
end

local MODES = { random = true, ["round-robin"] = true, ["source-hash"] = true }

return {
    -- ctx.pod: what is to be placed, ctx.peers: pods of the same owner on the candidate; candidate: a node
    ["scheduler.filter"] = { shape = "filter", about = "Pod", default = "resources" },
    ["scheduler.score"] = { shape = "score", about = "Pod", default = "spread" },
    -- ctx: settings, seed; candidate: a pod that waits { key, priority, created (s), spec = ctx.pod of the filters }; result: a number,
    -- larger is earlier; asked once per pod, so it must not depend on anything else
    ["scheduler.first"] = { shape = "order", about = "Pod", default = "priority" },
    -- the same about what lies around a node; candidate: the counts of pods in the node's topology domains
    ["scheduler.filter.near"] = { shape = "filter", about = "Pod", default = "affinity" },
    ["scheduler.score.near"] = { shape = "score", about = "Pod", default = "neighbours" },

    -- ctx.pod: key, priority; ctx.candidates: array of { node, victims = array of { key, priority, created }, violations = disruption
    -- budgets that would be broken }; result: { node = one of them }, or nil: nobody has to go
    ["scheduler.preempt"] = {
        shape = "first",
        about = "Pod",
        default = "least-harm",
        check = function(result, ctx)
            for _, candidate in ipairs(ctx.candidates or {}) do
                if type(result) == "table" and candidate.node == result.node then return nil end
            end
            return "node must be one of the candidates"
        end,
    },

    -- ctx: desired, max_surge, max_unavailable, strategy, new { replicas, available }, old = array of { name, replicas,
    -- available }; new.requests and new.errors (thousandths a second) if its pods tell them; result: { new = replicas of the new
    -- ReplicaSet, old = { [name] = replicas; left out: as it is }, after = seconds until it wants to be asked again, or nil }
    ["rollout"] = {
        shape = "one",
        about = "Deployment",
        default = "rolling",
        check = function(result, ctx)
            if not count(result.new) then return "new must be a whole number that is not negative" end
            if result.new > ctx.desired then return "new must not be above desired" end
            if result.after ~= nil and not (type(result.after) == "number" and result.after >= 0 and result.after < 1e9) then
                return "after must be a number of seconds"
            end
            for _, set in ipairs(ctx.old or {}) do
                local replicas = (result.old or {})[set.name]
                if replicas ~= nil and not count(replicas) then return "old." .. set.name .. " must be a whole number" end
                if replicas and replicas > set.replicas then return "old." .. set.name .. " must not grow" end
            end
            return nil
        end,
    },

    -- asked by the agents. ctx: object, namespace, name, container, labels, restart_policy, crashes (ends in a row before this one), ran
    -- (s), exit_code, out_of_memory; result: { wait = seconds, reset = true: ends are counted from here }
    ["restart.backoff"] = {
        shape = "one",
        about = "Pod",
        default = "doubling",
        check = function(result)
            if type(result.wait) ~= "number" or not (result.wait >= 0 and result.wait <= 3600) then
                return "wait must be a number of seconds from 0 to 3600"
            end
            return result.reset ~= nil and type(result.reset) ~= "boolean" and "reset must be true or false" or nil
        end,
    },

    -- ctx: node, resource, candidates = array of { name = "namespace/pod", priority, used, requested, created, protected };
    -- result: { name = one of them }, or nil: nobody goes
    ["evict.choose"] = {
        shape = "first",
        about = "Node",
        default = "least-important",
        check = function(result, ctx)
            for _, pod in ipairs(ctx.candidates or {}) do
                if type(result) == "table" and pod.name == result.name then return nil end
            end
            return "name must be one of the candidates"
        end,
    },

    -- ctx: step { name, succeeded, exit_code, outputs }, branches = array of { name, when }; result: { next = names of branches }
    ["workflow.branch"] = {
        shape = "one",
        default = "conditions",
        check = function(result, ctx)
            local known = {}
            for _, branch in ipairs(ctx.branches or {}) do known[branch.name] = true end
            if type(result.next) ~= "table" then return "next must be an array of names" end
            for _, name in pairs(result.next) do
                if not known[name] then return "next: there is no branch " .. tostring(name) end
            end
            return nil
        end,
    },
    -- ctx: step { name, attempt, exit_code }, limit; result: { retry = true or false, after = seconds }
    ["workflow.retry"] = {
        shape = "one",
        default = "limited",
        check = function(result)
            if type(result.retry) ~= "boolean" then return "retry must be true or false" end
            local after = result.after or 0
            return not (type(after) == "number" and after >= 0 and after < 1e9) and "after must be a number of seconds" or nil
        end,
    },
    -- ctx: current, min, max, in_flight, queued, idle, concurrency, idle_after; result: { replicas =, after = seconds }
    ["function.scale"] = {
        shape = "one",
        default = "concurrency",
        check = function(result, ctx)
            if not count(result.replicas) then return "replicas must be a whole number that is not negative" end
            if result.replicas > ctx.max and result.replicas > ctx.current then return "replicas must not be above max" end
            local after = result.after or 0
            return not (type(after) == "number" and after >= 0 and after < 1e9) and "after must be a number of seconds" or nil
        end,
    },

    -- asked by the agents. ctx: object, node = the asking one's name, service { namespace, name, labels, annotations }, endpoints =
    -- array of { name, address, node, labels };
    -- result: { mode = "random" | "round-robin" | "source-hash", weights = { [pod name] = 1…100 } or nil }
    ["balance"] = {
        shape = "one",
        about = "Service",
        default = "random",
        check = function(result)
            if not MODES[result.mode] then return "mode must be random, round-robin or source-hash" end
            if result.weights ~= nil and type(result.weights) ~= "table" then return "weights must be a table" end
            for name, weight in pairs(result.weights or {}) do
                if not count(weight) or weight < 1 or weight > 100 then
                    return "weights." .. tostring(name) .. " must be a whole number from 1 to 100"
                end
            end
            return nil
        end,
    },

    -- ctx: name, kind, target_type, target, current, now, pods = array of { name, value, request, pending, ready, ready_since,
    -- started, at, window } (amounts in milli-units), value = of an Object, missing = names of nodes
    -- that tell nothing of it; result: { ratio = load / target, ratio_shown, pods,
    -- value }, or with error = why nothing can be said
    ["autoscale.metric"] = {
        shape = "one",
        about = "HorizontalPodAutoscaler",
        default = "pods",
        check = function(result)
            if result.error ~= nil and type(result.error) ~= "string" then return "error must be a text" end
            if type(result.ratio) ~= "number" or not (result.ratio >= 0 and result.ratio < 1e9) then
                return "ratio must be a number that is not negative"
            end
            if type(result.ratio_shown) ~= "number" then return "ratio_shown must be a number" end
            return not count(result.pods) and "pods must be a whole number" or nil
        end,
    },

    -- ctx: current, min, max, metrics = array of { name, kind, ratio, pods, value, target, target_type }, failed = how many metrics
    -- cannot be read, history = array of { at (ms), load (percent of the target), wanted }, changes = array of { at, from, to }, now;
    -- result: { replicas = } before any limit
    ["autoscale.decide"] = {
        shape = "one",
        about = "HorizontalPodAutoscaler",
        default = "target-utilization",
        check = function(result) return not count(result.replicas) and "replicas must be a whole number that is not negative" or nil end,
    },

    -- ctx: current, wanted, min, max, up and down = { window, select, policies = array of { type, value, period } }, history, changes,
    -- now; result: { replicas =, limit = reason of ScalingLimited, message =, stabilized = why it waits }
    ["autoscale.limit"] = {
        shape = "one",
        about = "HorizontalPodAutoscaler",
        default = "limits",
        check = function(result, ctx)
            if not count(result.replicas) then return "replicas must be a whole number that is not negative" end
            if result.replicas > ctx.max and result.replicas >= ctx.current then return "replicas must not be above max" end
            if result.replicas < ctx.min and result.replicas <= ctx.current then return "replicas must not be below min" end
            return nil
        end,
    },
}
