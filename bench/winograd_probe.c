/* 3x3 convolutions of the models' shapes, channels last: oneDNN's kernels next to Winograd's algorithm with tiles of
 * 2x2 and 4x4, weights packed in transformed form or transformed on the fly, and to direct convolutions on the matrix
 * unit where there is one: GFLOP/s on one and on two threads, counted as for the direct method. All in caches, and as a
 * step meets them: weights that were not read for long, the start of which the call before has fetched, and x as two
 * threads have just written it, half of the channels each. Behind the costs in backends/llvm/winograd.c and conv_amx.c.
 * Prints a table; asserts nothing.
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
    {1, 16, 16, 576, 384, 0}, {1, 8, 8, 768, 512, 0},   {16, 28, 28, 32, 32, 0},  {16, 14, 14, 64, 64, 0},
    {16, 7, 7, 64, 64, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, BUFS = 5, WAYS = VEER_LLVM_CONV_WAYS };

static const veer_llvm_conv_t ways[WAYS] = {{2, false, 0}, {2, true, 0}, {4, false, 0}, {4, true, 0}};
static const char *const way_names[WAYS] = {"2x2", "2x2 fly", "4x4", "4x4 fly"};

typedef struct case_s {
    veer_graph_t *g;
    veer_node_t node;
    void *bufs[BUFS];
    veer_onednn_kernel_t dnn;
    veer_llvm_kernel_t ours[WAYS];
    double gains[WAYS]; /* estimated */
    bool has_unit;
    veer_llvm_kernel_t unit; /* on the matrix unit */
    double unit_gain;
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

/* Rates of a way: on one and two threads in caches, on one and two as in a step. */
static void measure(const veer_llvm_t *llvm, const shape_t *s, const case_t *c, const veer_llvm_kernel_t *k,
                    double flops, char *room, double out[4]) {
    void *bufs[BUFS];
    for (int i = 0; i < BUFS; i++) bufs[i] = c->bufs[i];
    bufs[k->packed_buf] = (void *)(uintptr_t)k->packed;
    probe_t p = {
        .fn = veer_llvm_symbol(llvm, k->id), .bufs = bufs, .items = k->work_items, .scratch_bytes = k->scratch_bytes};
    ring_t ring = cold_ring(k->packed, k->packed_bytes, k->packed_buf, &k->stream, room);
    written_t x = {c->bufs[0], s->n * s->h * s->w, s->c};
    for (int t = 1; t <= 2; t++) {
        bufs[k->packed_buf] = (void *)(uintptr_t)k->packed;
        out[t - 1] = rate_of(&p, flops, t), out[t + 1] = cold_rate(p, &ring, bufs, &x, flops, t);
    }
}

static void print_way(const veer_llvm_t *llvm, const shape_t *s, const case_t *c, const veer_llvm_kernel_t *k,
                      double flops, char *room, double gain) {
    double r[4];
    measure(llvm, s, c, k, flops, room, r);
    printf(" |%5.0f%5.0f%5.0f%5.0f (%.1f) %2d", r[0], r[1], r[2], r[3], gain, (int)k->work_items);
    fflush(stdout);
}

static void print_case(const shape_t *s, const case_t *c, const veer_llvm_t *llvm, char *room) {
    static const char *const names[] = {"bias", "bias residual", "bias silu"};
    double flops = 18.0 * (double)(s->n * s->h * s->w) * (double)(s->c * s->m);
    printf("%2dx%3dx%3dx%3d %3d %-13s |%5.0f%5.0f", (int)s->n, (int)s->h, (int)s->w, (int)s->c, (int)s->m,
           names[s->epilogue], onednns(c, flops, 1), onednns(c, flops, 2));
    for (int i = 0; i < WAYS; i++) print_way(llvm, s, c, &c->ours[i], flops, room, c->gains[i]);
    if (c->has_unit) print_way(llvm, s, c, &c->unit, flops, room, c->unit_gain);
    printf("\n");
}

static void estimate(const veer_llvm_t *llvm, case_t *c) {
    veer_llvm_conv_t found[WAYS];
    char reason[128];
    int count = veer_llvm_conv_ways(llvm, c->g, c->node, found, reason, sizeof reason);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < WAYS; k++)
            if (ways[k].tile == found[i].tile && ways[k].fly == found[i].fly) c->gains[k] = found[i].gain;
    c->has_unit = veer_llvm_conv_amx_supports(llvm, c->g, c->node, &c->unit_gain, reason, sizeof reason);
}

int main(int argc, char **argv) {
    static case_t cases[SHAPES];
    veer_llvm_t *llvm;
    veer_onednn_t *dnn;
    check(veer_llvm_create(veer_allocator_system(), argc > 1 ? argv[1] : NULL, &llvm));
    check(veer_onednn_create(veer_allocator_system(), &dnn));
    double start = veer_clock_seconds();
    for (int i = 0; i < SHAPES; i++) {
        make_case(&shapes[i], &cases[i]);
        estimate(llvm, &cases[i]);
        for (int k = 0; k < WAYS; k++)
            check(veer_llvm_conv_emit(llvm, cases[i].g, cases[i].node, ways[k].tile, ways[k].fly, &cases[i].ours[k]));
        if (cases[i].has_unit) check(veer_llvm_conv_amx_emit(llvm, cases[i].g, cases[i].node, &cases[i].unit));
    }
    double emitted = veer_clock_seconds();
    check(veer_llvm_finish(llvm));
    printf("%d kernels: %.0f ms for code and weights, compiled in %.0f ms\n", WAYS * SHAPES, 1e3 * (emitted - start),
           1e3 * (veer_clock_seconds() - emitted));
    for (int i = 0; i < SHAPES; i++) check(veer_onednn_emit(dnn, cases[i].g, cases[i].node, NULL, &cases[i].dnn));
    char *room = veer_alloc(veer_allocator_system(), RING_BYTES);
    if (!room) return 1;
    printf("each way: 1, 2 threads, cold 1, 2, (estimated gain), items\nN x H x W x C to M              | oneDNN   ");
    for (int i = 0; i < WAYS; i++) printf(" | %-27s", way_names[i]);
    printf(" | matrix unit\n");
    for (int i = 0; i < SHAPES; i++) print_case(&shapes[i], &cases[i], llvm, room);
    veer_free(veer_allocator_system(), room);
    return 0;
}
