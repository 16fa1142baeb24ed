/* How fast the LLVM backend's kernels run on this machine, one thread, against memcpy; and how long they take to
 * compile.
 *
 *     build/release/veer-bench-fused [CPU]        CPU: an LLVM name such as x86-64-v3; this machine by default
 */
#include "backends/llvm/llvm.h"
#include "ir/base/clock.h"
#include "ir/builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_IO = 8, MAX_PROBES = 32, REPEATS = 15 };

typedef struct probe_s {
    const char *name;
    veer_graph_t *g;
    veer_builder_t b;
    veer_node_t node;
    veer_llvm_kernel_t kernel;
    double compile_ms; /* processor time: the machine may be busy */
} probe_t;

static double processor_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(veer_status_t status) {
    if (!status) return;
    fprintf(stderr, "%s\n", veer_status_message(status, 0));
    exit(veer_status_code(status));
}

static probe_t *begin(probe_t *p, const char *name) {
    veer_func_t f;
    p->name = name;
    check(veer_graph_create(veer_allocator_system(), &p->g));
    check(veer_graph_add_func(p->g, "f", &f));
    p->b = veer_builder_at_end(p->g, veer_func_body(p->g, f));
    return p;
}

static veer_value_t arg(probe_t *p, veer_type_t type) {
    veer_value_t v;
    check(veer_region_add_arg(p->g, p->b.region, type, "", &v));
    return v;
}

static void end(probe_t *p, veer_value_t y) {
    check(veer_builder_status(&p->b));
    p->node = veer_value_def(p->g, y);
}

static veer_value_t norm(veer_builder_t *b, veer_op_t op, veer_value_t x, veer_value_t scale, veer_value_t bias,
                         const char *name, int64_t v) {
    return veer_build(b, op, VEER_IN(x, scale, bias), VEER_ATTRS(VEER_INT(name, v), VEER_FLOAT("eps", 1e-5)));
}

static veer_value_t finish_fused(probe_t *p, veer_node_t fused, veer_builder_t *body, veer_value_t y) {
    veer_builder_yield(body, &y, 1);
    check(veer_builder_status(body));
    veer_builder_fused_finish(&p->b, fused);
    return veer_node_out(p->g, fused, 0);
}

static veer_type_t f32(int64_t n, int64_t c, int64_t h, int64_t w) {
    return VEER_TYPE(VEER_DTYPE_F32, n, c, h, w);
}

static void group_norm_silu(probe_t *p, const char *name, veer_type_t t, bool channels_last) {
    begin(p, name);
    veer_type_t channels = VEER_TYPE(VEER_DTYPE_F32, t.dims[channels_last ? 3 : 1]);
    veer_value_t in[] = {arg(p, t), arg(p, channels), arg(p, channels)};
    veer_node_t fused = veer_builder_fused(&p->b, "", in, 3);
    veer_region_t region = veer_node_body(p->g, fused);
    veer_builder_t k = veer_builder_at_end(p->g, region);
    for (int i = 0; i < 3; i++) in[i] = veer_region_arg(p->g, region, i);
    veer_value_t y = veer_build(
        &k, VEER_OP_GROUP_NORM, in, 3,
        VEER_ATTRS(VEER_INT("groups", 32), VEER_FLOAT("eps", 1e-5), VEER_INT("channels_last", channels_last)));
    end(p, finish_fused(p, fused, &k, veer_silu(&k, y)));
}

/* What passes/split_norm.c leaves behind the statistics. */
static void normalise_silu(probe_t *p, const char *name, veer_type_t t) {
    begin(p, name);
    veer_type_t of_sample = f32(t.dims[0], 1, 1, t.dims[3]);
    veer_value_t in[] = {arg(p, t), arg(p, of_sample), arg(p, of_sample), arg(p, VEER_TYPE(VEER_DTYPE_F32, t.dims[3]))};
    veer_node_t fused = veer_builder_fused(&p->b, "", in, 4);
    veer_region_t region = veer_node_body(p->g, fused);
    veer_builder_t k = veer_builder_at_end(p->g, region);
    for (int i = 0; i < 4; i++) in[i] = veer_region_arg(p->g, region, i);
    veer_value_t y = veer_add(&k, veer_mul(&k, veer_sub(&k, in[0], in[1]), in[2]), in[3]);
    end(p, finish_fused(p, fused, &k, veer_silu(&k, y)));
}

