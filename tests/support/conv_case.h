/* What tests of convolutions of the LLVM backend share: cases with any kernel, strides, dilations and pads, what stands
 * behind them, and conv_transpose, compared with the reference backend, which adds in double. Results have guards
 * around them, scratch is filled with NaN, and work items run in 1, 2, 3 and 8 shares, by threads that begin anew and
 * by one that goes on, which must not change a bit. Include <setjmp.h>, <stdarg.h>, <stddef.h> and <cmocka.h> before.
 * Included once, behind the test's own
 *
 *     static const uint32_t SEED = ...;
 *     static const int64_t SIZES[] = {...}, CHANNELS[] = {...};    of random shapes
 *
 * which then defines emit_case and tolerance_of, and uses add_case, run_all and parsed. */
#ifndef VEER_TESTS_SUPPORT_CONV_CASE_H
#define VEER_TESTS_SUPPORT_CONV_CASE_H

#include "backends/llvm/llvm.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"
#include "ir/parse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands behind the convolution. None amplifies by more than 1.2. */
typedef enum program_e {
    NOTHING,
    SILU,
    RESIDUAL,
    SCALED, /* scale, shift, silu and residual */
    GELU,
    STEP, /* relu of a step per position */
    PROGRAMS
} program_t;

typedef struct case_s {
    int64_t n, h, w, c, m, pads[4]; /* pads: above, left, below, right */
    int64_t taps[2], strides[2], dilations[2];
    bool transposed, bias;
    program_t program;
    int64_t moment_rows; /* of blocks of positions whose moments are further results; 0: none are */
    int tile;            /* of Winograd's algorithm; 0: it is another's case */
    bool fly;
    veer_graph_t *g;
    veer_func_t func;
    veer_node_t node;
    veer_llvm_kernel_t kernel;
} case_t;

enum { MAX_CASES = 100 };

#include "tests/support/llvm_suite.h"

/* Writes c->kernel; fails where the node is declined. */
static void emit_case(suite_t *s, case_t *c);
/* How far an element may be off. Operands are at most 1. */
static double tolerance_of(const case_t *c);

/* ---- making cases ---- */

#define PICK(s, from) from[next(s) % (sizeof from / sizeof *from)]

/* With a kernel of 3x3, stride 1 and y as large as x. */
static inline case_t same_3x3(case_t c) {
    for (int i = 0; i < 4; i++) c.pads[i] = 1;
    for (int i = 0; i < 2; i++) c.taps[i] = 3, c.strides[i] = c.dilations[i] = 1;
    return c;
}

/* 3x3 with stride 1. */
static inline case_t random_shape(suite_t *s) {
    case_t c = same_3x3((case_t){.n = 1 + next(s) % 3, .h = PICK(s, SIZES), .w = PICK(s, SIZES)});
    c.c = PICK(s, CHANNELS), c.m = PICK(s, CHANNELS);
    for (int i = 0; i < 4; i++) c.pads[i] = next(s) % 3;
    return c;
}

static veer_value_t conv(const case_t *c, veer_builder_t *b, const veer_value_t *in) {
    static const int64_t zero[2] = {0, 0};
    return veer_build(b, c->transposed ? VEER_OP_CONV_TRANSPOSE : VEER_OP_CONV, in, c->bias ? 3 : 2,
                      VEER_ATTRS(VEER_INTS("strides", c->strides, 2), VEER_INTS("pads_before", c->pads, 2),
                                 VEER_INTS("pads_after", c->pads + 2, 2), VEER_INTS("dilations", c->dilations, 2),
                                 VEER_INT("groups", 1), VEER_INT("channels_last", 1),
                                 c->transposed ? VEER_INTS("output_padding", zero, 2) : (veer_named_attr_t){0}));
}

static int64_t result_size(const case_t *c, int axis) {
    int64_t in = axis ? c->w : c->h, reach = c->dilations[axis] * (c->taps[axis] - 1);
    int64_t pads = c->pads[axis] + c->pads[axis + 2];
    return c->transposed ? (in - 1) * c->strides[axis] + 1 + reach - pads
                         : (in + pads - reach - 1) / c->strides[axis] + 1;
}

static veer_type_t result_type(const case_t *c) {
    return VEER_TYPE(VEER_DTYPE_F32, c->n, result_size(c, 0), result_size(c, 1), c->m);
}

static int program_operands(const case_t *c, veer_type_t *out) {
    veer_type_t y = result_type(c), channel = VEER_TYPE(VEER_DTYPE_F32, c->n, 1, 1, c->m),
                position = VEER_TYPE(VEER_DTYPE_F32, 1, y.dims[1], y.dims[2], 1);
    switch (c->program) {
    case RESIDUAL: out[0] = y; return 1;
    case SCALED: out[0] = channel, out[1] = channel, out[2] = y; return 3;
    case STEP: out[0] = position; return 1;
    default: return 0;
    }
}

