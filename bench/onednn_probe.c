/* How fast oneDNN is on the shapes of the models: the numbers behind the rules in backends/onednn/tile.c and match.c,
 * to be held against the peak that veer-bench-peak measures. Prints a table; asserts nothing.
 *
 *     onednn_probe [threads]          DNNL_MAX_CPU_ISA=AVX2 onednn_probe      for another instruction set
 *
 * "kernel" columns are our tiles on all threads, the others single primitives of one thread, all in GFLOP/s. */
#include "backends/onednn/compat.h"
#include "backends/onednn/onednn.h"
#include "ir/base/clock.h"
#include "ir/builder.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static const double seconds_per_number = 0.05;

static void fill(float *data, size_t count) {
    for (size_t i = 0; i < count; i++) data[i] = (float)(i * 7 % 13) * 0.01f;
}

static float *buffer(size_t bytes) {
    float *p = aligned_alloc(64, (bytes + 127) & ~(size_t)63);
    if (!p) exit(1);
    fill(p, bytes / sizeof *p);
    return p;
}

/* ---- single primitives ---- */

enum { MAX_ARGS = 4 };

/* Takes `pd`. Best time over many runs. */
static double rate_of(dnnl_primitive_desc_t pd, double flops) {
    const dnnl_query_t queries[MAX_ARGS] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md,
                                            dnnl_query_scratchpad_md};
    const int names[MAX_ARGS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t args[MAX_ARGS];
    float *data[MAX_ARGS];
    dnnl_primitive_t primitive = NULL;
    int count = 0;
    double best = 1e9;
    for (int i = 0; i < MAX_ARGS; i++) {
        veer_dnnl_md_t md;
        if (veer_dnnl_pd_md(pd, queries[i], 0, &md) || !veer_dnnl_md_bytes(&md)) continue;
        data[count] = buffer(veer_dnnl_md_bytes(&md));
        args[count].arg = names[i];
        if (veer_dnnl_memory(&args[count].memory, &md, engine, data[count])) exit(1);
        veer_dnnl_md_deinit(&md);
        count++;
    }
    if (dnnl_primitive_create(&primitive, pd)) exit(1);
    double start = veer_clock_seconds();
    for (int i = 0; i < 5 || veer_clock_seconds() - start < seconds_per_number; i++) {
        double from = veer_clock_seconds();
        dnnl_primitive_execute(primitive, stream, count, args);
        double took = veer_clock_seconds() - from;
        if (took < best) best = took;
    }
    for (int i = 0; i < count; i++) dnnl_memory_destroy(args[i].memory), free(data[i]);
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(pd);
    return flops / best * 1e-9;
}

/* 0 where oneDNN has only its reference implementation. */
static double rate_unless_reference(dnnl_status_t status, dnnl_primitive_desc_t pd, double flops) {
    const char *name = "";
    if (status != dnnl_success) return 0;
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
    if (strncmp(name, "ref", 3)) return rate_of(pd, flops);
    dnnl_primitive_desc_destroy(pd);
    return 0;
}

static dnnl_primitive_attr_t user_scratchpad(void) {
    dnnl_primitive_attr_t attr;
    if (dnnl_primitive_attr_create(&attr)) exit(1);
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    return attr;
}

static void release(veer_dnnl_operands_t *o) {
    veer_dnnl_md_deinit(&o->src), veer_dnnl_md_deinit(&o->weights), veer_dnnl_md_deinit(&o->dst);
}

typedef struct conv_s {
    int64_t n, c, m, size, kernel;
} conv_t;

static double conv_rate(const conv_t *c, dnnl_format_tag_t tag) {
    veer_dnnl_operands_t o = {0};
    veer_dnnl_window_t w = {
        .strides = {1, 1}, .pads_before = {c->kernel / 2, c->kernel / 2}, .pads_after = {c->kernel / 2, c->kernel / 2}};
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = user_scratchpad();
    dnnl_status_t status = veer_dnnl_md_tag(&o.src, 4, (int64_t[]){c->n, c->c, c->size, c->size}, tag);
    if (!status) status = veer_dnnl_md_tag(&o.dst, 4, (int64_t[]){c->n, c->m, c->size, c->size}, tag);
    if (!status) status = veer_dnnl_md_strides(&o.weights, 4, (int64_t[]){c->m, c->c, c->kernel, c->kernel}, NULL);
    if (!status) status = veer_dnnl_conv(&pd, engine, false, &o, &w, attr);
    release(&o);
    dnnl_primitive_attr_destroy(attr);
    return rate_unless_reference(status, pd,
                                 2.0 * (double)(c->n * c->c * c->m * c->size * c->size * c->kernel * c->kernel));
}

typedef struct matmul_s {
    int64_t leads, m, k, n;
    bool constant;
} matmul_t;

