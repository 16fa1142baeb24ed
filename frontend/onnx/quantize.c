/* Quantised tensors: real = (stored - zero point) * scale. Integer products are computed in double, where they are
 * exact up to 2^53. */
#include "frontend/onnx/window.h"
#include "ir/float8.h"

static bool has_zero(const veer_onnx_node_t *n, int i) {
    return veer_onnx_has_in(n, i);
}

static void limits_of(veer_dtype_t dtype, double *out_low, double *out_high) {
    bool is_signed = veer_dtype_is_signed(dtype) || dtype == VEER_DTYPE_I4;
    size_t bits = veer_dtype_is_int4(dtype) ? 4 : 8 * veer_dtype_size(dtype);
    double half = (double)((uint64_t)1 << (bits - 1));
    *out_low = is_signed ? -half : 0;
    *out_high = is_signed ? half - 1 : 2 * half - 1;
}

/* The largest magnitude that rounds to the largest number of the format. */
static double float8_limit(veer_dtype_t dtype) {
    uint8_t last = veer_float8_from_double(dtype, 1e9, true);
    double most = veer_float8_to_double(dtype, last);
    return most + (most - veer_float8_to_double(dtype, (uint8_t)(last - 1))) / 2;
}

/* The same value in double, of which no gradient passes: each x that is a multiple of 2^-1000 and below 2^23, as what a
 * float8 rounds away is, times 2^1000 is whole. */
static veer_value_t without_gradient(veer_onnx_node_t *n, veer_value_t x) {
    return veer_mul_c(n->b, veer_floor(n->b, veer_mul_c(n->b, x, 0x1p1000)), 0x1p-1000);
}

/* x as the float8 holds it, in double: x + (rounded - x), exactly, where nothing is cut off, and there with x's
 * gradient.
 */
static veer_value_t float8_straight_through(veer_onnx_node_t *n, veer_value_t x, veer_dtype_t to, int64_t saturates) {
    veer_named_attr_t *attrs = VEER_ATTRS(VEER_INT("to", to), VEER_INT("saturate", saturates));
    veer_value_t stored = veer_cast(n->b, veer_build(n->b, VEER_OP_CAST, &x, 1, attrs), VEER_DTYPE_F64);
    x = veer_cast(n->b, x, VEER_DTYPE_F64);
    veer_value_t rounded = veer_add(n->b, x, without_gradient(n, veer_sub(n->b, stored, x)));
    veer_value_t limit = veer_const_scalar(n->b, VEER_DTYPE_F64, float8_limit(to));
    return veer_where(n->b, veer_less_equal(n->b, veer_abs(n->b, x), limit), rounded, stored);
}

/* A float8 rounds by itself; its zero point is 0. */
static veer_value_t to_float8(veer_onnx_node_t *n, veer_value_t x, veer_value_t zero, veer_dtype_t to) {
    int64_t saturates = veer_onnx_attr_int(n, "saturate", 1) != 0;
    if (!veer_onnx_ok(n)) return VEER_NO_VALUE;
    if (zero.i) x = veer_add(n->b, x, veer_cast(n->b, zero, veer_onnx_type(n, x).dtype));
    if (veer_onnx_straight_through(n)) x = float8_straight_through(n, x, to, saturates);
    return veer_build(n->b, VEER_OP_CAST, &x, 1, VEER_ATTRS(VEER_INT("to", to), VEER_INT("saturate", saturates)));
}

/* saturate(round(x) + zero), x and zero (may be absent) of one floating type */
static veer_value_t saturate(veer_onnx_node_t *n, veer_value_t x, veer_value_t zero, veer_dtype_t to) {
    double low, high;
    veer_dtype_t dtype = veer_onnx_type(n, x).dtype;
    if (veer_dtype_is_float8(to)) return to_float8(n, x, zero, to);
    if (!(veer_dtype_is_integer(to) || veer_dtype_is_int4(to)) || veer_dtype_size(to) > 4) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "quantising to %s is not supported", veer_dtype_name(to));
        return VEER_NO_VALUE;
    }
    if (!veer_onnx_ok(n)) return VEER_NO_VALUE;
    limits_of(to, &low, &high);
    x = veer_build(n->b, VEER_OP_ROUND, &x, 1, VEER_ATTRS(VEER_INT("straight_through", veer_onnx_straight_through(n))));
    if (zero.i) x = veer_add(n->b, x, veer_cast(n->b, zero, dtype));
    veer_value_t least = veer_const_scalar(n->b, dtype, low), most = veer_const_scalar(n->b, dtype, high);
    if (veer_onnx_straight_through(n)) { /* the ends themselves are not cut off: all of the gradient passes */
        x = veer_where(n->b, veer_less(n->b, x, least), least, x);
        return veer_cast(n->b, veer_where(n->b, veer_less(n->b, most, x), most, x), to);
    }
    return veer_cast(n->b, veer_min(n->b, veer_max(n->b, x, least), most), to);
}

