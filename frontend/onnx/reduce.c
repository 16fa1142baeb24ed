/* Reductions, running sums, softmax. */
#include "frontend/onnx/node.h"

#include <math.h>

/* The axes of a reduction, ascending; -1 where there is nothing to reduce. */
static int read_axes(veer_onnx_node_t *n, const veer_type_t *x, int64_t *axes) {
    int moved = n->op->param == VEER_ONNX_REDUCE_SUM ? 13 : 18, count;
    const int64_t *given = veer_onnx_in_or_attr_ints(n, 1, "axes", moved, &count);
    if (given && count) return veer_onnx_axes(n, given, count, x->rank, axes);
    if (n->opset >= moved && veer_onnx_attr_int(n, "noop_with_empty_axes", 0)) return -1;
    for (int i = 0; i < x->rank; i++) axes[i] = i;
    return x->rank;
}

typedef struct {
    const int64_t *axes;
    int count; /* 0 or less: each element is a reduction of itself */
    bool keepdims;
} over_t;

static veer_value_t reduce(veer_onnx_node_t *n, veer_op_t op, veer_value_t x, over_t over) {
    return veer_reduce(n->b, op, x, over.axes, over.count < 0 ? 0 : over.count, over.keepdims);
}

/* The extremum of no elements: infinite, or the end of the integers. */
static veer_value_t of_nothing(veer_onnx_node_t *n, veer_type_t type, over_t over, bool maximum) {
    veer_type_t y = {.dtype = type.dtype};
    for (int i = 0, next = 0; i < type.rank; i++) {
        bool reduced = next < over.count && over.axes[next] == i;
        next += reduced;
        if (!reduced || over.keepdims) y.dims[y.rank++] = reduced ? 1 : type.dims[i];
    }
    double bits = 8.0 * (double)veer_dtype_size(type.dtype), least = -(double)INFINITY;
    if (veer_dtype_is_integer(type.dtype)) least = veer_dtype_is_signed(type.dtype) ? -exp2(bits - 1) : 0;
    double most = veer_dtype_is_signed(type.dtype) ? exp2(bits - 1) - 1 : exp2(bits) - 1;
    if (veer_dtype_is_integer(type.dtype) && bits == 64) { /* no double is that number */
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "the extremum of no %s is not supported", veer_dtype_name(type.dtype));
        return VEER_NO_VALUE;
    }
    if (!veer_dtype_is_integer(type.dtype)) most = (double)INFINITY;
    return veer_full(n->b, y, maximum ? least : most);
}

static bool reduces_nothing(const veer_type_t *x, over_t over) {
    bool none = false;
    for (int i = 0; i < over.count; i++) none |= x->dims[over.axes[i]] == 0;
    return none;
}

/* bool: false is less than true. */
static veer_value_t extremum(veer_onnx_node_t *n, veer_value_t x, over_t over, bool maximum) {
    veer_type_t type = veer_onnx_type(n, x);
    veer_op_t op = maximum ? VEER_OP_REDUCE_MAX : VEER_OP_REDUCE_MIN;
    if (type.dtype == VEER_DTYPE_BOOL) {
        veer_value_t y = extremum(n, veer_cast(n->b, x, VEER_DTYPE_U8), over, maximum);
        return veer_cast(n->b, y, VEER_DTYPE_BOOL);
    }
    return reduces_nothing(&type, over) ? of_nothing(n, type, over, maximum) : reduce(n, op, x, over);
}

/* m + log(sum(exp(x - m))), m the finite maximum: neither overflow nor inf - inf. */
static veer_value_t log_sum_exp(veer_onnx_node_t *n, over_t over) {
    over_t keep = {over.axes, over.count, true};
    veer_dtype_t dtype = veer_onnx_in_type(n, 0).dtype;
    double largest = dtype == VEER_DTYPE_F16 ? 65504 : 3e38;
    veer_type_t x = veer_onnx_in_type(n, 0);
    if (reduces_nothing(&x, over)) return of_nothing(n, x, over, true);
    veer_value_t m = reduce(n, VEER_OP_REDUCE_MAX, n->in[0], keep);
    m = veer_max(n->b, m, veer_const_scalar(n->b, dtype, -largest));
    m = veer_min(n->b, m, veer_const_scalar(n->b, dtype, largest));
    veer_value_t sum = reduce(n, VEER_OP_REDUCE_SUM, veer_exp(n->b, veer_sub(n->b, n->in[0], m)), over);
    veer_type_t type = veer_onnx_type(n, sum);
    return veer_add(n->b, veer_log(n->b, sum), veer_onnx_ok(n) ? veer_reshape_like(n->b, m, &type) : m);
}

