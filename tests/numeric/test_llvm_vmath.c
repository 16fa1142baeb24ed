/* Our vector functions against the C library's in double: random bit patterns (every exponent), a dense set around the
 * interesting range, and the special values; at every width. The largest error is printed in ulp of the exact value. */
#include "backends/llvm/llvm.h"
#include "runtime/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 1 << 18, WIDTH_COUNT = 4 };
static const int WIDTHS[WIDTH_COUNT] = {1, 4, 8, 16};
static const uint32_t SEED = 20240607;

typedef struct math_case_s {
    const char *name;
    veer_llvm_probe_t probe;
    veer_op_t op;
    double (*exact)(double);
    double low, high; /* the dense range */
    double ulp;       /* allowed */
    double floor;     /* errors are counted in ulp of max(|y|, floor, floor_x * |x|) */
    double floor_x;
} math_case_t;

static double rsqrt_exact(double x) {
    return 1 / sqrt(x);
}
static double reciprocal_exact(double x) {
    return 1 / x;
}
static double sigmoid_exact(double x) {
    return 1 / (1 + exp(-x));
}
static double softplus_exact(double x) {
    return x > 30 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double silu_exact(double x) {
    return x / (1 + exp(-x));
}
static double gelu_exact(double x) {
    return x < -1e30 ? x * 0.0 : x * 0.5 * erfc(-x * M_SQRT1_2);
}
static double gelu_tanh_exact(double x) {
    double u = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
    return x / (1 + exp(-2 * u));
}
static double exp2_negative_exact(double x) {
    return fabs(x) > 126.5 ? 0 : exp2(-fabs(x));
}
static double sign_exact(double x) {
    return isnan(x) ? x : (x > 0) - (x < 0);
}
static double relu_exact(double x) {
    return x < 0 ? 0 : x;
}

/* 1e-38: sigmoid, silu and both gelus give 0 where the exact result is about the smallest normal number. */
static const math_case_t CASES[] = {
    {"exp", VEER_LLVM_PROBE_UNARY, VEER_OP_EXP, exp, -105, 90, 2, 0x1p-126, 0},
    {"log", VEER_LLVM_PROBE_UNARY, VEER_OP_LOG, log, 0.4, 2.5, 2, 0, 0},
    {"atan", VEER_LLVM_PROBE_UNARY, VEER_OP_ATAN, atan, -20, 20, 3, 0x1p-126, 0},
    {"tanh", VEER_LLVM_PROBE_UNARY, VEER_OP_TANH, tanh, -10, 10, 2, 0x1p-126, 0},
    {"erf", VEER_LLVM_PROBE_UNARY, VEER_OP_ERF, erf, -5, 5, 5, 0x1p-126, 0},
    {"sin", VEER_LLVM_PROBE_UNARY, VEER_OP_SIN, sin, -300, 300, 2, 0x1p-126, 0},
    {"cos", VEER_LLVM_PROBE_UNARY, VEER_OP_COS, cos, -300, 300, 2, 0x1p-126, 0},
    {"sin (large)", VEER_LLVM_PROBE_UNARY, VEER_OP_SIN, sin, -2e5, 2e5, 2, 0x1p-126, 0},
    {"cos (large)", VEER_LLVM_PROBE_UNARY, VEER_OP_COS, cos, -2e5, 2e5, 2, 0x1p-126, 0},
    {"sqrt", VEER_LLVM_PROBE_UNARY, VEER_OP_SQRT, sqrt, 0, 100, 0.5001, 0, 0},
    {"rsqrt", VEER_LLVM_PROBE_UNARY, VEER_OP_RSQRT, rsqrt_exact, 1e-3, 100, 2, 0, 0},
    {"reciprocal", VEER_LLVM_PROBE_UNARY, VEER_OP_RECIPROCAL, reciprocal_exact, -4, 4, 0.5001, 0x1p-126, 0},
    {"sigmoid", VEER_LLVM_PROBE_UNARY, VEER_OP_SIGMOID, sigmoid_exact, -90, 30, 2.5, 1e-31, 0},
    {"softplus", VEER_LLVM_PROBE_UNARY, VEER_OP_SOFTPLUS, softplus_exact, -90, 30, 2, 0x1p-126, 0},
    {"silu", VEER_LLVM_PROBE_UNARY, VEER_OP_SILU, silu_exact, -90, 30, 4, 1e-31, 1},
    {"gelu", VEER_LLVM_PROBE_UNARY, VEER_OP_GELU, gelu_exact, -6, 6, 4, 0x1p-126, 1},
    {"gelu tanh", VEER_LLVM_PROBE_GELU_TANH, VEER_OP_GELU, gelu_tanh_exact, -6, 6, 4, 1e-31, 1},
    {"exp2", VEER_LLVM_PROBE_EXP2, VEER_OP_EXP, exp2_negative_exact, -130, 0, 2, 0, 0},
    {"relu", VEER_LLVM_PROBE_UNARY, VEER_OP_RELU, relu_exact, -2, 2, 0, 0, 0},
    {"floor", VEER_LLVM_PROBE_UNARY, VEER_OP_FLOOR, floor, -9, 9, 0, 0, 0},
    {"ceil", VEER_LLVM_PROBE_UNARY, VEER_OP_CEIL, ceil, -9, 9, 0, 0, 0},
    {"round", VEER_LLVM_PROBE_UNARY, VEER_OP_ROUND, rint, -9, 9, 0, 0, 0},
    {"abs", VEER_LLVM_PROBE_UNARY, VEER_OP_ABS, fabs, -2, 2, 0, 0, 0},
    {"sign", VEER_LLVM_PROBE_UNARY, VEER_OP_SIGN, sign_exact, -2, 2, 0, 0, 0},
};
enum { CASE_COUNT = (int)(sizeof CASES / sizeof *CASES) };

static uint32_t next_bits(uint32_t *state) { /* xorshift32 */
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    return *state;
}

static void fill(float *x, double low, double high) {
    static const float special[] = {0.0f,    -0.0f,   1.0f,    -1.0f,   0.5f,    INFINITY, -INFINITY, NAN,
                                    1e-45f,  -1e-45f, 1e-38f,  -1e-38f, 3.4e38f, -3.4e38f, 88.7f,     -88.7f,
                                    -103.9f, 0.625f,  -0.625f, 3.92f,   5.4f,   65536.0f, 1e10f,     -1e20f};
    uint32_t state = SEED;
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits = next_bits(&state);
        if (i < (int)(sizeof special / sizeof *special))
            x[i] = special[i];
        else if (i % 2)
            memcpy(&x[i], &bits, sizeof bits);
        else
            x[i] = (float)(low + (high - low) * (bits * 0x1p-32));
    }
}

