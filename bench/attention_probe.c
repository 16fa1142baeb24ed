/* Attention and its gradient of the models' shapes, in both layouts of a packed product: GFLOP/s of the products (the
 * gradient's five, with the scores computed again) on one and on two threads. Behind the choices in
 * backends/llvm/attention.c. Prints a table; asserts nothing.
 *
 *     veer-bench-attention [cpu]      x86-64-v3 for 256-bit vectors */
#include "backends/llvm/llvm.h"
#include "bench/probe.h"
#include "ir/builder.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct shape_s {
    const char *model;
    int64_t heads, l, d;
    bool channels_first;
} shape_t;

static const shape_t shapes[] = {
    {"adm64 32x32", 2, 1024, 64, true}, {"adm64 32x32", 2, 1024, 64, false},
    {"adm64 16x16", 3, 256, 64, true},  {"adm64 16x16", 3, 256, 64, false},
    {"adm64 8x8", 4, 64, 64, true},     {"adm64 8x8", 4, 64, 64, false},
    {"difflm", 12, 64, 64, false},      {"difflm classifier", 12, 129, 64, false},
    {"e2e", 16, 40, 48, false},         {"e2e classifier", 16, 85, 32, false},
    {"digits", 32, 16, 32, true},       {"digits", 32, 16, 32, false},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct case_s {
    veer_graph_t *g;
    void *bufs[4];
    veer_llvm_kernel_t kernel;
    double flops;
} case_t;

static veer_value_t part(const shape_t *s, veer_builder_t *b, veer_value_t x, int i) {
    int64_t perm[] = {0, s->channels_first ? 1 : 2, s->channels_first ? 3 : 1, s->channels_first ? 2 : 3};
    int axis = s->channels_first ? 1 : 2;
    int64_t all = s->heads * s->d;
    x = veer_slice_axis(b, x, axis, i * all, all, 1);
    x = s->channels_first ? veer_reshape(b, x, VEER_DIMS(1, s->heads, s->d, s->l))
                          : veer_reshape(b, x, VEER_DIMS(1, s->l, s->heads, s->d));
    return veer_transpose(b, x, perm);
}

static veer_value_t merged(const shape_t *s, veer_builder_t *b, veer_value_t y) {
    int64_t perm[] = {0, s->channels_first ? 1 : 2, s->channels_first ? 3 : 1, s->channels_first ? 2 : 3};
    y = veer_transpose(b, y, perm);
    return s->channels_first ? veer_reshape(b, y, VEER_DIMS(1, s->heads * s->d, s->l))
                             : veer_reshape(b, y, VEER_DIMS(1, s->l, s->heads * s->d));
}

static veer_value_t body(const shape_t *s, veer_builder_t *b, const veer_value_t *in, bool gradient) {
    veer_value_t q = part(s, b, in[0], 0), k = part(s, b, in[0], 1), v = part(s, b, in[0], 2), parts[3];
    const veer_named_attr_t *attrs = VEER_ATTRS(VEER_FLOAT("scale", 0.125));
    if (!gradient) return merged(s, b, veer_build(b, VEER_OP_ATTENTION, VEER_IN(q, k, v), attrs));
    veer_value_t dy = part(s, b, in[1], 0);
    veer_node_t n = veer_build_node(b, VEER_OP_ATTENTION_GRAD, VEER_IN(q, k, v, dy), attrs);
    for (int i = 0; i < 3; i++) parts[i] = merged(s, b, veer_node_out(b->graph, n, i));
    return veer_concat(b, parts, 3, s->channels_first ? 1 : 2);
}

static void make_case(const shape_t *s, bool gradient, case_t *c, veer_llvm_t *llvm) {
    veer_func_t f;
    int64_t all = s->heads * s->d;
    veer_type_t packed = s->channels_first ? VEER_TYPE(VEER_DTYPE_F32, 1, 3 * all, s->l)
                                           : VEER_TYPE(VEER_DTYPE_F32, 1, s->l, 3 * all),
                one = s->channels_first ? VEER_TYPE(VEER_DTYPE_F32, 1, all, s->l)
                                        : VEER_TYPE(VEER_DTYPE_F32, 1, s->l, all);
    veer_value_t in[2];
    int count = gradient ? 2 : 1;
    check(veer_graph_create(veer_allocator_system(), &c->g));
    check(veer_graph_add_func(c->g, "f", &f));
    check(veer_region_add_arg(c->g, veer_func_body(c->g, f), packed, "", &in[0]));
    check(veer_region_add_arg(c->g, veer_func_body(c->g, f), one, "", &in[1]));
    veer_builder_t b = veer_builder_at_end(c->g, veer_func_body(c->g, f));
    veer_node_t node = veer_builder_fused(&b, "attention", in, count);
    check(veer_builder_status(&b));
    veer_builder_t inner = veer_builder_at_end(c->g, veer_node_body(c->g, node));
    for (int i = 0; i < count; i++) in[i] = veer_region_arg(c->g, veer_node_body(c->g, node), i);
    veer_value_t y = body(s, &inner, in, gradient);
    veer_builder_yield(&inner, &y, 1);
    check(veer_builder_status(&inner));
    veer_builder_fused_finish(&b, node);
    check(veer_builder_status(&b));
    c->bufs[0] = filled(0.1f, packed), c->bufs[1] = filled(0.1f, one), c->bufs[2] = filled(0.1f, packed);
    check(veer_llvm_attention_emit(llvm, c->g, node, &c->kernel));
    c->flops = (gradient ? 10.0 : 4.0) * (double)(s->heads * s->l) * (double)(s->l * s->d);
}

static double rate(veer_kernel_fn fn, const case_t *c, int threads) {
    probe_t p = {.fn = fn, .bufs = c->bufs, .items = c->kernel.work_items, .scratch_bytes = c->kernel.scratch_bytes};
    return rate_of(&p, c->flops, threads);
}

int main(int argc, char **argv) {
    static case_t cases[SHAPES][2];
    veer_llvm_t *llvm;
    check(veer_llvm_create(veer_allocator_system(), argc > 1 ? argv[1] : NULL, &llvm));
    double start = veer_clock_seconds();
    for (int i = 0; i < 2 * SHAPES; i++) make_case(&shapes[i / 2], i % 2, &cases[i / 2][i % 2], llvm);
    check(veer_llvm_finish(llvm));
    printf("%d kernels compiled in %.0f ms\n", 2 * SHAPES, 1e3 * (veer_clock_seconds() - start));
    printf("heads x length x size           layout | forward: 1, 2 | gradient: 1, 2 | items | scratch KB\n");
    for (int i = 0; i < SHAPES; i++) {
        const shape_t *s = &shapes[i];
        printf("%-18s %2dx%4dx%2d %s |", s->model, (int)s->heads, (int)s->l, (int)s->d,
               s->channels_first ? "first" : "last ");
        for (int k = 0; k < 2; k++) {
            veer_kernel_fn fn = veer_llvm_symbol(llvm, cases[i][k].kernel.id);
            printf("%6.0f%6.0f |", rate(fn, &cases[i][k], 1), rate(fn, &cases[i][k], 2));
        }
        printf(" %3d %3d | %d %d\n", (int)cases[i][0].kernel.work_items, (int)cases[i][1].kernel.work_items,
               (int)(cases[i][0].kernel.scratch_bytes >> 10), (int)(cases[i][1].kernel.scratch_bytes >> 10));
    }
    return 0;
}
