/* Kernels of the LLVM backend against the reference backend. Each case is a graph with one node, fused or alone;
 * results have guard bytes around them, and work items are run in uneven shares, last share first. */
#include "backends/llvm/llvm.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"
#include "tests/support/failing_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CASES = 700, MAX_IO = 12, GUARD = 64, NAME_BYTES = 96 };
static const uint32_t SEED = 7;

typedef struct case_s {
    char name[NAME_BYTES];
    veer_graph_t *g;
    veer_func_t func;
    veer_node_t node;
    double abs, rel;
    double low, high; /* of float operands */
    veer_llvm_kernel_t kernel;
} case_t;

typedef struct suite_s {
    veer_llvm_t *llvm;
    case_t cases[MAX_CASES];
    int count;
    uint32_t random;
} suite_t;

static void check(veer_status_t status, const char *what) {
    if (status) print_error("%s: %s\n", what, veer_status_message(status, 0));
    assert_null(status);
}

static uint32_t next(suite_t *s) {
    s->random ^= s->random << 13, s->random ^= s->random >> 17, s->random ^= s->random << 5;
    return s->random;
}
static int64_t pick(suite_t *s, const int64_t *from, int count) {
    return from[next(s) % (uint32_t)count];
}

/* ---- making cases ---- */
static veer_builder_t begin(suite_t *s, const char *name, double abs, double rel) {
    assert_true(s->count < MAX_CASES);
    case_t *c = &s->cases[s->count];
    *c = (case_t){.abs = abs, .rel = rel, .low = -2, .high = 2};
    snprintf(c->name, sizeof c->name, "%s", name);
    check(veer_graph_create(veer_allocator_system(), &c->g), name);
    check(veer_graph_add_func(c->g, "f", &c->func), name);
    return veer_builder_at_end(c->g, veer_func_body(c->g, c->func));
}

static veer_value_t arg(suite_t *s, veer_type_t type) {
    case_t *c = &s->cases[s->count];
    veer_value_t v;
    check(veer_region_add_arg(c->g, veer_func_body(c->g, c->func), type, "", &v), c->name);
    return v;
}

/* The node alone, or the fused one, is the function's last but for the return. */
static void finish(suite_t *s, veer_builder_t *b, veer_node_t node) {
    case_t *c = &s->cases[s->count];
    check(veer_builder_status(b), c->name);
    c->node = node;
    veer_value_t out[MAX_IO];
    int count = veer_node_out_count(c->g, node);
    for (int i = 0; i < count; i++) out[i] = veer_node_out(c->g, node, i);
    veer_builder_return(b, out, count);
    check(veer_builder_status(b), c->name);
    char reason[256];
    bool yes;
    check(veer_llvm_supports(c->g, node, &yes, reason, sizeof reason), c->name);
    if (!yes) fail_msg("%s: not supported: %s", c->name, reason);
    check(veer_llvm_emit(s->llvm, c->g, node, &c->kernel), c->name);
    s->count++;
}

static void finish_value(suite_t *s, veer_builder_t *b, veer_value_t v) {
    check(veer_builder_status(b), s->cases[s->count].name);
    finish(s, b, veer_value_def(s->cases[s->count].g, v));
}

typedef struct fused_s {
    veer_node_t node;
    veer_builder_t body;
    veer_value_t in[MAX_IO];
} fused_t;

static fused_t begin_fused(suite_t *s, veer_builder_t *b, const veer_value_t *in, int count) {
    veer_graph_t *g = s->cases[s->count].g;
    fused_t f = {.node = veer_builder_fused(b, "test", in, count)};
    check(veer_builder_status(b), s->cases[s->count].name);
    f.body = veer_builder_at_end(g, veer_node_body(g, f.node));
    for (int i = 0; i < count; i++) f.in[i] = veer_region_arg(g, veer_node_body(g, f.node), i);
    return f;
}

static void finish_fused(suite_t *s, veer_builder_t *b, fused_t *f, const veer_value_t *out, int count) {
    veer_builder_yield(&f->body, out, count);
    check(veer_builder_status(&f->body), s->cases[s->count].name);
    veer_builder_fused_finish(b, f->node);
    finish(s, b, f->node);
}

/* ---- running ---- */
static void fill(suite_t *s, const case_t *c, veer_type_t type, void *data) {
    int64_t count = veer_type_count(&type);
    for (int64_t i = 0; i < count; i++) {
        double u = next(s) * 0x1p-32, x = c->low + (c->high - c->low) * u;
        switch (type.dtype) {
        case VEER_DTYPE_F32: ((float *)data)[i] = (float)x; break;
        case VEER_DTYPE_F64: ((double *)data)[i] = x; break;
        case VEER_DTYPE_I64: ((int64_t *)data)[i] = (int64_t)floor(x); break;
        case VEER_DTYPE_I32: ((int32_t *)data)[i] = (int32_t)floor(x); break;
        case VEER_DTYPE_BOOL: ((uint8_t *)data)[i] = u < 0.5; break;
        default: ((uint8_t *)data)[i] = (uint8_t)floor(x); break;
        }
    }
}

static double element(veer_type_t type, const void *data, int64_t i) {
    switch (type.dtype) {
    case VEER_DTYPE_F32: return ((const float *)data)[i];
    case VEER_DTYPE_F64: return ((const double *)data)[i];
    case VEER_DTYPE_I64: return (double)((const int64_t *)data)[i];
    case VEER_DTYPE_I32: return ((const int32_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
    }
}

static void compare(const case_t *c, int result, veer_type_t type, const void *got, const void *want) {
    char text[VEER_TYPE_TEXT_BYTES];
    for (int64_t i = 0; i < veer_type_count(&type); i++) {
        double g = element(type, got, i), w = element(type, want, i);
        if (isnan(g) && isnan(w)) continue;
        if (!(fabs(g - w) <= c->abs + c->rel * fabs(w)) && g != w)
            fail_msg("%s: result %d %s [%lld] is %.9g, expected %.9g", c->name, result, veer_type_text(&type, text),
                     (long long)i, g, w);
    }
}

static int run_kernel(const suite_t *s, const case_t *c, void **bufs, int shares) {
    int result = 0;
    int64_t items = c->kernel.work_items;
    void *scratch = veer_alloc(veer_allocator_system(), c->kernel.scratch_bytes + 1);
    memset(scratch, 0xFF, c->kernel.scratch_bytes); /* NaNs: what idle lanes read of it must not matter */
    for (int share = shares - 1; share >= 0; share--) {
        veer_kernel_args_t args = {.buf = bufs, .begin = items * share / shares, .end = items * (share + 1) / shares};
        args.scratch = scratch, args.threads = shares, args.thread = share;
        if (args.begin < args.end) result |= veer_llvm_symbol(s->llvm, c->kernel.id)(&args);
    }
    veer_free(veer_allocator_system(), scratch);
    return result;
}

static unsigned char *guarded_memory(size_t bytes) {
    unsigned char *memory = malloc(bytes + 2 * GUARD);
    assert_non_null(memory);
    return memset(memory, 0xA5, bytes + 2 * GUARD);
}

static void check_guards(const case_t *c, int result, const unsigned char *memory, size_t bytes) {
    for (int k = 0; k < GUARD; k++)
        if (memory[k] != 0xA5 || memory[GUARD + bytes + (size_t)k] != 0xA5)
            fail_msg("%s: writes outside result %d", c->name, result);
}

static void run_case(suite_t *s, const case_t *c) {
    veer_tensor_t in[MAX_IO], want[MAX_IO];
    void *bufs[2 * MAX_IO] = {0};
    unsigned char *guarded[MAX_IO], *first[MAX_IO];
    int arg_count = veer_region_arg_count(c->g, veer_func_body(c->g, c->func));
    int in_count = veer_node_in_count(c->g, c->node), out_count = veer_node_out_count(c->g, c->node);
    for (int i = 0; i < arg_count; i++) {
        in[i].type = *veer_value_type(c->g, veer_region_arg(c->g, veer_func_body(c->g, c->func), i));
        in[i].data = veer_alloc(veer_allocator_system(), veer_type_bytes(&in[i].type) + 1);
        fill(s, c, in[i].type, in[i].data);
    }
    check(veer_reference_eval(c->g, c->func, in, arg_count, veer_allocator_system(), want, out_count), c->name);
    for (int i = 0; i < in_count; i++) {
        veer_value_t v = veer_node_in(c->g, c->node, i);
        if (!v.i) continue;
        const void *data = veer_value_const_data(c->g, v);
        bufs[i] = data ? (void *)(uintptr_t)data : in[veer_value_def_index(c->g, v)].data;
    }
    static const int shares[] = {1, 2, 3, 8};
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < out_count; i++) {
            guarded[i] = guarded_memory(veer_type_bytes(&want[i].type));
            bufs[in_count + i] = guarded[i] + GUARD;
        }
        int result = run_kernel(s, c, bufs, shares[k]);
        if (result) fail_msg("%s: kernel gives %d", c->name, result);
        for (int i = 0; i < out_count; i++) {
            size_t bytes = veer_type_bytes(&want[i].type);
            check_guards(c, i, guarded[i], bytes);
            if (k && memcmp(guarded[i] + GUARD, first[i] + GUARD, bytes))
                fail_msg("%s: depends on the shares", c->name);
            if (k)
                free(guarded[i]);
            else
                first[i] = guarded[i];
        }
    }
    for (int i = 0; i < out_count; i++) {
        compare(c, i, want[i].type, first[i] + GUARD, want[i].data);
        free(first[i]);
        veer_free(veer_allocator_system(), want[i].data);
    }
    for (int i = 0; i < arg_count; i++) veer_free(veer_allocator_system(), in[i].data);
}

