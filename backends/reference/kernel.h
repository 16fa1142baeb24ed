/* What a reference kernel sees, and the loads, stores and walks that kernels share. */
#ifndef VEER_BACKENDS_REFERENCE_KERNEL_H
#define VEER_BACKENDS_REFERENCE_KERNEL_H

#include "ir/float8.h"
#include "ir/half.h"
#include "ir/op.h"
#include "runtime/plan.h"

#include <assert.h>

/* One evaluation of one node. Types were inferred, so shapes and attributes are right; only the data is unknown. */
typedef struct veer_reference_call_s {
    veer_op_t op;
    const veer_attr_t *attrs; /* in the definition's order */
    int in_count, out_count;
    const veer_tensor_t *in; /* data NULL where an optional operand is absent */
    veer_tensor_t *out;
    void *scratch;                /* veer_reference_scratch_bytes long, 64-byte aligned */
    int64_t bad_index, bad_limit; /* set with VEER_KERNEL_INDEX: the index and the number of entries there are */
} veer_reference_call_t;

/* Fills out[]. Allocates nothing. */
typedef veer_kernel_result_t (*veer_reference_kernel_t)(veer_reference_call_t *c);

#define VEER_REFERENCE(ENUM, name) veer_kernel_result_t veer_reference_##name(veer_reference_call_t *c);
#include "backends/reference/kernels.def"
#undef VEER_REFERENCE

/* NULL where the op has none. */
veer_reference_kernel_t veer_reference_kernel(veer_op_t op);

/* Runs the op's kernel, which there must be. Results without elements are there already: kernels walk over dims, of
 * which the others may have any size. */
veer_kernel_result_t veer_reference_run(veer_reference_call_t *c);

/* What the call's `scratch` has to hold; reads op, in[].type and out[].type. */
size_t veer_reference_scratch_bytes(const veer_reference_call_t *c);
/* Room for a tensor's elements as doubles, in whole cache lines; 0 for an absent operand. */
static inline size_t veer_doubles_bytes(const veer_tensor_t *t) {
    if (t->type.dtype == VEER_DTYPE_NONE) return 0;
    return ((size_t)veer_type_count(&t->type) * sizeof(double) + 63) & ~(size_t)63;
}

/* ---- attributes ---- */
static inline const veer_attr_t *veer_call_attr(const veer_reference_call_t *c, const char *name) {
    int i = veer_op_attr_index(c->op, name);
    assert(i >= 0);
    return &c->attrs[i];
}
static inline int64_t veer_call_int(const veer_reference_call_t *c, const char *name) {
    return veer_call_attr(c, name)->as.i;
}
static inline double veer_call_float(const veer_reference_call_t *c, const char *name) {
    return veer_call_attr(c, name)->as.f;
}
static inline const char *veer_call_string(const veer_reference_call_t *c, const char *name) {
    return veer_call_attr(c, name)->as.s;
}
static inline const int64_t *veer_call_ints(const veer_reference_call_t *c, const char *name, int *out_count) {
    *out_count = veer_call_attr(c, name)->as.ints.n;
    return veer_call_attr(c, name)->as.ints.v;
}
static inline const double *veer_call_floats(const veer_reference_call_t *c, const char *name, int *out_count) {
    *out_count = veer_call_attr(c, name)->as.floats.n;
    return veer_call_attr(c, name)->as.floats.v;
}

/* ---- elements ---- */
/* Integers and bool; u64 keeps its bits, see veer_is_u64. */
static inline int64_t veer_load_int(const veer_tensor_t *t, int64_t i) {
    switch (t->type.dtype) {
    case VEER_DTYPE_I8: return ((const int8_t *)t->data)[i];
    case VEER_DTYPE_I16: return ((const int16_t *)t->data)[i];
    case VEER_DTYPE_I32: return ((const int32_t *)t->data)[i];
    case VEER_DTYPE_I64: return ((const int64_t *)t->data)[i];
    case VEER_DTYPE_U8: return ((const uint8_t *)t->data)[i];
    case VEER_DTYPE_U16: return ((const uint16_t *)t->data)[i];
    case VEER_DTYPE_U32: return ((const uint32_t *)t->data)[i];
    case VEER_DTYPE_U64: return (int64_t)((const uint64_t *)t->data)[i];
    case VEER_DTYPE_BOOL: return ((const uint8_t *)t->data)[i] != 0;
    case VEER_DTYPE_I4: return ((const int8_t *)t->data)[i];
    case VEER_DTYPE_U4: return ((const uint8_t *)t->data)[i];
    default: assert(!"an integer type"); return 0;
    }
}
static inline bool veer_is_u64(const veer_tensor_t *t) {
    return t->type.dtype == VEER_DTYPE_U64;
}

/* Keeps the low bits. */
static inline void veer_store_int(const veer_tensor_t *t, int64_t i, int64_t value) {
    if (veer_dtype_is_int4(t->type.dtype)) {
        value &= 15;
        if (t->type.dtype == VEER_DTYPE_I4 && value > 7) value -= 16;
    }
    switch (veer_dtype_size(t->type.dtype)) {
    case 1: ((uint8_t *)t->data)[i] = (uint8_t)value; break;
    case 2: ((uint16_t *)t->data)[i] = (uint16_t)value; break;
    case 4: ((uint32_t *)t->data)[i] = (uint32_t)value; break;
    default: ((uint64_t *)t->data)[i] = (uint64_t)value; break;
    }
}

