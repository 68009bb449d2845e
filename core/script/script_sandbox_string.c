/*
 * script_sandbox_string: the string and table functions that policies get: those of the library whose work is
 * linear in bounded blocks, and own ones for the rest (find, match, gmatch, gsub, rep, format, sort, concat).
 *
 * Each call pushes fresh tables, so that no policy can change another's.
 */
#include <string.h>

#include "script/script_sandbox.h"

#define MAX_REPEATED 65536
#define MAX_PARTS 4096

static void push_capture(struct match *m, int i, const char *start, const char *end)
{
    if (i >= m->level) {
        if (i != 0)
            luaL_error(m->L, "pattern: no such capture");
        lua_pushlstring(m->L, start, (size_t)(end - start));
    } else if (m->capture[i].len == -2) {
        lua_pushinteger(m->L, m->capture[i].start - m->text + 1);
    } else if (m->capture[i].len < 0) {
        luaL_error(m->L, "pattern: ( without )");
    } else {
        lua_pushlstring(m->L, m->capture[i].start, (size_t)m->capture[i].len);
    }
}

static int push_captures(struct match *m, const char *start, const char *end, bool whole)
{
    int n = m->level == 0 && whole ? 1 : m->level;
    luaL_checkstack(m->L, n + 2, "too many captures");
    for (int i = 0; i < n; i++)
        push_capture(m, i, start, end);
    return n;
}

static void begin_match(struct match *m, lua_State *L, int text_index, int pattern_index,
                        const char **pattern)
{
    size_t text_len, pattern_len;
    *m = (struct match){.L = L};
    m->text = luaL_checklstring(L, text_index, &text_len);
    m->text_end = m->text + text_len;
    *pattern = luaL_checklstring(L, pattern_index, &pattern_len);
    m->pattern_end = *pattern + pattern_len;
    sandbox_check(L);
}

static const char *search(struct match *m, const char *from, const char *pattern, const char **end)
{
    bool anchored = pattern < m->pattern_end && *pattern == '^';
    for (const char *start = from; start <= m->text_end; start++) {
        m->level = 0;
        m->depth = 0;
        *end = sandbox_match(m, start, pattern + anchored);
        if (*end)
            return start;
        if (anchored)
            break;
    }
    return NULL;
}

static const char *start_at(const struct match *m, lua_Integer from)
{
    ptrdiff_t len = m->text_end - m->text;
    if (from < 0)
        from = from + len + 1;
    if (from < 1)
        from = 1;
    return from > len + 1 ? NULL : m->text + from - 1;
}

static int find_or_match(lua_State *L, bool find)
{
    struct match m;
    const char *pattern, *end;
    begin_match(&m, L, 1, 2, &pattern);
    const char *from = start_at(&m, luaL_optinteger(L, 3, 1));
    if (!from)
        return lua_pushnil(L), 1;
    if (find && lua_toboolean(L, 4)) {
        const char *hit =
            memmem(from, (size_t)(m.text_end - from), pattern, (size_t)(m.pattern_end - pattern));
        if (!hit)
            return lua_pushnil(L), 1;
        lua_pushinteger(L, hit - m.text + 1);
        lua_pushinteger(L, hit - m.text + (m.pattern_end - pattern));
        return 2;
    }
    const char *start = search(&m, from, pattern, &end);
    if (!start)
        return lua_pushnil(L), 1;
    if (!find)
        return push_captures(&m, start, end, true);
    lua_pushinteger(L, start - m.text + 1);
    lua_pushinteger(L, end - m.text);
    return 2 + push_captures(&m, start, end, false);
}

static int string_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int string_match(lua_State *L)
{
    return find_or_match(L, false);
}

static int gmatch_step(lua_State *L)
{
    struct match m;
    const char *pattern, *end;
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    begin_match(&m, L, 1, 2, &pattern);
    const char *from = m.text + lua_tointeger(L, lua_upvalueindex(3));
    if (from > m.text_end)
        return 0;
    const char *start = search(&m, from, pattern, &end);
    if (!start)
        return 0;
    lua_pushinteger(L, (end == start ? end + 1 : end) - m.text);
    lua_replace(L, lua_upvalueindex(3));
    return push_captures(&m, start, end, true);
}

