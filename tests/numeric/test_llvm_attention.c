/* Attention and its gradient of the LLVM backend against the reference backend: random shapes, masks and layouts (q, k
 * and v as parts of a packed product, heads merged, channels first; results likewise), for this machine's vectors and
 * for narrower ones. Results have guards around them; work items are run in uneven shares, last share first, with
 * scratch of other content each time, and must give the same bits. */
#include "backends/llvm/llvm.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CASES = 120 };
static const uint32_t SEED = 5;

/* Where q, k, v lie, and the results with them. */
typedef enum layout_e {
    PLAIN,          /* [B, H, L, D], no movement */
    HEADS_LAST,     /* [B, L, H * D], each its own */
    PACKED_LAST,    /* [B, L, 3 * H * D] */
    CHANNELS_FIRST, /* [B, H * D, L] */
    PACKED_FIRST,   /* [B, H * 3 * D, L], heads outside of q, k, v */
    ODD,            /* [D, L, H, B]: nothing that should be is contiguous */
    LAYOUTS
} layout_t;

typedef enum mask_e { NO_MASK, KEYS, PAIRS, PAIRS_OF_ALL, QUERIES, SCALAR, CLOSED, MASKS } mask_t;

typedef struct case_s {
    int64_t b, h, l, s, d, dv;
    bool grad;
    int layout, mask;
    unsigned wanted; /* of dq, dk, dv: bits */
    float size;      /* of q, where not 1: then a layer may be off by 2e-5 of its largest result, whatever does it */
    int broken;      /* 1 more than an operand that has a NaN; 0: none */
    float common;    /* added to all keys */
    int hidden;      /* so many of 8 keys are hidden by the mask, and elsewhere; not of a packed product */
    float hidden_at; /* where those are */
    int sinks;       /* so many of 64 keys are 0, for all to see */
    veer_graph_t *g;
    veer_func_t func;
    veer_node_t node;
    veer_llvm_kernel_t kernel;
} case_t;

#include "tests/support/llvm_suite.h"

/* ---- making cases ---- */

static bool strict; /* the kernels' precision */

static bool is_packed(const case_t *c) {
    return c->layout == PACKED_LAST || c->layout == PACKED_FIRST;
}

static int add_operand(veer_type_t *types, int count, veer_type_t type) {
    types[count] = type;
    return count + 1;
}

/* The buffer of a matrix [b, h, rows, columns]. */
static veer_type_t stored(const case_t *c, int64_t rows, int64_t columns, int64_t parts) {
    switch (c->layout) {
    case HEADS_LAST:
    case PACKED_LAST: return VEER_TYPE(VEER_DTYPE_F32, c->b, rows, parts * c->h * columns);
    case CHANNELS_FIRST:
    case PACKED_FIRST: return VEER_TYPE(VEER_DTYPE_F32, c->b, c->h * parts * columns, rows);
    case ODD: return VEER_TYPE(VEER_DTYPE_F32, columns, rows, c->h, c->b);
    default: return VEER_TYPE(VEER_DTYPE_F32, c->b, c->h, rows, columns);
    }
}

/* Part `part` of `parts` of a buffer as [b, h, rows, columns]. */
static veer_value_t taken(const case_t *c, veer_builder_t *b, veer_value_t x, int64_t rows, int64_t columns, int part,
                          int parts) {
    int64_t heads[] = {0, 2, 1, 3}, first[] = {0, 1, 3, 2}, odd[] = {3, 2, 1, 0};
    switch (c->layout) {
    case HEADS_LAST:
    case PACKED_LAST:
        if (parts > 1) x = veer_slice_axis(b, x, 2, part * c->h * columns, c->h * columns, 1);
        return veer_transpose(b, veer_reshape(b, x, VEER_DIMS(c->b, rows, c->h, columns)), heads);
    case CHANNELS_FIRST:
    case PACKED_FIRST:
        x = veer_reshape(b, x, VEER_DIMS(c->b, c->h, parts * columns, rows));
        if (parts > 1) x = veer_slice_axis(b, x, 2, part * columns, columns, 1);
        return veer_transpose(b, x, first);
    case ODD: return veer_transpose(b, x, odd);
    default: return x;
    }
}