/* Any type; integers beyond 2^53 are rounded. */
static inline double veer_load_double(const veer_tensor_t *t, int64_t i) {
    switch (t->type.dtype) {
    case VEER_DTYPE_F32: return ((const float *)t->data)[i];
    case VEER_DTYPE_F64: return ((const double *)t->data)[i];
    case VEER_DTYPE_F16: return veer_half_to_double(((const uint16_t *)t->data)[i]);
    case VEER_DTYPE_BF16: return veer_bfloat_to_double(((const uint16_t *)t->data)[i]);
    case VEER_DTYPE_U64: return (double)((const uint64_t *)t->data)[i];
    case VEER_DTYPE_F8E4M3FN:
    case VEER_DTYPE_F8E4M3FNUZ:
    case VEER_DTYPE_F8E5M2:
    case VEER_DTYPE_F8E5M2FNUZ: return veer_float8_to_double(t->type.dtype, ((const uint8_t *)t->data)[i]);
    default: return (double)veer_load_int(t, i);
    }
}

/* Floating types, rounded to nearest even; float8 saturates. */
static inline void veer_store_double(const veer_tensor_t *t, int64_t i, double value) {
    switch (t->type.dtype) {
    case VEER_DTYPE_F32: ((float *)t->data)[i] = (float)value; break;
    case VEER_DTYPE_F64: ((double *)t->data)[i] = value; break;
    case VEER_DTYPE_F16: ((uint16_t *)t->data)[i] = veer_half_from_double(value); break;
    case VEER_DTYPE_BF16: ((uint16_t *)t->data)[i] = veer_bfloat_from_double(value); break;
    default:
        assert(veer_dtype_is_float8(t->type.dtype));
        ((uint8_t *)t->data)[i] = veer_float8_from_double(t->type.dtype, value, true);
    }
}

static inline void veer_copy_element(const veer_tensor_t *dst, int64_t to, const veer_tensor_t *src, int64_t from) {
    switch (veer_dtype_size(dst->type.dtype)) {
    case 1: ((uint8_t *)dst->data)[to] = ((const uint8_t *)src->data)[from]; break;
    case 2: ((uint16_t *)dst->data)[to] = ((const uint16_t *)src->data)[from]; break;
    case 4: ((uint32_t *)dst->data)[to] = ((const uint32_t *)src->data)[from]; break;
    default: ((uint64_t *)dst->data)[to] = ((const uint64_t *)src->data)[from]; break;
    }
}

/* True for integer and bool tensors, which kernels compute in veer_load_int. */
static inline bool veer_is_exact(const veer_tensor_t *t) {
    return !veer_dtype_is_float(t->type.dtype) && !veer_dtype_is_float8(t->type.dtype);
}

/* An index operand's entry, counted from the end where negative. False (and the call's bad_index set) where it names
 * none of `limit` entries. */
static inline bool veer_load_index(veer_reference_call_t *c, const veer_tensor_t *t, int64_t i, int64_t limit,
                                   int64_t *out_index) {
    int64_t index = veer_load_int(t, i);
    *out_index = index < 0 ? index + limit : index;
    if (*out_index >= 0 && *out_index < limit) return true;
    c->bad_index = index;
    c->bad_limit = limit;
    return false;
}

/* ---- walks ---- Row-major over the dims of `shape`; at[k] is operand k's element, by strides of the walk's maker.
 *     for (veer_walk_t w = veer_walk_broadcast(&y->type, in, 2); w.i < w.count; veer_walk_next(&w)) ... w.at[0],
 * w.at[1] */
enum { VEER_WALK_OPERANDS = 3 };
typedef struct veer_walk_s {
    int rank, operands;
    int64_t i, count; /* element of the shape itself */
    int64_t dims[VEER_MAX_RANK], index[VEER_MAX_RANK], at[VEER_WALK_OPERANDS];
    int64_t strides[VEER_WALK_OPERANDS][VEER_MAX_RANK];
} veer_walk_t;

/* Strides are all 0: the caller sets them and the at[] to start from. */
static inline veer_walk_t veer_walk(const veer_type_t *shape, int operands) {
    veer_walk_t w = {.rank = shape->rank, .operands = operands, .count = veer_type_count(shape)};
    for (int i = 0; i < shape->rank; i++) w.dims[i] = shape->dims[i];
    return w;
}
/* Operands broadcast to the shape. */
static inline veer_walk_t veer_walk_broadcast(const veer_type_t *shape, const veer_tensor_t *in, int operands) {
    veer_walk_t w = veer_walk(shape, operands);
    for (int k = 0; k < operands; k++) {
        int64_t strides[VEER_MAX_RANK];
        const veer_type_t *type = &in[k].type;
        veer_type_strides(type, strides);
        for (int i = 0; i < type->rank; i++)
            w.strides[k][shape->rank - type->rank + i] = type->dims[i] == 1 ? 0 : strides[i];
    }
    return w;
}
static inline void veer_walk_next(veer_walk_t *w) {
    w->i++;
    for (int axis = w->rank; axis-- > 0;) {
        bool wraps = ++w->index[axis] == w->dims[axis];
        int64_t steps = wraps ? 1 - w->dims[axis] : 1;
        for (int k = 0; k < w->operands; k++) w->at[k] += steps * w->strides[k][axis];
        if (!wraps) return;
        w->index[axis] = 0;
    }
}

#endif
