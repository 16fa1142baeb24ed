/* oneDNN's kernels of images: convolutions of random shapes with chains behind them, pools, resampling, reorders, in
 * both layouts (as the graph says or as the caller says). What is declined, failing allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backends/onednn/match.h"
#include "ir/channels.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/onednn_case.h"

enum { SEED = 20261 };
static const veer_onednn_layouts_t last = {VEER_ONEDNN_CHANNELS_LAST, VEER_ONEDNN_CHANNELS_LAST};
static const veer_onednn_layouts_t mixed = {VEER_ONEDNN_PLAIN, VEER_ONEDNN_CHANNELS_LAST};

/* ---- convolution ---- */

typedef struct conv_s {
    bool transposed, bias;
    int spatial;
    int64_t n, c, m, groups; /* channels in and out */
    int64_t in[3], kernel[3], strides[3], dilations[3], before[3], after[3], output_padding[3];
    bool last; /* the graph itself has its channels last */
} conv_t;

enum { GRAPH_LAST = 3, VARIANTS }; /* of layouts: by the caller, or by the graph */

static veer_onednn_layouts_t variant(conv_t *c, uint64_t i) {
    c->last = i % VARIANTS == GRAPH_LAST;
    return (veer_onednn_layouts_t[]){plain, last, mixed, plain}[i % VARIANTS];
}

static veer_type_t image_type(const conv_t *c) {
    int64_t x[5] = {c->n};
    x[c->last ? 1 + c->spatial : 1] = c->c;
    for (int i = 0; i < c->spatial; i++) x[c->last ? 1 + i : 2 + i] = c->in[i];
    return veer_type_make(VEER_DTYPE_F32, 2 + c->spatial, x);
}

static veer_node_t build_conv(subject_t *s, const conv_t *c, const veer_value_t *operands) {
    int n = c->spatial;
    return veer_build_node(
        &s->b, c->transposed ? VEER_OP_CONV_TRANSPOSE : VEER_OP_CONV, operands, c->bias ? 3 : 2,
        VEER_ATTRS(VEER_INTS("strides", c->strides, n), VEER_INTS("pads_before", c->before, n),
                   VEER_INTS("pads_after", c->after, n), VEER_INTS("dilations", c->dilations, n),
                   VEER_INT("groups", c->groups), VEER_INT("channels_last", c->last),
                   c->transposed ? VEER_INTS("output_padding", c->output_padding, n) : (veer_named_attr_t){0}));
}

static void conv_operands(subject_t *s, const conv_t *c) {
    int64_t w[5] = {c->m, c->c / c->groups};
    if (c->transposed) w[0] = c->c, w[1] = c->m / c->groups;
    s->terms = c->c / c->groups;
    for (int i = 0; i < c->spatial; i++) w[2 + i] = c->kernel[i], s->terms *= c->kernel[i];
    add_arg(s, image_type(c));
    add_const(s, veer_type_make(VEER_DTYPE_F32, 2 + c->spatial, w));
    if (c->bias) add_const(s, VEER_TYPE(VEER_DTYPE_F32, c->m));
}

static bool check_conv(const conv_t *c, uint64_t seed, veer_onednn_layouts_t layouts) {
    subject_t s = subject(seed);
    conv_operands(&s, c);
    finish(&s, build_conv(&s, c, s.operands));
    return check(&s, layouts);
}

static conv_t conv_2d(int64_t n, int64_t c, int64_t m, int64_t size, int64_t kernel, int64_t stride) {
    return (conv_t){.bias = true,
                    .spatial = 2,
                    .n = n,
                    .c = c,
                    .m = m,
                    .groups = 1,
                    .in = {size, size},
                    .kernel = {kernel, kernel},
                    .strides = {stride, stride},
                    .dilations = {1, 1},
                    .before = {kernel / 2, kernel / 2},
                    .after = {kernel / 2, kernel / 2}};
}