static veer_value_t given(const case_t *c, veer_builder_t *b, veer_value_t y, int64_t rows, int64_t columns) {
    int64_t heads[] = {0, 2, 1, 3}, first[] = {0, 1, 3, 2}, odd[] = {3, 2, 1, 0};
    switch (c->layout) {
    case HEADS_LAST:
    case PACKED_LAST: return veer_reshape(b, veer_transpose(b, y, heads), VEER_DIMS(c->b, rows, c->h * columns));
    case CHANNELS_FIRST: return veer_reshape(b, veer_transpose(b, y, first), VEER_DIMS(c->b, c->h * columns, rows));
    case PACKED_FIRST: return veer_transpose(b, y, first);
    case ODD: return veer_transpose(b, y, odd);
    default: return y;
    }
}

static int mask_operand(const case_t *c, veer_type_t *types, int count) {
    switch (c->mask) {
    case KEYS:
    case CLOSED: return add_operand(types, count, VEER_TYPE(VEER_DTYPE_F32, c->b, 1, 1, c->s));
    case PAIRS: return add_operand(types, count, VEER_TYPE(VEER_DTYPE_F32, c->l, c->s));
    case PAIRS_OF_ALL: return add_operand(types, count, VEER_TYPE(VEER_DTYPE_F32, c->b, c->h, c->l, c->s));
    case QUERIES: return add_operand(types, count, VEER_TYPE(VEER_DTYPE_F32, c->h, c->l, 1));
    case SCALAR: return add_operand(types, count, VEER_TYPE(VEER_DTYPE_F32, 1));
    default: return count;
    }
}

static int operand_types(const case_t *c, veer_type_t *types) {
    int count = 0;
    if (is_packed(c))
        count = add_operand(types, count, stored(c, c->l, c->d, 3));
    else {
        count = add_operand(types, count, stored(c, c->l, c->d, 1));
        count = add_operand(types, count, stored(c, c->s, c->d, 1));
        count = add_operand(types, count, stored(c, c->s, c->dv, 1));
    }
    if (c->grad) count = add_operand(types, count, stored(c, c->l, c->dv, 1));
    return mask_operand(c, types, count);
}

static int forward(const case_t *c, veer_builder_t *b, const veer_value_t *in, veer_value_t mask, veer_value_t *out) {
    veer_value_t all[] = {in[0], in[1], in[2], mask};
    veer_value_t o = veer_build(b, VEER_OP_ATTENTION, all, 4, VEER_ATTRS(VEER_FLOAT("scale", 0.7)));
    out[0] = given(c, b, o, c->l, c->dv);
    return 1;
}

static int backward(const case_t *c, veer_builder_t *b, const veer_value_t *in, veer_value_t mask, veer_value_t *out) {
    veer_value_t all[] = {in[0], in[1], in[2], in[3], mask};
    veer_node_t n = veer_build_node(b, VEER_OP_ATTENTION_GRAD, all, 5, VEER_ATTRS(VEER_FLOAT("scale", 0.7)));
    check(veer_builder_status(b));
    int64_t rows[] = {c->l, c->s, c->s}, columns[] = {c->d, c->d, c->dv};
    int count = 0;
    for (int i = 0; i < 3; i++)
        if (c->wanted >> i & 1) out[count++] = given(c, b, veer_node_out(c->g, n, i), rows[i], columns[i]);
    if (!is_packed(c) || c->wanted != 7) return count;
    out[0] = veer_concat(b, out, 3, 2);
    return 1;
}

/* The body of the fused node, or the function's own. */
static int build(const case_t *c, veer_builder_t *b, const veer_value_t *args, int count, veer_value_t *out) {
    veer_value_t in[4], mask = c->mask ? args[count - 1] : VEER_NO_VALUE;
    int64_t rows[] = {c->l, c->s, c->s}, columns[] = {c->d, c->d, c->dv};
    for (int i = 0; i < 3; i++)
        in[i] = taken(c, b, args[is_packed(c) ? 0 : i], rows[i], columns[i], i, is_packed(c) ? 3 : 1);
    if (c->grad) in[3] = taken(c, b, args[is_packed(c) ? 1 : 3], c->l, c->dv, 0, 1);
    return c->grad ? backward(c, b, in, mask, out) : forward(c, b, in, mask, out);
}