/* The convolution and what stands behind it. */
static veer_value_t program(const case_t *c, veer_builder_t *b, const veer_value_t *in) {
    veer_value_t y = conv(c, b, in);
    in += c->bias ? 3 : 2;
    switch (c->program) {
    case SILU: return veer_silu(b, y);
    case RESIDUAL: return veer_add(b, in[0], y);
    case SCALED: return veer_add(b, veer_silu(b, veer_add(b, veer_mul(b, y, in[0]), in[1])), in[2]);
    case GELU: return veer_gelu(b, y, true);
    case STEP: return veer_relu(b, veer_sub(b, y, in[0]));
    default: return y;
    }
}

/* [images, blocks, rows, channels] of y, their means, and those of the squares of what is off by. */
static int with_moments(const case_t *c, veer_builder_t *b, const veer_value_t *in, veer_value_t *out) {
    out[0] = program(c, b, in);
    if (!c->moment_rows) return 1;
    int64_t rows = result_size(c, 0) * result_size(c, 1), axis = 2;
    veer_value_t y = veer_reshape(b, out[0], VEER_DIMS(c->n, rows / c->moment_rows, c->moment_rows, c->m));
    out[1] = veer_reduce(b, VEER_OP_REDUCE_MEAN, y, &axis, 1, true);
    veer_value_t off = veer_sub(b, y, out[1]);
    out[2] = veer_reduce(b, VEER_OP_REDUCE_MEAN, veer_mul(b, off, off), &axis, 1, true);
    return 3;
}

static inline case_t *add_case(suite_t *s, case_t shape) {
    veer_builder_t b;
    case_t *c = begin_case(s, shape, &b);
    veer_type_t types[MAX_IO];
    veer_value_t in[MAX_IO];
    int own = 0;
    in[own++] = input(c, VEER_TYPE(VEER_DTYPE_F32, c->n, c->h, c->w, c->c));
    in[own++] = constant(
        s, c, &b,
        VEER_TYPE(VEER_DTYPE_F32, c->transposed ? c->c : c->m, c->transposed ? c->m : c->c, c->taps[0], c->taps[1]));
    if (c->bias) in[own++] = constant(s, c, &b, VEER_TYPE(VEER_DTYPE_F32, c->m));
    int count = program_operands(c, types);
    for (int i = 0; i < count; i++) in[own + i] = input(c, types[i]);
    finish_case(c, &b, in, own + count, c->program != NOTHING || c->moment_rows, with_moments);
    emit_case(s, c);
    return c;
}

/* ---- running ---- */

/* The last share first, each by a thread that begins anew; or in order by one thread that goes on. */
static void run_kernel(const suite_t *s, const case_t *c, void **bufs, int shares, bool goes_on) {
    int64_t items = c->kernel.work_items;
    size_t room = c->kernel.scratch_bytes, bytes = (room + 63) & ~(size_t)63;
    unsigned char *scratch = aligned_alloc(64, bytes + 64);
    memset(scratch, 0xFF, bytes + 64);
    for (int i = 0; i < shares; i++) {
        int share = goes_on ? i : shares - 1 - i;
        if (!goes_on) memset(scratch, 0xFF, bytes + 64);
        veer_kernel_args_t args = {.buf = bufs,
                                   .begin = items * share / shares,
                                   .end = items * (share + 1) / shares,
                                   .scratch = scratch,
                                   .continues = goes_on && share && items * share / shares > 0};
        if (args.begin < args.end) assert_int_equal(veer_llvm_symbol(s->llvm, c->kernel.id)(&args), 0);
        for (size_t k = room; k < bytes + 64; k++)
            if (scratch[k] != 0xFF) fail_msg("writes behind the scratch");
    }
    free(scratch);
}

/* Each element within its bound; all together must keep the 2e-5 that is promised for a layer. */
static void expect_near(const case_t *c, const float *want, const float *got) {
    veer_type_t type = result_type(c);
    double tolerance = tolerance_of(c), squares = 0, error_squares = 0;
    for (int64_t i = 0; i < veer_type_count(&type); i++) {
        double error = (double)got[i] - (double)want[i];
        squares += (double)want[i] * (double)want[i], error_squares += error * error;
        if (!(fabs(error) <= tolerance))
            fail_msg("%lldx%lldx%lldx%lld to %lld, %lldx%lld, tile %d, program %d: [%lld] is %.9g, expected %.9g "
                     "within %.3g",
                     (long long)c->n, (long long)c->h, (long long)c->w, (long long)c->c, (long long)c->m,
                     (long long)c->taps[0], (long long)c->taps[1], c->tile, c->program, (long long)i, (double)got[i],
                     (double)want[i], tolerance);
    }
    if (!(error_squares <= 4e-10 * squares))
        fail_msg("%lld to %lld channels, %lldx%lld, tile %d, program %d: relative error %.3g", (long long)c->c,
                 (long long)c->m, (long long)c->taps[0], (long long)c->taps[1], c->tile, c->program,
                 sqrt(error_squares / squares));
}

