/* A function of the graph as an ordinary ONNX model: operator set 17, standard operators only, so that any runtime
 * takes it.
 *
 *     VEER_TRY(veer_onnx_export(g, func, "grad.onnx", NULL));
 *
 * Composite operators are spelled out. The same function gives the same bytes. Weights above a size go to a file of
 * their own next to the model ("grad.onnx.data").
 */
#ifndef VEER_FRONTEND_ONNX_EXPORT_H
#define VEER_FRONTEND_ONNX_EXPORT_H

#include "ir/graph.h"

typedef struct veer_onnx_export_options_s {
    veer_allocator_t allocator; /* for what the export needs while it runs; unset: the graph's */
    int64_t external_bytes;     /* weights of more bytes in all go to a file of their own; 0: 1 GiB */
} veer_onnx_export_options_t;

/* `options` may be NULL. VEER_ERR_UNSUPPORTED: all nodes that ONNX has no words for (loops, noise), one error each. The
 * files are there completely or not at all. The graph is as before afterwards, its arena has grown. */
VEER_MUST_USE veer_status_t veer_onnx_export(veer_graph_t *g, veer_func_t func, const char *path,
                                             const veer_onnx_export_options_t *options);

#endif
