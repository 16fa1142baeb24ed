/* Shape rules that many ops share, and the checks and messages of `infer` functions. */
#ifndef VEER_IR_INFER_H
#define VEER_IR_INFER_H

#include "ir/op.h"

/* out[0] = in[0]. */
VEER_MUST_USE veer_status_t veer_infer_same(veer_infer_t *c);
/* out[0] = broadcast of all present operands, dtype of in[0]; operands must agree in dtype. */
VEER_MUST_USE veer_status_t veer_infer_broadcast(veer_infer_t *c);
/* Axis within [-rank, rank) made non-negative; VEER_ERR_UNSUPPORTED naming `what` otherwise. */
VEER_MUST_USE veer_status_t veer_infer_axis(const char *what, int64_t axis, int rank, int *out_axis);

/* Attributes by name, as the definition orders them. */
const veer_attr_t *veer_infer_attr(const veer_infer_t *c, const char *name);
static inline int64_t veer_infer_int(const veer_infer_t *c, const char *name) {
    return veer_infer_attr(c, name)->as.i;
}
static inline double veer_infer_float(const veer_infer_t *c, const char *name) {
    return veer_infer_attr(c, name)->as.f;
}
static inline const char *veer_infer_string(const veer_infer_t *c, const char *name) {
    return veer_infer_attr(c, name)->as.s;
}
static inline const int64_t *veer_infer_ints(const veer_infer_t *c, const char *name, int *out_count) {
    const veer_attr_t *a = veer_infer_attr(c, name);
    *out_count = a->kind == VEER_ATTR_INTS ? a->as.ints.n : 0;
    return *out_count ? a->as.ints.v : 0;
}

#endif
