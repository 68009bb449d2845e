-- Sets of whole numbers as text, "0,2-4": the indexes of a Job.
local indexes = {}

--- "0,2-4" → { [0] = true, [2] = true, … }, size. What is no such text is an empty set. `limit`: only what is below it.
function indexes.parse(text, limit)
    local set, size = {}, 0
    for part in (text or ""):gmatch("[^,]+") do
        local from, to = part:match("^(%d+)%-(%d+)$")
        if part:match("^%d+$") then from, to = part, part end
        from, to = tonumber(from or ""), tonumber(to or "")
        for i = from or 1, math.min(to or 0, (limit or math.huge) - 1) do
            if not set[i] then set[i], size = true, size + 1 end
        end
    end
    return set, size
end

--- The other way round, in ascending order; ranges from two on are joined.
function indexes.print(set)
    local sorted, parts = {}, {}
    for i in pairs(set) do sorted[#sorted + 1] = i end
    table.sort(sorted)
    local at = 1
    while at <= #sorted do
        local to = at
        while sorted[to + 1] == sorted[to] + 1 do to = to + 1 end
        parts[#parts + 1] = to > at and (sorted[at] .. "-" .. sorted[to]) or tostring(sorted[at])
        at = to + 1
    end
    return table.concat(parts, ",")
end

return indexes
