/*
 * script_sandbox_match: Lua 5.1 patterns for policies, with bounded work.
 *
 * The library's matcher back-tracks in C where no hook runs: five `a-` over 120 bytes take 30 s (contract
 * 19). This one counts steps, looks at the deadline on the way and gives up with an error. Classes, sets,
 * captures, %b, %f, ^ $ * + - ? as in the Lua 5.1 manual §5.4.1.
 */
#include <ctype.h>
#include <string.h>

#include "script/script_sandbox.h"

#define MAX_STEPS 1000000
#define MAX_DEPTH 180
#define OPEN (-1)
#define POSITION (-2)

static void step(struct match *m)
{
    if (++m->steps > MAX_STEPS)
        luaL_error(m->L, "pattern: too much work");
    if (m->steps % 4096 == 0)
        sandbox_check(m->L);
}

/* Past the single-character item that begins at `item`. */
static const char *item_end(struct match *m, const char *item)
{
    if (item == m->pattern_end)
        luaL_error(m->L, "pattern: ends too early");
    char c = *item++;
    if (c == '%') {
        if (item == m->pattern_end)
            luaL_error(m->L, "pattern: ends with %%");
        return item + 1;
    }
    if (c != '[')
        return item;
    if (item < m->pattern_end && *item == '^')
        item++;
    do { /* a ] in the first place stands for itself */
        if (item == m->pattern_end)
            luaL_error(m->L, "pattern: [ without ]");
        if (*item++ == '%' && item < m->pattern_end)
            item++;
    } while (item == m->pattern_end || *item != ']');
    return item + 1;
}

static bool in_class(int c, int class)
{
    bool inside;
    switch (tolower(class)) {
    case 'a':
        inside = isalpha(c);
        break;
    case 'c':
        inside = iscntrl(c);
        break;
    case 'd':
        inside = isdigit(c);
        break;
    case 'l':
        inside = islower(c);
        break;
    case 'p':
        inside = ispunct(c);
        break;
    case 's':
        inside = isspace(c);
        break;
    case 'u':
        inside = isupper(c);
        break;
    case 'w':
        inside = isalnum(c);
        break;
    case 'x':
        inside = isxdigit(c);
        break;
    case 'z':
        inside = c == 0;
        break;
    default:
        return class == c;
    }
    return isupper(class) ? !inside : inside;
}

/* set points at '[', last at its ']'. */
static bool in_set(int c, const char *set, const char *last)
{
    bool wanted = true;
    if (*++set == '^') {
        wanted = false;
        set++;
    }
    for (bool first = true; first || set < last; first = false) {
        if (*set == '%') {
            if (in_class(c, (unsigned char)set[1]))
                return wanted;
            set += 2;
        } else if (set + 2 < last && set[1] == '-') {
            if ((unsigned char)set[0] <= c && c <= (unsigned char)set[2])
                return wanted;
            set += 3;
        } else {
            if ((unsigned char)*set == c)
                return wanted;
            set++;
        }
    }
    return !wanted;
}

static bool matches_one(struct match *m, const char *text, const char *item, const char *end)
{
    step(m);
    if (text >= m->text_end)
        return false;
    int c = (unsigned char)*text;
    switch (*item) {
    case '.':
        return true;
    case '%':
        return in_class(c, (unsigned char)item[1]);
    case '[':
        return in_set(c, item, end - 1);
    default:
        return (unsigned char)*item == c;
    }
}

static const char *match_balance(struct match *m, const char *text, const char *pattern)
{
    if (pattern + 1 >= m->pattern_end)
        luaL_error(m->L, "pattern: %%b needs two characters");
    if (text >= m->text_end || *text != pattern[0])
        return NULL;
    int open = 1;
    for (text++; text < m->text_end; text++) {
        step(m);
        if (*text == pattern[1]) {
            if (--open == 0)
                return text + 1;
        } else if (*text == pattern[0]) {
            open++;
        }
    }
    return NULL;
}

static const char *match_repeated(struct match *m, const char *text, const char *item, const char *end)
{
    ptrdiff_t least = *end == '+', count = 0;
    if (*end == '-') { /* as few as possible */
        for (;; text++) {
            const char *result = sandbox_match(m, text, end + 1);
            if (result)
                return result;
            if (!matches_one(m, text, item, end))
                return NULL;
        }
    }
    while (matches_one(m, text + count, item, end))
        count++;
    for (; count >= least; count--) {
        const char *result = sandbox_match(m, text + count, end + 1);
        if (result)
            return result;
    }
    return NULL;
}