static const char *cpu; /* the target; NULL: this machine */

static int set_up(void **state) {
    suite_t *s = calloc(1, sizeof *s);
    s->random = SEED;
    check(veer_llvm_create(veer_allocator_system(), cpu, &s->llvm), "create");
    *state = s;
    return 0;
}

static void run_all(suite_t *s) {
    check(veer_llvm_finish(s->llvm), "finish");
    for (int i = 0; i < s->count; i++) run_case(s, &s->cases[i]);
    print_message("%d kernels, %zu objects\n", s->count, (size_t)veer_llvm_object_count(s->llvm));
    assert_true(s->count > 0);
}

static int tear_down(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < s->count; i++) veer_graph_destroy(s->cases[i].g);
    veer_llvm_destroy(s->llvm);
    free(s);
    return 0;
}

/* ---- elementwise ---- */
static const int64_t SIZES[] = {1, 2, 3, 5, 7, 8, 16, 17, 33, 64, 100};
enum { SIZE_COUNT = (int)(sizeof SIZES / sizeof *SIZES) };

static void unary_ops(void **state) {
    suite_t *s = *state;
    static const veer_op_t ops[] = {VEER_OP_NEG,   VEER_OP_ABS,   VEER_OP_SIGN,       VEER_OP_EXP,      VEER_OP_LOG,
                                    VEER_OP_SQRT,  VEER_OP_RSQRT, VEER_OP_RECIPROCAL, VEER_OP_SIN,      VEER_OP_COS,
                                    VEER_OP_ATAN,  VEER_OP_TANH,  VEER_OP_SIGMOID,    VEER_OP_SOFTPLUS, VEER_OP_ERF,
                                    VEER_OP_RELU,  VEER_OP_SILU,  VEER_OP_GELU,       VEER_OP_FLOOR,    VEER_OP_CEIL,
                                    VEER_OP_ROUND, VEER_OP_ISNAN};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        veer_builder_t b = begin(s, veer_op_name(ops[i]), 1e-6, 1e-6);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, pick(s, SIZES, SIZE_COUNT), pick(s, SIZES, SIZE_COUNT)));
        if (ops[i] == VEER_OP_RSQRT || ops[i] == VEER_OP_LOG) s->cases[s->count].low = 0.1;
        finish_value(s, &b, veer_build(&b, ops[i], VEER_IN(x), NULL));
    }
    veer_builder_t b = begin(s, "gelu tanh", 1e-6, 1e-6);
    finish_value(s, &b, veer_gelu(&b, arg(s, VEER_TYPE(VEER_DTYPE_F32, 1000)), true));
    b = begin(s, "not", 0, 0);
    finish_value(s, &b, veer_not(&b, arg(s, VEER_TYPE(VEER_DTYPE_BOOL, 100))));
    run_all(s);
}

static veer_type_t random_shape(suite_t *s, veer_dtype_t dtype) {
    veer_type_t t = {.dtype = dtype, .rank = (int)(next(s) % 5)};
    for (int i = 0; i < t.rank; i++) t.dims[i] = pick(s, SIZES, i < t.rank - 2 ? 4 : 9);
    return t;
}

/* Leaves dims out in front and sets others to 1, so that it broadcasts to `t`. */
static veer_type_t broadcastable(suite_t *s, veer_type_t t) {
    int skip = (int)(next(s) % (uint32_t)(t.rank + 1));
    if (next(s) % 2) skip = 0;
    veer_type_t r = {.dtype = t.dtype, .rank = t.rank - skip};
    for (int i = 0; i < r.rank; i++) r.dims[i] = next(s) % 3 ? t.dims[skip + i] : 1;
    return r;
}

static void binary_ops(void **state) {
    suite_t *s = *state;
    static const veer_op_t ops[] = {VEER_OP_ADD, VEER_OP_SUB,   VEER_OP_MUL,  VEER_OP_DIV,       VEER_OP_MIN,
                                    VEER_OP_MAX, VEER_OP_EQUAL, VEER_OP_LESS, VEER_OP_LESS_EQUAL};
    static const veer_dtype_t dtypes[] = {VEER_DTYPE_F32, VEER_DTYPE_I64, VEER_DTYPE_I32, VEER_DTYPE_F64,
                                          VEER_DTYPE_U8};
    for (int i = 0; i < 90; i++) {
        veer_op_t op = ops[i % 9];
        veer_dtype_t dtype = dtypes[i < 45 ? 0 : i % 5];
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%s %s %d", veer_op_name(op), veer_dtype_name(dtype), i);
        veer_builder_t b = begin(s, name, 1e-6, 1e-6);
        veer_type_t t = random_shape(s, dtype), x = broadcastable(s, t), y = broadcastable(s, t);
        if (!veer_dtype_is_float(dtype))
            s->cases[s->count].low = dtype == VEER_DTYPE_U8 ? 0 : -9, s->cases[s->count].high = 9;
        veer_value_t xv = arg(s, x), yv = arg(s, y);
        finish_value(s, &b, veer_build(&b, op, VEER_IN(xv, yv), NULL));
    }
    for (int i = 0; i < 6; i++) {
        veer_dtype_t d = (veer_dtype_t[]){VEER_DTYPE_I64, VEER_DTYPE_I32, VEER_DTYPE_F32}[i / 2];
        veer_builder_t b = begin(s, "mod", 0, 1e-6);
        s->cases[s->count].low = -20, s->cases[s->count].high = 20;
        veer_value_t x = arg(s, VEER_TYPE(d, 9, 33)), y = arg(s, VEER_TYPE(d, 33));
        finish_value(
            s, &b,
            veer_build(&b, VEER_OP_MOD, VEER_IN(x, y), VEER_ATTRS(VEER_INT("fmod", d == VEER_DTYPE_F32 || i % 2))));
    }
    static const double powers[] = {2, 3, 1, -1, 0.5, 1.7};
    for (int i = 0; i < 6; i++) {
        veer_builder_t b = begin(s, "pow", 1e-6, 1e-6);
        s->cases[s->count].low = 0.1;
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 5, 41));
        fused_t f = begin_fused(s, &b, &x, 1);
        veer_value_t y = veer_pow(&f.body, f.in[0], veer_const_f32(&f.body, (float)powers[i]));
        finish_fused(s, &b, &f, &y, 1);
    }
    run_all(s);
}

static void casts_and_where(void **state) {
    suite_t *s = *state;
    static const veer_dtype_t d[] = {VEER_DTYPE_F32, VEER_DTYPE_F64, VEER_DTYPE_I64,
                                     VEER_DTYPE_I32, VEER_DTYPE_U8,  VEER_DTYPE_BOOL};
    for (int i = 0; i < 36; i++) {
        if (i / 6 == i % 6) continue;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "cast %s to %s", veer_dtype_name(d[i / 6]), veer_dtype_name(d[i % 6]));
        veer_builder_t b = begin(s, name, 0, 1e-7);
        if (d[i / 6] == VEER_DTYPE_U8 || d[i % 6] == VEER_DTYPE_U8) s->cases[s->count].low = 0;
        s->cases[s->count].high = 100;
        finish_value(s, &b, veer_cast(&b, arg(s, VEER_TYPE(d[i / 6], 7, 19)), d[i % 6]));
    }
    for (int i = 0; i < 12; i++) {
        veer_builder_t b = begin(s, "where", 0, 0);
        veer_type_t t = random_shape(s, VEER_DTYPE_F32), c = broadcastable(s, t), x = broadcastable(s, t),
                    y = broadcastable(s, t);
        c.dtype = VEER_DTYPE_BOOL;
        veer_value_t cv = arg(s, c), xv = arg(s, x), yv = arg(s, y);
        finish_value(s, &b, veer_where(&b, cv, xv, yv));
    }
    run_all(s);
}