typedef enum form_e { MATMUL_PLAIN, MATMUL_PACKED, INNER_PRODUCT, CONVOLUTION_1X1 } form_t;

static double matmul_rate(const matmul_t *c, form_t form) {
    veer_dnnl_operands_t o = {0};
    veer_dnnl_window_t w = {.strides = {1, 1}};
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = user_scratchpad();
    bool conv = form == CONVOLUTION_1X1;
    int64_t x[] = {c->m, c->k}, y[] = {c->m, c->n}, b[] = {c->k, c->n}, ip[] = {c->n, c->k};
    int64_t x4[] = {1, c->k, 1, c->m}, y4[] = {1, c->n, 1, c->m}, b4[] = {c->n, c->k, 1, 1};
    dnnl_status_t status = veer_dnnl_md_tag(&o.src, conv ? 4 : 2, conv ? x4 : x, conv ? dnnl_nhwc : dnnl_ab);
    if (!status) status = veer_dnnl_md_tag(&o.dst, conv ? 4 : 2, conv ? y4 : y, conv ? dnnl_nhwc : dnnl_ab);
    if (!status)
        status = veer_dnnl_md_tag(&o.weights, conv ? 4 : 2,
                                  conv                    ? b4
                                  : form == INNER_PRODUCT ? ip
                                                          : b,
                                  form == MATMUL_PLAIN ? dnnl_ab : dnnl_format_tag_any);
    if (!status && conv)
        status = veer_dnnl_conv(&pd, engine, false, &o, &w, attr);
    else if (!status && form == INNER_PRODUCT)
        status = veer_dnnl_inner_product(&pd, engine, &o, attr);
    else if (!status)
        status = veer_dnnl_matmul(&pd, engine, &o, attr);
    release(&o);
    dnnl_primitive_attr_destroy(attr);
    return rate_unless_reference(status, pd, 2.0 * (double)(c->m * c->k * c->n));
}

/* ---- our kernels ---- */

static double kernel_rate(const veer_onednn_kernel_t *k, void *const *buf, int threads) {
    double best = 1e9, start = veer_clock_seconds();
    for (int i = 0; i < 5 || veer_clock_seconds() - start < seconds_per_number; i++) {
        double from = veer_clock_seconds();
#pragma omp parallel num_threads(threads)
        {
            int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
            static _Thread_local char *scratch;
            static _Thread_local size_t room;
            if (room < k->scratch_bytes)
                free(scratch), scratch = aligned_alloc(64, room = (k->scratch_bytes + 63) & ~(size_t)63);
            veer_kernel_args_t args = {
                .buf = buf, .params = k->params, .scratch = scratch, .thread = me, .threads = team};
            args.begin = k->work_items * me / team, args.end = k->work_items * (me + 1) / team;
            if (args.begin < args.end && k->fn(&args)) exit(1);
        }
        double took = veer_clock_seconds() - from;
        if (took < best) best = took;
    }
    return k->flops / best * 1e-9;
}

static void check(veer_status_t status) {
    if (!status) return;
    fprintf(stderr, "%s\n", veer_status_message(status, 0));
    exit(1);
}

/* A graph of x, a second operand and `op` of both; its rate. `out` keeps the kernel's facts. */
static double emitted_rate(veer_op_t op, veer_type_t x, veer_type_t w, bool constant, const veer_named_attr_t *attrs,
                           veer_onednn_layouts_t layouts, int threads, veer_onednn_kernel_t *out) {
    veer_graph_t *g;
    veer_func_t f;
    veer_onednn_t *dnn;
    veer_value_t in[2];
    check(veer_graph_create(veer_allocator_system(), &g));
    check(veer_graph_add_func(g, "f", &f));
    check(veer_region_add_arg(g, veer_func_body(g, f), x, "x", &in[0]));
    veer_builder_t b = veer_builder_at_end(g, veer_func_body(g, f));
    float *data = buffer(veer_type_bytes(&w)), *src = buffer(veer_type_bytes(&x));
    if (constant)
        in[1] = veer_const(&b, w, data);
    else
        check(veer_region_add_arg(g, veer_func_body(g, f), w, "w", &in[1]));
    veer_value_t y = veer_build(&b, op, in, 2, attrs);
    check(veer_builder_status(&b));
    float *dst = buffer(veer_type_bytes(veer_value_type(g, y)));
    check(veer_onednn_create(veer_allocator_system(), &dnn));
    check(veer_onednn_emit(dnn, g, veer_value_def(g, y), &layouts, out));
    double rate = kernel_rate(out, (void *[]){src, data, dst}, threads);
    veer_onednn_destroy(dnn);
    veer_graph_destroy(g);
    free(data), free(src), free(dst);
    return rate;
}

