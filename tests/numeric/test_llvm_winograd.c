/* Winograd convolutions of the LLVM backend against the reference backend's, which add in double: F(2x2) and F(4x4),
 * weights packed or transformed on the fly, odd sizes, all pads, channels that fill no vector, batches, what stands
 * behind them, and conv_transpose. Results have
 * guards around them, scratch is filled with NaN, and work items run in 1, 2, 3 and 8 shares, which must not change a
 * bit. */
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
static const uint32_t SEED = 5;

typedef struct case_s {
    int64_t n, h, w, c, m, pads[4]; /* pads: above, left, below, right */
    bool transposed, bias, fly;
    int program, tile;
    veer_graph_t *g;
    veer_func_t func;
    veer_node_t node;
    veer_llvm_kernel_t kernel;
} case_t;

#include "tests/support/llvm_suite.h"

/* ---- making cases ---- */

static veer_value_t conv(const case_t *c, veer_builder_t *b, const veer_value_t *in) {
    static const int64_t one[2] = {1, 1}, zero[2] = {0, 0};
    return veer_build(b, c->transposed ? VEER_OP_CONV_TRANSPOSE : VEER_OP_CONV, in, c->bias ? 3 : 2,
                      VEER_ATTRS(VEER_INTS("strides", one, 2), VEER_INTS("pads_before", c->pads, 2),
                                 VEER_INTS("pads_after", c->pads + 2, 2), VEER_INTS("dilations", one, 2),
                                 VEER_INT("groups", 1), VEER_INT("channels_last", 1),
                                 c->transposed ? VEER_INTS("output_padding", zero, 2) : (veer_named_attr_t){0}));
}

static veer_type_t result_type(const case_t *c) {
    int64_t grow = c->transposed ? 2 : -2, sign = c->transposed ? -1 : 1;
    return VEER_TYPE(VEER_DTYPE_F32, c->n, c->h + grow + sign * (c->pads[0] + c->pads[2]),
                     c->w + grow + sign * (c->pads[1] + c->pads[3]), c->m);
}

/* What stands behind the convolution: 0 nothing, 1 silu, 2 residual, 3 scale, shift, silu and residual, 4 gelu,
 * 5 relu of a step per position. No program amplifies by more than 1.2. */
enum { PROGRAMS = 6 };
static int program_operands(const case_t *c, veer_type_t *out) {
    veer_type_t y = result_type(c), channel = VEER_TYPE(VEER_DTYPE_F32, c->n, 1, 1, c->m),
                position = VEER_TYPE(VEER_DTYPE_F32, 1, y.dims[1], y.dims[2], 1);
    switch (c->program) {
    case 2: out[0] = y; return 1;
    case 3: out[0] = channel, out[1] = channel, out[2] = y; return 3;
    case 5: out[0] = position; return 1;
    default: return 0;
    }
}

