/* The float8 formats against their definition, code by code, and what rounds to what. */
#include "ir/float8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

static const struct {
    veer_dtype_t dtype;
    double largest, least; /* the largest number, the smallest above 0 */
    int nans, infinities;
} formats[] = {
    {VEER_DTYPE_F8E4M3FN, 448, 0x1p-9, 2, 0},
    {VEER_DTYPE_F8E4M3FNUZ, 240, 0x1p-10, 1, 0},
    {VEER_DTYPE_F8E5M2, 57344, 0x1p-16, 6, 2},
    {VEER_DTYPE_F8E5M2FNUZ, 57344, 0x1p-17, 1, 0},
};
enum { COUNT = sizeof formats / sizeof *formats };

static void every_code_comes_back(void **state) {
    (void)state;
    for (int f = 0; f < COUNT; f++) {
        veer_dtype_t d = formats[f].dtype;
        double largest = 0, least = INFINITY;
        int nans = 0, infinities = 0;
        for (int code = 0; code < 256; code++) {
            double x = veer_float8_to_double(d, (uint8_t)code);
            if (isnan(x)) {
                nans++;
                assert_true(isnan(veer_float8_to_double(d, veer_float8_from_double(d, x, true))));
                continue;
            }
            infinities += isinf(x) != 0;
            assert_int_equal(veer_float8_from_double(d, x, false), code);
            if (isinf(x)) continue;
            assert_int_equal(veer_float8_from_double(d, x, true), code);
            largest = fmax(largest, x);
            if (x > 0) least = fmin(least, x);
        }
        assert_true(largest == formats[f].largest && least == formats[f].least);
        assert_int_equal(nans, formats[f].nans);
        assert_int_equal(infinities, formats[f].infinities);
    }
}

/* Halfway between neighbours: to the even code; a little more or less: to the nearer one. */
static void rounds_to_nearest_even(void **state) {
    (void)state;
    for (int f = 0; f < COUNT; f++) {
        veer_dtype_t d = formats[f].dtype;
        for (int code = 0; code < 127; code++) {
            double a = veer_float8_to_double(d, (uint8_t)code), b = veer_float8_to_double(d, (uint8_t)(code + 1));
            if (!(a < b) || isinf(b)) continue;
            double middle = (a + b) / 2;
            assert_int_equal(veer_float8_from_double(d, middle, true), code % 2 ? code + 1 : code);
            assert_int_equal(veer_float8_from_double(d, middle * (1 - 1e-9), true), code);
            assert_int_equal(veer_float8_from_double(d, middle * (1 + 1e-9), true), code + 1);
            assert_true(veer_float8_to_double(d, veer_float8_from_double(d, -b, true)) == -b);
        }
    }
}

static void what_is_too_large(void **state) {
    (void)state;
    for (int f = 0; f < COUNT; f++) {
        veer_dtype_t d = formats[f].dtype;
        double beyond[] = {1e6, INFINITY}, signs[] = {1, -1};
        for (int i = 0; i < 4; i++) {
            double x = beyond[i / 2] * signs[i % 2];
            assert_true(veer_float8_to_double(d, veer_float8_from_double(d, x, true)) ==
                        signs[i % 2] * formats[f].largest);
            double cut = veer_float8_to_double(d, veer_float8_from_double(d, x, false));
            assert_true(formats[f].infinities ? cut == signs[i % 2] * (double)INFINITY : isnan(cut));
        }
    }
}

static void zeros(void **state) {
    (void)state;
    assert_int_equal(veer_float8_from_double(VEER_DTYPE_F8E4M3FN, -0.0, true), 0x80);
    assert_int_equal(veer_float8_from_double(VEER_DTYPE_F8E5M2, -1e-30, true), 0x80);
    assert_int_equal(veer_float8_from_double(VEER_DTYPE_F8E4M3FNUZ, -0.0, true), 0);
    assert_int_equal(veer_float8_from_double(VEER_DTYPE_F8E5M2FNUZ, -1e-30, true), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_code_comes_back),
                                       cmocka_unit_test(rounds_to_nearest_even), cmocka_unit_test(what_is_too_large),
                                       cmocka_unit_test(zeros)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
