/* Winograd convolutions of the LLVM backend: F(2x2) and F(4x4), weights packed or transformed on the fly, odd sizes,
 * all pads, channels that fill no vector, batches, what stands behind them, moments for a norm, and conv_transpose. */
#include "api/lower.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint32_t SEED = 5;
static const int64_t SIZES[] = {3, 4, 5, 6, 7, 8, 9, 11, 13, 16}, CHANNELS[] = {1, 3, 8, 13, 16, 20, 32, 37, 64};

#include "tests/support/conv_case.h"

static void emit_case(suite_t *s, case_t *c) {
    char reason[256];
    veer_llvm_conv_t ways[VEER_LLVM_CONV_WAYS];
    if (!veer_llvm_conv_ways(s->llvm, c->g, c->node, ways, reason, sizeof reason)) fail_msg("declined: %s", reason);
    check(veer_llvm_conv_emit(s->llvm, c->g, c->node, c->tile, c->fly, &c->kernel));
}

/* Terms of at most 1 become amplification^2 of them on the way, each rounded once per addition: C in the product, some
 * 20 in the transforms. */
static double tolerance_of(const case_t *c) {
    double amplification = veer_llvm_conv_amplification(c->tile);
    return 1.2 * 0x1p-24 * ((double)c->c + 20) * (double)c->c * amplification * amplification + 1e-5;
}

/* ---- tests ---- */

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
        c.tile = i % 2 ? 4 : 2, c.fly = i / 2 % 2, c.bias = i % 3 != 0, c.program = SILU + i / 2;
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
        c.program = i % 4 == 3 ? RESIDUAL : NOTHING;
        add_case(s, c);
    }
    run_all(s);
}

/* Several groups of tiles, several panels of channels, several blocks of channels the last of which is short, weights
 * that are fetched ahead; small images, whose tiles are gathered over the batch. */
static void large_cases(void **state) {
    static const case_t shapes[] = {
        {.n = 1, .h = 33, .w = 30, .c = 96, .m = 130, .program = SCALED, .tile = 4},
        {.n = 1, .h = 33, .w = 30, .c = 96, .m = 130, .program = SCALED, .tile = 2},
        {.n = 16, .h = 8, .w = 8, .c = 64, .m = 64, .program = SILU, .tile = 4},
        {.n = 16, .h = 4, .w = 4, .c = 128, .m = 48, .program = RESIDUAL, .tile = 4},
        {.n = 1, .h = 16, .w = 16, .c = 512, .m = 70, .tile = 4},
        {.n = 1, .h = 8, .w = 8, .c = 141, .m = 72, .tile = 4},
        {.n = 1, .h = 7, .w = 9, .c = 101, .m = 33, .tile = 2},
    };
    suite_t *s = *state;
    for (size_t i = 0; i < 2 * (sizeof shapes / sizeof *shapes); i++) {
        case_t c = same_3x3(shapes[i / 2]);
        c.bias = true, c.fly = i % 2;
        add_case(s, c);
    }
    run_all(s);
}

/* Blocks of one row of tiles, of several and of all, and of more than one sum adds; groups of one block and of several;
 * tiles that reach over the right edge. */
static void moments(void **state) {
    static const case_t shapes[] = {
        {.n = 1, .h = 16, .w = 16, .c = 64, .m = 64, .moment_rows = 4 * 16},
        {.n = 2, .h = 8, .w = 13, .c = 33, .m = 40, .program = RESIDUAL, .moment_rows = 4 * 13},
        {.n = 1, .h = 32, .w = 32, .c = 40, .m = 130, .program = SCALED, .moment_rows = 8 * 32},
        {.n = 3, .h = 8, .w = 9, .c = 32, .m = 37, .program = SILU, .moment_rows = 8 * 9},
        {.n = 1, .h = 64, .w = 18, .c = 256, .m = 48, .moment_rows = 4 * 18},
        {.n = 1, .h = 24, .w = 7, .c = 5, .m = 3, .moment_rows = 12 * 7},
        {.n = 1, .h = 20, .w = 119, .c = 9, .m = 17, .moment_rows = 20 * 119},
        {.n = 2, .h = 12, .w = 16, .c = 48, .m = 32, .transposed = true, .moment_rows = 4 * 16},
    };
    suite_t *s = *state;
    for (size_t i = 0; i < 4 * (sizeof shapes / sizeof *shapes); i++) {
        case_t c = same_3x3(shapes[i / 4]);
        c.tile = i % 2 ? 4 : 2, c.fly = i / 2 % 2, c.bias = i % 3 != 0;
        add_case(s, c);
    }
    run_all(s);
}

/* Equal shapes share a kernel but not its weights; each way has its own, but weights that are not transformed are the
 * same for both tiles. */
