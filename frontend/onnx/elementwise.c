/* Elementwise operators that are one node of the IR, or nearly. */
#include "frontend/onnx/node.h"

#include <math.h>
#include <string.h>

void veer_onnx_unary(veer_onnx_node_t *n) {
    veer_type_t type = veer_onnx_in_type(n, 0);
    bool to_float = n->op->param == VEER_OP_FLOOR || n->op->param == VEER_OP_CEIL || n->op->param == VEER_OP_ROUND;
    if (to_float && veer_dtype_is_integer(type.dtype)) { /* an integer is its own floor */
        n->out[0] = n->in[0];
        return;
    }
    n->out[0] = veer_build(n->b, (veer_op_t)n->op->param, n->in, 1, NULL);
}

/* Before operator set 7 the second operand was broadcast only on demand, from `axis` on. */
static veer_value_t second_operand(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), y = veer_onnx_in_type(n, 1);
    if (n->opset >= 7 || !veer_onnx_attr_int(n, "broadcast", 0) || y.rank >= x.rank) return n->in[1];
    int64_t axis = veer_onnx_attr_int(n, "axis", x.rank - y.rank), dims[VEER_MAX_RANK];
    if (axis < 0) axis += x.rank;
    if (axis < 0 || axis + y.rank > x.rank) {
        veer_onnx_fail(n, VEER_ERR_FILE, "axis %lld is out of range for ranks %d and %d", (long long)axis, x.rank,
                       y.rank);
        return VEER_NO_VALUE;
    }
    for (int i = 0; i < x.rank; i++) dims[i] = i >= axis && i < axis + y.rank ? y.dims[i - axis] : 1;
    return veer_reshape(n->b, n->in[1], x.rank, dims);
}

void veer_onnx_binary(veer_onnx_node_t *n) {
    n->out[0] = veer_build(n->b, (veer_op_t)n->op->param, VEER_IN(n->in[0], second_operand(n)), NULL);
}

/* a > b is b < a. */
void veer_onnx_swapped(veer_onnx_node_t *n) {
    n->out[0] = veer_build(n->b, (veer_op_t)n->op->param, VEER_IN(second_operand(n), n->in[0]), NULL);
}

void veer_onnx_power(veer_onnx_node_t *n) {
    n->out[0] = veer_pow(n->b, n->in[0], second_operand(n));
}

void veer_onnx_modulo(veer_onnx_node_t *n) {
    int64_t fmod_sign = veer_onnx_attr_int(n, "fmod", 0) != 0;
    n->out[0] = veer_build(n->b, VEER_OP_MOD, n->in, 2, VEER_ATTRS(VEER_INT("fmod", fmod_sign)));
}

void veer_onnx_where(veer_onnx_node_t *n) {
    n->out[0] = veer_where(n->b, n->in[0], n->in[1], n->in[2]);
}

void veer_onnx_is_inf(veer_onnx_node_t *n) {
    veer_dtype_t dtype = veer_onnx_in_type(n, 0).dtype;
    bool positive = veer_onnx_attr_int(n, "detect_positive", 1), negative = veer_onnx_attr_int(n, "detect_negative", 1);
    veer_value_t x = n->in[0], infinity = veer_const_scalar(n->b, dtype, (double)INFINITY);
    if (positive && negative) x = veer_abs(n->b, x);
    if (!positive && negative) x = veer_neg(n->b, x);
    n->out[0] = veer_equal(n->b, x, infinity);
    if (!positive && !negative) n->out[0] = veer_less(n->b, infinity, x); /* never */
}

static bool all_present(veer_onnx_node_t *n) {
    for (int i = 0; i < n->in_count; i++)
        if (!n->in[i].i) {
            veer_onnx_fail(n, VEER_ERR_FILE, "input %d is empty", i);
            return false;
        }
    return true;
}

void veer_onnx_variadic(veer_onnx_node_t *n) {
    if (!all_present(n)) return;
    n->out[0] = n->in[0];
    for (int i = 1; i < n->in_count; i++)
        n->out[0] = veer_build(n->b, (veer_op_t)n->op->param, VEER_IN(n->out[0], n->in[i]), NULL);
}

void veer_onnx_mean(veer_onnx_node_t *n) {
    if (!all_present(n)) return;
    veer_value_t sum = n->in[0];
    for (int i = 1; i < n->in_count; i++) sum = veer_add(n->b, sum, n->in[i]);
    n->out[0] = n->in_count > 1 ? veer_mul_c(n->b, sum, 1.0 / n->in_count) : sum;
}