static void add_case(suite_t *s, case_t shape) {
    assert_true(s->count < MAX_CASES);
    case_t *c = &s->cases[s->count++];
    *c = shape;
    if (is_packed(c)) c->s = c->l, c->dv = c->d;
    check(veer_graph_create(veer_allocator_system(), &c->g));
    check(veer_graph_add_func(c->g, "f", &c->func));
    veer_builder_t b = veer_builder_at_end(c->g, veer_func_body(c->g, c->func));
    veer_type_t types[MAX_IO];
    veer_value_t args[MAX_IO], out[MAX_IO];
    int count = operand_types(c, types);
    for (int i = 0; i < count; i++)
        check(veer_region_add_arg(c->g, veer_func_body(c->g, c->func), types[i], "", &args[i]));
    c->node = veer_builder_fused(&b, "attention", args, count);
    check(veer_builder_status(&b));
    veer_region_t body = veer_node_body(c->g, c->node);
    veer_builder_t inner = veer_builder_at_end(c->g, body);
    for (int i = 0; i < count; i++) args[i] = veer_region_arg(c->g, body, i);
    int results = build(c, &inner, args, count, out);
    veer_builder_yield(&inner, out, results);
    check(veer_builder_status(&inner));
    veer_builder_fused_finish(&b, c->node);
    check(veer_builder_status(&b));
    for (int i = 0; i < results; i++) out[i] = veer_node_out(c->g, c->node, i);
    veer_builder_return(&b, out, results);
    check(veer_builder_status(&b));
    char reason[256];
    if (!veer_llvm_attention_supports(c->g, c->node, reason, sizeof reason)) fail_msg("not supported: %s", reason);
    check(veer_llvm_attention_emit(s->llvm, c->g, c->node, &c->kernel));
}

/* ---- running ---- */

static void run_kernel(const suite_t *s, const case_t *c, void **bufs, int shares) {
    int64_t items = c->kernel.work_items;
    void *scratch = aligned_alloc(64, (c->kernel.scratch_bytes + 63) / 64 * 64);
    assert_non_null(scratch);
    for (int share = shares - 1; share >= 0; share--) {
        veer_kernel_args_t args = {
            .buf = bufs, .begin = items * share / shares, .end = items * (share + 1) / shares, .scratch = scratch};
        /* 0, -6 and the like, NaN */
        memset(scratch, shares == 1 ? 0 : shares == 8 ? 0xFF : 0xC0 + share, c->kernel.scratch_bytes);
        if (args.begin < args.end) assert_int_equal(veer_llvm_symbol(s->llvm, c->kernel.id)(&args), 0);
    }
    free(scratch);
}

/* Operands are up to 1: scores up to d, each off by some d roundings of their size, the weights relatively by as much;
 * the results are means of v or sums over l of products of two such means. By default the matrix unit has 16 bits of
 * the factors of sums, and 2e-5 of the largest result is admitted. */
static double tolerance_of(const case_t *c, double largest) {
    double d = (double)(c->d > c->dv ? c->d : c->dv), sums = c->grad ? (double)(c->l > c->s ? c->l : c->s) : 1;
    double of_f32 = 0x1p-24 * (d + 16) * 4 * (1 + sqrt(sums) * (c->grad ? sqrt(d) : 0)), admitted = 2e-5 * largest;
    if (c->size > 0) return admitted;
    return of_f32 + (cpu || strict ? 0 : admitted);
}

static double largest_of(int64_t count, const float *x) {
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        if (fabs((double)x[i]) > most) most = fabs((double)x[i]);
    return most;
}