/* Random expression trees over operands that broadcast, with views in between. */
static veer_value_t random_tree(suite_t *s, fused_t *f, int operands, int depth) {
    veer_builder_t *b = &f->body;
    if (depth == 0) return f->in[next(s) % (uint32_t)operands];
    veer_value_t x = random_tree(s, f, operands, depth - 1);
    switch (next(s) % 8) {
    case 0: return veer_tanh(b, x);
    case 1: return veer_silu(b, x);
    case 2: return veer_mul_c(b, x, 0.7);
    case 3: return veer_max(b, x, random_tree(s, f, operands, depth - 1));
    case 4: return veer_where(b, veer_less(b, x, veer_const_f32(b, 0.3f)), x, random_tree(s, f, operands, depth - 1));
    case 5: return veer_sub(b, x, random_tree(s, f, operands, depth - 1));
    default: return veer_add(b, x, random_tree(s, f, operands, depth - 1));
    }
}

static void elementwise_regions(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 60; i++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "tree %d", i);
        veer_builder_t b = begin(s, name, 1e-5, 1e-5);
        veer_type_t t = random_shape(s, VEER_DTYPE_F32);
        veer_value_t in[3] = {arg(s, t), arg(s, broadcastable(s, t)), arg(s, broadcastable(s, t))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t y[2] = {veer_add(&f.body, f.in[0], random_tree(s, &f, 3, 3)), random_tree(s, &f, 3, 2)};
        finish_fused(s, &b, &f, y, 2);
    }
    run_all(s);
}

static void large_elementwise(void **state) {
    suite_t *s = *state;
    static const int64_t sizes[][3] = {{1, 1, 100003}, {3, 16411, 5}, {2, 64, 1024}, {50, 7, 301}, {1, 40000, 1}};
    for (int i = 0; i < 5; i++) {
        const int64_t *d = sizes[i];
        veer_builder_t b = begin(s, "large", 1e-6, 1e-6);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2])),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, d[1], 1)), arg(s, VEER_TYPE(VEER_DTYPE_F32, d[2]))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t y = veer_silu(&f.body, veer_add(&f.body, veer_mul(&f.body, f.in[0], f.in[1]), f.in[2]));
        finish_fused(s, &b, &f, &y, 1);
    }
    run_all(s);
}

/* ---- reductions ---- */
static const int64_t REDUCED[] = {1, 2, 7, 16, 31, 100, 1000};

static void reductions(void **state) {
    suite_t *s = *state;
    static const veer_op_t ops[] = {VEER_OP_REDUCE_SUM, VEER_OP_REDUCE_MEAN, VEER_OP_REDUCE_MAX, VEER_OP_REDUCE_MIN};
    for (int i = 0; i < 112; i++) {
        int64_t n = REDUCED[i / 4 % 7], m = pick(s, SIZES, SIZE_COUNT);
        int kind = i / 28;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%s %d of %lld (%lld)", veer_op_name(ops[i % 4]), kind, (long long)n, (long long)m);
        veer_builder_t b = begin(s, name, 2e-5, 1e-5);
        int64_t axes[2] = {kind == 0 ? 1 : 0, 2};
        veer_type_t t = kind == 0   ? VEER_TYPE(VEER_DTYPE_F32, m, n)    /* trailing */
                        : kind == 1 ? VEER_TYPE(VEER_DTYPE_F32, n, m)    /* leading */
                        : kind == 2 ? VEER_TYPE(VEER_DTYPE_F32, n, m, 5) /* first and last */
                                    : VEER_TYPE(VEER_DTYPE_F32, n, 3, m);
        veer_value_t x = arg(s, t);
        finish_value(s, &b, veer_reduce(&b, ops[i % 4], x, axes, kind < 2 ? 1 : 2, i % 3 == 0));
    }
    static const veer_dtype_t ints[] = {VEER_DTYPE_I64, VEER_DTYPE_I32, VEER_DTYPE_F64};
    for (int i = 0; i < 12; i++) {
        veer_builder_t b = begin(s, "integer reduction", 1e-9, 1e-9);
        s->cases[s->count].low = -50, s->cases[s->count].high = 50;
        veer_value_t x = arg(s, VEER_TYPE(ints[i % 3], 6, 37));
        finish_value(s, &b, veer_reduce(&b, ops[i / 3], x, (int64_t[]){i % 2}, 1, false));
    }
    veer_builder_t b = begin(s, "sum of all", 2e-3, 1e-5);
    finish_value(s, &b, veer_reduce_all(&b, VEER_OP_REDUCE_SUM, arg(s, VEER_TYPE(VEER_DTYPE_F32, 3, 100003))));
    b = begin(s, "product", 1e-6, 1e-5);
    s->cases[s->count].low = 0.5;
    finish_value(s, &b, veer_reduce_last(&b, VEER_OP_REDUCE_PROD, arg(s, VEER_TYPE(VEER_DTYPE_F32, 9, 21)), true));
    b = begin(s, "no axes", 0, 0);
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 9, 21));
    finish_value(s, &b,
                 veer_build(&b, VEER_OP_REDUCE_SUM, VEER_IN(x),
                            VEER_ATTRS(VEER_INTS("axes", NULL, 0), VEER_INT("keepdims", 1))));
    run_all(s);
}

static void arg_max(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 32; i++) {
        veer_builder_t b = begin(s, "arg_max", 0, 0);
        veer_dtype_t d = i % 2 ? VEER_DTYPE_F32 : VEER_DTYPE_I32; /* small integers: many equals */
        veer_value_t x = arg(s, VEER_TYPE(d, i % 8 < 4 ? 5 : 40, i % 16 < 8 ? 33 : 7));
        veer_named_attr_t attrs[] = {VEER_INT("axis", i / 8 % 2),
                                     VEER_INT("keepdims", i % 3 == 0),
                                     VEER_INT("select_last", i / 2 % 2),
                                     VEER_INT("largest", i / 16),
                                     {0}};
        finish_value(s, &b, veer_build(&b, VEER_OP_ARG_MAX, VEER_IN(x), attrs));
    }
    run_all(s);
}

/* ---- rows ---- */
static void softmaxes(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][3] = {{3, 5, 7}, {1, 4, 1000}, {2, 1, 64}, {4, 9, 1}, {6, 16, 33}, {2, 3, 4099}};
    for (int i = 0; i < 36; i++) {
        const int64_t *d = shapes[i % 6];
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "softmax %d axis %d", i, i / 12);
        veer_builder_t b = begin(s, name, 1e-6, 2e-6);
        s->cases[s->count].low = -20, s->cases[s->count].high = 20;
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2]));
        veer_op_t op = i / 6 % 2 ? VEER_OP_LOG_SOFTMAX : VEER_OP_SOFTMAX;
        finish_value(s, &b, veer_build(&b, op, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", i / 12))));
    }
    run_all(s);
}

static void norms(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][4] = {{2, 6, 5, 7}, {1, 32, 8, 8}, {3, 12, 1, 1}, {2, 8, 16, 3}, {1, 64, 33, 1}};
    for (int i = 0; i < 40; i++) {
        const int64_t *d = shapes[i % 5];
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "norm %d", i);
        veer_builder_t b = begin(s, name, 5e-6, 5e-6);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3]));
        int kind = i / 10, with = i / 5 % 2;
        if (kind == 0 || kind == 3) {
            veer_value_t scale = arg(s, VEER_TYPE(VEER_DTYPE_F32, d[1])),
                         bias = arg(s, VEER_TYPE(VEER_DTYPE_F32, d[1]));
            veer_named_attr_t attrs[] = {VEER_INT("groups", kind == 3 ? d[1] : 2), VEER_FLOAT("eps", 1e-5), {0}};
            if (with)
                finish_value(s, &b, veer_build(&b, VEER_OP_GROUP_NORM, VEER_IN(x, scale, bias), attrs));
            else
                finish_value(s, &b, veer_build(&b, VEER_OP_GROUP_NORM, VEER_IN(x), attrs));
            continue;
        }
        int axis = 2 + i % 2;
        veer_type_t row = axis == 2 ? VEER_TYPE(VEER_DTYPE_F32, d[2], d[3]) : VEER_TYPE(VEER_DTYPE_F32, d[3]);
        veer_named_attr_t attrs[] = {VEER_INT("axis", axis), VEER_FLOAT("eps", 1e-5), {0}};
        veer_value_t scale = arg(s, row), bias = arg(s, row);
        veer_op_t op = kind == 1 ? VEER_OP_LAYER_NORM : VEER_OP_RMS_NORM;
        if (!with)
            finish_value(s, &b, veer_build(&b, op, VEER_IN(x), attrs));
        else if (kind == 1)
            finish_value(s, &b, veer_build(&b, op, VEER_IN(x, scale, bias), attrs));
        else
            finish_value(s, &b, veer_build(&b, op, VEER_IN(x, scale), attrs));
    }
    run_all(s);
}

