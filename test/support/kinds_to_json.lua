-- luajit kinds_to_json.lua FILE... > kinds.json
-- Evaluates kind files (each returns one pure table) in an empty environment and prints them as one JSON array, keys
-- sorted, for tests, benches and everything that has no script host at hand. An empty table becomes {}.

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r" }

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c)
    return escapes[c] or string.format("\\u%04x", c:byte())
  end) .. '"'
end

local print_value

local function print_table(value, out)
  if #value > 0 then
    out[#out + 1] = "["
    for i, item in ipairs(value) do
      out[#out + 1] = i > 1 and "," or ""
      print_value(item, out)
    end
    out[#out + 1] = "]"
    return
  end
  local keys = {}
  for key in pairs(value) do
    assert(type(key) == "string", "a table must be a list or have only string keys")
    keys[#keys + 1] = key
  end
  table.sort(keys)
  out[#out + 1] = "{"
  for i, key in ipairs(keys) do
    out[#out + 1] = (i > 1 and "," or "") .. quote(key) .. ":"
    print_value(value[key], out)
  end
  out[#out + 1] = "}"
end

function print_value(value, out)
  local kind = type(value)
  if kind == "table" then
    print_table(value, out)
  elseif kind == "string" then
    out[#out + 1] = quote(value)
  elseif kind == "number" then
    out[#out + 1] = string.format("%.17g", value)
  elseif kind == "boolean" then
    out[#out + 1] = tostring(value)
  else
    error("kind files hold data only, not a " .. kind)
  end
end

local out = { "[" }
for i, path in ipairs(arg) do
  local chunk = assert(loadfile(path))
  setfenv(chunk, {})
  out[#out + 1] = i > 1 and ",\n" or ""
  local ok, message = pcall(print_value, chunk(), out)
  if not ok then
    error(path .. ": " .. message, 0)
  end
end
out[#out + 1] = "]\n"
io.write(table.concat(out))