static void expect_near(const case_t *c, int64_t count, const float *want, const float *got) {
    double tolerance = tolerance_of(c, largest_of(count, want));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)want[i] - (double)got[i]) <= tolerance) && !(isnan(want[i]) && isnan(got[i])))
            fail_msg(
                "b %d h %d l %d s %d d %d dv %d, layout %d, mask %d, grad %d wanted %u: [%lld] is %.9g, expected %.9g "
                "within %.3g",
                (int)c->b, (int)c->h, (int)c->l, (int)c->s, (int)c->d, (int)c->dv, c->layout, c->mask, c->grad,
                c->wanted, (long long)i, (double)got[i], (double)want[i], tolerance);
}

static void fill_inputs(suite_t *s, const case_t *c, veer_tensor_t *in, int args) {
    for (int i = 0; i < args; i++) {
        in[i].type = *veer_value_type(c->g, veer_region_arg(c->g, veer_func_body(c->g, c->func), i));
        in[i].data = filled(s, in[i].type);
    }
    float *q = in[0].data;
    for (int64_t i = 0; c->size > 0 && i < veer_type_count(&in[0].type); i++) q[i] *= c->size;
    if (c->broken) {
        veer_tensor_t *x = &in[c->broken - 1];
        memset((float *)x->data + next(s) % (uint32_t)veer_type_count(&x->type), 0xFF, sizeof(float));
    }
    float *k = in[1].data, *mask = in[args - 1].data;
    for (int64_t i = 0; c->common > 0 && i < veer_type_count(&in[1].type); i++) k[i] += c->common;
    for (int64_t i = 0; i < c->s; i++)
        for (int64_t j = 0; i % 64 < c->sinks && j < c->d; j++) k[i * c->d + j] = 0;
    int64_t count = veer_type_count(&in[args - 1].type);
    if (!c->mask) return;
    if (c->hidden) {
        for (int64_t i = 0; i < count; i++) {
            if (i % c->s % 8 >= c->hidden) continue;
            mask[i] = i % 2 ? -INFINITY : -1e30f;
            for (int64_t j = 0; j < c->d; j++) k[i % c->s * c->d + j] = c->hidden_at;
        }
        return;
    }
    for (int64_t i = 0; i < count; i++)
        if (isnan(mask[i]))
            continue;
        else if (c->mask == CLOSED || (c->mask != SCALAR && c->mask != QUERIES && next(s) % 3 == 0))
            mask[i] = -INFINITY;
    /* the first sample sees nothing, the others their first key */
    for (int64_t i = 0; c->mask == CLOSED && i < c->b; i++)
        if (i) mask[i * c->s] = 0.5f;
    for (int64_t i = 0; c->mask != CLOSED && i < count; i += c->s)
        if (isinf(mask[i])) mask[i] = -1e30f;
    for (int64_t i = 1; c->mask != CLOSED && c->s > 1 && i < count; i += c->s) mask[i] = 0.25f;
}

static void run_case(suite_t *s, const case_t *c) {
    veer_tensor_t in[MAX_IO], want[MAX_IO];
    void *bufs[2 * MAX_IO] = {0};
    unsigned char *out[4][MAX_IO];
    int args = veer_node_in_count(c->g, c->node), results = veer_node_out_count(c->g, c->node);
    fill_inputs(s, c, in, args);
    check(veer_reference_eval(c->g, c->func, in, args, veer_allocator_system(), want, results));
    for (int i = 0; i < args; i++) bufs[i] = in[i].data;
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < results; i++) {
            size_t bytes = veer_type_bytes(&want[i].type);
            out[k][i] = malloc(bytes + 2 * GUARD);
            memset(out[k][i], 0xA5, bytes + 2 * GUARD);
            bufs[args + i] = out[k][i] + GUARD;
        }
        run_kernel(s, c, bufs, (const int[]){1, 2, 3, 8}[k]);
    }
    for (int i = 0; i < results; i++) {
        size_t bytes = veer_type_bytes(&want[i].type);
        for (int k = 0; k < GUARD; k++)
            if (out[0][i][k] != 0xA5 || out[0][i][GUARD + bytes + (size_t)k] != 0xA5)
                fail_msg("writes outside the result");
        for (int k = 1; k < 4; k++) assert_memory_equal(out[0][i], out[k][i], bytes + 2 * GUARD);
        expect_near(c, veer_type_count(&want[i].type), want[i].data, (float *)(out[0][i] + GUARD));
        veer_free(veer_allocator_system(), want[i].data);
        for (int k = 0; k < 4; k++) free(out[k][i]);
    }
    for (int i = 0; i < args; i++) veer_free(veer_allocator_system(), in[i].data);
}

