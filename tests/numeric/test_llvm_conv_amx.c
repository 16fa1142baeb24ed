/* Convolutions on the matrix unit against the reference backend's, which add in double: kernels, strides, dilations and
 * pads of all kinds, rows of y that are whole tiles and others, batches, channels that fill no tile, what stands behind
 * them, and conv_transpose. Results have guards around them, scratch is filled with NaN, and work items run in 1, 2, 3
 * and 8 shares, by threads that begin anew and by one that goes on, which must not change a bit. On a machine without
 * the unit only what is declined is tested. */
#include "api/lower.h"
#include "backends/llvm/llvm.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"
#include "ir/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CASES = 100 };
static const uint32_t SEED = 7;

typedef struct case_s {
    int64_t n, h, w, c, m, pads[4]; /* pads: above, left, below, right */
    int64_t kernel[2], strides[2], dilations[2];
    bool transposed, bias;
    int program;
    veer_graph_t *g;
    veer_func_t func;
    veer_node_t node;
    veer_llvm_kernel_t kernel_made;
} case_t;

#include "tests/support/llvm_suite.h"

/* ---- making cases ---- */

static veer_value_t conv(const case_t *c, veer_builder_t *b, const veer_value_t *in) {
    static const int64_t zero[2] = {0, 0};
    return veer_build(b, c->transposed ? VEER_OP_CONV_TRANSPOSE : VEER_OP_CONV, in, c->bias ? 3 : 2,
                      VEER_ATTRS(VEER_INTS("strides", c->strides, 2), VEER_INTS("pads_before", c->pads, 2),
                                 VEER_INTS("pads_after", c->pads + 2, 2), VEER_INTS("dilations", c->dilations, 2),
                                 VEER_INT("groups", 1), VEER_INT("channels_last", 1),
                                 c->transposed ? VEER_INTS("output_padding", zero, 2) : (veer_named_attr_t){0}));
}

static int64_t result_size(const case_t *c, int axis) {
    int64_t in = axis ? c->w : c->h, reach = c->dilations[axis] * (c->kernel[axis] - 1);
    int64_t pads = c->pads[axis] + c->pads[axis + 2];
    return c->transposed ? in + reach - pads : (in + pads - reach - 1) / c->strides[axis] + 1;
}

static veer_type_t result_type(const case_t *c) {
    return VEER_TYPE(VEER_DTYPE_F32, c->n, result_size(c, 0), result_size(c, 1), c->m);
}

/* What stands behind the convolution: 0 nothing, 1 silu, 2 residual, 3 scale, shift, silu and residual, 4 relu of a
 * step per position. No program amplifies by more than 1.2. */
enum { PROGRAMS = 5 };
static int program_operands(const case_t *c, veer_type_t *out) {
    veer_type_t y = result_type(c), channel = VEER_TYPE(VEER_DTYPE_F32, c->n, 1, 1, c->m),
                position = VEER_TYPE(VEER_DTYPE_F32, 1, y.dims[1], y.dims[2], 1);
    switch (c->program) {
    case 2: out[0] = y; return 1;
    case 3: out[0] = channel, out[1] = channel, out[2] = y; return 3;
    case 4: out[0] = position; return 1;
    default: return 0;
    }
}

static veer_value_t program(const case_t *c, veer_builder_t *b, veer_value_t y, const veer_value_t *in) {
    switch (c->program) {
    case 1: return veer_silu(b, y);
    case 2: return veer_add(b, in[0], y);
    case 3: return veer_add(b, veer_silu(b, veer_add(b, veer_mul(b, y, in[0]), in[1])), in[2]);
    case 4: return veer_relu(b, veer_sub(b, y, in[0]));
    default: return y;
    }
}

static void add_node(case_t *c, veer_builder_t *b, veer_value_t *in, int own, int count) {
    if (!c->program) {
        c->node = veer_value_def(c->g, conv(c, b, in));
        return;
    }
    c->node = veer_builder_fused(b, "contraction", in, count);
    check(veer_builder_status(b));
    veer_region_t body = veer_node_body(c->g, c->node);
    veer_builder_t inner = veer_builder_at_end(c->g, body);
    for (int i = 0; i < count; i++) in[i] = veer_region_arg(c->g, body, i);
    veer_value_t y = program(c, &inner, conv(c, &inner, in), &in[own]);
    veer_builder_yield(&inner, &y, 1);
    check(veer_builder_status(&inner));
    veer_builder_fused_finish(b, c->node);
}