/* The shapes of the models: oneDNN must take them. */
static void test_conv_of_models(void **state) {
    (void)state;
    const conv_t cases[] = {conv_2d(16, 1, 32, 8, 3, 1),   conv_2d(16, 32, 32, 8, 3, 1), conv_2d(16, 96, 64, 4, 3, 1),
                            conv_2d(1, 64, 64, 32, 3, 1),  conv_2d(1, 3, 64, 64, 3, 1),  conv_2d(1, 64, 6, 64, 3, 1),
                            conv_2d(1, 128, 128, 8, 3, 1), conv_2d(2, 64, 48, 16, 1, 1), conv_2d(1, 64, 64, 32, 3, 2),
                            conv_2d(3, 32, 64, 8, 3, 2),   conv_2d(2, 256, 96, 8, 1, 1)};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint64_t l = 0; l < VARIANTS; l++) {
            conv_t conv = cases[i];
            veer_onednn_layouts_t layouts = variant(&conv, l);
            assert_true(check_conv(&conv, SEED + i, layouts));
            conv.transposed = true; /* the gradient of such a convolution */
            if (cases[i].strides[0] > 1) conv.output_padding[0] = conv.output_padding[1] = 1;
            assert_true(check_conv(&conv, SEED + i, layouts));
        }
}

static conv_t random_conv(random_t *r, bool transposed) {
    conv_t c = {.transposed = transposed, .bias = random_below(r, 2), .spatial = 1 + random_below(r, 3)};
    c.n = random_below(r, 4) ? 1 + random_below(r, 3) : 19;
    c.groups = random_below(r, 3) ? 1 : 1 + random_below(r, 4);
    c.c = c.groups * (1 + random_below(r, random_below(r, 2) ? 5 : 33));
    c.m = c.groups * (1 + random_below(r, random_below(r, 2) ? 5 : 33));
    if (random_below(r, 6) == 0) c.groups = c.m = c.c;
    for (int i = 0; i < c.spatial; i++) {
        c.kernel[i] = 1 + random_below(r, 4), c.strides[i] = 1 + random_below(r, 3),
        c.dilations[i] = 1 + random_below(r, 2);
        int64_t extent = (c.kernel[i] - 1) * c.dilations[i] + 1;
        c.before[i] = random_below(r, (int)extent), c.after[i] = random_below(r, (int)extent);
        c.in[i] = extent + random_below(r, c.spatial == 1 ? 200 : c.spatial == 2 ? 24 : 6);
        c.output_padding[i] = transposed ? random_below(r, (int)c.strides[i]) : 0;
    }
    return c;
}

static void check_random_convs(bool transposed, int count) {
    random_t r = {SEED};
    int taken = 0;
    for (int i = 0; i < count; i++) {
        conv_t c = random_conv(&r, transposed);
        veer_onednn_layouts_t layouts = variant(&c, (uint64_t)i);
        taken += check_conv(&c, SEED + (uint64_t)i, layouts);
    }
    print_message("seed %d: %d of %d taken\n", SEED, taken, count);
    assert_true(taken * 2 > count);
}

static void test_random_conv(void **state) {
    (void)state, check_random_convs(false, 150);
}
static void test_random_conv_transpose(void **state) {
    (void)state, check_random_convs(true, 150);
}

/* ---- chains of post-ops ---- */

static veer_node_t build_conv_core(subject_t *s, const void *core, const veer_value_t *operands) {
    return build_conv(s, core, operands);
}

static void test_conv_chains(void **state) {
    (void)state;
    random_t r = {SEED};
    int taken = 0;
    for (uint64_t i = 0; i < 120; i++) {
        conv_t conv = conv_2d(1 + random_below(&r, 9), 8 * (1 + random_below(&r, 4)), 3 + random_below(&r, 30),
                              6 + random_below(&r, 11), 1 + 2 * random_below(&r, 2), 1);
        conv.bias = random_below(&r, 2);
        chain_t c = random_chain(&r);
        subject_t s = subject(SEED + i);
        veer_onednn_layouts_t layouts = variant(&conv, i);
        conv_operands(&s, &conv);
        finish_chain(&s, &c, &conv, conv.last ? 3 : 1, build_conv_core);
        taken += check(&s, layouts);
    }
    print_message("seed %d: %d of 120 taken\n", SEED, taken);
    assert_true(taken >= 100);
}