/* ---- tests ---- */
static const int64_t LENGTHS[] = {1, 2, 3, 7, 15, 16, 17, 31, 40, 65, 85}, SIZES[] = {1, 3, 8, 16, 19, 32, 48, 64};
#define PICK(s, from) from[next(s) % (sizeof from / sizeof *from)]

static case_t random_case(suite_t *s, int i, bool grad) {
    return (case_t){.b = 1 + next(s) % 3,
                    .h = 1 + next(s) % 3,
                    .l = PICK(s, LENGTHS),
                    .s = PICK(s, LENGTHS),
                    .d = PICK(s, SIZES),
                    .dv = PICK(s, SIZES),
                    .layout = i % LAYOUTS,
                    .mask = (int)(next(s) % MASKS),
                    .grad = grad,
                    .wanted = grad ? (i % 3 ? 7 : 1 + next(s) % 7) : 0};
}

static void random_attentions(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 40; i++) add_case(s, random_case(s, i, false));
    run_all(s);
}

static void random_gradients(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 40; i++) add_case(s, random_case(s, i, true));
    run_all(s);
}

/* Several blocks of queries, of two lengths; rows that are pages apart. */
static void large(void **state) {
    suite_t *s = *state;
    case_t cases[] = {{.b = 1, .h = 2, .l = 300, .s = 130, .d = 24, .dv = 40},
                      {.b = 1, .h = 1, .l = 1024, .s = 1024, .d = 16, .dv = 16, .layout = PACKED_FIRST},
                      {.b = 1, .h = 1, .l = 129, .s = 129, .d = 64, .dv = 64, .layout = PACKED_LAST, .mask = KEYS},
                      {.b = 1, .h = 1, .l = 5, .s = 5000, .d = 4, .dv = 6, .layout = HEADS_LAST, .mask = KEYS},
                      {.b = 1, .h = 1, .l = 2000, .s = 3, .d = 5, .dv = 4, .layout = ODD, .mask = PAIRS}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        add_case(s, cases[i]);
        cases[i].grad = true, cases[i].wanted = 7;
        add_case(s, cases[i]);
    }
    run_all(s);
}

/* Large enough for the matrix unit of a processor that has one: lengths and sizes that fill its tiles and do not. */
static void for_matrix_unit(void **state) {
    static const int64_t lengths[] = {192, 200, 257, 321}, sizes[] = {48, 64, 72, 96};
    suite_t *s = *state;
    for (int i = 0; i < 2 * LAYOUTS; i++) {
        bool grad = i % 2;
        add_case(s, (case_t){.b = 1,
                             .h = 1 + i % 4 / 2,
                             .l = PICK(s, lengths),
                             .s = PICK(s, lengths),
                             .d = PICK(s, sizes),
                             .dv = PICK(s, sizes),
                             .layout = i / 2 % LAYOUTS,
                             .mask = (int)(next(s) % MASKS),
                             .grad = grad,
                             .wanted = grad ? (i % 3 ? 7 : 1 + next(s) % 7) : 0});
    }
    run_all(s);
}

/* Scores up to 40, where an error of 2^-16 of one is too much. */
static void large_scores(void **state) {
    suite_t *s = *state;
    case_t c = {.b = 1, .h = 2, .l = 256, .s = 256, .d = 64, .dv = 64, .layout = HEADS_LAST, .wanted = 7, .size = 5};
    add_case(s, c);
    c.grad = true;
    add_case(s, c);
    run_all(s);
}

/* As long as the matrix unit wants it; dq alone. */
static const case_t ONE_LEAD = {
    .b = 1, .h = 1, .l = 256, .s = 256, .d = 64, .dv = 64, .grad = true, .wanted = 1, .size = 1};

/* What all keys have in common is no part of dq, of which it would be many times as large. Keys that the mask hides
 * have no part in anything, wherever they are and however many, and a few that are elsewhere cost the others little. */
