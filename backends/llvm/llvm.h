/* Compiles fused regions and single movement, reduction and normalisation nodes into kernels of runtime/plan.h's form,
 * with LLVM 19 for the CPU at hand. One veer_llvm_t per plan: it holds the code and must live as long as the plan does.
 *
 *     veer_llvm_t *llvm;
 *     VEER_TRY(veer_llvm_create(allocator, NULL, &llvm));
 *     veer_llvm_kernel_t kernel;
 *     VEER_TRY(veer_llvm_supports(g, node, &yes, reason, sizeof reason));
 *     if (yes) VEER_TRY(veer_llvm_emit(llvm, g, node, &kernel));
 *     VEER_TRY(veer_llvm_finish(llvm));                      // compiles all that was emitted, in two threads
 *     veer_kernel_fn fn = veer_llvm_symbol(llvm, kernel.id); // args->buf: operands, then results, dense row-major
 *
 * README.md says which regions are accepted and what they cost. Not thread-safe per object.
 */
#ifndef VEER_BACKENDS_LLVM_LLVM_H
#define VEER_BACKENDS_LLVM_LLVM_H

#include "ir/graph.h"
#include "runtime/plan.h"

typedef struct veer_llvm_s veer_llvm_t;

typedef struct veer_llvm_kernel_s {
    int id;               /* for veer_llvm_symbol; equal kernels share one */
    int64_t work_items;   /* at least 1 */
    size_t scratch_bytes; /* per thread */
    double flops, bytes;  /* per execution: elementary functions count as 1; operands and results, each once */
    const void *packed;   /* takes the place of buffer `packed_buf`; lives as long as the veer_llvm_t; NULL: none */
    size_t packed_bytes;
    int packed_buf;
    veer_stream_t stream; /* of `packed`, where it is worth fetching ahead */
} veer_llvm_kernel_t;

/* `cpu`: an LLVM CPU name ("x86-64-v3", "znver4"), or NULL for this machine with all its features. VEER_ERR_CONFIG for
 * an unknown name. */
VEER_MUST_USE veer_status_t veer_llvm_create(veer_allocator_t allocator, const char *cpu, veer_llvm_t **out_llvm);
/* "19.1.7", of the library that is loaded; for the calling thread, as long as it lives. */
const char *veer_llvm_version(void);
void veer_llvm_destroy(veer_llvm_t *llvm); /* NULL is allowed; the kernels are gone with it */

/* Kernels emitted from now on use no algorithm whose error bound is more than four times that of f32 sums, nor numbers
 * cut to fewer bits than f32 has. */
void veer_llvm_set_strict(veer_llvm_t *llvm, bool strict);

/* How much of the core's matrix unit is to be had just now, 0 to 1, measured; 1 where there is none. What is measured
 * while a neighbour uses it decides wrongly. */
double veer_llvm_unit_share(const veer_llvm_t *llvm);

/* Where compiled objects are kept between runs: both functions may be called from two threads at once. The key says all
 * that an object depends on. `find` gives memory of the allocator given to veer_llvm_create, which is freed here. */
typedef struct veer_llvm_store_s {
    bool (*find)(void *user, const void *key, size_t key_bytes, void **out_object, size_t *out_bytes);
    void (*keep)(void *user, const void *key, size_t key_bytes, const void *object, size_t bytes);
    void *user; /* must live until the last veer_llvm_finish */
} veer_llvm_store_t;
/* Looks for objects there before compiling from now on, and leaves new ones there. */
void veer_llvm_use_store(veer_llvm_t *llvm, const veer_llvm_store_t *store);

/* Whether veer_llvm_emit takes the node (a fused one, or one alone that is treated as a region of one); where not,
 * `reason` says why. The same on every target. Fails only where memory is short, which is no answer. */
VEER_MUST_USE veer_status_t veer_llvm_supports(const veer_graph_t *g, veer_node_t node, bool *out_supports,
                                               char *reason, size_t reason_bytes);
/* What a fused node of these nodes would be, for a pass that grows one. */
typedef struct veer_llvm_fusion_s {
    int nests;  /* loop nests; more than one: results that do not share loops, so what they share is computed twice */
    int sweeps; /* passes over a row, all nests together: 1 for elementwise, 2 for a reduction and its use, ... */
    int64_t work_items; /* what threads can share */
} veer_llvm_fusion_t;
/* Whether one kernel can do `nodes` (of one region, in order) with `results` for others to read. `out_info` may be
 * NULL. */
VEER_MUST_USE veer_status_t veer_llvm_can_fuse(const veer_graph_t *g, const veer_node_t *nodes, int node_count,
                                               const veer_value_t *results, int result_count, bool *out_can,
                                               veer_llvm_fusion_t *out_info, char *reason, size_t reason_bytes);

/* Writes the node's kernel, or finds one that was written before with the same structure and shapes. A node has one
 * buffer per operand (NULL where an optional one is absent), then one per result; results may not overlap operands.
 * VEER_ERR_UNSUPPORTED with the reason. The kernel gives VEER_KERNEL_INDEX where a gather's index is out of range. */
VEER_MUST_USE veer_status_t veer_llvm_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                           veer_llvm_kernel_t *out_kernel);