/* Every way in which an operand can broadcast to the result: taken or declined, but never wrong. */
static void test_operands_of_chains_broadcast(void **state) {
    (void)state;
    for (int axes = 0; axes < 16; axes++)
        for (uint64_t i = 0; i < 18; i++) {
            chain_t c = {.activation = {-1, -1}, .binary = {(int)i % 2, -1}, .operand = {BY_AXES + axes}};
            conv_t conv = conv_2d(i % 9 < 6 ? 3 : 1, i % 3 == 2 ? 32 : 8, i % 3 ? 32 : 1, 8, i % 2 ? 3 : 1, 1);
            subject_t s = subject(SEED + i);
            conv.last = i >= 9 && i % 3;
            conv_operands(&s, &conv);
            finish_chain(&s, &c, &conv, conv.last ? 3 : 1, build_conv_core);
            check(&s, i % 3 ? plain : last);
        }
}

/* ---- pools and resampling ---- */

static veer_node_t build_pool(subject_t *s, bool is_max, bool ceil_mode, bool include, const conv_t *c) {
    int n = c->spatial;
    return veer_build_node(&s->b, is_max ? VEER_OP_MAX_POOL : VEER_OP_AVG_POOL, s->operands, 1,
                           VEER_ATTRS(VEER_INTS("kernel", c->kernel, n), VEER_INTS("strides", c->strides, n),
                                      VEER_INTS("pads_before", c->before, n), VEER_INTS("pads_after", c->after, n),
                                      VEER_INTS("dilations", c->dilations, n), VEER_INT("ceil_mode", ceil_mode),
                                      VEER_INT("channels_last", c->last),
                                      is_max ? (veer_named_attr_t){0} : VEER_INT("count_include_pad", include)));
}

static void test_random_pools(void **state) {
    (void)state;
    random_t r = {SEED};
    int taken = 0;
    for (uint64_t i = 0; i < 120; i++) {
        conv_t c = random_conv(&r, false);
        for (int k = 0; k < c.spatial; k++) {
            c.dilations[k] = 1;
            c.before[k] = c.before[k] < c.kernel[k] ? c.before[k] : 0,
            c.after[k] = c.after[k] < c.kernel[k] ? c.after[k] : 0;
        }
        subject_t s = subject(SEED + i);
        c.last = i % 6 >= 4;
        add_arg(&s, image_type(&c));
        finish(&s, build_pool(&s, i & 1, random_below(&r, 2), random_below(&r, 2), &c));
        taken += check(&s, i % 6 < 2 || c.last ? plain : last);
    }
    print_message("seed %d: %d of 120 taken\n", SEED, taken);
    assert_true(taken >= 60);
}

/* x: [N, C, s...], in the graph also [N, s..., C]. */
static bool check_resize(bool graph_last, veer_type_t x, const int64_t *factors, const char *mode,
                         const char *coordinate, const char *nearest, veer_onednn_layouts_t layouts) {
    subject_t s = subject(SEED);
    int64_t dims[5];
    double scales[5];
    int from = graph_last ? 1 : 2;
    x = veer_channels_last(&x, graph_last);
    for (int i = 0; i < x.rank; i++) {
        int64_t factor = i >= from && i < from + x.rank - 2 ? factors[i - from] : 1;
        dims[i] = x.dims[i] * factor, scales[i] = (double)factor;
    }
    add_arg(&s, x);
    finish(&s, veer_build_node(&s.b, VEER_OP_RESIZE, s.operands, 1,
                               VEER_ATTRS(VEER_INTS("dims", dims, x.rank), VEER_FLOATS("scales", scales, x.rank),
                                          VEER_STRING("mode", mode), VEER_STRING("coordinate", coordinate),
                                          VEER_STRING("nearest_mode", nearest))));
    return check(&s, layouts);
}