static veer_value_t program(const case_t *c, veer_builder_t *b, veer_value_t y, const veer_value_t *in) {
    switch (c->program) {
    case 1: return veer_silu(b, y);
    case 2: return veer_add(b, in[0], y);
    case 3: return veer_add(b, veer_silu(b, veer_add(b, veer_mul(b, y, in[0]), in[1])), in[2]);
    case 4: return veer_gelu(b, y, true);
    case 5: return veer_relu(b, veer_sub(b, y, in[0]));
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
    in[own++] =
        constant(s, c, &b, VEER_TYPE(VEER_DTYPE_F32, c->transposed ? c->c : c->m, c->transposed ? c->m : c->c, 3, 3));
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
    veer_llvm_conv_t ways[VEER_LLVM_CONV_WAYS];
    if (!veer_llvm_conv_ways(s->llvm, c->g, c->node, ways, reason, sizeof reason)) fail_msg("declined: %s", reason);
    check(veer_llvm_conv_emit(s->llvm, c->g, c->node, c->tile, c->fly, &c->kernel));
    return c;
}

/* ---- running ---- */

static void run_kernel(const suite_t *s, const case_t *c, void **bufs, int shares) {
    int64_t items = c->kernel.work_items;
    size_t bytes = (c->kernel.scratch_bytes + 63) & ~(size_t)63;
    unsigned char *scratch = aligned_alloc(64, bytes + 64);
    for (int share = shares - 1; share >= 0; share--) {
        memset(scratch, 0xFF, bytes + 64);
        veer_kernel_args_t args = {
            .buf = bufs, .begin = items * share / shares, .end = items * (share + 1) / shares, .scratch = scratch};
        if (args.begin < args.end) assert_int_equal(veer_llvm_symbol(s->llvm, c->kernel.id)(&args), 0);
        for (size_t i = c->kernel.scratch_bytes; i < bytes + 64; i++)
            if (scratch[i] != 0xFF) fail_msg("writes behind the scratch");
    }
    free(scratch);
}

/* Terms of at most 1 become amplification^2 of them on the way, each rounded once per addition: C in the product, some
 * 20 in the transforms. That bounds each element; all together must keep the 2e-5 that is promised for a layer. */
static void expect_near(const case_t *c, const float *want, const float *got) {
    veer_type_t type = result_type(c);
    double amplification = veer_llvm_conv_amplification(c->tile);
    double tolerance = 1.2 * 0x1p-24 * ((double)c->c + 20) * (double)c->c * amplification * amplification + 1e-5;
    double squares = 0, error_squares = 0;
    for (int64_t i = 0; i < veer_type_count(&type); i++) {
        double error = (double)got[i] - (double)want[i];
        squares += (double)want[i] * (double)want[i], error_squares += error * error;
        if (!(fabs(error) <= tolerance))
            fail_msg("%lldx%lldx%lldx%lld to %lld, tile %d, program %d: [%lld] is %.9g, expected %.9g within %.3g",
                     (long long)c->n, (long long)c->h, (long long)c->w, (long long)c->c, (long long)c->m, c->tile,
                     c->program, (long long)i, (double)got[i], (double)want[i], tolerance);
    }
    if (!(error_squares <= 4e-10 * squares))
        fail_msg("%lld to %lld channels, tile %d, program %d: relative error %.3g", (long long)c->c, (long long)c->m,
                 c->tile, c->program, sqrt(error_squares / squares));
}

static void run_case(suite_t *s, const case_t *c) {
    static const int SHARES[] = {1, 2, 3, 8};
    veer_tensor_t in[MAX_IO], want;
    void *bufs[MAX_IO + 1] = {0};
    unsigned char *out[2];
    int args = bind(s, c, in, bufs), operands = veer_node_in_count(c->g, c->node);
    size_t bytes = veer_type_bytes(veer_value_type(c->g, veer_node_out(c->g, c->node, 0)));
    bufs[c->kernel.packed_buf] = (void *)(uintptr_t)c->kernel.packed;
    for (int i = 0; i < 2; i++) out[i] = malloc(bytes + 2 * GUARD);
    for (size_t i = 0; i < sizeof SHARES / sizeof *SHARES; i++) {
        unsigned char *to = out[i > 0];
        memset(to, 0xA5, bytes + 2 * GUARD);
        bufs[operands] = to + GUARD;
        run_kernel(s, c, bufs, SHARES[i]);
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
static const int64_t SIZES[] = {3, 4, 5, 6, 7, 8, 9, 11, 13, 16}, CHANNELS[] = {1, 3, 8, 13, 16, 20, 32, 37, 64};
#define PICK(s, from) from[next(s) % (sizeof from / sizeof *from)]

static case_t random_shape(suite_t *s) {
    case_t c = {.n = 1 + next(s) % 3, .h = PICK(s, SIZES), .w = PICK(s, SIZES)};
    c.c = PICK(s, CHANNELS), c.m = PICK(s, CHANNELS);
    for (int i = 0; i < 4; i++) c.pads[i] = next(s) % 3;
    return c;
}

static void random_shapes(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 24; i++) {
        case_t c = random_shape(s);
        c.tile = i % 2 ? 4 : 2, c.fly = i / 2 % 2, c.bias = i % 3 != 0;
        add_case(s, c);
    }
    run_all(s);
}

static void programs(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 2 * (PROGRAMS - 1); i++) {
        case_t c = random_shape(s);
        c.tile = i % 2 ? 4 : 2, c.fly = i / 2 % 2, c.bias = i % 3 != 0, c.program = 1 + i / 2;
        add_case(s, c);
    }
    run_all(s);
}

/* The gradient towards the input. */
static void transposed(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 12; i++) {
        case_t c = random_shape(s);
        c.tile = i % 2 ? 4 : 2, c.fly = i / 2 % 2, c.transposed = true, c.bias = i % 5 == 0,
        c.program = i % 4 == 3 ? 2 : 0;
        add_case(s, c);
    }
    run_all(s);
}

/* Several groups of tiles, several panels of channels, several blocks of channels the last of which is short, weights
 * that are fetched ahead; small images, whose tiles are gathered over the batch. */
