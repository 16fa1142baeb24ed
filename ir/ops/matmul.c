/* matmul of matrices in the last two dims; the dims before them broadcast. */
#include "ir/ops/common.h"

/* Dims of the batch, and rows and columns as the product sees them. */
static void split(const veer_type_t *t, bool trans, veer_type_t *out_batch, int64_t *out_rows, int64_t *out_columns) {
    *out_batch = veer_type_make(t->dtype, t->rank - 2, t->dims);
    *out_rows = t->dims[t->rank - (trans ? 1 : 2)];
    *out_columns = t->dims[t->rank - (trans ? 2 : 1)];
}

static veer_status_t infer_matmul(veer_infer_t *c) {
    const veer_type_t *a = &c->in[0], *b = &c->in[1];
    char ta[VEER_TYPE_TEXT_BYTES], tb[VEER_TYPE_TEXT_BYTES];
    veer_type_text(a, ta), veer_type_text(b, tb);
    if (a->rank < 2 || b->rank < 2)
        return veer_error(VEER_ERR_UNSUPPORTED, "operands are %s and %s, expected rank 2 or more", ta, tb);
    if (a->dtype != b->dtype)
        return veer_error(VEER_ERR_UNSUPPORTED, "operands are %s and %s, expected one dtype", ta, tb);
    veer_type_t batch_a, batch_b, out = {.dtype = a->dtype};
    int64_t m, k, k_b, n;
    split(a, veer_infer_int(c, "trans_a") != 0, &batch_a, &m, &k);
    split(b, veer_infer_int(c, "trans_b") != 0, &batch_b, &k_b, &n);
    if (k != k_b)
        return veer_error(VEER_ERR_UNSUPPORTED, "inner dims of %s and %s are %lld and %lld, expected equal ones", ta,
                          tb, (long long)k, (long long)k_b);
    if (!veer_type_broadcast(&batch_a, &batch_b, &out))
        return veer_error(VEER_ERR_UNSUPPORTED, "the leading dims of %s and %s do not broadcast", ta, tb);
    out.dims[out.rank++] = m;
    out.dims[out.rank++] = n;
    c->out[0] = out;
    return veer_type_check(&out);
}

/* [..., M, K] to [... * M, K]. */
static veer_value_t flatten_rows(veer_builder_t *b, veer_value_t x) {
    if (!veer_builder_ok(b)) return VEER_NO_VALUE;
    veer_type_t t = *veer_builder_type(b, x);
    return veer_reshape(b, x, VEER_DIMS(veer_type_count_range(&t, 0, t.rank - 1), t.dims[t.rank - 1]));
}

/* dA = dy B^T, and its transpose where A was taken transposed. */
static veer_value_t grad_a(veer_builder_t *b, veer_value_t dy, veer_value_t y, bool trans_a, bool trans_b) {
    return trans_a ? veer_matmul(b, y, dy, trans_b, true) : veer_matmul(b, dy, y, false, !trans_b);
}

/* dB = A^T dy, likewise. A shared matrix B (a layer's weight) meets all rows of the batch in one product. */
static veer_value_t grad_b(veer_builder_t *b, veer_value_t dy, veer_value_t x, bool shared, bool trans_a,
                           bool trans_b) {
    if (shared && !trans_a) dy = flatten_rows(b, dy), x = flatten_rows(b, x);
    return trans_b ? veer_matmul(b, dy, x, true, trans_a) : veer_matmul(b, x, dy, !trans_a, false);
}

static veer_status_t matmul_grad(veer_builder_t *b, veer_grad_t *g) {
    bool trans_a = veer_node_int(g->graph, g->node, "trans_a") != 0,
         trans_b = veer_node_int(g->graph, g->node, "trans_b") != 0;
    veer_type_t type_a = *veer_builder_type(b, g->in[0]), type_b = *veer_builder_type(b, g->in[1]);
    veer_value_t dy = g->d_out[0];
    if (g->need[0]) g->d_in[0] = veer_sum_to(b, grad_a(b, dy, g->in[1], trans_a, trans_b), &type_a);
    if (g->need[1]) {
        bool shared = type_b.rank == 2 && type_a.rank > 2;
        g->d_in[1] = veer_sum_to(b, grad_b(b, dy, g->in[0], shared, trans_a, trans_b), &type_b);
    }
    return veer_builder_status(b);
}

const veer_op_def_t veer_op_matmul = {
    .name = "matmul",
    .doc = "The matrix product of the last two dims, [..., M, K] x [..., K, N] to [..., M, N]; the dims before them "
           "broadcast.",
    .in = {{"a", VEER_FLOAT_ONLY, false, false}, {"b", VEER_FLOAT_ONLY, false, false}},
    .out = {{"y", VEER_FLOAT_ONLY, false, false}},
    .attrs = {{.name = "trans_a", .kind = VEER_ATTR_INT, .doc = "1: a holds [..., K, M]"},
              {.name = "trans_b", .kind = VEER_ATTR_INT, .doc = "1: b holds [..., N, K]"}},
    .traits = VEER_PURE | VEER_CONTRACTION,
    .infer = infer_matmul,
    .grad = matmul_grad,
    /* K products of size 1: partial sums of size sqrt(K), sqrt(K) roundings of them at random: K * 2^-24, K = 1024 */
    .tol_f32 = {.abs = 6e-5, .rel = 1e-5},
};