void veer_onnx_reduce(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    int64_t axes[VEER_MAX_RANK] = {0};
    over_t over = {axes, read_axes(n, &type, axes), veer_onnx_attr_int(n, "keepdims", 1) != 0};
    veer_value_t x = n->in[0];
    if (!veer_onnx_ok(n)) return;
    switch (n->op->param) {
    case VEER_ONNX_REDUCE_SUM: n->out[0] = reduce(n, VEER_OP_REDUCE_SUM, x, over); break;
    case VEER_ONNX_REDUCE_MEAN: n->out[0] = reduce(n, VEER_OP_REDUCE_MEAN, x, over); break;
    case VEER_ONNX_REDUCE_MAX: n->out[0] = extremum(n, x, over, true); break;
    case VEER_ONNX_REDUCE_MIN: n->out[0] = extremum(n, x, over, false); break;
    case VEER_ONNX_REDUCE_PROD: n->out[0] = reduce(n, VEER_OP_REDUCE_PROD, x, over); break;
    case VEER_ONNX_REDUCE_L1: n->out[0] = reduce(n, VEER_OP_REDUCE_SUM, veer_abs(n->b, x), over); break;
    case VEER_ONNX_REDUCE_L2:
        n->out[0] = veer_sqrt(n->b, reduce(n, VEER_OP_REDUCE_SUM, veer_mul(n->b, x, x), over));
        break;
    case VEER_ONNX_REDUCE_LOG_SUM: n->out[0] = veer_log(n->b, reduce(n, VEER_OP_REDUCE_SUM, x, over)); break;
    case VEER_ONNX_REDUCE_LOG_SUM_EXP: n->out[0] = log_sum_exp(n, over); break;
    default: n->out[0] = reduce(n, VEER_OP_REDUCE_SUM, veer_mul(n->b, x, x), over); break;
    }
}

static veer_value_t arg_max(veer_onnx_node_t *n, veer_value_t x, int axis, bool keepdims, bool last, bool largest) {
    return veer_build(n->b, VEER_OP_ARG_MAX, &x, 1,
                      VEER_ATTRS(VEER_INT("axis", axis), VEER_INT("keepdims", keepdims), VEER_INT("select_last", last),
                                 VEER_INT("largest", largest)));
}

void veer_onnx_arg(veer_onnx_node_t *n) {
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 0), veer_onnx_in_type(n, 0).rank);
    bool keepdims = veer_onnx_attr_int(n, "keepdims", 1) != 0,
         last = veer_onnx_attr_int(n, "select_last_index", 0) != 0;
    n->out[0] = arg_max(n, n->in[0], axis, keepdims, last, n->op->param);
}

void veer_onnx_cum_sum(veer_onnx_node_t *n) {
    int axis = veer_onnx_axis(n, veer_onnx_in_int(n, 1, "axis", 0), veer_onnx_in_type(n, 0).rank);
    int64_t exclusive = veer_onnx_attr_int(n, "exclusive", 0) != 0, reverse = veer_onnx_attr_int(n, "reverse", 0) != 0;
    n->out[0] =
        veer_build(n->b, VEER_OP_CUMSUM, n->in, 1,
                   VEER_ATTRS(VEER_INT("axis", axis), VEER_INT("exclusive", exclusive), VEER_INT("reverse", reverse)));
}

/* Before operator set 13 the input is seen as a matrix, cut at `axis`; since then one axis is meant. Gives the axis,
 * and the input in the shape in which it is the one. */
static veer_value_t rows_of(veer_onnx_node_t *n, int *out_axis) {
    veer_type_t x = veer_onnx_in_type(n, 0);
    int64_t axis = veer_onnx_attr_int(n, "axis", n->opset < 13 ? 1 : -1);
    *out_axis = axis == x.rank && n->opset < 13 ? x.rank : veer_onnx_axis(n, axis, x.rank);
    if (n->opset >= 13 || *out_axis == x.rank - 1) return n->in[0];
    int64_t rows = veer_type_count_range(&x, 0, *out_axis), columns = veer_type_count_range(&x, *out_axis, x.rank);
    *out_axis = 1;
    return veer_reshape(n->b, n->in[0], VEER_DIMS(rows, columns));
}

void veer_onnx_softmax(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    int axis;
    veer_value_t x = rows_of(n, &axis);
    x = veer_build(n->b, (veer_op_t)n->op->param, &x, 1, VEER_ATTRS(VEER_INT("axis", axis)));
    n->out[0] = veer_reshape_like(n->b, x, &type);
}

/* 1 at the first maximum: equal(iota, arg_max). */
void veer_onnx_hardmax(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    int axis;
    veer_value_t x = rows_of(n, &axis);
    veer_type_t rows = veer_onnx_type(n, x);
    int64_t dims[VEER_MAX_RANK] = {0};
    for (int i = 0; i < rows.rank; i++) dims[i] = i == axis ? rows.dims[i] : 1;
    int64_t *iota = veer_onnx_scratch(n, dims[axis], sizeof *iota);
    if (!iota) return;
    for (int64_t i = 0; i < dims[axis]; i++) iota[i] = i;
    veer_value_t hit = veer_equal(n->b, arg_max(n, x, axis, true, false, true),
                                  veer_const(n->b, veer_type_make(VEER_DTYPE_I64, rows.rank, dims), iota));
    n->out[0] = veer_reshape_like(n->b, veer_cast(n->b, hit, type.dtype), &type);
}