static void make_graph(suite_t *s, case_t *c) {
    check(veer_graph_create(veer_allocator_system(), &c->g));
    check(veer_graph_add_func(c->g, "f", &c->func));
    veer_builder_t b = veer_builder_at_end(c->g, veer_func_body(c->g, c->func));
    veer_type_t types[MAX_IO];
    veer_value_t in[MAX_IO];
    int own = 0;
    in[own++] = input(c, VEER_TYPE(VEER_DTYPE_F32, c->n, c->h, c->w, c->c));
    in[own++] = constant(s, c, &b,
                         VEER_TYPE(VEER_DTYPE_F32, c->transposed ? c->c : c->m, c->transposed ? c->m : c->c,
                                   c->kernel[0], c->kernel[1]));
    if (c->bias) in[own++] = constant(s, c, &b, VEER_TYPE(VEER_DTYPE_F32, c->m));
    int count = program_operands(c, types);
    for (int i = 0; i < count; i++) in[own + i] = input(c, types[i]);
    add_node(c, &b, in, own, own + count);
    check(veer_builder_status(&b));
    veer_value_t out = veer_node_out(c->g, c->node, 0);
    veer_builder_return(&b, &out, 1);
    check(veer_builder_status(&b));
}

static case_t *add_case(suite_t *s, case_t shape) {
    assert_true(s->count < MAX_CASES);
    case_t *c = &s->cases[s->count++];
    *c = shape;
    make_graph(s, c);
    char reason[256];
    double gain;
    if (!veer_llvm_conv_amx_supports(s->llvm, c->g, c->node, &gain, reason, sizeof reason))
        fail_msg("declined: %s", reason);
    assert_true(gain > 0);
    check(veer_llvm_conv_amx_emit(s->llvm, c->g, c->node, &c->kernel_made));
    return c;
}

/* ---- running ---- */

/* The last share first, each by a thread that begins anew; or in order by one thread that goes on. */
static void run_kernel(const suite_t *s, const case_t *c, void **bufs, int shares, bool goes_on) {
    int64_t items = c->kernel_made.work_items;
    size_t room = c->kernel_made.scratch_bytes, bytes = (room + 63) & ~(size_t)63;
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
        if (args.begin < args.end) assert_int_equal(veer_llvm_symbol(s->llvm, c->kernel_made.id)(&args), 0);
        for (size_t k = room; k < bytes + 64; k++)
            if (scratch[k] != 0xFF) fail_msg("writes behind the scratch");
    }
    free(scratch);
}

/* Terms are at most 1; all but 2^-16 of each is added up, in as many roundings as amx.h says. That bounds each element;
 * all together must keep the 2e-5 that is promised for a layer. */
static void expect_near(const case_t *c, const float *want, const float *got) {
    veer_type_t type = result_type(c);
    double taps = (double)(c->kernel[0] * c->kernel[1]), terms = taps * (double)c->c;
    double roundings = 4 * taps * ((double)c->c / 32 + 1) + 18 + 8;
    double tolerance = 1.2 * terms * (0x1p-16 + roundings * 0x1p-24) + 1e-5;
    double squares = 0, error_squares = 0;
    for (int64_t i = 0; i < veer_type_count(&type); i++) {
        double error = (double)got[i] - (double)want[i];
        squares += (double)want[i] * (double)want[i], error_squares += error * error;
        if (!(fabs(error) <= tolerance))
            fail_msg("%lldx%lldx%lldx%lld to %lld, %lldx%lld, program %d: [%lld] is %.9g, expected %.9g within %.3g",
                     (long long)c->n, (long long)c->h, (long long)c->w, (long long)c->c, (long long)c->m,
                     (long long)c->kernel[0], (long long)c->kernel[1], c->program, (long long)i, (double)got[i],
                     (double)want[i], tolerance);
    }
    if (!(error_squares <= 4e-10 * squares))
        fail_msg("%lld to %lld channels, program %d: relative error %.3g", (long long)c->c, (long long)c->m, c->program,
                 sqrt(error_squares / squares));
}

