/*
 * quantity: Kubernetes resource quantities. Grammar: <sign><digits>[.<digits>]<suffix> with suffix one of
 * n u m "" k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent e3 / E-3.
 * Arithmetic is exact in 128 bits; what does not fit is capped, as apimachinery caps at 2^63-1, and never
 * wraps. Does not keep the format in which a quantity was written: callers that echo a quantity keep its
 * text.
 */
#include "base/quantity.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

/* The number is mantissa * 2^binary * 10^decimal; `lost` if digits beyond the mantissa's room were not zero.
 */
struct parsed {
    bool negative, lost;
    uint64_t mantissa;
    int binary, decimal;
};

static const struct {
    const char *text;
    int binary, decimal;
} suffixes[] = {{"", 0, 0},    {"n", 0, -9},  {"u", 0, -6},  {"m", 0, -3}, {"k", 0, 3},   {"M", 0, 6},
                {"G", 0, 9},   {"T", 0, 12},  {"P", 0, 15},  {"E", 0, 18}, {"Ki", 10, 0}, {"Mi", 20, 0},
                {"Gi", 30, 0}, {"Ti", 40, 0}, {"Pi", 50, 0}, {"Ei", 60, 0}};

#define DIGITS_MAX 19

static bool parse_suffix(const char *p, struct parsed *number)
{
    for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
        if (strcmp(p, suffixes[i].text) == 0) {
            number->binary += suffixes[i].binary;
            number->decimal += suffixes[i].decimal;
            return true;
        }
    }
    if (*p != 'e' && *p != 'E')
        return false;
    p++;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    int exponent = 0;
    if (!*p)
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        exponent = exponent < 10000 ? exponent * 10 + (*p - '0') : exponent;
    if (*p)
        return false;
    number->decimal += negative ? -exponent : exponent;
    return true;
}

static bool parse(const char *p, struct parsed *number)
{
    *number = (struct parsed){.negative = *p == '-'};
    if (*p == '-' || *p == '+')
        p++;
    bool any = false, point = false;
    int kept = 0;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        if (kept < DIGITS_MAX) {
            number->mantissa = number->mantissa * 10 + (uint64_t)(*p - '0');
            kept += number->mantissa != 0;
            number->decimal -= point;
        } else {
            number->lost |= *p != '0';
            number->decimal += !point;
        }
    }
    return any && parse_suffix(p, number);
}

/* Rounded up (away from zero, like apimachinery), capped at ±INT64_MAX. */
static int64_t scaled(const struct parsed *number, int decimal)
{
    /* 19 digits are below 2^64 and the largest binary suffix is 2^60: the start is below 2^124. */
    unsigned __int128 value = (unsigned __int128)number->mantissa << number->binary;
    bool rest = number->lost;
    for (int exponent = number->decimal + decimal; value && exponent > 0; exponent--) {
        if (value > INT64_MAX)
            break;
        value *= 10;
    }
    for (int exponent = number->decimal + decimal; value && exponent < 0; exponent++) {
        rest |= value % 10 != 0;
        value /= 10;
    }
    value += rest;
    int64_t result = value > INT64_MAX ? INT64_MAX : (int64_t)value;
    return number->negative ? -result : result;
}

static int convert(const char *text, int decimal, int64_t *result, struct err **err)
{
    struct parsed number;
    if (!text || !parse(text, &number))
        return err_set(
            err, ERR_INVALID,
            "\"%.64s\" is not a quantity (a number with an optional suffix: m, k, M, G, Ki, Mi, Gi, …)",
            text ? text : "");
    *result = scaled(&number, decimal);
    return 0;
}

int quantity_milli(const char *text, int64_t *milli, struct err **err)
{
    return convert(text, 3, milli, err);
}

int quantity_value(const char *text, int64_t *value, struct err **err)
{
    return convert(text, 0, value, err);
}

char *quantity_print_milli(int64_t milli)
{
    static const char *const names[] = {"", "k", "M", "G", "T", "P"};
    if (milli % 1000)
        return mem_printf("%lldm", (long long)milli);
    int64_t value = milli / 1000;
    size_t i = 0;
    for (; value && value % 1000 == 0 && i + 1 < COUNT_OF(names); i++)
        value /= 1000;
    return mem_printf("%lld%s", (long long)value, names[i]);
}

char *quantity_print_bytes(int64_t bytes)
{
    static const char *const names[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    size_t i = 0;
    for (; bytes && bytes % 1024 == 0 && i + 1 < COUNT_OF(names); i++)
        bytes /= 1024;
    return mem_printf("%lld%s", (long long)bytes, names[i]);
}
