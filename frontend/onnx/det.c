/* Det: Gaussian elimination with pivots, unrolled over the columns of matrices of a fixed size. */
#include "frontend/onnx/node.h"

enum { MAX_SIZE = 128 };

/* One column of a [batch, m, m]: multiplies *det by the pivot (with the sign of the exchange) and gives the rest
 * [batch, m - 1, m - 1]. The pivot is the largest |a[:, 0]|; its row changes places with row 0 and leaves. A pivot of 0
 * makes the determinant 0, whatever the rest is, so it divides as 1. */
static veer_value_t eliminate(veer_onnx_node_t *n, veer_value_t a, int64_t m, veer_value_t *det) {
    veer_builder_t *b = n->b;
    veer_dtype_t dtype = veer_onnx_type(n, a).dtype;
    if (!veer_onnx_ok(n)) return a;
    veer_value_t zero = veer_const_scalar(b, dtype, 0), one = veer_const_scalar(b, dtype, 1);
    veer_value_t column = veer_slice_axis(b, a, 2, 0, 1, 1);
    veer_value_t at = veer_build(b, VEER_OP_ARG_MAX, VEER_IN(veer_abs(b, column)),
                                 VEER_ATTRS(VEER_INT("axis", 1), VEER_INT("keepdims", 1)));
    veer_value_t is_pivot = veer_equal(b, veer_onnx_iota(n, m, 1, 3), at); /* [batch, m, 1] */
    veer_value_t row = veer_reduce(b, VEER_OP_REDUCE_SUM, veer_where(b, is_pivot, a, zero), (int64_t[]){1}, 1, true);
    veer_value_t pivot = veer_slice_axis(b, row, 2, 0, 1, 1); /* [batch, 1, 1] */
    veer_value_t sign = veer_where(b, veer_equal(b, at, veer_const_i64(b, 0)), one, veer_neg(b, one));
    *det = veer_mul(b, *det, veer_mul(b, pivot, sign));
    if (m == 1) return a;
    veer_value_t swapped = veer_where(b, is_pivot, veer_slice_axis(b, a, 1, 0, 1, 1), a);
    veer_value_t rest = veer_slice_axis(b, swapped, 1, 1, m - 1, 1);
    veer_value_t safe = veer_where(b, veer_equal(b, pivot, zero), one, pivot);
    veer_value_t factors = veer_div(b, veer_slice_axis(b, rest, 2, 0, 1, 1), safe);
    veer_value_t step = veer_mul(b, factors, veer_slice_axis(b, row, 2, 1, m - 1, 1));
    return veer_sub(b, veer_slice_axis(b, rest, 2, 1, m - 1, 1), step);
}

void veer_onnx_det(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), out = x;
    out.rank -= 2;
    if (x.rank < 2 || x.dims[x.rank - 1] != x.dims[x.rank - 2]) {
        veer_onnx_fail(n, VEER_ERR_FILE, "input of rank %d is not made of square matrices", x.rank);
        return;
    }
    int64_t m = x.dims[x.rank - 1], batch = veer_type_count(&out);
    if (m < 1 || m > MAX_SIZE) {
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "matrices of size %lld, expected 1 to %d", (long long)m, MAX_SIZE);
        return;
    }
    veer_value_t a = veer_reshape(n->b, n->in[0], VEER_DIMS(batch, m, m));
    veer_value_t det = veer_full(n->b, VEER_TYPE(x.dtype, batch, 1, 1), 1);
    for (int64_t size = m; size > 0; size--) a = eliminate(n, a, size, &det);
    n->out[0] = veer_reshape_like(n->b, det, &out);
}