static void norms_with_channels_last(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][4] = {{2, 5, 7, 6}, {1, 8, 8, 32}, {3, 1, 1, 12}, {2, 16, 3, 8}, {1, 33, 1, 64}};
    for (int i = 0; i < 20; i++) {
        const int64_t *d = shapes[i % 5];
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "norm with channels last %d", i);
        veer_builder_t b = begin(s, name, 5e-6, 5e-6);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3])),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, d[3])), arg(s, VEER_TYPE(VEER_DTYPE_F32, d[3]))};
        veer_named_attr_t attrs[] = {
            VEER_INT("groups", i < 10 ? 2 : d[3]), VEER_FLOAT("eps", 1e-5), VEER_INT("channels_last", 1), {0}};
        finish_value(s, &b, veer_build(&b, VEER_OP_GROUP_NORM, in, i / 5 % 2 ? 3 : 1, attrs));
    }
    run_all(s);
}

/* Groups whose channels fill registers evenly and not, groups of one or many channels, few and many positions. */
static const int64_t GROUPED[][5] = {/* N, H, W, C, groups */
                                     {1, 8, 8, 192, 32}, {2, 4, 4, 64, 32}, {1, 5, 3, 21, 7},   {3, 3, 3, 10, 5},
                                     {1, 7, 5, 96, 4},   {2, 2, 3, 36, 3},  {1, 23, 31, 48, 8}, {1, 4, 4, 66, 11},
                                     {2, 3, 4, 144, 8},  {1, 6, 6, 13, 1},  {1, 2, 2, 40, 20},  {2, 9, 1, 90, 30}};
enum { GROUPED_COUNT = sizeof GROUPED / sizeof *GROUPED };

static veer_value_t group_norm_last(veer_builder_t *b, veer_value_t x, veer_value_t scale, veer_value_t bias,
                                    int64_t groups) {
    veer_named_attr_t attrs[] = {
        VEER_INT("groups", groups), VEER_FLOAT("eps", 1e-5), VEER_INT("channels_last", 1), {0}};
    return veer_build(b, VEER_OP_GROUP_NORM, VEER_IN(x, scale, bias), attrs);
}

static void groups_in_lanes(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 2 * GROUPED_COUNT; i++) { /* with scale and shift per sample and silu; a residual in front */
        const int64_t *d = GROUPED[i % GROUPED_COUNT];
        veer_builder_t b = begin(s, "group_norm with channels last, scale and shift, silu", 2e-5, 1e-5);
        veer_type_t t = VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3]), c = VEER_TYPE(VEER_DTYPE_F32, d[3]);
        veer_type_t per_sample = VEER_TYPE(VEER_DTYPE_F32, d[0], 1, 1, d[3]);
        veer_value_t in[] = {arg(s, t), arg(s, t), arg(s, c), arg(s, c), arg(s, per_sample), arg(s, per_sample)};
        fused_t f = begin_fused(s, &b, in, 6);
        veer_value_t x = i < GROUPED_COUNT ? f.in[0] : veer_tanh(&f.body, veer_add(&f.body, f.in[0], f.in[1]));
        veer_value_t y = group_norm_last(&f.body, x, f.in[2], f.in[3], d[4]);
        y = veer_silu(&f.body, veer_add(&f.body, veer_mul(&f.body, y, veer_add_c(&f.body, f.in[4], 1)), f.in[5]));
        veer_value_t out[] = {y, x};
        finish_fused(s, &b, &f, out, i < GROUPED_COUNT ? 1 : 2);
    }
    for (int i = 0; i < 2 * GROUPED_COUNT; i++) { /* sums alone, of [N, S, G, C/G] and with what is behind them */
        const int64_t *d = GROUPED[i % GROUPED_COUNT];
        bool keep = i < GROUPED_COUNT;
        veer_builder_t b = begin(s, "sums of groups", 2e-5, 1e-5);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, d[0], d[1] * d[2], d[4], d[3] / d[4]))};
        fused_t f = begin_fused(s, &b, in, 1);
        veer_op_t op = (veer_op_t[]){VEER_OP_REDUCE_MEAN, VEER_OP_REDUCE_MAX, VEER_OP_REDUCE_MIN}[i % 3];
        veer_value_t sum = veer_reduce(&f.body, op, veer_mul(&f.body, f.in[0], f.in[0]), (int64_t[]){1, 3}, 2, keep);
        veer_value_t y = veer_rsqrt(&f.body, veer_add_c(&f.body, sum, 1));
        finish_fused(s, &b, &f, &y, 1);
    }
    run_all(s);
}

/* d loss/dx of silu(scale * group_norm(x) + ...) with channels last, spelled out as passes/gradient.c does. */
static veer_value_t group_norm_backward(veer_builder_t *k, const veer_value_t *in, const int64_t *d) {
    int64_t split[] = {d[0], d[1] * d[2], d[4], d[3] / d[4]}, all[] = {d[0], d[1], d[2], d[3]}, axes[] = {1, 3};
    veer_value_t x = veer_reshape(k, in[0], 4, split);
    x = veer_sub(k, x, veer_reduce(k, VEER_OP_REDUCE_MEAN, x, axes, 2, true));
    veer_value_t variance = veer_reduce(k, VEER_OP_REDUCE_MEAN, veer_mul(k, x, x), axes, 2, true);
    veer_value_t rstd = veer_rsqrt(k, veer_add_c(k, variance, 1e-5)), xhat = veer_mul(k, x, rstd);
    veer_value_t h = veer_mul(k, veer_reshape(k, xhat, 4, all), in[2]), sig = veer_sigmoid(k, h);
    veer_value_t slope = veer_mul(k, sig, veer_add_c(k, veer_mul(k, h, veer_rsub_c(k, sig, 1)), 1));
    veer_value_t dy = veer_reshape(k, veer_mul(k, veer_mul(k, in[1], slope), in[2]), 4, split);
    veer_value_t along = veer_reduce(k, VEER_OP_REDUCE_MEAN, veer_mul(k, dy, xhat), axes, 2, true);
    veer_value_t mean = veer_reduce(k, VEER_OP_REDUCE_MEAN, dy, axes, 2, true);
    veer_value_t dx = veer_mul(k, rstd, veer_sub(k, veer_sub(k, dy, mean), veer_mul(k, xhat, along)));
    return veer_reshape(k, dx, 4, all);
}

static void groups_in_lanes_backward(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < GROUPED_COUNT; i++) {
        const int64_t *d = GROUPED[i];
        veer_builder_t b = begin(s, "group_norm with channels last, backward", 5e-5, 2e-5);
        veer_type_t t = VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3]);
        veer_value_t in[] = {arg(s, t), arg(s, t), arg(s, VEER_TYPE(VEER_DTYPE_F32, d[3]))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t dx = group_norm_backward(&f.body, f.in, d);
        finish_fused(s, &b, &f, &dx, 1);
    }
    run_all(s);
}

/* The gradient as one node, alone: both layouts, groups of one channel, of all, of a number that no register has. */
static void norm_gradients(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][5] = {/* N, H, W, C, groups */
                                        {2, 5, 7, 6, 2},   {1, 8, 8, 32, 32}, {3, 2, 1, 12, 12}, {2, 16, 3, 8, 1},
                                        {1, 33, 1, 64, 2}, {1, 9, 5, 21, 7},  {2, 4, 4, 13, 13}, {2, 1, 3, 90, 6}};
    for (int i = 0; i < 16; i++) {
        const int64_t *d = shapes[i % 8];
        bool last = i >= 8;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "group_norm_grad %d", i);
        veer_builder_t b = begin(s, name, 5e-5, 2e-5);
        veer_type_t t = last ? VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3])
                             : VEER_TYPE(VEER_DTYPE_F32, d[0], d[3], d[1], d[2]);
        veer_value_t in[] = {arg(s, t), arg(s, t)};
        veer_named_attr_t attrs[] = {
            VEER_INT("groups", d[4]), VEER_FLOAT("eps", 1e-3), VEER_INT("channels_last", last), {0}};
        finish_value(s, &b, veer_build(&b, VEER_OP_GROUP_NORM_GRAD, in, 2, attrs));
    }
    run_all(s);
}