/* A scale or zero point in the shape that broadcasts to x: one number, one along `axis`, or (block_size) one per block
 * of entries of `axis`. */
static veer_value_t spread(veer_onnx_node_t *n, veer_value_t v) {
    veer_type_t x = veer_onnx_in_type(n, 0), type = veer_onnx_type(n, v);
    int64_t block = veer_onnx_attr_int(n, "block_size", 0);
    if (veer_type_count(&type) == 1 && type.rank <= 1) return veer_onnx_along(n, v, 0, 0);
    int axis = veer_onnx_axis(n, veer_onnx_attr_int(n, "axis", 1), x.rank);
    if (!block || type.rank != x.rank) return veer_onnx_along(n, v, axis, x.rank);
    int64_t count = x.dims[axis], *from = veer_onnx_scratch(n, count, sizeof *from);
    for (int64_t i = 0; from && i < count; i++) from[i] = block > 0 ? i / block : 0;
    if (!from) return VEER_NO_VALUE;
    return veer_gather(n->b, v, veer_const(n->b, VEER_TYPE(VEER_DTYPE_I64, count), from), axis);
}

static veer_dtype_t wide(veer_dtype_t dtype) {
    return dtype == VEER_DTYPE_F64 ? VEER_DTYPE_F64 : VEER_DTYPE_F32;
}

void veer_onnx_quantize_linear(veer_onnx_node_t *n) {
    veer_dtype_t dtype = wide(veer_onnx_in_type(n, 0).dtype),
                 to = veer_onnx_attr_dtype(n, "output_dtype", VEER_DTYPE_U8);
    if (has_zero(n, 2)) to = veer_onnx_in_type(n, 2).dtype;
    veer_value_t scale = veer_cast(n->b, spread(n, n->in[1]), dtype);
    veer_value_t x = veer_div(n->b, veer_cast(n->b, n->in[0], dtype), scale);
    n->out[0] = saturate(n, x, has_zero(n, 2) ? spread(n, n->in[2]) : VEER_NO_VALUE, to);
}

/* Gradients end at integers: straight through means to read what was saturated, which has the same values. */
static veer_value_t stored(veer_onnx_node_t *n) {
    veer_node_t def = veer_value_def(n->b->graph, n->in[0]);
    if (!veer_onnx_straight_through(n) || !def.i || veer_node_op(n->b->graph, def) != VEER_OP_CAST) return n->in[0];
    veer_value_t from = veer_node_in(n->b->graph, def, 0);
    return veer_dtype_is_float(veer_onnx_type(n, from).dtype) ? from : n->in[0];
}

void veer_onnx_dequantize_linear(veer_onnx_node_t *n) {
    veer_dtype_t to = veer_onnx_in_type(n, 1).dtype, dtype = wide(to);
    veer_value_t x = veer_cast(n->b, stored(n), dtype);
    if (has_zero(n, 2)) x = veer_sub(n->b, x, veer_cast(n->b, spread(n, n->in[2]), dtype));
    x = veer_mul(n->b, x, veer_cast(n->b, spread(n, n->in[1]), dtype));
    n->out[0] = veer_cast(n->b, x, veer_onnx_attr_dtype(n, "output_dtype", to));
}

/* u8 over the range of x, made to hold 0. A tensor of zeros has scale 1. */
void veer_onnx_dynamic_quantize_linear(veer_onnx_node_t *n) {
    veer_value_t zero = veer_const_f32(n->b, 0), one = veer_const_f32(n->b, 1);
    veer_value_t low = veer_min(n->b, veer_reduce_all(n->b, VEER_OP_REDUCE_MIN, n->in[0]), zero);
    veer_value_t high = veer_max(n->b, veer_reduce_all(n->b, VEER_OP_REDUCE_MAX, n->in[0]), zero);
    veer_value_t scale = veer_div(n->b, veer_sub(n->b, high, low), veer_const_f32(n->b, 255));
    scale = veer_where(n->b, veer_equal(n->b, scale, zero), one, scale);
    n->out[1] = scale;
    n->out[2] = saturate(n, veer_neg(n->b, veer_div(n->b, low, scale)), VEER_NO_VALUE, VEER_DTYPE_U8);
    n->out[0] = saturate(n, veer_div(n->b, n->in[0], scale), n->out[2], VEER_DTYPE_U8);
}

