/* The builder's one-line formulas: constants, elementwise operators, shapes, reductions. */
#include "ir/builder.h"
#include "ir/float8.h"
#include "ir/half.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- constants ---- */

veer_value_t veer_const_view(veer_builder_t *b, veer_type_t type, const void *data, const veer_data_source_t *source) {
    static const char empty[1];
    if (b->status) return VEER_NO_VALUE;
    veer_attr_t value = {.kind = VEER_ATTR_DATA};
    value.as.data.bytes = data ? data : empty;
    value.as.data.size_bytes = veer_type_bytes(&type);
    if (source) value.as.data.source = *source;
    return veer_build(
        b, VEER_OP_CONST, NULL, 0,
        VEER_ATTRS(VEER_INT("dtype", type.dtype), VEER_INTS("dims", type.dims, type.rank), {"value", value}));
}

veer_value_t veer_const(veer_builder_t *b, veer_type_t type, const void *data) {
    if (b->status) return VEER_NO_VALUE;
    veer_status_t status = veer_type_check(&type);
    void *copy = status ? NULL : veer_arena_copy(veer_graph_arena(b->graph), data, veer_type_bytes(&type));
    if (!status && !copy) status = veer_out_of_memory();
    if (status) veer_builder_fail(b, status);
    return veer_const_view(b, type, copy, NULL);
}

veer_value_t veer_const_f32(veer_builder_t *b, float value) {
    return veer_const(b, VEER_SCALAR(VEER_DTYPE_F32), &value);
}
veer_value_t veer_const_i64(veer_builder_t *b, int64_t value) {
    return veer_const(b, VEER_SCALAR(VEER_DTYPE_I64), &value);
}

/* Toward zero, saturating; NaN is 0: as cast does it. */
static int64_t to_integer(double x, int64_t least, int64_t most) {
    if (x >= (double)most) return most;
    if (x <= (double)least) return least;
    return isnan(x) ? 0 : (int64_t)x;
}

veer_value_t veer_const_scalar(veer_builder_t *b, veer_dtype_t dtype, double value) {
    union {
        float f32;
        double f64;
        uint16_t half;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } v = {0};
    switch (dtype) {
    case VEER_DTYPE_F32: v.f32 = (float)value; break;
    case VEER_DTYPE_F64: v.f64 = value; break;
    case VEER_DTYPE_F16: v.half = veer_half_from_double(value); break;
    case VEER_DTYPE_BF16: v.half = veer_bfloat_from_double(value); break;
    case VEER_DTYPE_I8: v.i8 = (int8_t)to_integer(value, INT8_MIN, INT8_MAX); break;
    case VEER_DTYPE_I16: v.i16 = (int16_t)to_integer(value, INT16_MIN, INT16_MAX); break;
    case VEER_DTYPE_I32: v.i32 = (int32_t)to_integer(value, INT32_MIN, INT32_MAX); break;
    case VEER_DTYPE_I64: v.i64 = (int64_t)to_integer(value, INT64_MIN, INT64_MAX); break;
    case VEER_DTYPE_U8: v.u8 = (uint8_t)to_integer(value, 0, UINT8_MAX); break;
    case VEER_DTYPE_U16: v.u16 = (uint16_t)to_integer(value, 0, UINT16_MAX); break;
    case VEER_DTYPE_U32: v.u32 = (uint32_t)to_integer(value, 0, UINT32_MAX); break;
    case VEER_DTYPE_U64: v.u64 = value >= 0x1p64 ? UINT64_MAX : value > 0 ? (uint64_t)value : 0; break;
    case VEER_DTYPE_BOOL: v.u8 = value != 0; break;
    case VEER_DTYPE_F8E4M3FN:
    case VEER_DTYPE_F8E4M3FNUZ:
    case VEER_DTYPE_F8E5M2:
    case VEER_DTYPE_F8E5M2FNUZ: v.u8 = veer_float8_from_double(dtype, value, true); break;
    case VEER_DTYPE_I4: v.i8 = (int8_t)to_integer(value, -8, 7); break;
    case VEER_DTYPE_U4: v.u8 = (uint8_t)to_integer(value, 0, 15); break;
    default: assert(!"a scalar constant has a dtype");
    }
    return veer_const(b, VEER_SCALAR(dtype), &v);
}

veer_value_t veer_const_ints(veer_builder_t *b, const int64_t *values, int count) {
    return veer_const(b, VEER_TYPE(VEER_DTYPE_I64, count), values);
}

veer_value_t veer_full(veer_builder_t *b, veer_type_t type, double value) {
    return veer_broadcast_to(b, veer_const_scalar(b, type.dtype, value), type.rank, type.dims);
}