static int string_gmatch(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, gmatch_step, 3);
    return 1;
}

/* Adds the replacement of one match; the replacement is argument 3. */
static void add_replacement(struct match *m, luaL_Buffer *out, const char *start, const char *end)
{
    lua_State *L = m->L;
    size_t len;
    switch (lua_type(L, 3)) {
    case LUA_TTABLE:
        push_capture(m, 0, start, end);
        lua_rawget(L, 3);
        break;
    case LUA_TFUNCTION:
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(m, start, end, true), 1);
        break;
    default: {
        const char *text = lua_tolstring(L, 3, &len);
        for (const char *stop = text + len; text < stop; text++) {
            if (*text != '%' || text + 1 == stop) {
                luaL_addchar(out, *text);
            } else if (*++text == '0') {
                luaL_addlstring(out, start, (size_t)(end - start));
            } else if (*text >= '1' && *text <= '9') {
                push_capture(m, *text - '1', start, end);
                luaL_addvalue(out);
            } else {
                luaL_addchar(out, *text);
            }
        }
        return;
    }
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, start, (size_t)(end - start));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "gsub: a replacement of type %s", luaL_typename(L, -1));
    }
    luaL_addvalue(out);
}

static int string_gsub(lua_State *L)
{
    struct match m;
    const char *pattern, *end;
    luaL_Buffer out;
    begin_match(&m, L, 1, 2, &pattern);
    int type = lua_type(L, 3);
    luaL_argcheck(L,
                  type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TTABLE || type == LUA_TFUNCTION,
                  3, "string, table or function expected");
    lua_Integer limit = luaL_optinteger(L, 4, 1 << 20), count = 0;
    bool anchored = pattern < m.pattern_end && *pattern == '^';
    const char *from = m.text;
    luaL_buffinit(L, &out);
    while (count < limit) {
        m.level = 0;
        m.depth = 0;
        end = sandbox_match(&m, from, pattern + anchored);
        if (end) {
            count++;
            add_replacement(&m, &out, from, end);
        }
        if (end && end > from)
            from = end;
        else if (from < m.text_end)
            luaL_addchar(&out, *from++);
        else
            break;
        if (anchored)
            break;
    }
    luaL_addlstring(&out, from, (size_t)(m.text_end - from));
    luaL_pushresult(&out);
    lua_pushinteger(L, count);
    return 2;
}

static int string_rep(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    lua_Integer count = luaL_checkinteger(L, 2);
    luaL_Buffer out;
    if (count < 0)
        count = 0;
    if (len && (size_t)count > MAX_REPEATED / len)
        return luaL_error(L, "rep: the result would be longer than %d bytes", MAX_REPEATED);
    luaL_buffinit(L, &out);
    for (; len && count > 0; count--)
        luaL_addlstring(&out, text, len);
    luaL_pushresult(&out);
    return 1;
}

static int string_format(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_checkstring(L, 1);
    if (strstr(lua_tostring(L, 1), "%p"))
        return luaL_error(L, "format: %%p is not available");
    lua_getfield(L, LUA_REGISTRYINDEX, "m8.format");
    for (int i = 1; i <= n; i++) {
        if (i > 1 && !lua_isnumber(L, i) && !lua_isstring(L, i)) { /* no addresses */
            lua_pushcfunction(L, base_tostring);
            lua_pushvalue(L, i);
            lua_call(L, 1, 1);
        } else {
            lua_pushvalue(L, i);
        }
    }
    lua_call(L, n, 1);
    return 1;
}

static int string_starts(lua_State *L)
{
    size_t len, part_len;
    const char *text = luaL_checklstring(L, 1, &len), *part = luaL_checklstring(L, 2, &part_len);
    lua_pushboolean(L, part_len <= len && memcmp(text, part, part_len) == 0);
    return 1;
}

static int string_ends(lua_State *L)
{
    size_t len, part_len;
    const char *text = luaL_checklstring(L, 1, &len), *part = luaL_checklstring(L, 2, &part_len);
    lua_pushboolean(L, part_len <= len && memcmp(text + len - part_len, part, part_len) == 0);
    return 1;
}