static void test_resize(void **state) {
    (void)state;
    veer_type_t x = VEER_TYPE(VEER_DTYPE_F32, 2, 19, 8, 5), volume = VEER_TYPE(VEER_DTYPE_F32, 1, 3, 4, 5, 6);
    for (int l = 0; l < 3; l++) {
        veer_onednn_layouts_t layouts = l == 1 ? last : plain;
        assert_true(check_resize(l == 2, x, (int64_t[]){2, 2}, "nearest", "asymmetric", "floor", layouts));
        assert_true(check_resize(l == 2, x, (int64_t[]){2, 3}, "nearest", "half_pixel", "round_prefer_floor", layouts));
        assert_true(check_resize(l == 2, x, (int64_t[]){2, 3}, "linear", "half_pixel", "floor", layouts));
        assert_true(check_resize(l == 2, volume, (int64_t[]){1, 2, 3}, "linear", "half_pixel", "floor", layouts));
        assert_true(check_resize(l == 2, volume, (int64_t[]){2, 1, 2}, "nearest", "asymmetric", "floor", layouts));
        assert_false(check_resize(l == 2, x, (int64_t[]){2, 2}, "linear", "align_corners", "floor", layouts));
        assert_false(check_resize(l == 2, x, (int64_t[]){2, 2}, "cubic", "half_pixel", "floor", layouts));
        assert_false(check_resize(l == 2, x, (int64_t[]){2, 2}, "nearest", "asymmetric", "ceil", layouts));
    }
}

static void test_reorder(void **state) {
    (void)state;
    veer_type_t types[] = {VEER_TYPE(VEER_DTYPE_F32, 3, 7, 5, 9), VEER_TYPE(VEER_DTYPE_F32, 1, 64, 32, 32),
                           VEER_TYPE(VEER_DTYPE_F32, 2, 5, 11)};
    random_t r = {SEED};
    for (int i = 0; i < 3; i++) {
        size_t bytes = veer_type_bytes(&types[i]);
        float *x = malloc(bytes), *there = malloc(bytes), *want = malloc(bytes), *back = malloc(bytes);
        veer_onednn_t *dnn;
        veer_onednn_kernel_t k;
        fill(&r, x, veer_type_count(&types[i]));
        permute(&types[i], x, want, false);
        ok(veer_onednn_create(veer_allocator_system(), &dnn));
        ok(veer_onednn_emit_reorder(dnn, &types[i], VEER_ONEDNN_PLAIN, VEER_ONEDNN_CHANNELS_LAST, &k));
        assert_int_equal(run(&k, (void *[]){x, there}, 2, false), VEER_KERNEL_OK);
        assert_memory_equal(there, want, bytes);
        ok(veer_onednn_emit_reorder(dnn, &types[i], VEER_ONEDNN_CHANNELS_LAST, VEER_ONEDNN_PLAIN, &k));
        assert_int_equal(run(&k, (void *[]){there, back}, 3, false), VEER_KERNEL_OK);
        assert_memory_equal(back, x, bytes);
        veer_onednn_destroy(dnn);
        free(x), free(there), free(want), free(back);
    }
}

/* ---- failures ---- */

