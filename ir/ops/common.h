/* What the definitions of several families share: tolerances and checks of attributes. Private to ir/ops. */
#ifndef VEER_IR_OPS_COMMON_H
#define VEER_IR_OPS_COMMON_H

#include "ir/gradient.h"
#include "ir/infer.h"

/* Tolerances are counted in units of the last place of f32 (2^-23 relative). A result that needs no rounding at all may
 * still have its subnormals flushed to zero, so "exact" is the smallest normal number; zero would mean "forgotten". */
#define VEER_ULP_F32 1.2e-7
#define VEER_TOL_EXACT                                                                                                 \
    { .abs = 1.2e-38 }
#define VEER_TOL_ULPS(n)                                                                                               \
    { .abs = 1.2e-38, .rel = (n)*VEER_ULP_F32 }

/* In the IR axes are non-negative: importers normalise them. */
static inline VEER_MUST_USE veer_status_t veer_check_axis(int64_t axis, int rank, int *out_axis) {
    if (axis < 0 || axis >= rank)
        return veer_error(VEER_ERR_UNSUPPORTED, "axis is %lld, expected 0 to %d (operand of rank %d)", (long long)axis,
                          rank - 1, rank);
    *out_axis = (int)axis;
    return veer_ok();
}

/* A list attribute with one entry per dimension. */
static inline VEER_MUST_USE veer_status_t veer_check_rank_list(const char *what, int count, int rank) {
    if (count != rank)
        return veer_error(VEER_ERR_UNSUPPORTED, "%s has %d entries, expected %d (one per dimension of x)", what, count,
                          rank);
    return veer_ok();
}

/* An operand's type by index, copied: values may be added while it is used. */
static inline veer_type_t veer_grad_in_type(const veer_grad_t *g, int i) {
    return *veer_value_type(g->graph, g->in[i]);
}

#endif
