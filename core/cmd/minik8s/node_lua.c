/* node_lua: see the header. CMake makes the JSON object (node_lua.lua) and names its file. */
#include "node_lua.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "plugin/plugin.h"
#include "process.h"

#define POINTS "framework/points.lua" /* without it there is no Lua here */

/* clang-format off */
__asm__(".section .rodata\n"
        ".hidden m8_node_lua_begin, m8_node_lua_end\n"
        ".global m8_node_lua_begin, m8_node_lua_end\n"
        "m8_node_lua_begin: .incbin \"" MINIK8S_NODE_LUA "\"\n"
        "m8_node_lua_end:\n"
        ".previous\n");
/* clang-format on */
extern const char m8_node_lua_begin[], m8_node_lua_end[];

static int unpack(const char *share, struct err **err)
{
    auto_json files = json_parse_trusted(m8_node_lua_begin, (size_t)(m8_node_lua_end - m8_node_lua_begin));
    if (!files)
        return err_set(err, ERR_INTERNAL, "the Lua inside this program cannot be read");
    json_each (file, files) {
        auto_free char *path = file_join(share, file->string), *folder = mem_strdup(path);
        *strrchr(folder, '/') = 0;
        if (file_make_dirs(folder, 0755, err) < 0 ||
            file_write_atomic(path, file->valuestring, strlen(file->valuestring), 0644, err) < 0)
            return -1;
    }
    return 0;
}

int node_lua_find(struct node_lua *lua, const char *state, struct err **err)
{
    *lua = (struct node_lua){.plugins = process_plugins(err)};
    if (!lua->plugins)
        return -1;
    lua->lua = plugins_lua(lua->plugins);
    lua->policies = plugins_policies(lua->plugins);
    auto_free char *points = lua->lua[0] ? file_join(lua->lua[0], POINTS) : mem_strdup("");
    if (file_exists(points))
        return 0;
    auto_free char *share = file_join(state, "share");
    if (unpack(share, err) < 0)
        return -1;
    lua->own[0] = file_join(share, "lua");
    lua->own[2] = file_join(share, "policies");
    lua->lua = (const char *const *)&lua->own[0];
    lua->policies = (const char *const *)&lua->own[2];
    return 0;
}

void node_lua_fini(struct node_lua *lua)
{
    plugins_free(lua->plugins);
    free(lua->own[0]);
    free(lua->own[2]);
    *lua = (struct node_lua){0};
}