/* Bounds: attributes before operator set 11, then inputs. */
void veer_onnx_clip(veer_onnx_node_t *n) {
    veer_dtype_t dtype = veer_onnx_in_type(n, 0).dtype;
    veer_value_t low = VEER_NO_VALUE, high = VEER_NO_VALUE;
    if (n->opset >= 11) {
        low = veer_onnx_has_in(n, 1) ? n->in[1] : low;
        high = veer_onnx_has_in(n, 2) ? n->in[2] : high;
    } else {
        if (veer_onnx_attr(n, "min")) low = veer_const_scalar(n->b, dtype, veer_onnx_attr_float(n, "min", 0));
        if (veer_onnx_attr(n, "max")) high = veer_const_scalar(n->b, dtype, veer_onnx_attr_float(n, "max", 0));
    }
    n->out[0] = n->in[0];
    if (low.i) n->out[0] = veer_max(n->b, n->out[0], low);
    if (high.i) n->out[0] = veer_min(n->b, n->out[0], high);
}

/* Four bits hold the nearest number that fits; of float8 `saturate` is to say. */
static veer_value_t cast_to(veer_onnx_node_t *n, veer_dtype_t to) {
    veer_value_t x = n->in[0];
    veer_dtype_t from = veer_onnx_type(n, x).dtype;
    if (veer_dtype_is_int4(to) && from != to && from != VEER_DTYPE_BOOL) {
        bool wide = veer_dtype_is_float8(from) || veer_dtype_is_int4(from);
        if (wide) x = veer_cast(n->b, x, VEER_DTYPE_F32), from = VEER_DTYPE_F32;
        if (veer_dtype_is_float(from)) x = veer_round(n->b, x);
        if (veer_dtype_is_float(from) || veer_dtype_is_signed(from))
            x = veer_max(n->b, x, veer_const_scalar(n->b, from, to == VEER_DTYPE_I4 ? -8 : 0));
        x = veer_min(n->b, x, veer_const_scalar(n->b, from, to == VEER_DTYPE_I4 ? 7 : 15));
    }
    if (!veer_dtype_is_float8(to) || from == to) return veer_cast(n->b, x, to);
    int64_t saturate = veer_onnx_attr_int(n, "saturate", 1) != 0;
    return veer_build(n->b, VEER_OP_CAST, &x, 1, VEER_ATTRS(VEER_INT("to", to), VEER_INT("saturate", saturate)));
}

void veer_onnx_cast(veer_onnx_node_t *n) {
    int64_t to = veer_onnx_attr_int(n, "to", 0);
    char text[32];
    veer_dtype_t dtype = veer_onnx_dtype(to);
    if (dtype == VEER_DTYPE_NONE)
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "cast to %s is not supported", veer_onnx_dtype_name(to, text));
    else
        n->out[0] = cast_to(n, dtype);
}

void veer_onnx_cast_like(veer_onnx_node_t *n) {
    n->out[0] = cast_to(n, veer_onnx_in_type(n, 1).dtype);
}

/* x * 2^y, x / 2^y. The powers stand in a table whose last entry is 0, for shifts by all bits or more: a product with 0
 * is 0, and so is an integer divided by 0. */
void veer_onnx_bit_shift(veer_onnx_node_t *n) {
    enum { MAX_BITS = 64 };
    uint64_t powers[MAX_BITS + 1] = {0};
    const char *direction = veer_onnx_attr_string(n, "direction", "");
    veer_dtype_t dtype = veer_onnx_in_type(n, 0).dtype;
    int bits = 8 * (int)veer_dtype_size(dtype);
    bool left = !strcmp(direction, "LEFT");
    if ((!left && strcmp(direction, "RIGHT") != 0) || dtype < VEER_DTYPE_U8 || dtype > VEER_DTYPE_U64) {
        veer_onnx_fail(n, VEER_ERR_FILE, "direction '%s' of %s, expected LEFT or RIGHT of unsigned integers", direction,
                       veer_dtype_name(dtype));
        return;
    }
    for (int i = 0; i < bits; i++) powers[i] = (uint64_t)1 << i;
    veer_value_t table = veer_const(n->b, VEER_TYPE(VEER_DTYPE_U64, bits + 1), powers);
    veer_value_t shift = veer_min(n->b, n->in[1], veer_const_scalar(n->b, dtype, bits));
    veer_value_t power = veer_gather(n->b, veer_cast(n->b, table, dtype), veer_cast(n->b, shift, VEER_DTYPE_I64), 0);
    n->out[0] = left ? veer_mul(n->b, n->in[0], power) : veer_div(n->b, n->in[0], power);
}
