/* 3x3 convolutions of the models' shapes, channels last: oneDNN's kernels next to Winograd's algorithm with tiles of
 * 2x2 and 4x4, GFLOP/s on one and on two threads, counted as for the direct method. Behind the costs in
 * backends/llvm/winograd.c. Prints a table; asserts nothing.
 *
 *     veer-bench-winograd [cpu]      x86-64-v3 for 256-bit vectors; DNNL_MAX_CPU_ISA=AVX2 for the same of oneDNN */
#include "backends/llvm/llvm.h"
#include "backends/onednn/onednn.h"
#include "bench/probe.h"
#include "ir/builder.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct shape_s {
    int64_t n, h, w, c, m;
    int epilogue; /* 0: bias, 1: bias and residual, 2: bias and silu */
} shape_t;

static const shape_t shapes[] = {
    {1, 64, 64, 64, 64, 0},   {1, 64, 64, 64, 64, 1},   {1, 64, 64, 128, 64, 0},  {1, 32, 32, 128, 128, 0},
    {1, 32, 32, 256, 128, 0}, {1, 16, 16, 192, 192, 0}, {1, 16, 16, 256, 256, 1}, {1, 8, 8, 256, 256, 0},
    {1, 8, 8, 512, 512, 0},   {4, 32, 32, 128, 128, 0}, {4, 16, 16, 256, 256, 0}, {4, 8, 8, 256, 256, 0},
    {16, 8, 8, 32, 32, 0},    {16, 8, 8, 64, 64, 2},    {16, 4, 4, 64, 64, 0},    {16, 4, 4, 128, 64, 0},
    {1, 64, 64, 3, 64, 0},    {1, 64, 64, 64, 6, 0},    {16, 8, 8, 1, 32, 0},     {1, 64, 64, 32, 32, 0},
    {1, 128, 128, 64, 64, 0}, {1, 33, 31, 96, 80, 0},   {1, 64, 64, 192, 192, 0}, {1, 32, 32, 384, 384, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, BUFS = 5 };

typedef struct case_s {
    veer_graph_t *g;
    veer_node_t node;
    void *bufs[BUFS];
    veer_onednn_kernel_t dnn;
    veer_llvm_kernel_t two, four;
    double two_gain, four_gain; /* estimated */
} case_t;

static void make_case(const shape_t *s, case_t *c) {
    static const int64_t one[2] = {1, 1};
    veer_func_t f;
    veer_type_t y = VEER_TYPE(VEER_DTYPE_F32, s->n, s->h, s->w, s->m);
    veer_type_t types[] = {VEER_TYPE(VEER_DTYPE_F32, s->n, s->h, s->w, s->c),
                           VEER_TYPE(VEER_DTYPE_F32, s->m, s->c, 3, 3), VEER_TYPE(VEER_DTYPE_F32, s->m), y};
    int count = s->epilogue == 1 ? 4 : 3;
    veer_value_t in[4];
    check(veer_graph_create(veer_allocator_system(), &c->g));
    check(veer_graph_add_func(c->g, "f", &f));
    veer_builder_t b = veer_builder_at_end(c->g, veer_func_body(c->g, f));
    for (int i = 0; i < count; i++) {
        c->bufs[i] = filled(0.01f, types[i]);
        if (i == 0 || i == 3)
            check(veer_region_add_arg(c->g, veer_func_body(c->g, f), types[i], "", &in[i]));
        else
            in[i] = veer_const(&b, types[i], c->bufs[i]);
    }
    c->bufs[count] = filled(0.01f, y);
    c->node = veer_builder_fused(&b, "contraction", in, count);
    check(veer_builder_status(&b));
    veer_region_t body = veer_node_body(c->g, c->node);
    veer_builder_t inner = veer_builder_at_end(c->g, body);
    for (int i = 0; i < count; i++) in[i] = veer_region_arg(c->g, body, i);
    veer_value_t v = veer_build(&inner, VEER_OP_CONV, in, 3,
                                VEER_ATTRS(VEER_INTS("strides", one, 2), VEER_INTS("pads_before", one, 2),
                                           VEER_INTS("pads_after", one, 2), VEER_INTS("dilations", one, 2),
                                           VEER_INT("groups", 1), VEER_INT("channels_last", 1)));
    if (s->epilogue == 1) v = veer_add(&inner, v, in[3]);
    if (s->epilogue == 2) v = veer_silu(&inner, v);
    veer_builder_yield(&inner, &v, 1);
    check(veer_builder_status(&inner));
    veer_builder_fused_finish(&b, c->node);
    check(veer_builder_status(&b));
}

static double onednns(const case_t *c, double flops, int threads) {
    probe_t p = {.fn = c->dnn.fn,
                 .params = c->dnn.params,
                 .bufs = c->bufs,
                 .items = c->dnn.work_items,
                 .scratch_bytes = c->dnn.scratch_bytes};
    return rate_of(&p, flops, threads);
}

static double ours(const veer_llvm_t *llvm, const case_t *c, const veer_llvm_kernel_t *k, double flops, int threads) {
    void *bufs[BUFS];
    for (int i = 0; i < BUFS; i++) bufs[i] = c->bufs[i];
    bufs[k->packed_buf] = (void *)(uintptr_t)k->packed;
    probe_t p = {
        .fn = veer_llvm_symbol(llvm, k->id), .bufs = bufs, .items = k->work_items, .scratch_bytes = k->scratch_bytes};
    return rate_of(&p, flops, threads);
}

static void print_case(const shape_t *s, const case_t *c, const veer_llvm_t *llvm) {
    static const char *const names[] = {"bias", "bias residual", "bias silu"};
    double flops = 18.0 * (double)(s->n * s->h * s->w) * (double)(s->c * s->m), r[6];
    for (int t = 1; t <= 2; t++) {
        r[t - 1] = onednns(c, flops, t);
        r[t + 1] = ours(llvm, c, &c->two, flops, t);
        r[t + 3] = ours(llvm, c, &c->four, flops, t);
    }
    printf("%2dx%3dx%3dx%3d %3d %-13s |%6.0f%6.0f |%6.0f%6.0f |%6.0f%6.0f |%5.2f%6.2f |%5.2f%6.2f | %3d %4d KB\n",
           (int)s->n, (int)s->h, (int)s->w, (int)s->c, (int)s->m, names[s->epilogue], r[0], r[1], r[2], r[3], r[4],
           r[5], r[2] / r[0], c->two_gain, r[4] / r[0], c->four_gain, (int)c->four.work_items,
           (int)(c->four.scratch_bytes >> 10));
}

static void estimate(const veer_llvm_t *llvm, case_t *c) {
    veer_llvm_conv_t ways[VEER_LLVM_CONV_WAYS];
    char reason[128];
    int count = veer_llvm_conv_ways(llvm, c->g, c->node, false, ways, reason, sizeof reason);
    for (int i = 0; i < count; i++) *(ways[i].tile == 2 ? &c->two_gain : &c->four_gain) = ways[i].gain;
}

int main(int argc, char **argv) {
    static case_t cases[SHAPES];
    veer_llvm_t *llvm;
    veer_onednn_t *dnn;
    check(veer_llvm_create(veer_allocator_system(), argc > 1 ? argv[1] : NULL, &llvm));
    check(veer_onednn_create(veer_allocator_system(), &dnn));
    double start = now();
    for (int i = 0; i < SHAPES; i++) {
        make_case(&shapes[i], &cases[i]);
        estimate(llvm, &cases[i]);
        check(veer_llvm_conv_emit(llvm, cases[i].g, cases[i].node, 2, &cases[i].two));
        check(veer_llvm_conv_emit(llvm, cases[i].g, cases[i].node, 4, &cases[i].four));
    }
    double emitted = now();
    check(veer_llvm_finish(llvm));
    printf("%d kernels: %.0f ms for code and weights, compiled in %.0f ms\n", 2 * SHAPES, 1e3 * (emitted - start),
           1e3 * (now() - emitted));
    for (int i = 0; i < SHAPES; i++) check(veer_onednn_emit(dnn, cases[i].g, cases[i].node, NULL, &cases[i].dnn));
    printf("N x H x W x C to M              | oneDNN: 1, 2 | 2x2: 1, 2   | 4x4: 1, 2   | gain, by estimate: 2x2, 4x4 | "
           "items, scratch\n");
    for (int i = 0; i < SHAPES; i++) print_case(&shapes[i], &cases[i], llvm);
    return 0;
}
