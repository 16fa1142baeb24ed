/* Stretches of elements as doubles on the stack (kernels allocate nothing). The larger kernels work on these, so that
 * the dtype is looked at once per stretch. */
#ifndef VEER_BACKENDS_REFERENCE_BLOCK_H
#define VEER_BACKENDS_REFERENCE_BLOCK_H

#include "backends/reference/kernel.h"
#include "ir/base/integers.h"

enum { VEER_BLOCK = 256 };

/* out[i] = t[first + i * stride], i < count <= VEER_BLOCK. */
static inline void veer_load_block(const veer_tensor_t *t, int64_t first, int64_t stride, int64_t count, double *out) {
    switch (t->type.dtype) {
    case VEER_DTYPE_F32:
        for (int64_t i = 0; i < count; i++) out[i] = ((const float *)t->data)[first + i * stride];
        break;
    case VEER_DTYPE_F64:
        for (int64_t i = 0; i < count; i++) out[i] = ((const double *)t->data)[first + i * stride];
        break;
    default:
        for (int64_t i = 0; i < count; i++) out[i] = veer_load_double(t, first + i * stride);
    }
}

static inline void veer_store_block(const veer_tensor_t *t, int64_t first, int64_t count, const double *values) {
    for (int64_t i = 0; i < count; i++) veer_store_double(t, first + i, values[i]);
}

static inline void veer_add_scaled(int64_t count, double factor, const double *x, double *sum) {
    for (int64_t i = 0; i < count; i++) sum[i] += factor * x[i];
}

/* True where operand i is present. */
static inline bool veer_call_has(const veer_reference_call_t *c, int i) {
    return i < c->in_count && c->in[i].data;
}

#endif