static void large_cases(void **state) {
    static const case_t shapes[] = {
        {.n = 1, .h = 33, .w = 30, .c = 96, .m = 130, .program = 3, .tile = 4},
        {.n = 1, .h = 33, .w = 30, .c = 96, .m = 130, .program = 3, .tile = 2},
        {.n = 16, .h = 8, .w = 8, .c = 64, .m = 64, .program = 1, .tile = 4},
        {.n = 16, .h = 4, .w = 4, .c = 128, .m = 48, .program = 2, .tile = 4},
        {.n = 1, .h = 16, .w = 16, .c = 512, .m = 70, .tile = 4},
        {.n = 1, .h = 8, .w = 8, .c = 141, .m = 72, .tile = 4},
        {.n = 1, .h = 7, .w = 9, .c = 101, .m = 33, .tile = 2},
    };
    suite_t *s = *state;
    for (size_t i = 0; i < 2 * (sizeof shapes / sizeof *shapes); i++) {
        case_t c = shapes[i / 2];
        for (int k = 0; k < 4; k++) c.pads[k] = 1;
        c.bias = true, c.fly = i % 2;
        add_case(s, c);
    }
    run_all(s);
}

/* Equal shapes share a kernel but not its weights; each way has its own, but weights that are not transformed are the
 * same for both tiles. */
static void kernels_are_shared(void **state) {
    suite_t *s = *state;
    case_t shape = {.n = 1, .h = 6, .w = 6, .c = 3, .m = 4, .pads = {1, 1, 1, 1}, .tile = 4};
    const case_t *a = add_case(s, shape), *b = add_case(s, shape);
    shape.tile = 2;
    const case_t *two = add_case(s, shape);
    shape.fly = true;
    const case_t *fly = add_case(s, shape);
    assert_int_equal(a->kernel.id, b->kernel.id);
    assert_ptr_not_equal(a->kernel.packed, b->kernel.packed);
    assert_int_not_equal(a->kernel.id, two->kernel.id);
    assert_int_not_equal(two->kernel.id, fly->kernel.id);
    veer_llvm_kernel_t again;
    check(veer_llvm_conv_emit(s->llvm, b->g, b->node, 4, false, &again));
    assert_ptr_equal(again.packed, b->kernel.packed);
    check(veer_llvm_conv_emit(s->llvm, fly->g, fly->node, 4, true, &again));
    assert_ptr_equal(again.packed, fly->kernel.packed);
    run_all(s);
}

/* ---- which nodes, and which tiles ---- */

static veer_graph_t *parsed(const char *x, const char *w, const char *conv) {
    char text[1024];
    veer_graph_t *g;
    int length = snprintf(text, sizeof text, "graph @f(%%x: %s%s%s) {\n%s%s%%y = %s\nreturn %%y }\n", x,
                          strchr(w, '{') ? "" : ", %w: ", strchr(w, '{') ? "" : w, strchr(w, '{') ? w + 1 : "",
                          strchr(w, '{') ? "\n" : "", conv);
    check(veer_graph_create(veer_allocator_system(), &g));
    check(veer_parse(g, text, (size_t)length, "test"));
    return g;
}

#define WINDOW       "strides = [1, 1], pads_before = [1, 1], pads_after = [1, 1], dilations = [1, 1]"
#define CONV         "conv %x, %w {" WINDOW ", groups = 1, channels_last = 1}"
#define WEIGHT(type) "{%w = const " type " splat 0.5"

static veer_node_t only_node(veer_graph_t *g) {
    veer_region_t body = veer_func_body(g, veer_graph_first_func(g));
    return veer_value_def(g, veer_region_result(g, body, 0));
}

