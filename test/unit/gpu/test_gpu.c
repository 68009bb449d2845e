/* GPUs of a machine: found, described, shared among pods without ever giving one twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "gpu.h"

static char root[] = "/tmp/m8-gpu-XXXXXX";

static void put(const char *name, const char *text)
{
    auto_free char *path = file_join(root, name);
    auto_free char *folder = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    assert_int_equal(file_make_dirs(folder, 0755, NULL), 0);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static int clean(void **state)
{
    (void)state;
    return file_remove_tree(root, NULL) < 0 || mkdir(root, 0755) < 0 ? -1 : 0;
}

static void driver_files(void)
{
    put("proc/driver/nvidia/gpus/0000:41:00.0/information",
        "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 17\nGPU UUID: \t GPU-b\nDevice Minor: \t 1\n");
    put("proc/driver/nvidia/gpus/0000:81:00.0/information",
        "Model: \t\t NVIDIA A100-SXM4-40GB\nGPU UUID: \t GPU-a\nDevice Minor: \t 0\n");
    put("proc/driver/nvidia/gpus/0000:99:00.0/information", "Model: broken\n");
}

static void found_by_the_drivers_files(void **state)
{
    (void)state;
    struct gpu_list list;
    gpu_find(root, &list);
    assert_int_equal(list.count, 0);
    gpu_list_fini(&list);
    driver_files();
    gpu_find(root, &list);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.found_by, "driver files");
    assert_int_equal(list.items[0].minor, 0);
    assert_string_equal(list.items[0].uuid, "GPU-a");
    assert_string_equal(list.items[1].model, "NVIDIA A100-SXM4-40GB");
    gpu_list_fini(&list);
}

static bool has_device(const struct runtime_spec *spec, const char *end)
{
    for (size_t i = 0; spec->devices && spec->devices[i]; i++)
        if (str_ends(spec->devices[i], end))
            return true;
    return false;
}

static const char *variable(const struct runtime_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_environment; i++)
        if (str_eq(spec->environment[i].name, name))
            return spec->environment[i].value;
    return NULL;
}

static void a_specification_is_made_from_what_is_there(void **state)
{
    (void)state;
    struct gpu_list list;
    driver_files();
    put("dev/nvidia0", "");
    put("dev/nvidia1", "");
    put("dev/nvidiactl", "");
    put("usr/lib64/libcuda.so.1", "");
    gpu_find(root, &list);
    auto_json cdi = gpu_cdi_spec(root, &list, NULL);
    struct runtime_spec *spec = NEW(struct runtime_spec);
    const int minors[] = {1};
    assert_int_equal(gpu_cdi_apply(cdi, &list, minors, 1, spec, NULL), 0);
    assert_true(has_device(spec, "/dev/nvidia1:/dev/nvidia1:rwm"));
    assert_true(has_device(spec, ":/dev/nvidiactl:rwm"));
    assert_false(has_device(spec, ":/dev/nvidia0:rwm"));
    assert_int_equal(spec->n_mounts, 1);
    assert_string_equal(spec->mounts[0].destination, "/usr/lib64/libcuda.so.1");
    assert_true(spec->mounts[0].read_only);
    assert_string_equal(variable(spec, "NVIDIA_VISIBLE_DEVICES"), "GPU-b");
    runtime_spec_free(spec);
    gpu_list_fini(&list);
}

static void the_vendors_specification_comes_first(void **state)
{
    (void)state;
    struct gpu_list list;
    struct err *err = NULL;
    driver_files();
    put("etc/cdi/other.json", "{\"cdiVersion\":\"0.5.0\",\"kind\":\"vendor.com/net\",\"devices\":[]}");
    put("etc/cdi/nvidia.yaml",
        "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n  - name: GPU-a\n    containerEdits:\n"
        "      deviceNodes: [{path: /dev/nvidia0, permissions: rw}]\n      env: [A=b=c]\n"
        "containerEdits:\n  mounts: [{hostPath: /x, containerPath: /y, options: [ro, nosuid]}]\n");
    gpu_find(root, &list);
    auto_json cdi = gpu_cdi_spec(root, &list, &err);
    struct runtime_spec *spec = NEW(struct runtime_spec);
    const int minors[] = {0, 1};
    assert_int_equal(gpu_cdi_apply(cdi, &list, minors, 1, spec, &err), 0);
    assert_true(has_device(spec, "/dev/nvidia0:/dev/nvidia0:rw"));
    assert_string_equal(variable(spec, "A"), "b=c");
    assert_int_equal(gpu_cdi_apply(cdi, &list, minors, 2, spec, &err), -1);
    assert_int_equal(err_code(err), ERR_NOT_FOUND);
    err_free(err);
    runtime_spec_free(spec);
    put("etc/cdi/broken.json", "{");
    assert_null(gpu_cdi_spec(root, &list, NULL));
    gpu_list_fini(&list);
}

#define CONTAINER(name, n) "{\"name\":\"" name "\",\"resources\":{\"limits\":{\"nvidia.com/gpu\":\"" n "\"}}}"

static cJSON *pod(const char *uid, const char *init, const char *containers)
{
    auto_free char *text =
        mem_printf("{\"metadata\":{\"uid\":\"%s\"},\"spec\":{\"initContainers\":[%s],\"containers\":[%s]}}",
                   uid, init, containers);
    return json_parse_trusted(text, strlen(text));
}

static int first_of(struct gpu_share *share, const cJSON *object, const char *container, size_t wanted)
{
    auto_free int *minors = NULL;
    size_t count = 0;
    auto_err err = NULL;
    if (gpu_share_take(share, object, container, &minors, &count, &err) < 0)
        return -(int)err_code(err);
    assert_int_equal(count, wanted);
    return count ? minors[0] : 99;
}

static bool keep_two(void *arg, const char *uid)
{
    (void)arg;
    return str_eq(uid, "two");
}

static void no_device_is_given_twice(void **state)
{
    (void)state;
    struct gpu_device devices[3] = {{.minor = 0}, {.minor = 2}, {.minor = 5}};
    const struct gpu_list list = {.items = devices, .count = 3};
    auto_free char *file = file_join(root, "pods.json");
    struct gpu_share *share = gpu_share_open(file, &list, NULL);
    auto_json one =
        pod("one", CONTAINER("init", "2"), CONTAINER("a", "1") "," CONTAINER("b", "1") ",{\"name\":\"c\"}");
    auto_json two = pod("two", "", CONTAINER("a", "1"));
    auto_json three = pod("three", "", CONTAINER("a", "1"));
    assert_int_equal(first_of(share, one, "init", 2), 0);
    assert_int_equal(first_of(share, one, "a", 1), 0);
    assert_int_equal(first_of(share, one, "b", 1), 2);
    assert_int_equal(first_of(share, one, "c", 0), 99);
    assert_int_equal(first_of(share, two, "a", 1), 5);
    assert_int_equal(first_of(share, three, "a", 1), -(int)ERR_UNAVAILABLE);
    gpu_share_free(share);
    share = gpu_share_open(file, &list, NULL); /* a new agent */
    assert_int_equal(first_of(share, two, "a", 1), 5);
    assert_int_equal(first_of(share, three, "a", 1), -(int)ERR_UNAVAILABLE);
    gpu_share_release(share, "one");
    assert_int_equal(first_of(share, three, "a", 1), 0);
    gpu_share_keep(share, keep_two, NULL);
    assert_int_equal(first_of(share, one, "a", 1), 0);
    assert_int_equal(first_of(share, two, "a", 1), 5);
    gpu_share_free(share);
}