static void print_conv(const conv_t *c, int threads) {
    int64_t ones[] = {1, 1}, pads[] = {c->kernel / 2, c->kernel / 2};
    const veer_named_attr_t *attrs =
        VEER_ATTRS(VEER_INTS("strides", ones, 2), VEER_INTS("pads_before", pads, 2), VEER_INTS("pads_after", pads, 2),
                   VEER_INTS("dilations", ones, 2), VEER_INT("groups", 1));
    veer_type_t x = VEER_TYPE(VEER_DTYPE_F32, c->n, c->c, c->size, c->size),
                w = VEER_TYPE(VEER_DTYPE_F32, c->m, c->c, c->kernel, c->kernel);
    veer_onednn_layouts_t last = {VEER_ONEDNN_CHANNELS_LAST, VEER_ONEDNN_CHANNELS_LAST};
    veer_onednn_kernel_t k;
    printf("%2dx%dx%2d %3d>%3d k%d |", (int)c->n, (int)c->size, (int)c->size, (int)c->c, (int)c->m, (int)c->kernel);
    printf("%6.0f %6.0f %6.0f %6.0f |", conv_rate(c, dnnl_nchw), conv_rate(c, dnnl_nhwc), conv_rate(c, dnnl_nChw8c),
           conv_rate(c, dnnl_nChw16c));
    printf("%6.0f", emitted_rate(VEER_OP_CONV, x, w, true, attrs, (veer_onednn_layouts_t){0}, 1, &k));
    printf("%7.0f", emitted_rate(VEER_OP_CONV, x, w, true, attrs, last, 1, &k));
    printf("%7.0f  %2d %s\n", emitted_rate(VEER_OP_CONV, x, w, true, attrs, last, threads, &k), (int)k.work_items,
           k.implementation);
}

static void print_matmul(const matmul_t *c, int threads) {
    veer_type_t x = VEER_TYPE(VEER_DTYPE_F32, c->leads, c->m, c->k),
                w = VEER_TYPE(VEER_DTYPE_F32, c->constant ? 1 : c->leads, c->k, c->n);
    veer_onednn_kernel_t k;
    printf("%2dx%dx%dx%d |", (int)c->leads, (int)c->m, (int)c->k, (int)c->n);
    printf("%6.0f %6.0f %6.0f %6.0f |", matmul_rate(c, MATMUL_PLAIN), matmul_rate(c, MATMUL_PACKED),
           matmul_rate(c, INNER_PRODUCT), matmul_rate(c, CONVOLUTION_1X1));
    printf("%6.0f", emitted_rate(VEER_OP_MATMUL, x, w, c->constant, NULL, (veer_onednn_layouts_t){0}, 1, &k));
    printf("%7.0f  %2d %s\n",
           emitted_rate(VEER_OP_MATMUL, x, w, c->constant, NULL, (veer_onednn_layouts_t){0}, threads, &k),
           (int)k.work_items, k.implementation);
}

static const conv_t convs[] = {{16, 1, 32, 8, 3},    {16, 32, 32, 8, 3},   {16, 64, 64, 8, 3},  {16, 96, 96, 8, 3},
                               {16, 96, 64, 4, 3},   {1, 3, 64, 64, 3},    {1, 64, 64, 64, 3},  {1, 128, 128, 32, 3},
                               {1, 192, 192, 16, 3}, {1, 256, 256, 8, 3},  {1, 512, 256, 8, 3}, {1, 64, 6, 64, 3},
                               {1, 128, 64, 64, 1},  {1, 256, 128, 32, 1}, {1, 256, 768, 8, 1}};
static const matmul_t matmuls[] = {{1, 160, 192, 192, true}, {1, 160, 192, 576, true},  {1, 160, 192, 768, true},
                                   {1, 160, 768, 192, true}, {1, 64, 768, 768, true},   {1, 64, 768, 3072, true},
                                   {1, 64, 3072, 768, true}, {1, 129, 768, 3072, true}, {1, 16, 192, 768, true},
                                   {1, 1, 768, 3072, true},  {16, 40, 48, 40, false},   {16, 40, 40, 48, false},
                                   {12, 64, 64, 64, false},  {1, 160, 192, 768, false}};

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : omp_get_num_procs();
    const dnnl_version_t *version = dnnl_version();
    omp_set_num_threads(1);
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) || dnnl_stream_create(&stream, engine, dnnl_stream_default_flags))
        return 1;
    printf("oneDNN %d.%d.%d, GFLOP/s\n\n", version->major, version->minor, version->patch);
    printf("convolution          |  nchw   nhwc     8c    16c | kernel: nchw, nhwc, nhwc on %d threads; items\n",
           threads);
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++) print_conv(&convs[i], threads);
    printf("\nmatmul LxMxKxN       | plain packed inner  conv1x1 | kernel, on %d threads; items\n", threads);
    for (size_t i = 0; i < sizeof matmuls / sizeof *matmuls; i++) print_matmul(&matmuls[i], threads);
    return 0;
}
