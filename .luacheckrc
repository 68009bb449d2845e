-- The names that each kind of Lua file may read. Policies see the bounded environment of core/script only.
std = "none"
max_line_length = 140
unused_args = false
local base = {
    "assert", "error", "ipairs", "next", "pairs", "select", "tonumber", "tostring", "type", "unpack",
    "math", "string", "table", "bit",
}
read_globals = base
files["lua/framework"] = { read_globals = { "require", "setmetatable", "getmetatable", "rawget", "rawset", "pcall" } }
files["plugins/*/controllers"] = { read_globals = { "require" } }
files["plugins/*/*/*"] = { read_globals = { "require" } }
files["plugins/**/*_test.lua"] = { read_globals = { "require" } }
files["plugins/*/kinds"] = { max_line_length = false, read_globals = { "require" } }
files["lua/repl"] = { read_globals = { "host", "setmetatable", "getmetatable", "rawget", "rawset", "rawequal", "pcall" },
    max_line_length = 150, globals = { "k", "kinds", "docs", "accessors", "columns_of", "function_names", "at", "condition", "plain", "text_of", "show", "ask", "filter",
        "accessor_of", "check_options", "complete", "exports", "user" } }
files["lua/controllers"] = { read_globals = { "require" } }
files["policies/**/*_test.lua"] = { read_globals = { "require" } }
files["test/lua"] = { read_globals = { "require" } }
files["lua/kinds"] = { max_line_length = false, read_globals = { "require" } }
exclude_files = { "test/lua/hostile", "test/lua/**/hostile/*" }