/* Spacing of floats at |y|, denormals included. */
static double ulp_at(double y) {
    if (!(fabs(y) < FLT_MAX)) return ldexp(1, 104);
    int exponent;
    frexp(y, &exponent);
    return ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
}

/* Error of `got` in ulp; infinity where one of them is special and the other differs. */
static double error_ulp(float got, double want, double floor) {
    float rounded = (float)want;
    if (isnan(got) || isnan(rounded)) return isnan(got) && isnan(rounded) ? 0 : INFINITY;
    if (got == rounded) return 0;
    if (isinf(got) || isinf(rounded))
        return fabs(want) > 0x1.fffffcp127 && fabsf(got) > 0x1.fffff8p127f ? 0.5 : INFINITY;
    return fabs(got - want) / ulp_at(fmax(fabs(want), floor));
}

typedef struct state_s {
    veer_llvm_t *llvm;
    veer_llvm_kernel_t kernels[CASE_COUNT][WIDTH_COUNT], pow[WIDTH_COUNT], bits[WIDTH_COUNT], gauss[WIDTH_COUNT];
} state_t;

static void check(veer_status_t status) {
    if (status) print_error("%s\n", veer_status_message(status, 0));
    assert_null(status);
}

static int set_up(void **out) {
    state_t *s = calloc(1, sizeof *s);
    check(veer_llvm_create(veer_allocator_system(), NULL, &s->llvm));
    for (int w = 0; w < WIDTH_COUNT; w++) {
        for (int c = 0; c < CASE_COUNT; c++)
            check(veer_llvm_emit_probe(s->llvm, CASES[c].probe, CASES[c].op, WIDTHS[w], &s->kernels[c][w]));
        check(veer_llvm_emit_probe(s->llvm, VEER_LLVM_PROBE_POW, VEER_OP_POW, WIDTHS[w], &s->pow[w]));
        check(veer_llvm_emit_probe(s->llvm, VEER_LLVM_PROBE_PHILOX, VEER_OP_NOISE, WIDTHS[w], &s->bits[w]));
        check(veer_llvm_emit_probe(s->llvm, VEER_LLVM_PROBE_GAUSSIAN, VEER_OP_NOISE, WIDTHS[w], &s->gauss[w]));
    }
    check(veer_llvm_finish(s->llvm));
    *out = s;
    return 0;
}

static int tear_down(void **state) {
    state_t *s = *state;
    veer_llvm_destroy(s->llvm);
    free(s);
    return 0;
}

static void run(const state_t *s, veer_llvm_kernel_t kernel, int64_t items, void *a, void *b, void *c) {
    veer_kernel_fn fn = veer_llvm_symbol(s->llvm, kernel.id);
    assert_non_null(fn);
    void *bufs[] = {a, b, c};
    veer_kernel_args_t args = {.buf = bufs, .begin = 0, .end = items, .threads = 1};
    assert_int_equal(fn(&args), VEER_KERNEL_OK);
}