static int string_split(lua_State *L)
{
    size_t len, part_len;
    const char *text = luaL_checklstring(L, 1, &len), *part = luaL_checklstring(L, 2, &part_len), *hit;
    int n = 0;
    luaL_argcheck(L, part_len > 0, 2, "an empty separator");
    lua_createtable(L, 4, 0);
    while (n < MAX_PARTS - 1 && (hit = memmem(text, len, part, part_len))) {
        lua_pushlstring(L, text, (size_t)(hit - text));
        lua_rawseti(L, -2, ++n);
        len -= (size_t)(hit - text) + part_len;
        text = hit + part_len;
    }
    lua_pushlstring(L, text, len);
    lua_rawseti(L, -2, ++n);
    return 1;
}

static void copy_function(lua_State *L, const char *library, const char *name)
{
    lua_getglobal(L, library);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_setfield(L, -2, name);
}

void sandbox_push_string(lua_State *L)
{
    static const char *const kept[] = {"sub", "lower", "upper", "len", "byte", "char", "reverse", NULL};
    static const luaL_Reg own[] = {{"find", string_find},     {"match", string_match},
                                   {"gmatch", string_gmatch}, {"gsub", string_gsub},
                                   {"rep", string_rep},       {"format", string_format},
                                   {"starts", string_starts}, {"ends", string_ends},
                                   {"split", string_split},   {NULL, NULL}};
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "format");
    lua_setfield(L, LUA_REGISTRYINDEX, "m8.format");
    lua_pop(L, 1);
    lua_createtable(L, 0, 16);
    luaL_setfuncs(L, own, 0);
    for (const char *const *name = kept; *name; name++)
        copy_function(L, "string", *name);
}

/* ---- table ---- */

/* insert, remove and sort write past metatables. */
static void refuse_frozen(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (base_frozen_source(L, 1))
        luaL_error(L, "this value is shared and read-only: copy it before changing it");
}

static int guarded(lua_State *L) /* upvalue 1: the library's function */
{
    refuse_frozen(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* before(a, b) for the values on top of the stack; pops nothing. */
static bool is_before(lua_State *L, int a, int b)
{
    if (lua_isnil(L, 2))
        return lua_lessthan(L, a, b);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, a);
    lua_pushvalue(L, b);
    lua_call(L, 2, 1);
    bool before = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return before;
}

/* Merges t[low…mid) and t[mid…high) through the scratch table at index 3. */
static void merge(lua_State *L, int low, int mid, int high)
{
    int a = low, b = mid;
    for (int out = low; out < high; out++) {
        if (out % 64 == 0)
            sandbox_check(L);
        bool from_b = a >= mid;
        lua_settop(L, 3);
        lua_rawgeti(L, 1, a < mid ? a : b);
        if (!from_b && b < high) {
            lua_rawgeti(L, 1, b);
            from_b = is_before(L, 5, 4);
            lua_settop(L, from_b ? 5 : 4);
        }
        lua_rawseti(L, 3, out);
        if (from_b)
            b++;
        else
            a++;
    }
    for (int i = low; i < high; i++) {
        lua_rawgeti(L, 3, i);
        lua_rawseti(L, 1, i);
    }
}

/* A stable merge sort: n log n whatever the comparison answers. */
static int table_sort(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    refuse_frozen(L);
    int n = (int)lua_objlen(L, 1);
    lua_createtable(L, n, 0);
    for (int width = 1; width < n; width *= 2)
        for (int low = 1; low + width <= n; low += 2 * width)
            merge(L, low, low + width, low + 2 * width <= n + 1 ? low + 2 * width : n + 1);
    return 0;
}

void sandbox_push_table(lua_State *L)
{
    static const char *const writing[] = {"insert", "remove", NULL};
    lua_createtable(L, 0, 5);
    lua_pushcfunction(L, table_sort);
    lua_setfield(L, -2, "sort");
    copy_function(L, "table", "concat");
    for (const char *const *name = writing; *name; name++) {
        lua_getglobal(L, "table");
        lua_getfield(L, -1, *name);
        lua_remove(L, -2);
        lua_pushcclosure(L, guarded, 1);
        lua_setfield(L, -2, *name);
    }
}