static int make_probes(probe_t *p) {
    int n = 0;
    probe_t *q = begin(&p[n++], "add, 16 MB");
    veer_type_t large = f32(1, 64, 256, 256), rows = VEER_TYPE(VEER_DTYPE_F32, 1024, 768);
    veer_value_t x = arg(q, large), y = arg(q, large);
    end(q, veer_add(&q->b, x, y));
    q = begin(&p[n++], "add bias per channel, 1 MB");
    x = arg(q, f32(4, 64, 32, 32)), y = arg(q, f32(1, 64, 1, 1));
    end(q, veer_add(&q->b, x, y));
    q = begin(&p[n++], "silu, 1 MB");
    end(q, veer_silu(&q->b, arg(q, f32(4, 64, 32, 32))));
    q = begin(&p[n++], "gelu, 3 MB");
    end(q, veer_gelu(&q->b, arg(q, rows), false));
    q = begin(&p[n++], "tanh, 3 MB");
    end(q, veer_tanh(&q->b, arg(q, rows)));
    q = begin(&p[n++], "layer_norm [1024,768]");
    x = arg(q, rows);
    end(q, norm(&q->b, VEER_OP_LAYER_NORM, x, arg(q, VEER_TYPE(VEER_DTYPE_F32, 768)),
                arg(q, VEER_TYPE(VEER_DTYPE_F32, 768)), "axis", 1));
    q = begin(&p[n++], "softmax [4096,256]");
    x = arg(q, VEER_TYPE(VEER_DTYPE_F32, 4096, 256));
    end(q, veer_build(&q->b, VEER_OP_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 1))));
    q = begin(&p[n++], "softmax over axis 0 [256,4096]");
    x = arg(q, VEER_TYPE(VEER_DTYPE_F32, 256, 4096));
    end(q, veer_build(&q->b, VEER_OP_SOFTMAX, VEER_IN(x), VEER_ATTRS(VEER_INT("axis", 0))));
    group_norm_silu(&p[n++], "group_norm+silu [1,192,64,64]", f32(1, 192, 64, 64), false);
    group_norm_silu(&p[n++], "group_norm+silu [4,256,8,8]", f32(4, 256, 8, 8), false);
    group_norm_silu(&p[n++], "the same, channels last", f32(4, 8, 8, 256), true);
    group_norm_silu(&p[n++], "channels last [1,64,64,192]", f32(1, 64, 64, 192), true);
    group_norm_silu(&p[n++], "channels last [1,32,32,384]", f32(1, 32, 32, 384), true);
    group_norm_silu(&p[n++], "channels last [1,8,8,576]", f32(1, 8, 8, 576), true);
    group_norm_silu(&p[n++], "channels last [16,8,8,64]", f32(16, 8, 8, 64), true);
    normalise_silu(&p[n++], "normalise+silu [1,64,64,64]", f32(1, 64, 64, 64));
    normalise_silu(&p[n++], "normalise+silu [1,64,64,192]", f32(1, 64, 64, 192));
    q = begin(&p[n++], "sum over [2,3] of [4,256,32,32]");
    end(q, veer_reduce(&q->b, VEER_OP_REDUCE_SUM, arg(q, f32(4, 256, 32, 32)), (int64_t[]){2, 3}, 2, false));
    q = begin(&p[n++], "sum over 0 of [4096,256]");
    end(q,
        veer_reduce(&q->b, VEER_OP_REDUCE_SUM, arg(q, VEER_TYPE(VEER_DTYPE_F32, 4096, 256)), (int64_t[]){0}, 1, false));
    q = begin(&p[n++], "transpose [1024,768]");
    end(q, veer_transpose(&q->b, arg(q, rows), (int64_t[]){1, 0}));
    q = begin(&p[n++], "transpose [4,64,12,64] heads");
    end(q, veer_transpose(&q->b, arg(q, f32(4, 64, 12, 64)), (int64_t[]){0, 2, 1, 3}));
    q = begin(&p[n++], "concat channels [4,64+64,32,32]");
    veer_value_t both[] = {arg(q, f32(4, 64, 32, 32)), arg(q, f32(4, 64, 32, 32))};
    end(q, veer_concat(&q->b, both, 2, 1));
    q = begin(&p[n++], "pad [4,64,32,32] by 1");
    end(q, veer_pad_zero(&q->b, arg(q, f32(4, 64, 32, 32)), (int64_t[]){0, 0, 1, 1}, (int64_t[]){0, 0, 1, 1}));
    q = begin(&p[n++], "noise [4,3,64,64]");
    veer_type_t scalar = VEER_SCALAR(VEER_DTYPE_I64);
    veer_value_t in[] = {arg(q, scalar), arg(q, scalar), arg(q, scalar)};
    end(q, veer_build(&q->b, VEER_OP_NOISE, in, 3,
                      VEER_ATTRS(VEER_INTS("dims", ((int64_t[]){4, 3, 64, 64}), 4), VEER_INT("stream", 0))));
    return n;
}

