/* oneDNN's kernels against the reference backend over random shapes, in both layouts (as the graph says or as the
 * caller says), and the same bits for any number of threads. Inputs and weights are uniform in [-1, 1]; a sum of K
 * products then has rounding errors of about K * 2^-24 / 3, of which the tolerance allows a few. */
#include "backends/onednn/match.h"
#include "backends/onednn/onednn.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"
#include "ir/channels.h"
#include "tests/support/failing_allocator.h"
#include "tests/support/random.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_OPERANDS = 8, SEED = 20261 };
static const veer_onednn_layouts_t plain = {VEER_ONEDNN_PLAIN, VEER_ONEDNN_PLAIN};
static const veer_onednn_layouts_t last = {VEER_ONEDNN_CHANNELS_LAST, VEER_ONEDNN_CHANNELS_LAST};
static const veer_onednn_layouts_t mixed = {VEER_ONEDNN_PLAIN, VEER_ONEDNN_CHANNELS_LAST};

static void ok(veer_status_t status) {
    if (status) print_error("%s\n", veer_status_message(status, 0));
    assert_null(status);
}

/* ---- a graph with one node under test ---- */

typedef struct subject_s {
    veer_graph_t *g;
    veer_func_t f;
    veer_builder_t b;
    random_t random;
    veer_value_t operands[MAX_OPERANDS]; /* of the node under test, in order */
    int count;
    veer_node_t node;
    int64_t terms; /* products in one sum */
} subject_t;

static float uniform(random_t *r) {
    return (float)((double)(random_next(r) >> 40) / (1 << 23) - 1.0);
}

static void fill(random_t *r, float *data, int64_t count) {
    for (int64_t i = 0; i < count; i++) data[i] = uniform(r);
}

static subject_t subject(uint64_t seed) {
    subject_t s = {.random = {seed}};
    ok(veer_graph_create(veer_allocator_system(), &s.g));
    ok(veer_graph_add_func(s.g, "f", &s.f));
    s.b = veer_builder_at_end(s.g, veer_func_body(s.g, s.f));
    return s;
}

static veer_value_t add_arg(subject_t *s, veer_type_t type) {
    veer_value_t v;
    ok(veer_region_add_arg(s->g, veer_func_body(s->g, s->f), type, "", &v));
    return s->operands[s->count++] = v;
}

static veer_value_t add_const(subject_t *s, veer_type_t type) {
    float *data = malloc(veer_type_bytes(&type) + 4);
    fill(&s->random, data, veer_type_count(&type));
    veer_value_t v = veer_const(&s->b, type, data);
    free(data);
    return s->operands[s->count++] = v;
}

static void finish(subject_t *s, veer_node_t node) {
    ok(veer_builder_status(&s->b));
    s->node = node;
    veer_builder_return(&s->b, (veer_value_t[]){veer_node_out(s->g, node, 0)}, 1);
    ok(veer_builder_status(&s->b));
}

/* ---- running a kernel as the runtime does ---- */

static int run(const veer_onednn_kernel_t *k, void *const *buf, int threads, bool all_say_0) {
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(max : failed)
    {
        int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
        void *scratch = aligned_alloc(64, (k->scratch_bytes + 127) & ~(size_t)63);
        veer_kernel_args_t args = {.buf = buf, .params = k->params, .scratch = scratch, .thread = me, .threads = team};
        if (all_say_0) args.thread = 0;
        args.begin = k->work_items * me / team, args.end = k->work_items * (me + 1) / team;
        failed = args.begin < args.end ? k->fn(&args) : 0;
        free(scratch);
    }
    return failed;
}

/* [N, C, s...] to [N, s..., C], or back. */
static void permute(const veer_type_t *t, const float *src, float *dst, bool back) {
    int64_t pixels = veer_type_count_range(t, 2, t->rank), c = t->dims[1];
    for (int64_t n = 0; n < t->dims[0]; n++)
        for (int64_t i = 0; i < c; i++)
            for (int64_t p = 0; p < pixels; p++) {
                int64_t row_major = (n * c + i) * pixels + p, channels_last = (n * pixels + p) * c + i;
                dst[back ? row_major : channels_last] = src[back ? channels_last : row_major];
            }
}

static float *in_layout(const veer_type_t *t, const float *data, veer_onednn_layout_t layout, bool back) {
    float *copy = aligned_alloc(64, (veer_type_bytes(t) + 127) & ~(size_t)63);
    if (layout == VEER_ONEDNN_CHANNELS_LAST)
        permute(t, data, copy, back);
    else
        memcpy(copy, data, veer_type_bytes(t));
    return copy;
}

