-- Completion: the words that may stand where the cursor is.

local KEYWORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not",
    "or", "repeat", "return", "then", "true", "until", "while" }
local MAX_WORDS = 300

local function starting_with(words, prefix)
    local kept, seen = {}, {}
    for _, word in ipairs(words) do
        if string.starts(word, prefix) and not seen[word] and #kept < MAX_WORDS then
            seen[word] = true
            kept[#kept + 1] = word
        end
    end
    table.sort(kept)
    return kept
end

local function names_of(kind, namespace)
    local list = {}
    if not kind then return list end
    for _, object in ipairs((host.objects(kind.resource, kind.namespaced and namespace or nil))) do
        list[#list + 1] = object.metadata.name
        if #list >= 5000 then break end
    end
    return list
end

local function policy_names()
    local list = {}
    for name in pairs(host.policies().known) do list[#list + 1] = name end
    return list
end

local function kind_words(with_slash)
    local list = {}
    for _, kind in ipairs(kinds.all()) do
        list[#list + 1] = with_slash and kind.singular .. "/" or kind.plural
    end
    return list
end

local function labels_of(kind)
    local list, seen = {}, {}
    for _, object in ipairs((host.objects(kind.resource))) do
        for key, value in pairs(object.metadata.labels or {}) do
            local pair = key .. "=" .. value
            if not seen[pair] then
                seen[pair] = true
                list[#list + 1] = pair
            end
        end
        if #list > 1000 then break end
    end
    return list
end

--- The last k.KIND{ or k.FUNCTION( before the cursor that is still open.
local function open_call(text)
    return string.match(text, "k%.([%w_]+)%s*[%({][^%(%){}]*$") or string.match(text, "k%.at%b()%.([%w_]+)%s*[%({][^%(%){}]*$")
end

--- Inside a string: what may stand there, by the option or the function before it.
local function in_string(before, typed)
    local option = string.match(before, "([%w_]+)%s*=%s*$")
    local call = open_call(before)
    local kind = call and kinds.find(call)
    local namespace = string.match(before, "ns%s*=%s*[\"']([^\"']+)[\"']")
    if option == "ns" or option == "namespace" then return names_of(kinds.find("namespaces")) end
    if option == "policy" then return policy_names() end
    if option == "kind" then return kind_words(false) end
    if option == "name" then return names_of(kind, namespace) end
    if option == "label" and kind then return labels_of(kind) end
    if option == "point" then
        local points = {}
        for point in pairs(host.policies().active) do points[#points + 1] = point end
        return points
    end
    if option then return names_of(kinds.find(option), namespace) end -- k.whatif{pod="
    if call == "policy" then return policy_names() end
    if kind then return names_of(kind) end                            -- k.pods("
    if call then                                                      -- k.why("pod/
        local word, rest = string.match(typed, "^([^/]+)/(.*)$")
        if not word then return kind_words(true) end
        local _, _, default = host.mode()
        local found, words = kinds.find(word), {}
        local space = string.match(rest, "^([^/]+)/")
        for _, name in ipairs(names_of(found, space or default)) do
            words[#words + 1] = word .. "/" .. (space and space .. "/" or "") .. name
        end
        return words
    end
    return {}
end

local function keys_of(value)
    local words = {}
    value = host.table(value)
    if type(value) ~= "table" then return words end
    for key in pairs(value) do
        if type(key) == "string" and string.find(key, "^[%a_][%w_]*$") then words[#words + 1] = key end
    end
    return words
end

local function words_of_k()
    local words = keys_of(k)
    for _, word in ipairs(kind_words(false)) do words[#words + 1] = word end
    return words
end

--- The value of a chain of names and indexes that starts at a name of the user's or at k.KIND("name"); calls nothing else.
local function value_of(chain)
    local kind, name, rest = string.match(chain, "^k%.([%w_]+)%([\"']([^\"']+)[\"']%)(.*)$")
    local value
    if kind then
        local accessor = kinds.find(kind) and k[kind]
        value = accessor and accessor(name)
    else
        name, rest = string.match(chain, "^([%a_][%w_]*)(.*)$")
        if not name or name == "k" then return nil end
        value = rawget(user, name)
    end
    for dot, part in string.gmatch(rest, "([%.%[])[\"']?([%w_%-]+)[\"']?%]?") do
        value = host.table(value)
        if type(value) ~= "table" then return nil end
        if dot == "[" and tonumber(part) then part = tonumber(part) end
        value = value[part]
    end
    return value
end

local function options_of(call)
    if call == "whatif" then return { "policy=", "pod=", "deployment=", "at=", "settings=", "source=", "ns=" } end
    if call == "try" then return { "policy=", "ctx=", "candidates=", "settings=", "source=" } end
    if call == "watch" then return { "kind=", "ns=", "label=", "name=", "seconds=", "count=", "each=", "all=" } end
    if call == "decisions" then return { "object=", "ns=", "point=", "since=", "limit=", "inputs=" } end
    return kinds.find(call) and { "ns=", "name=", "label=", "field=" } or {}
end

local function words_for(text)
    local before, typed = string.match(text, "^(.*)[\"']([^\"']*)$")
    local _, quotes = string.gsub(text, "[\"']", "")
    if before and quotes % 2 == 1 then return in_string(before, typed), typed end
    local prefix = string.match(text, "k%.at%b()%.([%w_]*)$")
    if prefix then return kind_words(false), prefix end
    prefix = string.match(text, "%f[%w_]k%.([%w_]*)$")
    if prefix then return words_of_k(), prefix end
    local chain, field = string.match(text, "([%w_%.%[%]%(%)\"'/%-]+)%.([%w_]*)$")
    if chain then return keys_of(value_of(chain)), field end
    prefix = string.match(text, "([%a_][%w_]*)$") or ""
    local call = open_call(text)
    local words = call and options_of(call) or {}
    if prefix == "" and string.find(text, "%S") then return words, prefix end
    for _, word in ipairs(keys_of(user)) do words[#words + 1] = word end
    for _, word in ipairs(KEYWORDS) do words[#words + 1] = word end
    return words, prefix
end

function complete(text)
    local words, typed = words_for(text)
    return { completions = host.array(starting_with(words, typed)), from = #text - #typed }
end