/* d loss/dx of silu(scale * group_norm(x)) + x as the gradient pass gives it: the forward norm and the gradient's node
 * in one kernel. */
static veer_value_t group_norm_silu_gradient(veer_builder_t *k, const veer_value_t *in, int64_t groups, bool last) {
    veer_named_attr_t attrs[] = {
        VEER_INT("groups", groups), VEER_FLOAT("eps", 1e-5), VEER_INT("channels_last", last), {0}};
    veer_value_t h = veer_mul(k, veer_build(k, VEER_OP_GROUP_NORM, in, 1, attrs), in[2]), sig = veer_sigmoid(k, h);
    veer_value_t slope = veer_mul(k, sig, veer_add_c(k, veer_mul(k, h, veer_rsub_c(k, sig, 1)), 1));
    veer_value_t d = veer_mul(k, veer_mul(k, in[1], slope), in[2]);
    return veer_add(k, veer_build(k, VEER_OP_GROUP_NORM_GRAD, VEER_IN(in[0], d), attrs), in[1]);
}

static void norm_gradients_in_clusters(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 2 * GROUPED_COUNT; i++) {
        const int64_t *d = GROUPED[i % GROUPED_COUNT];
        bool last = i < GROUPED_COUNT;
        veer_builder_t b = begin(s, "group_norm and silu, backward by one node", 5e-5, 2e-5);
        veer_type_t t = last ? VEER_TYPE(VEER_DTYPE_F32, d[0], d[1], d[2], d[3])
                             : VEER_TYPE(VEER_DTYPE_F32, d[0], d[3], d[1], d[2]);
        veer_type_t scale = last ? VEER_TYPE(VEER_DTYPE_F32, d[3]) : VEER_TYPE(VEER_DTYPE_F32, d[3], 1, 1);
        veer_value_t in[] = {arg(s, t), arg(s, t), arg(s, scale)};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t dx = group_norm_silu_gradient(&f.body, f.in, d[4], last);
        finish_fused(s, &b, &f, &dx, 1);
    }
    run_all(s);
}

/* What a transformer and a U-Net give the fuse pass. */
static void row_regions(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 6; i++) { /* residual + layer_norm, both results and the mean */
        int64_t l = (int64_t[]){3, 64, 17}[i % 3], d = (int64_t[]){192, 768, 33}[i % 3];
        veer_builder_t b = begin(s, "residual and layer_norm", 1e-5, 1e-5);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, l, d)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, l, d)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, d)), arg(s, VEER_TYPE(VEER_DTYPE_F32, d))};
        fused_t f = begin_fused(s, &b, in, 4);
        veer_value_t h = veer_add(&f.body, f.in[0], veer_gelu(&f.body, f.in[1], i >= 3));
        veer_named_attr_t attrs[] = {VEER_INT("axis", 2), VEER_FLOAT("eps", 1e-5), {0}};
        veer_value_t y = veer_build(&f.body, VEER_OP_LAYER_NORM, VEER_IN(h, f.in[2], f.in[3]), attrs);
        veer_value_t m = veer_reduce_last(&f.body, VEER_OP_REDUCE_MEAN, h, i % 2);
        veer_value_t out[] = {h, y, m};
        finish_fused(s, &b, &f, out, 3);
    }
    for (int i = 0; i < 6; i++) { /* group_norm + scale by time embedding + silu, of a concat */
        int64_t c = (int64_t[]){32, 6, 64}[i % 3], hw = (int64_t[]){8, 5, 16}[i % 3];
        veer_builder_t b = begin(s, "group_norm and silu of a concat", 1e-5, 1e-5);
        veer_value_t in[] = {
            arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, c, hw, hw)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, c / 2, hw, hw)),
            arg(s, VEER_TYPE(VEER_DTYPE_F32, c + c / 2)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, c + c / 2))};
        fused_t f = begin_fused(s, &b, in, 4);
        veer_value_t x = veer_concat(&f.body, f.in, 2, 1);
        veer_named_attr_t attrs[] = {VEER_INT("groups", 3), VEER_FLOAT("eps", 1e-5), {0}};
        veer_value_t y = veer_build(&f.body, VEER_OP_GROUP_NORM, VEER_IN(x, f.in[2]), attrs);
        y = veer_mul(&f.body, y, veer_add_c(&f.body, veer_reshape(&f.body, f.in[3], VEER_DIMS(2, c + c / 2, 1, 1)), 1));
        y = veer_silu(&f.body, y);
        finish_fused(s, &b, &f, &y, i < 3 ? 1 : 1);
    }
    for (int i = 0; i < 3; i++) { /* backward of group_norm + silu towards x, spelled out */
        int64_t c = (int64_t[]){32, 6, 64}[i], hw = (int64_t[]){8, 5, 16}[i], g = 2, all[] = {2, c, hw, hw};
        veer_builder_t b = begin(s, "group_norm and silu, backward", 2e-5, 1e-5);
        veer_type_t t = veer_type_make(VEER_DTYPE_F32, 4, all);
        veer_value_t in[] = {arg(s, t), arg(s, t), arg(s, VEER_TYPE(VEER_DTYPE_F32, c, 1, 1))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_builder_t *k = &f.body;
        veer_value_t x = veer_reshape(k, f.in[0], VEER_DIMS(2, g, c / g, hw * hw));
        x = veer_sub(k, x, veer_reduce(k, VEER_OP_REDUCE_MEAN, x, (int64_t[]){2, 3}, 2, true));
        veer_value_t variance = veer_reduce(k, VEER_OP_REDUCE_MEAN, veer_mul(k, x, x), (int64_t[]){2, 3}, 2, true);
        veer_value_t rstd = veer_rsqrt(k, veer_add_c(k, variance, 1e-5)), xhat = veer_mul(k, x, rstd);
        veer_value_t h = veer_mul(k, veer_reshape(k, xhat, 4, all), f.in[2]), sig = veer_sigmoid(k, h);
        veer_value_t slope = veer_mul(k, sig, veer_add_c(k, veer_mul(k, h, veer_rsub_c(k, sig, 1)), 1));
        veer_value_t d = veer_mul(k, veer_mul(k, f.in[1], slope), f.in[2]);
        d = veer_reshape(k, d, VEER_DIMS(2, g, c / g, hw * hw));
        veer_value_t along = veer_reduce(k, VEER_OP_REDUCE_MEAN, veer_mul(k, d, xhat), (int64_t[]){2, 3}, 2, true);
        veer_value_t mean = veer_reduce(k, VEER_OP_REDUCE_MEAN, d, (int64_t[]){2, 3}, 2, true);
        veer_value_t dx = veer_mul(k, rstd, veer_sub(k, veer_sub(k, d, mean), veer_mul(k, xhat, along)));
        dx = veer_reshape(k, dx, 4, all);
        finish_fused(s, &b, &f, &dx, 1);
        assert_true(s->cases[s->count - 1].kernel.scratch_bytes > 0); /* d is kept, not computed twice */
    }
    for (int i = 0; i < 4; i++) { /* attention scores: scale, mask, softmax; and its backward */
        int64_t n = (int64_t[]){16, 77, 64, 7}[i];
        veer_builder_t b = begin(s, "softmax and its backward", 1e-5, 1e-5);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 3, n, n)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 1, 1, n)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 3, n, n))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t x = veer_add(&f.body, veer_mul_c(&f.body, f.in[0], 0.125), f.in[1]);
        veer_value_t p = veer_build(&f.body, VEER_OP_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 3)));
        veer_value_t dot = veer_reduce_last(&f.body, VEER_OP_REDUCE_SUM, veer_mul(&f.body, p, f.in[2]), true);
        veer_value_t dx = veer_mul(&f.body, p, veer_sub(&f.body, f.in[2], dot)), out[] = {p, dx};
        finish_fused(s, &b, &f, out, 2);
    }
    run_all(s);
}

