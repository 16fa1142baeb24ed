/* Matrix products. */
#include "frontend/onnx/node.h"

#include <math.h>

/* a b for matrices of integers (operator set 9), exactly: sum over k of a[..., m, k, 1] b[..., 1, k, n]. */
static veer_value_t of_integers(veer_onnx_node_t *n, veer_value_t a, veer_value_t b) {
    veer_type_t x = veer_onnx_type(n, a), y = veer_onnx_type(n, b);
    if (!veer_onnx_ok(n)) return VEER_NO_VALUE;
    if (x.rank == VEER_MAX_RANK || y.rank == VEER_MAX_RANK || x.dims[x.rank - 1] != y.dims[y.rank - 2]) {
        char s[VEER_TYPE_TEXT_BYTES], t[VEER_TYPE_TEXT_BYTES];
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "a product of %s and %s", veer_type_text(&x, s), veer_type_text(&y, t));
        return VEER_NO_VALUE;
    }
    x.dims[x.rank++] = 1;
    y.dims[y.rank] = y.dims[y.rank - 1], y.dims[y.rank - 1] = y.dims[y.rank - 2], y.dims[y.rank - 2] = 1, y.rank++;
    int64_t k = (x.rank > y.rank ? x.rank : y.rank) - 2;
    veer_value_t all = veer_mul(n->b, veer_reshape_like(n->b, a, &x), veer_reshape_like(n->b, b, &y));
    return veer_reduce(n->b, VEER_OP_REDUCE_SUM, all, &k, 1, false);
}

static veer_value_t product(veer_onnx_node_t *n, veer_value_t a, veer_value_t b, bool trans_a, bool trans_b) {
    if (!veer_dtype_is_integer(veer_onnx_type(n, a).dtype)) return veer_matmul(n->b, a, b, trans_a, trans_b);
    if (trans_a) a = veer_transpose(n->b, a, (int64_t[]){1, 0}); /* Gemm: of rank 2 */
    if (trans_b) b = veer_transpose(n->b, b, (int64_t[]){1, 0});
    return of_integers(n, a, b);
}

/* Operands of rank 1 are rows (left) or columns (right), whose dim leaves the result. */
void veer_onnx_matmul(veer_onnx_node_t *n) {
    veer_type_t x = veer_onnx_in_type(n, 0), y = veer_onnx_in_type(n, 1);
    if (x.rank == 0 || y.rank == 0) {
        veer_onnx_fail(n, VEER_ERR_FILE, "operands of rank %d and %d, expected 1 or more", x.rank, y.rank);
        return;
    }
    veer_value_t a = x.rank == 1 ? veer_reshape(n->b, n->in[0], VEER_DIMS(1, x.dims[0])) : n->in[0];
    veer_value_t b = y.rank == 1 ? veer_reshape(n->b, n->in[1], VEER_DIMS(y.dims[0], 1)) : n->in[1];
    n->out[0] = product(n, a, b, false, false);
    veer_type_t out = veer_onnx_type(n, n->out[0]);
    if (!veer_onnx_ok(n) || (x.rank > 1 && y.rank > 1)) return;
    if (y.rank == 1) out.rank--;
    if (x.rank == 1) {
        if (y.rank > 1) out.dims[out.rank - 2] = out.dims[out.rank - 1];
        out.rank--;
    }
    n->out[0] = veer_reshape_like(n->b, n->out[0], &out);
}

/* alpha A' B' + beta C */
void veer_onnx_gemm(veer_onnx_node_t *n) {
    double alpha = veer_onnx_attr_float(n, "alpha", 1), beta = veer_onnx_attr_float(n, "beta", 1);
    bool trans_a = veer_onnx_attr_int(n, "transA", 0) != 0, trans_b = veer_onnx_attr_int(n, "transB", 0) != 0;
    veer_type_t a = veer_onnx_in_type(n, 0), b = veer_onnx_in_type(n, 1);
    if (a.rank != 2 || b.rank != 2) {
        veer_onnx_fail(n, VEER_ERR_FILE, "operands have %d and %d dims, expected 2", a.rank, b.rank);
        return;
    }
    bool whole = floor(alpha) == alpha && floor(beta) == beta;
    if (veer_dtype_is_integer(a.dtype) && !whole)
        veer_onnx_fail(n, VEER_ERR_UNSUPPORTED, "alpha %g and beta %g for integers", alpha, beta);
    veer_value_t y = product(n, n->in[0], n->in[1], trans_a, trans_b);
    if (alpha != 1) y = veer_mul_c(n->b, y, alpha);
    if (veer_onnx_has_in(n, 2) && beta != 0)
        y = veer_add(n->b, y, beta == 1 ? n->in[2] : veer_mul_c(n->b, n->in[2], beta));
    n->out[0] = y;
}
