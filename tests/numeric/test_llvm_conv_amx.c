/* Convolutions on the matrix unit: kernels, strides, dilations and pads of all kinds, rows of y that are whole tiles
 * and others, batches, channels that fill no tile, what stands behind them, and conv_transpose. On a machine without
 * the unit only what is declined is tested. */
#include "api/lower.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint32_t SEED = 7;
static const int64_t SIZES[] = {5, 6, 7, 8, 9, 11, 13, 16, 18, 32}, CHANNELS[] = {8, 13, 16, 20, 32, 37, 48, 64, 96};

#include "tests/support/conv_case.h"

static void emit_case(suite_t *s, case_t *c) {
    char reason[256];
    double gain;
    if (!veer_llvm_conv_amx_supports(s->llvm, c->g, c->node, &gain, reason, sizeof reason))
        fail_msg("declined: %s", reason);
    assert_true(gain > 0);
    check(veer_llvm_conv_amx_emit(s->llvm, c->g, c->node, &c->kernel));
}

/* Terms are at most 1; all but 2^-15 of each is added up, in as many roundings as amx.h says. */
static double tolerance_of(const case_t *c) {
    double taps = (double)(c->taps[0] * c->taps[1]), terms = taps * (double)c->c;
    double roundings = 3 * taps * ((double)c->c / 32 + 1) + 18 + 8;
    return 1.2 * terms * (0x1p-15 + roundings * 0x1p-24) + 1e-5;
}

/* ---- tests ---- */

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
    static const int64_t taps[] = {1, 2, 3, 3, 3, 3, 4, 5};
    suite_t *s = *state;
    for (int i = 0; i < 32; i++) {
        case_t c = random_shape(s);
        c.bias = i % 3 != 0, c.h += 8, c.w += 8;
        for (int k = 0; k < 2; k++) {
            c.taps[k] = PICK(s, taps);
            c.strides[k] = 1 + next(s) % 3, c.dilations[k] = 1 + next(s) % 4 / 2;
            if (i % 4 == 0) c.strides[k] = 1;
        }
        add_case(s, c);
    }
    run_all(s);
}

static void programs(void **state) {
    static const program_t all[] = {SILU, RESIDUAL, SCALED, STEP};
    suite_t *s = *state;
    for (size_t i = 0; i < 3 * (sizeof all / sizeof *all); i++) {
        case_t c = random_shape(s);
        c.bias = i % 2 != 0, c.program = all[i / 3];
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
        c.transposed = true, c.bias = i % 5 == 0, c.program = i % 4 == 3 ? RESIDUAL : NOTHING;
        if (i % 4 == 1) c.taps[0] = 5, c.dilations[1] = 2;
        if (i % 8 == 2) c.taps[0] = 1, c.taps[1] = 2, c.h = c.w = 18;
        add_case(s, c);
    }
    run_all(s);
}

/* Several groups of rows, the last of them shorter; several images in a group, the last group with fewer; weights that
 * are fetched ahead; panels of one tile at the end. */
static void large_cases(void **state) {
    static const case_t shapes[] = {
        {.n = 1, .h = 33, .w = 30, .c = 96, .m = 130, .program = SCALED},
        {.n = 1, .h = 64, .w = 64, .c = 64, .m = 64},
        {.n = 16, .h = 8, .w = 8, .c = 64, .m = 64, .program = SILU},
        {.n = 16, .h = 4, .w = 4, .c = 128, .m = 48, .program = RESIDUAL},
        {.n = 1, .h = 16, .w = 16, .c = 512, .m = 70},
        {.n = 1, .h = 8, .w = 8, .c = 141, .m = 72},
        {.n = 7, .h = 7, .w = 7, .c = 40, .m = 33},
        {.n = 2, .h = 53, .w = 16, .c = 192, .m = 16},
        {.n = 3, .h = 31, .w = 31, .c = 160, .m = 32},
    };
    suite_t *s = *state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        case_t c = same_3x3(shapes[i]);
        c.bias = true;
        add_case(s, c);
    }
    run_all(s);
}

static const case_t SMALL = {.n = 1, .h = 6, .w = 6, .c = 8, .m = 8};

/* Equal shapes share a kernel but not its weights. */
static void kernels_are_shared(void **state) {
    suite_t *s = *state;
    const case_t *a = add_case(s, same_3x3(SMALL)), *b = add_case(s, same_3x3(SMALL));
    assert_int_equal(a->kernel.id, b->kernel.id);
    assert_ptr_not_equal(a->kernel.packed, b->kernel.packed);
    veer_llvm_kernel_t again;
    check(veer_llvm_conv_amx_emit(s->llvm, b->g, b->node, &again));
    assert_ptr_equal(again.packed, b->kernel.packed);
    run_all(s);
}

/* A NaN in x reaches the positions whose windows hold it and no others. */
static void nan_stays_nan(void **state) {
    suite_t *s = *state;
    const case_t *c = add_case(s, same_3x3(SMALL));
    veer_tensor_t in[MAX_IO];
    void *bufs[MAX_IO + 1] = {0};
    int args = bind(s, c, in, bufs);
    float y[6 * 6 * 8];
    ((float *)in[0].data)[(2 * 6 + 3) * 8 + 5] = NAN;
    check(veer_llvm_finish(s->llvm));
    bufs[c->kernel.packed_buf] = (void *)(uintptr_t)c->kernel.packed;
    bufs[veer_node_in_count(c->g, c->node)] = y;
    run_kernel(s, c, bufs, 1, false);
    for (int i = 0; i < 6 * 6 * 8; i++) {
        int h = i / 48, w = i / 8 % 6;
        assert_int_equal(isnan(y[i]) != 0, abs(h - 2) <= 1 && abs(w - 3) <= 1);
    }
    for (int i = 0; i < args; i++) veer_free(veer_allocator_system(), in[i].data);
}

/* ---- which nodes ---- */

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