/* Every allocation fails once: a clean status, nothing leaks. */
static void test_out_of_memory(void **state) {
    (void)state;
    conv_t c = conv_2d(3, 8, 16, 8, 3, 1);
    for (long n = 0;; n++) {
        failing_allocator_t f = {.fail_at = n, .once = true};
        subject_t s = subject(SEED);
        veer_onednn_t *dnn = NULL;
        veer_onednn_kernel_t k;
        conv_operands(&s, &c);
        finish(&s, build_conv(&s, &c, s.operands));
        veer_status_t status = veer_onednn_create(failing_allocator(&f), &dnn);
        if (!status) status = veer_onednn_emit(dnn, s.g, s.node, &plain, &k);
        float *x = calloc(3 * 8 * 64, sizeof *x), *y = calloc(3 * 16 * 64, sizeof *y);
        int result = status ? VEER_KERNEL_MEMORY : run(&k, (void *[]){x, NULL, NULL, y}, 1, false);
        assert_int_equal(result, f.failed ? VEER_KERNEL_MEMORY : VEER_KERNEL_OK);
        assert_int_equal(veer_status_code(status), status ? VEER_ERR_RESOURCE : VEER_OK);
        veer_status_free(status);
        veer_onednn_destroy(dnn);
        veer_graph_destroy(s.g);
        free(x), free(y);
        assert_int_equal(f.live, 0);
        if (!f.failed) break;
    }
}

static void test_declines_what_is_no_chain(void **state) {
    (void)state;
    char reason[160] = "";
    subject_t s = subject(SEED);
    conv_t c = conv_2d(1, 4, 4, 8, 1, 1);
    conv_operands(&s, &c);
    veer_node_t fused = veer_builder_fused(&s.b, "silu by hand", s.operands, s.count);
    veer_value_t args[] = {fused_arg(&s, fused, 0), fused_arg(&s, fused, 1), fused_arg(&s, fused, 2)};
    veer_builder_t inner = veer_builder_at_end(s.g, veer_node_body(s.g, fused)), outer = s.b;
    s.b = inner;
    veer_value_t y = veer_node_out(s.g, build_conv(&s, &c, args), 0);
    y = veer_mul(&s.b, y, veer_sigmoid(&s.b, y));
    veer_builder_yield(&s.b, &y, 1);
    ok(veer_builder_status(&s.b));
    veer_builder_fused_finish(&outer, fused);
    assert_false(veer_onednn_supports(s.g, fused, reason, sizeof reason));
    assert_string_equal(reason, "a value inside the fused node has several uses");
    veer_graph_destroy(s.g);
}

static void test_declines_with_a_reason(void **state) {
    (void)state;
    char reason[160] = "";
    subject_t s = subject(SEED);
    veer_value_t x = add_arg(&s, VEER_TYPE(VEER_DTYPE_F32, 1, 4, 8, 8)),
                 w = add_arg(&s, VEER_TYPE(VEER_DTYPE_F32, 4, 4, 1, 1));
    conv_t c = conv_2d(1, 4, 4, 8, 1, 1);
    c.bias = false;
    veer_node_t conv = build_conv(&s, &c, (veer_value_t[]){x, w});
    veer_value_t y = veer_exp(&s.b, veer_node_out(s.g, conv, 0));
    ok(veer_builder_status(&s.b));
    assert_false(veer_onednn_supports(s.g, conv, reason, sizeof reason));
    assert_string_equal(reason, "the weight is not a constant");
    assert_false(veer_onednn_supports(s.g, veer_value_def(s.g, y), reason, sizeof reason));
    assert_string_equal(reason, "'exp' is none of oneDNN's ops");
    veer_onednn_match_t m;
    c.last = true;
    conv_operands(&s, &c);
    assert_false(veer_onednn_match(s.g, build_conv(&s, &c, s.operands + 2), last, &m));
    assert_string_equal(m.reason, "the graph says where the channels are");
    veer_graph_destroy(s.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_of_models),
        cmocka_unit_test(test_random_conv),
        cmocka_unit_test(test_random_conv_transpose),
        cmocka_unit_test(test_conv_chains),
        cmocka_unit_test(test_operands_of_chains_broadcast),
        cmocka_unit_test(test_random_pools),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_reorder),
        cmocka_unit_test(test_declines_with_a_reason),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_declines_what_is_no_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
