/* What tests of regions that the LLVM backend compiles share: cases of one node, fused or alone, compared with the
 * reference backend. Results have guards around them, scratch is filled with NaNs, and work items run in 1, 2, 3 and 8
 * shares, last share first, which must not change a bit. Include <setjmp.h>, <stdarg.h>, <stddef.h> and <cmocka.h>
 * before. Included once, behind the test's own
 *
 *     static const uint32_t SEED = ...;
 *
 * A case is begun, gets its arguments and is finished by its last value, or by a fused node:
 *
 *     veer_builder_t b = begin(s, "silu", 1e-6, 1e-6);
 *     veer_value_t x = arg(s, type);
 *     finish_value(s, &b, veer_silu(&b, x)); */
#ifndef VEER_TESTS_SUPPORT_REGION_CASE_H
#define VEER_TESTS_SUPPORT_REGION_CASE_H

#include "backends/llvm/llvm.h"
#include "backends/reference/reference.h"
#include "ir/builder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CASES = 150, NAME_BYTES = 96 };

typedef struct case_s {
    char name[NAME_BYTES];
    veer_graph_t *g;
    veer_func_t func;
    veer_node_t node;
    double abs, rel;  /* how far a result may be off: abs + rel * |expected| */
    double low, high; /* of the operands' numbers */
    veer_llvm_kernel_t kernel;
} case_t;

#include "tests/support/llvm_suite.h"

/* ---- making cases ---- */

static void check_case(const case_t *c, veer_status_t status) {
    if (status) print_error("%s: ", c->name);
    check(status);
}

/* The case that was begun last. */
static inline case_t *current(suite_t *s) {
    return &s->cases[s->count - 1];
}

static inline veer_builder_t begin(suite_t *s, const char *name, double abs, double rel) {
    veer_builder_t b;
    case_t *c = begin_case(s, (case_t){.abs = abs, .rel = rel, .low = -2, .high = 2}, &b);
    snprintf(c->name, sizeof c->name, "%s", name);
    return b;
}

static inline veer_value_t arg(suite_t *s, veer_type_t type) {
    return input(current(s), type);
}

/* The node alone, or the fused one, is the function's last but for the return. */
static inline void finish(suite_t *s, veer_builder_t *b, veer_node_t node) {
    case_t *c = current(s);
    check_case(c, veer_builder_status(b));
    c->node = node;
    veer_value_t out[MAX_IO];
    int count = veer_node_out_count(c->g, node);
    for (int i = 0; i < count; i++) out[i] = veer_node_out(c->g, node, i);
    veer_builder_return(b, out, count);
    check_case(c, veer_builder_status(b));
    char reason[256];
    bool yes;
    check_case(c, veer_llvm_supports(c->g, node, &yes, reason, sizeof reason));
    if (!yes) fail_msg("%s: not supported: %s", c->name, reason);
    check_case(c, veer_llvm_emit(s->llvm, c->g, node, &c->kernel));
}

static inline void finish_value(suite_t *s, veer_builder_t *b, veer_value_t v) {
    check_case(current(s), veer_builder_status(b));
    finish(s, b, veer_value_def(current(s)->g, v));
}

typedef struct fused_s {
    veer_node_t node;
    veer_builder_t body;
    veer_value_t in[MAX_IO];
} fused_t;

static inline fused_t begin_fused(suite_t *s, veer_builder_t *b, const veer_value_t *in, int count) {
    veer_graph_t *g = current(s)->g;
    fused_t f = {.node = veer_builder_fused(b, "test", in, count)};
    check_case(current(s), veer_builder_status(b));
    f.body = veer_builder_at_end(g, veer_node_body(g, f.node));
    for (int i = 0; i < count; i++) f.in[i] = veer_region_arg(g, veer_node_body(g, f.node), i);
    return f;
}

/* The body yields `out`; the builder stands behind the node again. */
static inline void end_fused(suite_t *s, veer_builder_t *b, fused_t *f, const veer_value_t *out, int count) {
    veer_builder_yield(&f->body, out, count);
    check_case(current(s), veer_builder_status(&f->body));
    veer_builder_fused_finish(b, f->node);
}

