/* Attention of operator set 23: grouped heads, masks, causal masks, keys and values of the past, softcap, scores. */
#include "frontend/onnx/node.h"

#include <math.h>

/* [B, L, H * D] -> [B, H, L, D]; rank 4 stays. */
static veer_value_t split_heads(veer_onnx_node_t *n, veer_value_t x, const char *heads_name) {
    veer_type_t type = veer_onnx_type(n, x);
    int64_t heads = veer_onnx_attr_int(n, heads_name, 0);
    if (type.rank == 4 || !veer_onnx_ok(n)) return x;
    if (type.rank != 3 || heads < 1 || type.dims[2] % heads) {
        veer_onnx_fail(n, VEER_ERR_FILE,
                       "an operand has %d dims, and %s is %lld: expected 4 dims, or 3 and a divisor "
                       "of the last",
                       type.rank, heads_name, (long long)heads);
        return VEER_NO_VALUE;
    }
    x = veer_reshape(n->b, x, VEER_DIMS(type.dims[0], type.dims[1], heads, type.dims[2] / heads));
    return veer_transpose(n->b, x, (int64_t[]){0, 2, 1, 3});
}

/* Each head of keys or values serves several heads of queries. */
static veer_value_t repeat_heads(veer_onnx_node_t *n, veer_value_t x, int64_t heads) {
    veer_type_t t = veer_onnx_type(n, x);
    if (!veer_onnx_ok(n) || t.dims[1] == heads) return x;
    if (t.dims[1] < 1 || heads % t.dims[1]) {
        veer_onnx_fail(n, VEER_ERR_FILE, "%lld heads of queries for %lld of keys", (long long)heads,
                       (long long)t.dims[1]);
        return VEER_NO_VALUE;
    }
    int64_t each = heads / t.dims[1];
    x = veer_reshape(n->b, x, VEER_DIMS(t.dims[0], t.dims[1], 1, t.dims[2], t.dims[3]));
    x = veer_broadcast_to(n->b, x, VEER_DIMS(t.dims[0], t.dims[1], each, t.dims[2], t.dims[3]));
    return veer_reshape(n->b, x, VEER_DIMS(t.dims[0], heads, t.dims[2], t.dims[3]));
}

static veer_value_t with_past(veer_onnx_node_t *n, veer_value_t x, int past) {
    if (!veer_onnx_has_in(n, past)) return x;
    return veer_concat(n->b, (veer_value_t[]){n->in[past], x}, 2, 2);
}

/* false -> -inf, true -> 0 */
static veer_value_t additive(veer_onnx_node_t *n, veer_value_t mask, veer_dtype_t dtype) {
    if (veer_onnx_type(n, mask).dtype != VEER_DTYPE_BOOL) return mask;
    return veer_where(n->b, mask, veer_const_scalar(n->b, dtype, 0), veer_const_scalar(n->b, dtype, -(double)INFINITY));
}

/* Query i sees keys up to i + past. */
static veer_value_t causal(veer_onnx_node_t *n, int64_t rows, int64_t columns, int64_t past) {
    veer_type_t type = VEER_TYPE(VEER_DTYPE_BOOL, rows, columns);
    uint8_t *sees = veer_onnx_new_data(n, &type);
    if (!sees) return VEER_NO_VALUE;
    for (int64_t i = 0; columns > 0 && i < rows; i++)
        for (int64_t j = 0; j < columns; j++) sees[i * columns + j] = j <= i + past;
    return veer_const_view(n->b, type, sees, NULL);
}

static veer_value_t mask_of(veer_onnx_node_t *n, const veer_type_t *q, const veer_type_t *k, int64_t past) {
    veer_value_t mask = veer_onnx_has_in(n, 3) ? additive(n, n->in[3], q->dtype) : VEER_NO_VALUE;
    if (!veer_onnx_attr_int(n, "is_causal", 0)) return mask;
    veer_value_t order = additive(n, causal(n, q->dims[2], k->dims[2], past), q->dtype);
    return mask.i ? veer_add(n->b, mask, order) : order;
}

/* Whether every row of a mask that is known lets at least one key through. */
static bool is_open(const veer_onnx_node_t *n, veer_value_t mask) {
    veer_type_t type = veer_onnx_type(n, mask);
    const void *data = veer_onnx_ok(n) ? veer_value_const_data(n->b->graph, mask) : NULL;
    int64_t columns = type.rank ? type.dims[type.rank - 1] : 1, count = veer_type_count(&type);
    for (int64_t i = 0; data && columns > 0 && i < count; i += columns) {
        int64_t j = 0;
        while (j < columns && veer_onnx_element(&type, data, i + j) == -(double)INFINITY) j++;
        if (j == columns) return false;
    }
    return data != NULL;
}

/* A query that sees no key gives zeros instead of 0 / 0: [..., L, 1], true for the others. The mask of such a row is
 * taken away, so that nothing that is computed from it is NaN, in gradients neither. */