static void run_case(suite_t *s, const case_t *c) {
    static const int SHARES[] = {1, 2, 3, 8};
    veer_tensor_t in[MAX_IO], want;
    void *bufs[MAX_IO + 1] = {0};
    unsigned char *out[2];
    int args = bind(s, c, in, bufs), operands = veer_node_in_count(c->g, c->node);
    size_t bytes = veer_type_bytes(veer_value_type(c->g, veer_node_out(c->g, c->node, 0)));
    bufs[c->kernel_made.packed_buf] = (void *)(uintptr_t)c->kernel_made.packed;
    for (int i = 0; i < 2; i++) out[i] = malloc(bytes + 2 * GUARD);
    for (size_t i = 0; i < 2 * (sizeof SHARES / sizeof *SHARES); i++) {
        unsigned char *to = out[i > 0];
        memset(to, 0xA5, bytes + 2 * GUARD);
        bufs[operands] = to + GUARD;
        run_kernel(s, c, bufs, SHARES[i / 2], i % 2);
        for (int k = 0; k < GUARD; k++)
            if (to[k] != 0xA5 || to[GUARD + bytes + (size_t)k] != 0xA5) fail_msg("writes outside the result");
        assert_memory_equal(out[0], to, bytes + 2 * GUARD);
    }
    check(veer_reference_eval(c->g, c->func, in, args, veer_allocator_system(), &want, 1));
    expect_near(c, want.data, (float *)(out[0] + GUARD));
    veer_free(veer_allocator_system(), want.data);
    for (int i = 0; i < args; i++) veer_free(veer_allocator_system(), in[i].data);
    free(out[0]), free(out[1]);
}

/* ---- tests ---- */

static const int64_t SIZES[] = {5, 6, 7, 8, 9, 11, 13, 16, 18, 32}, CHANNELS[] = {8, 13, 16, 20, 32, 37, 48, 64, 96};
static const int64_t KERNELS[] = {1, 2, 3, 3, 3, 3, 4, 5};
#define PICK(s, from) from[next(s) % (sizeof from / sizeof *from)]

static case_t random_shape(suite_t *s) {
    case_t c = {.n = 1 + next(s) % 3, .h = PICK(s, SIZES), .w = PICK(s, SIZES)};
    c.c = PICK(s, CHANNELS), c.m = PICK(s, CHANNELS);
    for (int i = 0; i < 4; i++) c.pads[i] = next(s) % 3;
    for (int i = 0; i < 2; i++) c.kernel[i] = 3, c.strides[i] = c.dilations[i] = 1;
    return c;
}

/* 3x3 with stride 1. */
static void random_shapes(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 24; i++) {
        case_t c = random_shape(s);
        c.bias = i % 3 != 0;
        add_case(s, c);
    }
    run_all(s);
}

static void windows(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 32; i++) {
        case_t c = random_shape(s);
        c.bias = i % 3 != 0, c.h += 8, c.w += 8;
        for (int k = 0; k < 2; k++) {
            c.kernel[k] = PICK(s, KERNELS);
            c.strides[k] = 1 + next(s) % 3, c.dilations[k] = 1 + next(s) % 4 / 2;
            if (i % 4 == 0) c.strides[k] = 1;
        }
        add_case(s, c);
    }
    run_all(s);
}

static void programs(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 3 * (PROGRAMS - 1); i++) {
        case_t c = random_shape(s);
        c.bias = i % 2 != 0, c.program = 1 + i / 3;
        if (i % 3 == 0) c.w = 16, c.pads[1] = c.pads[3] = 1;
        add_case(s, c);
    }
    run_all(s);
}

/* The gradient towards the input, also of a convolution with pads wider than its kernel reaches. */
static void transposed(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 16; i++) {
        case_t c = random_shape(s);
        c.transposed = true, c.bias = i % 5 == 0, c.program = i % 4 == 3 ? 2 : 0;
        if (i % 4 == 1) c.kernel[0] = 5, c.dilations[1] = 2;
        if (i % 8 == 2) c.kernel[0] = 1, c.kernel[1] = 2, c.h = c.w = 18;
        add_case(s, c);
    }
    run_all(s);
}

/* Several groups of rows, the last of them shorter; several images in a group, the last group with fewer; weights that
 * are fetched ahead; panels of one tile at the end. */
