/* Philox4x32-10 against the published known answers, and our mapping to normal deviates against docs/noise.md. */
#include "runtime/philox.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The known-answer vectors that the authors publish for philox4x32 with 10 rounds: counter, key, result. */
static void test_known_answers(void **state) {
    (void)state;
    static const uint32_t vectors[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t out[4];
        veer_philox4x32(vectors[i], vectors[i] + 4, out);
        assert_memory_equal(out, vectors[i] + 6, sizeof out);
        memcpy(out, vectors[i], sizeof out); /* in place */
        veer_philox4x32(out, vectors[i] + 4, out);
        assert_memory_equal(out, vectors[i] + 6, sizeof out);
    }
}

static void test_uniform_is_open(void **state) {
    (void)state;
    assert_true(veer_philox_uniform(0) == 0x1p-33);
    assert_true(veer_philox_uniform(~0u) == 1.0 - 0x1p-33);
    assert_true(veer_philox_uniform(0x80000000u) == 0.5 + 0x1p-33);
}

/* Computed with 50 decimal digits, rounded to float; one ulp is left to the C library's log and cos. */
static void test_gaussian_vectors(void **state) {
    (void)state;
    static const struct {
        uint64_t seed;
        uint32_t sample, step, stream;
        size_t count;
        float expected[8];
    } vectors[] = {
        {42,
         0,
         0,
         0,
         8,
         {-0.97018981f, 0.19401896f, -1.23562074f, 1.92392671f, -0.07318151f, 0.139137492f, -1.10666502f,
          0.326682955f}},
        {42, 1, 0, 0, 4, {-1.63597786f, 0.0905356705f, -1.58593881f, 0.914760768f}},
        {42, 0, 1, 0, 4, {2.12769103f, 2.16137385f, -0.408270836f, -1.65975308f}},
        {42, 0, 0, 1, 4, {-1.69143569f, -1.13202953f, 0.326128542f, -1.45600379f}},
        {0xDEADBEEF12345678u,
         3,
         50,
         0,
         6,
         {0.582496345f, 0.426968426f, 0.498004287f, 0.587294638f, 1.78921652f, -0.520148575f}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        float out[9];
        out[vectors[i].count] = 1234.0f; /* must stay: nothing is written past count */
        veer_noise_gaussian(vectors[i].seed, vectors[i].sample, vectors[i].step, vectors[i].stream, vectors[i].count,
                            out);
        for (size_t j = 0; j < vectors[i].count; j++) {
            float ulp = nextafterf(fabsf(vectors[i].expected[j]), INFINITY) - fabsf(vectors[i].expected[j]);
            assert_true(fabsf(out[j] - vectors[i].expected[j]) <= ulp);
        }
        assert_true(out[vectors[i].count] == 1234.0f);
    }
}

/* Any cut of a sample into ranges gives the numbers of the whole. */
static void test_ranges(void **state) {
    (void)state;
    enum { N = 37 };
    float whole[N], part[N];
    veer_noise_gaussian(7, 5, 3, 0, N, whole);
    for (size_t first = 0; first < N; first++)
        for (size_t count = 0; first + count <= N; count++) {
            veer_noise_gaussian_range(7, 5, 3, 0, first, count, part);
            assert_memory_equal(part, whole + first, count * sizeof *part);
        }
}

/* Mean and variance of 2^18 numbers: within 5 standard errors (1/sqrt(n) and sqrt(2/n)); neighbours uncorrelated. */
static void test_moments(void **state) {
    (void)state;
    enum { N = 1 << 18 };
    static float x[N];
    printf("seed 42\n");
    veer_noise_gaussian(42, 0, 1, 0, N, x);
    double mean = 0, square = 0, pair = 0;
    for (size_t i = 0; i < N; i++) mean += x[i], square += (double)x[i] * x[i], pair += (double)x[i] * x[i ^ 1];
    assert_true(fabs(mean / N) < 5 / sqrt(N));
    assert_true(fabs(square / N - 1) < 5 * sqrt(2.0 / N));
    assert_true(fabs(pair / N) < 5 * sqrt(2.0 / N)); /* every pair counted twice */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),    cmocka_unit_test(test_uniform_is_open),
        cmocka_unit_test(test_gaussian_vectors), cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
