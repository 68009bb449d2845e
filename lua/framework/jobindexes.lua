-- Indexes of a Job's pods, and how often each has failed (backoffLimitPerIndex). The count stands on the pods: a new one has that of
-- the pod that it replaces, and one more. So a pod that has failed keeps its finalizer until it is replaced or its index has failed.
local indexes = require("framework.indexes")
local jobindexes = {}

local INDEX = "batch.kubernetes.io/job-completion-index"
local FAILURES, IGNORED = "batch.kubernetes.io/job-index-failure-count", "batch.kubernetes.io/job-index-ignored-failure-count"

local function number_of(pod, annotation)
    return tonumber((pod["metadata.annotations"] or {})[annotation])
end

function jobindexes.of(pod)
    return number_of(pod, INDEX)
end

--- Failures of its index before this pod: those that count, and those that podFailurePolicy ignores.
local function failures_before(pod)
    return number_of(pod, FAILURES) or 0, number_of(pod, IGNORED) or 0
end

--- All failures of an index whose last pod this is.
function jobindexes.failures(pod)
    local counted, ignored = failures_before(pod)
    return counted + ignored + 1
end

local function taken_by(lists)
    local taken = {}
    for _, list in ipairs(lists) do
        for _, pod in ipairs(list) do taken[jobindexes.of(pod) or -1] = true end
    end
    return taken
end

--- The indexes that have failed, how many they are, and the pods that have failed and are to be replaced, by index.
--- `failed`: pods that have failed and carry the finalizer yet; action_of(pod): what their failure means.
function jobindexes.failed(state, failed, action_of)
    local spec = state.job.spec
    local set, size = indexes.parse(state.status.failedIndexes, spec.completions)
    local taken, last = taken_by({ state.active, state.ending }), {}
    for _, pod in ipairs(failed) do
        local index, action = jobindexes.of(pod), action_of(pod)
        if index and index < spec.completions and not set[index] and not state.completed[index] then
            if action == "FailIndex" or (action ~= "Ignore" and failures_before(pod) >= spec.backoffLimitPerIndex) then
                set[index], size = true, size + 1
            elseif not taken[index] and (not last[index] or jobindexes.failures(last[index]) < jobindexes.failures(pod)) then
                last[index] = pod
            end
        end
    end
    for index in pairs(set) do last[index] = nil end
    return set, size, last
end

--- What a new pod says of the failures of its index. `last`: the pod that it replaces, or nil.
function jobindexes.note(annotations, last, action)
    local counted, ignored = 0, 0
    if last then
        counted, ignored = failures_before(last)
        if action == "Ignore" then ignored = ignored + 1 else counted = counted + 1 end
    end
    annotations[FAILURES] = tostring(counted)
    if ignored > 0 then annotations[IGNORED] = tostring(ignored) end
end

return jobindexes