static veer_onednn_layout_t operand_layout(const subject_t *s, int i, veer_onednn_layouts_t layouts) {
    veer_type_t y = *veer_value_type(s->g, veer_node_out(s->g, s->node, 0));
    if (i == 0) return layouts.in;
    return veer_type_same_shape(veer_value_type(s->g, s->operands[i]), &y) ? layouts.out : VEER_ONEDNN_PLAIN;
}

static void expect_close(const float *got, const float *want, int64_t count, double tolerance) {
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance + 4e-6 * fabs((double)want[i])))
            fail_msg("element %lld of %lld is %.9g, expected %.9g within %.3g", (long long)i, (long long)count, got[i],
                     want[i], tolerance);
}

/* Runs with 1, 2, 3 and 8 threads, and as several plans at once would; all must give the bits of the first. */
static void expect_runs(const subject_t *s, const veer_onednn_kernel_t *k, veer_onednn_layouts_t layouts,
                        float *const *data, const float *want) {
    veer_type_t y = *veer_value_type(s->g, veer_node_out(s->g, s->node, 0));
    void *buf[MAX_OPERANDS + 2] = {0};
    float *first = NULL;
    for (int i = 0; i < s->count; i++)
        if (!(k->unused_bufs >> i & 1))
            buf[i] = in_layout(veer_value_type(s->g, s->operands[i]), data[i], operand_layout(s, i, layouts), false);
    for (int t = 0; t < 5; t++) {
        float *out = aligned_alloc(64, (veer_type_bytes(&y) + 127) & ~(size_t)63);
        memset(out, 0xff, veer_type_bytes(&y)); /* NaN: what is not written shows */
        buf[s->count] = out;
        assert_int_equal(run(k, buf, (int[]){1, 2, 3, 8, 4}[t], t == 4), VEER_KERNEL_OK);
        if (first) assert_memory_equal(out, first, veer_type_bytes(&y));
        if (first)
            free(out);
        else
            first = out;
    }
    float *got = in_layout(&y, first, layouts.out, true);
    expect_close(got, want, veer_type_count(&y), 1e-7 * (double)(s->terms + 16));
    for (int i = 0; i < s->count; i++) free(buf[i]);
    free(first);
    free(got);
}

static void reference(const subject_t *s, float *const *data, veer_tensor_t *out) {
    veer_tensor_t in[MAX_OPERANDS];
    int args = 0;
    for (int i = 0; i < s->count; i++)
        if (!veer_value_const_data(s->g, s->operands[i]))
            in[args++] = (veer_tensor_t){*veer_value_type(s->g, s->operands[i]), data[i]};
    ok(veer_reference_eval(s->g, s->f, in, args, veer_allocator_system(), out, 1));
}

/* True where oneDNN takes the node; then its results are checked. Destroys the subject. */
static bool check(subject_t *s, veer_onednn_layouts_t layouts) {
    veer_onednn_t *dnn;
    veer_onednn_kernel_t k;
    veer_tensor_t want;
    float *data[MAX_OPERANDS];
    for (int i = 0; i < s->count; i++) {
        const veer_type_t *t = veer_value_type(s->g, s->operands[i]);
        const float *constant = veer_value_const_data(s->g, s->operands[i]);
        data[i] = malloc(veer_type_bytes(t) + 4);
        if (constant)
            memcpy(data[i], constant, veer_type_bytes(t));
        else
            fill(&s->random, data[i], veer_type_count(t));
    }
    ok(veer_onednn_create(veer_allocator_system(), &dnn));
    veer_status_t status = veer_onednn_emit(dnn, s->g, s->node, &layouts, &k);
    if (!status) {
        reference(s, data, &want);
        expect_runs(s, &k, layouts, data, want.data);
        veer_free(veer_allocator_system(), want.data);
    } else if (veer_status_code(status) != VEER_ERR_UNSUPPORTED)
        ok(status);
    if (status && getenv("VEER_TEST_VERBOSE")) print_message("declined: %s\n", veer_status_message(status, 0));
    bool taken = !status;
    veer_status_free(status);
    veer_onednn_destroy(dnn);
    for (int i = 0; i < s->count; i++) free(data[i]);
    veer_graph_destroy(s->g);
    return taken;
}

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

/* ---- matmul ---- */

typedef struct matmul_s {
    int lead_rank;
    int64_t lead[3], lead_a[3], lead_b[3]; /* lead_a and lead_b: the same or 1 */
    int64_t m, k, n;
    bool trans_a, trans_b, constant;
} matmul_t;

static veer_type_t matrix_type(const matmul_t *c, const int64_t *lead, int64_t rows, int64_t columns, bool trans) {
    int64_t dims[5];
    memcpy(dims, lead, sizeof c->lead);
    dims[c->lead_rank] = trans ? columns : rows, dims[c->lead_rank + 1] = trans ? rows : columns;
    return veer_type_make(VEER_DTYPE_F32, c->lead_rank + 2, dims);
}