static void large_cases(void **state) {
    static const case_t shapes[] = {
        {.n = 1, .h = 33, .w = 30, .c = 96, .m = 130, .program = 3},
        {.n = 1, .h = 64, .w = 64, .c = 64, .m = 64},
        {.n = 16, .h = 8, .w = 8, .c = 64, .m = 64, .program = 1},
        {.n = 16, .h = 4, .w = 4, .c = 128, .m = 48, .program = 2},
        {.n = 1, .h = 16, .w = 16, .c = 512, .m = 70},
        {.n = 1, .h = 8, .w = 8, .c = 141, .m = 72},
        {.n = 7, .h = 7, .w = 7, .c = 40, .m = 33},
        {.n = 2, .h = 53, .w = 16, .c = 192, .m = 16},
        {.n = 3, .h = 31, .w = 31, .c = 160, .m = 32},
    };
    suite_t *s = *state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        case_t c = shapes[i];
        for (int k = 0; k < 4; k++) c.pads[k] = 1;
        for (int k = 0; k < 2; k++) c.kernel[k] = 3, c.strides[k] = c.dilations[k] = 1;
        c.bias = true;
        add_case(s, c);
    }
    run_all(s);
}

static const case_t SMALL = {.n = 1,
                             .h = 6,
                             .w = 6,
                             .c = 8,
                             .m = 8,
                             .pads = {1, 1, 1, 1},
                             .kernel = {3, 3},
                             .strides = {1, 1},
                             .dilations = {1, 1}};

/* Equal shapes share a kernel but not its weights. */
static void kernels_are_shared(void **state) {
    suite_t *s = *state;
    const case_t *a = add_case(s, SMALL), *b = add_case(s, SMALL);
    assert_int_equal(a->kernel_made.id, b->kernel_made.id);
    assert_ptr_not_equal(a->kernel_made.packed, b->kernel_made.packed);
    veer_llvm_kernel_t again;
    check(veer_llvm_conv_amx_emit(s->llvm, b->g, b->node, &again));
    assert_ptr_equal(again.packed, b->kernel_made.packed);
    run_all(s);
}

/* A NaN in x reaches the positions whose windows hold it and no others. */
static void nan_stays_nan(void **state) {
    suite_t *s = *state;
    const case_t *c = add_case(s, SMALL);
    veer_tensor_t in[MAX_IO];
    void *bufs[MAX_IO + 1] = {0};
    int args = bind(s, c, in, bufs);
    float y[6 * 6 * 8];
    ((float *)in[0].data)[(2 * 6 + 3) * 8 + 5] = NAN;
    check(veer_llvm_finish(s->llvm));
    bufs[c->kernel_made.packed_buf] = (void *)(uintptr_t)c->kernel_made.packed;
    bufs[veer_node_in_count(c->g, c->node)] = y;
    run_kernel(s, c, bufs, 1, false);
    for (int i = 0; i < 6 * 6 * 8; i++) {
        int h = i / 48, w = i / 8 % 6;
        assert_int_equal(isnan(y[i]) != 0, abs(h - 2) <= 1 && abs(w - 3) <= 1);
    }
    for (int i = 0; i < args; i++) veer_free(veer_allocator_system(), in[i].data);
}

/* ---- which nodes ---- */

static veer_graph_t *parsed(const char *x, const char *w, const char *conv) {
    char text[1024];
    veer_graph_t *g;
    int length = snprintf(text, sizeof text, "graph @f(%%x: %s) {\n%%w = const %s splat 0.5\n%%y = %s\nreturn %%y }\n",
                          x, w, conv);
    check(veer_graph_create(veer_allocator_system(), &g));
    check(veer_parse(g, text, (size_t)length, "test"));
    return g;
}

#define WINDOW "strides = [1, 1], pads_before = [1, 1], pads_after = [1, 1], dilations = [1, 1]"
#define CONV   "conv %x, %w {" WINDOW ", groups = 1, channels_last = 1}"

static veer_node_t only_node(veer_graph_t *g) {
    veer_region_t body = veer_func_body(g, veer_graph_first_func(g));
    return veer_value_def(g, veer_region_result(g, body, 0));
}

