/* Lets products read and give transposed matrices instead of moving them.
 *
 *     %t = transpose %x {perm = [0, 2, 1]}                =>     %y = matmul %x, %w {trans_a = 1}
 *     %y = matmul %t, %w
 *
 *     %m = matmul %a, %b     %y = transpose %m {perm = [0, 2, 1]}     =>     %y = matmul %b, %a {trans_a = 1, trans_b =
 * 1}
 *
 * (a b)^T = b^T a^T; the sums are the same numbers in the same order. Only the last two dims may be exchanged. The
 * second rule declines where the product has other readers. A reshape in between that keeps the matrices, and only
 * counts them differently, is no obstacle. Transposes that nobody reads any more are left to dce.
 */
#include "passes/pass.h"

#include "ir/builder.h"

static bool exchanges_last(const veer_graph_t *g, veer_node_t n) {
    if (!n.i || veer_node_op(g, n) != VEER_OP_TRANSPOSE) return false;
    int rank;
    const int64_t *perm = veer_node_ints(g, n, "perm", &rank);
    for (int i = 0; i < rank - 2; i++)
        if (perm[i] != i) return false;
    return rank >= 2 && perm[rank - 1] == rank - 2;
}

/* A reshape that keeps the last two dims: the leading ones only number the matrices. */
static bool keeps_matrices(const veer_graph_t *g, veer_node_t n) {
    if (!n.i || veer_node_op(g, n) != VEER_OP_RESHAPE) return false;
    const veer_type_t *x = veer_value_type(g, veer_node_in(g, n, 0)), *y = veer_value_type(g, veer_node_out(g, n, 0));
    return x->rank >= 2 && y->rank >= 2 && x->dims[x->rank - 1] == y->dims[y->rank - 1] &&
           x->dims[x->rank - 2] == y->dims[y->rank - 2];
}

/* The same matrices before they were transposed; none where they were not. */
static veer_value_t untransposed(veer_builder_t *b, veer_value_t v) {
    veer_graph_t *g = b->graph;
    veer_node_t def = veer_value_def(g, v), reshape = VEER_NO_NODE;
    if (keeps_matrices(g, def)) reshape = def, def = veer_value_def(g, veer_node_in(g, def, 0));
    if (!exchanges_last(g, def)) return VEER_NO_VALUE;
    veer_value_t x = veer_node_in(g, def, 0);
    if (!reshape.i) return x;
    veer_type_t to = *veer_value_type(g, v);
    int64_t rows = to.dims[to.rank - 2];
    to.dims[to.rank - 2] = to.dims[to.rank - 1], to.dims[to.rank - 1] = rows;
    return veer_reshape(b, x, to.rank, to.dims);
}

static veer_status_t replace(veer_builder_t *b, veer_node_t n, veer_value_t y) {
    VEER_TRY(veer_builder_status(b));
    veer_value_replace(b->graph, veer_node_out(b->graph, n, 0), y);
    veer_node_remove(b->graph, n);
    return veer_ok();
}

static veer_status_t read_transposed(veer_graph_t *g, veer_node_t n, veer_pass_ctx_t *ctx) {
    veer_value_t in[2] = {veer_node_in(g, n, 0), veer_node_in(g, n, 1)};
    bool trans[2] = {veer_node_int(g, n, "trans_a"), veer_node_int(g, n, "trans_b")}, changed = false;
    veer_builder_t b = veer_builder_before(g, n);
    for (int i = 0; i < 2; i++) {
        veer_value_t x = untransposed(&b, in[i]);
        if (!x.i) continue;
        in[i] = x;
        trans[i] = !trans[i];
        changed = true;
    }
    if (!changed) return veer_builder_status(&b);
    veer_pass_count(ctx, "operands");
    return replace(&b, n, veer_matmul(&b, in[0], in[1], trans[0], trans[1]));
}

/* The node that gives v, where nobody else reads it. */
static veer_node_t only_for(const veer_graph_t *g, veer_node_t reader) {
    veer_value_t v = veer_node_in(g, reader, 0);
    veer_node_t def = veer_value_def(g, v);
    bool own = def.i && veer_value_use_count(g, v) == 1 && veer_node_region(g, def).i == veer_node_region(g, reader).i;
    return own ? def : VEER_NO_NODE;
}

static veer_status_t give_transposed(veer_graph_t *g, veer_node_t n, veer_pass_ctx_t *ctx) {
    veer_node_t matmul = only_for(g, n);
    if (keeps_matrices(g, matmul)) matmul = only_for(g, matmul);
    if (!matmul.i || veer_node_op(g, matmul) != VEER_OP_MATMUL) return veer_ok();
    veer_pass_count(ctx, "results");
    veer_builder_t b = veer_builder_before(g, n);
    veer_type_t to = *veer_value_type(g, veer_node_out(g, n, 0));
    veer_value_t y = veer_matmul(&b, veer_node_in(g, matmul, 1), veer_node_in(g, matmul, 0),
                                 !veer_node_int(g, matmul, "trans_b"), !veer_node_int(g, matmul, "trans_a"));
    return replace(&b, n, veer_reshape(&b, y, to.rank, to.dims));
}

static veer_status_t rewrite_region(veer_graph_t *g, veer_region_t region, veer_pass_ctx_t *ctx) {
    VEER_FOR_EACH_NODE(g, region, n) {
        veer_op_t op = veer_node_op(g, n);
        if (op == VEER_OP_LOOP)
            VEER_TRY(rewrite_region(g, veer_node_body(g, n), ctx));
        else if (op == VEER_OP_MATMUL)
            VEER_TRY(read_transposed(g, n, ctx));
        else if (exchanges_last(g, n))
            VEER_TRY(give_transposed(g, n, ctx));
    }
    return veer_ok();
}

static veer_status_t run(veer_graph_t *g, veer_func_t func, veer_pass_ctx_t *ctx) {
    return rewrite_region(g, veer_func_body(g, func), ctx);
}

const veer_pass_def_t veer_pass_transpose_matmul = {
    "transpose-matmul", "let products read and give transposed matrices", run, {{0}}};