static void unary_functions_are_accurate(void **state) {
    const state_t *s = *state;
    float *x = malloc(COUNT * sizeof *x), *y = malloc(COUNT * sizeof *y), *first = malloc(COUNT * sizeof *first);
    for (int c = 0; c < CASE_COUNT; c++) {
        const math_case_t *m = &CASES[c];
        fill(x, m->low, m->high);
        double worst = 0;
        int at = 0;
        for (int w = 0; w < WIDTH_COUNT; w++) {
            float *dst = w ? y : first;
            run(s, s->kernels[c][w], COUNT / WIDTHS[w], x, dst, NULL);
            for (int i = 0; i < COUNT; i++) {
                double want = m->exact((double)x[i]);
                double error = error_ulp(dst[i], want, fmax(m->floor, m->floor_x * fabs(x[i])));
                if (error > worst) worst = error, at = i;
                if (w && memcmp(&dst[i], &first[i], sizeof *dst) != 0 && !isnan(dst[i]))
                    fail_msg("%s(%a): width %d gives %a, width 1 %a", m->name, x[i], WIDTHS[w], dst[i], first[i]);
            }
        }
        print_message("%-12s max %.3f ulp at x = %a (%g)\n", m->name, worst, x[at], x[at]);
        if (worst > m->ulp)
            fail_msg("%s(%g): %.3f ulp, allowed %.3f; exact %.9g", m->name, x[at], worst, m->ulp, m->exact(x[at]));
    }
    free(x), free(y), free(first);
}

static void pow_is_accurate(void **state) {
    const state_t *s = *state;
    float *x = malloc(COUNT * sizeof *x), *y = malloc(COUNT * sizeof *y), *z = malloc(COUNT * sizeof *z);
    static const float edges[] = {0, -0.0f, 1,        -1,        2,   -2,    0.5f, -0.5f,
                                  3, -3,    INFINITY, -INFINITY, NAN, 1e30f, 1.5f, 0.9f};
    enum { EDGES = (int)(sizeof edges / sizeof *edges) };
    fill(x, 0, 8);
    fill(y, -20, 20);
    for (int i = 0; i < COUNT; i++) y[i] = i % 4 ? y[(i * 7) % COUNT] : rintf(y[i]);
    for (int i = 0; i < EDGES * EDGES; i++) x[i] = edges[i % EDGES], y[i] = edges[i / EDGES];
    double worst = 0;
    int at = 0;
    for (int w = 0; w < WIDTH_COUNT; w++) {
        run(s, s->pow[w], COUNT / WIDTHS[w], x, y, z);
        for (int i = 0; i < COUNT; i++) {
            double error = error_ulp(z[i], pow(x[i], y[i]), 0x1p-126);
            if (error > worst) worst = error, at = i;
        }
    }
    print_message("pow          max %.3f ulp at %g ^ %g\n", worst, x[at], y[at]);
    if (worst > 1) fail_msg("pow(%a, %a): %.3f ulp, allowed 1; exact %.9g", x[at], y[at], worst, pow(x[at], y[at]));
    free(x), free(y), free(z);
}

enum { BLOCKS = 1 << 14 };

static void philox_bits_are_equal(void **state) {
    const state_t *s = *state;
    uint32_t *got = malloc(BLOCKS * 4 * sizeof *got);
    uint64_t seed = 0x0123456789abcdefu;
    uint32_t words[3] = {0xfffffff0u, 7, 2}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int w = 0; w < WIDTH_COUNT; w++) {
        run(s, s->bits[w], BLOCKS / WIDTHS[w], &seed, words, got);
        for (uint32_t b = 0; b < BLOCKS; b++) {
            uint32_t want[4], ctr[4] = {b, words[0], words[1], words[2]};
            veer_philox4x32(ctr, key, want);
            assert_memory_equal(got + 4 * b, want, sizeof want);
        }
    }
    free(got);
}

static void deviates_are_close(void **state) {
    const state_t *s = *state;
    float *got = malloc(BLOCKS * 4 * sizeof *got);
    double worst = 0, largest = 0;
    for (int trial = 0; trial < 16; trial++) {
        uint64_t seed = 0x9876543210u * (uint64_t)(trial + 1);
        uint32_t words[3] = {(uint32_t)trial, 1000u - (uint32_t)trial, VEER_STREAM_GAUSSIAN};
        run(s, s->gauss[trial % WIDTH_COUNT], BLOCKS / WIDTHS[trial % WIDTH_COUNT], &seed, words, got);
        for (uint32_t b = 0; b < BLOCKS; b++) {
            float want[4];
            veer_noise_block(seed, b, words[0], words[1], words[2], want);
            for (int i = 0; i < 4; i++) {
                worst = fmax(worst, fabs((double)got[4 * b + (uint32_t)i] - want[i]));
                largest = fmax(largest, fabs(want[i]));
            }
        }
    }
    print_message("gaussian     max error %.3g, largest deviate %.3f\n", worst, largest);
    assert_true(worst <= 1e-6);
    free(got);
}

int main(void) {
    print_message("seed %u, %d values per function and width\n", SEED, COUNT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary_functions_are_accurate),
        cmocka_unit_test(pow_is_accurate),
        cmocka_unit_test(philox_bits_are_equal),
        cmocka_unit_test(deviates_are_close),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