veer_value_t veer_zeros(veer_builder_t *b, veer_type_t type) {
    return veer_full(b, type, 0);
}

/* ---- elementwise ---- */

#define X(name, ENUM)                                                                                                  \
    veer_value_t veer_##name(veer_builder_t *b, veer_value_t x) {                                                      \
        return veer_build(b, VEER_OP_##ENUM, VEER_IN(x), NULL);                                                        \
    }
VEER_BUILDER_UNARY(X)
#undef X
#define X(name, ENUM)                                                                                                  \
    veer_value_t veer_##name(veer_builder_t *b, veer_value_t x, veer_value_t y) {                                      \
        return veer_build(b, VEER_OP_##ENUM, VEER_IN(x, y), NULL);                                                     \
    }
VEER_BUILDER_BINARY(X)
#undef X

static veer_value_t scalar_like(veer_builder_t *b, veer_value_t x, double c) {
    return b->status ? VEER_NO_VALUE : veer_const_scalar(b, veer_builder_type(b, x)->dtype, c);
}

veer_value_t veer_add_c(veer_builder_t *b, veer_value_t x, double c) {
    return veer_add(b, x, scalar_like(b, x, c));
}
veer_value_t veer_rsub_c(veer_builder_t *b, veer_value_t x, double c) {
    return veer_sub(b, scalar_like(b, x, c), x);
}
veer_value_t veer_mul_c(veer_builder_t *b, veer_value_t x, double c) {
    return veer_mul(b, x, scalar_like(b, x, c));
}

veer_value_t veer_where(veer_builder_t *b, veer_value_t condition, veer_value_t x, veer_value_t y) {
    return veer_build(b, VEER_OP_WHERE, VEER_IN(condition, x, y), NULL);
}

veer_value_t veer_cast(veer_builder_t *b, veer_value_t x, veer_dtype_t to) {
    if (b->status || veer_builder_type(b, x)->dtype == to) return x;
    return veer_build(b, VEER_OP_CAST, VEER_IN(x), VEER_ATTRS(VEER_INT("to", to)));
}

veer_value_t veer_gelu(veer_builder_t *b, veer_value_t x, bool tanh_approximation) {
    return veer_build(b, VEER_OP_GELU, VEER_IN(x),
                      VEER_ATTRS(VEER_STRING("approximate", tanh_approximation ? "tanh" : "none")));
}

/* ---- shapes ---- */

veer_value_t veer_reshape(veer_builder_t *b, veer_value_t x, int rank, const int64_t *dims) {
    if (b->status) return VEER_NO_VALUE;
    veer_type_t to = veer_type_make(VEER_DTYPE_NONE, rank, dims);
    if (veer_type_same_shape(veer_builder_type(b, x), &to)) return x;
    return veer_build(b, VEER_OP_RESHAPE, VEER_IN(x), VEER_ATTRS(VEER_INTS("dims", dims, rank)));
}

veer_value_t veer_reshape_like(veer_builder_t *b, veer_value_t x, const veer_type_t *like) {
    veer_type_t to = *like; /* `like` may point into the graph, which grows */
    return veer_reshape(b, x, to.rank, to.dims);
}

veer_value_t veer_transpose(veer_builder_t *b, veer_value_t x, const int64_t *perm) {
    if (b->status) return VEER_NO_VALUE;
    int rank = veer_builder_type(b, x)->rank;
    bool same = true;
    for (int i = 0; i < rank; i++) same &= perm[i] == i;
    return same ? x : veer_build(b, VEER_OP_TRANSPOSE, VEER_IN(x), VEER_ATTRS(VEER_INTS("perm", perm, rank)));
}

veer_value_t veer_transpose_last(veer_builder_t *b, veer_value_t x) {
    if (b->status) return VEER_NO_VALUE;
    int rank = veer_builder_type(b, x)->rank;
    int64_t perm[VEER_MAX_RANK];
    for (int i = 0; i < rank; i++) perm[i] = i;
    if (rank < 2) {
        veer_builder_fail(
            b, veer_error(VEER_ERR_UNSUPPORTED, "a tensor of rank %d has no last two dims to exchange", rank));
        return VEER_NO_VALUE;
    }
    perm[rank - 2] = rank - 1;
    perm[rank - 1] = rank - 2;
    return veer_transpose(b, x, perm);
}

veer_value_t veer_broadcast_to(veer_builder_t *b, veer_value_t x, int rank, const int64_t *dims) {
    if (b->status) return VEER_NO_VALUE;
    veer_type_t to = veer_type_make(VEER_DTYPE_NONE, rank, dims);
    if (veer_type_same_shape(veer_builder_type(b, x), &to)) return x;
    return veer_build(b, VEER_OP_BROADCAST, VEER_IN(x), VEER_ATTRS(VEER_INTS("dims", dims, rank)));
}

