-- How values are shown: objects and records in columns, tables indented, or everything as JSON.

local COLUMNS = { -- of the kinds that one looks at most; the others show their age only
    Pod = { { "STATUS", "status.phase" }, { "NODE", "spec.nodeName" }, { "IP", "status.podIP" } },
    Node = { { "READY", function(o) return condition(o, "Ready") end }, { "CPU", "status.allocatable.cpu" },
        { "MEMORY", "status.allocatable.memory" } },
    Deployment = { { "REPLICAS", "spec.replicas" }, { "READY", "status.readyReplicas" } },
    ReplicationController = { { "REPLICAS", "spec.replicas" }, { "READY", "status.readyReplicas" } },
    ReplicaSet = { { "REPLICAS", "spec.replicas" }, { "READY", "status.readyReplicas" } },
    StatefulSet = { { "REPLICAS", "spec.replicas" }, { "READY", "status.readyReplicas" } },
    Service = { { "TYPE", "spec.type" }, { "ADDRESS", "spec.clusterIP" } },
    Job = { { "WANTED", "spec.completions" }, { "DONE", "status.succeeded" } },
    Event = { { "TYPE", "type" }, { "REASON", "reason" }, { "MESSAGE", "message" } },
    Policy = { { "POINT", "spec.point" }, { "STATE", "status.state" } },
    HorizontalPodAutoscaler = { { "MIN", "spec.minReplicas" }, { "MAX", "spec.maxReplicas" },
        { "NOW", "status.currentReplicas" }, { "WANTED", "status.desiredReplicas" } },
}
local MAX_DEPTH, MAX_LINES, MIN_WIDTH = 12, 2000, 12

--- The value at a dotted path, or nil.
function at(value, path)
    for part in string.gmatch(path, "[^.]+") do
        value = host.table(value)
        if type(value) ~= "table" then return nil end
        value = value[part]
    end
    return value
end

--- Status of a condition, or nil.
function condition(object, name)
    for _, one in ipairs(at(object, "status.conditions") or {}) do
        if one.type == name then return one.status end
    end
    return nil
end

--- A copy in which objects of the cluster are tables.
function plain(value, depth)
    depth = depth or 0
    value = host.table(value)
    if type(value) ~= "table" or depth > 60 then return value end
    local copy = {}
    for key, item in pairs(value) do copy[key] = plain(item, depth + 1) end
    return host.is_array(value) and host.array(copy) or copy
end

local function scalar(value)
    if value == nil then return "" end
    if type(value) == "string" then return (string.gsub(value, "[\n\r\t]", " ")) end
    if type(value) == "table" then
        local text = host.json(plain(value))
        return #text > 60 and string.sub(text, 1, 57) .. "..." or text
    end
    if type(value) == "userdata" then return "null" end
    return tostring(value)
end

local function width_of(text)
    local _, continuation = string.gsub(text, "[\128-\191]", "")
    return #text - continuation
end

local function pad(text, width)
    return text .. string.rep(" ", width - width_of(text))
end

local function widths_of(rows)
    local widths = {}
    for _, row in ipairs(rows) do
        for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, width_of(cell)) end
    end
    return widths
end

--- Narrows the widest columns until all fit into the terminal.
local function fit(widths)
    local columns = host.mode()
    local total = -3
    for _, width in ipairs(widths) do total = total + width + 3 end
    while columns > 0 and total > columns do
        local widest, second = 1, MIN_WIDTH
        for i, width in ipairs(widths) do
            if width > widths[widest] then widest = i end
        end
        for i, width in ipairs(widths) do
            if i ~= widest then second = math.max(second, width) end
        end
        local narrower = math.max(widths[widest] - (total - columns), math.min(second, widths[widest] - 1), MIN_WIDTH)
        if narrower >= widths[widest] then return end
        total = total - (widths[widest] - narrower)
        widths[widest] = narrower
    end
end