static const char *match_open(struct match *m, const char *text, const char *pattern, ptrdiff_t kind)
{
    if (m->level >= SANDBOX_CAPTURES)
        luaL_error(m->L, "pattern: more than %d captures", SANDBOX_CAPTURES);
    m->capture[m->level].start = text;
    m->capture[m->level].len = kind;
    m->level++;
    const char *result = sandbox_match(m, text, pattern);
    if (!result)
        m->level--;
    return result;
}

static const char *match_close(struct match *m, const char *text, const char *pattern)
{
    int level = m->level - 1;
    while (level >= 0 && m->capture[level].len != OPEN)
        level--;
    if (level < 0)
        luaL_error(m->L, "pattern: ) without (");
    m->capture[level].len = text - m->capture[level].start;
    const char *result = sandbox_match(m, text, pattern);
    if (!result)
        m->capture[level].len = OPEN;
    return result;
}

static const char *match_again(struct match *m, const char *text, char digit)
{
    int level = digit - '1';
    if (level < 0 || level >= m->level || m->capture[level].len < 0)
        luaL_error(m->L, "pattern: no such capture");
    size_t len = (size_t)m->capture[level].len;
    if ((size_t)(m->text_end - text) < len || memcmp(m->capture[level].start, text, len) != 0)
        return NULL;
    return text + len;
}

static const char *match_frontier(struct match *m, const char *text, const char *pattern, const char **rest)
{
    if (pattern >= m->pattern_end || *pattern != '[')
        luaL_error(m->L, "pattern: %%f needs a set");
    *rest = item_end(m, pattern);
    int before = text == m->text ? 0 : (unsigned char)text[-1];
    int here = text == m->text_end ? 0 : (unsigned char)*text;
    return !in_set(before, pattern, *rest - 1) && in_set(here, pattern, *rest - 1) ? text : NULL;
}

/* %b, %f and back references; *special false: it was a class. */
static const char *match_special(struct match *m, const char *text, const char *pattern, bool *special)
{
    char kind = pattern + 1 < m->pattern_end ? pattern[1] : 0;
    const char *rest = pattern + 2, *after = NULL;
    *special = kind == 'b' || kind == 'f' || isdigit((unsigned char)kind);
    if (!*special)
        return NULL;
    if (kind == 'b') {
        after = match_balance(m, text, pattern + 2);
        rest = pattern + 4;
    } else if (kind == 'f') {
        after = match_frontier(m, text, pattern + 2, &rest);
    } else {
        after = match_again(m, text, kind);
    }
    return after ? sandbox_match(m, after, rest) : NULL;
}

static const char *match_item(struct match *m, const char *text, const char *pattern)
{
    if (pattern == m->pattern_end)
        return text;
    if (*pattern == '(')
        return pattern + 1 < m->pattern_end && pattern[1] == ')' ? match_open(m, text, pattern + 2, POSITION)
                                                                 : match_open(m, text, pattern + 1, OPEN);
    if (*pattern == ')')
        return match_close(m, text, pattern + 1);
    if (*pattern == '$' && pattern + 1 == m->pattern_end)
        return text == m->text_end ? text : NULL;
    if (*pattern == '%') {
        bool special;
        const char *result = match_special(m, text, pattern, &special);
        if (special)
            return result;
    }
    const char *end = item_end(m, pattern);
    char suffix = end < m->pattern_end ? *end : 0;
    if (suffix == '*' || suffix == '+' || suffix == '-')
        return match_repeated(m, text, pattern, end);
    bool one = matches_one(m, text, pattern, end);
    if (suffix == '?') {
        const char *result = one ? sandbox_match(m, text + 1, end + 1) : NULL;
        return result ? result : sandbox_match(m, text, end + 1);
    }
    return one ? sandbox_match(m, text + 1, end) : NULL;
}

const char *sandbox_match(struct match *m, const char *text, const char *pattern)
{
    step(m);
    if (++m->depth > MAX_DEPTH)
        luaL_error(m->L, "pattern: too complex");
    const char *result = match_item(m, text, pattern);
    m->depth--;
    return result;
}
