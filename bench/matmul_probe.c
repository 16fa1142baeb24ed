/* Matrix products of the models' shapes by a constant matrix: oneDNN's kernels next to ours, GFLOP/s on one and on two
 * threads, all in caches; and ours as a step meets them: a matrix that was not read for long, the start of which the
 * call before has fetched. Behind the cut in backends/llvm/matmul.c. Prints a table; asserts nothing.
 *
 *     veer-bench-matmul [cpu]      x86-64-v3 for 256-bit vectors; DNNL_MAX_CPU_ISA=AVX2 for the same of oneDNN */
#include "backends/llvm/llvm.h"
#include "backends/onednn/onednn.h"
#include "bench/probe.h"
#include "ir/builder.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct shape_s {
    int64_t leads, m, k, n;
    int epilogue; /* 0: none, 1: bias, 2: bias and gelu, 3: bias and residual */
    bool constant;
} shape_t;

static const shape_t shapes[] = {
    {1, 160, 192, 192, 3, true},    {1, 160, 192, 576, 1, true}, {1, 160, 192, 768, 2, true},
    {1, 160, 768, 192, 3, true},    {1, 16, 192, 768, 1, true},  {1, 340, 128, 128, 3, true},
    {1, 340, 128, 512, 2, true},    {1, 64, 768, 768, 3, true},  {1, 64, 768, 2304, 1, true},
    {1, 64, 768, 3072, 2, true},    {1, 64, 3072, 768, 3, true}, {1, 129, 768, 3072, 2, true},
    {1, 129, 3072, 768, 3, true},   {1, 1, 192, 768, 1, true},   {1, 1, 768, 3072, 1, true},
    {1, 2, 768, 3072, 1, true},     {1, 4, 768, 768, 1, true},   {1, 8, 768, 3072, 1, true},
    {1, 1024, 1024, 1024, 0, true}, {1, 4096, 64, 128, 1, true}, {16, 40, 40, 48, 0, false},
    {12, 64, 64, 64, 0, false},     {4, 129, 129, 64, 0, false},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, MAX_BUFS = 6 };

typedef struct case_s {
    veer_graph_t *g;
    veer_node_t node;
    void *bufs[MAX_BUFS];
    veer_onednn_kernel_t dnn;
    veer_llvm_kernel_t ours, unit; /* on the matrix unit; no items: not done there */
} case_t;

static void make_case(const shape_t *s, case_t *c) {
    veer_func_t f;
    veer_type_t types[] = {VEER_TYPE(VEER_DTYPE_F32, s->leads, s->m, s->k),
                           VEER_TYPE(VEER_DTYPE_F32, s->constant ? 1 : s->leads, s->k, s->n),
                           VEER_TYPE(VEER_DTYPE_F32, s->n), VEER_TYPE(VEER_DTYPE_F32, s->leads, s->m, s->n)};
    int count = s->epilogue == 0 ? 2 : s->epilogue == 3 ? 4 : 3;
    veer_value_t in[4];
    check(veer_graph_create(veer_allocator_system(), &c->g));
    check(veer_graph_add_func(c->g, "f", &f));
    veer_builder_t b = veer_builder_at_end(c->g, veer_func_body(c->g, f));
    for (int i = 0; i < count; i++) {
        c->bufs[i] = filled(0.01f, types[i]);
        if (i == 0 || i == 3 || (i == 1 && !s->constant))
            check(veer_region_add_arg(c->g, veer_func_body(c->g, f), types[i], "", &in[i]));
        else
            in[i] = veer_const(&b, types[i], c->bufs[i]);
    }
    c->bufs[count] = filled(0.01f, types[3]);
    c->node = veer_builder_fused(&b, "contraction", in, count);
    check(veer_builder_status(&b));
    veer_region_t body = veer_node_body(c->g, c->node);
    veer_builder_t inner = veer_builder_at_end(c->g, body);
    veer_value_t y = veer_build(&inner, VEER_OP_MATMUL,
                                VEER_IN(veer_region_arg(c->g, body, 0), veer_region_arg(c->g, body, 1)), NULL);
    if (s->epilogue) y = veer_add(&inner, y, veer_region_arg(c->g, body, 2));
    if (s->epilogue == 2) y = veer_gelu(&inner, y, true);
    if (s->epilogue == 3) y = veer_add(&inner, y, veer_region_arg(c->g, body, 3));
    veer_builder_yield(&inner, &y, 1);
    check(veer_builder_status(&inner));
    veer_builder_fused_finish(&b, c->node);
    check(veer_builder_status(&b));
}

