/*
 * How long a swap of a policy keeps the manager's loop: compiling, its examples, the flip. All shipped
 * policies are loaded; each swap is another text of a score policy with as many examples as the shipped ones
 * have. Arguments: swaps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "script/script_policies.h"
#include "script/script_world.h"

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static char *source_of(int number)
{
    return mem_printf(
        "return { api = 1, point = 'scheduler.score', name = 'swapped', settings = { most = %d },\n"
        "  run = function(ctx, node)\n"
        "    local free = (node.allocatable.cpu or 0) - (node.requested.cpu or 0)\n"
        "    return math.max(0, math.min(100, free / ctx.settings.most)) end,\n"
        "  examples = {\n"
        "    { candidate = { allocatable = { cpu = %d }, requested = {} }, expect = 1 },\n"
        "    { candidate = { allocatable = { cpu = 0 }, requested = {} }, expect = 0 },\n"
        "    { candidate = { allocatable = { cpu = 1e9 }, requested = {} }, expect = 100 } } }",
        number + 1, number + 1);
}

int main(int argc, char **argv)
{
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    int swaps = argc > 1 ? atoi(argv[1]) : 10000;
    auto_err err = NULL;
    struct policies policies;
    struct world world;
    json_init();
    lua_State *L = state_new(lua);
    const struct policies_hooks hooks = {.check = world_check_result, .arg = &world};
    policies_init(&policies, false, 1, &hooks);
    world_init(&world, L, NULL, &policies, NULL);
    must(world_load_points(&world, lua, &err) == 0);
    must(policies_load_directory(&policies, MINIK8S_SOURCE_DIR "/policies", &err) == 0);
    static const char use[] =
        "{\"scheduler.score\":{\"policies\":[{\"name\":\"swapped\"},{\"name\":\"spread\"}]}}";
    auto_json points = json_parse_trusted(use, strlen(use));
    int64_t *times = mem_array((size_t)swaps, sizeof(*times));
    for (int i = 0; i < swaps; i++) {
        auto_free char *source = source_of(i % 5000);
        int64_t began = now_ns();
        must(policies_apply(&policies, NULL, source, strlen(source), false, NULL, &err) == 0);
        times[i] = now_ns() - began;
        if (i == 0)
            must(policies_use(&policies, points, &err) == 0);
    }
    qsort(times, (size_t)swaps, sizeof(*times), compare);
    printf("sample swap_p50_ms %.3f\nsample swap_p99_ms %.3f\nsample swap_most_ms %.3f\n",
           (double)times[swaps / 2] / 1e6, (double)times[swaps * 99 / 100] / 1e6,
           (double)times[swaps - 1] / 1e6);
    free(times);
    world_fini(&world);
    policies_fini(&policies);
    lua_close(L);
    return 0;
}
