-- luajit node_lua.lua ROOT FILE... > node_lua.json
-- The Lua that an agent needs, as one JSON object {"path below ROOT": "text"}: it travels inside the program, because a machine
-- may have nothing else.
local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r" }

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(c)
    return escapes[c] or string.format("\\u%04x", c:byte())
  end) .. '"'
end

local root, out = arg[1], {}
for i = 2, #arg do
  local file = assert(io.open(root .. "/" .. arg[i], "rb"))
  out[#out + 1] = quote(arg[i]) .. ":" .. quote(file:read("*a"))
  file:close()
end
io.write("{", table.concat(out, ",\n"), "}\n")