/* GFLOP/s on one and two threads, warm and cold. */
static void rates(const case_t *c, const veer_llvm_t *llvm, const veer_llvm_kernel_t *k, double flops, char *room,
                  double warm[2], double cold[2]) {
    void *bufs[MAX_BUFS];
    for (int i = 0; i < MAX_BUFS; i++) bufs[i] = c->bufs[i];
    if (k->packed) bufs[k->packed_buf] = (void *)(uintptr_t)k->packed;
    probe_t p = {
        .fn = veer_llvm_symbol(llvm, k->id), .bufs = bufs, .items = k->work_items, .scratch_bytes = k->scratch_bytes};
    for (int t = 1; t <= 2; t++) warm[t - 1] = rate_of(&p, flops, t);
    if (!k->packed) return;
    ring_t ring = cold_ring(k->packed, k->packed_bytes, k->packed_buf, &k->stream, room);
    for (int t = 1; t <= 2; t++) cold[t - 1] = cold_rate(p, &ring, bufs, NULL, flops, t);
}

static void print_case(const shape_t *s, case_t *c, const veer_llvm_t *llvm, char *room) {
    static const char *const names[] = {"", "bias", "bias gelu", "bias residual"};
    double flops = 2.0 * (double)(s->leads * s->m) * (double)(s->k * s->n), dnn_rate[2], r[2], cold[2] = {0};
    probe_t dnn = {.fn = c->dnn.fn,
                   .params = c->dnn.params,
                   .bufs = c->bufs,
                   .items = c->dnn.work_items,
                   .scratch_bytes = c->dnn.scratch_bytes};
    for (int t = 1; t <= 2; t++) dnn_rate[t - 1] = rate_of(&dnn, flops, t);
    rates(c, llvm, &c->ours, flops, room, r, cold);
    printf("%2dx%4dx%4dx%4d %-13s |%6.0f%6.0f |%6.0f%6.0f |%5.2f%6.2f |%6.0f%6.0f | %3d %3d", (int)s->leads, (int)s->m,
           (int)s->k, (int)s->n, names[s->epilogue], dnn_rate[0], dnn_rate[1], r[0], r[1], r[0] / dnn_rate[0],
           r[1] / dnn_rate[1], cold[0], cold[1], (int)c->dnn.work_items, (int)c->ours.work_items);
    if (c->unit.work_items) {
        rates(c, llvm, &c->unit, flops, room, r, cold);
        printf(" |%6.0f%6.0f |%6.0f%6.0f | %3d", r[0], r[1], cold[0], cold[1], (int)c->unit.work_items);
    }
    printf("\n");
}

static void emit_case(veer_llvm_t *llvm, case_t *c) {
    char reason[160];
    check(veer_llvm_matmul_emit(llvm, c->g, c->node, &c->ours));
    if (veer_llvm_matmul_amx_supports(llvm, c->g, c->node, reason, sizeof reason))
        check(veer_llvm_matmul_amx_emit(llvm, c->g, c->node, &c->unit));
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
        emit_case(llvm, &cases[i]);
    }
    check(veer_llvm_finish(llvm));
    printf("%d kernels compiled in %.0f ms\n", SHAPES, 1e3 * (veer_clock_seconds() - start));
    for (int i = 0; i < SHAPES; i++) check(veer_onednn_emit(dnn, cases[i].g, cases[i].node, NULL, &cases[i].dnn));
    char *room = veer_alloc(veer_allocator_system(), RING_BYTES);
    if (!room) return 1;
    printf("L x M x K x N                   | oneDNN: 1, 2 | ours: 1, 2  | ratio: 1, 2 | cold: 1, 2  | items   | "
           "matrix unit | cold        | items\n");
    for (int i = 0; i < SHAPES; i++) print_case(&shapes[i], &cases[i], llvm, room);
    veer_free(veer_allocator_system(), room);
    return 0;
}