/* ---- moves ---- */
static void moves(void **state) {
    suite_t *s = *state;
    static const int64_t perms[][4] = {{0, 1, 3, 2}, {3, 2, 1, 0}, {0, 2, 1, 3},
                                       {1, 0, 2, 3}, {0, 3, 1, 2}, {0, 2, 3, 1}};
    for (int i = 0; i < 24; i++) {
        veer_builder_t b = begin(s, "transpose", 0, 0);
        veer_dtype_t d = (veer_dtype_t[]){VEER_DTYPE_F32, VEER_DTYPE_I64, VEER_DTYPE_BOOL}[i / 6 % 3];
        veer_value_t x =
            arg(s, VEER_TYPE(d, pick(s, SIZES, 5), pick(s, SIZES, 8), pick(s, SIZES, 9), pick(s, SIZES, 10)));
        veer_value_t y = veer_transpose(&b, x, perms[i % 6]);
        finish_value(s, &b, y);
    }
    for (int i = 0; i < 12; i++) {
        veer_builder_t b = begin(s, "slice", 0, 0);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 9, 40));
        int64_t starts[] = {i % 3, i % 2 ? 8 : 1, i % 4 ? 3 : 39}, sizes[] = {2, 4, 9},
                steps[] = {1, i % 2 ? -2 : 2, i % 4 ? 3 : -4};
        if (i % 3 == 2) steps[0] = -1;
        finish_value(s, &b,
                     veer_build(&b, VEER_OP_SLICE, VEER_IN(x),
                                VEER_ATTRS(VEER_INTS("starts", starts, 3), VEER_INTS("sizes", sizes, 3),
                                           VEER_INTS("steps", steps, 3))));
    }
    for (int i = 0; i < 12; i++) {
        veer_builder_t b = begin(s, "concat", 0, 0);
        veer_value_t in[3];
        for (int k = 0; k < 3; k++) {
            int64_t dims[] = {3, 4, 21};
            dims[i % 3] = pick(s, SIZES, 9);
            in[k] = arg(s, veer_type_make(VEER_DTYPE_F32, 3, dims));
        }
        finish_value(s, &b, veer_concat(&b, in, 3, i % 3));
    }
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    for (int i = 0; i < 16; i++) {
        veer_builder_t b = begin(s, modes[i % 4], 0, 0);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 5, 1 + i));
        int64_t before[] = {0, 1 + i % 3, 2}, after[] = {i % 2, 0, 3};
        if (i % 4 == 1 && i < 3) before[2] = after[2] = 0;
        veer_named_attr_t attrs[] = {VEER_INTS("before", before, 3),
                                     VEER_INTS("after", after, 3),
                                     VEER_STRING("mode", modes[i % 4]),
                                     VEER_FLOAT("value", 0.25),
                                     {0}};
        finish_value(s, &b, veer_build(&b, VEER_OP_PAD, VEER_IN(x), attrs));
    }
    for (int i = 0; i < 8; i++) {
        veer_builder_t b = begin(s, "broadcast", 0, 0);
        veer_type_t t = random_shape(s, VEER_DTYPE_F32), x = broadcastable(s, t);
        if (veer_type_equal(&x, &t)) t.dims[t.rank++] = 3, x.dims[x.rank++] = 1;
        veer_value_t v = arg(s, x);
        finish_value(s, &b,
                     veer_build(&b, VEER_OP_BROADCAST, VEER_IN(v), VEER_ATTRS(VEER_INTS("dims", t.dims, t.rank))));
    }
    run_all(s);
}

static void gathers(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 18; i++) {
        veer_builder_t b = begin(s, "gather", 0, 0);
        s->cases[s->count].low = -4, s->cases[s->count].high = 4;
        int axis = i % 3;
        veer_dtype_t d = i % 2 ? VEER_DTYPE_I64 : VEER_DTYPE_I32;
        int64_t dims[] = {6, 5, 37};
        dims[axis] = 4;
        veer_value_t data = arg(s, veer_type_make(VEER_DTYPE_F32, 3, dims));
        veer_value_t ids = arg(s, i / 6 == 0 ? VEER_SCALAR(d) : i / 6 == 1 ? VEER_TYPE(d, 9) : VEER_TYPE(d, 3, 20));
        finish_value(s, &b, veer_gather(&b, data, ids, axis));
    }
    for (int i = 0; i < 4; i++) {
        veer_builder_t b = begin(s, "gather_elements", 0, 0);
        s->cases[s->count].low = -4, s->cases[s->count].high = 4;
        veer_value_t data = arg(s, VEER_TYPE(VEER_DTYPE_F32, i % 2 ? 4 : 7, i % 2 ? 33 : 4));
        veer_value_t ids = arg(s, VEER_TYPE(VEER_DTYPE_I64, i % 2 ? 11 : 5, i % 2 ? 30 : 19));
        finish_value(
            s, &b,
            veer_build(&b, VEER_OP_GATHER_ELEMENTS, VEER_IN(data, ids), VEER_ATTRS(VEER_INT("axis", i % 2 ? 0 : 1))));
    }
    run_all(s);
}

static void gather_checks_indices(void **state) {
    suite_t *s = *state;
    veer_builder_t b = begin(s, "gather", 0, 0);
    veer_value_t data = arg(s, VEER_TYPE(VEER_DTYPE_F32, 5, 40)), ids = arg(s, VEER_TYPE(VEER_DTYPE_I64, 3));
    finish_value(s, &b, veer_gather(&b, data, ids, 0));
    b = begin(s, "gather in lanes", 0, 0);
    data = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 5)), ids = arg(s, VEER_TYPE(VEER_DTYPE_I64, 3));
    finish_value(s, &b, veer_gather(&b, data, ids, 1));
    check(veer_llvm_finish(s->llvm), "finish");
    float table[200] = {0}, out[120];
    static const int64_t tried[][3] = {{0, 4, -5}, {0, 5, 0}, {-6, 0, 0}, {0, 0, INT64_MAX}, {INT64_MIN, 0, 0}};
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < 5; i++) {
            void *bufs[] = {table, (void *)(uintptr_t)tried[i], out};
            assert_int_equal(run_kernel(s, &s->cases[c], bufs, 1), i ? VEER_KERNEL_INDEX : VEER_KERNEL_OK);
        }
}

/* Views of operands inside regions. */
static void regions_with_views(void **state) {
    suite_t *s = *state;
    veer_builder_t b = begin(s, "split heads", 1e-6, 1e-6); /* [B,L,3HD] -> q of [B,H,L,D], scaled */
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 9, 96));
    fused_t f = begin_fused(s, &b, &x, 1);
    veer_value_t y = veer_slice_axis(&f.body, f.in[0], 2, 32, 32, 1);
    y = veer_transpose(&f.body, veer_reshape(&f.body, y, VEER_DIMS(2, 9, 4, 8)), (int64_t[]){0, 2, 1, 3});
    y = veer_mul_c(&f.body, y, 0.25);
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "merge heads", 1e-6, 1e-6);
    veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 4, 9, 8)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 9, 32))};
    f = begin_fused(s, &b, in, 2);
    y = veer_reshape(&f.body, veer_transpose(&f.body, f.in[0], (int64_t[]){0, 2, 1, 3}), VEER_DIMS(2, 9, 32));
    y = veer_add(&f.body, y, f.in[1]);
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "tokens to image", 1e-6, 1e-6); /* unpatch */
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 6, 24));
    f = begin_fused(s, &b, &x, 1);
    y = veer_transpose(&f.body, veer_reshape(&f.body, f.in[0], VEER_DIMS(2, 2, 3, 2, 4, 3)),
                       (int64_t[]){0, 5, 1, 3, 2, 4});
    y = veer_tanh(&f.body, veer_reshape(&f.body, y, VEER_DIMS(2, 3, 4, 12)));
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "layer_norm of a transposed input", 1e-5, 1e-5);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 48, 5, 5));
    f = begin_fused(s, &b, &x, 1);
    y = veer_transpose(&f.body, veer_reshape(&f.body, f.in[0], VEER_DIMS(2, 48, 25)), (int64_t[]){0, 2, 1});
    y = veer_build(&f.body, VEER_OP_LAYER_NORM, VEER_IN(y), VEER_ATTRS(VEER_INT("axis", 2), VEER_FLOAT("eps", 1e-5)));
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "concat and pad in a region", 1e-6, 1e-6);
    veer_value_t two[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 3, 40)), arg(s, VEER_TYPE(VEER_DTYPE_F32, 2, 5, 40))};
    f = begin_fused(s, &b, two, 2);
    y = veer_silu(&f.body, veer_concat(&f.body, f.in, 2, 1));
    y = veer_pad_zero(&f.body, y, (int64_t[]){0, 1, 3}, (int64_t[]){0, 0, 2});
    y = veer_add_c(&f.body, y, 1);
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "a table of constants", 1e-6, 1e-6);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 3, 40));
    f = begin_fused(s, &b, &x, 1);
    float row[40];
    for (int i = 0; i < 40; i++) row[i] = (float)i;
    y = veer_mul(&f.body, f.in[0], veer_const(&f.body, VEER_TYPE(VEER_DTYPE_F32, 40), row));
    finish_fused(s, &b, &f, &y, 1);
    b = begin(s, "channel sums for a bias gradient", 1e-4, 1e-5);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 3, 10, 6, 7));
    f = begin_fused(s, &b, &x, 1);
    y = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, veer_mul(&f.body, f.in[0], f.in[0]), (int64_t[]){0, 2, 3}, 3, false);
    finish_fused(s, &b, &f, &y, 1);
    run_all(s);
}