static void keys_in_common(void **state) {
    suite_t *s = *state;
    static const float far[] = {0, 1e15f}, common[] = {0, 3, 8};
    for (int i = 0; i < 6; i++) {
        case_t c = ONE_LEAD;
        c.wanted = i % 2 ? 7 : 1, c.s -= i / 2 * 7, c.common = 3 + (float)i;
        add_case(s, c);
    }
    for (int i = 0; i < 21; i++) {
        case_t c = ONE_LEAD;
        c.mask = KEYS, c.hidden = 1 + i % 7, c.hidden_at = far[i % 2], c.wanted = 7, c.common = common[i / 7];
        add_case(s, c);
    }
    for (int i = 1; i < 3; i++) {
        case_t c = ONE_LEAD;
        c.sinks = 1, c.common = common[i];
        add_case(s, c);
    }
    run_all(s);
}

/* Of a mask that differs by query nobody knows whom it hides: those are not to cost the others their digits. */
static void keys_hidden_from_some(void **state) {
    suite_t *s = *state;
    for (int hidden = 1; hidden < 8; hidden++) {
        case_t c = ONE_LEAD;
        c.mask = PAIRS, c.hidden = hidden, c.hidden_at = 1e15f, c.wanted = 7;
        add_case(s, c);
    }
    run_all(s);
}

/* A NaN comes through wherever it is, also one of which rounding to 16 bits makes a zero. */
static void broken_operands(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 9; i++)
        add_case(s, (case_t){.b = 1,
                             .h = 1,
                             .l = 200,
                             .s = 260,
                             .d = 64,
                             .dv = 48,
                             .layout = i % 2 ? HEADS_LAST : CHANNELS_FIRST,
                             .mask = PAIRS,
                             .wanted = 7,
                             .grad = i >= 4,
                             .broken = i < 4 ? i + 1 : i - 3});
    run_all(s);
}

/* Equal problems share a kernel; another mask or layout makes another. */
static void kernels_are_shared(void **state) {
    suite_t *s = *state;
    case_t c = {.b = 1, .h = 2, .l = 5, .s = 6, .d = 4, .dv = 4, .layout = HEADS_LAST};
    add_case(s, c);
    add_case(s, c);
    assert_int_equal(s->cases[0].kernel.id, s->cases[1].kernel.id);
    c.mask = KEYS;
    add_case(s, c);
    assert_int_not_equal(s->cases[0].kernel.id, s->cases[2].kernel.id);
    c.mask = NO_MASK, c.layout = CHANNELS_FIRST;
    add_case(s, c);
    assert_int_not_equal(s->cases[0].kernel.id, s->cases[3].kernel.id);
    run_all(s);
}

static int set_up_precision(void **state) {
    int failed = set_up(state);
    veer_llvm_set_strict(((suite_t *)*state)->llvm, strict);
    return failed;
}

static int run_group(const char *name, const char *target) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_attentions, set_up_precision, tear_down),
        cmocka_unit_test_setup_teardown(random_gradients, set_up_precision, tear_down),
        cmocka_unit_test_setup_teardown(large, set_up_precision, tear_down),
        cmocka_unit_test_setup_teardown(for_matrix_unit, set_up_precision, tear_down),
        cmocka_unit_test_setup_teardown(large_scores, set_up_precision, tear_down),
        cmocka_unit_test_setup_teardown(keys_in_common, set_up_precision, tear_down),
        cmocka_unit_test_setup_teardown(keys_hidden_from_some, set_up_precision, tear_down),
        cmocka_unit_test_setup_teardown(broken_operands, set_up_precision, tear_down),
        cmocka_unit_test_setup_teardown(kernels_are_shared, set_up_precision, tear_down),
    };
    cpu = target;
    print_message("%s, seed %u\n", name, (unsigned)SEED);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void) {
    int failed = run_targets(run_group);
    strict = true;
    failed += run_group("native, strict", NULL);
#ifdef __x86_64__ /* 512 bits without a matrix unit */
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512) failed += run_group("avx512", "x86-64-v4");
#endif
    return failed;
}