--- A text cut into pieces of at most so many bytes, at spaces where there are some, never inside a character.
local function pieces_of(text, width)
    local pieces = {}
    while width_of(text) > width do
        local cut = width
        local space = string.match(string.sub(text, 1, width + 1), "^.*()[ ,;]")
        if space and space > width / 2 then cut = math.min(space, width) end
        while cut > 1 and string.find(string.sub(text, cut + 1, cut + 1), "[\128-\191]") do cut = cut - 1 end
        pieces[#pieces + 1] = string.sub(text, 1, cut)
        text = string.sub(text, cut + 1)
    end
    pieces[#pieces + 1] = text
    return pieces
end

--- rows: arrays of texts; the first one is the head.
local function table_text(rows)
    local widths, lines = widths_of(rows), {}
    fit(widths)
    for _, row in ipairs(rows) do
        local pieces, height = {}, 1
        for i, cell in ipairs(row) do
            pieces[i] = pieces_of(cell, widths[i])
            height = math.max(height, #pieces[i])
        end
        for line = 1, height do
            local cells = {}
            for i = 1, #row do cells[i] = pad(pieces[i][line] or "", widths[i]) end
            lines[#lines + 1] = (string.gsub(table.concat(cells, "   "), " +$", ""))
        end
    end
    return table.concat(lines, "\n")
end

local function is_cluster_object(value)
    local t = host.table(value)
    return type(t) == "table" and type(t.kind) == "string" and type(t.metadata) == "table"
end

local function objects_text(list)
    local kind, mixed, namespaced = host.table(list[1]).kind, false, false
    for _, object in ipairs(list) do
        mixed = mixed or object.kind ~= kind
        namespaced = namespaced or object.metadata.namespace ~= nil
    end
    local columns = not mixed and COLUMNS[kind] or {}
    local head = {}
    if namespaced then head[1] = "NAMESPACE" end
    head[#head + 1] = "NAME"
    if mixed then head[#head + 1] = "KIND" end
    for _, column in ipairs(columns) do head[#head + 1] = column[1] end
    if kind ~= "Event" then head[#head + 1] = "AGE" end
    local rows = { head }
    for _, object in ipairs(list) do
        local row = {}
        if namespaced then row[1] = object.metadata.namespace or "" end
        row[#row + 1] = object.metadata.name or ""
        if mixed then row[#row + 1] = object.kind end
        for _, column in ipairs(columns) do
            local value
            if type(column[2]) == "string" then value = at(object, column[2]) else value = column[2](object) end
            row[#row + 1] = scalar(value)
        end
        local made = object.metadata.creationTimestamp and host.time(object.metadata.creationTimestamp)
        if kind ~= "Event" then row[#row + 1] = made and host.age(host.now() - made) or "" end
        rows[#rows + 1] = row
    end
    return table_text(rows)
end

--- Records with the same few fields: columns in the order of `order` (an array in the list's `columns`), or of the alphabet.
local function records_text(list, keys)
    local rows = { {} }
    for i, key in ipairs(keys) do rows[1][i] = string.upper(key) end
    for _, record in ipairs(list) do
        local row = {}
        for i, key in ipairs(keys) do row[i] = scalar(record[key]) end
        rows[#rows + 1] = row
    end
    return table_text(rows)
end

--- Keys of a list of flat tables; nil: they are something else.
local function record_keys(list)
    local seen, keys = {}, {}
    for _, record in ipairs(list) do
        if type(record) ~= "table" or host.is_array(record) then return nil end
        for key in pairs(record) do
            if type(key) ~= "string" then return nil end
            if not seen[key] then
                seen[key] = true
                keys[#keys + 1] = key
            end
        end
    end
    return #keys > 0 and #keys <= 12 and keys or nil
end

local tree

local function branch(lines, indent, key, value, depth)
    local inner = host.table(value)
    if type(inner) == "table" and next(inner) ~= nil then
        lines[#lines + 1] = indent .. key
        tree(lines, indent .. "  ", inner, depth + 1)
    elseif type(inner) == "table" then
        lines[#lines + 1] = indent .. key .. (host.is_array(inner) and " []" or " {}")
    elseif type(inner) == "string" and string.find(inner, "\n", 1, true) then
        lines[#lines + 1] = indent .. key .. " |"
        for line in string.gmatch(inner, "[^\n]*") do
            if #lines < MAX_LINES then lines[#lines + 1] = indent .. "  " .. line end
        end
    else
        lines[#lines + 1] = indent .. key .. " " .. (inner == nil and "null" or type(inner) == "userdata" and "null" or tostring(inner))
    end
end

function tree(lines, indent, value, depth)
    if depth > MAX_DEPTH then
        lines[#lines + 1] = indent .. "..."
        return
    end
    local array = host.is_array(value)
    for key, item in pairs(value) do
        if #lines >= MAX_LINES then
            lines[#lines + 1] = indent .. "..."
            return
        end
        branch(lines, indent, array and "-" or tostring(key) .. ":", item, depth)
    end
end

--- The text of one value as the prompt shows it.
function text_of(value)
    if accessors[value] then return accessors[value].summary end
    local inner = host.table(value)
    if type(inner) == "userdata" then return "null" end
    if type(inner) == "function" and function_names[inner] then return function_names[inner] end
    if type(inner) ~= "table" then return tostring(inner) end
    if next(inner) == nil then return host.is_array(inner) and "[]" or "{}" end
    if host.is_array(inner) and is_cluster_object(inner[1]) then return objects_text(inner) end
    local keys = host.is_array(inner) and (columns_of[inner] or record_keys(inner))
    if keys then return records_text(inner, keys) end
    local yaml = host.yaml(plain(inner))
    if yaml then return yaml end
    local lines = {} -- with functions or mixed keys
    tree(lines, "", inner, 0)
    return table.concat(lines, "\n")
end

accessors = setmetatable({}, { __mode = "k" })  -- things of k that show as one line
function_names = {}                             -- function of k → what it shows as
columns_of = setmetatable({}, { __mode = "k" }) -- list → names of its columns, in order

--- Called by the session with the values of what was typed.
function show(...)
    local _, json = host.mode()
    local count = select("#", ...)
    if count > 0 then user._ = (...) end
    for i = 1, count do
        local value = select(i, ...)
        if json then
            host.say(host.json(plain(value), true) .. "\n")
        else
            host.say(text_of(value) .. "\n")
        end
    end
end

exports.print = function(...)
    local parts = {}
    for i = 1, select("#", ...) do parts[i] = text_of((select(i, ...))) end
    host.say(table.concat(parts, "\t") .. "\n")
end
exports.json = function(value) return host.json(plain(value)) end
exports.yaml = function(text) return host.parse(text) end
exports.sleep = host.sleep
exports.type = function(value) return host.is_object(value) and "table" or type(value) end
exports.pairs = function(value) return pairs(host.table(value)) end
exports.next = function(value, key) return next(host.table(value), key) end