static void expect_declined(suite_t *s, const char *x, const char *w, const char *conv, const char *why) {
    char reason[256];
    double gain;
    veer_graph_t *g = parsed(x, w, conv);
    veer_llvm_kernel_t kernel;
    assert_false(veer_llvm_conv_amx_supports(s->llvm, g, only_node(g), &gain, reason, sizeof reason));
    if (!strstr(reason, why)) fail_msg("'%s' says nothing of '%s'", reason, why);
    veer_status_t status = veer_llvm_conv_amx_emit(s->llvm, g, only_node(g), &kernel);
    assert_int_equal(veer_status_code(status), VEER_ERR_UNSUPPORTED);
    veer_status_free(status);
    veer_graph_destroy(g);
}

static void reasons(void **state) {
    suite_t *s = *state;
    expect_declined(s, "f32[1,32,8,8]", "f32[32,32,3,3]", "conv %x, %w {" WINDOW ", groups = 1, channels_last = 0}",
                    "not last");
    expect_declined(s, "f32[1,8,8,32]", "f32[32,16,3,3]", "conv %x, %w {" WINDOW ", groups = 2, channels_last = 1}",
                    "groups");
    expect_declined(s, "f32[1,8,8,3]", "f32[32,3,3,3]", CONV, "too few channels");
    expect_declined(s, "f32[1,3,3,32]", "f32[32,32,3,3]", CONV, "too few positions");
    expect_declined(s, "f32[1,8,8,32]", "f32[32,32,7,7]", CONV, "kernel is too large");
    veer_llvm_set_strict(s->llvm, true);
    expect_declined(s, "f32[1,8,8,32]", "f32[32,32,3,3]", CONV, "strict");
}

static void other_targets(void **state) {
    suite_t *s = *state;
    expect_declined(s, "f32[1,8,8,32]", "f32[32,32,3,3]", CONV, "no matrix unit");
}

/* What the plan says: strides are the unit's, but not in strict precision; what Winograd's algorithm does is not. */
static void lowering(void **state) {
    static const char *const strided = "conv %x, %w {strides = [2, 2], pads_before = [1, 1], pads_after = [1, 1], "
                                       "dilations = [1, 1], groups = 1, channels_last = 1}";
    (void)state;
    for (int i = 0; i < 3; i++) {
        bool strict = i == 1, winograd = i == 2;
        veer_graph_t *g = parsed("f32[1,32,32,64]", "f32[64,64,3,3]", winograd ? CONV : strided);
        veer_plan_t *plan;
        veer_lower_options_t options = {.backend = VEER_BACKEND_AUTO, .strict = strict, .cache = "none"};
        check(veer_lower(g, veer_graph_first_func(g), &options, veer_allocator_system(), &plan));
        veer_call_info_t call = veer_plan_call(plan, 0);
        assert_int_equal(!strcmp(call.backend, "llvm"), !strict);
        if (strict) assert_non_null(strstr(call.reason, "conv amx declined: strict"));
        if (winograd) assert_non_null(strstr(call.reason, "winograd"));
        veer_plan_destroy(plan);
        veer_graph_destroy(g);
    }
}

/* Whether kernels for this machine may use the unit. */
static bool has_unit(void) {
    veer_llvm_t *llvm;
    char reason[256];
    double gain;
    check(veer_llvm_create(veer_allocator_system(), NULL, &llvm));
    veer_graph_t *g = parsed("f32[1,8,8,32]", "f32[32,32,3,3]", CONV);
    bool has = veer_llvm_conv_amx_supports(llvm, g, only_node(g), &gain, reason, sizeof reason);
    if (!has) print_message("skipped: %s\n", reason);
    veer_graph_destroy(g);
    veer_llvm_destroy(llvm);
    return has;
}

int main(void) {
    const struct CMUnitTest with_unit[] = {
        cmocka_unit_test_setup_teardown(random_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(windows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(programs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transposed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_cases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kernels_are_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nan_stays_nan, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reasons, set_up, tear_down),
        cmocka_unit_test(lowering),
    };
    const struct CMUnitTest without[] = {cmocka_unit_test_setup_teardown(other_targets, set_up, tear_down)};
    int failed = 0;
    print_message("seed %u\n", (unsigned)SEED);
    if (has_unit()) failed += cmocka_run_group_tests_name("native", with_unit, NULL, NULL);
    cpu = "x86-64-v3";
    return failed + cmocka_run_group_tests_name("avx2", without, NULL, NULL);
}