/* Transposed reads long enough for tiles, of every remainder. */
static void tiles(void **state) {
    suite_t *s = *state;
    static const int64_t shapes[][3] = {{1, 100, 33}, {3, 16, 16},   {1, 1000, 31},
                                        {2, 8, 100},  {1, 300, 257}, {2, 17, 15}};
    for (int i = 0; i < 12; i++) {
        const int64_t *d = shapes[i % 6];
        veer_builder_t b = begin(s, "transposed read", 1e-6, 1e-6);
        veer_dtype_t t = i < 6 ? VEER_DTYPE_F32 : VEER_DTYPE_I32;
        veer_value_t in[] = {arg(s, VEER_TYPE(t, d[0], d[1], d[2])), arg(s, VEER_TYPE(t, d[0], d[2], d[1])),
                             arg(s, VEER_TYPE(t, d[2], 1))};
        fused_t f = begin_fused(s, &b, in, 3);
        veer_value_t y = veer_transpose(&f.body, f.in[0], (int64_t[]){0, 2, 1}), out[2];
        out[0] = veer_add(&f.body, veer_mul(&f.body, y, f.in[2]), f.in[1]);
        out[1] = y;
        finish_fused(s, &b, &f, out, 2);
    }
    run_all(s);
}

/* ---- diffusion ---- */
static void noise_case(suite_t *s, const char *name, veer_type_t t, int64_t stream) {
    veer_builder_t b = begin(s, name, 2e-6, 2e-6);
    s->cases[s->count].low = 0, s->cases[s->count].high = 1e9;
    veer_type_t scalar = VEER_SCALAR(VEER_DTYPE_I64);
    veer_value_t seed = arg(s, scalar), first = arg(s, scalar), step = arg(s, scalar);
    finish_value(s, &b,
                 veer_build(&b, VEER_OP_NOISE, VEER_IN(seed, first, step),
                            VEER_ATTRS(VEER_INTS("dims", t.dims, t.rank), VEER_INT("stream", stream))));
}

static void noise(void **state) {
    suite_t *s = *state;
    noise_case(s, "noise [2,3,16,16]", VEER_TYPE(VEER_DTYPE_F32, 2, 3, 16, 16), 0);
    noise_case(s, "noise [3,7]", VEER_TYPE(VEER_DTYPE_F32, 3, 7), 1);
    noise_case(s, "noise [5]", VEER_TYPE(VEER_DTYPE_F32, 5), 0);
    noise_case(s, "noise [1,64,1027]", VEER_TYPE(VEER_DTYPE_F32, 1, 64, 1027), 2);
    noise_case(s, "noise [4,1]", VEER_TYPE(VEER_DTYPE_F32, 4, 1), 0);
    noise_case(s, "noise [2,30000]", VEER_TYPE(VEER_DTYPE_F32, 2, 30000), 0);
    veer_builder_t b = begin(s, "noise, transposed", 2e-6, 2e-6);
    veer_type_t scalar = VEER_SCALAR(VEER_DTYPE_I64);
    veer_value_t in[] = {arg(s, scalar), arg(s, scalar), arg(s, scalar)};
    fused_t f = begin_fused(s, &b, in, 3);
    veer_value_t y = veer_build(&f.body, VEER_OP_NOISE, f.in, 3,
                                VEER_ATTRS(VEER_INTS("dims", ((int64_t[]){2, 9, 21}), 3), VEER_INT("stream", 0)));
    y = veer_transpose(&f.body, y, (int64_t[]){2, 1, 0});
    finish_fused(s, &b, &f, &y, 1);
    run_all(s);
}

/* The update of a guided DDPM step with learned range, spec (1), (4), (9): one kernel. */
static void step_update(void **state) {
    suite_t *s = *state;
    static const int64_t sizes[] = {8, 5, 64};
    for (int i = 0; i < 3; i++) {
        int64_t n = 3, c = 3, h = sizes[i], steps = 4;
        veer_builder_t b = begin(s, "step update", 1e-5, 1e-5);
        s->cases[s->count].low = 0, s->cases[s->count].high = 1;
        veer_type_t scalar = VEER_SCALAR(VEER_DTYPE_I64), table = VEER_TYPE(VEER_DTYPE_F32, steps, 8);
        veer_value_t in[] = {arg(s, VEER_TYPE(VEER_DTYPE_F32, n, c, h, h)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, n, 2 * c, h, h)),
                             arg(s, VEER_TYPE(VEER_DTYPE_F32, n, c, h, h)),
                             arg(s, table),
                             arg(s, scalar),
                             arg(s, scalar),
                             arg(s, scalar)};
        fused_t f = begin_fused(s, &b, in, 7);
        veer_builder_t *k = &f.body;
        veer_value_t x = f.in[0], g = f.in[2], co[8], row = veer_step_slice(k, f.in[3], f.in[4]);
        for (int j = 0; j < 8; j++) co[j] = veer_reshape(k, veer_slice_axis(k, row, 0, j, 1, 1), 0, NULL);
        veer_value_t eps = veer_slice_axis(k, f.in[1], 1, 0, c, 1), v = veer_slice_axis(k, f.in[1], 1, c, c, 1);
        veer_value_t frac = veer_mul_c(k, veer_add_c(k, v, 1), 0.5);
        veer_value_t log_var = veer_add(k, veer_mul(k, frac, co[0]), veer_mul(k, veer_rsub_c(k, frac, 1), co[1]));
        veer_value_t x0 = veer_sub(k, veer_mul(k, x, co[2]), veer_mul(k, eps, co[3]));
        x0 = veer_min(k, veer_max(k, x0, veer_const_f32(k, -1)), veer_const_f32(k, 1));
        veer_value_t mean = veer_add(k, veer_mul(k, x0, co[4]), veer_mul(k, x, co[5]));
        mean = veer_add(k, mean, veer_mul(k, veer_mul(k, veer_exp(k, log_var), g), co[6]));
        veer_value_t xi =
            veer_build(k, VEER_OP_NOISE, VEER_IN(f.in[5], f.in[6], f.in[4]),
                       VEER_ATTRS(VEER_INTS("dims", ((int64_t[]){n, c, h, h}), 4), VEER_INT("stream", 0)));
        veer_value_t next_x =
            veer_add(k, mean, veer_mul(k, veer_mul(k, veer_exp(k, veer_mul_c(k, log_var, 0.5)), xi), co[7]));
        veer_value_t out[] = {next_x, x0};
        finish_fused(s, &b, &f, out, 2);
    }
    run_all(s);
}

/* ---- what is declined, and sharing ---- */
static void declines_with_a_reason(void **state) {
    suite_t *s = *state;
    char reason[256];
    veer_builder_t b = begin(s, "matmul", 0, 0);
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 4));
    veer_node_t node = veer_value_def(b.graph, veer_matmul(&b, x, x, false, false));
    check(veer_builder_status(&b), "matmul");
    bool yes;
    check(veer_llvm_supports(b.graph, node, &yes, reason, sizeof reason), "matmul");
    assert_false(yes);
    assert_string_equal(reason, "no kernel for op matmul");
    veer_llvm_kernel_t kernel;
    veer_status_t status = veer_llvm_emit(s->llvm, b.graph, node, &kernel);
    assert_int_equal(veer_status_code(status), VEER_ERR_UNSUPPORTED);
    veer_status_free(status);
    s->count++;
    b = begin(s, "crossed reductions", 0, 0);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 400, 400));
    fused_t f = begin_fused(s, &b, &x, 1);
    veer_value_t rows = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, f.in[0], (int64_t[]){1}, 1, true);
    veer_value_t columns = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, f.in[0], (int64_t[]){0}, 1, true);
    veer_value_t y = veer_add(&f.body, rows, columns);
    veer_builder_yield(&f.body, &y, 1);
    check(veer_builder_status(&f.body), "crossed");
    veer_builder_fused_finish(&b, f.node);
    check(veer_llvm_supports(b.graph, f.node, &yes, reason, sizeof reason), "crossed");
    assert_false(yes);
    assert_string_equal(reason, "reductions along different axes");
    s->count++;
    b = begin(s, "a reduction of another's results", 0, 0);
    x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 4)); /* equally long */
    f = begin_fused(s, &b, &x, 1);
    rows = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, f.in[0], (int64_t[]){1}, 1, true);
    y = veer_reduce(&f.body, VEER_OP_REDUCE_SUM, veer_mul(&f.body, f.in[0], rows), (int64_t[]){0}, 1, false);
    veer_builder_yield(&f.body, &y, 1);
    check(veer_builder_status(&f.body), "a reduction of another's results");
    veer_builder_fused_finish(&b, f.node);
    check(veer_llvm_supports(b.graph, f.node, &yes, reason, sizeof reason), "a reduction of another's results");
    assert_false(yes);
    assert_string_equal(reason, "a reduction of another reduction's results along a different axis");
    s->count++;
}

