/* A compiled problem: one or a few primitives per distinct tile, packed constants, and the function that runs tiles. */
#ifndef VEER_BACKENDS_ONEDNN_KERNEL_H
#define VEER_BACKENDS_ONEDNN_KERNEL_H

#include "backends/onednn/onednn.h"
#include "backends/onednn/problem.h"

typedef struct veer_onednn_compiled_s veer_onednn_compiled_t;

/* Everything is created for one thread. VEER_ERR_UNSUPPORTED where oneDNN has no implementation but its reference one.
 */
VEER_MUST_USE veer_status_t veer_onednn_compile(veer_allocator_t allocator, dnnl_engine_t engine, dnnl_stream_t stream,
                                                const veer_onednn_problem_t *p, veer_onednn_compiled_t **out);
void veer_onednn_compiled_destroy(veer_onednn_compiled_t *k);
/* All but unused_bufs. */
void veer_onednn_compiled_describe(const veer_onednn_compiled_t *k, veer_onednn_kernel_t *out);
/* The list that the veer_onednn_t keeps. */
veer_onednn_compiled_t **veer_onednn_compiled_next(veer_onednn_compiled_t *k);

/* An error for a failed oneDNN call; dnnl_unimplemented becomes VEER_ERR_UNSUPPORTED. */
VEER_MUST_USE veer_status_t veer_onednn_error(dnnl_status_t status, const char *what);

#endif