static void kernels_are_shared(void **state) {
    suite_t *s = *state;
    case_t shape = same_3x3((case_t){.n = 1, .h = 6, .w = 6, .c = 3, .m = 4, .tile = 4});
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

static void reasons(void **state) {
    static const struct {
        const char *x, *w, *conv, *reason;
    } declined[] = {
        {"f32[1,8,8,4], %w: f32[4,4,3,3]", NULL, CONV, "no constant"},
        {"f32[1,4,8,8]", "f32[4,4,3,3]", "conv %x, %w {" WINDOW ", groups = 1, channels_last = 0}", "not last"},
        {"f32[1,8,8,4]", "f32[4,2,3,3]", "conv %x, %w {" WINDOW ", groups = 2, channels_last = 1}", "groups"},
        {"f32[1,8,8,4]", "f32[4,4,1,3]", CONV, "not 3x3"},
        {"f64[1,8,8,4]", "f64[4,4,3,3]", CONV, "expected f32"},
        {"f32[1,8,8,4]", "f32[4,4,3,3]",
         "conv %x, %w {strides = [1, 2], pads_before = [1, 1], pads_after = [1, 1], dilations = [1, 1], groups = 1, "
         "channels_last = 1}",
         "stride"},
        {"f32[1,8,8,4]", "f32[4,4,3,3]",
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

/* A convolution of 64 channels with moments of blocks of `rows`, whose parts are given: m of `mean_of`, over `axis`, q
 * of the product of `left` and `right`. */
static veer_graph_t *with_results(const char *reshape, const char *mean, const char *left, const char *right) {
    char text[2048];
    veer_graph_t *g;
    int length =
        snprintf(text, sizeof text,
                 "graph @f(%%x: f32[1,12,8,64], %%e: f32[1,12,8,64]) {\n%%k = const f32[64,64,3,3] splat 0.5\n"
                 "%%y, %%m, %%q = fused (%%x, %%k, %%e) {kind = \"contraction\"} (%%a: f32[1,12,8,64], "
                 "%%w: f32[64,64,3,3], %%d: f32[1,12,8,64]) {\n%%c = conv %%a, %%w {" WINDOW
                 ", groups = 1, channels_last = 1}\n%%z = add %%c, %%d\n%%r = reshape %s\n%%p = reduce_mean %s\n"
                 "%%o = sub %%r, %%p\n%%s = mul %s, %s\n"
                 "%%v = reduce_mean %%s {axes = [2], keepdims = 1}\nyield %%z, %%p, %%v }\n"
                 "return %%y, %%m, %%q }\n",
                 reshape, mean, left, right);
    check(veer_graph_create(veer_allocator_system(), &g));
    check(veer_parse(g, text, (size_t)length, "test"));
    return g;
}

static void which_moments(void **state) {
    static const char *const MEAN = "%r {axes = [2], keepdims = 1}", *const BLOCKS = "%z {dims = [1, 3, 32, 64]}";
    static const struct {
        const char *reshape, *mean, *left, *right, *reason;
    } cases[] = {
        {BLOCKS, MEAN, "%o", "%o", NULL},
        {"%z {dims = [1, 1, 96, 64]}", MEAN, "%o", "%o", NULL},
        {BLOCKS, MEAN, "%o", "%r", "no moments"},
        {BLOCKS, MEAN, "%r", "%r", "no moments"},
        {"%d {dims = [1, 3, 32, 64]}", MEAN, "%o", "%o", "no moments"},
        {"%c {dims = [1, 3, 32, 64]}", MEAN, "%o", "%o", "no moments"},
        {"%z {dims = [1, 3, 64, 32]}", MEAN, "%o", "%o", "no moments"},
        {BLOCKS, "%r {axes = [1], keepdims = 1}", "%o", "%o", "no moments"},
        {"%z {dims = [1, 6, 16, 64]}", MEAN, "%o", "%o", "not rows of tiles"},
        {"%z {dims = [1, 2, 48, 64]}", MEAN, "%o", "%o", "not rows of tiles"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reason[256];
        veer_graph_t *g = with_results(cases[i].reshape, cases[i].mean, cases[i].left, cases[i].right);
        veer_node_t node = only_node(g);
        assert_int_equal(veer_llvm_conv_supports(g, node, reason, sizeof reason), !cases[i].reason);
        assert_int_equal(veer_llvm_conv_moments_supports(g, node, reason, sizeof reason), !cases[i].reason);
        if (cases[i].reason && !strstr(reason, cases[i].reason)) fail_msg("case %zu: '%s'", i, reason);
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
    veer_graph_t *g = parsed("f32[1,32,32,64]", "f32[64,64,3,3]", CONV);
    assert_int_equal(veer_llvm_conv_ways(s->llvm, g, only_node(g), ways, reason, sizeof reason), 4);
    assert_int_equal(find_way(ways, 4, 4, false), 0);
    for (int i = 1; i < 4; i++) assert_true(ways[i - 1].gain >= ways[i].gain && ways[i].gain > 1);
    veer_llvm_set_strict(s->llvm, true);
    assert_int_equal(veer_llvm_conv_ways(s->llvm, g, only_node(g), ways, reason, sizeof reason), 2);
    assert_true(find_way(ways, 2, 2, false) >= 0 && find_way(ways, 2, 2, true) >= 0);
    veer_graph_destroy(g);
    g = parsed("f32[1,8,8,2]", "f32[8,2,3,3]", CONV);
    assert_int_equal(veer_llvm_conv_ways(s->llvm, g, only_node(g), ways, reason, sizeof reason), 1);
    assert_int_equal(find_way(ways, 1, 2, false), 0);
    veer_graph_destroy(g);
    g = parsed("f32[1,8,8,1]", "f32[8,1,3,3]", CONV);
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
    veer_graph_t *g = parsed("f32[1,8,8,256]", "f32[256,256,3,3]", CONV);
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
        veer_graph_t *g = parsed("f32[1,32,32,64]", "f32[64,64,3,3]", CONV);
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
        cmocka_unit_test_setup_teardown(moments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kernels_are_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(choices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(few_tiles, set_up, tear_down),
        cmocka_unit_test(reasons),
        cmocka_unit_test(which_moments),
        cmocka_unit_test(lowering),
    };
    cpu = target;
    print_message("%s, seed %u\n", name, (unsigned)SEED);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    return run_targets(run_group);
}