/* The same for a matrix product, alone or with elementwise ops behind it (see README.md, "Matrix products"). A constant
 * second matrix is copied, packed: the call's buffer packed_buf must then be `packed`. */
bool veer_llvm_matmul_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t reason_bytes);
VEER_MUST_USE veer_status_t veer_llvm_matmul_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                                  veer_llvm_kernel_t *out_kernel);

/* The same on the matrix unit of x86 processors that have one (AMX): a product by one constant that is large enough for
 * it, to the precision of f32; by a matrix beyond the second cache, to 16 bits of each number, or not at all if strict.
 * Says why not. */
bool veer_llvm_matmul_amx_supports(const veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node, char *reason,
                                   size_t reason_bytes);
VEER_MUST_USE veer_status_t veer_llvm_matmul_amx_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                                      veer_llvm_kernel_t *out_kernel);

/* A way to compute a 3x3 convolution with stride 1, channels last and constant weights: Winograd's algorithm with tiles
 * of tile x tile positions (see README.md, "Convolutions"). */
typedef struct veer_llvm_conv_s {
    int tile;    /* 2 or 4 */
    bool fly;    /* weights are transformed on the fly, not at compile time */
    double gain; /* estimated speed, where a direct convolution has 1 */
} veer_llvm_conv_t;
enum { VEER_LLVM_CONV_WAYS = 4 };
/* Whether there is any. The same on every target. */
bool veer_llvm_conv_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t reason_bytes);
/* Whether a convolution with moments behind it (matmul.h) is one; then it is on every target, strict or not. */
bool veer_llvm_conv_moments_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t reason_bytes);
/* The ways for a node, alone or with elementwise ops behind it, the most promising first; returns their number, and for
 * none says why. Of strict kernels only those whose error bound is at most four times that of a direct convolution. */
int veer_llvm_conv_ways(const veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                        veer_llvm_conv_t out[VEER_LLVM_CONV_WAYS], char *reason, size_t reason_bytes);
/* The weights are copied, packed and, unless `fly`, transformed: the call's buffer packed_buf must then be `packed`. */
VEER_MUST_USE veer_status_t veer_llvm_conv_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node, int tile,
                                                bool fly, veer_llvm_kernel_t *out_kernel);
/* How much larger than single products the terms of a one-dimensional convolution become on the way: the error's bound
 * grows by its square. */
double veer_llvm_conv_amplification(int tile);

/* The same on the matrix unit, directly, of numbers cut to 16 bits (see README.md, "Convolutions"): any kernel and
 * strides. `out_gain`: estimated speed, where a direct convolution in vectors has 1. Not for strict kernels. */
bool veer_llvm_conv_amx_supports(const veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node, double *out_gain,
                                 char *reason, size_t reason_bytes);
VEER_MUST_USE veer_status_t veer_llvm_conv_amx_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                                    veer_llvm_kernel_t *out_kernel);

/* The same for attention and its gradient, alone or fused with what only moves their operands and results (see
 * README.md, "Attention"). */
bool veer_llvm_attention_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t reason_bytes);
VEER_MUST_USE veer_status_t veer_llvm_attention_emit(veer_llvm_t *llvm, const veer_graph_t *g, veer_node_t node,
                                                     veer_llvm_kernel_t *out_kernel);

/* Optimises and compiles what was emitted since the last call. May be called again after further emissions. After a
 * failure the kernels that were waiting are lost. */
VEER_MUST_USE veer_status_t veer_llvm_finish(veer_llvm_t *llvm);
/* The kernel's entry; NULL before it was finished. */
veer_kernel_fn veer_llvm_symbol(const veer_llvm_t *llvm, int id);
/* Its name in the objects: "veer_k<id>". Borrowed. */
const char *veer_llvm_symbol_name(const veer_llvm_t *llvm, int id);
/* Compiled relocatable objects, for writing an artefact: each holds some of the kernels. Borrowed. */
int veer_llvm_object_count(const veer_llvm_t *llvm);
const void *veer_llvm_object(const veer_llvm_t *llvm, int i, size_t *out_bytes);
/* f32 lanes of one vector register of the target: 16, 8 or 4. */
int veer_llvm_lanes(const veer_llvm_t *llvm);

/* ---- probes: one function on its own, to measure and to test ---- */
typedef enum veer_llvm_probe_e {
    VEER_LLVM_PROBE_UNARY, /* buf[0][i] -> buf[1][i], f32, `op` one of the unary elementwise ops */
    VEER_LLVM_PROBE_GELU_TANH,
    VEER_LLVM_PROBE_EXP2,    /* 2^-|x| */
    VEER_LLVM_PROBE_POW,     /* buf[0][i], buf[1][i] -> buf[2][i] */
    VEER_LLVM_PROBE_PHILOX,  /* block i: seed i64 at buf[0], sample, step, stream = buf[1][0..2] (i32) -> buf[2][4i..],
                                bits */
    VEER_LLVM_PROBE_GAUSSIAN /* the same, stream 0, deviates */
} veer_llvm_probe_t;
/* `lanes` elements (or blocks) are one work item. */
VEER_MUST_USE veer_status_t veer_llvm_emit_probe(veer_llvm_t *llvm, veer_llvm_probe_t probe, veer_op_t op, int lanes,
                                                 veer_llvm_kernel_t *out_kernel);

#endif