static void reasons(void **state) {
    static const struct {
        const char *x, *w, *conv, *reason;
    } declined[] = {
        {"f32[1,8,8,4]", "f32[4,4,3,3]", CONV, "no constant"},
        {"f32[1,4,8,8]", WEIGHT("f32[4,4,3,3]"), "conv %x, %w {" WINDOW ", groups = 1, channels_last = 0}", "not last"},
        {"f32[1,8,8,4]", WEIGHT("f32[4,2,3,3]"), "conv %x, %w {" WINDOW ", groups = 2, channels_last = 1}", "groups"},
        {"f32[1,8,8,4]", WEIGHT("f32[4,4,1,3]"), CONV, "not 3x3"},
        {"f64[1,8,8,4]", WEIGHT("f64[4,4,3,3]"), CONV, "expected f32"},
        {"f32[1,8,8,4]", WEIGHT("f32[4,4,3,3]"),
         "conv %x, %w {strides = [1, 2], pads_before = [1, 1], pads_after = [1, 1], dilations = [1, 1], groups = 1, "
         "channels_last = 1}",
         "stride"},
        {"f32[1,8,8,4]", WEIGHT("f32[4,4,3,3]"),
         "conv %x, %w {strides = [1, 1], pads_before = [1, 1], pads_after = [1, 1], dilations = [2, 1], groups = 1, "
         "channels_last = 1}",
         "dilation"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof declined / sizeof *declined; i++) {
        char reason[256];
        veer_graph_t *g = parsed(declined[i].x, declined[i].w, declined[i].conv);
        assert_false(veer_llvm_conv_supports(g, only_node(g), reason, sizeof reason));
        if (!strstr(reason, declined[i].reason)) fail_msg("case %zu: '%s'", i, reason);
        veer_graph_destroy(g);
    }
}

/* Of the ways for a node the one with `tile` and `fly`; its index, -1: none. */
static int find_way(const veer_llvm_conv_t *ways, int count, int tile, bool fly) {
    for (int i = 0; i < count; i++)
        if (ways[i].tile == tile && ways[i].fly == fly) return i;
    return -1;
}

/* Strict precision leaves 2x2, whose bound is near the direct method's; with a single channel not even that, and with
 * few of them only weights that were transformed in double. */
static void choices(void **state) {
    suite_t *s = *state;
    veer_llvm_conv_t ways[VEER_LLVM_CONV_WAYS];
    char reason[256];
    veer_graph_t *g = parsed("f32[1,32,32,64]", WEIGHT("f32[64,64,3,3]"), CONV);
    assert_int_equal(veer_llvm_conv_ways(s->llvm, g, only_node(g), ways, reason, sizeof reason), 4);
    assert_int_equal(find_way(ways, 4, 4, false), 0);
    for (int i = 1; i < 4; i++) assert_true(ways[i - 1].gain >= ways[i].gain && ways[i].gain > 1);
    veer_llvm_set_strict(s->llvm, true);
    assert_int_equal(veer_llvm_conv_ways(s->llvm, g, only_node(g), ways, reason, sizeof reason), 2);
    assert_true(find_way(ways, 2, 2, false) >= 0 && find_way(ways, 2, 2, true) >= 0);
    veer_graph_destroy(g);
    g = parsed("f32[1,8,8,2]", WEIGHT("f32[8,2,3,3]"), CONV);
    assert_int_equal(veer_llvm_conv_ways(s->llvm, g, only_node(g), ways, reason, sizeof reason), 1);
    assert_int_equal(find_way(ways, 1, 2, false), 0);
    veer_graph_destroy(g);
    g = parsed("f32[1,8,8,1]", WEIGHT("f32[8,1,3,3]"), CONV);
    assert_int_equal(veer_llvm_conv_ways(s->llvm, g, only_node(g), ways, reason, sizeof reason), 0);
    assert_non_null(strstr(reason, "strict"));
    veer_graph_destroy(g);
    assert_true(veer_llvm_conv_amplification(2) == 8);
}

/* Where tiles are few, weights cost more than products: they are read as they are, and with them less memory is kept.
 */
static void few_tiles(void **state) {
    suite_t *s = *state;
    veer_llvm_conv_t ways[VEER_LLVM_CONV_WAYS];
    veer_llvm_kernel_t fly, packed;
    char reason[256];
    veer_graph_t *g = parsed("f32[1,8,8,256]", WEIGHT("f32[256,256,3,3]"), CONV);
    int count = veer_llvm_conv_ways(s->llvm, g, only_node(g), ways, reason, sizeof reason);
    if (veer_llvm_lanes(s->llvm) > 4)
        assert_int_equal(find_way(ways, count, 4, true), 0); /* with 4, products cost more */
    check(veer_llvm_conv_emit(s->llvm, g, only_node(g), 4, true, &fly));
    check(veer_llvm_conv_emit(s->llvm, g, only_node(g), 4, false, &packed));
    assert_int_equal(fly.packed_bytes, 256 * 256 * 9 * 4);
    assert_int_equal(packed.packed_bytes, 4 * fly.packed_bytes);
    check(veer_llvm_finish(s->llvm));
    veer_graph_destroy(g);
}

/* What the plan says: the algorithm, as the precision allows. */
static void lowering(void **state) {
    (void)state;
    for (int strict = 0; strict < 2; strict++) {
        veer_graph_t *g = parsed("f32[1,32,32,64]", WEIGHT("f32[64,64,3,3]"), CONV);
        veer_plan_t *plan;
        veer_lower_options_t options = {.backend = VEER_BACKEND_AUTO, .strict = strict, .cache = "none"};
        check(veer_lower(g, veer_graph_first_func(g), &options, veer_allocator_system(), &plan));
        veer_call_info_t call = veer_plan_call(plan, 0);
        assert_string_equal(call.backend, "llvm");
        assert_non_null(strstr(call.reason, strict ? "winograd 2x2" : "winograd 4x4"));
        veer_plan_destroy(plan);
        veer_graph_destroy(g);
    }
}

static int run_group(const char *name, const char *target) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(programs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transposed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_cases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kernels_are_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(choices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(few_tiles, set_up, tear_down),
        cmocka_unit_test(reasons),
        cmocka_unit_test(lowering),
    };
    cpu = target;
    print_message("%s, seed %u\n", name, (unsigned)SEED);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    return run_targets(run_group);
}
