/* Addresses: ranges, IPAM's limits and its order, names of pod links. */
#include "net/net_internal.h"
#include "world.h"

static void test_cidr(void **state UNUSED)
{
    static const char *const bad[] = {
        "",         "10.0.0.0",    "10.0.0.0/",   "10.0.0.0/33",
        "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8x", "a.b.c.d/8",
        "::1/64",   "10.0.0.0/ 8", "256.0.0.0/8", "1000000000000000000000000/8"};
    struct net_cidr range;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err *error = NULL;
        if (net_cidr_parse(bad[i], &range, &error) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(err_code(error), ERR_INVALID);
        err_free(error);
    }
    assert_true(net_cidr_parse(NULL, &range, NULL) < 0);
    cidr("10.244.3.0/24", &range);
    assert_true(net_cidr_contains(&range, address_of("10.244.3.255")));
    assert_false(net_cidr_contains(&range, address_of("10.244.4.0")));
    cidr("0.0.0.0/0", &range);
    assert_true(net_cidr_contains(&range, address_of("255.255.255.255")));
    cidr("1.2.3.4/32", &range);
    assert_true(net_cidr_contains(&range, address_of("1.2.3.4")));
    assert_false(net_cidr_contains(&range, address_of("1.2.3.5")));
}

static void test_exhaustion(void **state UNUSED)
{
    struct net_cidr range;
    struct in_addr address;
    struct err *error = NULL;
    cidr("10.0.0.0/29", &range); /* .2 to .6 */
    struct ipam *ipam = ipam_new(&range);
    for (int i = 2; i <= 6; i++) {
        ok(ipam_take(ipam, &address, ERR));
        assert_int_equal(ntohl(address.s_addr) & 0xff, i);
    }
    assert_true(ipam_take(ipam, &address, &error) < 0);
    assert_int_equal(err_code(error), ERR_UNAVAILABLE);
    err_free(error);
    ipam_release(ipam, address_of("10.0.0.4"));
    ipam_release(ipam, address_of("10.0.0.4"));
    ipam_release(ipam, address_of("10.9.9.9"));
    ok(ipam_take(ipam, &address, ERR));
    assert_int_equal(address.s_addr, address_of("10.0.0.4").s_addr);
    assert_true(ipam_take(ipam, &address, NULL) < 0);
    ipam_free(ipam);
}

static void test_order(void **state UNUSED)
{
    struct net_cidr range;
    struct in_addr first, second;
    cidr("10.0.0.0/24", &range);
    struct ipam *ipam = ipam_new(&range);
    assert_false(ipam_reserve(ipam, address_of("10.0.0.0")));
    assert_false(ipam_reserve(ipam, address_of("10.0.0.1")));
    assert_false(ipam_reserve(ipam, address_of("10.0.0.255")));
    assert_false(ipam_reserve(ipam, address_of("10.0.1.2")));
    assert_true(ipam_reserve(ipam, address_of("10.0.0.2")));
    assert_false(ipam_reserve(ipam, address_of("10.0.0.2")));
    ok(ipam_take(ipam, &first, ERR));
    ipam_release(ipam, first);
    ok(ipam_take(ipam, &second, ERR));
    assert_int_not_equal(first.s_addr, second.s_addr); /* it rests */
    ipam_free(ipam);
}

static void test_link_names(void **state UNUSED)
{
    char name[NET_POD_LINK], other[NET_POD_LINK];
    net_pod_link("0b0b4d8a-0000-4000-8000-000000000001", name);
    net_pod_link("0b0b4d8a-0000-4000-8000-000000000002", other);
    assert_true(net_is_pod_link(name) && net_is_pod_link(other));
    assert_string_not_equal(name, other);
    static const char *const foreign[] = {"m8pods", "m8vx", "m8", "eth0", "m8c957fc0br", "m8zzzzzzzzzzz"};
    for (size_t i = 0; i < COUNT_OF(foreign); i++)
        assert_false(net_is_pod_link(foreign[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cidr), cmocka_unit_test(test_exhaustion),
                                       cmocka_unit_test(test_order), cmocka_unit_test(test_link_names)};
    return cmocka_run_group_tests_name("net addresses", tests, NULL, NULL);
}