/* ---- products ---- */

/* x - zero in double; `zero` is input i, which may be absent. */
static veer_value_t centred(veer_onnx_node_t *n, int x, veer_value_t zero) {
    veer_value_t y = veer_cast(n->b, n->in[x], VEER_DTYPE_F64);
    return zero.i ? veer_sub(n->b, y, veer_cast(n->b, zero, VEER_DTYPE_F64)) : y;
}

/* Parameters of a matrix: of its rows (a) or columns (b), or of all of it. */
static veer_value_t of_rows(veer_onnx_node_t *n, int i) {
    veer_type_t type = veer_onnx_in_type(n, i);
    if (!veer_onnx_has_in(n, i)) return VEER_NO_VALUE;
    return type.rank == 1 ? veer_onnx_along(n, n->in[i], 0, 2) : n->in[i];
}

static veer_value_t of_columns(veer_onnx_node_t *n, int i) {
    return veer_onnx_has_in(n, i) ? n->in[i] : VEER_NO_VALUE;
}

static veer_value_t product(veer_onnx_node_t *n, int a, veer_value_t a_zero, int b, veer_value_t b_zero) {
    veer_type_t x = veer_onnx_in_type(n, a), y = veer_onnx_in_type(n, b);
    if (x.rank >= 2 && y.rank >= 2)
        return veer_matmul(n->b, centred(n, a, a_zero), centred(n, b, b_zero), false, false);
    veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "operands of rank %d and %d, expected 2 or more", x.rank, y.rank);
    return VEER_NO_VALUE;
}

void veer_onnx_matmul_integer(veer_onnx_node_t *n) {
    n->out[0] = veer_cast(n->b, product(n, 0, of_rows(n, 2), 1, of_columns(n, 3)), VEER_DTYPE_I32);
}

/* Integers to what is stored: sum * scale_a * scale_b / scale_y, rounded. */
static veer_value_t requantised(veer_onnx_node_t *n, veer_value_t sum, veer_value_t scale_a, veer_value_t scale_b,
                                int y) {
    veer_value_t scale = veer_div(
        n->b, veer_mul(n->b, veer_cast(n->b, scale_a, VEER_DTYPE_F64), veer_cast(n->b, scale_b, VEER_DTYPE_F64)),
        veer_cast(n->b, veer_onnx_along(n, n->in[y], 0, 0), VEER_DTYPE_F64));
    veer_dtype_t to = veer_onnx_in_type(n, y + 1).dtype;
    return saturate(n, veer_mul(n->b, sum, scale), veer_onnx_along(n, n->in[y + 1], 0, 0), to);
}

void veer_onnx_qlinear_matmul(veer_onnx_node_t *n) {
    veer_value_t sum = product(n, 0, of_rows(n, 2), 3, of_columns(n, 5));
    n->out[0] = requantised(n, sum, of_rows(n, 1), of_columns(n, 4), 6);
}

/* The zero point of a weight may be one per filter. */
static veer_value_t filters(veer_onnx_node_t *n, int i, int rank) {
    return veer_onnx_has_in(n, i) ? veer_onnx_along(n, n->in[i], 0, rank) : VEER_NO_VALUE;
}

void veer_onnx_conv_integer(veer_onnx_node_t *n) {
    int rank = veer_onnx_in_type(n, 0).rank;
    veer_value_t x = centred(n, 0, veer_onnx_has_in(n, 2) ? veer_onnx_along(n, n->in[2], 0, 0) : VEER_NO_VALUE);
    veer_value_t w = centred(n, 1, filters(n, 3, rank));
    n->out[0] = veer_cast(n->b, veer_onnx_conv_of(n, x, w, VEER_NO_VALUE), VEER_DTYPE_I32);
}

/* A bias is stored in units of scale_x * scale_w, as the sums are. */
void veer_onnx_qlinear_conv(veer_onnx_node_t *n) {
    int rank = veer_onnx_in_type(n, 0).rank;
    veer_value_t x = centred(n, 0, veer_onnx_along(n, n->in[2], 0, 0)), w = centred(n, 3, filters(n, 5, rank));
    veer_value_t bias = veer_onnx_has_in(n, 8) ? veer_cast(n->b, n->in[8], VEER_DTYPE_F64) : VEER_NO_VALUE;
    veer_value_t sum = veer_onnx_conv_of(n, x, w, bias);
    veer_value_t scale_w = veer_onnx_along(n, n->in[4], 1, rank);
    n->out[0] = requantised(n, sum, veer_onnx_along(n, n->in[1], 0, 0), scale_w, 6);
}