static inline void finish_fused(suite_t *s, veer_builder_t *b, fused_t *f, const veer_value_t *out, int count) {
    end_fused(s, b, f, out, count);
    finish(s, b, f->node);
}

/* ---- random shapes ---- */

static const int64_t SIZES[] = {1, 2, 3, 5, 7, 8, 16, 17, 33, 64, 100};
enum { SIZE_COUNT = (int)(sizeof SIZES / sizeof *SIZES) };

static inline int64_t pick(suite_t *s, const int64_t *from, int count) {
    return from[next(s) % (uint32_t)count];
}

static inline veer_type_t random_shape(suite_t *s, veer_dtype_t dtype) {
    veer_type_t t = {.dtype = dtype, .rank = (int)(next(s) % 5)};
    for (int i = 0; i < t.rank; i++) t.dims[i] = pick(s, SIZES, i < t.rank - 2 ? 4 : 9);
    return t;
}

/* Leaves dims out in front and sets others to 1, so that it broadcasts to `t`. */
static inline veer_type_t broadcastable(suite_t *s, veer_type_t t) {
    int skip = (int)(next(s) % (uint32_t)(t.rank + 1));
    if (next(s) % 2) skip = 0;
    veer_type_t r = {.dtype = t.dtype, .rank = t.rank - skip};
    for (int i = 0; i < r.rank; i++) r.dims[i] = next(s) % 3 ? t.dims[skip + i] : 1;
    return r;
}

/* ---- running ---- */

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

/* What the kernel returns. */
static int run_kernel(const suite_t *s, const case_t *c, void **bufs, int shares) {
    int result = 0;
    int64_t items = c->kernel.work_items;
    void *scratch = veer_alloc(veer_allocator_system(), c->kernel.scratch_bytes + 1);
    assert_non_null(scratch);
    memset(scratch, 0xFF, c->kernel.scratch_bytes); /* NaNs: what idle lanes read of it must not matter */
    for (int share = shares - 1; share >= 0; share--) {
        veer_kernel_args_t args = {.buf = bufs, .begin = items * share / shares, .end = items * (share + 1) / shares};
        args.scratch = scratch, args.threads = shares, args.thread = share;
        if (args.begin < args.end) result |= veer_llvm_symbol(s->llvm, c->kernel.id)(&args);
    }
    veer_free(veer_allocator_system(), scratch);
    return result;
}

static void run_case(suite_t *s, const case_t *c) {
    static const int SHARES[] = {1, 2, 3, 8};
    veer_tensor_t in[MAX_IO], want[MAX_IO];
    void *bufs[2 * MAX_IO] = {0};
    unsigned char *out[MAX_IO][2]; /* of one share, and of any more */
    int args = bind_within(s, c, c->low, c->high, in, bufs), operands = veer_node_in_count(c->g, c->node),
        results = veer_node_out_count(c->g, c->node);
    check_case(c, veer_reference_eval(c->g, c->func, in, args, veer_allocator_system(), want, results));
    for (int k = 0; k < results; k++)
        for (int i = 0; i < 2; i++) assert_non_null(out[k][i] = malloc(veer_type_bytes(&want[k].type) + 2 * GUARD));
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < results; k++) bufs[operands + k] = guarded(out[k][i > 0], veer_type_bytes(&want[k].type));
        int result = run_kernel(s, c, bufs, SHARES[i]);
        if (result) fail_msg("%s: kernel gives %d", c->name, result);
        for (int k = 0; k < results; k++) {
            size_t bytes = veer_type_bytes(&want[k].type);
            if (!guards_hold(out[k][i > 0], bytes)) fail_msg("%s: writes outside result %d", c->name, k);
            if (memcmp(out[k][0], out[k][i > 0], bytes + 2 * GUARD)) fail_msg("%s: depends on the shares", c->name);
        }
    }
    for (int k = 0; k < results; k++) {
        compare(c, k, want[k].type, out[k][0] + GUARD, want[k].data);
        veer_free(veer_allocator_system(), want[k].data);
        free(out[k][0]), free(out[k][1]);
    }
    for (int i = 0; i < args; i++) veer_free(veer_allocator_system(), in[i].data);
}

#endif
