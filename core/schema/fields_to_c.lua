-- luajit fields_to_c.lua protobuf_fields.tsv > schema_fields_table.c
-- Turns the protobuf field table into constant C tables: messages sorted by name, their fields behind each other.

-- Embedded messages whose fields stand directly in the parent's JSON (kubernetes protobuf conventions).
local embedded = {
  volumeSource = true, persistentVolumeSource = true, handler = true, ephemeralContainerCommon = true,
  localObjectReference = true, ingressRuleValue = true,
}
local types = {
  bool = "FIELD_BOOL", int32 = "FIELD_INT", int64 = "FIELD_INT", string = "FIELD_STRING", bytes = "FIELD_BYTES",
  message = "FIELD_MESSAGE", map = "FIELD_MAP",
}

local messages, names = {}, {}
for line in io.lines(arg[1]) do
  if line:sub(1, 1) ~= "#" then
    local message, number, name, kind, repeated, ref = line:match("^([^\t]*)\t(%d+)\t([^\t]*)\t([^\t]*)\t?([^\t]*)\t?([^\t]*)$")
    assert(message, "malformed line: " .. line)
    if not messages[message] then
      messages[message] = {}
      names[#names + 1] = message
    end
    table.insert(messages[message], { number = number, name = name, kind = kind, repeated = repeated, ref = ref })
  end
end
table.sort(names)
local index = {}
for i, name in ipairs(names) do
  index[name] = i - 1
end

print("/* Generated from protobuf_fields.tsv by fields_to_c.lua. */")
print('#include "schema/schema_fields.h"\n')
print("const struct schema_message_field schema_message_fields[] = {")
local first = 0
local rows = {}
for _, name in ipairs(names) do
  for _, field in ipairs(messages[name]) do
    local kind = assert(types[field.kind], "unknown type " .. field.kind)
    local ref = -1
    local value = "FIELD_NONE"
    if field.kind == "message" then
      ref = index[field.ref] or -1
    elseif field.kind == "map" then
      value = types[field.ref] or "FIELD_MESSAGE"
      ref = index[field.ref] or -1
    end
    print(string.format('    {"%s", %s, %s, %s, %s, %s, %d},', field.name, field.number, kind, value,
      tostring(field.repeated == "repeated"), tostring(field.kind == "message" and embedded[field.name] == true), ref))
  end
  rows[#rows + 1] = string.format('    {"%s", %d, %d},', name, first, #messages[name])
  first = first + #messages[name]
end
print("};\n\nconst struct schema_message schema_messages[] = {")
print(table.concat(rows, "\n"))
print(string.format("};\nconst size_t schema_n_messages = %d;", #names))