static veer_node_t build_matmul(subject_t *s, const matmul_t *c, const veer_value_t *operands) {
    return veer_build_node(&s->b, VEER_OP_MATMUL, operands, 2,
                           VEER_ATTRS(VEER_INT("trans_a", c->trans_a), VEER_INT("trans_b", c->trans_b)));
}

static void matmul_operands(subject_t *s, const matmul_t *c) {
    veer_type_t b = matrix_type(c, c->lead_b, c->k, c->n, c->trans_b);
    s->terms = c->k;
    add_arg(s, matrix_type(c, c->lead_a, c->m, c->k, c->trans_a));
    if (c->constant)
        add_const(s, b);
    else
        add_arg(s, b);
}

static bool check_matmul(const matmul_t *c, uint64_t seed) {
    subject_t s = subject(seed);
    matmul_operands(&s, c);
    finish(&s, build_matmul(&s, c, s.operands));
    return check(&s, plain);
}

static void test_matmul_of_models(void **state) {
    (void)state;
    const matmul_t cases[] = {
        {.m = 160, .k = 192, .n = 576, .constant = true},
        {.m = 160, .k = 768, .n = 192, .constant = true, .trans_b = true},
        {.m = 64, .k = 768, .n = 1024, .constant = true},
        {.m = 16, .k = 192, .n = 768, .constant = true, .trans_b = true},
        {.m = 1, .k = 64, .n = 256, .constant = true},
        {.m = 7, .k = 5, .n = 3, .constant = false},
        {.lead_rank = 2,
         .lead = {4, 4},
         .lead_a = {4, 4},
         .lead_b = {4, 4},
         .m = 40,
         .k = 48,
         .n = 40,
         .trans_b = true},
        {.lead_rank = 2, .lead = {4, 4}, .lead_a = {4, 4}, .lead_b = {4, 4}, .m = 40, .k = 40, .n = 48},
        {.lead_rank = 1, .lead = {4}, .lead_a = {4}, .lead_b = {1}, .m = 40, .k = 192, .n = 192, .constant = true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_true(check_matmul(&cases[i], SEED + i));
}

static matmul_t random_matmul(random_t *r) {
    matmul_t c = {.lead_rank = random_below(r, 3),
                  .m = 1 + random_below(r, 70),
                  .k = 1 + random_below(r, 70),
                  .n = 1 + random_below(r, 70)};
    int shared = random_below(r, 4);
    for (int i = 0; i < c.lead_rank; i++) {
        c.lead[i] = 1 + random_below(r, 5);
        c.lead_a[i] = shared == 1 ? 1 : c.lead[i], c.lead_b[i] = shared >= 2 ? 1 : c.lead[i];
    }
    c.trans_a = random_below(r, 3) == 0, c.trans_b = random_below(r, 2), c.constant = random_below(r, 2);
    return c;
}

static void test_random_matmul(void **state) {
    (void)state;
    random_t r = {SEED};
    print_message("seed %d\n", SEED);
    for (uint64_t i = 0; i < 200; i++) {
        matmul_t c = random_matmul(&r);
        assert_true(check_matmul(&c, SEED + i));
    }
}

static void test_leads_broadcast_in_part_decline(void **state) {
    (void)state;
    const matmul_t c = {.lead_rank = 2, .lead = {3, 4}, .lead_a = {3, 4}, .lead_b = {3, 1}, .m = 5, .k = 6, .n = 7};
    assert_false(check_matmul(&c, SEED));
}

/* ---- chains of post-ops ---- */

static veer_value_t fused_arg(subject_t *s, veer_node_t fused, int i) {
    return veer_region_arg(s->g, veer_node_body(s->g, fused), i);
}

static veer_value_t activation(veer_builder_t *b, veer_value_t x, int kind) {
    switch (kind) {
    case 0: return veer_relu(b, x);
    case 1: return veer_silu(b, x);
    case 2: return veer_gelu(b, x, false);
    case 3: return veer_gelu(b, x, true);
    case 4: return veer_tanh(b, x);
    case 5: return veer_sigmoid(b, x);
    case 6: return veer_neg(b, x);
    default: return veer_mul_c(b, x, 0.75);
    }
}

/* Operand shapes relative to y: the whole, one value per channel (axis `channel`), per image and channel, one value;
 * from BY_AXES on, size 1 along the axes whose bits are set. */
enum { BY_AXES = 4 };
static veer_type_t post_type(veer_type_t y, int kind, int channel) {
    veer_type_t t = y;
    for (int i = 0; i < y.rank; i++)
        if (kind >= BY_AXES) {
            if ((kind - BY_AXES) >> i & 1) t.dims[i] = 1;
        } else if (kind == 3 || (kind && i != channel && !(kind == 2 && i == 0)))
            t.dims[i] = 1;
    return t;
}

static veer_value_t combine(veer_builder_t *b, veer_value_t x, veer_value_t y, int kind) {
    switch (kind) {
    case 0: return veer_add(b, x, y);
    case 1: return veer_mul(b, x, y);
    case 2: return veer_sub(b, x, y);
    default: return veer_sub(b, y, x);
    }
}

typedef struct chain_s {
    int activation[2], binary[2], operand[2]; /* activation, binary, activation, binary; -1: none */
} chain_t;

/* Wraps the core that `core` builds into a fused node with the chain. */
static void finish_chain(subject_t *s, const chain_t *c, const void *core, int channel,
                         veer_node_t (*build)(subject_t *, const void *, const veer_value_t *)) {
    veer_builder_t outer = s->b;
    veer_node_t alone = build(s, core, s->operands);
    ok(veer_builder_status(&s->b));
    veer_type_t y = *veer_value_type(s->g, veer_node_out(s->g, alone, 0));
    veer_node_remove(s->g, alone);
    int core_count = s->count;
    for (int i = 0; i < 2; i++)
        if (c->binary[i] >= 0) {
            if (random_below(&s->random, 2))
                add_arg(s, post_type(y, c->operand[i], channel));
            else
                add_const(s, post_type(y, c->operand[i], channel));
        }
    veer_node_t fused = veer_builder_fused(&outer, "chain", s->operands, s->count);
    ok(veer_builder_status(&outer));
    veer_value_t args[MAX_OPERANDS];
    for (int i = 0; i < s->count; i++) args[i] = fused_arg(s, fused, i);
    s->b = veer_builder_at_end(s->g, veer_node_body(s->g, fused));
    veer_value_t v = veer_node_out(s->g, build(s, core, args), 0);
    for (int i = 0, at = core_count; i < 2; i++) {
        if (c->activation[i] >= 0) v = activation(&s->b, v, c->activation[i]);
        if (c->binary[i] >= 0) v = combine(&s->b, v, args[at++], c->binary[i]);
    }
    veer_builder_yield(&s->b, &v, 1);
    ok(veer_builder_status(&s->b));
    veer_builder_fused_finish(&outer, fused);
    s->b = outer;
    finish(s, fused);
}

static veer_node_t build_conv_core(subject_t *s, const void *core, const veer_value_t *operands) {
    return build_conv(s, core, operands);
}
static veer_node_t build_matmul_core(subject_t *s, const void *core, const veer_value_t *operands) {
    return build_matmul(s, core, operands);
}

static chain_t random_chain(random_t *r) {
    chain_t c;
    for (int i = 0; i < 2; i++) {
        c.activation[i] = random_below(r, 9) - 1;
        c.binary[i] = random_below(r, 5) - 1;
        c.operand[i] = random_below(r, 4);
    }
    return c;
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
    for (int axes = 0; axes < 8; axes++)
        for (uint64_t i = 0; i < 4; i++) {
            chain_t c = {.activation = {-1, -1}, .binary = {(int)i % 2, -1}, .operand = {BY_AXES + axes}};
            matmul_t matmul = {.lead_rank = 1,
                               .lead = {40},
                               .lead_a = {40},
                               .lead_b = {i < 2 ? 1 : 40},
                               .m = 6,
                               .k = 32,
                               .n = 48,
                               .constant = i < 2};
            subject_t s = subject(SEED + i);
            matmul_operands(&s, &matmul);
            finish_chain(&s, &c, &matmul, 2, build_matmul_core);
            check(&s, plain);
        }
}

static void test_matmul_chains(void **state) {
    (void)state;
    random_t r = {SEED};
    int taken = 0;
    for (uint64_t i = 0; i < 160; i++) {
        matmul_t matmul = random_matmul(&r);
        chain_t c = random_chain(&r);
        subject_t s = subject(SEED + i);
        matmul_operands(&s, &matmul);
        finish_chain(&s, &c, &matmul, matmul.lead_rank + 1, build_matmul_core);
        taken += check(&s, plain);
    }
    print_message("seed %d: %d of 160 taken\n", SEED, taken);
    assert_true(taken >= 130);
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
        cmocka_unit_test(test_matmul_of_models),
        cmocka_unit_test(test_random_matmul),
        cmocka_unit_test(test_leads_broadcast_in_part_decline),
        cmocka_unit_test(test_conv_chains),
        cmocka_unit_test(test_matmul_chains),
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