static double time_kernel(veer_kernel_fn fn, const veer_kernel_args_t *args) {
    double best = 1e9;
    for (int r = 0; r < REPEATS; r++) {
        double start = veer_clock_seconds();
        int calls = 0;
        do {
            if (fn(args)) return 0;
            calls++;
        } while (veer_clock_seconds() - start < 2e-3);
        double each = (veer_clock_seconds() - start) / calls;
        if (each < best) best = each;
    }
    return best;
}

static void *buffer(veer_type_t t) {
    size_t bytes = veer_type_bytes(&t);
    float *data = veer_alloc(veer_allocator_system(), bytes + 64);
    if (t.dtype == VEER_DTYPE_F32)
        for (size_t i = 0; i < bytes / 4; i++) data[i] = (float)((i * 2654435761u >> 8) % 1000) * 0.004f - 2;
    return data;
}

static void run(const veer_llvm_t *llvm, const probe_t *p) {
    void *bufs[MAX_IO];
    int in_count = veer_node_in_count(p->g, p->node);
    for (int i = 0; i < in_count; i++) bufs[i] = buffer(*veer_value_type(p->g, veer_node_in(p->g, p->node, i)));
    veer_type_t out = *veer_value_type(p->g, veer_node_out(p->g, p->node, 0));
    bufs[in_count] = buffer(out);
    void *scratch = veer_alloc(veer_allocator_system(), p->kernel.scratch_bytes + 64);
    veer_kernel_args_t args = {.buf = bufs, .end = p->kernel.work_items, .scratch = scratch, .threads = 1};
    double seconds = time_kernel(veer_llvm_symbol(llvm, p->kernel.id), &args);
    printf("%-34s %9.1f us  %6.1f GB/s  %7.3f ns/element  %5lld items  compiled in %5.1f ms\n", p->name, seconds * 1e6,
           p->kernel.bytes / seconds * 1e-9, seconds * 1e9 / (double)veer_type_count(&out),
           (long long)p->kernel.work_items, p->compile_ms);
    veer_free(veer_allocator_system(), scratch);
    for (int i = 0; i <= in_count; i++) veer_free(veer_allocator_system(), bufs[i]);
}

static int copy_kernel(const veer_kernel_args_t *args) {
    memcpy(args->buf[1], args->buf[0], (size_t)args->end);
    return 0;
}

static void run_memcpy(const char *name, int64_t bytes) {
    veer_type_t t = VEER_TYPE(VEER_DTYPE_U8, bytes);
    void *bufs[] = {buffer(t), buffer(t)};
    memset(bufs[0], 1, (size_t)bytes);
    double seconds = time_kernel(copy_kernel, &(veer_kernel_args_t){.buf = bufs, .end = bytes});
    printf("%-34s %9.1f us  %6.1f GB/s\n", name, seconds * 1e6, 2 * (double)bytes / seconds * 1e-9);
    veer_free(veer_allocator_system(), bufs[0]), veer_free(veer_allocator_system(), bufs[1]);
}

int main(int argc, char **argv) {
    static probe_t probes[MAX_PROBES];
    veer_llvm_t *llvm;
    double start = veer_clock_seconds();
    check(veer_llvm_create(veer_allocator_system(), argc > 1 ? argv[1] : NULL, &llvm));
    printf("%d lanes; create %.1f ms\n", veer_llvm_lanes(llvm), (veer_clock_seconds() - start) * 1e3);
    int count = make_probes(probes);
    double total = 0;
    for (int i = 0; i < count; i++) { /* one by one, to see which are slow to compile */
        start = processor_time();
        check(veer_llvm_emit(llvm, probes[i].g, probes[i].node, &probes[i].kernel));
        check(veer_llvm_finish(llvm));
        total += probes[i].compile_ms = (processor_time() - start) * 1e3;
    }
    printf("%d kernels: %.1f ms each to compile\n", count, total / count);
    run_memcpy("memcpy, 1 MB", 1 << 20);
    run_memcpy("memcpy, 16 MB", 1 << 24);
    for (int i = 0; i < count; i++) run(llvm, &probes[i]);
    for (int i = 0; i < count; i++) veer_graph_destroy(probes[i].g);
    veer_llvm_destroy(llvm);
    return 0;
}
