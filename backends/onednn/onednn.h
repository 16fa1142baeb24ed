/* Kernels of oneDNN for the runtime's plans: convolution, matmul, pooling, resampling, with a chain of elementwise ops
 * in the same pass over memory. A kernel is a fixed number of work items, each done by one thread with primitives that
 * were created for one thread, so results are the same bits for any number of threads.
 *
 *     veer_onednn_t *dnn;
 *     VEER_TRY(veer_onednn_create(allocator, &dnn));
 *     char reason[160];
 *     if (veer_onednn_supports(g, node, reason, sizeof reason)) {
 *         veer_onednn_kernel_t k;
 *         VEER_TRY(veer_onednn_emit(dnn, g, node, NULL, &k));   // VEER_ERR_UNSUPPORTED: try the next backend
 *         ... a call of k.fn with k.params; buffers: the node's operands, then its results ...
 *     }
 *     VEER_TRY(veer_plan_on_destroy(plan, veer_onednn_release, dnn));    // kernels live as long as dnn
 *
 * Emitting is not thread-safe per veer_onednn_t; kernels may run in any number of threads and plans at once.
 */
#ifndef VEER_BACKENDS_ONEDNN_ONEDNN_H
#define VEER_BACKENDS_ONEDNN_ONEDNN_H

#include "ir/graph.h"
#include "runtime/plan.h"

typedef struct veer_onednn_s veer_onednn_t;

/* How [N, C, s...] lies in memory: as the graph says, or channels last, [N, s..., C], which every convolution of oneDNN
 * prefers (see README.md for the measurement). Matmul has only the first. */
typedef enum veer_onednn_layout_e { VEER_ONEDNN_PLAIN, VEER_ONEDNN_CHANNELS_LAST } veer_onednn_layout_t;

typedef struct veer_onednn_layouts_s {
    veer_onednn_layout_t in;  /* of operand 0 of the convolution, pool or resampling */
    veer_onednn_layout_t out; /* of the result, and of every fused operand that has the result's shape */
} veer_onednn_layouts_t;

enum { VEER_ONEDNN_IMPLEMENTATION_BYTES = 64 };
typedef struct veer_onednn_kernel_s {
    veer_kernel_fn fn;
    const void *params; /* owned by the veer_onednn_t */
    int64_t work_items;
    size_t scratch_bytes;
    double flops, bytes;
    size_t packed_bytes; /* constants that the kernel keeps in its own format */
    uint32_t
        unused_bufs; /* bit i: buffer i of the call is not read, may be NULL (a packed constant, an unused result) */
    char implementation[VEER_ONEDNN_IMPLEMENTATION_BYTES]; /* oneDNN's name, "jit:avx2" */
} veer_onednn_kernel_t;

VEER_MUST_USE veer_status_t veer_onednn_create(veer_allocator_t allocator, veer_onednn_t **out);
/* With all its kernels. NULL is allowed. */
void veer_onednn_destroy(veer_onednn_t *dnn);
/* The same, for veer_plan_on_destroy. */
void veer_onednn_release(void *dnn);

/* "2.6.3", of the library that is loaded; for the calling thread, as long as it lives. */
const char *veer_onednn_version(void);

/* Whether the node has a form that oneDNN could compute; says why not. `reason` may be NULL. Looks at shapes only:
 * veer_onednn_emit may still decline what this machine's oneDNN has no fast implementation of. */
bool veer_onednn_supports(const veer_graph_t *g, veer_node_t node, char *reason, size_t size);
/* `layouts` NULL: all plain. VEER_ERR_UNSUPPORTED where it declines, *out untouched. Copies every constant it needs. */
VEER_MUST_USE veer_status_t veer_onednn_emit(veer_onednn_t *dnn, const veer_graph_t *g, veer_node_t node,
                                             const veer_onednn_layouts_t *layouts, veer_onednn_kernel_t *out);
/* The i-th constant that a kernel keeps in its own format, by its params; NULL: there are no more. Borrowed. */
const void *veer_onednn_constant(const void *params, int i, size_t *out_bytes);
/* buf[1] = buf[0] in another layout; `type` is f32 [N, C, s...]. */
VEER_MUST_USE veer_status_t veer_onednn_emit_reorder(veer_onednn_t *dnn, const veer_type_t *type,
                                                     veer_onednn_layout_t from, veer_onednn_layout_t to,
                                                     veer_onednn_kernel_t *out);

#endif
