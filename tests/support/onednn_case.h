/* What tests of oneDNN's kernels share: a graph with one node, alone or a core with a chain of post-ops behind it, run
 * as the runtime does with any number of threads, which must not change a bit, and compared with the reference backend.
 * Inputs and weights are uniform in [-1, 1]; a sum of K products then has rounding errors of about K * 2^-24 / 3, of
 * which the tolerance allows a few. Include <setjmp.h>, <stdarg.h>, <stddef.h> and <cmocka.h> before.
 *
 *     subject_t s = subject(seed);
 *     add_arg(&s, x), add_const(&s, w);                       // the node's operands
 *     s.terms = K;
 *     finish(&s, node), or finish_chain(&s, &chain, core, channel, build_core);
 *     bool taken = check(&s, plain); */
#ifndef VEER_TESTS_SUPPORT_ONEDNN_CASE_H
#define VEER_TESTS_SUPPORT_ONEDNN_CASE_H

#include "backends/onednn/onednn.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"
#include "tests/support/random.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPERANDS = 8 };
static const veer_onednn_layouts_t plain = {VEER_ONEDNN_PLAIN, VEER_ONEDNN_PLAIN};

static inline void ok(veer_status_t status) {
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

static inline float uniform(random_t *r) {
    return (float)((double)(random_next(r) >> 40) / (1 << 23) - 1.0);
}

static inline void fill(random_t *r, float *data, int64_t count) {
    for (int64_t i = 0; i < count; i++) data[i] = uniform(r);
}

static inline subject_t subject(uint64_t seed) {
    subject_t s = {.random = {seed}};
    ok(veer_graph_create(veer_allocator_system(), &s.g));
    ok(veer_graph_add_func(s.g, "f", &s.f));
    s.b = veer_builder_at_end(s.g, veer_func_body(s.g, s.f));
    return s;
}

static inline veer_value_t add_arg(subject_t *s, veer_type_t type) {
    veer_value_t v;
    ok(veer_region_add_arg(s->g, veer_func_body(s->g, s->f), type, "", &v));
    return s->operands[s->count++] = v;
}

static inline veer_value_t add_const(subject_t *s, veer_type_t type) {
    float *data = malloc(veer_type_bytes(&type) + 4);
    fill(&s->random, data, veer_type_count(&type));
    veer_value_t v = veer_const(&s->b, type, data);
    free(data);
    return s->operands[s->count++] = v;
}

static inline void finish(subject_t *s, veer_node_t node) {
    ok(veer_builder_status(&s->b));
    s->node = node;
    veer_builder_return(&s->b, (veer_value_t[]){veer_node_out(s->g, node, 0)}, 1);
    ok(veer_builder_status(&s->b));
}

/* ---- running a kernel as the runtime does ---- */

static inline int run(const veer_onednn_kernel_t *k, void *const *buf, int threads, bool all_say_0) {
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
static inline void permute(const veer_type_t *t, const float *src, float *dst, bool back) {
    int64_t pixels = veer_type_count_range(t, 2, t->rank), c = t->dims[1];
    for (int64_t n = 0; n < t->dims[0]; n++)
        for (int64_t i = 0; i < c; i++)
            for (int64_t p = 0; p < pixels; p++) {
                int64_t row_major = (n * c + i) * pixels + p, channels_last = (n * pixels + p) * c + i;
                dst[back ? row_major : channels_last] = src[back ? channels_last : row_major];
            }
}

static inline float *in_layout(const veer_type_t *t, const float *data, veer_onednn_layout_t layout, bool back) {
    float *copy = aligned_alloc(64, (veer_type_bytes(t) + 127) & ~(size_t)63);
    if (layout == VEER_ONEDNN_CHANNELS_LAST)
        permute(t, data, copy, back);
    else
        memcpy(copy, data, veer_type_bytes(t));
    return copy;
}

static inline veer_onednn_layout_t operand_layout(const subject_t *s, int i, veer_onednn_layouts_t layouts) {
    veer_type_t y = *veer_value_type(s->g, veer_node_out(s->g, s->node, 0));
    if (i == 0) return layouts.in;
    return veer_type_same_shape(veer_value_type(s->g, s->operands[i]), &y) ? layouts.out : VEER_ONEDNN_PLAIN;
}

static inline void expect_close(const float *got, const float *want, int64_t count, double tolerance) {
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance + 4e-6 * fabs((double)want[i])))
            fail_msg("element %lld of %lld is %.9g, expected %.9g within %.3g", (long long)i, (long long)count, got[i],
                     want[i], tolerance);
}

/* Runs with 1, 2, 3 and 8 threads, and as several plans at once would; all must give the bits of the first. */
static inline void expect_runs(const subject_t *s, const veer_onednn_kernel_t *k, veer_onednn_layouts_t layouts,
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

static inline void reference(const subject_t *s, float *const *data, veer_tensor_t *out) {
    veer_tensor_t in[MAX_OPERANDS];
    int args = 0;
    for (int i = 0; i < s->count; i++)
        if (!veer_value_const_data(s->g, s->operands[i]))
            in[args++] = (veer_tensor_t){*veer_value_type(s->g, s->operands[i]), data[i]};
    ok(veer_reference_eval(s->g, s->f, in, args, veer_allocator_system(), out, 1));
}

/* True where oneDNN takes the node; then its results are checked. Destroys the subject. */
static inline bool check(subject_t *s, veer_onednn_layouts_t layouts) {
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

/* ---- chains of post-ops ---- */

static inline veer_value_t fused_arg(subject_t *s, veer_node_t fused, int i) {
    return veer_region_arg(s->g, veer_node_body(s->g, fused), i);
}

static inline veer_value_t activation(veer_builder_t *b, veer_value_t x, int kind) {
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
static inline veer_type_t post_type(veer_type_t y, int kind, int channel) {
    veer_type_t t = y;
    for (int i = 0; i < y.rank; i++)
        if (kind >= BY_AXES) {
            if ((kind - BY_AXES) >> i & 1) t.dims[i] = 1;
        } else if (kind == 3 || (kind && i != channel && !(kind == 2 && i == 0)))
            t.dims[i] = 1;
    return t;
}

static inline veer_value_t combine(veer_builder_t *b, veer_value_t x, veer_value_t y, int kind) {
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
static inline void finish_chain(subject_t *s, const chain_t *c, const void *core, int channel,
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

static inline chain_t random_chain(random_t *r) {
    chain_t c;
    for (int i = 0; i < 2; i++) {
        c.activation[i] = random_below(r, 9) - 1;
        c.binary[i] = random_below(r, 5) - 1;
        c.operand[i] = random_below(r, 4);
    }
    return c;
}

#endif
