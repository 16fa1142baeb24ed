/* Sliding windows: the geometry that conv, conv_transpose, max_pool and avg_pool share. Output position o and kernel
 * position k of one spatial axis meet the input at o*stride + k*dilation - pad_before; conv_transpose reads the same
 * relation from right to left.
 *
 *     veer_window_t w = veer_window_of_node(g, conv);
 *     for (int i = 0; i < w.spatial; i++) extent[i] = veer_window_extent(&w, i);
 */
#ifndef VEER_IR_WINDOW_H
#define VEER_IR_WINDOW_H

#include "ir/graph.h"
#include "ir/infer.h"

enum { VEER_MAX_SPATIAL = 3 };

/* One entry per spatial axis, those beyond `spatial` are 0. Every entry fits in 31 bits. */
typedef struct veer_window_s {
    int spatial;
    int64_t kernel[VEER_MAX_SPATIAL], strides[VEER_MAX_SPATIAL], dilations[VEER_MAX_SPATIAL];
    int64_t pads_before[VEER_MAX_SPATIAL], pads_after[VEER_MAX_SPATIAL];
    int64_t output_padding[VEER_MAX_SPATIAL]; /* conv_transpose only, else 0 */
} veer_window_t;

/* Reads and checks the window attributes of `c` for operand 0 [N, C, spatial...] or [N, spatial..., C]; the kernel is
 * dims 2.. of `weight`, or attribute "kernel" where that is NULL. */
VEER_MUST_USE veer_status_t veer_window_infer(const veer_infer_t *c, const veer_type_t *weight,
                                              veer_window_t *out_window);
/* The same of what has been checked: attributes in the definition's order, types of operand 0 and, for the
 * convolutions, of the weight. */
veer_window_t veer_window_of_attrs(veer_op_t op, const veer_attr_t *attrs, const veer_type_t *x,
                                   const veer_type_t *weight);
veer_window_t veer_window_of_node(const veer_graph_t *g, veer_node_t node);

/* Inputs that the window spans along axis i: dilation * (kernel - 1) + 1. */
static inline int64_t veer_window_extent(const veer_window_t *w, int i) {
    return w->dilations[i] * (w->kernel[i] - 1) + 1;
}
/* Windows side by side, without padding: every input is in at most one. */
bool veer_window_is_tiling(const veer_window_t *w);
/* Whether a pool's windows are, and all lie within the input. */
bool veer_pool_is_of_tiles(const veer_graph_t *g, veer_node_t pool);
/* Output positions of conv and pools; an error where the window is larger than the padded input. With `ceil_mode` a
 * last window may hang over the end, provided it starts before the padding after the input. */
VEER_MUST_USE veer_status_t veer_window_positions(const veer_window_t *w, int i, int64_t in, bool ceil_mode,
                                                  int64_t *out_positions);
/* Output positions of conv_transpose: (in - 1) * stride + extent + output_padding - pads. */
VEER_MUST_USE veer_status_t veer_window_positions_transposed(const veer_window_t *w, int i, int64_t in,
                                                             int64_t *out_positions);
/* Kernel positions [*out_from, *out_to) that meet inputs [least, limit) from output position o; may be empty (from >=
 * to). */
void veer_window_range(const veer_window_t *w, int i, int64_t o, int64_t least, int64_t limit, int64_t *out_from,
                       int64_t *out_to);
/* How many inputs an average pool divides by at output position o: those inside, or with the padding too (never what a
 * ceil_mode window has beyond it). */
int64_t veer_window_count(const veer_window_t *w, int i, int64_t o, int64_t in, bool include_pad);

#endif