static void a_sick_device_is_given_to_nobody_else(void **state)
{
    (void)state;
    struct gpu_device devices[2] = {{.minor = 0}, {.minor = 1}};
    const struct gpu_list list = {.items = devices, .count = 2};
    auto_free char *file = file_join(root, "pods.json");
    struct gpu_share *share = gpu_share_open(file, &list, NULL);
    auto_json one = pod("one", "", CONTAINER("a", "1"));
    auto_json two = pod("two", "", CONTAINER("a", "1"));
    assert_int_equal(first_of(share, one, "a", 1), 0);
    devices[0].sick = true;
    assert_int_equal(first_of(share, one, "a", 1), 0); /* whoever has it keeps it */
    gpu_share_release(share, "one");
    assert_int_equal(first_of(share, two, "a", 1), 1);
    assert_int_equal(first_of(share, one, "a", 1), -(int)ERR_UNAVAILABLE);
    gpu_share_free(share);
}

struct counted {
    struct loop *loop;
    int settled;
};

static void on_settled(void *arg)
{
    struct counted *counted = arg;
    counted->settled++;
    loop_stop(counted->loop);
}

static void on_time(void *arg)
{
    loop_stop(((struct counted *)arg)->loop);
}

static void devices_that_come_and_go_are_told_once(void **state)
{
    (void)state;
    struct counted counted = {.loop = loop_new(NULL)};
    put("dev/null", "");
    struct gpu_watch *watch = gpu_watch_new(root, counted.loop, on_settled, &counted);
    struct loop_timer *timer = loop_timer_new(counted.loop, on_time, &counted);
    auto_free char *device = file_join(root, "dev/nvidia0");
    put("dev/sda", ""); /* none of ours */
    loop_timer_start(timer, 600);
    loop_run(counted.loop);
    assert_int_equal(counted.settled, 0);
    put("dev/nvidia0", "");
    put("dev/nvidiactl", "");
    loop_run(counted.loop);
    loop_timer_start(timer, 600);
    loop_run(counted.loop);
    assert_int_equal(counted.settled, 1); /* both together */
    assert_int_equal(unlink(device), 0);
    loop_run(counted.loop);
    assert_int_equal(counted.settled, 2);
    loop_timer_free(timer);
    gpu_watch_free(watch);
    loop_free(counted.loop);
}

int main(void)
{
    json_init();
    if (!mkdtemp(root))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(found_by_the_drivers_files, clean),
        cmocka_unit_test_setup(a_specification_is_made_from_what_is_there, clean),
        cmocka_unit_test_setup(the_vendors_specification_comes_first, clean),
        cmocka_unit_test_setup(no_device_is_given_twice, clean),
        cmocka_unit_test_setup(a_sick_device_is_given_to_nobody_else, clean),
        cmocka_unit_test_setup(devices_that_come_and_go_are_told_once, clean),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    file_remove_tree(root, NULL);
    return failed;
}