static veer_value_t open_rows(veer_onnx_node_t *n, veer_value_t *mask) {
    veer_type_t type = veer_onnx_type(n, *mask);
    if (!veer_onnx_has_in(n, 3) || !veer_onnx_ok(n) || type.rank < 1 || is_open(n, *mask)) return VEER_NO_VALUE;
    int64_t last = type.rank - 1;
    veer_value_t most = veer_reduce(n->b, VEER_OP_REDUCE_MAX, *mask, &last, 1, true);
    veer_value_t open = veer_not(n->b, veer_equal(n->b, most, veer_const_scalar(n->b, type.dtype, -(double)INFINITY)));
    *mask = veer_where(n->b, open, *mask, veer_const_scalar(n->b, type.dtype, 0));
    return open;
}

static veer_value_t zero_unless(veer_onnx_node_t *n, veer_value_t open, veer_value_t x) {
    veer_dtype_t dtype = veer_onnx_type(n, x).dtype;
    return open.i && veer_onnx_ok(n) ? veer_where(n->b, open, x, veer_const_scalar(n->b, dtype, 0)) : x;
}

/* Step by step, for what the operator of the IR does not give: scores between -softcap and softcap, and the scores at
 * one of four places as an output. In ONNX's order: the cap first, so that a mask of -inf stays one. (Its text of
 * operator set 23 had the mask first when it appeared, and was corrected in place.) */
static veer_value_t spelled_out(veer_onnx_node_t *n, veer_value_t q, veer_value_t k, veer_value_t v, veer_value_t mask,
                                veer_value_t open, double scale) {
    veer_builder_t *b = n->b;
    double cap = veer_onnx_attr_float(n, "softcap", 0);
    int64_t mode = veer_onnx_attr_int(n, "qk_matmul_output_mode", 0);
    veer_value_t s = veer_mul_c(b, veer_matmul(b, q, k, false, true), scale);
    if (mode == 0) n->out[3] = s;
    if (cap != 0) s = veer_mul_c(b, veer_tanh(b, veer_mul_c(b, s, 1 / cap)), cap);
    if (mode == 1) n->out[3] = s;
    if (mask.i) s = veer_add(b, s, mask);
    if (mode == 2) n->out[3] = s;
    s = veer_build(b, VEER_OP_SOFTMAX, &s, 1, VEER_ATTRS(VEER_INT("axis", 3)));
    if (mode == 3) n->out[3] = zero_unless(n, open, s);
    if (veer_onnx_ok(n) && !n->out[3].i)
        veer_onnx_fail(n, VEER_ERR_FILE, "qk_matmul_output_mode is %lld, expected 0 to 3", (long long)mode);
    return veer_matmul(b, s, v, false, false);
}

void veer_onnx_attention(veer_onnx_node_t *n) {
    bool merged = veer_onnx_in_type(n, 0).rank == 3;
    bool whole = veer_onnx_attr_float(n, "softcap", 0) == 0 && !veer_onnx_wants(n, 3);
    veer_value_t q = split_heads(n, n->in[0], "q_num_heads");
    veer_value_t k = with_past(n, split_heads(n, n->in[1], "kv_num_heads"), 4);
    veer_value_t v = with_past(n, split_heads(n, n->in[2], "kv_num_heads"), 5);
    veer_type_t tq = veer_onnx_type(n, q), tk = veer_onnx_type(n, k);
    if (veer_onnx_ok(n) && (tq.rank != 4 || tk.rank != 4 || veer_onnx_type(n, v).rank != 4))
        veer_onnx_fail(n, VEER_ERR_FILE, "operands have %d and %d dims", tq.rank, tk.rank);
    if (!veer_onnx_ok(n)) return;
    double scale = veer_onnx_attr_float(n, "scale", 1 / sqrt((double)(tq.dims[3] > 0 ? tq.dims[3] : 1)));
    int64_t past = veer_onnx_has_in(n, 4) ? veer_onnx_in_type(n, 4).dims[2] : 0;
    veer_value_t mask = mask_of(n, &tq, &tk, past), open = open_rows(n, &mask);
    n->out[1] = k;
    n->out[2] = v;
    k = repeat_heads(n, k, tq.dims[1]), v = repeat_heads(n, v, tq.dims[1]);
    veer_value_t y =
        whole ? veer_build(n->b, VEER_OP_ATTENTION, VEER_IN(q, k, v, mask), VEER_ATTRS(VEER_FLOAT("scale", scale)))
              : spelled_out(n, q, k, v, mask, open, scale);
    y = zero_unless(n, open, y);
    veer_type_t t = veer_onnx_type(n, y);
    if (merged && veer_onnx_ok(n)) {
        y = veer_transpose(n->b, y, (int64_t[]){0, 2, 1, 3});
        y = veer_reshape(n->b, y, VEER_DIMS(t.dims[0], t.dims[2], t.dims[1] * t.dims[3]));
    }
    n->out[0] = y;
}