/* What the fuse pass asks before it makes a node. */
static void tells_what_can_be_fused(void **state) {
    suite_t *s = *state;
    char reason[256];
    veer_llvm_fusion_t info;
    veer_builder_t b = begin(s, "candidates", 0, 0);
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 8, 64));
    veer_value_t y = veer_silu(&b, x), m = veer_reduce_last(&b, VEER_OP_REDUCE_MEAN, y, true), z = veer_sub(&b, y, m);
    veer_value_t columns = veer_reduce(&b, VEER_OP_REDUCE_SUM, y, (int64_t[]){0}, 1, false);
    veer_value_t product = veer_matmul(&b, z, z, false, true);
    check(veer_builder_status(&b), "candidates");
    veer_node_t nodes[] = {veer_value_def(b.graph, y), veer_value_def(b.graph, m), veer_value_def(b.graph, z)};
    veer_value_t results[] = {z, m};
    bool can;
    check(veer_llvm_can_fuse(b.graph, nodes, 3, results, 2, &can, &info, reason, sizeof reason), "candidates");
    assert_true(can);
    assert_int_equal(info.nests, 1);
    assert_int_equal(info.sweeps, 2);
    assert_int_equal(info.work_items, 8);
    nodes[1] = veer_value_def(b.graph, columns), results[0] = y, results[1] = columns;
    check(veer_llvm_can_fuse(b.graph, nodes, 2, results, 2, &can, &info, reason, sizeof reason), "candidates");
    assert_true(can);
    assert_int_equal(info.nests, 2);
    nodes[1] = veer_value_def(b.graph, product), results[1] = product;
    check(veer_llvm_can_fuse(b.graph, nodes, 2, results, 2, &can, &info, reason, sizeof reason), "candidates");
    assert_false(can);
    assert_string_equal(reason, "no kernel for op matmul");
    s->count++;
}

static void equal_kernels_are_one(void **state) {
    suite_t *s = *state;
    for (int i = 0; i < 3; i++) {
        veer_builder_t b = begin(s, "shared", 1e-6, 1e-6);
        veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, i < 2 ? 50 : 51));
        finish_value(s, &b, veer_silu(&b, x));
    }
    assert_int_equal(s->cases[0].kernel.id, s->cases[1].kernel.id);
    assert_int_not_equal(s->cases[0].kernel.id, s->cases[2].kernel.id);
    run_all(s);
}

/* Every allocation fails once, alone and with all that follow: a clean status, no leak, and the compiler still works.
 */
static void survives_failing_allocations(void **state) {
    suite_t *s = *state;
    veer_builder_t b = begin(s, "softmax", 1e-6, 1e-6);
    veer_value_t x = arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 50));
    veer_node_t node =
        veer_value_def(b.graph, veer_build(&b, VEER_OP_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 1))));
    check(veer_builder_status(&b), "softmax");
    s->count++;
    for (int once = 0; once < 2; once++)
        for (long n = 0;; n++) {
            failing_allocator_t failing = {.fail_at = n, .once = once};
            veer_llvm_t *llvm = NULL;
            veer_llvm_kernel_t kernel;
            veer_status_t status = veer_llvm_create(failing_allocator(&failing), cpu, &llvm);
            bool created = !status;
            if (!status) status = veer_llvm_emit(llvm, b.graph, node, &kernel);
            bool emit_failed = created && status;
            if (!status) status = veer_llvm_finish(llvm);
            assert_int_equal(veer_status_code(status), failing.failed ? VEER_ERR_RESOURCE : VEER_OK);
            assert_true(status || veer_llvm_symbol(llvm, kernel.id));
            if (emit_failed && once) check(veer_llvm_finish(llvm), "what was begun is closed: the module compiles");
            veer_status_free(status);
            veer_llvm_destroy(llvm);
            assert_int_equal(failing.live, 0);
            if (!failing.failed) break;
        }
}

/* Short memory is a failure, never "no": what is compiled would depend on it. */
static void short_memory_is_no_answer(void **state) {
    (void)state;
    failing_allocator_t failing = {.fail_at = -1};
    veer_graph_t *g;
    veer_func_t func;
    veer_value_t x;
    char reason[256];
    check(veer_graph_create(failing_allocator(&failing), &g), "graph");
    check(veer_graph_add_func(g, "f", &func), "graph");
    check(veer_region_add_arg(g, veer_func_body(g, func), VEER_TYPE(VEER_DTYPE_F32, 4, 50), "", &x), "graph");
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, func));
    veer_node_t node = veer_value_def(g, veer_build(&b, VEER_OP_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 1))));
    check(veer_builder_status(&b), "softmax");
    for (int once = 0; once < 2; once++)
        for (long n = 0;; n++) {
            bool supports = false, can = false;
            failing = (failing_allocator_t){.fail_at = n, .once = once, .live = failing.live};
            veer_status_t status = veer_llvm_supports(g, node, &supports, reason, sizeof reason);
            assert_int_equal(veer_status_code(status), failing.failed ? VEER_ERR_RESOURCE : VEER_OK);
            assert_int_equal(supports, !failing.failed);
            veer_status_free(status);
            bool failed = failing.failed;
            failing = (failing_allocator_t){.fail_at = n, .once = once, .live = failing.live};
            veer_value_t y = veer_node_out(g, node, 0);
            status = veer_llvm_can_fuse(g, &node, 1, &y, 1, &can, NULL, reason, sizeof reason);
            assert_int_equal(veer_status_code(status), failing.failed ? VEER_ERR_RESOURCE : VEER_OK);
            assert_int_equal(can, !failing.failed);
            veer_status_free(status);
            if (!failed && !failing.failed) break;
        }
    failing.fail_at = -1;
    veer_graph_destroy(g);
    assert_int_equal(failing.live, 0);
}

static void empty_results(void **state) {
    suite_t *s = *state;
    veer_builder_t b = begin(s, "empty", 0, 0);
    finish_value(s, &b, veer_exp(&b, arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 0))));
    b = begin(s, "sum of nothing", 0, 0);
    finish_value(s, &b, veer_reduce_last(&b, VEER_OP_REDUCE_SUM, arg(s, VEER_TYPE(VEER_DTYPE_F32, 4, 0)), false));
    run_all(s);
}

int main(void) {
    print_message("seed %u\n", SEED);
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(unary_ops),
        T(binary_ops),
        T(casts_and_where),
        T(elementwise_regions),
        T(large_elementwise),
        T(reductions),
        T(arg_max),
        T(softmaxes),
        T(norms),
        T(norms_with_channels_last),
        T(groups_in_lanes),
        T(groups_in_lanes_backward),
        T(norm_gradients),
        T(norm_gradients_in_clusters),
        T(row_regions),
        T(moves),
        T(gathers),
        T(gather_checks_indices),
        T(regions_with_views),
        T(noise),
        T(step_update),
        T(declines_with_a_reason),
        T(short_memory_is_no_answer),
        T(tells_what_can_be_fused),
        T(tiles),
        T(equal_kernels_are_one),
        T(survives_failing_allocations),
        T(empty_results),
    };
    int failed = cmocka_run_group_tests_name("this machine", tests, NULL, NULL);
#ifdef __x86_64__
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return failed;
    cpu = "x86-64-v3"; /* eight lanes, even where the machine has sixteen */
    failed += cmocka_run_group_tests_name("x86-64-v3", tests, NULL, NULL);
#endif
    return failed;
}