veer_value_t veer_slice_axis(veer_builder_t *b, veer_value_t x, int axis, int64_t start, int64_t size, int64_t step) {
    if (b->status) return VEER_NO_VALUE;
    const veer_type_t *t = veer_builder_type(b, x);
    if (start == 0 && step == 1 && size == t->dims[axis]) return x;
    int64_t starts[VEER_MAX_RANK] = {0}, sizes[VEER_MAX_RANK], steps[VEER_MAX_RANK];
    int rank = t->rank;
    for (int i = 0; i < rank; i++) sizes[i] = t->dims[i], steps[i] = 1;
    starts[axis] = start, sizes[axis] = size, steps[axis] = step;
    return veer_build(b, VEER_OP_SLICE, VEER_IN(x),
                      VEER_ATTRS(VEER_INTS("starts", starts, rank), VEER_INTS("sizes", sizes, rank),
                                 VEER_INTS("steps", steps, rank)));
}

veer_value_t veer_concat(veer_builder_t *b, const veer_value_t *in, int count, int axis) {
    if (count == 1) return in[0];
    return veer_build(b, VEER_OP_CONCAT, in, count, VEER_ATTRS(VEER_INT("axis", axis)));
}

veer_value_t veer_pad_zero(veer_builder_t *b, veer_value_t x, const int64_t *before, const int64_t *after) {
    if (b->status) return VEER_NO_VALUE;
    int rank = veer_builder_type(b, x)->rank;
    bool none = true;
    for (int i = 0; i < rank; i++) none &= before[i] == 0 && after[i] == 0;
    if (none) return x;
    return veer_build(b, VEER_OP_PAD, VEER_IN(x),
                      VEER_ATTRS(VEER_INTS("before", before, rank), VEER_INTS("after", after, rank)));
}

veer_value_t veer_gather(veer_builder_t *b, veer_value_t data, veer_value_t indices, int axis) {
    return veer_build(b, VEER_OP_GATHER, VEER_IN(data, indices), VEER_ATTRS(VEER_INT("axis", axis)));
}

veer_value_t veer_step_slice(veer_builder_t *b, veer_value_t table, veer_value_t i) {
    return veer_build(b, VEER_OP_STEP_SLICE, VEER_IN(table, i), NULL);
}

/* ---- reductions ---- */

veer_value_t veer_reduce(veer_builder_t *b, veer_op_t op, veer_value_t x, const int64_t *axes, int count,
                         bool keepdims) {
    if (count == 0 && op != VEER_OP_NONE) return x; /* a reduction over no axes */
    return veer_build(b, op, VEER_IN(x), VEER_ATTRS(VEER_INTS("axes", axes, count), VEER_INT("keepdims", keepdims)));
}

veer_value_t veer_reduce_last(veer_builder_t *b, veer_op_t op, veer_value_t x, bool keepdims) {
    if (b->status) return VEER_NO_VALUE;
    int64_t axis = veer_builder_type(b, x)->rank - 1;
    return veer_reduce(b, op, x, &axis, 1, keepdims);
}

veer_value_t veer_reduce_all(veer_builder_t *b, veer_op_t op, veer_value_t x) {
    if (b->status) return VEER_NO_VALUE;
    int rank = veer_builder_type(b, x)->rank;
    int64_t axes[VEER_MAX_RANK];
    for (int i = 0; i < rank; i++) axes[i] = i;
    return veer_reduce(b, op, x, axes, rank, false);
}

veer_value_t veer_sum_to(veer_builder_t *b, veer_value_t x, const veer_type_t *shape) {
    if (b->status) return VEER_NO_VALUE;
    veer_type_t to = *shape, from = *veer_builder_type(b, x);
    int64_t axes[VEER_MAX_RANK];
    int count = 0, lead = from.rank - to.rank;
    for (int i = 0; i < from.rank; i++)
        if (i < lead || (to.dims[i - lead] == 1 && from.dims[i] != 1)) axes[count++] = i;
    return veer_reshape_like(b, veer_reduce(b, VEER_OP_REDUCE_SUM, x, axes, count, true), &to);
}

veer_value_t veer_matmul(veer_builder_t *b, veer_value_t x, veer_value_t y, bool trans_x, bool trans_y) {
    return veer_build(b, VEER_OP_MATMUL, VEER_IN(x, y),
                      VEER_ATTRS(VEER_INT("trans_a", trans_x), VEER_INT("trans_b", trans_y)));
}