/* Against those of y as the kernel gave it, in double. Sums of 256 numbers, four at a time, and of those sums: a result
 * is rounded fewer than 300 times; m's own error only adds its square to q. */
static void expect_moments(const case_t *c, const float *y, const float *m, const float *q) {
    veer_type_t type = result_type(c);
    int64_t rows = c->moment_rows, blocks = veer_type_count(&type) / (rows * c->m);
    for (int64_t i = 0; i < blocks * c->m; i++) {
        const float *at = y + i / c->m * rows * c->m + i % c->m;
        double mean = 0, squares = 0, largest = 0, u = fmin((double)rows, 300) * 0x1p-24;
        for (int64_t r = 0; r < rows; r++)
            mean += at[r * c->m] / (double)rows, largest = fmax(largest, fabs((double)at[r * c->m]));
        for (int64_t r = 0; r < rows; r++) squares += pow(at[r * c->m] - mean, 2) / (double)rows;
        double error = fabs(m[i] - mean), q_error = fabs(q[i] - squares);
        if (!(error <= u * largest) || !(q_error <= u * squares + pow(u * largest, 2)))
            fail_msg("%lldx%lldx%lldx%lld to %lld, tile %d, program %d: moments [%lld] are %.9g and %.9g, expected "
                     "%.9g and %.9g",
                     (long long)c->n, (long long)c->h, (long long)c->w, (long long)c->c, (long long)c->m, c->tile,
                     c->program, (long long)i, (double)m[i], (double)q[i], mean, squares);
    }
}

static void run_case(suite_t *s, const case_t *c) {
    static const int SHARES[] = {1, 2, 3, 8};
    veer_tensor_t in[MAX_IO], want[MAX_RESULTS];
    void *bufs[MAX_IO + MAX_RESULTS] = {0};
    unsigned char *out[MAX_RESULTS][2];
    size_t bytes[MAX_RESULTS];
    int args = bind(s, c, in, bufs), operands = veer_node_in_count(c->g, c->node),
        results = veer_node_out_count(c->g, c->node);
    bufs[c->kernel.packed_buf] = (void *)(uintptr_t)c->kernel.packed;
    for (int k = 0; k < results; k++) {
        bytes[k] = veer_type_bytes(veer_value_type(c->g, veer_node_out(c->g, c->node, k)));
        for (int i = 0; i < 2; i++) out[k][i] = malloc(bytes[k] + 2 * GUARD);
    }
    for (size_t i = 0; i < 2 * (sizeof SHARES / sizeof *SHARES); i++) {
        for (int k = 0; k < results; k++) bufs[operands + k] = guarded(out[k][i > 0], bytes[k]);
        run_kernel(s, c, bufs, SHARES[i / 2], i % 2);
        for (int k = 0; k < results; k++) {
            expect_guards(out[k][i > 0], bytes[k]);
            assert_memory_equal(out[k][0], out[k][i > 0], bytes[k] + 2 * GUARD);
        }
    }
    check(veer_reference_eval(c->g, c->func, in, args, veer_allocator_system(), want, results));
    expect_near(c, want[0].data, (float *)(out[0][0] + GUARD));
    if (c->moment_rows)
        expect_moments(c, (float *)(out[0][0] + GUARD), (float *)(out[1][0] + GUARD), (float *)(out[2][0] + GUARD));
    for (int i = 0; i < args; i++) veer_free(veer_allocator_system(), in[i].data);
    for (int k = 0; k < results; k++) {
        veer_free(veer_allocator_system(), want[k].data);
        free(out[k][0]), free(out[k][1]);
    }
}

/* ---- graphs of one convolution, as text ---- */

#define WINDOW "strides = [1, 1], pads_before = [1, 1], pads_after = [1, 1], dilations = [1, 1]"
#define CONV   "conv %x, %w {" WINDOW ", groups = 1, channels_last = 1}"

/* x, w: types; w a constant. NULL: %w is an operand, which stands behind x's type. */
static inline veer_graph_t *parsed(const char *x, const char *w, const char *conv) {
    char text[1024], weights[128] = "";
    veer_graph_t *g;
    if (w) snprintf(weights, sizeof weights, "%%w = const %s splat 0.5\n", w);
    int length = snprintf(text, sizeof text, "graph @f(%%x: %s) {\n%s%%y = %s\nreturn %%y }\n", x, weights, conv);
    check(veer_graph_create(veer_allocator_system(), &g));
    check(veer_parse(g, text, (size_t)length, "test"));
    return g;
}

static inline veer_node_t only_node(veer_graph_t *g) {
    veer_region_t body = veer_func_body(g, veer_graph_first_func(g));
    return veer_value_def(g, veer_region_result(g, body, 0));
}

#endif
