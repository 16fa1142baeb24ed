/* The parts that the spellings of layer_norm and rms_norm share: means over the last dims, and d / rms(d). */
#ifndef VEER_PASSES_MATCH_NORM_H
#define VEER_PASSES_MATCH_NORM_H

#include "passes/match.h"

/* value = mean of x over dims axis..rank-1, which stay as 1: reduce_mean, or a scaled reduce_sum, with a reshape where
 * the reduction drops the dims. */
bool veer_match_mean(veer_match_t *m, veer_value_t value, veer_value_t *out_x, int *out_axis);

/* root = d (mean(square^2) + eps)^(-1/2) [* scale], in any of its spellings. */
typedef struct veer_match_rms_s {
    veer_value_t d, square;
    veer_value_t scale; /* VEER_NO_VALUE, or what was multiplied with the inverse root first; not checked */
    int axis;
    double eps;
} veer_match_rms_t;
/* Tells how many ways there are to read the root (a product has two); read number `i` of them. */
bool veer_match_rms(veer_match_t *m, int i, veer_match_rms_t *out);
enum { VEER_MATCH_RMS_WAYS = 2 };

/* A parameter that can be the scale or bias of a norm of x over dims axis..rank-1: the value without leading dims of 1,
 * made at the builder; VEER_NO_VALUE where it cannot be one, or is a mere number: the place is kept for the real one.
 */
veer_value_t veer_match_row_parameter(veer_match_t *m, veer_builder_t *b, veer_value_t value, veer_value_t x, int axis);

/* visit: puts mul(norm(x), s) and add(norm(x, s), c) into the operands of the norm, an `op` without them. The root is
 * the product or sum. Counts "scale" and "bias". */
veer_status_t veer_match_norm_parameter(veer_graph_t *g, veer_node_t root, veer_op_t op, veer_pass_ctx_t *ctx);

#endif
